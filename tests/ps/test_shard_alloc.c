/* Once warm, pulls and pushes take no memory. The linker sends the shard's allocations here (--wrap). */
#include "shard_test.h"

static bool is_counting;
static long long count;

void *__real_malloc(size_t size);
void *__real_calloc(size_t members, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t members, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
  count += is_counting;
  return __real_malloc(size);
}

void *__wrap_calloc(size_t members, size_t size)
{
  count += is_counting;
  return __real_calloc(members, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
  count += is_counting;
  return __real_aligned_alloc(alignment, size);
}

static void drop_reply(void *context, const hr_route_id *to, const hr_frame *frames, size_t frame_count)
{
  (void)to;
  hr_message reply;
  CHECK_OK(hr_wire_decode(frames, frame_count, &reply));
  CHECK_OK((hotrow_status)reply.header.status);
  ++*(uint32_t *)context;
}

static void deliver(hr_shard *shard, test_client *c)
{
  uint8_t header[HR_WIRE_HEADER_BYTES], sections[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t frame_count;
  hr_wire_encode(&c->message, header, sections, frames, &frame_count);
  static uint64_t now_ns;
  is_counting = true;
  hr_shard_receive(shard, &c->route, frames, frame_count, ++now_ns);
  is_counting = false;
}

static void allocate_nothing(hotrow_dtype storage_dtype)
{
  enum { KEYS = 1000 };
  static uint64_t keys[KEYS];
  static float grads[KEYS * TEST_DIM];
  count = 0;
  for (uint64_t i = 0; i < KEYS; i++)
    keys[i] = i;
  uint32_t reply_count = 0;
  hr_shard_options options = {.shard_count = 1, .epoch = 1, .transport = {.send = drop_reply, .context = &reply_count}};
  hr_shard *shard;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  CHECK_OK(hr_shard_create(&options, &shard));
  test_client c = test_worker(1, 7, 0, 1, 1);
  c.epoch = 1;
  hr_table_desc desc = test_desc("t");
  desc.announce_step = 2;
  desc.storage_dtype = (uint16_t)storage_dtype;
  c.announce_seq = 1;
  static const uint8_t packed[KEYS * TEST_DIM];
  static const float scales[KEYS];
  static uint64_t wide[KEYS];
  for (uint64_t i = 0; i < KEYS; i++)
    wide[i] = 1;
  test_hello(&c);
  deliver(shard, &c);
  test_body(&c, HR_OP_TABLE_CREATE, &desc, sizeof desc);
  deliver(shard, &c);
  for (uint32_t step = 0; step < 200; step++) {
    hr_message *m = test_begin(&c, HR_OP_PUSH_PULL);
    m->header.flags = HR_FLAG_SYNC; /* a job of one worker: nothing waits, so nothing is copied */
    m->header.step = step;
    hr_section *push = test_add_push(m, 0, keys, grads, KEYS);
    hr_section *pull = test_add_pull(m, 0, keys, KEYS);
    if (step % 2) {
      *push = (hr_section){.kind = HR_SECTION_PUSH,
                           .flags = HR_SECTION_STEPS | HR_SECTION_WIDE,
                           .dtype = HOTROW_I8,
                           .lr_scale = 1.0f,
                           .key_count = KEYS,
                           .dim = TEST_DIM,
                           .keys = keys,
                           .packed = packed,
                           .scales = scales,
                           .steps = (const uint32_t *)wide};
      pull->dtype = HOTROW_F16;
      pull->flags = HR_SECTION_UNSEEN;
    }
    deliver(shard, &c);
    if (step < 2) {
      CHECK(count > 0);
      if (step == 1)
        count = 0;
    }
  }
  CHECK_EQ(reply_count, 202);
  CHECK_EQ(count, 0);
  hr_shard_destroy(shard);
}

static void warm_requests_allocate_nothing(void)
{
  allocate_nothing(HOTROW_F32);
  allocate_nothing(HOTROW_F16);
  allocate_nothing(HOTROW_BF16);
}

int main(void)
{
  RUN(warm_requests_allocate_nothing);
  return 0;
}
