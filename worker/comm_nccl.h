/* NCCL as a table of functions: the library's, opened when it is first asked for, or a test's. The names and values are
 * NCCL's, and so are the rules: communicators do not block, so IN_PROGRESS is an answer of every call but abort and
 * destroy, and comm_async_error says how it went on. */
#ifndef HR_COMM_NCCL_H
#define HR_COMM_NCCL_H

#include <hotrow/base.h>

typedef enum hr_nccl_result {
  HR_NCCL_SUCCESS = 0,
  HR_NCCL_CUDA_ERROR = 1,
  HR_NCCL_SYSTEM_ERROR = 2,
  HR_NCCL_INTERNAL_ERROR = 3,
  HR_NCCL_INVALID_ARGUMENT = 4,
  HR_NCCL_INVALID_USAGE = 5,
  HR_NCCL_REMOTE_ERROR = 6,
  HR_NCCL_IN_PROGRESS = 7
} hr_nccl_result;

#define HR_NCCL_ID_BYTES 128

typedef struct hr_nccl_id {
  char bytes[HR_NCCL_ID_BYTES];
} hr_nccl_id;

typedef struct hr_nccl {
  hr_nccl_result (*get_version)(int *version_p); /* 22809 is 2.28.9 */
  hr_nccl_result (*get_unique_id)(hr_nccl_id *id_p);
  hr_nccl_result (*comm_init)(void **comm_p, uint32_t world_size, const hr_nccl_id *id, uint32_t rank);
  hr_nccl_result (*comm_async_error)(void *comm, hr_nccl_result *state_p);
  hr_nccl_result (*comm_finalize)(void *comm);
  hr_nccl_result (*comm_destroy)(void *comm);
  hr_nccl_result (*comm_abort)(void *comm);
  /* Ends what is going on first. *smaller_p may be written by another thread until comm is no longer in progress. */
  hr_nccl_result (*comm_shrink)(void *comm, const uint32_t *lost_ranks, uint32_t lost_count, void **smaller_p);
  hr_nccl_result (*all_reduce)(float *values, size_t count, void *comm, void *stream); /* in place; sum */
  hr_nccl_result (*all_gather)(const float *values, float *gathered, size_t count, void *comm, void *stream);
  hr_nccl_result (*broadcast)(void *bytes, size_t size, uint32_t root, void *comm, void *stream); /* in place */
  const char *(*error_string)(hr_nccl_result result);
  const char *(*last_error)(void *comm); /* more about it; may be NULL or empty */
} hr_nccl;

#define HR_NCCL_VERSION_MIN 22700 /* the first that can shrink a communicator */

/* The library's functions; they stay for as long as the program. Any thread.
 *   HOTROW_ERR_UNSUPPORTED  this build knows no NCCL, or this machine has none, or one that is too old */
hotrow_status hr_nccl_get(const hr_nccl **nccl_p);

#endif
