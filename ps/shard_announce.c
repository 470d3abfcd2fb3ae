/* Announcements in replies. */
#include "shard_state.h"

#include <hr/assert.h>
#include <hr/mutant.h>

static size_t count_tables(const uint32_t *counts, size_t table_count)
{
  size_t count = 0;
  for (size_t t = 0; t < table_count; t++)
    count += counts[t] > 0;
  return count;
}

static void add_sections(hr_shard *shard, uint64_t first, const uint32_t *counts)
{
  uint64_t *keys[HR_SHARD_TABLES_MAX];
  uint32_t *clocks[HR_SHARD_TABLES_MAX];
  for (size_t t = 0; t < shard->table_count; t++) {
    if (counts[t] == 0)
      continue;
    keys[t] = hr_reply_take(shard, counts[t] * sizeof *keys[t]);
    clocks[t] = hr_reply_take(shard, counts[t] * sizeof *clocks[t]);
    shard->reply.sections[shard->reply.section_count++] = (hr_section){.kind = HR_SECTION_ANNOUNCE,
                                                                       .table = (uint32_t)t,
                                                                       .key_count = counts[t],
                                                                       .keys = keys[t],
                                                                       .clocks = clocks[t]};
  }
  hr_announce_log_copy(&shard->log, first, keys, clocks, shard->table_count);
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
  uint32_t counts[HR_SHARD_TABLES_MAX];
  bool is_gone = announce_seq < hr_announce_log_first(log) || announce_seq > log->next;
  if (!is_gone) {
    hr_announce_log_count(log, announce_seq, counts, shard->table_count);
    is_gone = count_tables(counts, shard->table_count) > HR_WIRE_ANNOUNCE_SECTIONS_MAX;
  }
  if (is_gone) {
    shard->reply.header.flags |= HR_FLAG_RESET;
    shard->counters.resets++;
  } else {
    add_sections(shard, announce_seq, counts);
  }
}
