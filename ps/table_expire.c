/* Rows that go for good.
 *
 * A row is dead when it was not pushed to in the last steps_to_live steps of training (and, if l2_weight_threshold says
 * so, its value is small). What is dead is found by nobody: whoever asks for its key takes it out first. So what a job
 * sees depends on its steps alone, and not on when the hand comes by that takes out those that nobody asks for.
 *
 * In a table of row_count_max rows the one used least makes room: of a few that are drawn. */
#include <string.h>

#include <hr/assert.h>
#include <hr/random.h>

#include "row_read.h"
#include "table_state.h"

#define LOOK_CHUNK 256u
#define SAMPLE 16u /* rows that are drawn, of which the one used least goes */
#define HAND_AHEAD 8u

void hr_table_set_log(hr_table *table, hr_announce_log *log)
{
  table->expiry.log = log;
}

void hr_table_advance(hr_table *table, uint32_t step_count)
{
  if (hr_table_has_eviction(&table->desc))
    table->desc.step += step_count;
}

uint64_t hr_table_expired_count(const hr_table *table)
{
  return table->expiry.count;
}

static bool is_small(const hr_table *table, const float *value)
{
  double sum = 0, threshold = table->desc.l2_weight_threshold;
  for (uint32_t i = 0; i < table->layout.dim; i++)
    sum += (double)value[i] * (double)value[i];
  return threshold == 0 || sum < threshold * threshold;
}

static bool is_old(const hr_table *table, uint32_t pushed_at)
{
  return table->desc.steps_to_live > 0 && table->desc.step - pushed_at > table->desc.steps_to_live;
}

bool hr_table_is_dead(const hr_table *table, const float *record)
{
  uint32_t pushed_at;
  if (table->desc.steps_to_live == 0)
    return false;
  memcpy(&pushed_at, record + table->layout.dim + table->layout.state_dim, sizeof pushed_at);
  return is_old(table, pushed_at) && is_small(table, record);
}

static bool is_dead_row(const hr_table *table, uint64_t row)
{
  return is_old(table, hr_table_pushed_at(table, row)) &&
         (table->desc.l2_weight_threshold == 0 || is_small(table, hr_table_read_record(table, row)));
}

bool hr_table_is_gone(const hr_table *table, uint64_t key)
{
  return hr_key_set_has(&table->expiry.gone, key) || hr_key_set_has(&table->expiry.leaving, key);
}

/* The next cut deletes it, and whoever has a copy is told. Reserved before. */
static void say_gone(hr_table *table, uint64_t key, uint32_t *place)
{
  hr_expiry *expiry = &table->expiry;
  if (table->marks.bytes)
    hr_key_set_add(&expiry->gone, key);
  if (table->desc.announce_step > 0 && expiry->log)
    hr_announce_log_append_gone(expiry->log, table->desc.id, key, place);
  table->desc.row_count--;
  expiry->count++;
}

static hotrow_status reserve_gone(hr_table *table, size_t count)
{
  return table->marks.bytes ? hr_key_set_reserve(&table->expiry.gone, count) : HOTROW_OK;
}

hotrow_status hr_table_bury(hr_table *table, uint64_t key)
{
  uint32_t nowhere = 0;
  HOTROW_TRY(reserve_gone(table, 1));
  say_gone(table, key, &nowhere);
  return HOTROW_OK;
}

/* The list of dirty rows has room for two entries a row: those of no row any more go out when they are half of one. */
static void expire(hr_table *table, uint32_t row)
{
  if (table->marks.stale_count > 0 && table->marks.stale_count >= table->row_count_max / 2)
    hr_table_settle(table);
  say_gone(table, table->keys[row], &table->announced[row].place);
  hr_table_take_out(table, row);
}

void hr_table_sweep(hr_table *table, uint64_t row_count)
{
  hr_expiry *expiry = &table->expiry;
  if (table->desc.steps_to_live == 0)
    return;
  if (row_count > table->resident_count)
    row_count = table->resident_count;
  for (uint64_t i = 0; i < row_count && table->resident_count > 0; i++) {
    if (expiry->hand >= table->resident_count)
      expiry->hand = 0;
    uint32_t row = (uint32_t)expiry->hand;
    if (row + HAND_AHEAD < table->resident_count)
      __builtin_prefetch(hr_table_stamp_at(table, row + HAND_AHEAD));
    if (!is_dead_row(table, row))
      expiry->hand++;
    else if (reserve_gone(table, 1) == HOTROW_OK)
      expire(table, row);
    else
      return; /* when there is memory again */
  }
}

void hr_table_ask_visit(const hr_table *table, hr_row_read *read)
{
  read->is_visit = true;
  read->first = table->expiry.stored_hand;
  read->key_count = read->key_count_max;
}

/* A row in memory is newer than what was read of it, and one that went is not there. */
hotrow_status hr_table_take_visit(hr_table *table, const hr_row_read *read)
{
  hr_expiry *expiry = &table->expiry;
  uint32_t rows[HR_READ_KEYS_MAX], clocks[HR_READ_KEYS_MAX];
  size_t dead_count = 0;
  HOTROW_ASSERT(read->is_visit && read->first == expiry->stored_hand);
  HOTROW_TRY(read->status);
  hr_table_look(table, read->keys, read->found_count, rows, clocks);
  for (size_t i = 0; i < read->found_count; i++)
    if (rows[i] == HR_ROW_NONE && hr_table_is_dead(table, read->records + i * read->float_count) &&
        !hr_table_is_gone(table, read->keys[i]))
      rows[dead_count++] = (uint32_t)i;
  if (dead_count > table->desc.row_count - table->resident_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "table %s: %zu rows are stored where there are %llu", table->desc.name,
                   dead_count, (unsigned long long)(table->desc.row_count - table->resident_count));
  HOTROW_TRY(reserve_gone(table, dead_count));
  for (size_t d = 0; d < dead_count; d++) {
    uint32_t nowhere = 0;
    say_gone(table, read->keys[rows[d]], &nowhere);
  }
  bool is_end = read->found_count < read->key_count; /* the largest key is followed by the smallest */
  expiry->stored_hand = is_end ? 0 : read->keys[read->found_count - 1] + 1;
  return HOTROW_OK;
}

hotrow_status hr_table_expire_keys(hr_table *table, const uint64_t *keys, size_t key_count)
{
  uint32_t rows[LOOK_CHUNK], clocks[LOOK_CHUNK];
  for (size_t first = 0; table->desc.steps_to_live > 0 && first < key_count; first += LOOK_CHUNK) {
    size_t count = key_count - first < LOOK_CHUNK ? key_count - first : LOOK_CHUNK;
    hr_table_look(table, keys + first, count, rows, clocks);
    size_t dead_count = 0; /* rows move once one goes: so first all are looked at */
    for (size_t i = 0; i < count; i++)
      if (rows[i] != HR_ROW_NONE && is_dead_row(table, rows[i]))
        rows[dead_count++] = (uint32_t)i;
    HOTROW_TRY(reserve_gone(table, dead_count));
    for (size_t d = 0; d < dead_count; d++) {
      uint64_t key = keys[first + rows[d]];
      const hr_entry *entry = hr_index_find(&table->index, hr_key_hash(key, table->seed), key);
      if (entry) /* NULL: the key is in the list twice */
        expire(table, entry->row);
    }
  }
  return HOTROW_OK;
}

/* How much longer than others a row was left alone, or how much seldomer it was pushed to. */
static uint32_t idleness(const hr_table *table, uint64_t row)
{
  if (table->desc.eviction == HOTROW_EVICT_LRU)
    return table->desc.step - hr_table_pushed_at(table, row);
  uint64_t key = table->keys[row];
  return UINT32_MAX - hr_index_find(&table->index, hr_key_hash(key, table->seed), key)->clock;
}

/* Of some rows drawn at random, but for those of the request in hand; HR_ROW_NONE: there are no others. */
static uint32_t choose_victim(hr_table *table)
{
  hr_expiry *expiry = &table->expiry;
  uint32_t victim = HR_ROW_NONE, most = 0, drawn = 0;
  for (uint64_t turns = SAMPLE + table->resident_count; turns > 0 && drawn < SAMPLE; turns--) {
    bool is_drawn = turns > table->resident_count; /* most may be of the request: then the first that is not will do */
    uint32_t row = (uint32_t)(is_drawn ? hr_mix64(++expiry->draws) % table->resident_count : turns - 1);
    if (!is_drawn && victim != HR_ROW_NONE)
      break;
    if (hr_key_set_has(&expiry->busy, table->keys[row]))
      continue;
    uint32_t idle = idleness(table, row);
    if (victim == HR_ROW_NONE || idle > most) {
      victim = row;
      most = idle;
    }
    drawn++;
  }
  return victim;
}

static size_t count_missing(const hr_table *table, const uint64_t *keys, size_t key_count)
{
  uint32_t rows[LOOK_CHUNK], clocks[LOOK_CHUNK];
  size_t missing_count = 0;
  for (size_t first = 0; first < key_count; first += LOOK_CHUNK) {
    size_t count = key_count - first < LOOK_CHUNK ? key_count - first : LOOK_CHUNK;
    hr_table_look(table, keys + first, count, rows, clocks);
    for (size_t i = 0; i < count; i++)
      missing_count += rows[i] == HR_ROW_NONE;
  }
  return missing_count;
}

hotrow_status hr_table_make_room(hr_table *table, const uint64_t *keys, size_t key_count)
{
  hr_key_set *busy = &table->expiry.busy;
  uint64_t max = table->row_count_max;
  if (table->desc.row_count_max == 0 || table->desc.row_count + key_count <= max)
    return HOTROW_OK;
  size_t missing_count = count_missing(table, keys, key_count);
  if (missing_count == 0 || table->desc.row_count + missing_count <= max)
    return HOTROW_OK;
  uint64_t over = table->desc.row_count + missing_count - max;
  hr_key_set_clear(busy);
  HOTROW_TRY(hr_key_set_reserve(busy, key_count));
  HOTROW_TRY(reserve_gone(table, (size_t)over));
  for (size_t i = 0; i < key_count; i++)
    hr_key_set_add(busy, keys[i]);
  for (; over > 0; over--) {
    uint32_t victim = choose_victim(table);
    if (victim == HR_ROW_NONE)
      return hr_fail(HOTROW_ERR_LIMIT, "table %s: %zu keys in one request, row_count_max %llu leaves this shard %llu",
                     table->desc.name, key_count, (unsigned long long)table->desc.row_count_max,
                     (unsigned long long)max);
    expire(table, victim);
  }
  return HOTROW_OK;
}

hotrow_status hr_table_visit_buckets(const hr_table *table, hr_table_bucket_fn visit, void *context)
{
  const hr_admission_bucket *bucket;
  for (uint64_t number = 0; hr_admission_find(&table->admission, number, &number, &bucket); number++)
    HOTROW_TRY(visit(number, bucket, sizeof *bucket, context));
  return HOTROW_OK;
}

hotrow_status hr_table_restore_admission(hr_table *table, uint64_t number, const void *bytes, size_t size_bytes)
{
  if (!hr_admission_restore(&table->admission, number, bytes, size_bytes))
    return hr_fail(HOTROW_ERR_CORRUPT, "table %s: stored keys without a row, bucket %llu of %zu bytes",
                   table->desc.name, (unsigned long long)number, size_bytes);
  return HOTROW_OK;
}
