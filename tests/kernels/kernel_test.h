/* What the tests of kernels share: the backend under test, arrays on its device, random batches. */
#ifndef KERNEL_TEST_H
#define KERNEL_TEST_H

#include <hotrow/kernels.h>
#include <hr/random.h>

#include "hr_test.h"

/* The backend under test: set by kernel_test_open from the program's argument, "cpu" or "cuda". */
extern const hotrow_kernels *kernels;

/* Opens the backend or skips: no such build, no GPU. */
void kernel_test_open(int argc, char **argv);

/* Arrays on the device that live until kernel_test_release: the oracles run on the host's copies. */
void *to_device(const void *host, size_t size_bytes);
void from_device(void *host, const void *device, size_t size_bytes);
void kernel_test_release_device(void); /* the device's arrays only */
void kernel_test_release(void);

#define TO_DEVICE(array, count) to_device(array, (count) * sizeof *(array))

/* Host arrays with exactly the elements asked for, so that a sanitizer sees a read past the end. */
float *random_floats(hr_rng *rng, size_t count);                        /* in [-1, 1), a few exact zeroes */
uint32_t *random_distinct(hr_rng *rng, size_t count, uint32_t limit);   /* count <= limit */
uint32_t *random_offsets(hr_rng *rng, size_t count, uint32_t *total_p); /* CSR; some empty, some over 32 */

bool same_bits(float a, float b); /* -0 is not 0, and a NaN is itself */
/* The first float whose bits differ, or count. */
size_t first_difference(const float *a, const float *b, size_t count);

extern const uint32_t test_dims[];
extern const size_t test_dim_count;

#endif
