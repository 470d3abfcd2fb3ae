/* The device itself: what it says of itself, what it allows, how a wrong program is stopped. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"

#define KERNELS_MAX 64u /* that ask for more shared memory */
#define DEVICES_MAX 64

static _Thread_local cudaError_t last_error;
static _Thread_local int used_device;

void hr_emulator_stop(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "emulated GPU:%s ", hr_emulator_place());
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  abort();
}

#if !defined(__SANITIZE_ADDRESS__) /* which has a report of its own */
/* Says what was touched, then lets the program die as it would have. */
static void say_what_was_touched(int signal_number, siginfo_t *info, void *context)
{
  (void)context;
  const char *what = hr_memory_describe(info->si_addr);
  if (what)
    fprintf(stderr, "emulated GPU:%s %p is touched: %s\n", hr_emulator_place(), info->si_addr, what);
  signal(signal_number, SIG_DFL);
}

__attribute__((constructor)) static void watch_faults(void)
{
  struct sigaction now, action = {.sa_sigaction = say_what_was_touched, .sa_flags = SA_SIGINFO};
  if (sigaction(SIGSEGV, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL)
    sigaction(SIGSEGV, &action, NULL);
}
#endif

hr_when hr_emulator_when(void)
{
  static int known = -1;
  if (known >= 0)
    return (hr_when)known;
  const char *text = getenv("HOTROW_EMULATOR");
  if (!text || strcmp(text, "late") == 0)
    known = HR_LATE;
  else if (strcmp(text, "now") == 0)
    known = HR_NOW;
  else if (strcmp(text, "mixed") == 0)
    known = HR_MIXED;
  else
    hr_emulator_stop("HOTROW_EMULATOR is \"%s\", not now, late or mixed", text);
  return (hr_when)known;
}

uint64_t hr_emulator_seed(void)
{
  static uint64_t seed;
  static bool is_known;
  if (!is_known) {
    const char *text = getenv("HOTROW_TEST_SEED");
    seed = text ? strtoull(text, NULL, 0) : 1;
    is_known = true;
  }
  return seed;
}

/* --- Errors --- */

cudaError_t hr_emulator_error(cudaError_t error)
{
  if (error != cudaSuccess)
    last_error = error;
  return error;
}

cudaError_t cudaGetLastError(void)
{
  cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError(void)
{
  return last_error;
}

#define FOR_EACH_ERROR(X)                                                                                              \
  X(cudaSuccess, "no error")                                                                                           \
  X(cudaErrorInvalidValue, "invalid argument")                                                                         \
  X(cudaErrorMemoryAllocation, "out of memory")                                                                        \
  X(cudaErrorInvalidConfiguration, "invalid configuration argument")                                                   \
  X(cudaErrorInvalidDevice, "invalid device ordinal")                                                                  \
  X(cudaErrorInvalidResourceHandle, "invalid resource handle")                                                         \
  X(cudaErrorNotReady, "device not ready")                                                                             \
  X(cudaErrorNotSupported, "operation not supported")

const char *cudaGetErrorName(cudaError_t error)
{
  switch (error) {
#define NAME(value, text)                                                                                              \
  case value:                                                                                                          \
    return #value;
    FOR_EACH_ERROR(NAME)
#undef NAME
  default:
    return "unrecognized error code";
  }
}

const char *cudaGetErrorString(cudaError_t error)
{
  switch (error) {
#define TEXT(value, text)                                                                                              \
  case value:                                                                                                          \
    return text;
    FOR_EACH_ERROR(TEXT)
#undef TEXT
  default:
    return "unrecognized error code";
  }
}

/* --- The device --- */

/* All are this one: what another device would not let a program touch is not found out. */
static int device_count(void)
{
  const char *text = getenv("HOTROW_EMULATOR_DEVICES");
  const int count = text ? atoi(text) : 1;
  if (count < 1 || count > DEVICES_MAX)
    hr_emulator_stop("HOTROW_EMULATOR_DEVICES is \"%s\", not 1 to %d", text, DEVICES_MAX);
  return count;
}

static bool is_device(int device)
{
  return device >= 0 && device < device_count();
}

cudaError_t cudaGetDeviceCount(int *count_p)
{
  *count_p = device_count();
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device_p)
{
  *device_p = used_device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
  if (!is_device(device))
    return hr_emulator_error(cudaErrorInvalidDevice);
  used_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties_p, int device)
{
  if (!is_device(device))
    return hr_emulator_error(cudaErrorInvalidDevice);
  *properties_p = (cudaDeviceProp){
      .name = "emulated GPU",
      .totalGlobalMem = HR_DEVICE_BYTES,
      .sharedMemPerBlock = HR_SHARED_BYTES,
      .sharedMemPerBlockOptin = HR_SHARED_BYTES_MAX,
      .regsPerBlock = 65536,
      .warpSize = (int)HR_WARP_LANES,
      .maxThreadsPerBlock = (int)HR_BLOCK_LANES_MAX,
      .maxThreadsDim = {1024, 1024, 64},
      .maxGridSize = {INT32_MAX, 65535, 65535},
      .major = 9,
      .multiProcessorCount = 4,
      .l2CacheSize = 1 << 20,
      .asyncEngineCount = 1,
      .unifiedAddressing = 1,
      .concurrentKernels = 1,
  };
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value_p, cudaDeviceAttr attribute, int device)
{
  if (!is_device(device))
    return hr_emulator_error(cudaErrorInvalidDevice);
  switch (attribute) {
  case cudaDevAttrMaxThreadsPerBlock:
    *value_p = (int)HR_BLOCK_LANES_MAX;
    return cudaSuccess;
  case cudaDevAttrMaxSharedMemoryPerBlock:
    *value_p = (int)HR_SHARED_BYTES;
    return cudaSuccess;
  case cudaDevAttrMaxSharedMemoryPerBlockOptin:
    *value_p = (int)HR_SHARED_BYTES_MAX;
    return cudaSuccess;
  case cudaDevAttrWarpSize:
    *value_p = (int)HR_WARP_LANES;
    return cudaSuccess;
  case cudaDevAttrMultiProcessorCount:
    *value_p = 4;
    return cudaSuccess;
  case cudaDevAttrComputeCapabilityMajor:
    *value_p = 9;
    return cudaSuccess;
  case cudaDevAttrComputeCapabilityMinor:
    *value_p = 0;
    return cudaSuccess;
  default:
    return hr_emulator_error(cudaErrorInvalidValue);
  }
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least_p, int *greatest_p)
{
  if (least_p)
    *least_p = 0;
  if (greatest_p)
    *greatest_p = -5;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_p, size_t *total_p)
{
  hr_emulator_lock();
  *free_p = HR_DEVICE_BYTES - hr_memory_taken_bytes();
  *total_p = HR_DEVICE_BYTES;
  hr_emulator_unlock();
  return cudaSuccess;
}

/* --- What a launch may ask for --- */

static struct {
  const void *kernel;
  size_t shared_bytes;
} allowed[KERNELS_MAX];
static size_t allowed_count;

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value)
{
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || (size_t)value > HR_SHARED_BYTES_MAX)
    return hr_emulator_error(cudaErrorInvalidValue);
  hr_emulator_lock();
  size_t at = 0;
  while (at < allowed_count && allowed[at].kernel != kernel)
    at++;
  if (at == KERNELS_MAX)
    hr_emulator_stop("more than %u kernels ask for shared memory", KERNELS_MAX);
  if (at == allowed_count)
    allowed_count++;
  allowed[at].kernel = kernel;
  allowed[at].shared_bytes = (size_t)value;
  hr_emulator_unlock();
  return cudaSuccess;
}

void hr_emulator_check_launch(const hr_emulated_launch *launch)
{
  hr_emulated_size grid = launch->grid, block = launch->block;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535)
    hr_emulator_stop("%s is launched over a grid of %u x %u x %u blocks", launch->kernel, grid.x, grid.y, grid.z);
  uint64_t lanes = (uint64_t)block.x * block.y * block.z;
  if (lanes == 0 || block.x > 1024 || block.y > 1024 || block.z > 64 || lanes > HR_BLOCK_LANES_MAX)
    hr_emulator_stop("%s is launched with blocks of %u x %u x %u threads", launch->kernel, block.x, block.y, block.z);
  size_t shared_bytes = HR_SHARED_BYTES;
  for (size_t i = 0; i < allowed_count; i++)
    if (allowed[i].kernel == launch->function)
      shared_bytes = allowed[i].shared_bytes > shared_bytes ? allowed[i].shared_bytes : shared_bytes;
  if (launch->shared_bytes > shared_bytes)
    hr_emulator_stop("%s is launched with %zu bytes of shared memory and may have %zu", launch->kernel,
                     launch->shared_bytes, shared_bytes);
}
