#include "table_state.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/optimizer.h>
#include <hr/random.h>
#include <hr/route.h>

#define ROW_ALIGNMENT_FLOATS 4u
#define ROWS_BYTES_MAX ((size_t)1 << 40)
#define SCAN_CHUNK 256u
#define TELL_ROWS 64u

bool hr_table_desc_matches(const hr_table_desc *a, const hr_table_desc *b)
{
  return strncmp(a->name, b->name, sizeof a->name) == 0 && a->seed == b->seed && a->dim == b->dim &&
         a->segment_count == b->segment_count && a->storage_dtype == b->storage_dtype &&
         memcmp((const void *)a->segments, (const void *)b->segments, sizeof a->segments) == 0 &&
         !hr_table_rules_difference(a, b);
}

/* Everything of a description but its id and row_count, which are the shard's. */
static hotrow_status check_desc(const hr_table_desc *desc, hotrow_row_layout *layout_p)
{
  HOTROW_TRY(hr_wire_check_name(desc->name, strnlen(desc->name, sizeof desc->name)));
  HOTROW_TRY(hr_row_layout_make(desc->segments, desc->segment_count, layout_p));
  if (layout_p->dim != desc->dim)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: dim %u, and its segments have %u", desc->name, desc->dim,
                   layout_p->dim);
  if (!hr_dtype_is_kept(desc->storage_dtype))
    return hr_fail(HOTROW_ERR_INVALID, "table %s: storage_dtype %u is none of f32 (0), f16 (1), bf16 (3)", desc->name,
                   desc->storage_dtype);
  if (desc->announce_step > HR_WIRE_BOUND_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: announce_step %u, at most %u", desc->name, desc->announce_step,
                   HR_WIRE_BOUND_MAX);
  hotrow_status rules = hr_table_check_rules(desc);
  if (rules != HOTROW_OK)
    return hr_fail(rules, "table %s: %s", desc->name, hotrow_last_error());
  hr_table_desc resolved = *desc;
  memset(resolved.segments, 0, sizeof resolved.segments);
  for (uint32_t i = 0; i < desc->segment_count; i++) {
    hotrow_segment *segment = &resolved.segments[i];
    *segment = (hotrow_segment){.dim = desc->segments[i].dim, .optimizer = layout_p->segments[i].optimizer};
    HOTROW_TRY(hr_initializer_resolve(&desc->segments[i].initializer, segment->dim, &segment->initializer));
  }
  if (!hr_table_desc_matches(&resolved, desc))
    return hr_fail(HOTROW_ERR_INVALID, "table %s: its segments have defaults left to fill in", desc->name);
  return HOTROW_OK;
}

static hotrow_status map_rows(hr_table *table)
{
  void *memory;
  HOTROW_TRY(hr_table_memory_map(&table->memory, HR_ARRAY_ROWS,
                                 table->row_count_max * table->row_stride * sizeof *table->rows, "rows of a table",
                                 &memory));
  table->rows = memory;
  HOTROW_TRY(hr_table_memory_map(&table->memory, HR_ARRAY_KEYS, table->row_count_max * sizeof *table->keys,
                                 "keys of a table", &memory));
  table->keys = memory;
  HOTROW_TRY(hr_table_memory_map(&table->memory, HR_ARRAY_ANNOUNCED, table->row_count_max * sizeof *table->announced,
                                 "announced clocks of a table", &memory));
  table->announced = memory;
  return hr_index_init(&table->index, table->seed, table->row_count_max, &table->memory);
}

/* Of a table's row_count_max each shard has the same part. */
static void limit_rows(hr_table *table, uint32_t shard_count)
{
  uint64_t own = (table->desc.row_count_max + shard_count - 1) / shard_count;
  if (own > 0 && own < table->row_count_max)
    table->row_count_max = own;
}

hotrow_status hr_table_create(const hr_table_desc *desc, uint64_t row_count_max, hr_table **table_p)
{
  hotrow_row_layout layout;
  HOTROW_TRY(check_desc(desc, &layout));
  const hotrow_kernels *kernels;
  HOTROW_TRY(hotrow_kernels_get(HOTROW_CPU, &kernels));
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(hr_table), "table", &memory));
  hr_table *table = memory;
  *table = (hr_table){.desc = *desc, .layout = layout, .kernels = kernels, .probe = hr_probe_best()};
  hr_table_memory_init(&table->memory);
  table->desc.row_count = 0;
  table->seed = hr_table_seed(desc->name, strlen(desc->name));
  bool is_packed = hr_table_is_packed(table);
  table->value_floats = is_packed ? (layout.dim + 1) / 2 : layout.dim;
  size_t record = table->value_floats + layout.state_dim + hr_table_has_eviction(desc);
  table->row_stride = (record + ROW_ALIGNMENT_FLOATS - 1) / ROW_ALIGNMENT_FLOATS * ROW_ALIGNMENT_FLOATS;
  table->row_count_max = row_count_max && row_count_max < HR_TABLE_ROWS_MAX ? row_count_max : HR_TABLE_ROWS_MAX;
  if (table->row_count_max > ROWS_BYTES_MAX / sizeof(float) / table->row_stride)
    table->row_count_max = ROWS_BYTES_MAX / sizeof(float) / table->row_stride;
  limit_rows(table, 1);
  hotrow_status status = map_rows(table);
  if (status == HOTROW_OK && hr_table_has_admission(desc))
    status = hr_admission_init(&table->admission);
  if (status == HOTROW_OK && is_packed)
    status = hr_row_work_init(&table->work, &layout);
  if (status != HOTROW_OK) {
    hr_table_destroy(table);
    return status;
  }
  *table_p = table;
  return HOTROW_OK;
}

void hr_table_destroy(hr_table *table)
{
  if (!table)
    return;
  hr_table_untrack(table);
  hr_index_fini(&table->index);
  hr_table_memory_fini(&table->memory);
  hr_admission_fini(&table->admission);
  hr_key_set_fini(&table->expiry.gone);
  hr_key_set_fini(&table->expiry.leaving);
  hr_key_set_fini(&table->expiry.busy);
  free(table->admitted.keys);
  free(table->admitted.steps);
  free(table->admitted.grads);
  free(table->admitted.squares);
  hr_row_work_fini(&table->work);
  free(table->push_grads);
  free(table->push_rows);
  free(table);
}

const hotrow_row_layout *hr_table_get_layout(const hr_table *table)
{
  return &table->layout;
}

size_t hr_table_record_floats(const hr_table *table)
{
  return table->layout.dim + table->layout.state_dim + hr_table_has_eviction(&table->desc);
}

const hr_table_desc *hr_table_get_desc(const hr_table *table)
{
  return &table->desc;
}

uint64_t hr_table_get_seed(const hr_table *table)
{
  return table->seed;
}

size_t hr_table_heap_bytes(const hr_table *table)
{
  const hr_expiry *e = &table->expiry;
  size_t set_bytes = (e->gone.slot_count + e->leaving.slot_count + e->busy.slot_count) * sizeof *e->gone.slots;
  size_t admitted_bytes = table->admitted.count_max * (sizeof(uint64_t) + sizeof(uint32_t) +
                                                       (table->layout.dim + table->layout.square_dim) * sizeof(float));
  return (sizeof(void *) << table->index.depth) + set_bytes + admitted_bytes + hr_row_work_bytes(&table->work) +
         3 * table->push_count_max * sizeof *table->push_rows + table->push_grads_max * sizeof *table->push_grads;
}

static size_t mark_bytes(const hr_table *table, size_t (*pages_of)(size_t used_bytes))
{
  const hr_row_marks *m = &table->marks;
  uint64_t dirty = m->dirty_count > m->dirty_peak ? m->dirty_count : m->dirty_peak;
  size_t copied_bytes = table->cut.copied ? pages_of(table->cut.row_count / CHAR_BIT) : 0;
  if (!m->bytes)
    return copied_bytes;
  return copied_bytes + pages_of(table->slot_count) + pages_of(dirty * sizeof *m->dirty) +
         pages_of(m->dirty_peak * sizeof *m->cutting);
}

static size_t as_used(size_t used_bytes)
{
  return used_bytes;
}

size_t hr_table_slack_bytes(const hr_table *table)
{
  return mark_bytes(table, hr_map_touched) - mark_bytes(table, as_used);
}

size_t hr_table_memory_bytes(const hr_table *table)
{
  const size_t used[HR_ARRAY_COUNT] = {
      [HR_ARRAY_ROWS] = table->slot_count * table->row_stride * sizeof *table->rows,
      [HR_ARRAY_KEYS] = table->slot_count * sizeof *table->keys,
      [HR_ARRAY_ANNOUNCED] = table->desc.announce_step > 0 ? table->slot_count * sizeof *table->announced : 0,
      [HR_ARRAY_INDEX] = table->index.segment_count * sizeof *table->index.segments,
  };
  size_t size_bytes = 0;
  for (hr_array_kind kind = HR_ARRAY_ROWS; kind < HR_ARRAY_COUNT; kind++)
    size_bytes += used[kind] + hr_table_memory_ahead(&table->memory, kind, used[kind]);
  return size_bytes + mark_bytes(table, as_used) + hr_admission_bytes(&table->admission) + hr_table_heap_bytes(table);
}

size_t hr_table_index_bytes(const hr_table *table)
{
  return hr_index_memory_bytes(&table->index);
}

float *hr_table_rows(const hr_table *table, size_t *row_stride_p)
{
  *row_stride_p = table->row_stride;
  return table->rows;
}

void hr_table_look(const hr_table *table, const uint64_t *keys, size_t key_count, uint32_t *rows_p, uint32_t *clocks_p)
{
  const hr_entry nothing = {.row = HR_ROW_NONE};
  hr_entry *entries[HR_PROBE_BLOCK];
  hr_probe probe = hr_probe_begin(&table->index, keys, key_count);
  size_t done = 0;
  for (size_t count; (count = table->probe(&probe, entries)) > 0; done += count)
    for (size_t i = 0; i < count; i++) {
      const hr_entry *entry = entries[i] ? entries[i] : &nothing;
      rows_p[done + i] = entry->row;
      clocks_p[done + i] = entry->clock;
    }
}

void hr_table_find(const hr_table *table, const uint64_t *keys, size_t key_count, uint32_t *rows_p, uint32_t *clocks_p)
{
  hr_table_look(table, keys, key_count, rows_p, clocks_p);
  for (size_t i = 0; table->marks.counts_use && i < key_count; i++)
    if (rows_p[i] != HR_ROW_NONE)
      hr_table_use(table, rows_p[i]);
}

static void tell_memory(hr_table *table)
{
  uint64_t count = table->resident_count;
  hr_table_memory_use(&table->memory, HR_ARRAY_ROWS, count * table->row_stride * sizeof *table->rows);
  hr_table_memory_use(&table->memory, HR_ARRAY_KEYS, count * sizeof *table->keys);
  if (table->desc.announce_step > 0)
    hr_table_memory_use(&table->memory, HR_ARRAY_ANNOUNCED, count * sizeof *table->announced);
}

/* Adds a key that is not in memory; its record holds nothing yet. */
hotrow_status hr_table_add_row(hr_table *table, uint64_t hash, uint64_t key, hr_entry **entry_p)
{
  if (table->shard_count && hr_shard_of(hash, table->shard_count) != table->shard_index)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: key %llu belongs to shard %u, not to shard %u", table->desc.name,
                   (unsigned long long)key, hr_shard_of(hash, table->shard_count), table->shard_index);
  HOTROW_ASSERT(table->resident_count < table->row_count_max);
  uint64_t row = table->resident_count;
  HOTROW_TRY(hr_index_insert(&table->index, hash, key, (uint32_t)row, entry_p));
  table->keys[row] = key;
  if (table->marks.bytes)
    table->marks.bytes[row] = table->marks.counts_use ? HR_ROW_USED : 0;
  table->resident_count++;
  if (table->resident_count > table->slot_count)
    table->slot_count = table->resident_count;
  if (table->resident_count % TELL_ROWS == 0)
    tell_memory(table);
  return HOTROW_OK;
}

static hotrow_status check_is_not_full(const hr_table *table)
{
  if (table->desc.row_count == table->row_count_max)
    return hr_fail(HOTROW_ERR_LIMIT, "table %s is full: row_count_max is %llu", table->desc.name,
                   (unsigned long long)table->row_count_max);
  return HOTROW_OK;
}

hotrow_status hr_table_create_row(hr_table *table, uint64_t key, hr_entry **entry_p)
{
  HOTROW_TRY(check_is_not_full(table));
  HOTROW_TRY(hr_table_add_row(table, hr_key_hash(key, table->seed), key, entry_p));
  HOTROW_ASSERT(*entry_p);
  table->desc.row_count++;
  if (table->desc.announce_step > 0)
    table->announced[(*entry_p)->row] = (hr_announced){0};
  float *record = hr_table_begin_record(table, (*entry_p)->row);
  hr_table_default_row(table, key, record);
  hr_row_layout_init_state(&table->layout, record, record + table->layout.dim);
  hr_table_write_record(table, (*entry_p)->row, record);
  hr_table_stamp(table, (*entry_p)->row);
  hr_table_touch(table, (*entry_p)->row);
  return HOTROW_OK;
}

hotrow_status hr_table_find_or_create_one(hr_table *table, uint64_t key, hr_entry **entry_p)
{
  uint64_t hash = hr_key_hash(key, table->seed);
  *entry_p = hr_index_find(&table->index, hash, key);
  if (!*entry_p && table->resident_count < table->desc.row_count) {
    uint64_t fetched;
    HOTROW_TRY(hr_table_fetch(table, &key, 1, false, &fetched));
    *entry_p = hr_index_find(&table->index, hash, key);
  }
  return *entry_p ? HOTROW_OK : hr_table_create_row(table, key, entry_p);
}

hotrow_status hr_table_find_or_create(hr_table *table, const uint64_t *keys, size_t key_count, uint32_t *rows_p,
                                      uint32_t *clocks_p)
{
  hr_entry *entries[HR_PROBE_BLOCK];
  hr_probe probe = hr_probe_begin(&table->index, keys, key_count);
  size_t done = 0;
  for (size_t count; (count = table->probe(&probe, entries)) > 0; done += count)
    for (size_t i = 0; i < count; i++) {
      if (!hr_table_entry_is_good(table, &probe, entries[i]))
        HOTROW_TRY(hr_table_find_or_create_one(table, keys[done + i], &entries[i]));
      rows_p[done + i] = entries[i]->row;
      clocks_p[done + i] = entries[i]->clock;
      hr_table_use(table, entries[i]->row);
    }
  return HOTROW_OK;
}

bool hr_table_lower_announce_step(hr_table *table, uint32_t step)
{
  uint32_t present = table->desc.announce_step;
  if (step == 0 || (present > 0 && present <= step))
    return false;
  table->desc.announce_step = step;
  for (uint64_t row = 0; present == 0 && row < table->resident_count; row++) { /* nobody has a copy that relies on it */
    const hr_entry *entry = hr_index_find(&table->index, hr_key_hash(table->keys[row], table->seed), table->keys[row]);
    table->announced[row] = (hr_announced){.clock = entry->clock};
  }
  return true;
}

void hr_table_set_owner(hr_table *table, uint32_t shard_index, uint32_t shard_count)
{
  HOTROW_ASSERT(shard_index < shard_count && table->desc.row_count == 0 && !table->marks.bytes);
  limit_rows(table, shard_count);
  hr_admission_set_owner(&table->admission, shard_index, shard_count);
  table->shard_index = shard_index;
  table->shard_count = shard_count;
}

void hr_table_default_row(const hr_table *table, uint64_t key, float *value)
{
  const hr_table_desc *desc = &table->desc;
  hr_init_segments(desc->segments, desc->segment_count, desc->seed, table->seed, key, value);
  if (hr_table_is_packed(table)) {
    uint16_t packed[HOTROW_DIM_MAX];
    hotrow_dtype dtype = hr_table_dtype(table);
    table->kernels->pack(dtype, value, desc->dim, desc->dim, NULL, 1, NULL, packed, NULL);
    table->kernels->unpack(dtype, packed, NULL, desc->dim, 1, NULL, value, desc->dim);
  }
}

static hotrow_status scan_resident(const hr_table *table, hr_table_visit_fn visit, void *context)
{
  uint32_t rows[SCAN_CHUNK] = {0}, clocks[SCAN_CHUNK] = {0};
  for (uint64_t first = 0; first < table->resident_count; first += SCAN_CHUNK) {
    uint64_t left = table->resident_count - first;
    size_t count = left < SCAN_CHUNK ? (size_t)left : SCAN_CHUNK;
    const uint64_t *keys = table->keys + first;
    hr_table_look(table, keys, count, rows, clocks);
    for (size_t i = 0; i < count; i++) {
      HOTROW_ASSERT(rows[i] == first + i);
      HOTROW_TRY(visit(keys[i], clocks[i], hr_table_read_record(table, first + i), context));
    }
  }
  return HOTROW_OK;
}

typedef struct cold_scan {
  const hr_table *table;
  hr_table_visit_fn visit;
  void *context;
} cold_scan;

static hotrow_status visit_cold(uint64_t key, uint32_t clock, const float *record, void *context)
{
  const cold_scan *scan = context;
  bool is_none = hr_table_has_resident(scan->table, key) || hr_table_is_gone(scan->table, key);
  return is_none ? HOTROW_OK : scan->visit(key, clock, record, scan->context);
}

hotrow_status hr_table_scan(const hr_table *table, hr_table_visit_fn visit, void *context)
{
  HOTROW_TRY(scan_resident(table, visit, context));
  if (table->resident_count == table->desc.row_count)
    return HOTROW_OK;
  cold_scan scan = {table, visit, context};
  return table->storage->visit_rows(table->storage->context, &table->desc, hr_table_record_floats(table), 0, SIZE_MAX,
                                    visit_cold, &scan);
}

hotrow_status hr_table_restore_row(hr_table *table, uint64_t key, uint32_t clock, const float *record)
{
  uint64_t hash = hr_key_hash(key, table->seed);
  if (hr_index_find(&table->index, hash, key))
    return hr_fail(HOTROW_ERR_EXISTS, "table %s has key %llu already", table->desc.name, (unsigned long long)key);
  HOTROW_TRY(check_is_not_full(table));
  hr_entry *entry;
  HOTROW_TRY(hr_table_add_row(table, hash, key, &entry));
  table->desc.row_count++;
  entry->clock = clock;
  if (table->desc.announce_step > 0)
    table->announced[entry->row] = (hr_announced){.clock = clock};
  hr_table_write_record(table, entry->row, record);
  hr_table_copy_stamp(table, entry->row, record);
  return HOTROW_OK;
}
