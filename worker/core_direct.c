/* Pushes of a table that keeps no rows here: a step's gradients are summed where they are sent from. A large push goes
 * in several messages, so that one is on its way while the next is made ready and the one before is applied. */
#include <string.h>

#include <hr/assert.h>

#include "core.h"

#define PUSH_PARTS_MAX 48u /* a link has at most HR_LINK_WINDOW pushes on their way */

bool hr_core_may_push_directly(const hotrow_table *table)
{
  bool is_updated_here = table->has_cache || table->flags & HOTROW_TABLE_COUNT_OCCURRENCES;
  return !is_updated_here && table->step_count == 0;
}

void hr_core_drop_direct(hr_core *core, hotrow_table *table)
{
  while (table->direct.oldest) {
    hr_request *request = table->direct.oldest;
    table->direct.oldest = request->next;
    request->next = NULL;
    hr_request_release(&core->pool, request);
  }
  table->direct.newest = NULL;
}

/* Makes the section of a part of `count` rows. */
static hotrow_status add_part(hr_core *core, hotrow_table *table, uint32_t shard, uint32_t count, uint64_t **keys_p,
                              float **grads_p)
{
  hr_request *part;
  hr_section *section;
  void *keys, *grads;
  HOTROW_TRY(hr_request_acquire(&core->pool, &part));
  part->shard = shard;
  part->message.header.op = HR_OP_PUSH;
  hr_queue_append(&table->direct, part);
  HOTROW_TRY(hr_request_take(part, count * sizeof(uint64_t), &keys));
  HOTROW_TRY(hr_request_take(part, count * sizeof(float) * table->layout.dim, &grads));
  HOTROW_TRY(hr_request_add_section(part, HR_SECTION_PUSH, &section));
  section->dtype = HOTROW_F32;
  section->table = table->ids[shard];
  section->key_count = count;
  section->dim = table->layout.dim;
  section->keys = keys;
  section->grads = grads;
  part->pushes[part->push_count++] = (hr_push_note){table->index, NULL};
  part->bytes[HR_BYTES_PUSH] = hr_wire_section_bytes(section) - HR_WIRE_SECTION_BYTES;
  *keys_p = keys;
  *grads_p = grads;
  return HOTROW_OK;
}

/* Sums distinct keys first .. first + count - 1 into a part. */
static hotrow_status sum_part(hr_core *core, const hr_grads *grads, uint32_t shard, uint32_t first, uint32_t count)
{
  hotrow_table *table = grads->table;
  uint64_t *keys;
  float *sums;
  HOTROW_TRY(add_part(core, table, shard, count, &keys, &sums));
  memcpy(keys, grads->workspace->dedup.keys + first, count * sizeof *keys);
  return hr_core_sum_grads(core->options.kernels, grads, first, count, sums);
}

hotrow_status hr_core_stage_direct(hr_core *core, const hr_grads *grads)
{
  const hotrow_dedup *dedup = &grads->workspace->dedup;
  hotrow_table *table = grads->table;
  HOTROW_ASSERT(!table->direct.oldest);
  size_t row_bytes = sizeof(uint64_t) + table->layout.dim * sizeof(float);
  uint32_t rows_max = hr_core_part_rows(core, row_bytes, grads->workspace->unique_count, 1, PUSH_PARTS_MAX);
  uint32_t first = 0;
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++) {
    uint32_t end = hr_core_slice_end(core, dedup->hashes, grads->workspace->unique_count, first, shard);
    while (first < end) {
      uint32_t count = end - first < rows_max ? end - first : rows_max;
      hotrow_status status = sum_part(core, grads, shard, first, count);
      if (status != HOTROW_OK) {
        hr_core_drop_direct(core, table);
        return status;
      }
      first += count;
    }
  }
  return HOTROW_OK;
}

void hr_core_unstage_direct(hr_core *core, hotrow_table *table, uint64_t *keys, float *grads)
{
  size_t count = 0, dim = table->layout.dim;
  for (hr_request *part = table->direct.oldest; part; part = part->next) {
    const hr_section *section = &part->message.sections[0];
    memcpy(keys + count, section->keys, section->key_count * sizeof *keys);
    memcpy(grads + count * dim, section->grads, section->key_count * dim * sizeof *grads);
    count += section->key_count;
  }
  hr_core_drop_direct(core, table);
}
