#include <hotrow/kernels.h>

#include "hr_test.h"

static void an_unknown_device_is_refused(void)
{
  const hotrow_kernels *untouched = NULL;
  CHECK_FAILS(hotrow_kernels_get((hotrow_device)7, &untouched), HOTROW_ERR_INVALID, "device 7");
  CHECK(untouched == NULL);
}

/* Every field behind the name is a function. */
static void check_complete(const hotrow_kernels *k)
{
  void (*functions[(sizeof *k - offsetof(hotrow_kernels, describe)) / sizeof(void (*)(void))])(void);
  memcpy(functions, (const char *)k + offsetof(hotrow_kernels, describe), sizeof functions);
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    CHECK_MSG(functions[i], "function %zu of %s is missing", i, k->name);
}

static void the_cpu_is_always_there_and_complete(void)
{
  const hotrow_kernels *k;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &k));
  CHECK_EQ(k->device, HOTROW_CPU);
  CHECK(strcmp(k->name, "cpu") == 0);
  check_complete(k);
}

static void cuda_is_there_or_says_why_not(void)
{
  const hotrow_kernels *k = NULL;
  hotrow_status status = hotrow_kernels_get(HOTROW_CUDA, &k);
  if (status == HOTROW_OK) {
    CHECK_EQ(k->device, HOTROW_CUDA);
    check_complete(k);
    return;
  }
  CHECK(status == HOTROW_ERR_UNSUPPORTED || status == HOTROW_ERR_DEVICE);
  CHECK(k == NULL);
  CHECK(strlen(hotrow_last_error()) > 10);
}

int main(void)
{
  RUN(an_unknown_device_is_refused);
  RUN(the_cpu_is_always_there_and_complete);
  RUN(cuda_is_there_or_says_why_not);
  return 0;
}
