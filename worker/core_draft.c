/* What is to be said to each shard, until it is sent: pushes, then pulls. */
#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>
#include <hr/route.h>

#include "core_cache.h"

/* A draft keeps room for a pull of every table behind its pushes. */
#define PUSH_SECTIONS_MAX (HR_WIRE_DATA_SECTIONS_MAX - HOTROW_REQUESTS_MAX)

static void submit(hr_core *core, uint32_t shard, uint32_t push_flags, uint32_t pull_flags, bool is_waited_for)
{
  hr_request *request = core->drafts[shard];
  hr_header *header = &request->message.header;
  bool has_pulls = request->pull_count > 0, has_pushes = request->push_count > 0 || !has_pulls;
  core->drafts[shard] = NULL;
  header->op = !has_pulls ? HR_OP_PUSH : has_pushes ? HR_OP_PUSH_PULL : HR_OP_PULL;
  header->flags = (uint16_t)(has_pushes ? push_flags : pull_flags);
  header->step = core->step;
  request->call = core->call;
  request->is_waited_for = is_waited_for && has_pulls;
  core->waited_count += request->is_waited_for;
  core->is_told[shard] = true;
  if (request->is_ahead)
    hr_core_count_ahead(core, request, true);
  hr_link_submit(&core->links[shard], request, core->now_ns);
}

hotrow_status hr_core_submit_drafts(hr_core *core, uint32_t push_flags, uint32_t pull_flags, bool is_waited_for)
{
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++)
    if (core->drafts[shard])
      HOTROW_TRY(hr_wire_check_size(&core->drafts[shard]->message));
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++)
    if (core->drafts[shard])
      submit(core, shard, push_flags, pull_flags, is_waited_for);
  return HOTROW_OK;
}

hotrow_status hr_core_submit_draft(hr_core *core, uint32_t shard, uint32_t pull_flags)
{
  HOTROW_TRY(hr_wire_check_size(&core->drafts[shard]->message));
  submit(core, shard, 0, pull_flags, true);
  return HOTROW_OK;
}

hotrow_status hr_core_draft(hr_core *core, uint32_t shard, hr_request **request_p)
{
  if (!core->drafts[shard]) {
    HOTROW_TRY(hr_request_acquire(&core->pool, &core->drafts[shard]));
    core->drafts[shard]->message.header.op = HR_OP_PUSH; /* submit knows better once pulls have joined */
  }
  *request_p = core->drafts[shard];
  return HOTROW_OK;
}

/* Sends a draft that has no room for two more push sections: evicted rows, a step's own pushes are fewer. */
static hotrow_status make_room(hr_core *core, uint32_t shard)
{
  const hr_request *draft = core->drafts[shard];
  if (!draft || draft->push_count + 2 <= PUSH_SECTIONS_MAX)
    return HOTROW_OK;
  HOTROW_TRY(hr_wire_check_size(&draft->message));
  submit(core, shard, 0, 0, false);
  return HOTROW_OK;
}

void hr_core_drop_pulls(hr_core *core)
{
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++) {
    hr_request *request = core->drafts[shard];
    if (!request)
      continue;
    hr_request_strip_pulls(request);
    if (request->message.section_count > 0)
      continue;
    hr_request_release(&core->pool, request);
    core->drafts[shard] = NULL;
  }
}

static hotrow_status take_share(hr_request *request, hr_push_share *share, const hotrow_table *table)
{
  size_t count = share->count, dim = table->layout.dim;
  size_t clock_size = table->flags & HOTROW_TABLE_WIDE_CLOCKS ? sizeof(uint64_t) : sizeof(uint32_t);
  HOTROW_TRY(hr_request_take(request, count * sizeof(uint64_t), (void **)&share->keys));
  HOTROW_TRY(hr_request_take(request, count * sizeof(uint64_t), (void **)&share->hashes));
  if (share->dtype == HOTROW_F32)
    HOTROW_TRY(hr_request_take(request, count * sizeof(float) * dim, (void **)&share->grads));
  else
    HOTROW_TRY(hr_request_take(request, count * hr_dtype_bytes(share->dtype) * dim, (void **)&share->packed));
  if (share->dtype == HOTROW_I8)
    HOTROW_TRY(hr_request_take(request, count * sizeof(float), (void **)&share->scales));
  if (share->has_steps)
    HOTROW_TRY(hr_request_take(request, count * clock_size, (void **)&share->steps));
  if (share->has_steps && table->layout.square_dim)
    HOTROW_TRY(hr_request_take(request, count * sizeof(float) * table->layout.square_dim, (void **)&share->squares));
  return HOTROW_OK;
}

static hotrow_status begin_push_section(hr_core *core, hotrow_table *table, uint32_t shard, hr_push_share *share)
{
  hr_request *request;
  hr_section *section;
  HOTROW_TRY(hr_core_draft(core, shard, &request));
  HOTROW_ASSERT(request->pull_count == 0); /* pushes come before pulls */
  HOTROW_TRY(hr_request_add_section(request, HR_SECTION_PUSH, &section));
  hotrow_status status = take_share(request, share, table);
  if (status != HOTROW_OK) {
    request->message.section_count--;
    return status;
  }
  uint32_t flags = share->has_steps ? HR_SECTION_STEPS : 0;
  if (share->has_steps && table->flags & HOTROW_TABLE_WIDE_CLOCKS)
    flags |= HR_SECTION_WIDE;
  section->flags = (uint8_t)flags;
  section->dtype = (uint8_t)share->dtype;
  section->table = table->ids[shard];
  section->key_count = share->count;
  section->dim = table->layout.dim;
  section->extra_dim = share->has_steps ? table->layout.square_dim : 0;
  section->lr_scale = table->lr_scale;
  section->keys = share->keys;
  section->grads = share->grads;
  section->packed = share->packed;
  section->scales = share->scales;
  section->steps = share->steps;
  section->squares = share->squares;
  request->pushes[request->push_count++] = (hr_push_note){table->index, share->hashes};
  uint64_t bytes = hr_wire_section_bytes(section) - HR_WIRE_SECTION_BYTES;
  request->bytes[HR_BYTES_PUSH] += bytes;
  table->stats.bytes_push += bytes;
  table->stats.rows_pushed += share->count;
  share->count = 0; /* from here on: rows written */
  return HOTROW_OK;
}

/* Copies entries [first, last) of the list, all of one share. */
static void write_pushes(const hotrow_table *table, const hotrow_cache_push_list *list, size_t first, size_t last,
                         hr_push_share *share)
{
  size_t at = share->count, count = last - first, dim = table->layout.dim, square_dim = table->layout.square_dim;
  share->count += (uint32_t)count;
  memcpy(share->keys + at, list->keys + first, count * sizeof *share->keys);
  memcpy(share->hashes + at, list->hashes + first, count * sizeof *share->hashes);
  if (share->dtype == HOTROW_F32)
    memcpy(share->grads + at * dim, list->grads + first * dim, count * dim * sizeof(float));
  else
    table->core->options.kernels->pack(share->dtype, list->grads + first * dim, dim, (uint32_t)dim, NULL, count, NULL,
                                       share->packed + at * dim * hr_dtype_bytes(share->dtype),
                                       share->scales ? share->scales + at : NULL);
  bool is_wide = table->flags & HOTROW_TABLE_WIDE_CLOCKS;
  for (size_t i = 0; share->steps && i < count; i++) {
    uint32_t steps = list->steps ? list->steps[first + i] : 1;
    if (is_wide)
      ((uint64_t *)(void *)share->steps)[at + i] = steps;
    else
      share->steps[at + i] = steps;
  }
  if (share->squares)
    memcpy(share->squares + at * square_dim, list->squares + first * square_dim, count * square_dim * sizeof(float));
}

static void spoil_request(const hr_request *request, const hotrow_table *table, const uint64_t *hashes, size_t count)
{
  for (uint32_t p = 0; request->is_ahead && p < request->pull_count; p++) {
    const hr_pull_note *note = &request->pulls[p];
    uint32_t key_count = request->message.sections[note->section_index].key_count;
    for (size_t i = 0; note->table_index == table->index && i < count; i++) {
      uint32_t at = hr_core_find_hash(note->hashes, key_count, hashes[i]);
      if (at < key_count)
        note->spoiled[at] = !HR_MUTANT(UNSPOILED);
    }
  }
}

/* Rows of coming batches that are on their way lack these pushes: they will not be taken. So do those of the answer
 * that is being taken in: its rows of one table may put out rows of another one. */
static void spoil_rows(hr_core *core, const hotrow_table *table, const uint64_t *hashes, size_t count)
{
  for (uint32_t shard = 0; core->ahead_open > 0 && shard < core->options.shard_count; shard++)
    for (const hr_request *request = core->links[shard].open.oldest; request; request = request->next)
      spoil_request(request, table, hashes, count);
  if (core->answered)
    spoil_request(core->answered, table, hashes, count);
}

/* The share of an entry: of its shard, in full precision or in the table's dtype. */
static hr_push_share *share_of(hr_core *core, const hotrow_table *table, const hotrow_cache_push_list *list, size_t i)
{
  bool is_packed = table->wire_dtype != HOTROW_F32 && list->is_exact && !list->is_exact[i];
  return &core->shares[2 * hr_shard_of(list->hashes[i], core->options.shard_count) + is_packed];
}

/* Entries of a list that follow each other and are this table's: *first_p up to *last_p, where the run before ended. In
 * the list of tables that share a cache there are others' between them. */
static bool next_run(const hotrow_table *table, const hotrow_cache_push_list *list, size_t *first_p, size_t *last_p)
{
  uint32_t number = hotrow_cache_table(table->cache);
  size_t i = *last_p;
  while (i < list->count && list->tables && list->tables[i] != number)
    i++;
  *first_p = i;
  while (i < list->count && (!list->tables || list->tables[i] == number))
    i++;
  *last_p = i;
  return *first_p < i;
}

/* How much of the list goes into each share. */
static void measure_shares(hr_core *core, const hotrow_table *table, const hotrow_cache_push_list *list)
{
  memset(core->shares, 0, 2 * core->options.shard_count * sizeof *core->shares);
  for (size_t first, last = 0; next_run(table, list, &first, &last);)
    for (size_t i = first; i < last; i++) {
      hr_push_share *share = share_of(core, table, list, i);
      share->count++;
      share->has_steps |= list->steps && list->steps[i] > 1;
    }
}

static void draft_run(hr_core *core, hotrow_table *table, const hotrow_cache_push_list *list, size_t first, size_t last)
{
  for (size_t at = first, end; at < last; at = end) { /* neighbours often go to one shard */
    hr_push_share *share = share_of(core, table, list, at);
    for (end = at + 1; end < last && share_of(core, table, list, end) == share;)
      end++;
    write_pushes(table, list, at, end, share);
  }
  spoil_rows(core, table, list->hashes + first, last - first);
  hr_core_observe(core, table, HOTROW_EVENT_PUSH, list->keys + first, list->steps ? list->steps + first : NULL,
                  last - first);
}

hotrow_status hr_core_draft_list(hr_core *core, hotrow_table *table, const hotrow_cache_push_list *list)
{
  uint32_t share_count = 2 * core->options.shard_count;
  hr_push_share *shares = core->shares;
  measure_shares(core, table, list);
  for (uint32_t s = 0; s < share_count; s++)
    if (shares[s].count)
      HOTROW_TRY(make_room(core, s / 2));
  for (uint32_t s = 0; s < share_count; s++) {
    shares[s].dtype = s % 2 ? table->wire_dtype : HOTROW_F32;
    if (shares[s].count)
      HOTROW_TRY(begin_push_section(core, table, s / 2, &shares[s]));
  }
  for (size_t first, last = 0; next_run(table, list, &first, &last);)
    draft_run(core, table, list, first, last);
  return HOTROW_OK;
}

hotrow_status hr_core_draft_pushes(hr_core *core, hotrow_table *table)
{
  hotrow_cache_push_list list;
  HOTROW_TRY(hr_core_cache_take_pushes(table, &list));
  for (uint32_t i = 0; list.count > 0 && i < core->table_count; i++) {
    hotrow_table *other = core->tables[i];
    if (other->cache_owner == table->cache_owner &&
        memchr(list.tables, (int)hotrow_cache_table(other->cache), list.count))
      HOTROW_TRY(hr_core_draft_list(core, other, &list));
  }
  return HOTROW_OK;
}

hotrow_status hr_core_draft_direct(hr_core *core, hotrow_table *table)
{
  while (table->direct.oldest) {
    hr_request *part = table->direct.oldest;
    hr_section *section = &part->message.sections[0];
    uint32_t shard = part->shard;
    HOTROW_TRY(make_room(core, shard));
    table->direct.oldest = part->next;
    bool has_more = part->next && part->next->shard == shard;
    part->next = NULL;
    section->lr_scale = table->lr_scale;
    table->stats.bytes_push += part->bytes[HR_BYTES_PUSH];
    table->stats.rows_pushed += section->key_count;
    hr_core_observe(core, table, HOTROW_EVENT_PUSH, section->keys, NULL, section->key_count);
    if (core->drafts[shard])
      hr_request_absorb(core->drafts[shard], part);
    else
      core->drafts[shard] = part;
    if (!has_more)
      continue; /* other tables' pushes, and pulls, join the last one */
    HOTROW_TRY(hr_wire_check_size(&core->drafts[shard]->message));
    submit(core, shard, 0, 0, false);
  }
  table->direct.newest = NULL;
  return HOTROW_OK;
}

hotrow_status hr_core_draft_evicted(hr_core *core)
{
  for (uint32_t i = 0; i < core->table_count; i++)
    HOTROW_TRY(hr_core_draft_pushes(core, core->tables[i]));
  /* In an exact step the flag SYNC would make the evicted rows the step's push: they travel alone. */
  return core->is_sync ? hr_core_submit_drafts(core, 0, 0, false) : HOTROW_OK;
}
