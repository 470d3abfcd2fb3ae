/* The cuts of one shard of a server: when they are made, and what becomes of them. On the shard's thread. */
#ifndef HR_SERVER_DURABLE_H
#define HR_SERVER_DURABLE_H

#include "storage_rocksdb.h"

#define HR_CUT_INTERVAL_MS_DEFAULT 1000u
#define HR_CUT_INTERVAL_MS_MAX 86400000u
#define HR_CUT_BYTES_DEFAULT ((uint64_t)64 << 20)

typedef struct hr_durable {
  hr_rocksdb *storage; /* owned; NULL: the shard is memory only */
  hr_shard *shard;     /* borrowed */
  uint64_t interval_ns;
  uint64_t dirty_bytes_max;
  uint64_t due_ns;                    /* when the next cut is, if there are not too many dirty bytes before */
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
