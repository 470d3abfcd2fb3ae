#include "disk_test.h"

#include <dirent.h>
#include <poll.h>
#include <unistd.h>

#define STORAGE_BYTES ((size_t)4 << 20)
#define ROWS_MAX 1000000u /* little address space: a sanitizer has less */

const char *disk_dir(const char *name)
{
  static char paths[32][512];
  static size_t count;
  char *path = paths[count++ % 32];
  snprintf(path, sizeof paths[0], "%s/%s", hr_test_tmpdir(), name);
  return path;
}

void disk_start(disk *d, const char *dir)
{
  disk_start_within(d, dir, 0);
}

void disk_start_within(disk *d, const char *dir, size_t memory_bytes)
{
  d->dir = dir;
  CHECK_OK(hr_rocksdb_open(dir, 0, 1, memory_bytes ? STORAGE_BYTES : 0, &d->storage));
  CHECK(hr_rocksdb_epoch(d->storage) > d->epoch);
  d->epoch = hr_rocksdb_epoch(d->storage);
  d->t = test_shard_open(&(hr_shard_options){
      .epoch = d->epoch,
      .storage = hr_rocksdb_calls(d->storage),
      .row_count_max = ROWS_MAX,
      .durability = d->durability,
      .memory_bytes = memory_bytes,
      .cut_turn_bytes = 1,
      .cut_bytes_max = d->cut_bytes_max,
  });
  d->t->now_ns = 1000000000000u;
  d->t->settle = disk_settle;
  d->t->settle_context = d->storage;
  CHECK_OK(hr_rocksdb_restore(d->storage, d->t->shard, d->t->now_ns, NULL, NULL));
}

void disk_settle(hr_shard *shard, void *storage)
{
  struct pollfd item = {.fd = hr_rocksdb_fd(storage), .events = POLLIN};
  while (hr_rocksdb_is_reading(storage)) {
    hr_row_read *read = hr_rocksdb_take_read(storage);
    if (read)
      hr_shard_take_rows(shard, read, 1000000000000u);
    else
      poll(&item, 1, -1);
  }
}

void disk_die(disk *d)
{
  hr_rocksdb_close(d->storage);
  test_shard_close(d->t);
  d->t = NULL;
}

hotrow_status disk_cut(disk *d)
{
  uint64_t number, written;
  bool had_failed = hr_rocksdb_has_failed(d->storage);
  hotrow_status status = test_cut(d->t->shard, &number);
  if (hr_rocksdb_has_failed(d->storage) && !had_failed)
    hr_shard_degrade(d->t->shard);
  if (status != HOTROW_OK)
    return status;
  hr_rocksdb_wait(d->storage);
  CHECK(hr_rocksdb_take_result(d->storage, &written, &status) && written == number);
  CHECK(!hr_rocksdb_take_result(d->storage, &written, &status));
  if (status == HOTROW_OK)
    hr_shard_cut_is_durable(d->t->shard, number);
  else
    hr_shard_degrade(d->t->shard);
  return status;
}

hotrow_status disk_log(disk *d)
{
  hotrow_status status = hr_rocksdb_can_log(d->storage) ? hr_rocksdb_log(d->storage) : HOTROW_OK;
  if (status != HOTROW_OK && hr_rocksdb_has_failed(d->storage))
    hr_shard_degrade(d->t->shard);
  else if (status != HOTROW_OK)
    hr_shard_log_is_refused(d->t->shard);
  if (status != HOTROW_OK)
    return status;
  if (!hr_rocksdb_is_logging(d->storage))
    return HOTROW_OK;
  hr_shard_log_is_handed(d->t->shard);
  while (!hr_rocksdb_take_logged(d->storage, &status))
    hr_rocksdb_wait(d->storage); /* a cut may be under way too */
  CHECK(!hr_rocksdb_is_logging(d->storage));
  if (status == HOTROW_OK)
    hr_shard_log_is_durable(d->t->shard);
  else
    hr_shard_degrade(d->t->shard);
  return status;
}

hotrow_status disk_make_durable(disk *d)
{
  return d->durability == HOTROW_DURABILITY_LOG ? disk_log(d) : disk_cut(d);
}

uint64_t disk_greet(disk *d, test_client *c)
{
  hr_hello_reply reply;
  test_greet(d->t, c);
  memcpy(&reply, d->t->replies[0].message.body, sizeof reply);
  CHECK_EQ(reply.is_durable, 1);
  c->push_seq = reply.received_seq;
  return reply.received_seq;
}

uint32_t disk_create(disk *d, test_client *c, const hr_table_desc *desc)
{
  hr_table_desc answer;
  hotrow_status status;
  uint64_t number;
  test_clear(d->t);
  test_body(c, HR_OP_TABLE_CREATE, desc, sizeof *desc);
  test_send(d->t, c);
  CHECK_OK(test_copy(d->t->shard));
  if (d->t->reply_count > 0) /* refused: say why */
    CHECK_OK(test_status(&d->t->replies[0].message));
  hr_rocksdb_wait(d->storage);
  CHECK(hr_rocksdb_take_result(d->storage, &number, &status));
  CHECK_OK(status);
  hr_shard_cut_is_durable(d->t->shard, number);
  CHECK_OK(test_status(&test_one_reply(d->t)->message));
  memcpy(&answer, d->t->replies[0].message.body, sizeof answer);
  return answer.id;
}

hotrow_status disk_push(disk *d, test_client *c, uint32_t table, uint64_t key, float grad)
{
  test_push_row(c, table, key, grad);
  return test_ask(d->t, c);
}

void disk_remove(const char *dir)
{
  char path[1200], shard[600];
  snprintf(shard, sizeof shard, "%s/shard-0-of-1", dir);
  DIR *entries = opendir(shard);
  for (const struct dirent *entry; entries && (entry = readdir(entries));) {
    snprintf(path, sizeof path, "%s/%.255s", shard, entry->d_name);
    if (entry->d_type == DT_REG)
      CHECK_EQ(unlink(path), 0);
  }
  if (entries)
    closedir(entries);
  snprintf(path, sizeof path, "%s.lock", shard);
  unlink(path);
  rmdir(shard);
  rmdir(dir);
}

/* ---- rows ---- */

typedef struct row_list {
  uint8_t *bytes;
  size_t size, capacity, record_size, float_bytes;
} row_list;

static hotrow_status add_row(uint64_t key, uint32_t clock, const float *record, void *context)
{
  row_list *list = context;
  if (list->size + list->record_size > list->capacity) { /* doubled: a sanitizer copies all at each realloc */
    list->capacity = 2 * list->capacity + list->record_size;
    list->bytes = realloc(list->bytes, list->capacity);
  }
  CHECK(list->bytes);
  uint8_t *at = list->bytes + list->size;
  memcpy(at, &key, sizeof key);
  memcpy(at + 8, &clock, sizeof clock);
  memcpy(at + 12, record, list->float_bytes);
  list->size += list->record_size;
  return HOTROW_OK;
}

static int compare_rows(const void *a, const void *b)
{
  return memcmp(a, b, sizeof(uint64_t));
}

void *disk_rows(const disk *d, uint32_t table, size_t *size_p)
{
  const hr_table *t = hr_shard_table(d->t->shard, table);
  const hotrow_row_layout *layout = hr_table_get_layout(t);
  row_list list = {.float_bytes = (layout->dim + layout->state_dim) * sizeof(float)};
  list.record_size = 12 + list.float_bytes;
  CHECK_OK(hr_table_scan(t, add_row, &list));
  qsort(list.bytes, list.size / list.record_size, list.record_size, compare_rows);
  *size_p = list.size;
  return list.bytes;
}
