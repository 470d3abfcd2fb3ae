/* What the tests of communicators over NCCL share: the device under test, and options. */
#ifndef HR_NCCL_TEST_H
#define HR_NCCL_TEST_H

#include "worker_test.h"

#include <hotrow/comm.h>

#include "comm_device.h"
#include "fake_nccl.h"

/* Set by nccl_test_open() from the program's argument, "cpu" or "cuda": the device, and it with streams that are late.
 */
extern const hotrow_kernels *base, *kernels;

/* Skips where there is no such device. */
void nccl_test_open(int argc, char **argv);

void *to_device(const void *host, size_t size); /* free with base->free */
void from_device(void *host, const void *memory, size_t size);

#define PLENTY_MS 60000 /* for what is done at once, on a machine that many programs want */

/* Rank 1 of 3, with PLENTY_MS for everything. */
hotrow_comm_options options_alone(uint32_t flags);

void check_nothing_is_left(void);

#endif
