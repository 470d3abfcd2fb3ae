#include "kernel_test.h"

static void what_does_not_fit_is_refused(void)
{
  void *memory = NULL;
  CHECK_FAILS(kernels->alloc(SIZE_MAX, &memory), HOTROW_ERR_NO_MEMORY, NULL);
  CHECK_FAILS(kernels->alloc(SIZE_MAX / 2, &memory), HOTROW_ERR_NO_MEMORY, NULL);
  CHECK_FAILS(kernels->alloc_host(SIZE_MAX / 2, &memory), HOTROW_ERR_NO_MEMORY, NULL);
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

static void copies_and_fills_on_the_device(void)
{
  unsigned char host[1000], back[1000];
  for (size_t i = 0; i < sizeof host; i++)
    host[i] = (unsigned char)(i * 13 + 5);
  void *from, *to;
  CHECK_OK(kernels->alloc(sizeof host, &from));
  CHECK_OK(kernels->alloc(sizeof host, &to));
  CHECK_OK(kernels->copy_in(from, host, sizeof host, NULL));
  CHECK_OK(kernels->copy(to, from, sizeof host, NULL));
  CHECK_OK(kernels->fill((char *)to + 100, 0xee, 50, NULL));
  CHECK_OK(kernels->copy(to, from, 0, NULL));
  CHECK_OK(kernels->fill(to, 1, 0, NULL));
  memset(host + 100, 0xee, 50);
  from_device(back, to, sizeof back);
  CHECK(memcmp(host, back, sizeof back) == 0);
  kernels->free(from);
  kernels->free(to);
}

/* A long copy takes longer than no work at all, on the device's own clock. */
static void timed_events_tell_the_time(void)
{
  const size_t size = (size_t)16 << 20;
  void *from, *to, *stream, *events[3];
  float none_ms = -1, copy_ms = -1;
  CHECK_OK(kernels->alloc(size, &from));
  CHECK_OK(kernels->alloc(size, &to));
  CHECK_OK(kernels->stream_create(false, &stream));
  for (int i = 0; i < 3; i++)
    CHECK_OK(kernels->event_create_timed(&events[i]));
  CHECK_OK(kernels->event_record(events[0], stream));
  CHECK_OK(kernels->event_record(events[1], stream));
  CHECK_OK(kernels->copy(to, from, size, stream));
  CHECK_OK(kernels->event_record(events[2], stream));
  CHECK_OK(kernels->event_wait(events[2]));
  CHECK_OK(kernels->event_elapsed_ms(events[0], events[1], &none_ms));
  CHECK_OK(kernels->event_elapsed_ms(events[0], events[2], &copy_ms));
  CHECK(none_ms >= 0 && (kernels->device == HOTROW_CPU ? copy_ms == 0 : copy_ms > none_ms));
  for (int i = 0; i < 3; i++)
    kernels->event_destroy(events[i]);
  kernels->stream_destroy(stream);
  kernels->free(from);
  kernels->free(to);
}

static void describes_itself(void)
{
  hotrow_device_info info;
  CHECK_OK(kernels->describe(&info));
  CHECK(info.name[0] != '\0' && info.processor_count > 0);
  CHECK(info.free_bytes <= info.memory_bytes && info.memory_bytes > 0);
  CHECK((info.architecture > 0) == (kernels->device == HOTROW_CUDA));
}

/* Two streams pass a number on, each adding its own bytes, with events between them and pinned memory at both ends. */
static void events_order_streams(void)
{
  enum { SIZE = 5000 };
  unsigned char *in, *out;
  void *first, *second, *copied, *arrived, *a, *b;
  CHECK_OK(kernels->alloc_host(SIZE, (void **)&in));
  CHECK_OK(kernels->alloc_host(SIZE, (void **)&out));
  for (size_t i = 0; i < SIZE; i++)
    CHECK(in[i] == 0);
  CHECK_OK(kernels->alloc(SIZE, &a));
  CHECK_OK(kernels->alloc(SIZE, &b));
  CHECK_OK(kernels->stream_create(false, &first));
  CHECK_OK(kernels->stream_create(true, &second));
  CHECK_OK(kernels->event_create(&copied));
  CHECK_OK(kernels->event_create(&arrived));
  bool has_happened = false;
  CHECK_OK(kernels->event_query(arrived, &has_happened));
  CHECK(has_happened);
  for (int round = 1; round < 5; round++) {
    memset(in, round, SIZE);
    CHECK_OK(kernels->copy_in(a, in, SIZE, first));
    CHECK_OK(kernels->event_record(copied, first));
    CHECK_OK(kernels->event_order(copied, second));
    CHECK_OK(kernels->copy(b, a, SIZE, second));
    CHECK_OK(kernels->fill((char *)b + round, 0, 1, second));
    CHECK_OK(kernels->copy_out(out, b, SIZE, second));
    CHECK_OK(kernels->event_record(arrived, second));
    if (round % 2 == 0)
      CHECK_OK(kernels->event_wait(arrived));
    do
      CHECK_OK(kernels->event_query(arrived, &has_happened));
    while (!has_happened);
    for (int i = 0; i < SIZE; i++)
      CHECK_EQ(out[i], i == round ? 0 : round);
  }
  CHECK_OK(kernels->synchronize(second));
  kernels->event_destroy(copied);
  kernels->event_destroy(arrived);
  kernels->stream_destroy(first);
  kernels->stream_destroy(second);
  kernels->free(a);
  kernels->free(b);
  kernels->free_host(in);
  kernels->free_host(out);
  kernels->event_destroy(NULL);
  kernels->stream_destroy(NULL);
  kernels->free_host(NULL);
}

/* Memory that is not pinned may change as soon as the call has returned. */
static void plain_host_memory_is_free_at_once(void)
{
  unsigned char host[100], back[100];
  void *stream, *device;
  CHECK_OK(kernels->stream_create(false, &stream));
  CHECK_OK(kernels->alloc(sizeof host, &device));
  memset(host, 7, sizeof host);
  CHECK_OK(kernels->copy_in(device, host, sizeof host, stream));
  memset(host, 8, sizeof host);
  CHECK_OK(kernels->copy_out(back, device, sizeof back, stream));
  for (size_t i = 0; i < sizeof back; i++)
    CHECK_EQ(back[i], 7);
  kernels->free(device);
  kernels->stream_destroy(stream);
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(what_does_not_fit_is_refused);
  RUN(memory_comes_zeroed_and_keeps_what_is_copied_in);
  RUN(untouched_memory_costs_nothing);
  RUN(copies_and_fills_on_the_device);
  RUN(events_order_streams);
  RUN(timed_events_tell_the_time);
  RUN(describes_itself);
  RUN(plain_host_memory_is_free_at_once);
  return 0;
}
