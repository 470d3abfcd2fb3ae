/* Work that nobody waits for has not been done: what CUDA orders comes in that order, and nothing else does. */
#include <hotrow/kernels.h>

#include "emulator_kernels.h"
#include "hr_test.h"

static uint32_t *device_word(uint32_t value)
{
  void *memory = NULL;
  CHECK(cudaMalloc(&memory, sizeof value) == cudaSuccess);
  CHECK(cudaMemcpy(memory, &value, sizeof value, cudaMemcpyHostToDevice) == cudaSuccess);
  return memory;
}

static uint32_t *pinned_word(uint32_t value)
{
  void *memory = NULL;
  CHECK(cudaMallocHost(&memory, sizeof value) == cudaSuccess);
  return memcpy(memory, &value, sizeof value);
}

static cudaStream_t stream_of(unsigned flags)
{
  cudaStream_t stream = NULL;
  CHECK(cudaStreamCreateWithFlags(&stream, flags) == cudaSuccess);
  return stream;
}

static void copy_in(uint32_t *to, const uint32_t *from, cudaStream_t stream)
{
  CHECK(cudaMemcpyAsync(to, from, sizeof *to, cudaMemcpyHostToDevice, stream) == cudaSuccess);
}

static void copy_out(uint32_t *to, const uint32_t *from, cudaStream_t stream)
{
  CHECK(cudaMemcpyAsync(to, from, sizeof *to, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
}

static void work_waits_until_somebody_waits_for_it(void)
{
  cudaStream_t stream = stream_of(cudaStreamNonBlocking);
  uint32_t *device = device_word(40), *host = pinned_word(0);
  launch_add(device, 2, stream);
  copy_out(host, device, stream);
  CHECK_EQ(*host, 0);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK_EQ(*host, 42);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess && cudaFree(device) == cudaSuccess &&
        cudaFreeHost(host) == cudaSuccess);
}

/* Too early: `from` changes before the copy has run, and `to` is looked at before it has. */
static void check_that_copies_run_late(uint32_t *from, uint32_t *to)
{
  cudaStream_t stream = stream_of(cudaStreamNonBlocking);
  uint32_t *there = device_word(0);
  *from = 1;
  *to = 5;
  copy_in(there, from, stream);
  *from = 2;
  copy_out(to, there, stream);
  CHECK_EQ(*to, 5);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK_EQ(*to, 2);
  cudaStreamDestroy(stream), cudaFree(there);
}

static void the_host_memory_of_a_copy_is_looked_at_when_it_runs(void)
{
  uint32_t *pinned_from = pinned_word(0), *pinned_to = pinned_word(0), plain_from, plain_to;
  check_that_copies_run_late(pinned_from, pinned_to);
  check_that_copies_run_late(&plain_from, &plain_to);
  cudaFreeHost(pinned_from), cudaFreeHost(pinned_to);
}

static void pointers_tell_what_they_point_to(void)
{
  struct cudaPointerAttributes of;
  uint32_t *device = device_word(0), *pinned = pinned_word(0), plain;
  CHECK(cudaPointerGetAttributes(&of, device) == cudaSuccess && of.type == cudaMemoryTypeDevice && !of.hostPointer);
  CHECK(cudaPointerGetAttributes(&of, pinned) == cudaSuccess && of.type == cudaMemoryTypeHost);
  CHECK(of.hostPointer == pinned && of.devicePointer == pinned);
  CHECK(cudaPointerGetAttributes(&of, &plain) == cudaSuccess && of.type == cudaMemoryTypeUnregistered);
  cudaFree(device), cudaFreeHost(pinned);
}

static void whoever_asks_is_told_that_it_is_not_ready(void)
{
  cudaStream_t stream = stream_of(cudaStreamNonBlocking);
  uint32_t *device = device_word(0), *host = pinned_word(9);
  cudaEvent_t event;
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  CHECK(cudaEventQuery(event) == cudaSuccess); /* never recorded */
  launch_add(device, 5, stream);
  copy_out(host, device, stream);
  CHECK(cudaEventRecord(event, stream) == cudaSuccess);
  uint32_t asked = 0;
  while (cudaEventQuery(event) == cudaErrorNotReady)
    asked++;
  CHECK_EQ(asked, 3);
  CHECK_EQ(*host, 5);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  launch_add(device, 5, stream);
  CHECK(cudaGetLastError() == cudaErrorNotReady && cudaGetLastError() == cudaSuccess);
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  cudaStreamDestroy(stream), cudaFree(device), cudaFreeHost(host);
}

/* Two streams, with and without an event between them. */
static void only_events_order_streams(void)
{
  for (int has_event = 0; has_event < 2; has_event++) {
    cudaStream_t first = stream_of(cudaStreamNonBlocking), second = stream_of(cudaStreamNonBlocking);
    uint32_t *device = device_word(0), *host = pinned_word(0);
    cudaEvent_t event;
    CHECK(cudaEventCreate(&event) == cudaSuccess);
    launch_add(device, 7, first);
    CHECK(cudaEventRecord(event, first) == cudaSuccess);
    launch_add(device, 100, first); /* behind the event: not waited for */
    if (has_event)
      CHECK(cudaStreamWaitEvent(second, event, 0) == cudaSuccess);
    copy_out(host, device, second);
    CHECK(cudaStreamSynchronize(second) == cudaSuccess);
    CHECK_EQ(*host, has_event ? 7 : 0);
    CHECK(cudaEventSynchronize(event) == cudaSuccess);
    copy_out(host, device, second);
    CHECK(cudaStreamSynchronize(second) == cudaSuccess);
    CHECK_EQ(*host, 7);
    CHECK(cudaStreamDestroy(first) == cudaSuccess);
    float milliseconds = -1.0f;
    CHECK(cudaEventElapsedTime(&milliseconds, event, event) == cudaSuccess && milliseconds == 0.0f);
    cudaEventDestroy(event), cudaStreamDestroy(second), cudaFree(device), cudaFreeHost(host);
  }
}

static void the_default_stream_comes_between_streams_that_block(void)
{
  for (int is_nonblocking = 0; is_nonblocking < 2; is_nonblocking++) {
    cudaStream_t stream = stream_of(is_nonblocking ? cudaStreamNonBlocking : cudaStreamDefault);
    uint32_t *device = device_word(1), *host = pinned_word(0);
    launch_add(device, 1, NULL);
    copy_out(host, device, stream); /* after the default stream's work, if it blocks */
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK_EQ(*host, is_nonblocking ? 1 : 2);
    CHECK(cudaStreamSynchronize(NULL) == cudaSuccess);
    launch_add(device, 10, stream);
    copy_out(host, device, NULL); /* and the other way round */
    CHECK(cudaStreamSynchronize(NULL) == cudaSuccess);
    CHECK_EQ(*host, is_nonblocking ? 2 : 12);
    cudaStreamDestroy(stream), cudaFree(device), cudaFreeHost(host);
  }
}

static void add_one(void *context)
{
  ++*(uint32_t *)context;
}

static void calls_of_the_host_take_their_turn(void)
{
  uint32_t count = 0;
  CHECK(cudaLaunchHostFunc(NULL, add_one, &count) == cudaSuccess);
  CHECK_EQ(count, 0);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK_EQ(count, 1);
  uint32_t *device = device_word(6), result;
  hr_emulated_call(add_one, device, NULL);
  CHECK(cudaMemcpy(&result, device, sizeof result, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK_EQ(result, 7);
  cudaFree(device);
}

static void what_is_too_much_is_an_error_once(void)
{
  void *memory = NULL;
  CHECK(cudaMalloc(&memory, SIZE_MAX) == cudaErrorMemoryAllocation && memory == NULL);
  CHECK(cudaPeekAtLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess);
  CHECK(strcmp(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation") == 0);
  size_t before, after, total;
  CHECK(cudaMemGetInfo(&before, &total) == cudaSuccess && before == total);
  CHECK(cudaMalloc(&memory, 1000) == cudaSuccess && cudaMemGetInfo(&after, &total) == cudaSuccess);
  CHECK_EQ(before - after, 1000);
  CHECK(cudaFree(memory) == cudaSuccess && cudaFree(NULL) == cudaSuccess);
}

/* --- The function table over such a device --- */

static const hotrow_kernels *kernels;

static void *start_copy(void *stream, uint32_t *to, const uint32_t *pinned)
{
  void *event;
  CHECK_OK(kernels->event_create(&event));
  CHECK_OK(kernels->copy_in(to, pinned, sizeof *to, stream));
  CHECK_OK(kernels->event_record(event, stream));
  return event;
}

static void memory_is_given_without_a_wait_for_streams(void)
{
  void *stream, *memory;
  uint32_t *device = device_word(0), *pinned = pinned_word(1);
  bool has_happened;
  CHECK_OK(kernels->stream_create(false, &stream));
  void *event = start_copy(stream, device, pinned);
  CHECK_OK(kernels->alloc(1000, &memory));
  CHECK_OK(kernels->event_query(event, &has_happened));
  CHECK(!has_happened);
  kernels->free(memory);
  kernels->event_destroy(event);
  kernels->stream_destroy(stream);
  cudaFree(device), cudaFreeHost(pinned);
}

static void gather_word(void *stream, const uint32_t *from, const uint32_t *index, uint32_t *to)
{
  kernels->gather_words(from, index, 1, stream, to);
}

/* The kernel is told that the device said no: as it does of a launch that it refuses. */
static void a_launch_that_failed_is_told_once_whatever_comes_between(void)
{
  void *stream, *none;
  uint32_t *words = device_word(0), *index = device_word(0), *to = device_word(0), *pinned = pinned_word(1);
  bool has_happened;
  CHECK_OK(kernels->stream_create(false, &stream));
  CHECK(cudaSetDevice(7) == cudaErrorInvalidDevice);
  gather_word(stream, words, index, to);
  void *event = start_copy(stream, words, pinned);
  CHECK_OK(kernels->event_query(event, &has_happened));
  CHECK(!has_happened);
  CHECK_FAILS(kernels->alloc(SIZE_MAX, &none), HOTROW_ERR_NO_MEMORY, NULL);
  CHECK_FAILS(kernels->synchronize(stream), HOTROW_ERR_DEVICE, "cudaErrorInvalidDevice");
  CHECK_OK(kernels->synchronize(stream));
  CHECK(cudaSetDevice(7) == cudaErrorInvalidDevice);
  gather_word(stream, words, index, to);
  CHECK_FAILS(kernels->event_wait(event), HOTROW_ERR_DEVICE, "cudaErrorInvalidDevice");
  CHECK_OK(kernels->event_wait(event));
  kernels->event_destroy(event);
  kernels->stream_destroy(stream);
  cudaFree(words), cudaFree(index), cudaFree(to), cudaFreeHost(pinned);
}

static void a_call_that_failed_is_no_launch(void)
{
  void *stream, *event;
  uint32_t *words = device_word(0), *index = device_word(0), *to = device_word(0);
  float ms;
  CHECK_OK(kernels->stream_create(false, &stream));
  CHECK_OK(kernels->event_create(&event));
  CHECK_FAILS(kernels->event_elapsed_ms(event, event, &ms), HOTROW_ERR_DEVICE, "time between two events");
  gather_word(stream, words, index, to);
  CHECK_OK(kernels->synchronize(stream));
  kernels->event_destroy(event);
  kernels->stream_destroy(stream);
  cudaFree(words), cudaFree(index), cudaFree(to);
}

int main(void)
{
  setenv("HOTROW_EMULATOR", "late", 1);
  RUN(work_waits_until_somebody_waits_for_it);
  RUN(the_host_memory_of_a_copy_is_looked_at_when_it_runs);
  RUN(pointers_tell_what_they_point_to);
  RUN(whoever_asks_is_told_that_it_is_not_ready);
  RUN(only_events_order_streams);
  RUN(the_default_stream_comes_between_streams_that_block);
  RUN(calls_of_the_host_take_their_turn);
  RUN(what_is_too_much_is_an_error_once);
  CHECK_OK(hotrow_kernels_get(HOTROW_CUDA, &kernels));
  RUN(memory_is_given_without_a_wait_for_streams);
  RUN(a_launch_that_failed_is_told_once_whatever_comes_between);
  RUN(a_call_that_failed_is_no_launch);
  return 0;
}
