/* Streams and events. Work is queued and numbered; a stream runs its own in order, and what CUDA orders between streams
 * (events, the default stream) is run before. Nothing runs at the same time as something else: what is wrong about a
 * program that does not wait shows because its work runs late, not because it runs beside it. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hr/assert.h>
#include <hr/random.h>

#include "emulator.h"

typedef struct work {
  struct work *next;
  uint64_t number;
  void (*run)(struct work *);
  hr_emulated_launch launch;
  void *to; /* of a copy, or what is filled */
  const void *from;
  size_t size_bytes;
  int value;
  cudaHostFn_t call;
  void *context;
  struct CUevent_st *event;
  struct CUstream_st *awaited;
  uint64_t awaited_number;
} work;

struct CUstream_st {
  struct CUstream_st *next;
  bool is_nonblocking;
  work *first, *last;
};

struct CUevent_st {
  struct CUstream_st *stream; /* NULL: never recorded */
  uint64_t number;            /* of the record */
  bool is_timed;
  double seconds;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct CUstream_st default_stream;
static struct CUstream_st *streams = &default_stream;
static uint64_t numbers; /* of work queued so far */
static hr_rng dice;

void hr_emulator_lock(void)
{
  pthread_mutex_lock(&mutex);
}

void hr_emulator_unlock(void)
{
  hr_memory_close();
  pthread_mutex_unlock(&mutex);
}

static struct CUstream_st *find_stream(cudaStream_t stream)
{
  if (!stream || stream == cudaStreamLegacy)
    return &default_stream;
  for (struct CUstream_st *s = streams; s; s = s->next)
    if (s == stream)
      return s;
  hr_emulator_stop("%p is no stream", (void *)stream);
}

/* --- Running --- */

static void run_until(struct CUstream_st *stream, uint64_t number);

static bool is_alive(const struct CUstream_st *stream)
{
  const struct CUstream_st *s = streams;
  while (s && s != stream)
    s = s->next;
  return s != NULL;
}

/* What the default stream and the others (but those that are non-blocking) owe each other. */
static void run_what_comes_before(const struct CUstream_st *stream, uint64_t number)
{
  if (stream->is_nonblocking)
    return;
  if (stream != &default_stream) {
    run_until(&default_stream, number - 1);
    return;
  }
  for (struct CUstream_st *s = streams; s; s = s->next)
    if (s != &default_stream && !s->is_nonblocking)
      run_until(s, number - 1);
}

static void run_first(struct CUstream_st *stream)
{
  work *w = stream->first;
  stream->first = w->next;
  if (!stream->first)
    stream->last = NULL;
  run_what_comes_before(stream, w->number);
  hr_memory_open();
  w->run(w);
  free(w);
}

static void run_until(struct CUstream_st *stream, uint64_t number)
{
  while (stream->first && stream->first->number <= number)
    run_first(stream);
}

static void run_everything(void)
{
  for (struct CUstream_st *s = streams; s; s = s->next)
    run_until(s, UINT64_MAX);
}

static work *queue(struct CUstream_st *stream, work pattern)
{
  work *w = malloc(sizeof *w);
  if (!w)
    hr_emulator_stop("no memory for work on a stream");
  *w = pattern;
  w->number = ++numbers;
  if (stream->last)
    stream->last->next = w;
  else
    stream->first = w;
  stream->last = w;
  return w;
}

/* Whether what was queued runs now. */
static void consider_running(struct CUstream_st *stream)
{
  hr_when when = hr_emulator_when();
  if (when == HR_NOW)
    run_until(stream, UINT64_MAX);
  if (when != HR_MIXED)
    return;
  if (dice.state == 0)
    dice.state = hr_emulator_seed() + 1;
  for (struct CUstream_st *s = streams; s; s = s->next)
    if (s->first && hr_rng_below(&dice, 3) == 0)
      run_until(s, s->first->number + hr_rng_below(&dice, numbers - s->first->number + 1));
}

/* --- Work --- */

static void run_copy(work *w)
{
  memcpy(w->to, w->from, w->size_bytes);
}

static void run_fill(work *w)
{
  memset(w->to, w->value, w->size_bytes);
}

static void run_launch(work *w)
{
  hr_emulator_play(&w->launch);
  w->launch.release(w->launch.arguments);
}

/* A function of the host's has no more access than the host. */
static void run_host_call(work *w)
{
  hr_memory_close();
  w->call(w->context);
}

static void run_device_call(work *w)
{
  w->call(w->context);
}

static void run_record(work *w)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  w->event->seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void run_wait(work *w)
{
  if (is_alive(w->awaited))
    run_until(w->awaited, w->awaited_number);
}

void hr_emulated_enqueue(const hr_emulated_launch *launch, cudaStream_t stream)
{
  hr_emulator_lock();
  hr_emulator_check_launch(launch);
  struct CUstream_st *s = find_stream(stream);
  queue(s, (work){.run = run_launch, .launch = *launch});
  consider_running(s);
  hr_emulator_unlock();
}

void hr_emulated_check_pointer(const char *kernel, const void *pointer)
{
  hr_emulator_lock();
  if (pointer && hr_memory_find(pointer, 0, kernel) == HR_PAGEABLE)
    hr_emulator_stop("kernel %s is given %p, which is neither device memory nor pinned", kernel, pointer);
  hr_emulator_unlock();
}

void hr_emulated_check_structure(const char *kernel, const void *structure, size_t size_bytes)
{
  hr_emulator_lock();
  for (size_t at = 0; at + sizeof(void *) <= size_bytes; at += sizeof(void *)) {
    const void *word;
    memcpy(&word, (const char *)structure + at, sizeof word);
    if (hr_memory_is_hosts(word))
      hr_emulator_stop("kernel %s is given %p at byte %zu of a structure, which is neither device memory nor pinned",
                       kernel, word, at);
  }
  hr_emulator_unlock();
}

static void queue_call(void (*run)(work *), cudaHostFn_t call, void *context, cudaStream_t stream)
{
  hr_emulator_lock();
  struct CUstream_st *s = find_stream(stream);
  queue(s, (work){.run = run, .call = call, .context = context});
  consider_running(s);
  hr_emulator_unlock();
}

void hr_emulated_call(cudaHostFn_t call, void *context, cudaStream_t stream)
{
  queue_call(run_device_call, call, context, stream);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t call, void *context)
{
  queue_call(run_host_call, call, context, stream);
  return cudaSuccess;
}

static cudaMemcpyKind kind_of(hr_memory_kind from, hr_memory_kind to)
{
  if (from == HR_ON_DEVICE)
    return to == HR_ON_DEVICE ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost;
  return to == HR_ON_DEVICE ? cudaMemcpyHostToDevice : cudaMemcpyHostToHost;
}

/* Host memory is read and written when the copy runs, be it pinned or not: of pageable memory CUDA promises no more
 * than that a copy might be done when the call returns. */
static void copy(void *to, const void *from, size_t size_bytes, cudaMemcpyKind kind, struct CUstream_st *stream)
{
  hr_memory_kind to_kind = hr_memory_find(to, size_bytes, "copy to"),
                 from_kind = hr_memory_find(from, size_bytes, "copy from");
  if (kind != cudaMemcpyDefault && kind != kind_of(from_kind, to_kind))
    hr_emulator_stop("copy of %zu bytes from %p to %p: of kind %d, called %d", size_bytes, from, to,
                     (int)kind_of(from_kind, to_kind), (int)kind);
  queue(stream, (work){.run = run_copy, .to = to, .from = from, .size_bytes = size_bytes});
  consider_running(stream);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size_bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
  if (size_bytes == 0)
    return cudaSuccess;
  hr_emulator_lock();
  copy(to, from, size_bytes, kind, find_stream(stream));
  hr_emulator_unlock();
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t size_bytes, cudaMemcpyKind kind)
{
  if (size_bytes == 0)
    return cudaSuccess;
  hr_emulator_lock();
  copy(to, from, size_bytes, kind, &default_stream);
  run_until(&default_stream, UINT64_MAX);
  hr_emulator_unlock();
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t size_bytes, cudaStream_t stream)
{
  if (size_bytes == 0)
    return cudaSuccess;
  hr_emulator_lock();
  if (hr_memory_find(memory, size_bytes, "memset") == HR_PAGEABLE)
    hr_emulator_stop("memset of %p, which is neither device memory nor pinned", memory);
  struct CUstream_st *s = find_stream(stream);
  queue(s, (work){.run = run_fill, .to = memory, .size_bytes = size_bytes, .value = value});
  consider_running(s);
  hr_emulator_unlock();
  return cudaSuccess;
}

cudaError_t cudaMemset(void *memory, int value, size_t size_bytes)
{
  return cudaMemsetAsync(memory, value, size_bytes, NULL);
}

/* --- Streams --- */

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream_p, unsigned flags, int priority)
{
  (void)priority; /* CUDA takes the nearest it has; here work runs one piece at a time */
  if (flags > cudaStreamNonBlocking)
    return hr_emulator_error(cudaErrorInvalidValue);
  struct CUstream_st *s = calloc(1, sizeof *s);
  if (!s)
    return hr_emulator_error(cudaErrorMemoryAllocation);
  hr_emulator_lock();
  s->is_nonblocking = flags == cudaStreamNonBlocking;
  s->next = default_stream.next;
  default_stream.next = s;
  hr_emulator_unlock();
  *stream_p = s;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream_p, unsigned flags)
{
  return cudaStreamCreateWithPriority(stream_p, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream_p)
{
  return cudaStreamCreateWithPriority(stream_p, cudaStreamDefault, 0);
}

/* CUDA lets the work that is left run later; nobody can wait for it then, so it may as well run here. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
  hr_emulator_lock();
  struct CUstream_st *s = find_stream(stream), *before = &default_stream;
  if (s == &default_stream)
    hr_emulator_stop("the default stream is destroyed");
  run_until(s, UINT64_MAX);
  while (before->next != s)
    before = before->next;
  before->next = s->next;
  free(s);
  hr_emulator_unlock();
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
  hr_emulator_lock();
  struct CUstream_st *s = find_stream(stream);
  run_what_comes_before(s, numbers + 1);
  run_until(s, UINT64_MAX);
  hr_emulator_unlock();
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
  hr_emulator_lock();
  run_everything();
  hr_emulator_unlock();
  return cudaSuccess;
}

/* Whoever asks brings the stream one piece of work further. */
static cudaError_t ask(struct CUstream_st *stream, uint64_t number)
{
  if (!stream->first || stream->first->number > number)
    return cudaSuccess;
  run_first(stream);
  return hr_emulator_error(cudaErrorNotReady); /* CUDA keeps it too, though it is no failure */
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
  hr_emulator_lock();
  cudaError_t error = ask(find_stream(stream), UINT64_MAX);
  hr_emulator_unlock();
  return error;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
  if (!event || flags != 0)
    return hr_emulator_error(cudaErrorInvalidResourceHandle);
  hr_emulator_lock();
  struct CUstream_st *s = find_stream(stream);
  if (event->stream)
    queue(s, (work){.run = run_wait, .awaited = event->stream, .awaited_number = event->number});
  consider_running(s);
  hr_emulator_unlock();
  return cudaSuccess;
}

/* --- Events --- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event_p, unsigned flags)
{
  if (flags > (cudaEventBlockingSync | cudaEventDisableTiming))
    return hr_emulator_error(cudaErrorInvalidValue);
  struct CUevent_st *event = calloc(1, sizeof *event);
  if (!event)
    return hr_emulator_error(cudaErrorMemoryAllocation);
  event->is_timed = !(flags & cudaEventDisableTiming);
  *event_p = event;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event_p)
{
  return cudaEventCreateWithFlags(event_p, cudaEventDefault);
}

static const work *find_record(const struct CUstream_st *stream, const struct CUevent_st *event)
{
  const work *w = stream->first;
  while (w && w->event != event)
    w = w->next;
  return w;
}

/* A record that is still queued runs before its event is gone. */
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
  if (!event)
    return hr_emulator_error(cudaErrorInvalidResourceHandle);
  hr_emulator_lock();
  for (struct CUstream_st *s = streams; s; s = s->next)
    for (const work *w; (w = find_record(s, event));)
      run_until(s, w->number);
  hr_emulator_unlock();
  free(event);
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
  if (!event)
    return hr_emulator_error(cudaErrorInvalidResourceHandle);
  hr_emulator_lock();
  struct CUstream_st *s = find_stream(stream);
  const work *w = queue(s, (work){.run = run_record, .event = event});
  event->stream = s;
  event->number = w->number;
  consider_running(s);
  hr_emulator_unlock();
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
  if (!event)
    return hr_emulator_error(cudaErrorInvalidResourceHandle);
  hr_emulator_lock();
  cudaError_t error = event->stream && is_alive(event->stream) ? ask(event->stream, event->number) : cudaSuccess;
  hr_emulator_unlock();
  return error;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
  if (!event)
    return hr_emulator_error(cudaErrorInvalidResourceHandle);
  hr_emulator_lock();
  if (event->stream && is_alive(event->stream))
    run_until(event->stream, event->number);
  hr_emulator_unlock();
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds_p, cudaEvent_t start, cudaEvent_t end)
{
  if (!start || !end || !start->stream || !end->stream || !start->is_timed || !end->is_timed)
    return hr_emulator_error(cudaErrorInvalidResourceHandle);
  if (cudaEventQuery(start) == cudaErrorNotReady || cudaEventQuery(end) == cudaErrorNotReady)
    return hr_emulator_error(cudaErrorNotReady);
  *milliseconds_p = (float)((end->seconds - start->seconds) * 1e3);
  return cudaSuccess;
}

/* --- Memory, which waits for the device where CUDA's does --- */

static cudaError_t take(size_t size_bytes, hr_memory_kind kind, void **memory_p)
{
  hr_emulator_lock();
  cudaError_t error = hr_memory_take(size_bytes, kind, memory_p);
  hr_emulator_unlock();
  return hr_emulator_error(error);
}

static cudaError_t give_back(void *memory, hr_memory_kind kind)
{
  if (!memory)
    return cudaSuccess;
  hr_emulator_lock();
  run_everything();
  hr_memory_return(memory, kind);
  hr_emulator_unlock();
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory_p, size_t size_bytes)
{
  return take(size_bytes, HR_ON_DEVICE, memory_p);
}

cudaError_t cudaFree(void *memory)
{
  return give_back(memory, HR_ON_DEVICE);
}

cudaError_t cudaMallocHost(void **memory_p, size_t size_bytes)
{
  return take(size_bytes, HR_PINNED, memory_p);
}

cudaError_t cudaHostAlloc(void **memory_p, size_t size_bytes, unsigned flags)
{
  (void)flags;
  return take(size_bytes, HR_PINNED, memory_p);
}

cudaError_t cudaFreeHost(void *memory)
{
  return give_back(memory, HR_PINNED);
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes_p, const void *pointer)
{
  hr_emulator_lock();
  hr_memory_kind kind = hr_memory_find(pointer, 0, "attributes");
  hr_emulator_unlock();
  bool is_known = kind != HR_PAGEABLE;
  *attributes_p = (struct cudaPointerAttributes){.type = kind == HR_ON_DEVICE ? cudaMemoryTypeDevice
                                                         : is_known           ? cudaMemoryTypeHost
                                                                              : cudaMemoryTypeUnregistered,
                                                 .device = is_known ? 0 : -2,
                                                 .devicePointer = is_known ? (void *)pointer : NULL,
                                                 .hostPointer = kind == HR_PINNED ? (void *)pointer : NULL};
  return cudaSuccess;
}
