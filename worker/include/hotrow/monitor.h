/* Looking at running shards: asks each for its statistics, whether the others answer or not. A monitor takes part in no
 * job, and shards may come, go and be restarted while it watches. One thread at a time.
 *
 *   hotrow_monitor_ask(monitor);
 *   while (hotrow_monitor_wait(monitor, 50) > 0 && there_is_time())
 *     ;
 *   for each shard: hotrow_monitor_answer_of(monitor, shard) */
#ifndef HOTROW_MONITOR_H
#define HOTROW_MONITOR_H

#include <hotrow/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hotrow_monitor hotrow_monitor;

/* Connects to the shards of a cluster: endpoints, comma-separated, all of them and in shard order. Waits for none.
 *   HOTROW_ERR_INVALID (an empty or impossible endpoint), HOTROW_ERR_LIMIT (more than 1024), HOTROW_ERR_NO_MEMORY */
HOTROW_API hotrow_status hotrow_monitor_open(const char *shards, hotrow_monitor **monitor_p);
HOTROW_API void hotrow_monitor_close(hotrow_monitor *monitor); /* accepts NULL */

HOTROW_API uint32_t hotrow_monitor_shard_count(const hotrow_monitor *monitor);
HOTROW_API const char *hotrow_monitor_endpoint(const hotrow_monitor *monitor, uint32_t shard);

/* Asks every shard. What was answered before is forgotten, and a late answer to that is dropped. */
HOTROW_API void hotrow_monitor_ask(hotrow_monitor *monitor);

/* Takes answers in, until all are there or timeout_ms is over; asks again meanwhile. Returns how many are missing. */
HOTROW_API uint32_t hotrow_monitor_wait(hotrow_monitor *monitor, uint32_t timeout_ms);

/* One answer of the last asking. */
typedef struct hotrow_monitor_answer {
  const char *stats;   /* the JSON object of ps/WIRE.md; NULL: none came. Valid until the next ask */
  const char *refusal; /* why the shard will not tell, a sentence; NULL: it did not say so */
  uint64_t time_ns;    /* when it came, monotonic */
} hotrow_monitor_answer;
HOTROW_API hotrow_monitor_answer hotrow_monitor_answer_of(const hotrow_monitor *monitor, uint32_t shard);

#ifdef __cplusplus
}
#endif
#endif
