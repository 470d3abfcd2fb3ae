#include <hotrow/kernels.h>

#include "hr_test.h"

static void an_unknown_device_is_refused(void)
{
  const hotrow_kernels *untouched = NULL;
  CHECK_FAILS(hotrow_kernels_get((hotrow_device)7, &untouched), HOTROW_ERR_INVALID, "device 7");
  CHECK(untouched == NULL);
}

static void the_cpu_is_always_there_and_complete(void)
{
  const hotrow_kernels *k;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &k));
  CHECK_EQ(k->device, HOTROW_CPU);
  CHECK(strcmp(k->name, "cpu") == 0);
  CHECK(k->alloc && k->free && k->copy_in && k->copy_out && k->synchronize);
  CHECK(k->alloc_host && k->free_host && k->copy && k->fill && k->stream_create && k->stream_destroy);
  CHECK(k->event_create && k->event_destroy && k->event_record && k->event_order && k->event_wait && k->event_query);
  CHECK(k->lower_bounds && k->scan_scratch_size && k->scan && k->select);
  CHECK(k->dedup_scratch_size && k->dedup && k->probe && k->gather && k->pool && k->pool_backward);
  CHECK(k->segment_sum && k->optimizer_apply && k->pending_add && k->pack && k->unpack && k->find_nonfinite &&
        k->sum_ranks);
}

static void cuda_is_there_or_says_why_not(void)
{
  const hotrow_kernels *k = NULL;
  hotrow_status status = hotrow_kernels_get(HOTROW_CUDA, &k);
  if (status == HOTROW_OK) {
    CHECK_EQ(k->device, HOTROW_CUDA);
    CHECK(k->alloc && k->free && k->copy_in && k->copy_out && k->synchronize && k->gather && k->segment_sum &&
          k->sum_ranks);
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
