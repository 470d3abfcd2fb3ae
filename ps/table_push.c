/* Pushes: what may be applied, and how it is. */
#include "table_state.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/mutant.h>
#include <hr/optimizer.h>

static hotrow_status check_steps(const hr_table *table, const hr_section *push)
{
  uint32_t steps_max = hr_row_layout_steps_max(&table->layout);
  steps_max = steps_max < HR_WIRE_STEPS_MAX ? steps_max : HR_WIRE_STEPS_MAX;
  for (size_t i = 0; i < push->key_count; i++) {
    uint32_t k = hr_section_u32(push->steps, push, i);
    if (k == 0 || k > steps_max)
      return hr_fail(k ? HOTROW_ERR_LIMIT : HOTROW_ERR_INVALID,
                     "push to table %s, key %llu: %u steps are not in 1 .. %u", table->desc.name,
                     (unsigned long long)push->keys[i], k, steps_max);
  }
  return HOTROW_OK;
}

hotrow_status hr_table_check_push(const hr_table *table, const hr_section *push)
{
  HOTROW_ASSERT(push->kind == HR_SECTION_PUSH);
  const char *name = table->desc.name;
  bool has_steps = push->flags & HR_SECTION_STEPS;
  uint32_t square_dim = has_steps ? table->layout.square_dim : 0;
  if (push->dim != table->desc.dim)
    return hr_fail(HOTROW_ERR_INVALID, "push to table %s has dim %u, the table has %u", name, push->dim,
                   table->desc.dim);
  if (push->extra_dim != square_dim)
    return hr_fail(HOTROW_ERR_INVALID, "push to table %s has square_dim %u, its optimizer needs %u", name,
                   push->extra_dim, square_dim);
  if (has_steps)
    HOTROW_TRY(check_steps(table, push));
  if (push->dtype == HOTROW_F32) { /* what is packed was looked at when it was decoded */
    uint64_t bad;
    table->kernels->find_nonfinite(push->grads, push->key_count, push->dim, NULL, &bad, NULL);
    if (bad < push->key_count)
      return hr_fail(HOTROW_ERR_INVALID, "push to table %s, key %llu: its gradient is not finite", name,
                     (unsigned long long)push->keys[bad]);
  }
  for (size_t i = 0; i < (size_t)push->key_count * square_dim; i++)
    if (!(push->squares[i] >= 0.0f && push->squares[i] <= FLT_MAX))
      return hr_fail(HOTROW_ERR_INVALID, "push to table %s, key %llu: its sum of squares is %g", name,
                     (unsigned long long)push->keys[i / square_dim], (double)push->squares[i]);
  return HOTROW_OK;
}

static hotrow_status reserve(hr_table *table, const hr_section *push)
{
  size_t count = push->key_count, floats = push->dtype == HOTROW_F32 ? 0 : count * push->dim;
  void *memory;
  if (count > table->push_count_max) {
    HOTROW_TRY(hr_alloc(3 * count, sizeof *table->push_rows, "push", &memory));
    free(table->push_rows);
    table->push_rows = memory;
    table->push_clocks = table->push_rows + count;
    table->push_steps = table->push_clocks + count;
    table->push_count_max = count;
  }
  if (floats > table->push_grads_max) {
    HOTROW_TRY(hr_alloc(floats, sizeof *table->push_grads, "gradients of a push", &memory));
    free(table->push_grads);
    table->push_grads = memory;
    table->push_grads_max = floats;
  }
  return HOTROW_OK;
}

/* Moves the clocks of the first `count` keys back. */
static void untick(hr_table *table, const uint64_t *keys, const uint32_t *steps, size_t count)
{
  while (count-- > 0)
    hr_index_find(&table->index, hr_key_hash(keys[count], table->seed), keys[count])->clock -= steps ? steps[count] : 1;
}

/* push_rows of all keys, and push_clocks where they are announced or rounding goes by them. Their clocks move while
 * their buckets are at hand, and back if a key cannot be created. */
static hotrow_status find_and_tick(hr_table *table, const uint64_t *keys, const uint32_t *steps, size_t key_count)
{
  uint32_t *push_rows = table->push_rows;
  const bool is_announced = table->desc.announce_step > 0;
  uint32_t *push_clocks = is_announced || hr_table_is_packed(table) ? table->push_clocks : NULL;
  const bool is_copying = !HR_MUTANT(FORGOTTEN_COPY) && hr_table_is_copying(table);
  hr_entry *entries[HR_PROBE_BLOCK];
  hr_probe probe = hr_probe_begin(&table->index, keys, key_count);
  size_t i = 0;
  for (size_t count; (count = table->probe(&probe, entries)) > 0;)
    for (size_t k = 0; k < count; k++, i++) {
      hr_entry *entry = entries[k];
      if (!hr_table_entry_is_good(table, &probe, entry)) {
        hotrow_status status = hr_table_find_or_create_one(table, keys[i], &entry);
        if (status != HOTROW_OK) {
          untick(table, keys, steps, i);
          return status;
        }
      }
      push_rows[i] = entry->row;
      if (is_copying && hr_table_is_pending(table, entry->row)) /* a cut, or a copy, has it as it still is */
        hr_table_copy_row(table, entry->row, entry->clock);
      hr_table_use(table, entry->row);
      hr_table_stamp(table, entry->row);
      entry->clock += steps ? steps[i] : 1;
      if (push_clocks)
        push_clocks[i] = entry->clock;
      if (is_announced)
        __builtin_prefetch(&table->announced[entry->row], 1);
    }
  return HOTROW_OK;
}

/* Clocks wrap: the difference is signed, and no sum of an announce_step and the steps of one push reaches its end. */
static void announce(hr_table *table, const uint64_t *keys, size_t key_count, hr_announce_log *log)
{
  _Static_assert((uint64_t)HR_WIRE_BOUND_MAX + HR_WIRE_STEPS_MAX <= INT32_MAX, "a signed difference tells");
  for (size_t i = 0; i < key_count; i++) {
    hr_announced *last = &table->announced[table->push_rows[i]];
    uint32_t clock = table->push_clocks[i];
    if ((int32_t)(clock - last->clock) < (int32_t)(table->desc.announce_step + HR_MUTANT(WRONG_STEP)))
      continue;
    hr_announce_log_append(log, table->desc.id, keys[i], clock, &last->place);
    last->clock = clock;
  }
}

/* What a push is made of, however it came. */
typedef struct pushed_rows {
  const uint64_t *keys;
  const uint32_t *steps; /* NULL: 1 each */
  const float *grads, *squares;
  size_t count;
} pushed_rows;

static void open_push(hr_table *table, const hr_section *push, pushed_rows *rows)
{
  *rows = (pushed_rows){.keys = push->keys,
                        .steps = push->flags & HR_SECTION_STEPS ? push->steps : NULL,
                        .grads = push->grads,
                        .squares = push->extra_dim ? push->squares : NULL,
                        .count = push->key_count};
  if (rows->steps && (push->flags & HR_SECTION_WIDE)) {
    for (size_t i = 0; i < push->key_count; i++)
      table->push_steps[i] = hr_section_u32(push->steps, push, i);
    rows->steps = table->push_steps;
  }
  if (push->dtype != HOTROW_F32) {
    table->kernels->unpack((hotrow_dtype)push->dtype, push->packed, push->scales, push->dim, push->key_count, NULL,
                           table->push_grads, push->dim);
    rows->grads = table->push_grads;
  }
}

static hotrow_status grow(void **array_p, size_t count, size_t element_size)
{
  free(*array_p);
  *array_p = NULL;
  return hr_alloc(count, element_size, "admitted rows of a push", array_p);
}

static hotrow_status reserve_admitted(hr_table *table, size_t count)
{
  hr_admitted *a = &table->admitted;
  if (count <= a->count_max)
    return HOTROW_OK;
  a->count_max = 0;
  HOTROW_TRY(grow((void **)&a->keys, count, sizeof *a->keys));
  HOTROW_TRY(grow((void **)&a->steps, count, sizeof *a->steps));
  HOTROW_TRY(grow((void **)&a->grads, count, table->layout.dim * sizeof *a->grads));
  if (table->layout.square_dim > 0)
    HOTROW_TRY(grow((void **)&a->squares, count, table->layout.square_dim * sizeof *a->squares));
  a->count_max = count;
  return HOTROW_OK;
}

static bool may_have_row(hr_table *table, uint64_t key)
{
  uint64_t hash = hr_key_hash(key, table->seed);
  hr_table_copy_bucket(table, hash);
  return hr_admission_ask(&table->admission, &table->desc, hash, key);
}

/* Leaves those rows out whose keys have none and get none now. */
static hotrow_status admit(hr_table *table, pushed_rows *rows)
{
  hr_admitted *a = &table->admitted;
  size_t dim = table->layout.dim, square_dim = table->layout.square_dim, count = 0;
  HOTROW_TRY(reserve_admitted(table, rows->count));
  hr_table_look(table, rows->keys, rows->count, table->push_rows, table->push_clocks);
  for (size_t i = 0; i < rows->count; i++) {
    uint64_t key = rows->keys[i];
    if (table->push_rows[i] == HR_ROW_NONE && !may_have_row(table, key))
      continue;
    a->keys[count] = key;
    a->steps[count] = rows->steps ? rows->steps[i] : 1;
    memcpy(a->grads + count * dim, rows->grads + i * dim, dim * sizeof *a->grads);
    if (rows->squares)
      memcpy(a->squares + count * square_dim, rows->squares + i * square_dim, square_dim * sizeof *a->squares);
    count++;
  }
  a->refused_count += rows->count - count;
  *rows = (pushed_rows){.keys = a->keys,
                        .steps = rows->steps ? a->steps : NULL,
                        .grads = a->grads,
                        .squares = rows->squares ? a->squares : NULL,
                        .count = count};
  return HOTROW_OK;
}

uint64_t hr_table_not_admitted_count(const hr_table *table)
{
  return table->admitted.refused_count;
}

hotrow_status hr_table_push(hr_table *table, const hr_section *push, hr_announce_log *log)
{
  HOTROW_ASSERT(push->kind == HR_SECTION_PUSH && push->dim == table->desc.dim);
  HOTROW_ASSERT(log || table->desc.announce_step == 0);
  pushed_rows rows;
  HOTROW_TRY(reserve(table, push));
  open_push(table, push, &rows);
  HOTROW_TRY(hr_table_expire_keys(table, rows.keys, rows.count));
  if (hr_table_has_admission(&table->desc))
    HOTROW_TRY(admit(table, &rows));
  HOTROW_TRY(hr_table_make_room(table, rows.keys, rows.count));
  HOTROW_TRY(find_and_tick(table, rows.keys, rows.steps, rows.count));
  hr_section kept = *push;
  kept.keys = rows.keys;
  kept.key_count = (uint32_t)rows.count;
  kept.squares = rows.squares;
  hr_table_apply(table, &kept, rows.grads, rows.steps);
  for (size_t i = 0; table->marks.bytes && i < rows.count; i++)
    hr_table_touch(table, table->push_rows[i]);
  if (table->desc.announce_step > 0)
    announce(table, rows.keys, rows.count, log);
  return HOTROW_OK;
}
