#include "shard_pull.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>
#include <hr/optimizer.h>

#include "shard_memory.h"

/* Of the section's rows (shard->rows, shard->clocks) moves those to be sent to the front: the held ones that break the
 * bound, whose positions go to `index`, then the others. Fills in the reply section's counts; unseen_counts may be
 * NULL.
 */
static void select_rows(hr_shard *shard, const hr_section *asked, uint32_t *index, uint32_t *unseen_counts,
                        hr_section *reply)
{
  uint32_t *rows = shard->rows, *clocks = shard->clocks;
  const size_t seen_stride = asked->flags & HR_SECTION_WIDE ? 2 : 1;
  uint32_t stale_count = 0, unseen_max = 0;
  uint64_t unseen_sum = 0;
  for (uint32_t i = 0; i < asked->held_count; i++) {
    /* Clocks wrap, and a client may be ahead by its own pushes that wait for their step: the difference is signed.
     * A row that is not there has had no updates. */
    int32_t difference = rows[i] == HR_ROW_NONE ? 0 : (int32_t)(clocks[i] - asked->seen[i * seen_stride]);
    uint32_t unseen = difference > 0 ? (uint32_t)difference : 0;
    if (unseen > asked->bound + HR_MUTANT(PULL_BOUND)) {
      rows[stale_count] = rows[i];
      clocks[stale_count] = clocks[i];
      index[stale_count++] = i;
      continue;
    }
    unseen_max = unseen > unseen_max ? unseen : unseen_max;
    unseen_sum += unseen;
    if (unseen_counts)
      unseen_counts[hr_unseen_bucket(unseen)]++;
  }
  uint32_t missing_count = asked->key_count - asked->held_count;
  memmove(rows + stale_count, rows + asked->held_count, missing_count * sizeof *rows);
  memmove(clocks + stale_count, clocks + asked->held_count, missing_count * sizeof *clocks);
  reply->held_count = stale_count;
  reply->row_count = stale_count + missing_count;
  reply->unseen_max = unseen_max;
  reply->unseen_sum = unseen_sum < UINT32_MAX ? (uint32_t)unseen_sum : UINT32_MAX;
  shard->counters.rows_pulled += reply->row_count;
  shard->counters.rows_kept += asked->held_count - stale_count;
}

/* Elements of 4 bytes become elements of 8, in place. */
static void widen(uint32_t *array, size_t count)
{
  for (size_t i = count; i-- > 0;) {
    array[2 * i] = array[i];
    array[2 * i + 1] = 0;
  }
}

static uint32_t *take_clocks(hr_shard *shard, const hr_section *reply, size_t count)
{
  size_t width = reply->flags & HR_SECTION_WIDE ? sizeof(uint64_t) : sizeof(uint32_t);
  return hr_reply_take(shard, count * width);
}

/* Bit i for the i-th key that was not held. Rows that are not there become row 0 for the gather, and are written over.
 */
static void mark_found(uint32_t *rows, uint32_t count, uint8_t *found)
{
  memset(found, 0, (count + 7u) / 8u);
  for (uint32_t i = 0; i < count; i++) {
    if (rows[i] == HR_ROW_NONE)
      rows[i] = 0;
    else
      found[i / 8] |= (uint8_t)(1u << (i % 8));
  }
}

/* Where the rows of a reply are written. */
typedef struct outgoing {
  float *values;   /* F32 */
  uint8_t *packed; /* else */
  float *scales;   /* I8 */
  float *states;   /* NULL: not asked for */
} outgoing;

static void fill_default_rows(const hotrow_kernels *kernels, const hr_table *table, const hr_section *asked,
                              const hr_section *reply, const outgoing *out)
{
  hotrow_dtype dtype = (hotrow_dtype)reply->dtype;
  float values[HOTROW_DIM_MAX];
  for (uint32_t i = 0; i < asked->key_count - asked->held_count; i++) {
    if (reply->found[i / 8] & (1u << (i % 8)))
      continue;
    size_t row = reply->held_count + i;
    hr_table_default_row(table, asked->keys[asked->held_count + i], values);
    if (out->states)
      hr_row_layout_init_state(hr_table_get_layout(table), values, out->states + row * reply->extra_dim);
    if (out->values)
      memcpy(out->values + row * reply->dim, values, reply->dim * sizeof *values);
    else
      kernels->pack(dtype, values, reply->dim, reply->dim, NULL, 1, NULL,
                    out->packed + row * reply->dim * hr_dtype_bytes(dtype), out->scales ? out->scales + row : NULL);
  }
}

static void fill_values(hr_shard *shard, const hr_table *table, hr_section *reply, outgoing *out)
{
  size_t count = reply->row_count;
  hotrow_dtype dtype = (hotrow_dtype)reply->dtype;
  size_t size_bytes = count * reply->dim * hr_dtype_bytes(dtype);
  shard->counters.bytes_pulled[dtype] += size_bytes;
  void *values = hr_reply_take(shard, size_bytes);
  out->values = dtype == HOTROW_F32 ? values : NULL;
  out->packed = dtype == HOTROW_F32 ? NULL : values;
  out->scales = dtype == HOTROW_I8 ? hr_reply_take(shard, count * sizeof *out->scales) : NULL;
  hr_table_gather(table, dtype, shard->rows, count, values, out->scales);
  reply->values = out->values;
  reply->packed = out->packed;
  reply->scales = out->scales;
}

/* Copies the selected rows into the reply. */
static void fill_reply(hr_shard *shard, const hr_table *table, const hr_section *asked, hr_section *reply)
{
  size_t count = reply->row_count;
  uint32_t *clocks = take_clocks(shard, reply, count);
  memcpy(clocks, shard->clocks, count * sizeof *clocks);
  if (reply->flags & HR_SECTION_WIDE)
    widen(clocks, count);
  reply->clocks = clocks;
  if (reply->flags & HR_SECTION_FOUND) {
    uint8_t *found = hr_reply_take(shard, (asked->key_count - asked->held_count + 7u) / 8u);
    mark_found(shard->rows + reply->held_count, asked->key_count - asked->held_count, found);
    reply->found = found;
  }
  outgoing out = {0};
  fill_values(shard, table, reply, &out);
  if (reply->extra_dim) {
    out.states = hr_reply_take(shard, count * reply->extra_dim * sizeof *out.states);
    hr_table_gather_states(table, shard->rows, count, out.states);
    reply->states = out.states;
  }
  if (reply->flags & HR_SECTION_FOUND)
    fill_default_rows(shard->options.kernels, table, asked, reply, &out);
}

/* Rows go while others hold copies of them: who has no announcements is not told. */
static hotrow_status check_pull(const hr_table_desc *desc, const hr_section *asked)
{
  if (asked->dim != desc->dim)
    return hr_fail(HOTROW_ERR_INVALID, "pull of %u floats a row from table %s of dim %u", asked->dim, desc->name,
                   desc->dim);
  if (asked->held_count > 0 && hr_table_has_eviction(desc))
    return hr_fail(HOTROW_ERR_INVALID, "pull of %u held rows from table %s, whose rows go for good: it has no probes",
                   asked->held_count, desc->name);
  return HOTROW_OK;
}

static hotrow_status find_rows(hr_shard *shard, hr_table *table, const hr_section *asked, bool find_only)
{
  HOTROW_TRY(hr_memory_prepare(shard, table, asked->keys, asked->key_count, !find_only));
  HOTROW_TRY(hr_table_expire_keys(table, asked->keys, asked->key_count));
  if (find_only) {
    hr_table_find(table, asked->keys, asked->key_count, shard->rows, shard->clocks);
    return HOTROW_OK;
  }
  HOTROW_TRY(hr_table_make_room(table, asked->keys, asked->key_count));
  return hr_table_find_or_create(table, asked->keys, asked->key_count, shard->rows, shard->clocks);
}

/* Appends the answer to one pull section. hr_wire_decode has seen to it that the largest reply there is room for. */
static hotrow_status answer_section(hr_shard *shard, const hr_section *asked, bool find_only)
{
  hr_table *table = NULL;
  HOTROW_TRY(hr_shard_find_table(shard, asked->table, &table));
  HOTROW_TRY(check_pull(hr_table_get_desc(table), asked));
  find_only = find_only || hr_table_has_admission(hr_table_get_desc(table)); /* a push makes its rows */
  HOTROW_TRY(find_rows(shard, table, asked, find_only));
  bool want_state = asked->flags & HR_SECTION_WANT_STATE;
  hr_section *reply = &shard->reply.sections[shard->reply.section_count++];
  *reply = (hr_section){
      .kind = HR_SECTION_PULL_REPLY,
      .flags = (uint8_t)((find_only ? HR_SECTION_FOUND : 0u) | (asked->flags & (HR_SECTION_WIDE | HR_SECTION_UNSEEN))),
      .dtype = asked->dtype,
      .table = asked->table,
      .key_count = asked->key_count,
      .dim = asked->dim,
      .extra_dim = want_state ? hr_table_get_layout(table)->state_dim : 0,
      .bound = asked->held_count,
  };
  uint32_t *index = take_clocks(shard, reply, asked->held_count), *unseen_counts = NULL;
  if (reply->flags & HR_SECTION_UNSEEN) {
    unseen_counts = hr_reply_take(shard, HR_UNSEEN_BUCKETS * sizeof *unseen_counts);
    memset(unseen_counts, 0, HR_UNSEEN_BUCKETS * sizeof *unseen_counts);
  }
  select_rows(shard, asked, index, unseen_counts, reply);
  if (reply->flags & HR_SECTION_WIDE)
    widen(index, reply->held_count);
  reply->index = index;
  reply->unseen_counts = unseen_counts;
  fill_reply(shard, table, asked, reply);
  return HOTROW_OK;
}

void hr_data_answer_pull(hr_shard *shard, hr_session *session, const hr_header *header, const hr_section *sections,
                         size_t section_count)
{
  bool find_only = (header->flags & HR_FLAG_READ_ONLY) || session->hello.role == HR_ROLE_READER;
  hr_reply_begin(shard, session, header);
  for (size_t i = 0; i < section_count; i++) {
    hotrow_status status = answer_section(shard, &sections[i], find_only);
    if (status != HOTROW_OK) {
      hr_reply_refuse(shard, session, header, status);
      return;
    }
  }
  shard->counters.pulls++;
  hr_reply_announce(shard, header->announce_seq);
  hr_reply_send(shard);
}
