/* A stand-in for a device's streams. What is queued on one is done when somebody asks for an event behind it, not
 * before: what is not waited for shows as wrong values. Arrays lie on the device whose table is given to
 * fake_kernels(). Streams and events belong to the thread that made them. */
#ifndef HR_FAKE_STREAM_H
#define HR_FAKE_STREAM_H

#include "hr_test.h"

#include <pthread.h>

#include <hotrow/kernels.h>

typedef enum fake_call {
  FAKE_NOTHING = 0,
  FAKE_GET_VERSION,
  FAKE_GET_ID,
  FAKE_INIT,
  FAKE_ASYNC_ERROR, /* the question itself fails */
  FAKE_STATE,       /* the answer is the error */
  FAKE_FINALIZE,
  FAKE_DESTROY,
  FAKE_ABORT,
  FAKE_SHRINK,
  FAKE_ALL_REDUCE,
  FAKE_ALL_GATHER,
  FAKE_BROADCAST,
  FAKE_ALLOC, /* of the device from here on: they fail with HOTROW_ERR_DEVICE */
  FAKE_STREAM_CREATE,
  FAKE_EVENT_CREATE,
  FAKE_EVENT_RECORD,
  FAKE_EVENT_ORDER,
  FAKE_EVENT_QUERY,
  FAKE_SYNCHRONIZE
} fake_call;

/* What goes wrong on this thread: the call of that kind after `skip` others gives `result` (of NCCL). */
typedef struct fake_plan {
  fake_call call;
  int result;
  unsigned skip;
  unsigned late_polls; /* so often an event that is reached is said not to be */
  bool is_silent;      /* collectives are never done */
  int version;         /* of NCCL, or 0 */
} fake_plan;

extern _Thread_local fake_plan fake;

/* Is this the call that is to fail? */
bool fake_fails(fake_call call);

/* The table of `base` with streams and events that are done late. One at a time. */
const hotrow_kernels *fake_kernels(const hotrow_kernels *base);

/* Streams, events and arrays that are there now, of all threads. */
int fake_device_count(void);

/* ---- for fake_nccl.c ---- */

typedef enum fake_item_kind {
  FAKE_COLLECTIVE_ITEM = 0,
  FAKE_RECORD_ITEM,
  FAKE_WAIT_ITEM,
  FAKE_SUM_RANKS_ITEM,
  FAKE_COPY_IN_ITEM
} fake_item_kind;

typedef struct fake_item {
  fake_item_kind kind;
  struct fake_item *next;
  struct fake_event *event;
  uint64_t version;
  const void *from;
  void *to;
  size_t size; /* bytes; sum_ranks: floats */
  size_t stride;
  uint32_t rank_count;
  bool (*run)(struct fake_item *item); /* of a collective: true when it is done; called with the lock held */
  struct fake_comm *comm;
  uint32_t number; /* of the operation */
  bool has_arrived;
} fake_item;

void fake_queue(void *stream, fake_item what);
void fake_from_device(void *host, const void *memory, size_t size);
void fake_into_device(void *memory, const void *host, size_t size);

extern pthread_mutex_t fake_lock; /* the device, and all communicators */

#endif
