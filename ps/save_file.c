#include "save_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hr/assert.h>

hotrow_status hr_path_format(hr_path *path_p, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  int size = vsnprintf(path_p->text, sizeof path_p->text, format, args);
  va_end(args);
  if (size < 0 || (size_t)size >= sizeof path_p->text)
    return hr_fail(HOTROW_ERR_STORAGE, "%.200s...: a path of %d bytes, the limit is %d", path_p->text, size, PATH_MAX);
  return HOTROW_OK;
}

hotrow_status hr_fail_errno(const char *path, const char *deed)
{
  return hr_fail(HOTROW_ERR_STORAGE, "%s: cannot %s: %s", path, deed, strerror(errno));
}

/* ---- writing ---- */

hotrow_status hr_output_begin(hr_output *out, const char *path, uint8_t *buffer)
{
  *out = (hr_output){.path = path, .buffer = buffer};
  XXH3_64bits_reset(&out->hash);
  out->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  return out->fd < 0 ? hr_fail_errno(path, "create") : HOTROW_OK;
}

static hotrow_status write_all(hr_output *out, const uint8_t *bytes, size_t size)
{
  XXH3_64bits_update(&out->hash, bytes, size);
  for (size_t done = 0; done < size;) {
    ssize_t written = write(out->fd, bytes + done, size - done);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return hr_fail_errno(out->path, "write");
    done += (size_t)written;
  }
  return HOTROW_OK;
}

hotrow_status hr_output_flush(hr_output *out)
{
  HOTROW_TRY(write_all(out, out->buffer, out->used));
  out->used = 0;
  return HOTROW_OK;
}

hotrow_status hr_output_write(hr_output *out, const void *bytes, size_t size)
{
  HOTROW_ASSERT(out->used == 0);
  out->size += size;
  return write_all(out, bytes, size);
}

hotrow_status hr_output_append(hr_output *out, const void *bytes, size_t size)
{
  HOTROW_ASSERT(size <= HR_SAVE_BUFFER_BYTES);
  if (size > HR_SAVE_BUFFER_BYTES - out->used)
    HOTROW_TRY(hr_output_flush(out));
  memcpy(out->buffer + out->used, bytes, size);
  out->used += size;
  out->size += size;
  return HOTROW_OK;
}

hotrow_status hr_output_append_hash(hr_output *out)
{
  HOTROW_TRY(hr_output_flush(out));
  uint64_t hash = XXH3_64bits_digest(&out->hash);
  return hr_output_append(out, &hash, sizeof hash);
}

hotrow_status hr_sync_file(const char *path, int fd)
{
  return fsync(fd) == 0 ? HOTROW_OK : hr_fail_errno(path, "sync");
}

hotrow_status hr_output_end(hr_output *out, hotrow_status status)
{
  if (status == HOTROW_OK)
    status = hr_output_flush(out);
  if (status == HOTROW_OK)
    status = hr_sync_file(out->path, out->fd);
  if (close(out->fd) != 0 && status == HOTROW_OK)
    status = hr_fail_errno(out->path, "close");
  return status;
}

hotrow_status hr_sync_directory(const char *path)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return hr_fail_errno(path, "open");
  hotrow_status status = hr_sync_file(path, fd);
  close(fd);
  return status;
}

hotrow_status hr_make_directory(const char *path, bool may_be_there)
{
  if (mkdir(path, 0777) == 0 || (may_be_there && errno == EEXIST))
    return HOTROW_OK;
  return hr_fail_errno(path, "make the directory");
}

static bool is_dots(const char *name)
{
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void remove_files(const char *path)
{
  DIR *entries = opendir(path);
  if (!entries)
    return;
  for (struct dirent *entry; (entry = readdir(entries));)
    unlinkat(dirfd(entries), entry->d_name, 0);
  closedir(entries);
  rmdir(path);
}

void hr_remove_directory(const char *path)
{
  DIR *entries = opendir(path);
  if (!entries)
    return;
  hr_path inner;
  for (struct dirent *entry; (entry = readdir(entries));)
    if (!is_dots(entry->d_name) && unlinkat(dirfd(entries), entry->d_name, 0) != 0 &&
        hr_path_format(&inner, "%s/%s", path, entry->d_name) == HOTROW_OK)
      remove_files(inner.text);
  closedir(entries);
  rmdir(path);
}

hotrow_status hr_publish_directory(const char *written, const char *final)
{
  if (renameat2(AT_FDCWD, written, AT_FDCWD, final, RENAME_EXCHANGE) == 0)
    return HOTROW_OK;
  if (errno == ENOENT)
    return rename(written, final) == 0 ? HOTROW_OK : hr_fail_errno(final, "rename the new one");
  if (errno != EINVAL && errno != ENOSYS)
    return hr_fail_errno(final, "replace the older one");
  /* A filesystem that cannot exchange (NFS): for a moment the name has neither, but both are on disk. */
  hr_path aside;
  HOTROW_TRY(hr_path_format(&aside, "%s.old", written));
  if (rename(final, aside.text) != 0)
    return hr_fail_errno(final, "move the older one aside");
  if (rename(written, final) != 0) {
    hotrow_status status = hr_fail_errno(final, "rename the new one");
    rename(aside.text, final);
    return status;
  }
  return rename(aside.text, written) == 0 ? HOTROW_OK : hr_fail_errno(aside.text, "rename the older one");
}

/* ---- reading ---- */

hotrow_status hr_input_open(const char *path, int *fd_p, uint64_t *size_p)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return errno == ENOENT ? hr_fail(HOTROW_ERR_NOT_FOUND, "%s: missing", path) : hr_fail_errno(path, "open");
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return hr_fail(HOTROW_ERR_STORAGE, "%s: not a readable file", path);
  }
  posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  *fd_p = fd;
  *size_p = (uint64_t)info.st_size;
  return HOTROW_OK;
}

hotrow_status hr_input_read(int fd, const char *path, void *bytes, size_t size)
{
  for (size_t done = 0; done < size;) {
    ssize_t got = read(fd, (uint8_t *)bytes + done, size - done);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return hr_fail_errno(path, "read");
    if (got == 0)
      return hr_fail(HOTROW_ERR_CORRUPT, "%s: ends early", path);
    done += (size_t)got;
  }
  return HOTROW_OK;
}

hotrow_status hr_input_hash(int fd, const char *path, uint64_t size, uint8_t *buffer, uint64_t *hash_p)
{
  XXH3_state_t hash;
  XXH3_64bits_reset(&hash);
  for (uint64_t left = size; left > 0;) {
    size_t part = left < HR_SAVE_BUFFER_BYTES ? (size_t)left : HR_SAVE_BUFFER_BYTES;
    HOTROW_TRY(hr_input_read(fd, path, buffer, part));
    XXH3_64bits_update(&hash, buffer, part);
    left -= part;
  }
  *hash_p = XXH3_64bits_digest(&hash);
  return HOTROW_OK;
}

hotrow_status hr_input_check_hash(const char *path, const uint8_t *bytes, size_t size)
{
  uint64_t hash;
  HOTROW_ASSERT(size >= sizeof hash);
  memcpy(&hash, bytes + size - sizeof hash, sizeof hash);
  if (hr_hash_bytes(bytes, size - sizeof hash) != hash)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: its bytes do not match its checksum", path);
  return HOTROW_OK;
}
