/* The messages of WIRE.md, chapter 7: the encoder makes those very bytes, the decoder reads them. test_wire_vectors
 * WIRE.md */
#include <ctype.h>

#include "hr_test.h"
#include "packet.h"

static const char *page;

/* The bytes of the block "```hex NAME": a line per frame begins with its number, as in "0:". */
static void read_block(const char *name, packet *p)
{
  char fence[64];
  snprintf(fence, sizeof fence, "```hex %s\n", name);
  const char *at = strstr(page, fence);
  CHECK_MSG(at != NULL, "WIRE.md has no block %s", name);
  at += strlen(fence);
  p->frame_count = 0;
  while (strncmp(at, "```", 3) != 0) {
    unsigned number;
    int length = 0;
    if (sscanf(at, "%u:%n", &number, &length) == 1 && length > 0) {
      CHECK_EQ(number, p->frame_count);
      packet_append(p, "", 0);
      at += length;
    } else if (isxdigit((unsigned char)*at)) {
      size_t last = p->frame_count - 1, size = p->frames[last].size;
      packet_resize(p, last, size + 1);
      packet_bytes(p, last)[size] = (uint8_t)strtoul((char[]){at[0], at[1], 0}, NULL, 16);
      at += 2;
    } else {
      at++;
    }
  }
}

static void print_block(const char *name, const packet *p)
{
  printf("```hex %s\n", name);
  for (size_t i = 0; i < p->frame_count; i++) {
    const uint8_t *bytes = p->frames[i].data;
    printf("%zu:", i);
    for (size_t at = 0; at < p->frames[i].size; at++)
      printf("%s%s%02x", at > 0 && at % 32 == 0 ? "\n  " : "", at % 8 == 0 ? "  " : " ", bytes[at]);
    printf("\n");
  }
  printf("```\n");
}

static void check_vector(const char *name, const hr_message *m)
{
  packet written, encoded;
  hr_message decoded;
  read_block(name, &written);
  packet_encode(&encoded, m);
  bool same = written.frame_count == encoded.frame_count;
  for (size_t i = 0; same && i < encoded.frame_count; i++)
    same = written.frames[i].size == encoded.frames[i].size &&
           (written.frames[i].size == 0 ||
            memcmp(written.frames[i].data, encoded.frames[i].data, written.frames[i].size) == 0);
  if (!same)
    print_block(name, &encoded);
  CHECK_MSG(same, "WIRE.md's %s is not what is encoded (above)", name);
  CHECK_OK(hr_wire_decode(written.frames, written.frame_count, &decoded));
  CHECK_EQ(decoded.header.request_id, m->header.request_id);
  CHECK_EQ(decoded.section_count, m->section_count);
  CHECK_EQ(decoded.body_size, m->body_size);
  packet_fini(&written);
  packet_fini(&encoded);
}

static hr_header header_of(uint8_t op, uint64_t request_id, uint64_t push_seq)
{
  return (hr_header){.op = op,
                     .request_id = request_id,
                     .session = {0x0123456789abcdefu, 0xfedcba9876543210u},
                     .epoch = 99,
                     .push_seq = push_seq,
                     .step = (uint32_t)push_seq,
                     .rank = 1};
}

static const uint64_t pull_keys[] = {42, 43, 7}, push_keys[] = {42, UINT64_MAX};

static void hello(void)
{
  hr_hello body = {7, 1700000000000000000u, HR_ROLE_WORKER, 4, 0, 2, 3, 3};
  hr_message m = {.header = header_of(HR_OP_HELLO, 1, 0), .body = &body, .body_size = sizeof body};
  m.header.epoch = 0;
  check_vector("hello", &m);
  hr_hello_reply answer = {
      .epoch = 99, .shard_index = 0, .shard_count = 2, .version = 3, .table_count = 1, .is_durable = 1};
  hr_message reply;
  hr_wire_reply(&m.header, &reply);
  reply.header.epoch = 99;
  reply.header.announce_seq = 17;
  reply.body = &answer;
  reply.body_size = sizeof answer;
  check_vector("hello_reply", &reply);
}

static void table(void)
{
  hr_table_desc desc = {
      .seed = 1, .dim = 3, .segment_count = 2, .storage_dtype = HOTROW_F16, .announce_step = 25, .name = "ctr"};
  desc.admit_count = 3;
  desc.steps_to_live = 4000;
  desc.l2_weight_threshold = 0.25f;
  desc.row_count_max = 1000000;
  desc.eviction = HOTROW_EVICT_LFU;
  desc.segments[0] = (hotrow_segment){1, {HOTROW_FTRL, 0.25f, 0.5f, 0.5f, 1.0f, 0, 0.5f, 2.0f}, {HOTROW_INIT_ZERO, 0}};
  desc.segments[1] =
      (hotrow_segment){2, {HOTROW_ROWWISE_ADAGRAD, 0.5f, 0.5f, 0.5f, 0.125f, 4.0f, 0, 0}, {HOTROW_INIT_UNIFORM, 0.5f}};
  hr_message m = {.header = header_of(HR_OP_TABLE_CREATE, 2, 0), .body = &desc, .body_size = sizeof desc};
  check_vector("table_create", &m);
}

static void push_and_gap(void)
{
  hr_message m = {.header = header_of(HR_OP_PUSH, 12, 3), .section_count = 1}, reply;
  m.sections[0] = (hr_section){.kind = HR_SECTION_PUSH,
                               .lr_scale = 1.0f,
                               .flags = HR_SECTION_STEPS,
                               .table = 3,
                               .key_count = 2,
                               .dim = 2,
                               .extra_dim = 1,
                               .keys = push_keys,
                               .grads = (float[]){0.5f, -1.0f, 0.25f, 2.0f},
                               .steps = (uint32_t[]){1, 2},
                               .squares = (float[]){0.625f, 2.5f}};
  check_vector("push", &m);
  char text[HR_WIRE_TEXT_BYTES_MAX];
  hr_wire_reply_error(&m.header, HR_STATUS_GAP, "push 3 came, and 1 is the last applied", text, &reply);
  reply.header.epoch = 99;
  reply.header.applied_seq = 1;
  check_vector("gap", &reply);
}

static void push_of_bytes(void)
{
  hr_message m = {.header = header_of(HR_OP_PUSH, 14, 4), .section_count = 1};
  m.header.announce_seq = 17;
  m.sections[0] = (hr_section){.kind = HR_SECTION_PUSH,
                               .dtype = HOTROW_I8,
                               .table = 3,
                               .key_count = 2,
                               .dim = 2,
                               .lr_scale = 0.5f,
                               .keys = push_keys,
                               .packed = (int8_t[]){64, -127, 0, 0},
                               .scales = (float[]){0.75f, 0.0f}};
  check_vector("push_i8", &m);
}

static void tick_and_announcements(void)
{
  hr_message m = {.header = header_of(HR_OP_TICK, 15, 4)}, reply;
  m.header.step = 5;
  m.header.announce_seq = 17;
  check_vector("tick", &m);
  hr_wire_reply(&m.header, &reply);
  reply.header.epoch = 99;
  reply.header.applied_seq = 4;
  reply.header.durable_seq = 3;
  reply.header.announce_seq = 20;
  reply.section_count = 2;
  reply.sections[0] = (hr_section){.kind = HR_SECTION_ANNOUNCE,
                                   .table = 3,
                                   .key_count = 2,
                                   .keys = (uint64_t[]){43, 42},
                                   .clocks = (uint32_t[]){50, 33}};
  reply.sections[1] = (hr_section){
      .kind = HR_SECTION_ANNOUNCE, .table = 0, .key_count = 1, .keys = (uint64_t[]){7}, .clocks = (uint32_t[]){1000}};
  check_vector("tick_reply", &reply);
  m.header.request_id = 16;
  m.header.announce_seq = 20;
  hr_wire_reply(&m.header, &reply);
  reply.header.epoch = 99;
  reply.header.applied_seq = reply.header.durable_seq = 4;
  reply.header.flags |= HR_FLAG_RESET;
  reply.header.announce_seq = 400000;
  check_vector("tick_reset", &reply);
  m.header.request_id = 17;
  hr_wire_reply(&m.header, &reply);
  reply.header.epoch = 99;
  reply.header.applied_seq = reply.header.durable_seq = 4;
  reply.header.announce_seq = 21;
  reply.section_count = 1;
  reply.sections[0] = (hr_section){
      .kind = HR_SECTION_ANNOUNCE, .flags = HR_SECTION_GONE, .table = 3, .key_count = 1, .keys = (uint64_t[]){42}};
  check_vector("tick_gone", &reply);
}

static void wide_pull_and_reply(void)
{
  hr_message m = {.header = header_of(HR_OP_PULL, 18, 4), .section_count = 1}, reply;
  m.header.step = 5;
  m.sections[0] = (hr_section){.kind = HR_SECTION_PULL,
                               .flags = HR_SECTION_WIDE | HR_SECTION_UNSEEN,
                               .dtype = HOTROW_F16,
                               .table = 3,
                               .key_count = 3,
                               .held_count = 2,
                               .dim = 2,
                               .bound = 10,
                               .keys = pull_keys,
                               .seen = (uint32_t[]){5, 0, 9, 0, UINT32_MAX, UINT32_MAX}};
  check_vector("pull_wide", &m);
  hr_wire_reply(&m.header, &reply);
  reply.header.epoch = 99;
  reply.header.applied_seq = 4;
  reply.section_count = 1;
  reply.sections[0] = (hr_section){.kind = HR_SECTION_PULL_REPLY,
                                   .flags = HR_SECTION_WIDE | HR_SECTION_UNSEEN,
                                   .dtype = HOTROW_F16,
                                   .table = 3,
                                   .key_count = 3,
                                   .held_count = 1,
                                   .row_count = 2,
                                   .dim = 2,
                                   .bound = 2,
                                   .unseen_max = 3,
                                   .unseen_sum = 3,
                                   .index = (uint32_t[]){1, 0},
                                   .clocks = (uint32_t[]){20, 0, 0, 0},
                                   .packed = (uint16_t[]){0x3c00, 0x3e00, 0xb400, 0x3000},
                                   .unseen_counts = (uint32_t[HR_UNSEEN_BUCKETS]){[2] = 1}};
  check_vector("pull_wide_reply", &reply);
}

static void pull_and_reply(void)
{
  hr_message m = {.header = header_of(HR_OP_PULL, 13, 3), .section_count = 1}, reply;
  m.header.step = 4;
  m.sections[0] = (hr_section){.kind = HR_SECTION_PULL,
                               .table = 3,
                               .key_count = 3,
                               .held_count = 2,
                               .dim = 2,
                               .bound = 10,
                               .keys = pull_keys,
                               .seen = (uint32_t[]){5, 9}};
  check_vector("pull", &m);
  hr_wire_reply(&m.header, &reply);
  reply.header.epoch = 99;
  reply.header.applied_seq = 3;
  reply.section_count = 1;
  reply.sections[0] = (hr_section){.kind = HR_SECTION_PULL_REPLY,
                                   .table = 3,
                                   .key_count = 3,
                                   .held_count = 1,
                                   .row_count = 2,
                                   .dim = 2,
                                   .bound = 2,
                                   .unseen_max = 3,
                                   .unseen_sum = 3,
                                   .index = (uint32_t[]){1},
                                   .clocks = (uint32_t[]){20, 0},
                                   .values = (float[]){1.0f, 1.5f, -0.25f, 0.125f}};
  check_vector("pull_reply", &reply);
}

static void checkpoint_and_restored(void)
{
  struct {
    hr_checkpoint checkpoint;
    uint8_t bytes[4];
  } blob = {.checkpoint = {.token = 5,
                           .name = "run-000100",
                           .step = 100,
                           .blob_size = 6,
                           .blob_offset = 2,
                           .action = HR_CHECKPOINT_BLOB,
                           .rank_count = 4,
                           .keep = 3},
            .bytes = {3, 4, 5, 6}};
  hr_message m = {.header = header_of(HR_OP_CHECKPOINT, 19, 4), .body = &blob, .body_size = 116}, reply;
  check_vector("checkpoint_blob", &m);
  hr_restored_request offset = {2};
  m = (hr_message){.header = header_of(HR_OP_RESTORED, 20, 0), .body = &offset, .body_size = sizeof offset};
  check_vector("restored", &m);
  hr_wire_reply(&m.header, &reply);
  reply.header.epoch = 99;
  struct {
    hr_restored restored;
    uint8_t bytes[8];
  } answer = {.restored = {.token = 5, .step = 100, .blob_size = 6, .rank_count = 4}, .bytes = {3, 4, 5, 6}};
  reply.body = &answer;
  reply.body_size = sizeof answer.restored + 4;
  check_vector("restored_reply", &reply);
}

static void read_page(const char *path)
{
  FILE *file = fopen(path, "rb");
  CHECK_MSG(file != NULL, "cannot read %s", path);
  static char text[65536];
  size_t size = fread(text, 1, sizeof text - 1, file);
  CHECK(size > 0 && size < sizeof text - 1);
  fclose(file);
  page = text;
}

int main(int argc, char **argv)
{
  CHECK_MSG(argc == 2, "usage: test_wire_vectors WIRE.md");
  read_page(argv[1]);
  RUN(hello);
  RUN(push_and_gap);
  RUN(table);
  RUN(pull_and_reply);
  RUN(push_of_bytes);
  RUN(tick_and_announcements);
  RUN(wide_pull_and_reply);
  RUN(checkpoint_and_restored);
  return 0;
}
