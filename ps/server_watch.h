/* Looks at the memory of a server's process now and then, on a thread of its own: malloc is asked, whose locks others
 * may hold and be kept from a processor. */
#ifndef HR_SERVER_WATCH_H
#define HR_SERVER_WATCH_H

#include <semaphore.h>

#include "server_counts.h"
#include "shard.h"

#define HR_WATCH_EVERY_MS 250u

/* What the watch asks its owner for. On its thread, and on the caller's of hr_watch_look(). */
typedef struct hr_watch_calls {
  void (*ask_storages)(void *context);                           /* how much they have; it may take a while */
  void (*add_shards)(void *context, hotrow_shard_counts *sum_p); /* what all shards hold, as they said last; taken_bytes
                                                                    with their databases' */
  /* Is much memory taken or given back just now? Then it is looked at a little later: of that malloc tells what is to
   * be, and the system what is. */
  bool (*is_moving)(void *context);
  void *context;
} hr_watch_calls;

typedef struct hr_watch {
  hr_watch_calls calls;
  uint64_t memory_bytes;  /* that the process may take; 0: no bound */
  uint64_t program_bytes; /* that it had at the beginning */
  uint32_t shards;
  hr_counts_slot seen;         /* of hotrow_shard_counts those that are of the process */
  atomic_size_t foreign_bytes; /* of each shard: see hr_shard_count_foreign */
  uint64_t looked_ns;
  pthread_t thread;
  bool has_thread;
  atomic_bool is_ending;
  sem_t end;
} hr_watch;

/* Before there is anything else of the server. */
void hr_watch_init(hr_watch *watch, const hr_watch_calls *calls, uint64_t memory_bytes, uint32_t shards);
/* Before the thread is there, for who loads: looks if it has not for so long as the thread would wait. */
void hr_watch_look(hr_watch *watch);
/* Looks now, and then on its thread. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_watch_start(hr_watch *watch);
void hr_watch_stop(hr_watch *watch); /* before the shards go */

/* Tells a shard what was seen last. On the shard's thread. */
void hr_watch_tell(hr_watch *watch, hr_shard *shard);

#endif
