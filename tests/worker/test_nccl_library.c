/* The real library: what of it works on any machine, and what it says where there is no GPU. */
#include "hr_test.h"

#include <hotrow/kernels.h>

#include "comm_nccl.h"

static const hr_nccl *nccl;

static void the_version_is_one_that_will_do(void)
{
  int version = 0;
  CHECK_EQ(nccl->get_version(&version), HR_NCCL_SUCCESS);
  printf("  NCCL %d\n", version);
  CHECK(version >= HR_NCCL_VERSION_MIN);
}

static void ids_are_unique(void)
{
  hr_nccl_id ids[2] = {{{0}}}, zeroes = {{0}};
  for (int i = 0; i < 2; i++)
    CHECK_EQ(nccl->get_unique_id(&ids[i]), HR_NCCL_SUCCESS);
  CHECK(memcmp(&ids[0], &zeroes, sizeof zeroes) != 0);
  CHECK(memcmp(&ids[0], &ids[1], sizeof zeroes) != 0);
}

static void results_have_names(void)
{
  for (int result = HR_NCCL_SUCCESS; result <= HR_NCCL_IN_PROGRESS; result++) {
    const char *name = nccl->error_string((hr_nccl_result)result);
    CHECK(name && *name);
    printf("  %d: %s\n", result, name);
  }
}

/* Alone, so that it needs nobody. Without a GPU it fails with a result, and leaves nothing that has to be given up. */
static void a_communicator_needs_a_gpu(void)
{
  const hotrow_kernels *kernels;
  bool has_gpu = hotrow_kernels_get(HOTROW_CUDA, &kernels) == HOTROW_OK;
  hr_nccl_id id;
  void *comm = NULL;
  CHECK_EQ(nccl->get_unique_id(&id), HR_NCCL_SUCCESS);
  hr_nccl_result result = nccl->comm_init(&comm, 1, &id, 0);
  while (comm && result == HR_NCCL_IN_PROGRESS)
    CHECK_EQ(nccl->comm_async_error(comm, &result), HR_NCCL_SUCCESS);
  printf("  %s: %s\n", nccl->error_string(result), nccl->last_error(comm));
  CHECK_EQ(result == HR_NCCL_SUCCESS, has_gpu);
  if (comm)
    nccl->comm_abort(comm);
}

int main(void)
{
  hotrow_status status = hr_nccl_get(&nccl);
  if (status == HOTROW_ERR_UNSUPPORTED)
    hr_test_skip("nccl", "%s", hotrow_last_error());
  CHECK_OK(status);
  RUN(the_version_is_one_that_will_do);
  RUN(ids_are_unique);
  RUN(results_have_names);
  RUN(a_communicator_needs_a_gpu);
  return 0;
}
