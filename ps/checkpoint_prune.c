#include "checkpoint_prune.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/log.h>

#include "save_set.h"

typedef struct listed {
  char name[HR_WIRE_NAME_BYTES_MAX + 1];
  uint64_t created_ns;
} listed;

/* The length of a name up to and with its last '-', if digits alone follow; else 0. */
static size_t series_size(const char *name, size_t name_size)
{
  size_t size = name_size;
  while (size > 0 && name[size - 1] >= '0' && name[size - 1] <= '9')
    size--;
  return size > 1 && size < name_size && name[size - 1] == '-' ? size : 0;
}

static bool is_of_series(const char *name, size_t name_size, const char *series, size_t size)
{
  return name_size <= HR_WIRE_NAME_BYTES_MAX && series_size(name, name_size) == size && memcmp(name, series, size) == 0;
}

/* ".<series>-<digits>.<token>.tmp" */
static bool is_left_behind(const char *name, const char *series, size_t size)
{
  const char *end = name[0] == '.' ? strchr(name + 1, '.') : NULL;
  for (const char *next; end && (next = strchr(end + 1, '.')) && strcmp(next, ".tmp") != 0;)
    end = next; /* a name may have dots */
  return end && strlen(end) > 4 && strcmp(end + strlen(end) - 4, ".tmp") == 0 &&
         is_of_series(name + 1, (size_t)(end - name - 1), series, size);
}

static void remove_checkpoint(const char *save_dir, const char *name)
{
  hr_path path, aside;
  if (hr_path_format(&path, "%s/%s", save_dir, name) != HOTROW_OK ||
      hr_path_format(&aside, "%s/.%s.old.tmp", save_dir, name) != HOTROW_OK)
    return;
  if (rename(path.text, aside.text) == 0)
    hr_remove_directory(aside.text);
  else
    hr_log(HOTROW_LOG_WARN, "checkpoint %s cannot be removed", path.text);
}

static void list_one(const char *save_dir, const char *name, listed *list, size_t *count)
{
  hr_path path;
  hr_save_set set;
  if (*count == HR_PRUNE_LISTED_MAX || hr_path_format(&path, "%s/%s", save_dir, name) != HOTROW_OK ||
      hr_save_set_open(path.text, &set) != HOTROW_OK)
    return;
  if (set.is_checkpoint) {
    listed *entry = &list[(*count)++];
    memcpy(entry->name, name, strlen(name) + 1);
    entry->created_ns = set.checkpoint.created_ns;
  }
  hr_save_set_close(&set);
}

static int compare_newest_first(const void *a_p, const void *b_p)
{
  const listed *a = a_p, *b = b_p;
  return (a->created_ns < b->created_ns) - (a->created_ns > b->created_ns);
}

static void prune(const char *save_dir, DIR *entries, const hr_checkpoint *newest, size_t size, listed *list)
{
  size_t count = 0;
  hr_path path;
  for (struct dirent *entry; (entry = readdir(entries));) {
    const char *name = entry->d_name;
    if (is_left_behind(name, newest->name, size) && hr_path_format(&path, "%s/%s", save_dir, name) == HOTROW_OK)
      hr_remove_directory(path.text);
    else if (is_of_series(name, strlen(name), newest->name, size) && strcmp(name, newest->name) != 0)
      list_one(save_dir, name, list, &count);
  }
  qsort(list, count, sizeof *list, compare_newest_first);
  for (size_t i = newest->keep - 1; i < count; i++)
    remove_checkpoint(save_dir, list[i].name);
}

void hr_checkpoint_prune(const char *save_dir, const hr_checkpoint *newest)
{
  size_t size = series_size(newest->name, strlen(newest->name));
  if (newest->keep == 0 || size == 0)
    return;
  DIR *entries = opendir(save_dir);
  listed *list = calloc(HR_PRUNE_LISTED_MAX, sizeof *list);
  if (entries && list)
    prune(save_dir, entries, newest, size, list);
  free(list);
  if (entries)
    closedir(entries);
}
