/* The GPU's memory and its function table. It is complete. */
#include <pthread.h>
#include <string.h>

#include <hr/check_cuda.h>

extern "C" {
#include <hr/log.h>
#include <hr/status.h>

#include "kernels_impl.h"
}

/* The first launch of this thread that failed, until who waits has heard of it. CUDA's own last error would not do: an
 * event that is asked after too early takes its place. */
static thread_local cudaError_t launch_error;

/* `error` of a wait, or what was launched in vain before it. */
static cudaError_t heard_by_waiting(cudaError_t error)
{
  cudaError_t unlaunched = launch_error;
  launch_error = cudaSuccess;
  return error != cudaSuccess ? error : unlaunched;
}

hotrow_status hr_cuda_check(cudaError_t error, const char *what)
{
  if (error == cudaSuccess)
    return HOTROW_OK;
  cudaGetLastError(); /* it is told here, and no launch's */
  hotrow_status status = error == cudaErrorMemoryAllocation ? HOTROW_ERR_NO_MEMORY : HOTROW_ERR_DEVICE;
  return hr_fail(status, "%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

void hr_cuda_check_launch(const char *kernel)
{
  cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess)
    return;
  hr_log(HOTROW_LOG_ERROR, "cuda kernel %s failed to launch: %s", kernel, cudaGetErrorString(error));
  if (launch_error == cudaSuccess)
    launch_error = error;
}

/* A size that CUDA cannot even ask for does not fit either. */
static hotrow_status check_alloc(cudaError_t error, const char *what)
{
  return hr_cuda_check(error == cudaErrorInvalidValue ? cudaErrorMemoryAllocation : error, what);
}

/* Waits for the zeroes alone: what other streams wait for may never come, as a sum with a lost rank. */
static hotrow_status cuda_alloc(size_t size_bytes, void **memory_p)
{
  void *memory = NULL;
  size_t taken_bytes = size_bytes > 0 ? size_bytes : 1; /* cudaMalloc(0) gives NULL, which is no success here */
  HOTROW_TRY(check_alloc(cudaMalloc(&memory, taken_bytes), "device memory"));
  cudaError_t error = cudaMemsetAsync(memory, 0, taken_bytes, NULL);
  if (error == cudaSuccess)
    error = cudaStreamSynchronize(NULL);
  if (error != cudaSuccess) {
    cudaFree(memory);
    return hr_cuda_check(error, "zeroing device memory");
  }
  *memory_p = memory;
  return HOTROW_OK;
}

static void cuda_free(void *memory)
{
  cudaFree(memory);
}

static hotrow_status cuda_alloc_host(size_t size_bytes, void **memory_p)
{
  void *memory = NULL;
  size_t taken_bytes = size_bytes > 0 ? size_bytes : 1;
  HOTROW_TRY(check_alloc(cudaMallocHost(&memory, taken_bytes), "pinned memory"));
  *memory_p = memset(memory, 0, taken_bytes);
  return HOTROW_OK;
}

static void cuda_free_host(void *memory)
{
  cudaFreeHost(memory);
}

static bool is_pinned(const void *host)
{
  struct cudaPointerAttributes attributes;
  if (cudaPointerGetAttributes(&attributes, host) == cudaSuccess)
    return attributes.type != cudaMemoryTypeUnregistered;
  cudaGetLastError();
  return false;
}

/* Of memory that is not pinned CUDA says no more than that a copy might be done when its call returns. */
static hotrow_status copy_with_host(void *to, const void *from, size_t size_bytes, cudaMemcpyKind kind,
                                    cudaStream_t stream)
{
  bool is_in = kind == cudaMemcpyHostToDevice;
  if (size_bytes == 0)
    return HOTROW_OK;
  cudaError_t error = cudaMemcpyAsync(to, from, size_bytes, kind, stream);
  if (error == cudaSuccess && !is_pinned(is_in ? from : to))
    error = cudaStreamSynchronize(stream);
  return hr_cuda_check(error, is_in ? "copy to the device" : "copy from the device");
}

static hotrow_status cuda_copy_in(void *device_to, const void *host_from, size_t size_bytes, void *stream)
{
  return copy_with_host(device_to, host_from, size_bytes, cudaMemcpyHostToDevice, (cudaStream_t)stream);
}

static hotrow_status cuda_copy_out(void *host_to, const void *device_from, size_t size_bytes, void *stream)
{
  return copy_with_host(host_to, device_from, size_bytes, cudaMemcpyDeviceToHost, (cudaStream_t)stream);
}

static hotrow_status cuda_copy(void *device_to, const void *device_from, size_t size_bytes, void *stream)
{
  return hr_cuda_check(
      cudaMemcpyAsync(device_to, device_from, size_bytes, cudaMemcpyDeviceToDevice, (cudaStream_t)stream),
      "copy on the device");
}

static hotrow_status cuda_fill(void *device_memory, uint8_t byte, size_t size_bytes, void *stream)
{
  return hr_cuda_check(cudaMemsetAsync(device_memory, byte, size_bytes, (cudaStream_t)stream), "filling device memory");
}

static hotrow_status cuda_synchronize(void *stream)
{
  return hr_cuda_check(heard_by_waiting(cudaStreamSynchronize((cudaStream_t)stream)), "work on the device");
}

static hotrow_status cuda_stream_create(bool is_urgent, void **stream_p)
{
  int least = 0, greatest = 0;
  cudaStream_t stream = NULL;
  cudaError_t error = cudaDeviceGetStreamPriorityRange(&least, &greatest);
  if (error == cudaSuccess)
    error = cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, is_urgent ? greatest : least);
  if (error == cudaSuccess)
    *stream_p = stream;
  return hr_cuda_check(error, "a stream");
}

static void cuda_stream_destroy(void *stream)
{
  if (stream)
    cudaStreamDestroy((cudaStream_t)stream);
}

static hotrow_status create_event(unsigned flags, void **event_p)
{
  cudaEvent_t event = NULL;
  cudaError_t error = cudaEventCreateWithFlags(&event, flags);
  if (error == cudaSuccess)
    *event_p = event;
  return hr_cuda_check(error, "an event");
}

static hotrow_status cuda_event_create(void **event_p)
{
  return create_event(cudaEventDisableTiming, event_p);
}

static hotrow_status cuda_event_create_timed(void **event_p)
{
  return create_event(cudaEventDefault, event_p);
}

static void cuda_event_destroy(void *event)
{
  if (event)
    cudaEventDestroy((cudaEvent_t)event);
}

static hotrow_status cuda_event_record(void *event, void *stream)
{
  return hr_cuda_check(cudaEventRecord((cudaEvent_t)event, (cudaStream_t)stream), "recording an event");
}

static hotrow_status cuda_event_order(void *event, void *stream)
{
  return hr_cuda_check(cudaStreamWaitEvent((cudaStream_t)stream, (cudaEvent_t)event, 0), "ordering a stream");
}

static hotrow_status cuda_event_wait(void *event)
{
  return hr_cuda_check(heard_by_waiting(cudaEventSynchronize((cudaEvent_t)event)),
                       "work on the device before an event");
}

static hotrow_status cuda_event_query(void *event, bool *has_happened_p)
{
  cudaError_t error = cudaEventQuery((cudaEvent_t)event);
  if (error == cudaErrorNotReady)
    cudaGetLastError(); /* no failure, so no launch shall find it */
  else if (error != cudaSuccess)
    return hr_cuda_check(error, "asking after an event");
  *has_happened_p = error == cudaSuccess;
  return HOTROW_OK;
}

static hotrow_status cuda_event_elapsed_ms(void *from, void *to, float *elapsed_ms_p)
{
  return hr_cuda_check(cudaEventElapsedTime(elapsed_ms_p, (cudaEvent_t)from, (cudaEvent_t)to),
                       "time between two events");
}

static hotrow_status cuda_describe(hotrow_device_info *info_p)
{
  int device = 0;
  cudaDeviceProp properties;
  size_t free_bytes = 0, total_bytes = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaGetDeviceProperties(&properties, device);
  if (error == cudaSuccess)
    error = cudaMemGetInfo(&free_bytes, &total_bytes);
  if (error != cudaSuccess)
    return hr_cuda_check(error, "properties of the device");
  memset(info_p, 0, sizeof *info_p);
  memcpy(info_p->name, properties.name, sizeof info_p->name - 1);
  info_p->memory_bytes = total_bytes;
  info_p->free_bytes = free_bytes;
  info_p->cache_bytes = (uint64_t)properties.l2CacheSize;
  info_p->processor_count = (uint32_t)properties.multiProcessorCount;
  info_p->architecture = (uint32_t)(properties.major * 10 + properties.minor);
  return HOTROW_OK;
}

static int device_count;

static uint32_t cuda_device_count(void)
{
  return (uint32_t)device_count;
}

static hotrow_status cuda_device_use(uint32_t index)
{
  if (index >= (uint32_t)device_count)
    return hr_fail(HOTROW_ERR_INVALID, "device cuda:%u: this machine has %d, counted from 0", index, device_count);
  return hr_cuda_check(cudaSetDevice((int)index), "choosing a device");
}

static hotrow_kernels cuda_kernels;
static cudaError_t device_error;
static pthread_once_t device_once = PTHREAD_ONCE_INIT;

static void find_device(void)
{
  device_error = cudaGetDeviceCount(&device_count);
  cudaGetLastError();
  cuda_kernels.device = HOTROW_CUDA;
  cuda_kernels.name = "cuda";
  cuda_kernels.describe = cuda_describe;
  cuda_kernels.device_count = cuda_device_count;
  cuda_kernels.device_use = cuda_device_use;
  cuda_kernels.alloc = cuda_alloc;
  cuda_kernels.free = cuda_free;
  cuda_kernels.alloc_host = cuda_alloc_host;
  cuda_kernels.free_host = cuda_free_host;
  cuda_kernels.copy_in = cuda_copy_in;
  cuda_kernels.copy_out = cuda_copy_out;
  cuda_kernels.copy = cuda_copy;
  cuda_kernels.fill = cuda_fill;
  cuda_kernels.synchronize = cuda_synchronize;
  cuda_kernels.stream_create = cuda_stream_create;
  cuda_kernels.stream_destroy = cuda_stream_destroy;
  cuda_kernels.event_create = cuda_event_create;
  cuda_kernels.event_create_timed = cuda_event_create_timed;
  cuda_kernels.event_destroy = cuda_event_destroy;
  cuda_kernels.event_record = cuda_event_record;
  cuda_kernels.event_order = cuda_event_order;
  cuda_kernels.event_wait = cuda_event_wait;
  cuda_kernels.event_query = cuda_event_query;
  cuda_kernels.event_elapsed_ms = cuda_event_elapsed_ms;
  cuda_kernels.dedup_scratch_size = hr_cuda_dedup_scratch_size;
  cuda_kernels.dedup = hr_cuda_dedup;
  cuda_kernels.lower_bounds = hr_cuda_lower_bounds;
  cuda_kernels.scan_scratch_size = hr_cuda_scan_scratch_size;
  cuda_kernels.scan = hr_cuda_scan;
  cuda_kernels.select = hr_cuda_select;
  cuda_kernels.probe = hr_cuda_probe;
  cuda_kernels.gather = hr_cuda_gather;
  cuda_kernels.pool = hr_cuda_pool;
  cuda_kernels.pool_backward = hr_cuda_pool_backward;
  cuda_kernels.segment_sum = hr_cuda_segment_sum;
  cuda_kernels.optimizer_apply = hr_cuda_optimizer_apply;
  cuda_kernels.pending_add = hr_cuda_pending_add;
  cuda_kernels.segment_sum_apply = hr_cuda_segment_sum_apply;
  cuda_kernels.pack = hr_cuda_pack;
  cuda_kernels.unpack = hr_cuda_unpack;
  cuda_kernels.gather_packed = hr_cuda_gather_packed;
  cuda_kernels.scatter_packed = hr_cuda_scatter_packed;
  cuda_kernels.find_nonfinite = hr_cuda_find_nonfinite;
  cuda_kernels.sum_ranks = hr_cuda_sum_ranks;
  cuda_kernels.gather_words = hr_cuda_gather_words;
  cuda_kernels.scatter_words = hr_cuda_scatter_words;
  cuda_kernels.segment_words = hr_cuda_segment_words;
}

extern "C" hotrow_status hr_kernels_get_cuda(const hotrow_kernels **kernels_p)
{
  pthread_once(&device_once, find_device);
  if (device_error != cudaSuccess)
    return hr_fail(HOTROW_ERR_DEVICE, "no usable GPU: %s", cudaGetErrorString(device_error));
  if (device_count == 0)
    return hr_fail(HOTROW_ERR_DEVICE, "this machine has no GPU");
  *kernels_p = &cuda_kernels;
  return HOTROW_OK;
}
