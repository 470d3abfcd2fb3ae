/* The NCCL library. It is opened when a communicator first asks for it, so that a program starts where there is none;
 * only its header is needed to build. */
#include "comm_nccl.h"

#include <dlfcn.h>
#include <nccl.h>
#include <pthread.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/status.h>

#define LIBRARY "libnccl.so.2"
#define RANKS_MAX 4096 /* HOTROW_WORLD_MAX */

_Static_assert((int)ncclUnhandledCudaError == HR_NCCL_CUDA_ERROR && (int)ncclSystemError == HR_NCCL_SYSTEM_ERROR &&
                   (int)ncclInternalError == HR_NCCL_INTERNAL_ERROR &&
                   (int)ncclInvalidArgument == HR_NCCL_INVALID_ARGUMENT &&
                   (int)ncclInvalidUsage == HR_NCCL_INVALID_USAGE && (int)ncclRemoteError == HR_NCCL_REMOTE_ERROR &&
                   (int)ncclInProgress == HR_NCCL_IN_PROGRESS && (int)ncclSuccess == HR_NCCL_SUCCESS,
               "results are NCCL's");
_Static_assert(sizeof(hr_nccl_id) == sizeof(ncclUniqueId), "an id is NCCL's");

static struct {
  __typeof__(ncclGetVersion) *get_version;
  __typeof__(ncclGetUniqueId) *get_unique_id;
  __typeof__(ncclCommInitRankConfig) *comm_init;
  __typeof__(ncclCommGetAsyncError) *comm_async_error;
  __typeof__(ncclCommFinalize) *comm_finalize;
  __typeof__(ncclCommDestroy) *comm_destroy;
  __typeof__(ncclCommAbort) *comm_abort;
  __typeof__(ncclCommShrink) *comm_shrink;
  __typeof__(ncclAllReduce) *all_reduce;
  __typeof__(ncclAllGather) *all_gather;
  __typeof__(ncclBroadcast) *broadcast;
  __typeof__(ncclGetErrorString) *error_string;
  __typeof__(ncclGetLastError) *last_error;
} library;

static hr_nccl_result get_version(int *version_p)
{
  return (hr_nccl_result)library.get_version(version_p);
}

static hr_nccl_result get_unique_id(hr_nccl_id *id_p)
{
  ncclUniqueId id;
  ncclResult_t result = library.get_unique_id(&id);
  if (result == ncclSuccess)
    memcpy(id_p, &id, sizeof id);
  return (hr_nccl_result)result;
}

static hr_nccl_result comm_init(void **comm_p, uint32_t world_size, const hr_nccl_id *id, uint32_t rank)
{
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclUniqueId unique;
  config.blocking = 0;
  memcpy(&unique, id, sizeof unique);
  return (hr_nccl_result)library.comm_init((ncclComm_t *)(void *)comm_p, (int)world_size, unique, (int)rank, &config);
}

static hr_nccl_result comm_async_error(void *comm, hr_nccl_result *state_p)
{
  ncclResult_t state = ncclSuccess;
  ncclResult_t result = library.comm_async_error(comm, &state);
  *state_p = (hr_nccl_result)state;
  return (hr_nccl_result)result;
}

static hr_nccl_result comm_finalize(void *comm)
{
  return (hr_nccl_result)library.comm_finalize(comm);
}

static hr_nccl_result comm_destroy(void *comm)
{
  return (hr_nccl_result)library.comm_destroy(comm);
}

static hr_nccl_result comm_abort(void *comm)
{
  return (hr_nccl_result)library.comm_abort(comm);
}

static hr_nccl_result comm_shrink(void *comm, const uint32_t *lost_ranks, uint32_t lost_count, void **smaller_p)
{
  int excluded[RANKS_MAX];
  HOTROW_ASSERT(lost_count <= RANKS_MAX);
  for (uint32_t i = 0; i < lost_count; i++)
    excluded[i] = (int)lost_ranks[i];
  return (hr_nccl_result)library.comm_shrink(comm, excluded, (int)lost_count, (ncclComm_t *)(void *)smaller_p, NULL,
                                             NCCL_SHRINK_ABORT);
}

static hr_nccl_result all_reduce(float *values, size_t count, void *comm, void *stream)
{
  return (hr_nccl_result)library.all_reduce(values, values, count, ncclFloat32, ncclSum, comm, stream);
}

static hr_nccl_result all_gather(const float *values, float *gathered, size_t count, void *comm, void *stream)
{
  return (hr_nccl_result)library.all_gather(values, gathered, count, ncclFloat32, comm, stream);
}

static hr_nccl_result broadcast(void *bytes, size_t size, uint32_t root, void *comm, void *stream)
{
  return (hr_nccl_result)library.broadcast(bytes, bytes, size, ncclInt8, (int)root, comm, stream);
}

static const char *error_string(hr_nccl_result result)
{
  return library.error_string((ncclResult_t)result);
}

static const char *last_error(void *comm)
{
  return library.last_error(comm);
}

static const hr_nccl table = {
    .get_version = get_version,
    .get_unique_id = get_unique_id,
    .comm_init = comm_init,
    .comm_async_error = comm_async_error,
    .comm_finalize = comm_finalize,
    .comm_destroy = comm_destroy,
    .comm_abort = comm_abort,
    .comm_shrink = comm_shrink,
    .all_reduce = all_reduce,
    .all_gather = all_gather,
    .broadcast = broadcast,
    .error_string = error_string,
    .last_error = last_error,
};

static const struct {
  const char *name;
  void *function_p; /* a pointer in `library` */
} functions[] = {
    {"ncclGetVersion", &library.get_version},       {"ncclGetUniqueId", &library.get_unique_id},
    {"ncclCommInitRankConfig", &library.comm_init}, {"ncclCommGetAsyncError", &library.comm_async_error},
    {"ncclCommFinalize", &library.comm_finalize},   {"ncclCommDestroy", &library.comm_destroy},
    {"ncclCommAbort", &library.comm_abort},         {"ncclCommShrink", &library.comm_shrink},
    {"ncclAllReduce", &library.all_reduce},         {"ncclAllGather", &library.all_gather},
    {"ncclBroadcast", &library.broadcast},          {"ncclGetErrorString", &library.error_string},
    {"ncclGetLastError", &library.last_error},
};

static hotrow_status load_status;
static char load_text[HR_ERROR_TEXT_BYTES];
static pthread_once_t load_once = PTHREAD_ONCE_INIT;

static hotrow_status find_functions(void)
{
  void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "NCCL cannot be opened: %s", dlerror());
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *function = dlsym(handle, functions[i].name);
    if (!function)
      return hr_fail(HOTROW_ERR_UNSUPPORTED, "%s has no %s: NCCL 2.27 is the oldest that will do", LIBRARY,
                     functions[i].name);
    memcpy(functions[i].function_p, &function, sizeof function);
  }
  int version;
  ncclResult_t result = library.get_version(&version);
  if (result != ncclSuccess || version < HR_NCCL_VERSION_MIN)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "%s is version %d: NCCL 2.27 (%d) is the oldest that will do", LIBRARY,
                   result == ncclSuccess ? version : 0, HR_NCCL_VERSION_MIN);
  return HOTROW_OK;
}

static void load(void)
{
  load_status = find_functions();
  if (load_status != HOTROW_OK)
    strncpy(load_text, hotrow_last_error(), sizeof load_text - 1);
}

hotrow_status hr_nccl_get(const hr_nccl **nccl_p)
{
  pthread_once(&load_once, load);
  if (load_status != HOTROW_OK)
    return hr_fail(load_status, "%s", load_text);
  *nccl_p = &table;
  return HOTROW_OK;
}
