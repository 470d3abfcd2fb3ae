/* How rows are kept: as floats, or with values of 16 bits that are floats only while the optimizer is at them. */
#include "table_state.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/random.h>

/* As many rows as the second-level cache has room for beside other things; the optimizer likes eight at once. */
#define WORK_BYTES ((size_t)64 << 10)
#define WORK_ROWS_MIN 8u
#define WORK_ROWS_MAX 256u

hotrow_status hr_row_work_init(hr_row_work *work, const hotrow_row_layout *layout)
{
  size_t stride = (size_t)layout->dim + layout->state_dim, count = WORK_BYTES / sizeof(float) / stride;
  count = count < WORK_ROWS_MIN ? WORK_ROWS_MIN : count > WORK_ROWS_MAX ? WORK_ROWS_MAX : count;
  void *memory;
  HOTROW_TRY(hr_alloc(count, sizeof *work->streams + sizeof *work->slots + stride * sizeof *work->rows,
                      "rows of a table at work", &memory));
  work->streams = memory;
  work->slots = (uint32_t *)(work->streams + count);
  work->rows = (float *)(work->slots + count);
  work->row_count = count;
  work->row_stride = stride;
  for (uint32_t i = 0; i < count; i++)
    work->slots[i] = i;
  return HOTROW_OK;
}

void hr_row_work_fini(hr_row_work *work)
{
  free(work->streams);
}

size_t hr_row_work_bytes(const hr_row_work *work)
{
  return work->row_count * (sizeof *work->streams + sizeof *work->slots + work->row_stride * sizeof *work->rows);
}

static size_t least(size_t a, size_t b)
{
  return a < b ? a : b;
}

/* ---- one record ---- */

const float *hr_table_read_record(const hr_table *table, uint64_t row)
{
  const float *kept = hr_table_row_at(table, row);
  if (!hr_table_is_packed(table))
    return kept;
  uint32_t dim = table->layout.dim;
  table->kernels->unpack(hr_table_dtype(table), kept, NULL, dim, 1, NULL, table->work.rows, dim);
  size_t rest = hr_table_record_floats(table) - dim;
  memcpy(table->work.rows + dim, kept + table->value_floats, rest * sizeof *kept);
  return table->work.rows;
}

float *hr_table_begin_record(hr_table *table, uint64_t row)
{
  return hr_table_is_packed(table) ? table->work.rows : hr_table_row_at(table, row);
}

void hr_table_write_record(hr_table *table, uint64_t row, const float *value_and_state)
{
  float *kept = hr_table_row_at(table, row);
  uint32_t dim = table->layout.dim;
  if (value_and_state == kept)
    return;
  table->kernels->pack(hr_table_dtype(table), value_and_state, dim, dim, NULL, 1, NULL, kept, NULL);
  memcpy(kept + table->value_floats, value_and_state + dim, table->layout.state_dim * sizeof *kept);
}

/* ---- many rows ---- */

/* By way of floats, some rows at a time. */
static void repack(const hr_table *table, hotrow_dtype dtype, const uint32_t *rows, size_t row_count, uint8_t *out,
                   float *scales)
{
  const hr_row_work *work = &table->work;
  const hotrow_kernels *kernels = table->kernels;
  uint32_t dim = table->layout.dim;
  for (size_t first = 0, count; first < row_count; first += count) {
    count = least(row_count - first, work->row_count);
    kernels->gather_packed(hr_table_dtype(table), table->rows, table->row_stride, dim, rows + first, count, NULL,
                           work->rows, dim);
    kernels->pack(dtype, work->rows, dim, dim, NULL, count, NULL, out + first * dim * hr_dtype_bytes(dtype),
                  scales ? scales + first : NULL);
  }
}

void hr_table_gather(const hr_table *table, hotrow_dtype dtype, const uint32_t *rows, size_t row_count, void *out,
                     float *scales)
{
  const hotrow_kernels *kernels = table->kernels;
  const size_t stride = table->row_stride;
  hotrow_dtype kept = hr_table_dtype(table);
  uint32_t dim = table->layout.dim;
  if (kept == dtype && table->value_floats * sizeof(float) == dim * hr_dtype_bytes(dtype))
    kernels->gather(table->rows, stride, (uint32_t)table->value_floats, rows, row_count, NULL, out,
                    table->value_floats);
  else if (kept == HOTROW_F32)
    kernels->pack(dtype, table->rows, stride, dim, rows, row_count, NULL, out, scales);
  else if (dtype == HOTROW_F32)
    kernels->gather_packed(kept, table->rows, stride, dim, rows, row_count, NULL, out, dim);
  else
    repack(table, dtype, rows, row_count, out, scales);
}

void hr_table_gather_states(const hr_table *table, const uint32_t *rows, size_t row_count, float *out)
{
  uint32_t state_dim = table->layout.state_dim;
  table->kernels->gather(table->rows + table->value_floats, table->row_stride, state_dim, rows, row_count, NULL, out,
                         state_dim);
}

/* ---- a push ---- */

static void unpack_work(hr_table *table, const uint32_t *rows, size_t count)
{
  const hr_row_work *work = &table->work;
  const hotrow_row_layout *layout = &table->layout;
  table->kernels->gather_packed(hr_table_dtype(table), table->rows, table->row_stride, layout->dim, rows, count, NULL,
                                work->rows, work->row_stride);
  if (layout->state_dim > 0)
    table->kernels->gather(table->rows + table->value_floats, table->row_stride, layout->state_dim, rows, count, NULL,
                           work->rows + layout->dim, work->row_stride);
}

/* Which way a value is rounded hangs on its table, key, clock and column alone: not on when a push came, nor where. */
static void pack_work(hr_table *table, const uint64_t *keys, const uint32_t *clocks, const uint32_t *rows, size_t count)
{
  const hr_row_work *work = &table->work;
  const hotrow_row_layout *layout = &table->layout;
  for (size_t i = 0; i < count; i++)
    work->streams[i] = hr_rounding_stream(table->desc.seed, table->seed, keys[i], clocks[i]);
  table->kernels->scatter_packed(hr_table_dtype(table), work->rows, work->row_stride, layout->dim, work->streams, rows,
                                 count, NULL, table->rows, table->row_stride);
  for (size_t i = 0; i < count && layout->state_dim > 0; i++)
    memcpy(hr_table_row_at(table, rows[i]) + table->value_floats, work->rows + i * work->row_stride + layout->dim,
           layout->state_dim * sizeof *work->rows);
}

void hr_table_apply(hr_table *table, const hr_section *push, const float *grads, const uint32_t *steps)
{
  const hotrow_kernels *kernels = table->kernels;
  const float *squares = push->extra_dim ? push->squares : NULL;
  const hr_row_work *work = &table->work;
  if (!hr_table_is_packed(table)) {
    kernels->optimizer_apply(&table->layout, push->lr_scale, table->rows, table->row_stride, table->push_rows, grads,
                             squares, steps, push->key_count, NULL);
    return;
  }
  for (size_t first = 0, count; first < push->key_count; first += count) {
    count = least(push->key_count - first, work->row_count);
    unpack_work(table, table->push_rows + first, count);
    kernels->optimizer_apply(&table->layout, push->lr_scale, work->rows, work->row_stride, work->slots,
                             grads + first * push->dim, squares ? squares + first * push->extra_dim : NULL,
                             steps ? steps + first : NULL, count, NULL);
    pack_work(table, push->keys + first, table->push_clocks + first, table->push_rows + first, count);
  }
}
