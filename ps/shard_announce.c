/* Announcements in replies. */
#include "shard_state.h"

#include <hr/assert.h>
#include <hr/mutant.h>

static size_t count_sections(const uint32_t *counts, size_t table_count)
{
  size_t count = 0;
  for (size_t t = 0; t < table_count; t++)
    count += counts[t] > 0;
  return count;
}

static hr_section *add_section(hr_shard *shard, size_t table, uint32_t key_count, uint64_t **keys_p)
{
  hr_section *section = &shard->reply.sections[shard->reply.section_count++];
  *keys_p = hr_reply_take(shard, key_count * sizeof **keys_p);
  *section =
      (hr_section){.kind = HR_SECTION_ANNOUNCE, .table = (uint32_t)table, .key_count = key_count, .keys = *keys_p};
  return section;
}

static void add_sections(hr_shard *shard, uint64_t first, const uint32_t *counts, const uint32_t *gone)
{
  hr_announce_arrays arrays[HR_SHARD_TABLES_MAX];
  for (size_t t = 0; t < shard->table_count; t++) {
    if (counts[t] > 0) {
      hr_section *section = add_section(shard, t, counts[t], &arrays[t].keys);
      arrays[t].clocks = hr_reply_take(shard, counts[t] * sizeof *arrays[t].clocks);
      section->clocks = arrays[t].clocks;
    }
    if (gone[t] > 0)
      add_section(shard, t, gone[t], &arrays[t].gone)->flags = HR_SECTION_GONE;
  }
  hr_announce_log_copy(&shard->log, first, arrays, shard->table_count);
}

void hr_reply_announce(hr_shard *shard, uint64_t announce_seq)
{
  const hr_announce_log *log = &shard->log;
  if (announce_seq == 0)
    return;
  shard->reply.header.announce_seq = log->next;
  if (HR_MUTANT(LATE_ANNOUNCEMENT) && shard->reply.header.op == HR_OP_PUSH) {
    shard->reply.header.announce_seq = announce_seq;
    return;
  }
  if (announce_seq == log->next)
    return;
  uint32_t counts[HR_SHARD_TABLES_MAX], gone[HR_SHARD_TABLES_MAX];
  bool is_gone = announce_seq < hr_announce_log_first(log) || announce_seq > log->next;
  if (!is_gone) {
    hr_announce_log_count(log, announce_seq, counts, gone, shard->table_count);
    is_gone = count_sections(counts, shard->table_count) + count_sections(gone, shard->table_count) >
              HR_WIRE_ANNOUNCE_SECTIONS_MAX;
  }
  if (is_gone) {
    shard->reply.header.flags |= HR_FLAG_RESET;
    shard->counters.resets++;
  } else {
    add_sections(shard, announce_seq, counts, gone);
  }
}
