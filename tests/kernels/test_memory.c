#include "kernel_test.h"

static void what_does_not_fit_is_refused(void)
{
  void *memory = NULL;
  CHECK_FAILS(kernels->alloc(SIZE_MAX, &memory), HOTROW_ERR_NO_MEMORY, NULL);
  CHECK_FAILS(kernels->alloc(SIZE_MAX / 2, &memory), HOTROW_ERR_NO_MEMORY, NULL);
  CHECK(memory == NULL);
}

static void memory_comes_zeroed_and_keeps_what_is_copied_in(void)
{
  const size_t sizes[] = {0, 1, 100, 4096, ((size_t)2 << 20) - 1, (size_t)2 << 20, ((size_t)5 << 20) + 3};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    size_t size = sizes[s];
    unsigned char *host = malloc(size + 1), *back = malloc(size + 1);
    CHECK(host && back);
    void *device = NULL;
    for (int round = 0; round < 2; round++) { /* the second round may get the first one's memory again */
      CHECK_OK(kernels->alloc(size, &device));
      CHECK(device && (uintptr_t)device % 64 == 0);
      memset(back, 0xff, size);
      from_device(back, device, size);
      for (size_t i = 0; i < size; i++)
        CHECK(back[i] == 0);
      for (size_t i = 0; i < size; i++)
        host[i] = (unsigned char)(i * 7 + 1);
      CHECK_OK(kernels->copy_in(device, host, size, NULL));
      from_device(back, device, size);
      CHECK(memcmp(host, back, size) == 0);
      kernels->free(device);
    }
    free(host);
    free(back);
  }
  kernels->free(NULL);
}

static void untouched_memory_costs_nothing(void)
{
  if (kernels->device != HOTROW_CPU)
    return;
  void *memory;
  CHECK_OK(kernels->alloc((size_t)1 << 40, &memory));
  ((char *)memory)[(size_t)1 << 39] = 1;
  kernels->free(memory);
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(what_does_not_fit_is_refused);
  RUN(memory_comes_zeroed_and_keeps_what_is_copied_in);
  RUN(untouched_memory_costs_nothing);
  return 0;
}
