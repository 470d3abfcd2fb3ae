#include "table.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/optimizer.h>
#include <hr/random.h>
#include <hr/route.h>

#include "table_index.h"

#define ROW_ALIGNMENT_FLOATS 4u
#define ROWS_BYTES_MAX ((size_t)1 << 40)
#define FIND_AHEAD 32u /* buckets under way from memory while one is probed; a power of two */
#define SCAN_CHUNK 256u

/* A record of the row array: value[dim], state[state_dim], padding to ROW_ALIGNMENT_FLOATS. Keys are an array of their
 * own: only a scan reads them, and a record of whole cache lines stays one. */
struct hr_table {
  uint32_t shard_index, shard_count; /* of the owner; shard_count 0: any key may be created */
  hr_table_desc desc;                /* row_count is the number of rows there are */
  hr_index index;
  float *rows;    /* owned: address space for row_count_max records */
  uint64_t *keys; /* owned: likewise, of row_count_max keys */
  size_t rows_size;
  size_t keys_size;
  size_t row_stride;
  uint64_t row_count_max;
  uint64_t seed; /* of key hashes */
  hotrow_row_layout layout;
  const hotrow_kernels *kernels;
  uint32_t *push_rows; /* owned, scratch of a push [push_count_max] */
  size_t push_count_max;
};

bool hr_table_desc_matches(const hr_table_desc *a, const hr_table_desc *b)
{
  return strncmp(a->name, b->name, sizeof a->name) == 0 && a->seed == b->seed && a->dim == b->dim &&
         a->segment_count == b->segment_count && a->announce_step == b->announce_step &&
         memcmp(a->segments, b->segments, sizeof a->segments) == 0;
}

static hotrow_status check_desc(const hr_table_desc *desc)
{
  HOTROW_TRY(hr_wire_check_name(desc->name, strnlen(desc->name, sizeof desc->name)));
  if (desc->dim == 0 || desc->dim > HOTROW_DIM_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: dim %u is not in 1 .. %u", desc->name, desc->dim, HOTROW_DIM_MAX);
  if (desc->segment_count != 1 || desc->segments[0].dim != desc->dim)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: %u segments, must be 1 of dim %u", desc->name, desc->segment_count,
                   desc->dim);
  hr_table_desc resolved = *desc;
  hotrow_segment *segment = &resolved.segments[0];
  HOTROW_TRY(hr_optimizer_resolve(&desc->segments[0].optimizer, &segment->optimizer));
  HOTROW_TRY(hr_initializer_resolve(&desc->segments[0].initializer, desc->dim, &segment->initializer));
  if (!hr_table_desc_matches(&resolved, desc))
    return hr_fail(HOTROW_ERR_INVALID,
                   "table %s: optimizer kind %d or initializer kind %d has defaults left to fill in", desc->name,
                   (int)desc->segments[0].optimizer.kind, (int)desc->segments[0].initializer.kind);
  return HOTROW_OK;
}

hotrow_status hr_table_create(const hr_table_desc *desc, uint64_t row_count_max, hr_table **table_p)
{
  HOTROW_TRY(check_desc(desc));
  hotrow_row_layout layout;
  HOTROW_TRY(hr_row_layout_make(desc->segments, desc->segment_count, &layout));
  const hotrow_kernels *kernels;
  HOTROW_TRY(hotrow_kernels_get(HOTROW_CPU, &kernels));
  void *memory;
  HOTROW_TRY(hr_alloc(1, sizeof(hr_table), "table", &memory));
  hr_table *table = memory;
  *table = (hr_table){.desc = *desc, .kernels = kernels};
  table->desc.row_count = 0;
  table->seed = hr_table_seed(desc->name, strlen(desc->name));
  table->layout = layout;
  size_t record = layout.dim + layout.state_dim;
  table->row_stride = (record + ROW_ALIGNMENT_FLOATS - 1) / ROW_ALIGNMENT_FLOATS * ROW_ALIGNMENT_FLOATS;
  table->row_count_max = row_count_max && row_count_max < HR_TABLE_ROWS_MAX ? row_count_max : HR_TABLE_ROWS_MAX;
  if (table->row_count_max > ROWS_BYTES_MAX / sizeof(float) / table->row_stride)
    table->row_count_max = ROWS_BYTES_MAX / sizeof(float) / table->row_stride;
  table->rows_size = table->row_count_max * table->row_stride * sizeof(float);
  table->keys_size = table->row_count_max * sizeof *table->keys;
  void *rows, *keys;
  hotrow_status status = hr_map(table->rows_size, "rows of a table", &rows);
  if (status != HOTROW_OK)
    goto free_table;
  table->rows = rows;
  status = hr_map(table->keys_size, "keys of a table", &keys);
  if (status != HOTROW_OK)
    goto unmap_rows;
  table->keys = keys;
  status = hr_index_init(&table->index, table->seed);
  if (status != HOTROW_OK)
    goto unmap_keys;
  *table_p = table;
  return HOTROW_OK;

unmap_keys:
  hr_unmap(table->keys, table->keys_size);
unmap_rows:
  hr_unmap(table->rows, table->rows_size);
free_table:
  free(table);
  return status;
}

void hr_table_destroy(hr_table *table)
{
  if (!table)
    return;
  hr_index_fini(&table->index);
  hr_unmap(table->keys, table->keys_size);
  hr_unmap(table->rows, table->rows_size);
  free(table->push_rows);
  free(table);
}

const hotrow_row_layout *hr_table_get_layout(const hr_table *table)
{
  return &table->layout;
}

const hr_table_desc *hr_table_get_desc(const hr_table *table)
{
  return &table->desc;
}

uint64_t hr_table_get_seed(const hr_table *table)
{
  return table->seed;
}

size_t hr_table_memory_bytes(const hr_table *table)
{
  return hr_index_memory_bytes(&table->index) +
         table->desc.row_count * (table->row_stride * sizeof(float) + sizeof *table->keys) +
         table->push_count_max * sizeof *table->push_rows;
}

float *hr_table_rows(const hr_table *table, size_t *row_stride_p)
{
  *row_stride_p = table->row_stride;
  return table->rows;
}

static float *row_at(const hr_table *table, uint64_t row)
{
  return table->rows + row * table->row_stride;
}

/* Hashes of keys on their way: begin() and then one next() for each key in turn, which starts the load of the bucket
 * FIND_AHEAD keys on and gives the hash of this one. */
typedef struct hash_ring {
  uint64_t hashes[FIND_AHEAD];
} hash_ring;

static inline void ring_fetch(hash_ring *ring, const hr_table *table, const uint64_t *keys, size_t i)
{
  uint64_t hash = hr_key_hash(keys[i], table->seed);
  ring->hashes[i % FIND_AHEAD] = hash;
  __builtin_prefetch(hr_index_home(&table->index, hash));
}

static inline void ring_begin(hash_ring *ring, const hr_table *table, const uint64_t *keys, size_t key_count)
{
  for (size_t i = 0; i < key_count && i < FIND_AHEAD; i++)
    ring_fetch(ring, table, keys, i);
}

static inline uint64_t ring_next(hash_ring *ring, const hr_table *table, const uint64_t *keys, size_t key_count,
                                 size_t i)
{
  uint64_t hash = ring->hashes[i % FIND_AHEAD];
  if (i + FIND_AHEAD < key_count)
    ring_fetch(ring, table, keys, i + FIND_AHEAD);
  return hash;
}

void hr_table_find(const hr_table *table, const uint64_t *keys, size_t key_count, uint32_t *rows_p, uint32_t *clocks_p)
{
  hash_ring ring;
  ring_begin(&ring, table, keys, key_count);
  for (size_t i = 0; i < key_count; i++) {
    uint64_t hash = ring_next(&ring, table, keys, key_count, i);
    const hr_entry *entry = hr_index_find(&table->index, hash, keys[i]);
    rows_p[i] = entry ? entry->row : HR_ROW_NONE;
    clocks_p[i] = entry ? entry->clock : 0;
  }
}

/* Adds a key that is not there; its record holds nothing yet. */
static hotrow_status add_row(hr_table *table, uint64_t hash, uint64_t key, hr_entry **entry_p)
{
  if (table->desc.row_count == table->row_count_max)
    return hr_fail(HOTROW_ERR_LIMIT, "table %s is full: row_count_max is %llu", table->desc.name,
                   (unsigned long long)table->row_count_max);
  if (table->shard_count && hr_shard_of(hash, table->shard_count) != table->shard_index)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: key %llu belongs to shard %u, not to shard %u", table->desc.name,
                   (unsigned long long)key, hr_shard_of(hash, table->shard_count), table->shard_index);
  HOTROW_TRY(hr_index_insert(&table->index, hash, key, (uint32_t)table->desc.row_count, entry_p));
  table->keys[table->desc.row_count++] = key;
  return HOTROW_OK;
}

static hotrow_status find_or_create_one(hr_table *table, uint64_t hash, uint64_t key, hr_entry **entry_p)
{
  *entry_p = hr_index_find(&table->index, hash, key);
  if (*entry_p)
    return HOTROW_OK;
  HOTROW_TRY(add_row(table, hash, key, entry_p));
  HOTROW_ASSERT(*entry_p);
  float *record = row_at(table, (*entry_p)->row);
  hr_table_default_row(table, key, record);
  hr_row_layout_init_state(&table->layout, record, record + table->layout.dim);
  return HOTROW_OK;
}

hotrow_status hr_table_find_or_create(hr_table *table, const uint64_t *keys, size_t key_count, uint32_t *rows_p,
                                      uint32_t *clocks_p)
{
  hash_ring ring;
  ring_begin(&ring, table, keys, key_count);
  for (size_t i = 0; i < key_count; i++) {
    hr_entry *entry;
    HOTROW_TRY(find_or_create_one(table, ring_next(&ring, table, keys, key_count, i), keys[i], &entry));
    rows_p[i] = entry->row;
    clocks_p[i] = entry->clock;
  }
  return HOTROW_OK;
}

hotrow_status hr_table_check_push(const hr_table *table, const hr_section *push)
{
  HOTROW_ASSERT(push->kind == HR_SECTION_PUSH);
  uint32_t steps_max = hr_row_layout_steps_max(&table->layout);
  steps_max = steps_max < HR_WIRE_STEPS_MAX ? steps_max : HR_WIRE_STEPS_MAX;
  const char *name = table->desc.name;
  bool has_steps = push->flags & HR_SECTION_STEPS;
  uint32_t square_dim = has_steps ? table->layout.square_dim : 0;
  if (push->dim != table->desc.dim)
    return hr_fail(HOTROW_ERR_INVALID, "push to table %s has dim %u, the table has %u", name, push->dim,
                   table->desc.dim);
  if (push->extra_dim != square_dim)
    return hr_fail(HOTROW_ERR_INVALID, "push to table %s has square_dim %u, its optimizer needs %u", name,
                   push->extra_dim, square_dim);
  for (size_t i = 0; has_steps && i < push->key_count; i++)
    if (push->steps[i] == 0 || push->steps[i] > steps_max)
      return hr_fail(push->steps[i] ? HOTROW_ERR_LIMIT : HOTROW_ERR_INVALID,
                     "push to table %s, key %llu: %u steps are not in 1 .. %u", name, (unsigned long long)push->keys[i],
                     push->steps[i], steps_max);
  size_t bad = table->kernels->find_nonfinite(push->grads, push->key_count, push->dim, NULL);
  if (bad < push->key_count)
    return hr_fail(HOTROW_ERR_INVALID, "push to table %s, key %llu: its gradient is not finite", name,
                   (unsigned long long)push->keys[bad]);
  for (size_t i = 0; i < (size_t)push->key_count * square_dim; i++)
    if (!(push->squares[i] >= 0.0f && push->squares[i] <= FLT_MAX))
      return hr_fail(HOTROW_ERR_INVALID, "push to table %s, key %llu: its sum of squares is %g", name,
                     (unsigned long long)push->keys[i / square_dim], (double)push->squares[i]);
  return HOTROW_OK;
}

static hotrow_status reserve_push(hr_table *table, size_t count)
{
  if (count <= table->push_count_max)
    return HOTROW_OK;
  void *rows;
  HOTROW_TRY(hr_alloc(count, sizeof *table->push_rows, "push", &rows));
  free(table->push_rows);
  table->push_rows = rows;
  table->push_count_max = count;
  return HOTROW_OK;
}

/* push_rows of all keys. Their clocks move while their buckets are at hand, and back if a key cannot be created. */
static hotrow_status find_and_tick(hr_table *table, const uint64_t *keys, const uint32_t *steps, size_t key_count)
{
  hash_ring ring;
  ring_begin(&ring, table, keys, key_count);
  for (size_t i = 0; i < key_count; i++) {
    hr_entry *entry;
    uint64_t hash = ring_next(&ring, table, keys, key_count, i);
    hotrow_status status = find_or_create_one(table, hash, keys[i], &entry);
    if (status != HOTROW_OK) {
      while (i-- > 0)
        hr_index_find(&table->index, hr_key_hash(keys[i], table->seed), keys[i])->clock -= steps ? steps[i] : 1;
      return status;
    }
    table->push_rows[i] = entry->row;
    entry->clock += steps ? steps[i] : 1;
  }
  return HOTROW_OK;
}

hotrow_status hr_table_push(hr_table *table, const hr_section *push)
{
  HOTROW_ASSERT(push->kind == HR_SECTION_PUSH && push->dim == table->desc.dim);
  const uint32_t *steps = push->flags & HR_SECTION_STEPS ? push->steps : NULL;
  HOTROW_TRY(reserve_push(table, push->key_count));
  HOTROW_TRY(find_and_tick(table, push->keys, steps, push->key_count));
  table->kernels->optimizer_apply(&table->layout, 1.0f, table->rows, table->row_stride, table->push_rows, push->grads,
                                  push->extra_dim ? push->squares : NULL, steps, push->key_count, NULL);
  return HOTROW_OK;
}

void hr_table_set_owner(hr_table *table, uint32_t shard_index, uint32_t shard_count)
{
  HOTROW_ASSERT(shard_index < shard_count);
  table->shard_index = shard_index;
  table->shard_count = shard_count;
}

void hr_table_default_row(const hr_table *table, uint64_t key, float *value)
{
  hr_init_row(&table->desc.segments[0].initializer, table->desc.seed, table->seed, key, table->desc.dim, value);
}

hotrow_status hr_table_scan(const hr_table *table, hr_table_visit_fn visit, void *context)
{
  uint32_t rows[SCAN_CHUNK], clocks[SCAN_CHUNK];
  for (uint64_t first = 0; first < table->desc.row_count; first += SCAN_CHUNK) {
    uint64_t left = table->desc.row_count - first;
    size_t count = left < SCAN_CHUNK ? (size_t)left : SCAN_CHUNK;
    const uint64_t *keys = table->keys + first;
    hr_table_find(table, keys, count, rows, clocks);
    for (size_t i = 0; i < count; i++) {
      HOTROW_ASSERT(rows[i] == first + i);
      HOTROW_TRY(visit(keys[i], clocks[i], row_at(table, first + i), context));
    }
  }
  return HOTROW_OK;
}

hotrow_status hr_table_restore_row(hr_table *table, uint64_t key, uint32_t clock, const float *value_and_state)
{
  uint64_t hash = hr_key_hash(key, table->seed);
  if (hr_index_find(&table->index, hash, key))
    return hr_fail(HOTROW_ERR_EXISTS, "table %s has key %llu already", table->desc.name, (unsigned long long)key);
  hr_entry *entry;
  HOTROW_TRY(add_row(table, hash, key, &entry));
  entry->clock = clock;
  memcpy(row_at(table, entry->row), value_and_state, (table->layout.dim + table->layout.state_dim) * sizeof(float));
  return HOTROW_OK;
}
