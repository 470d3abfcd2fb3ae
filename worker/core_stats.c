/* Counters: of a table from itself and its cache, of the client from its tables and links. And who watches. */
#include <string.h>

#include "core.h"

void hr_core_observe(const hr_core *core, const hotrow_table *table, hotrow_event event, const uint64_t *keys,
                     const uint32_t *numbers, size_t count)
{
  if (core->options.observe && count)
    core->options.observe(core->options.observe_context, table, event, keys, numbers, count);
}

static void sum_table(const hotrow_table *table, hotrow_table_stats *stats_p)
{
  hotrow_cache_stats cache = {0};
  (void)hotrow_cache_get_stats(table->cache, &cache); /* a device that fails says so where it is needed */
  *stats_p = table->stats;
  stats_p->struct_size = sizeof *stats_p;
  stats_p->evicted_clean = cache.evicted_clean;
  stats_p->evicted_dirty = cache.evicted_dirty;
  stats_p->row_count = cache.row_count;
  stats_p->pending_max = cache.pending_max;
  stats_p->unseen_sum += cache.unseen_sum;
  stats_p->unseen_max = cache.unseen_max > stats_p->unseen_max ? cache.unseen_max : stats_p->unseen_max;
  for (uint32_t b = 0; b < HOTROW_UNSEEN_BUCKETS; b++)
    stats_p->unseen_counts[b] += cache.unseen_counts[b];
}

void hotrow_table_get_stats(const hotrow_table *table, hotrow_table_stats *stats_p)
{
  hotrow_table_stats stats;
  size_t size = stats_p->struct_size;
  sum_table(table, &stats);
  stats.struct_size = size;
  memcpy(stats_p, &stats, size < sizeof stats ? size : sizeof stats);
}

static void add_table(const hotrow_table *table, hotrow_client_stats *stats_p)
{
  hotrow_table_stats t;
  sum_table(table, &t);
  stats_p->keys += t.keys;
  stats_p->unique_keys += t.unique_keys;
  stats_p->hits += t.hits;
  stats_p->stale += t.stale;
  stats_p->misses += t.misses;
  stats_p->prefetched += t.fetched_ahead;
  stats_p->rows_pushed += t.rows_pushed;
  stats_p->unseen_sum += t.unseen_sum;
  stats_p->unseen_max = t.unseen_max > stats_p->unseen_max ? t.unseen_max : stats_p->unseen_max;
  stats_p->pending_max = t.pending_max > stats_p->pending_max ? t.pending_max : stats_p->pending_max;
  for (uint32_t b = 0; b < HOTROW_UNSEEN_BUCKETS; b++)
    stats_p->unseen_counts[b] += t.unseen_counts[b];
}

static void add_link(const hr_link *link, hotrow_client_stats *stats_p, uint64_t *bytes)
{
  stats_p->bytes_sent += link->bytes_sent;
  stats_p->bytes_received += link->bytes_received;
  stats_p->requests += link->requests_sent;
  stats_p->resends += link->resends;
  for (uint32_t i = 0; i < HR_BYTES_COUNT; i++)
    bytes[i] += link->bytes[i];
}

void hr_core_get_stats(const hr_core *core, hotrow_client_stats *stats_p)
{
  uint64_t bytes[HR_BYTES_COUNT], known = 0;
  memcpy(bytes, core->bytes_received, sizeof bytes);
  *stats_p = core->stats;
  stats_p->steps = core->step;
  for (uint32_t i = 0; i < core->options.shard_count; i++)
    add_link(&core->links[i], stats_p, bytes);
  for (uint32_t i = 0; i < core->table_count; i++)
    add_table(core->tables[i], stats_p);
  for (uint32_t i = 0; i < HR_BYTES_COUNT; i++)
    known += bytes[i];
  stats_p->bytes_miss = bytes[HR_BYTES_MISS];
  stats_p->bytes_stale = bytes[HR_BYTES_STALE];
  stats_p->bytes_probe = bytes[HR_BYTES_PROBE];
  stats_p->bytes_push = bytes[HR_BYTES_PUSH];
  stats_p->bytes_announce = bytes[HR_BYTES_ANNOUNCE];
  stats_p->bytes_pull = stats_p->bytes_miss + stats_p->bytes_stale + stats_p->bytes_probe;
  stats_p->bytes_overhead = stats_p->bytes_sent + stats_p->bytes_received - known;
}
