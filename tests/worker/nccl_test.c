#include "nccl_test.h"

const hotrow_kernels *base, *kernels;

void *to_device(const void *host, size_t size)
{
  void *memory;
  CHECK_OK(base->alloc(size, &memory));
  CHECK_OK(base->copy_in(memory, host, size, NULL));
  CHECK_OK(base->synchronize(NULL));
  return memory;
}

void from_device(void *host, const void *memory, size_t size)
{
  CHECK_OK(base->copy_out(host, memory, size, NULL));
  CHECK_OK(base->synchronize(NULL));
}

void check_nothing_is_left(void)
{
  CHECK_EQ(fake_comm_count(), 0);
  CHECK_EQ(fake_device_count(), 0);
}

hotrow_comm_options options_alone(uint32_t flags)
{
  hotrow_comm_options options = HOTROW_COMM_OPTIONS_INIT;
  options.kind = HOTROW_COMM_NCCL;
  options.device = HOTROW_CUDA;
  options.name = "dense";
  options.host = "127.0.0.1";
  options.rank = 1;
  options.world_size = 3;
  options.timeout_ms = PLENTY_MS;
  options.flags = flags;
  return options;
}

void nccl_test_open(int argc, char **argv)
{
  CHECK_MSG(argc == 2, "usage: %s cpu|cuda", argv[0]);
  hotrow_status status = hotrow_kernels_get(strcmp(argv[1], "cpu") == 0 ? HOTROW_CPU : HOTROW_CUDA, &base);
  if (status == HOTROW_ERR_UNSUPPORTED || status == HOTROW_ERR_DEVICE)
    hr_test_skip("cuda", "%s", hotrow_last_error());
  CHECK_OK(status);
  kernels = fake_kernels(base);
}
