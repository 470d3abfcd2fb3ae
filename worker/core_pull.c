/* Pulls: which keys are asked of which shard, and what comes back goes into the cache. */
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/route.h>

#include "core_cache.h"

#define PARTS_MAX 256u
#define PARTS_WANTED 10u /* while the shard is at the first one nobody else works, and none works beside the last */

#define PLACE_AHEAD 8u /* rows whose places are under way from memory while one is written */
#define PLACE_PREFETCH_FLOATS 256u
#define LINE_FLOATS 16u

uint32_t hr_core_slice_end(const hr_core *core, const uint64_t *hashes, uint32_t count, uint32_t from, uint32_t shard)
{
  uint32_t shard_count = core->options.shard_count;
  if (shard + 1 == shard_count)
    return count;
  uint64_t hash_end = hr_hash_first(hr_partition_first(shard + 1, shard_count));
  uint32_t low = from, high = count;
  while (low < high) { /* the first hash that is not below hash_end */
    uint32_t middle = low + (high - low) / 2;
    if (hashes[middle] < hash_end)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

uint32_t hr_core_find_hash(const uint64_t *hashes, uint32_t count, uint64_t hash)
{
  uint32_t low = 0, high = count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (hashes[middle] < hash)
      low = middle + 1;
    else
      high = middle;
  }
  return low < count && hashes[low] == hash ? low : count;
}

/* The keys of one shard that are asked about, by what is asked. */
typedef struct asked_slice {
  const uint64_t *keys, *hashes;
  const uint8_t *asks;
  const uint32_t *seen;
  uint32_t first, last;
  uint32_t counts[4]; /* by hotrow_row_state */
} asked_slice;

/* Writes the keys with one kind of ask behind the `at` that are there. */
static uint32_t write_keys(const asked_slice *slice, hotrow_row_state ask, uint64_t *keys, hr_pull_note *note,
                           uint32_t at)
{
  for (uint32_t u = slice->first; u < slice->last; u++) {
    if (slice->asks[u] != ask)
      continue;
    keys[at] = slice->keys[u];
    note->hashes[at] = slice->hashes[u];
    note->unique_index[at++] = u;
  }
  return at;
}

static hotrow_status list_keys(const asked_slice *slice, uint32_t key_count, hr_request *request, hr_pull_note *note,
                               uint64_t *keys)
{
  HOTROW_TRY(hr_request_take(request, key_count * sizeof *note->hashes, (void **)&note->hashes));
  HOTROW_TRY(hr_request_take(request, key_count * sizeof *note->unique_index, (void **)&note->unique_index));
  uint32_t at = write_keys(slice, HOTROW_ROW_DOUBTFUL, keys, note, 0);
  at = write_keys(slice, HOTROW_ROW_STALE, keys, note, at);
  at = write_keys(slice, HOTROW_ROW_MISSING, keys, note, at);
  HOTROW_ASSERT(at == key_count);
  return HOTROW_OK;
}

/* Index of the distinct key at a position of the section. */
static uint32_t unique_at(const hr_pull_note *note, uint32_t i)
{
  return note->unique_index ? note->unique_index[i] : note->unique_first + i;
}

/* What the shard is told of the clocks of held rows. */
static hotrow_status write_seen(const asked_slice *slice, const hr_pull_note *note, bool is_wide, uint32_t key_count,
                                hr_request *request, const uint32_t **seen_p)
{
  uint32_t held = slice->counts[HOTROW_ROW_DOUBTFUL];
  uint64_t *wide;
  uint32_t *narrow;
  if (!is_wide) {
    HOTROW_TRY(hr_request_take(request, held * sizeof *narrow, (void **)&narrow));
    for (uint32_t i = 0; i < held; i++)
      narrow[i] = slice->seen[unique_at(note, i)];
    *seen_p = narrow;
    return HOTROW_OK;
  }
  HOTROW_TRY(hr_request_take(request, key_count * sizeof *wide, (void **)&wide));
  for (uint32_t i = 0; i < key_count; i++)
    wide[i] = i < held ? slice->seen[unique_at(note, i)] : UINT64_MAX;
  *seen_p = (const uint32_t *)(const void *)wide;
  return HOTROW_OK;
}

static hotrow_status draft_slice(hr_core *core, hotrow_table *table, uint32_t shard, const asked_slice *slice,
                                 const uint64_t *batch)
{
  uint32_t held = slice->counts[HOTROW_ROW_DOUBTFUL], stale = slice->counts[HOTROW_ROW_STALE];
  uint32_t key_count = held + stale + slice->counts[HOTROW_ROW_MISSING];
  bool is_wide = table->flags & HOTROW_TABLE_WIDE_CLOCKS;
  hr_request *request;
  hr_section *section;
  uint64_t *keys;
  HOTROW_TRY(hr_core_draft(core, shard, &request));
  hr_pull_note note = {.table_index = table->index, .stale_count = stale, .batch = batch ? *batch : 0};
  HOTROW_TRY(hr_request_take(request, key_count * sizeof *keys, (void **)&keys));
  if (table->has_cache) {
    HOTROW_TRY(list_keys(slice, key_count, request, &note, keys));
  } else { /* all are missing */
    note.unique_first = slice->first;
    memcpy(keys, slice->keys + slice->first, key_count * sizeof *keys);
  }
  if (batch) {
    HOTROW_TRY(hr_request_take(request, key_count, (void **)&note.spoiled));
    memset(note.spoiled, 0, key_count);
  }
  const uint32_t *seen;
  HOTROW_TRY(write_seen(slice, &note, is_wide, key_count, request, &seen));
  HOTROW_TRY(hr_request_add_section(request, HR_SECTION_PULL, &section));
  section->flags =
      (uint8_t)((table->has_cache && table->layout.state_dim ? HR_SECTION_WANT_STATE : 0u) | (is_wide ? HR_SECTION_WIDE
                                                                                              : held ? HR_SECTION_UNSEEN
                                                                                                     : 0u));
  section->dtype = (uint8_t)table->wire_dtype;
  section->table = table->ids[shard];
  section->key_count = key_count;
  section->held_count = held;
  section->dim = table->layout.dim;
  section->bound = table->pull_bound;
  section->keys = keys;
  section->seen = seen;
  note.section_index = request->message.section_count - 1u;
  request->pulls[request->pull_count++] = note;
  request->is_ahead = batch != NULL;
  uint64_t wide_bytes = is_wide ? sizeof(uint64_t) : 0;
  request->bytes[HR_BYTES_PROBE] += held * (sizeof(uint64_t) + (is_wide ? wide_bytes : sizeof(uint32_t)));
  request->bytes[HR_BYTES_STALE] += stale * (sizeof(uint64_t) + wide_bytes);
  request->bytes[HR_BYTES_MISS] += (key_count - held - stale) * (sizeof(uint64_t) + wide_bytes);
  return HOTROW_OK;
}

/* End of the next part of a slice, at most `last`; counts[] are of the part. */
static void choose_part(const hotrow_table *table, asked_slice *slice, uint32_t last, uint32_t rows_max)
{
  uint32_t rows = 0, u = slice->first;
  memset(slice->counts, 0, sizeof slice->counts);
  if (!table->has_cache) {
    slice->last = last - u < rows_max ? last : u + rows_max;
    slice->counts[HOTROW_ROW_MISSING] = slice->last - u;
    return;
  }
  for (; u < last && rows < rows_max; u++) {
    slice->counts[slice->asks[u]]++;
    rows += slice->asks[u] != HOTROW_ROW_FRESH;
  }
  slice->last = u;
}

uint32_t hr_core_pull_rows(const hr_core *core, const hotrow_table *table, size_t key_count)
{
  size_t row_bytes = table->layout.dim * hr_dtype_bytes(table->wire_dtype) + sizeof(uint32_t);
  return hr_core_part_rows(core, row_bytes, (uint32_t)key_count, PARTS_WANTED, PARTS_MAX);
}

static uint32_t pull_flags(const hr_core *core)
{
  return core->options.role == HR_ROLE_READER ? HR_FLAG_READ_ONLY : 0;
}

hotrow_status hr_core_ask_found(hr_core *core, hotrow_table *table, uint32_t count)
{
  HOTROW_ASSERT(core->options.shard_count == 1 && !table->has_cache);
  asked_slice slice = {.keys = table->lookup.dedup.keys,
                       .first = table->sent_count,
                       .last = table->sent_count + count,
                       .counts = {[HOTROW_ROW_MISSING] = count}};
  HOTROW_TRY(draft_slice(core, table, 0, &slice, NULL));
  HOTROW_TRY(hr_core_submit_draft(core, 0, pull_flags(core)));
  table->sent_count = slice.last;
  return HOTROW_OK;
}

void hr_core_ask_anew(hr_core *core)
{
  hr_core_begin_call(core);
  for (size_t i = 0; i < core->lookup_count; i++)
    core->lookups[i].table->sent_count = 0;
}

hotrow_status hr_core_draft_pulls(hr_core *core, hotrow_table *table, const uint64_t *keys, const uint64_t *hashes,
                                  uint32_t count, const uint8_t *asks, const uint32_t *seen, const uint64_t *batch)
{
  asked_slice slice = {
      .keys = keys, .hashes = hashes, .asks = asks, .seen = seen, .first = batch ? 0 : table->sent_count};
  uint32_t rows_max = batch ? UINT32_MAX : hr_core_pull_rows(core, table, count), flags = pull_flags(core);
  for (uint32_t shard = 0, end; shard < core->options.shard_count; shard++) {
    end = hr_core_slice_end(core, hashes, count, slice.first, shard);
    while (slice.first < end) {
      choose_part(table, &slice, end, rows_max);
      if (slice.last - slice.first > slice.counts[HOTROW_ROW_FRESH])
        HOTROW_TRY(draft_slice(core, table, shard, &slice, batch));
      if (slice.last < end)
        HOTROW_TRY(hr_core_submit_draft(core, shard, flags));
      slice.first = slice.last;
    }
  }
  if (!table->has_cache && !table->device && !batch)
    table->sent_count = count;
  return HOTROW_OK;
}

bool hr_core_check_pull_reply(hr_core *core, uint32_t shard, const hr_request *request, const hr_message *reply)
{
  uint32_t count = 0;
  while (count < reply->section_count && reply->sections[count].kind == HR_SECTION_PULL_REPLY)
    count++;
  bool is_sound = count == request->pull_count;
  for (uint32_t i = 0; is_sound && i < request->pull_count; i++) {
    const hr_section *asked = &request->message.sections[request->pulls[i].section_index];
    const hr_section *got = &reply->sections[i];
    const hotrow_table *table = core->tables[request->pulls[i].table_index];
    uint32_t state_dim = asked->flags & HR_SECTION_WANT_STATE ? table->layout.state_dim : 0;
    uint32_t flags = asked->flags & (HR_SECTION_WIDE | HR_SECTION_UNSEEN);
    if (request->message.header.flags & HR_FLAG_READ_ONLY || hr_table_has_admission(&table->desc))
      flags |= HR_SECTION_FOUND;
    is_sound = got->table == asked->table && got->key_count == asked->key_count && got->bound == asked->held_count &&
               got->dim == asked->dim && got->extra_dim == state_dim && got->dtype == asked->dtype &&
               got->flags == flags;
  }
  if (!is_sound)
    hr_link_break(&core->links[shard], HOTROW_ERR_PROTOCOL, "shard %u at %s answered something else than it was asked",
                  shard, core->links[shard].options.endpoint);
  return is_sound;
}

static hotrow_status grow_arrival(hotrow_table *table, size_t count)
{
  hr_arrival *a = &table->arrival;
  if (count <= a->capacity)
    return HOTROW_OK;
  size_t capacity = count + count / 4 + 64;
  a->capacity = 0;
  HOTROW_TRY(hr_core_renew((void **)&a->keys, capacity, sizeof *a->keys));
  HOTROW_TRY(hr_core_renew((void **)&a->hashes, capacity, sizeof *a->hashes));
  HOTROW_TRY(hr_core_renew((void **)&a->clocks, capacity, sizeof *a->clocks));
  HOTROW_TRY(hr_core_renew((void **)&a->next_use, capacity, sizeof *a->next_use));
  HOTROW_TRY(hr_core_renew((void **)&a->slots, capacity, sizeof *a->slots));
  HOTROW_TRY(hr_core_renew((void **)&a->values, capacity * table->layout.dim, sizeof(float)));
  HOTROW_TRY(hr_core_renew((void **)&a->states, capacity * table->layout.state_dim, sizeof(float)));
  a->capacity = capacity;
  return HOTROW_OK;
}

/* The rows of one answered section as the cache takes them: narrow clocks, plain floats. */
typedef struct arrived_rows {
  const hr_pull_note *note;
  const hr_section *asked, *got;
  const uint32_t *clocks;
  const float *values, *states;
} arrived_rows;

static hotrow_status open_rows(hr_core *core, hotrow_table *table, arrived_rows *rows)
{
  const hr_section *got = rows->got;
  uint32_t count = got->row_count, dim = table->layout.dim;
  hr_arrival *a = &table->arrival;
  HOTROW_TRY(grow_arrival(table, count));
  rows->clocks = got->clocks;
  rows->values = got->values;
  rows->states = got->extra_dim ? got->states : NULL;
  if (got->flags & HR_SECTION_WIDE) {
    for (uint32_t i = 0; i < count; i++)
      a->clocks[i] = hr_section_u32(got->clocks, got, i);
    rows->clocks = a->clocks;
  }
  if (got->dtype != HOTROW_F32) {
    core->options.kernels->unpack((hotrow_dtype)got->dtype, got->packed, got->scales, dim, count, NULL, a->values, dim);
    rows->values = a->values;
  }
  return HOTROW_OK;
}

static void count_bytes(hr_core *core, hotrow_table *table, const arrived_rows *rows)
{
  const hr_section *got = rows->got, *asked = rows->asked;
  uint64_t clock = got->flags & HR_SECTION_WIDE ? 8 : 4, key = 8 + (got->flags & HR_SECTION_WIDE ? 8u : 0u);
  uint64_t row = clock + got->dim * hr_dtype_bytes((hotrow_dtype)got->dtype) + (got->dtype == HOTROW_I8 ? 4u : 0u) +
                 got->extra_dim * sizeof(float);
  uint64_t returned = got->held_count, stale = rows->note->stale_count;
  uint64_t missing = asked->key_count - asked->held_count - stale;
  uint64_t stale_bytes = returned * (clock + row) + stale * row;
  uint64_t miss_bytes = missing * row + (got->found ? (missing + stale + 7) / 8 : 0);
  core->bytes_received[HR_BYTES_STALE] += stale_bytes;
  core->bytes_received[HR_BYTES_MISS] += miss_bytes;
  table->stats.bytes_stale += stale_bytes + stale * key;
  table->stats.bytes_miss += miss_bytes + missing * key;
  table->stats.bytes_probe += asked->held_count * (8 + clock);
  table->stats.unseen_sum += got->unseen_sum;
  if (got->unseen_max > table->stats.unseen_max)
    table->stats.unseen_max = got->unseen_max;
  for (uint32_t b = 0; got->unseen_counts && b < HOTROW_UNSEEN_BUCKETS; b++)
    table->stats.unseen_counts[b] += got->unseen_counts[b];
}

static void observe_rows(const hr_core *core, const hotrow_table *table, const arrived_rows *rows)
{
  if (!core->options.observe)
    return;
  const uint64_t *keys = rows->asked->keys;
  uint32_t held = rows->asked->held_count, returned = rows->got->held_count, stale = rows->note->stale_count;
  for (uint32_t i = 0; i < returned; i++)
    hr_core_observe(core, table, HOTROW_EVENT_STALE, &keys[hr_section_u32(rows->got->index, rows->got, i)],
                    &rows->clocks[i], 1);
  hr_core_observe(core, table, HOTROW_EVENT_STALE, keys + held, rows->clocks + returned, stale);
  hr_core_observe(core, table, HOTROW_EVENT_MISS, keys + held + stale, rows->clocks + returned + stale,
                  rows->asked->key_count - held - stale);
}

const hotrow_lookup_request *hr_core_direct_lookup(const hr_core *core, const hotrow_table *table)
{
  for (size_t i = 0; i < core->lookup_count && !table->has_cache && !table->device; i++)
    if (core->lookups[i].table == table && core->lookups[i].pooling == HOTROW_POOL_NONE)
      return &core->lookups[i];
  return NULL;
}

/* Asks for the memory that row `unique` is written to first. */
static void prefetch_place(const hotrow_lookup_request *r, size_t stride, uint32_t dim, uint32_t unique)
{
  const hotrow_dedup *dedup = &r->table->lookup.dedup;
  const float *place = r->out + dedup->positions[dedup->offsets[unique]] * stride;
  for (uint32_t c = 0; c < dim && c < PLACE_PREFETCH_FLOATS; c += LINE_FLOATS)
    __builtin_prefetch(place + c, 1);
}

/* The i-th key that was not held: has it a row? */
static bool is_found(const hr_section *got, uint32_t i)
{
  return !got->found || ((uint32_t)got->found[i / 8] >> (i % 8) & 1u);
}

/* Rows that no cache keeps go to the caller at once. */
static void place_rows(hotrow_table *table, const hotrow_lookup_request *r, const arrived_rows *rows)
{
  const hotrow_dedup *dedup = &table->lookup.dedup;
  const uint32_t dim = table->layout.dim, count = rows->asked->key_count, first = rows->note->unique_first;
  const size_t stride = r->out_stride ? r->out_stride : dim;
  HOTROW_ASSERT(rows->asked->held_count == 0 && !rows->note->unique_index);
  for (uint32_t i = 0; rows->got->found && i < count; i++)
    table->found[first + i] = (uint32_t)rows->got->found[i / 8] >> (i % 8) & 1u;
  if (table->lookup.is_plain && stride == dim) {
    memcpy(r->out + first * stride, rows->values, (size_t)count * dim * sizeof *rows->values);
    return;
  }
  for (uint32_t i = 0; i < count; i++) {
    if (i + PLACE_AHEAD < count)
      prefetch_place(r, stride, dim, first + i + PLACE_AHEAD);
    for (uint32_t k = dedup->offsets[first + i]; k < dedup->offsets[first + i + 1]; k++)
      memcpy(r->out + dedup->positions[k] * stride, rows->values + (size_t)i * dim, dim * sizeof(float));
  }
}

/* Moves row `from` of those that came to place `to` of the arrival's arrays. */
static void move_row(hotrow_table *table, const arrived_rows *rows, uint32_t from, uint32_t to)
{
  hr_arrival *a = &table->arrival;
  uint32_t dim = table->layout.dim, state_dim = rows->got->extra_dim;
  a->clocks[to] = rows->clocks[from];
  if (rows->values != a->values || to < from)
    memmove(a->values + (size_t)to * dim, rows->values + (size_t)from * dim, dim * sizeof(float));
  if (rows->states)
    memcpy(a->states + (size_t)to * state_dim, rows->states + (size_t)from * state_dim, state_dim * sizeof(float));
}

/* New rows of a table with admission: keys without a row have what it would begin with, and that is not kept. */
static hotrow_status insert_admitted(hotrow_table *table, const arrived_rows *rows)
{
  const hr_section *asked = rows->asked, *got = rows->got;
  const hr_pull_note *note = rows->note;
  uint32_t held = asked->held_count, returned = got->held_count, count = asked->key_count - held, kept = 0;
  hr_arrival *a = &table->arrival;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t from = returned + i;
    if (is_found(got, i)) {
      a->keys[kept] = asked->keys[held + i];
      a->hashes[kept] = note->hashes[held + i];
      a->next_use[kept] = table->next_use[unique_at(note, held + i)];
      move_row(table, rows, from, kept++);
      continue;
    }
    HOTROW_TRY(hr_core_cache_stage(table, &note->hashes[held + i], rows->values + (size_t)from * table->layout.dim,
                                   rows->states ? rows->states + (size_t)from * got->extra_dim : NULL, 1,
                                   &table->slots[unique_at(note, held + i)]));
  }
  HOTROW_TRY(hr_core_cache_insert(table, a->keys, a->hashes, a->clocks, a->values, rows->states ? a->states : NULL,
                                  table->window.count ? a->next_use : NULL, kept, a->slots));
  for (uint32_t i = 0, k = 0; i < count; i++)
    if (is_found(got, i))
      table->slots[unique_at(note, held + i)] = a->slots[k++];
  return HOTROW_OK;
}

static hotrow_status insert_all(hotrow_table *table, const arrived_rows *rows)
{
  const hr_section *asked = rows->asked, *got = rows->got;
  const hr_pull_note *note = rows->note;
  uint32_t held = asked->held_count, returned = got->held_count, count = asked->key_count - held;
  uint32_t *slots = table->arrival.slots, *next_use = table->arrival.next_use;
  for (uint32_t i = 0; i < count; i++)
    next_use[i] = table->next_use[unique_at(note, held + i)];
  HOTROW_TRY(hr_core_cache_insert(table, asked->keys + held, note->hashes + held, rows->clocks + returned,
                                  rows->values + (size_t)returned * table->layout.dim,
                                  rows->states ? rows->states + (size_t)returned * got->extra_dim : NULL,
                                  table->window.count ? next_use : NULL, count, slots));
  for (uint32_t i = 0; i < count; i++)
    table->slots[unique_at(note, held + i)] = slots[i];
  return HOTROW_OK;
}

/* Rows of the lookup in hand: held ones are refreshed where they are, the others put in. */
static hotrow_status take_awaited(hotrow_table *table, const arrived_rows *rows)
{
  const hr_section *asked = rows->asked, *got = rows->got;
  const hr_pull_note *note = rows->note;
  uint32_t held = asked->held_count, returned = got->held_count, count = asked->key_count - held;
  uint32_t *slots = table->arrival.slots;
  for (uint32_t i = 0; i < returned; i++) {
    uint32_t unique = unique_at(note, hr_section_u32(got->index, got, i));
    slots[i] = table->slots[unique];
    table->states[unique] = HOTROW_ROW_STALE;
  }
  HOTROW_TRY(hr_core_cache_refresh(table, slots, rows->clocks, rows->values, rows->states, returned));
  for (uint32_t i = 0; i < count; i++) {
    uint32_t unique = unique_at(note, held + i);
    table->seen[unique] = rows->clocks[returned + i];
    table->found[unique] = is_found(got, i);
  }
  return got->found && table->has_cache ? insert_admitted(table, rows) : insert_all(table, rows);
}

/* Rows of a coming batch that no own push has overtaken. What finds no room is asked for again by its lookup. */
static hotrow_status take_ahead(hotrow_table *table, const arrived_rows *rows)
{
  hr_arrival *a = &table->arrival;
  const hr_pull_note *note = rows->note;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < rows->asked->key_count; i++) {
    if (note->spoiled[i] || !is_found(rows->got, i))
      continue;
    a->keys[kept] = rows->asked->keys[i];
    a->hashes[kept] = note->hashes[i];
    a->next_use[kept] = hr_core_cache_batch(table, note->batch);
    move_row(table, rows, i, kept++);
  }
  hotrow_status status = hr_core_cache_insert(table, a->keys, a->hashes, a->clocks, a->values,
                                              rows->states ? a->states : NULL, a->next_use, kept, a->slots);
  if (status == HOTROW_OK)
    table->stats.fetched_ahead += kept;
  return status == HOTROW_ERR_LIMIT ? HOTROW_OK : status;
}

void hr_core_take_rows(hr_core *core, const hr_request *request, const hr_message *reply)
{
  core->answered = request;
  for (uint32_t i = 0; i < request->pull_count; i++) {
    const hr_pull_note *note = &request->pulls[i];
    hotrow_table *table = core->tables[note->table_index];
    arrived_rows rows = {
        .note = note, .asked = &request->message.sections[note->section_index], .got = &reply->sections[i]};
    hotrow_status status = open_rows(core, table, &rows);
    if (status == HOTROW_OK) {
      count_bytes(core, table, &rows);
      observe_rows(core, table, &rows);
      const hotrow_lookup_request *direct = request->is_ahead ? NULL : hr_core_direct_lookup(core, table);
      if (direct)
        place_rows(table, direct, &rows);
      else
        status = request->is_ahead ? take_ahead(table, &rows) : take_awaited(table, &rows);
    }
    /* Evicted rows that are on their way for a coming batch must not be taken: they lack what was handed out. */
    if (status == HOTROW_OK)
      status = hr_core_draft_pushes(core, table);
    if (status != HOTROW_OK)
      hr_core_fail(core, status, hotrow_last_error(), strlen(hotrow_last_error()));
  }
  core->answered = NULL;
}
