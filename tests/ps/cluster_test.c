#include "cluster_test.h"

#include "disk_test.h"

#include <hr/optimizer.h>
#include <hr/route.h>

#define STORAGE_BYTES ((size_t)4 << 20)
#define ROWS_MAX 1000000u /* little address space: a sanitizer has less */

static hr_table_desc describe(void)
{
  hr_table_desc desc = test_desc("t");
  hotrow_optimizer adagrad = {.kind = HOTROW_ADAGRAD, .lr = 1.0f};
  CHECK_OK(hr_optimizer_resolve(&adagrad, &desc.segments[0].optimizer));
  return desc;
}

static void open_shard(disk_cluster *c, uint32_t i, const char *data_dir, const char *save_dir,
                       const hr_shard_aside *aside, size_t memory_bytes)
{
  hr_shard_options options = {.shard_index = i,
                              .shard_count = c->count,
                              .save_dir = save_dir,
                              .row_count_max = ROWS_MAX,
                              .memory_bytes = memory_bytes,
                              .aside = aside ? *aside : (hr_shard_aside){0}};
  CHECK_OK(hr_rocksdb_open(data_dir, i, c->count, memory_bytes ? STORAGE_BYTES : 0, &c->storages[i]));
  options.storage = hr_rocksdb_calls(c->storages[i]);
  options.epoch = hr_rocksdb_epoch(c->storages[i]);
  c->shards[i] = test_shard_open(&options);
  c->shards[i]->settle = disk_settle;
  c->shards[i]->settle_context = c->storages[i];
  CHECK_OK(hr_rocksdb_restore(c->storages[i], c->shards[i]->shard, 1, NULL, NULL));
  c->clients[i] = test_worker(options.epoch, 7, 0, 1, options.epoch);
  c->clients[i].shard_index = i;
  c->clients[i].shard_count = c->count;
}

static void greet(disk_cluster *c, uint32_t i)
{
  hr_table_desc desc = describe();
  test_hello(&c->clients[i]);
  test_clear(c->shards[i]);
  test_send(c->shards[i], &c->clients[i]);
  cluster_pump(c); /* of one that takes a rank over it is durable first */
  const hr_message *reply = &test_one_reply(c->shards[i])->message;
  CHECK_OK(test_status(reply));
  c->clients[i].epoch = reply->header.epoch;
  test_clear(c->shards[i]);
  test_body(&c->clients[i], HR_OP_TABLE_CREATE, &desc, sizeof desc);
  test_send(c->shards[i], &c->clients[i]);
  cluster_pump(c);
  CHECK_OK(test_status(&test_one_reply(c->shards[i])->message));
}

void cluster_open_within(disk_cluster *c, uint32_t count, const char *data_dir, const char *save_dir,
                         const hr_shard_aside *aside, size_t memory_bytes)
{
  *c = (disk_cluster){.count = count};
  for (uint32_t i = 0; i < count; i++)
    open_shard(c, i, data_dir, save_dir, aside, memory_bytes);
  for (uint32_t i = 0; i < count; i++)
    greet(c, i);
}

void cluster_open(disk_cluster *c, uint32_t count, const char *data_dir, const char *save_dir,
                  const hr_shard_aside *aside)
{
  cluster_open_within(c, count, data_dir, save_dir, aside, 0);
}

void cluster_close(disk_cluster *c)
{
  for (uint32_t i = 0; i < c->count; i++) {
    hr_rocksdb_wait(c->storages[i]);
    hr_rocksdb_stop_reader(c->storages[i]);
    test_shard_close(c->shards[i]);
    hr_rocksdb_close(c->storages[i]);
  }
}

void cluster_push(disk_cluster *c, uint64_t first_key, uint64_t key_count, float grad)
{
  uint64_t seed = hr_table_seed("t", 1);
  for (uint64_t key = first_key; key < first_key + key_count; key++) {
    uint32_t shard = hr_shard_of(hr_key_hash(key, seed), c->count);
    test_push_row(&c->clients[shard], 0, key, grad * (float)(key + 1));
    CHECK_OK(test_ask(c->shards[shard], &c->clients[shard]));
  }
}

void cluster_pump(disk_cluster *c)
{
  for (uint32_t i = 0; i < c->count; i++)
    while (c->shards[i] && test_copy(c->shards[i]->shard) == HOTROW_OK && hr_rocksdb_is_busy(c->storages[i])) {
      uint64_t number;
      hotrow_status status;
      hr_rocksdb_wait(c->storages[i]);
      CHECK(hr_rocksdb_take_result(c->storages[i], &number, &status));
      CHECK_OK(status);
      hr_shard_cut_is_durable(c->shards[i]->shard, number);
    }
}

void cluster_cut(disk_cluster *c)
{
  uint64_t number;
  for (uint32_t i = 0; i < c->count; i++)
    CHECK_OK(test_cut(c->shards[i]->shard, &number));
  cluster_pump(c);
}

/* ---- checkpoints ---- */

hr_checkpoint cluster_order(const char *name, uint64_t token)
{
  hr_checkpoint what = {.token = token, .step = token, .blob_size = sizeof CLUSTER_BLOB, .rank_count = 1};
  snprintf(what.name, sizeof what.name, "%s", name);
  return what;
}

hotrow_status cluster_ask(disk_cluster *c, uint32_t shard, hr_checkpoint what, uint32_t action)
{
  struct {
    hr_checkpoint what;
    char bytes[sizeof CLUSTER_BLOB];
  } body = {.what = what, .bytes = CLUSTER_BLOB};
  body.what.action = action;
  test_body(&c->clients[shard], HR_OP_CHECKPOINT, &body,
            sizeof body.what + (action == HR_CHECKPOINT_BLOB ? sizeof CLUSTER_BLOB : 0));
  return test_ask(c->shards[shard], &c->clients[shard]);
}

hotrow_status cluster_ask_all(disk_cluster *c, hr_checkpoint what, uint32_t action)
{
  for (uint32_t i = 0; i < c->count; i++)
    HOTROW_TRY(cluster_ask(c, i, what, action));
  return HOTROW_OK;
}

static hotrow_status steps(disk_cluster *c, hr_checkpoint what)
{
  HOTROW_TRY(cluster_ask_all(c, what, HR_CHECKPOINT_COPY));
  cluster_pump(c);
  HOTROW_TRY(cluster_ask_all(c, what, HR_CHECKPOINT_SETTLE));
  HOTROW_TRY(cluster_ask(c, 0, what, HR_CHECKPOINT_BLOB));
  return cluster_ask(c, 0, what, HR_CHECKPOINT_PUBLISH);
}

hotrow_status cluster_make(disk_cluster *c, const char *name, uint64_t token, uint32_t keep)
{
  hr_checkpoint what = cluster_order(name, token);
  what.keep = keep;
  hotrow_status status = steps(c, what);
  if (status == HOTROW_OK)
    return status;
  char sentence[HR_ERROR_TEXT_BYTES];
  snprintf(sentence, sizeof sentence, "%s", hotrow_last_error());
  cluster_pump(c);
  CHECK_OK(cluster_ask_all(c, what, HR_CHECKPOINT_DROP));
  return hr_fail(status, "%s", sentence);
}

/* ---- rows ---- */

typedef struct row_list {
  uint8_t *bytes;
  size_t size, capacity, record_size;
} row_list;

static hotrow_status add_row(uint64_t key, uint32_t clock, const float *record, void *context)
{
  row_list *list = context;
  if (list->size + list->record_size > list->capacity) {
    list->capacity = 2 * (list->size + list->record_size);
    list->bytes = realloc(list->bytes, list->capacity);
    CHECK(list->bytes);
  }
  uint8_t *at = list->bytes + list->size;
  memcpy(at, &key, sizeof key);
  memcpy(at + 8, &clock, sizeof clock);
  memcpy(at + 12, record, list->record_size - 12);
  list->size += list->record_size;
  return HOTROW_OK;
}

static int compare_rows(const void *a_p, const void *b_p)
{
  uint64_t a, b;
  memcpy(&a, a_p, sizeof a);
  memcpy(&b, b_p, sizeof b);
  return (a > b) - (a < b);
}

uint8_t *cluster_rows(test_shard *const *shards, uint32_t count, size_t *size_p)
{
  row_list list = {0};
  for (uint32_t i = 0; i < count; i++) {
    const hr_table *table = hr_shard_table(shards[i]->shard, 0);
    const hotrow_row_layout *layout = hr_table_get_layout(table);
    list.record_size = 12 + (layout->dim + layout->state_dim) * sizeof(float);
    CHECK_OK(hr_table_scan(table, add_row, &list));
  }
  CHECK(list.record_size > 0);
  qsort(list.bytes, list.size / list.record_size, list.record_size, compare_rows);
  *size_p = list.size;
  return list.bytes;
}

hotrow_status cluster_load_rows(const char *path, uint32_t count, uint8_t **rows_p, size_t *size_p)
{
  test_shard *shards[CLUSTER_SHARDS_MAX] = {0};
  hotrow_status status = HOTROW_OK;
  for (uint32_t i = 0; i < count && status == HOTROW_OK; i++) {
    shards[i] = test_shard_open(&(hr_shard_options){.shard_index = i, .shard_count = count, .row_count_max = ROWS_MAX});
    status = hr_shard_load(shards[i]->shard, path, (hr_load_progress){0}, (hr_load_settle){0});
  }
  if (status == HOTROW_OK)
    *rows_p = cluster_rows(shards, count, size_p);
  for (uint32_t i = 0; i < count && shards[i]; i++)
    test_shard_close(shards[i]);
  return status;
}
