/* What a reply says beside its rows: own pushes that are applied, rows that have moved on. And asking for it. */
#include <string.h>

#include <hr/assert.h>
#include <hr/hash.h>
#include <hr/memory.h>
#include <hr/mutant.h>
#include <hr/route.h>

#include "core_cache.h"

/* News that do not reach the copies must not be taken for having reached them: the call fails. */
static void expect_ok(hr_core *core, hotrow_status status)
{
  if (status != HOTROW_OK)
    hr_core_fail(core, status, hotrow_last_error(), strlen(hotrow_last_error()));
}

/* The shard has applied this push: its steps are no longer among what the copies may lack. */
static void credit(hr_core *core, hr_request *request)
{
  if (!request->is_push || request->is_credited)
    return;
  request->is_credited = true;
  for (uint32_t i = 0; i < request->push_count; i++) {
    const hr_section *section = &request->message.sections[i];
    hotrow_table *table = core->tables[request->pushes[i].table_index];
    if (table->is_announced)
      expect_ok(core, hr_core_cache_credit(table, section->keys, request->pushes[i].hashes, section->steps,
                                           section->key_count));
  }
}

static bool is_looked_up(const hr_core *core, const hotrow_table *table)
{
  for (size_t i = 0; core->round > 0 && i < core->lookup_count; i++)
    if (core->lookups[i].table == table)
      return true;
  return false;
}

/* The cache knows the clocks of the rows that it holds; those that the lookup in hand has in staging are seen to here:
 * one that is too old leaves its slot, and is asked for again. */
static void tell_staged(hotrow_table *table, const hr_section *section)
{
  for (uint32_t i = 0; i < section->key_count; i++) {
    uint32_t at = hr_core_find_hash(table->asked_hashes, table->asked_count, table->told_hashes[i]);
    if (at == table->asked_count || table->slots[at] < table->cached_slots)
      continue;
    int32_t unseen = (int32_t)(section->clocks[i] + table->desc.announce_step - 1 - table->seen[at]);
    if (unseen > (int32_t)table->pull_bound)
      table->slots[at] = HOTROW_SLOT_NONE;
  }
}

/* Rows that are gone leave their slots likewise. */
static void forget_gone(hotrow_table *table, uint32_t key_count)
{
  for (uint32_t i = 0; i < key_count; i++) {
    uint32_t at = hr_core_find_hash(table->asked_hashes, table->asked_count, table->told_hashes[i]);
    if (at < table->asked_count && table->slots[at] >= table->cached_slots)
      table->slots[at] = HOTROW_SLOT_NONE;
  }
}

static void forget_staged(hotrow_table *table, uint64_t first, uint64_t last)
{
  for (uint32_t u = 0; u < table->asked_count; u++)
    if (table->asked_hashes[u] >= first && table->asked_hashes[u] <= last && table->slots[u] >= table->cached_slots)
      table->slots[u] = HOTROW_SLOT_NONE;
}

static hotrow_table *table_of(const hr_core *core, uint32_t shard, uint32_t id)
{
  for (uint32_t i = 0; i < core->table_count; i++)
    if (core->tables[i]->ids[shard] == id)
      return core->tables[i];
  return NULL;
}

static void take_announcements(hr_core *core, uint32_t shard, const hr_section *section)
{
  bool is_gone = section->flags & HR_SECTION_GONE;
  uint64_t bytes = section->key_count * (sizeof *section->keys + (is_gone ? 0 : sizeof *section->clocks));
  core->bytes_received[HR_BYTES_ANNOUNCE] += bytes;
  core->stats.announcements += section->key_count;
  hotrow_table *table = table_of(core, shard, section->table);
  if (!table || !table->is_announced)
    return; /* of a table that somebody else has open */
  table->stats.bytes_announce += bytes;
  if (section->key_count > table->told_capacity) {
    size_t capacity = section->key_count * (size_t)2;
    table->told_capacity = 0;
    if (hr_core_renew((void **)&table->told_hashes, capacity, sizeof *table->told_hashes) != HOTROW_OK) {
      hr_link_break(&core->links[shard], HOTROW_ERR_NO_MEMORY, "no memory for %u announcements", section->key_count);
      return;
    }
    table->told_capacity = capacity;
  }
  for (uint32_t i = 0; i < section->key_count; i++)
    table->told_hashes[i] = hr_key_hash(section->keys[i], table->seed);
  if (is_gone)
    expect_ok(core, hr_core_cache_announce_gone(table, section->keys, table->told_hashes, section->key_count));
  else
    expect_ok(core,
              hr_core_cache_announce(table, section->keys, table->told_hashes, section->clocks, section->key_count));
  if (is_looked_up(core, table) && is_gone)
    forget_gone(table, section->key_count);
  else if (is_looked_up(core, table))
    tell_staged(table, section);
  table->told++;
}

void hr_core_forget_clocks(hr_core *core, uint32_t shard, bool is_restart)
{
  uint32_t shard_count = core->options.shard_count;
  uint64_t first = hr_hash_first(hr_partition_first(shard, shard_count));
  uint64_t last = hr_hash_first(hr_partition_first(shard + 1, shard_count)) - 1; /* of the last shard: all ones */
  core->stats.resets++;
  for (uint32_t i = 0; i < core->table_count; i++) {
    hotrow_table *table = core->tables[i];
    if (!is_restart && !table->is_announced)
      continue; /* it never relied on announcements */
    hotrow_cache_mark_stale(table->cache, first, last);
    if (table->is_announced && is_looked_up(core, table))
      forget_staged(table, first, last);
    table->told++;
  }
}

void hr_core_take_news(hr_core *core, uint32_t shard, hr_request *request, const hr_message *reply)
{
  const hr_header *header = &reply->header;
  if (!header->announce_seq)
    return; /* no news were wanted: a credit without them would make copies look fresher than they are */
  credit(core, request);
  for (hr_request *open = core->links[shard].open.oldest; open; open = open->next)
    if (open->is_push && open->message.header.push_seq <= header->applied_seq)
      credit(core, open);
  for (uint32_t i = 0; i < reply->section_count; i++)
    if (reply->sections[i].kind == HR_SECTION_ANNOUNCE)
      take_announcements(core, shard, &reply->sections[i]);
  if (header->flags & HR_FLAG_RESET && !HR_MUTANT(NO_RESET))
    hr_core_forget_clocks(core, shard, false);
}

bool hr_core_is_behind(const hr_core *core)
{
  if (!core->is_announced || core->is_sync)
    return false;
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    if (core->links[i].pushes_open + core->links[i].ticks_open > HR_LINK_TICKS_MAX)
      return true;
  return false;
}

hotrow_status hr_core_tell_ticks(hr_core *core)
{
  if (!core->is_announced || core->is_sync)
    return HOTROW_OK;
  for (uint32_t shard = 0; shard < core->options.shard_count; shard++) {
    hr_request *tick;
    if (core->is_told[shard])
      continue;
    HOTROW_TRY(hr_request_acquire(&core->pool, &tick));
    tick->message.header.op = HR_OP_TICK;
    tick->message.header.step = core->step;
    core->is_told[shard] = true;
    core->stats.ticks++;
    hr_link_submit(&core->links[shard], tick, core->now_ns);
  }
  return HOTROW_OK;
}
