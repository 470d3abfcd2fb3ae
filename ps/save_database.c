#include "save_database.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hr/assert.h>
#include <hr/memory.h>

static bool is_not_listed(const char *name)
{
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, HR_MANIFEST_FILE) == 0;
}

/* ---- writing ---- */

typedef struct listing {
  const char *dir;       /* borrowed */
  hr_known_files now;    /* owned: of this part */
  hr_known_files *known; /* of the part before */
  hr_part_bytes bytes;
  uint8_t *buffer; /* owned */
} listing;

static int compare_names(const void *a, const void *b)
{
  return strcmp(((const hr_known_file *)a)->file.name, ((const hr_known_file *)b)->file.name);
}

static hotrow_status list_names(listing *l)
{
  DIR *entries = opendir(l->dir);
  if (!entries)
    return hr_fail_errno(l->dir, "list");
  hotrow_status status = HOTROW_OK;
  for (const struct dirent *entry; status == HOTROW_OK && (entry = readdir(entries));) {
    size_t size = strlen(entry->d_name);
    if (is_not_listed(entry->d_name))
      continue;
    if (size >= HR_MANIFEST_NAME_BYTES || l->now.count == HR_MANIFEST_FILES_MAX)
      status = hr_fail(HOTROW_ERR_LIMIT, "%s: %s is more than the %u files with names of %u bytes that a part may have",
                       l->dir, entry->d_name, HR_MANIFEST_FILES_MAX, HR_MANIFEST_NAME_BYTES - 1);
    else
      memcpy(l->now.files[l->now.count++].file.name, entry->d_name, size);
  }
  closedir(entries);
  qsort(l->now.files, l->now.count, sizeof *l->now.files, compare_names);
  return status;
}

/* The same inode of the same name and size: RocksDB never uses a number twice, and never changes a table file. */
static const hr_known_file *find_known(const listing *l, const hr_known_file *file)
{
  if (l->known->count == 0)
    return NULL;
  const hr_known_file *same = bsearch(file, l->known->files, l->known->count, sizeof *l->known->files, compare_names);
  return same && same->inode == file->inode && same->file.size == file->file.size ? same : NULL;
}

static hotrow_status take_file(listing *l, hr_known_file *file)
{
  hr_path path;
  struct stat info;
  int fd = -1;
  HOTROW_TRY(hr_path_format(&path, "%s/%s", l->dir, file->file.name));
  HOTROW_TRY(hr_input_open(path.text, &fd, &file->file.size));
  hotrow_status status = fstat(fd, &info) == 0 ? HOTROW_OK : hr_fail_errno(path.text, "look at");
  file->inode = status == HOTROW_OK ? info.st_ino : 0;
  const hr_known_file *same = find_known(l, file);
  l->bytes.size += file->file.size;
  if (same) {
    file->file.hash = same->file.hash;
  } else if (status == HOTROW_OK) {
    l->bytes.new_size += file->file.size;
    status = hr_input_hash(fd, path.text, file->file.size, l->buffer, &file->file.hash);
    if (status == HOTROW_OK)
      status = hr_sync_file(path.text, fd);
  }
  close(fd);
  return status;
}

static hotrow_status append_files(const listing *l, hr_output *out)
{
  for (size_t i = 0; i < l->now.count; i++)
    HOTROW_TRY(hr_output_append(out, &l->now.files[i].file, sizeof l->now.files[i].file));
  return hr_output_append_hash(out);
}

static hotrow_status write_manifest(listing *l, const hr_manifest_header *header, const hr_manifest_table *tables)
{
  hr_path path;
  hr_output out;
  hr_manifest_header own = *header;
  own.file_count = (uint32_t)l->now.count;
  HOTROW_TRY(hr_path_format(&path, "%s/" HR_MANIFEST_FILE, l->dir));
  HOTROW_TRY(hr_output_begin(&out, path.text, l->buffer));
  hotrow_status status = hr_manifest_append(&out, &own, tables);
  if (status == HOTROW_OK)
    status = append_files(l, &out);
  l->bytes.size += out.size;
  l->bytes.new_size += out.size;
  return hr_output_end(&out, status);
}

static hotrow_status write_part(listing *l, const hr_manifest_header *header, const hr_manifest_table *tables)
{
  HOTROW_TRY(list_names(l));
  for (size_t i = 0; i < l->now.count; i++)
    HOTROW_TRY(take_file(l, &l->now.files[i]));
  HOTROW_TRY(write_manifest(l, header, tables));
  return hr_sync_directory(l->dir);
}

hotrow_status hr_database_write_manifest(const char *dir, const hr_manifest_header *header,
                                         const hr_manifest_table *tables, hr_known_files *known, hr_part_bytes *bytes_p)
{
  listing l = {.dir = dir, .known = known};
  void *files, *buffer;
  HOTROW_TRY(hr_alloc(HR_MANIFEST_FILES_MAX, sizeof *l.now.files, "the files of a checkpoint", &files));
  l.now.files = files;
  hotrow_status status = hr_alloc(HR_SAVE_BUFFER_BYTES, 1, "checkpoint buffer", &buffer);
  if (status == HOTROW_OK) {
    l.buffer = buffer;
    status = write_part(&l, header, tables);
    free(buffer);
  }
  if (status != HOTROW_OK) {
    hr_known_files_free(&l.now);
    return status;
  }
  hr_known_files_free(known);
  *known = l.now;
  *bytes_p = l.bytes;
  return HOTROW_OK;
}

void hr_known_files_free(hr_known_files *known)
{
  free(known->files);
  *known = (hr_known_files){0};
}

/* ---- checking ---- */

static bool is_listed(const hr_manifest *part, const char *name)
{
  size_t first = 0, end = part->header.file_count; /* they are in the order of their names */
  while (first < end) {
    size_t middle = (first + end) / 2;
    int order = strcmp(name, part->files[middle].name);
    if (order == 0)
      return true;
    if (order < 0)
      end = middle;
    else
      first = middle + 1;
  }
  return false;
}

static hotrow_status check_strangers(const hr_manifest *part)
{
  DIR *entries = opendir(part->path.text);
  if (!entries)
    return hr_fail_errno(part->path.text, "list");
  hotrow_status status = HOTROW_OK;
  for (const struct dirent *entry; status == HOTROW_OK && (entry = readdir(entries));)
    if (!is_not_listed(entry->d_name) && !is_listed(part, entry->d_name))
      status = hr_fail(HOTROW_ERR_CORRUPT, "%s/%s: not one of the files that MANIFEST lists", part->path.text,
                       entry->d_name);
  closedir(entries);
  return status;
}

/* Opens file `index` and checks its size. */
static hotrow_status open_file(const hr_manifest *part, size_t index, hr_path *path_p, int *fd_p)
{
  const hr_manifest_file *file = &part->files[index];
  uint64_t size = 0;
  HOTROW_TRY(hr_path_format(path_p, "%s/%s", part->path.text, file->name));
  HOTROW_TRY(hr_input_open(path_p->text, fd_p, &size));
  if (size == file->size)
    return HOTROW_OK;
  close(*fd_p);
  return hr_fail(HOTROW_ERR_CORRUPT, "%s: %llu bytes, MANIFEST says %llu", path_p->text, (unsigned long long)size,
                 (unsigned long long)file->size);
}

hotrow_status hr_database_check_files(const hr_manifest *part)
{
  for (size_t i = 0; i < part->header.file_count; i++) {
    hr_path path;
    int fd = -1;
    HOTROW_TRY(open_file(part, i, &path, &fd));
    close(fd);
  }
  return check_strangers(part);
}

hotrow_status hr_database_check_bytes(const hr_manifest *part, size_t index, uint8_t *buffer)
{
  hr_path path;
  int fd = -1;
  uint64_t hash = 0;
  HOTROW_ASSERT(index < part->header.file_count);
  HOTROW_TRY(open_file(part, index, &path, &fd));
  hotrow_status status = hr_input_hash(fd, path.text, part->files[index].size, buffer, &hash);
  close(fd);
  if (status == HOTROW_OK && hash != part->files[index].hash)
    return hr_fail(HOTROW_ERR_CORRUPT, "%s: its bytes do not match the checksum in MANIFEST", path.text);
  return status;
}
