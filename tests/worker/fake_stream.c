#include "fake_stream.h"

#include <stdatomic.h>

#include <hr/status.h>

typedef struct fake_stream {
  fake_item *first, *last;
  struct fake_stream *next; /* of this thread's */
} fake_stream;

typedef struct fake_event {
  uint64_t recorded, reached;
} fake_event;

_Thread_local fake_plan fake;
static _Thread_local fake_stream *streams;

pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
static const hotrow_kernels *device;
static hotrow_kernels kernels;
static atomic_int device_count;

bool fake_fails(fake_call call)
{
  return fake.call == call && fake.skip-- == 0;
}

static hotrow_status device_call(fake_call call)
{
  if (!fake_fails(call))
    return HOTROW_OK;
  return hr_fail(HOTROW_ERR_DEVICE, "device call %d failed", (int)call);
}

void fake_queue(void *stream, fake_item what)
{
  fake_stream *to = stream;
  fake_item *queued = malloc(sizeof *queued);
  CHECK(queued && to);
  *queued = what;
  queued->next = NULL;
  *(to->first ? &to->last->next : &to->first) = queued;
  to->last = queued;
}

void fake_from_device(void *host, const void *memory, size_t size)
{
  CHECK_OK(device->copy_out(host, memory, size, NULL));
  CHECK_OK(device->synchronize(NULL));
}

void fake_into_device(void *memory, const void *host, size_t size)
{
  CHECK_OK(device->copy_in(memory, host, size, NULL));
  CHECK_OK(device->synchronize(NULL));
}

static bool run_item(fake_item *what)
{
  switch (what->kind) {
  case FAKE_RECORD_ITEM:
    what->event->reached = what->version;
    return true;
  case FAKE_WAIT_ITEM:
    return what->event->reached >= what->version;
  case FAKE_SUM_RANKS_ITEM:
    device->sum_ranks(what->from, what->stride, what->rank_count, what->size, NULL, what->to);
    CHECK_OK(device->synchronize(NULL));
    return true;
  case FAKE_COPY_IN_ITEM:
    fake_into_device(what->to, what->from, what->size);
    return true;
  default:
    return what->run(what);
  }
}

static void run_streams(void)
{
  bool has_run = true;
  pthread_mutex_lock(&fake_lock);
  while (has_run) {
    has_run = false;
    for (fake_stream *stream = streams; stream; stream = stream->next)
      while (stream->first && run_item(stream->first)) {
        fake_item *done = stream->first;
        stream->first = done->next;
        free(done);
        has_run = true;
      }
  }
  pthread_mutex_unlock(&fake_lock);
}

static hotrow_status stream_create(bool is_urgent, void **stream_p)
{
  (void)is_urgent;
  hotrow_status status = device_call(FAKE_STREAM_CREATE);
  if (status != HOTROW_OK)
    return status;
  fake_stream *stream = calloc(1, sizeof *stream);
  CHECK(stream);
  stream->next = streams;
  streams = stream;
  atomic_fetch_add(&device_count, 1);
  *stream_p = stream;
  return HOTROW_OK;
}

static void stream_destroy(void *stream)
{
  fake_stream **at = &streams;
  if (!stream)
    return;
  while (*at != stream)
    at = &(*at)->next;
  CHECK_MSG(!(*at)->first, "a stream is destroyed with work on it");
  *at = (*at)->next;
  free(stream);
  atomic_fetch_sub(&device_count, 1);
}

static hotrow_status event_create(void **event_p)
{
  hotrow_status status = device_call(FAKE_EVENT_CREATE);
  if (status != HOTROW_OK)
    return status;
  *event_p = calloc(1, sizeof(fake_event));
  CHECK(*event_p);
  atomic_fetch_add(&device_count, 1);
  return HOTROW_OK;
}

static void event_destroy(void *event)
{
  if (event)
    atomic_fetch_sub(&device_count, 1);
  free(event);
}

static hotrow_status event_record(void *event, void *stream)
{
  fake_event *e = event;
  hotrow_status status = device_call(FAKE_EVENT_RECORD);
  if (status != HOTROW_OK)
    return status;
  e->recorded++;
  if (stream)
    fake_queue(stream, (fake_item){.kind = FAKE_RECORD_ITEM, .event = e, .version = e->recorded});
  else
    e->reached = e->recorded;
  return HOTROW_OK;
}

static hotrow_status event_order(void *event, void *stream)
{
  fake_event *e = event;
  hotrow_status status = device_call(FAKE_EVENT_ORDER);
  if (status == HOTROW_OK)
    fake_queue(stream, (fake_item){.kind = FAKE_WAIT_ITEM, .event = e, .version = e->recorded});
  return status;
}

static hotrow_status event_query(void *event, bool *is_done_p)
{
  const fake_event *e = event;
  hotrow_status status = device_call(FAKE_EVENT_QUERY);
  if (status != HOTROW_OK)
    return status;
  run_streams();
  *is_done_p = e->reached >= e->recorded && (fake.late_polls == 0 || fake.late_polls-- == 0);
  return HOTROW_OK;
}

static hotrow_status synchronize(void *stream)
{
  hotrow_status status = device_call(FAKE_SYNCHRONIZE);
  if (status != HOTROW_OK || !stream)
    return status;
  run_streams();
  CHECK_MSG(!((fake_stream *)stream)->first, "a thread would block on a stream");
  return HOTROW_OK;
}

static hotrow_status copy_in(void *to, const void *from, size_t size, void *stream)
{
  if (stream)
    fake_queue(stream, (fake_item){.kind = FAKE_COPY_IN_ITEM, .from = from, .to = to, .size = size});
  else
    fake_into_device(to, from, size);
  return HOTROW_OK;
}

static hotrow_status copy_out(void *to, const void *from, size_t size, void *stream)
{
  if (stream)
    run_streams(); /* what the copy comes behind */
  fake_from_device(to, from, size);
  return HOTROW_OK;
}

static void sum_ranks(const float *values, size_t rank_stride, uint32_t rank_count, size_t count, void *stream,
                      float *sums)
{
  fake_queue(stream, (fake_item){.kind = FAKE_SUM_RANKS_ITEM,
                                 .from = values,
                                 .stride = rank_stride,
                                 .rank_count = rank_count,
                                 .size = count,
                                 .to = sums});
}

static hotrow_status allocate(size_t size, void **memory_p)
{
  hotrow_status status = device_call(FAKE_ALLOC);
  if (status != HOTROW_OK)
    return status;
  atomic_fetch_add(&device_count, 1);
  return device->alloc(size, memory_p);
}

static void release(void *memory)
{
  if (memory)
    atomic_fetch_sub(&device_count, 1);
  device->free(memory);
}

const hotrow_kernels *fake_kernels(const hotrow_kernels *base)
{
  device = base;
  kernels = *base;
  kernels.alloc = allocate;
  kernels.free = release;
  kernels.copy_in = copy_in;
  kernels.copy_out = copy_out;
  kernels.synchronize = synchronize;
  kernels.stream_create = stream_create;
  kernels.stream_destroy = stream_destroy;
  kernels.event_create = event_create;
  kernels.event_destroy = event_destroy;
  kernels.event_record = event_record;
  kernels.event_order = event_order;
  kernels.event_query = event_query;
  kernels.sum_ranks = sum_ranks;
  return &kernels;
}

int fake_device_count(void)
{
  return atomic_load(&device_count);
}
