#include "kernel_test.h"

#include <hr/memory.h>

#define ARRAYS_MAX 64

const hotrow_kernels *kernels;
const uint32_t test_dims[] = {1, 3, 16, 17, 64, 130};
const size_t test_dim_count = sizeof test_dims / sizeof *test_dims;

static void *device_arrays[ARRAYS_MAX];
static void *host_arrays[ARRAYS_MAX];
static size_t device_array_count, host_array_count;

void kernel_test_open(int argc, char **argv)
{
  CHECK_MSG(argc == 2, "usage: %s cpu|cuda", argv[0]);
  if (strcmp(argv[1], "cpu") == 0) {
    CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &kernels));
    return;
  }
  CHECK_MSG(strcmp(argv[1], "cuda") == 0, "no backend is called %s", argv[1]);
  hotrow_status status = hotrow_kernels_get(HOTROW_CUDA, &kernels);
  if (status == HOTROW_ERR_UNSUPPORTED || status == HOTROW_ERR_DEVICE)
    hr_test_skip("cuda", "%s", hotrow_last_error());
  CHECK_OK(status);
}

void *to_device(const void *host, size_t size_bytes)
{
  CHECK(device_array_count < ARRAYS_MAX);
  void *device;
  CHECK_OK(kernels->alloc(size_bytes, &device));
  CHECK_OK(kernels->copy_in(device, host, size_bytes, NULL));
  return device_arrays[device_array_count++] = device;
}

void from_device(void *host, const void *device, size_t size_bytes)
{
  CHECK_OK(kernels->copy_out(host, device, size_bytes, NULL));
  CHECK_OK(kernels->synchronize(NULL));
}

void kernel_test_release_device(void)
{
  while (device_array_count > 0)
    kernels->free(device_arrays[--device_array_count]);
}

void kernel_test_release(void)
{
  kernel_test_release_device();
  while (host_array_count > 0)
    free(host_arrays[--host_array_count]);
}

static void *host_array(size_t count, size_t element_size)
{
  CHECK(host_array_count < ARRAYS_MAX);
  void *array = malloc(count * element_size + (count == 0));
  CHECK(array);
  return host_arrays[host_array_count++] = array;
}

float *random_floats(hr_rng *rng, size_t count)
{
  float *floats = host_array(count, sizeof *floats);
  for (size_t i = 0; i < count; i++)
    floats[i] = hr_rng_below(rng, 20) == 0 ? 0.0f : 2.0f * hr_rng_unit(rng) - 1.0f;
  return floats;
}

uint32_t *random_distinct(hr_rng *rng, size_t count, uint32_t limit)
{
  CHECK(count <= limit);
  uint32_t *all = host_array(limit, sizeof *all);
  for (uint32_t i = 0; i < limit; i++)
    all[i] = i;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t other = i + (uint32_t)hr_rng_below(rng, limit - i), swapped = all[i];
    all[i] = all[other];
    all[other] = swapped;
  }
  return all;
}

uint32_t *random_offsets(hr_rng *rng, size_t count, uint32_t *total_p)
{
  uint32_t *offsets = host_array(count + 1, sizeof *offsets);
  offsets[0] = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t shape = hr_rng_below(rng, 10);
    uint64_t size = shape == 0 ? 0 : shape == 1 ? hr_rng_below(rng, 200) : hr_rng_below(rng, 4);
    offsets[i + 1] = offsets[i] + (uint32_t)size;
  }
  *total_p = offsets[count];
  return offsets;
}

bool same_bits(float a, float b)
{
  uint32_t a_bits, b_bits;
  memcpy(&a_bits, &a, sizeof a_bits);
  memcpy(&b_bits, &b, sizeof b_bits);
  return a_bits == b_bits;
}

size_t first_difference(const float *a, const float *b, size_t count)
{
  for (size_t i = 0; i < count; i++)
    if (!same_bits(a[i], b[i]))
      return i;
  return count;
}
