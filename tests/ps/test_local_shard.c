/* The public shard without sockets. */
#include "shard_test.h"

#include <hotrow/server.h>
#include <hr/route.h>

typedef struct inbox {
  uint64_t client;
  size_t count;
  hr_header header;
} inbox;

static void take(void *context, uint64_t client, const hotrow_frame *frames, size_t frame_count)
{
  inbox *in = context;
  hr_message message;
  CHECK_OK(hr_wire_decode(frames, frame_count, &message));
  in->client = client;
  in->header = message.header;
  in->count++;
}

static void bad_options_are_refused(void)
{
  hotrow_shard *shard = NULL;
  hotrow_shard_options o = HOTROW_SHARD_OPTIONS_INIT;
  CHECK_FAILS(hotrow_shard_open(NULL, &shard), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_shard_open(&o, NULL), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_shard_open(&o, &shard), HOTROW_ERR_INVALID, "takes its replies");
  o.reply = take;
  o.shard_index = 1;
  CHECK_FAILS(hotrow_shard_open(&o, &shard), HOTROW_ERR_INVALID, "shard 1 of 1");
  o.shard_count = HR_SHARD_COUNT_MAX + 1;
  CHECK_FAILS(hotrow_shard_open(&o, &shard), HOTROW_ERR_INVALID, "at most 1024");
  o.shard_count = 2;
  o.announce_log_count = (1u << 20) + 1;
  CHECK_FAILS(hotrow_shard_open(&o, &shard), HOTROW_ERR_LIMIT, "1048577");
  o.announce_log_count = 0;
  o.reserved = 1;
  CHECK_FAILS(hotrow_shard_open(&o, &shard), HOTROW_ERR_INVALID, "reserved is 1");
  o.struct_size = 0;
  CHECK_FAILS(hotrow_shard_open(&o, &shard), HOTROW_ERR_INVALID, "struct_size 0");
  CHECK(shard == NULL);
  hotrow_shard_close(NULL);
}

static void messages_go_in_and_come_out(void)
{
  inbox in = {0};
  hotrow_shard *shard;
  hotrow_shard_options o = HOTROW_SHARD_OPTIONS_INIT;
  o.reply = take;
  o.context = &in;
  o.epoch = 77;
  CHECK_OK(hotrow_shard_open(&o, &shard));
  test_client c = test_worker(1, 7, 0, 1, 100);
  _Alignas(8) uint8_t header[HR_WIRE_HEADER_BYTES + 8];
  uint8_t sections[HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX + 1] = {{0}};
  size_t count;
  hr_wire_encode(test_hello(&c), header, sections, frames, &count);
  hotrow_shard_receive(shard, UINT64_MAX - 1, frames, count, 1);
  CHECK(in.count == 1 && in.client == UINT64_MAX - 1 && in.header.epoch == 77 && in.header.status == HOTROW_OK);

  memmove(header + 4, header, HR_WIRE_HEADER_BYTES); /* dropped: it does not begin where it must */
  frames[0].data = header + 4;
  hotrow_shard_receive(shard, 5, frames, count, 2);
  hotrow_shard_receive(shard, 5, frames, 0, 3);
  for (size_t i = 0; i <= HR_WIRE_FRAMES_MAX; i++)
    frames[i] = (hr_frame){header, 8};
  hotrow_shard_receive(shard, 5, frames, HR_WIRE_FRAMES_MAX + 1, 4);
  CHECK_EQ(in.count, 1);
  hotrow_shard_close(shard);

  uint64_t epochs[2]; /* left open they are chosen at random */
  o.epoch = 0;
  for (int i = 0; i < 2; i++) {
    CHECK_OK(hotrow_shard_open(&o, &shard));
    hr_wire_encode(test_hello(&c), header, sections, frames, &count);
    hotrow_shard_receive(shard, 5, frames, count, 1);
    epochs[i] = in.header.epoch;
    hotrow_shard_close(shard);
  }
  CHECK(in.count == 3 && epochs[0] != 0 && epochs[1] != 0 && epochs[0] != epochs[1]);
}

int main(void)
{
  RUN(bad_options_are_refused);
  RUN(messages_go_in_and_come_out);
  return 0;
}
