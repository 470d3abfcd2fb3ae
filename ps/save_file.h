/* Files of saves and checkpoints: written buffered and hashed on the way, made safe, given their name, read. */
#ifndef HR_SAVE_FILE_H
#define HR_SAVE_FILE_H

#include <limits.h>
#include <stdint.h>

#include <hr/hash.h>
#include <hr/status.h>

#define HR_SAVE_BUFFER_BYTES ((size_t)1 << 20)

typedef struct hr_path {
  char text[PATH_MAX];
} hr_path;

/* HOTROW_ERR_STORAGE if it is too long for the system. */
hotrow_status hr_path_format(hr_path *path_p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* HOTROW_ERR_STORAGE: "<path>: cannot <deed>: <errno>". */
hotrow_status hr_fail_errno(const char *path, const char *deed);

/* A file being written. */
typedef struct hr_output {
  XXH3_state_t hash;
  const char *path; /* borrowed */
  int fd;
  size_t used;
  uint64_t size;
  uint8_t *buffer; /* borrowed, HR_SAVE_BUFFER_BYTES */
} hr_output;

/* HOTROW_ERR_STORAGE, also if the file is there. */
hotrow_status hr_output_begin(hr_output *out, const char *path, uint8_t *buffer);
/* At once, with nothing buffered: of any size. */
hotrow_status hr_output_write(hr_output *out, const void *bytes, size_t size);
hotrow_status hr_output_append(hr_output *out, const void *bytes, size_t size); /* at most HR_SAVE_BUFFER_BYTES */
/* Hands what is buffered to the system; out->hash is then of all so far. */
hotrow_status hr_output_flush(hr_output *out);
/* Appends the hash of all before, as the files end that vouch for themselves. */
hotrow_status hr_output_append_hash(hr_output *out);
/* Closes the file in any case and returns `status`, or why it is not on disk. */
hotrow_status hr_output_end(hr_output *out, hotrow_status status);

hotrow_status hr_sync_file(const char *path, int fd);
hotrow_status hr_sync_directory(const char *path);
hotrow_status hr_make_directory(const char *path, bool may_be_there);
/* Removes a directory of files, or of directories of files, as far as it is there. */
void hr_remove_directory(const char *path);
/* Gives `written` the name `final` in one rename; what had that name before ends up at `written`. */
hotrow_status hr_publish_directory(const char *written, const char *final);

/* HOTROW_ERR_NOT_FOUND, HOTROW_ERR_STORAGE */
hotrow_status hr_input_open(const char *path, int *fd_p, uint64_t *size_p);
/* HOTROW_ERR_CORRUPT if the file ends before, HOTROW_ERR_STORAGE. */
hotrow_status hr_input_read(int fd, const char *path, void *bytes, size_t size);
/* The hash of the next `size` bytes; `buffer` is of HR_SAVE_BUFFER_BYTES. What hr_input_read() returns. */
hotrow_status hr_input_hash(int fd, const char *path, uint64_t size, uint8_t *buffer, uint64_t *hash_p);
/* Is the last word of these bytes the hash of those before? HOTROW_ERR_CORRUPT */
hotrow_status hr_input_check_hash(const char *path, const uint8_t *bytes, size_t size);

#endif
