/* The cuts of one shard of a server, and its log: when they are written, and what becomes of them. On the shard's
 * thread.
 *
 * HOTROW_DURABILITY_CUT: a cut is made every interval, and sooner if there is reason to. _LOG: what was logged is
 * handed over as soon as what was before it is on disk; a cut is made as well, so that the log does not become long.
 * _NONE: one cut is made, at the end, and others only where rows must leave memory that are in none. */
#ifndef HR_SERVER_DURABLE_H
#define HR_SERVER_DURABLE_H

#include "storage_rocksdb.h"

#define HR_CUT_INTERVAL_MS_DEFAULT 1000u
#define HR_CUT_INTERVAL_LOG_MS_DEFAULT 60000u /* with a log: a cut keeps it waiting for as long as it is written */
#define HR_CUT_INTERVAL_MS_MAX 86400000u
/* Small, as a client that pushes waits for one when it has too many pushes that are not durable. */
#define HR_CUT_BYTES_DEFAULT ((uint64_t)4 << 20)
#define HR_CUT_LOG_FACTOR 16u /* with a log a cut is made when it, or what is dirty, has so many times cut_bytes */
#define HR_CUT_NEXT_FACTOR                                                                                             \
  4u                         /* while a cut is under way the next may become so much larger than when it is due, and   \
                                HR_CUT_BYTES_MAX */
#define HR_LOG_RETRY_MS 100u /* when a full disk may have room again */

typedef struct hr_durable {
  hr_rocksdb *storage; /* owned; NULL: the shard is memory only */
  hr_shard *shard;     /* borrowed */
  hotrow_durability durability;
  uint64_t interval_ns;
  uint64_t dirty_bytes_max;
  uint64_t log_bytes_max;
  uint64_t due_ns;                    /* when the next cut is, if there are not too many dirty bytes before */
  uint64_t log_due_ns;                /* a log that was refused is not tried again before */
  hotrow_status status;               /* of the last cut */
  bool is_failed;                     /* the storage, for good */
  void (*before_wait)(void *context); /* called when there is nothing to do */
  void *context;
  char sentence[HR_ERROR_TEXT_BYTES];
} hr_durable;

/* Waits for the next message of the socket; meanwhile, and if there is one already, makes the cut that is due and tells
 * the shard of one that is durable. Returns too when the socket's context ends. */
void hr_durable_wait(hr_durable *d, void *socket);

/* Makes a last cut and waits until it is durable. What it cannot write is logged and returned; the sentence is kept. */
hotrow_status hr_durable_finish(hr_durable *d);

#endif
