/* A sound message, one thing damaged, hashes made right again: the check of that very thing is what must refuse. */
#include <math.h>

#include "hr_test.h"
#include "packet.h"

#define AT(type, field) offsetof(type, field), sizeof(((type *)0)->field)

static hr_message sent, received;
static packet p;

#define REFUSED(status, words)                                                                                         \
  do {                                                                                                                 \
    CHECK_FAILS(hr_wire_decode(p.frames, p.frame_count, &received), status, words);                                    \
    packet_fini(&p);                                                                                                   \
  } while (0)

static void is_sound(void)
{
  packet_encode(&p, &sent);
  CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
}

/* `value` written over a field of `frame`. */
static void damaged(size_t frame, size_t offset, size_t size, uint64_t value, hotrow_status status, const char *words)
{
  is_sound();
  packet_poke(&p, frame, offset, size, value);
  packet_reseal(&p);
  REFUSED(status, words);
}

/* The same, and still sound. */
static void changed(size_t frame, size_t offset, size_t size, uint64_t value)
{
  is_sound();
  packet_poke(&p, frame, offset, size, value);
  packet_reseal(&p);
  CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
  packet_fini(&p);
}

static void sample(uint8_t op, uint16_t flags)
{
  hr_rng rng = {op};
  do
    sample_message(&rng, op, flags, &sent);
  while ((op == HR_OP_TABLE_LIST && flags && sent.body_size == 0) || sent.header.status == HOTROW_ERR_BUSY);
}

/* --- header --- */

#define HEADER(field, value, status, words) damaged(0, AT(hr_header, field), (uint64_t)(value), status, words)
#define BAD_HEADER(field, value, words) HEADER(field, value, HOTROW_ERR_PROTOCOL, words)

static void headers_that_are_not_ours(void)
{
  sample(HR_OP_PULL, 0);
  BAD_HEADER(magic, 0x12345678, "magic 0x12345678");
  CHECK_EQ(received.header.magic, 0);
  HEADER(version, 1, HOTROW_ERR_VERSION, "version 1, this side has version 2");
  CHECK_EQ(received.header.magic, HR_WIRE_MAGIC); /* can be told so */
  BAD_HEADER(op, 0, "op 0");
  CHECK_EQ(received.header.magic, 0);
  BAD_HEADER(op, HR_OP_COUNT, "op 15");
  BAD_HEADER(flags, 32, "flags 0x20: only 0x1f");
  BAD_HEADER(reserved, 1, "reserved");
  BAD_HEADER(reserved2, 1, "reserved");
  HEADER(section_count, 65, HOTROW_ERR_LIMIT, "section_count 65");

  is_sound();
  packet_bytes(&p, 0)[120] ^= 1;
  REFUSED(HOTROW_ERR_PROTOCOL, "header_hash");
  is_sound();
  packet_resize(&p, 0, 127);
  REFUSED(HOTROW_ERR_PROTOCOL, "header of 127 bytes");
  is_sound();
  packet_resize(&p, 0, 129);
  REFUSED(HOTROW_ERR_PROTOCOL, "header of 129 bytes");
  CHECK_FAILS(hr_wire_decode(NULL, 0, &received), HOTROW_ERR_PROTOCOL, "no frames");
}

static void requests_with_what_only_replies_say(void)
{
  sample(HR_OP_BYE, 0);
  BAD_HEADER(flags, HR_FLAG_ERROR, "flags 0x2 say nothing on a bye");
  BAD_HEADER(flags, HR_FLAG_SYNC, "flags 0x4 say nothing on a bye");
  BAD_HEADER(status, -1, "status -1");
  BAD_HEADER(applied_seq, 9, "applied_seq 9");
  BAD_HEADER(durable_seq, 9, "durable_seq 9");
  BAD_HEADER(retry_ms, 9, "retry_ms 9");
  HEADER(rank, HR_WIRE_WORLD_MAX, HOTROW_ERR_LIMIT, "rank 4096");
  BAD_HEADER(section_count, 1, "section_count 1 in a bye");
  sample(HR_OP_PUSH, 0);
  BAD_HEADER(flags, HR_FLAG_READ_ONLY, "flags 0x8 say nothing on a push");
  BAD_HEADER(push_seq, 0, "push_seq 0");
  sample(HR_OP_PUSH_PULL, 0);
  BAD_HEADER(flags, HR_FLAG_READ_ONLY, "flags 0x8 say nothing on a push_pull");
  BAD_HEADER(push_seq, 0, "push_seq 0");
  sample(HR_OP_HELLO, 0);
  BAD_HEADER(epoch, 5, "epoch 5");
}

static void replies_that_contradict_themselves(void)
{
  sample(HR_OP_PULL, HR_FLAG_REPLY);
  BAD_HEADER(flags, HR_FLAG_REPLY | HR_FLAG_SYNC, "flags 0x5 say nothing on this pull reply");
  BAD_HEADER(flags, HR_FLAG_REPLY | HR_FLAG_READ_ONLY, "flags 0x9 say nothing on this pull reply");
  BAD_HEADER(flags, HR_FLAG_REPLY | HR_FLAG_ERROR, "status 0 in a reply with HR_FLAG_ERROR");
  BAD_HEADER(status, HOTROW_ERR_RESET, "status -13 in a reply without HR_FLAG_ERROR");
  BAD_HEADER(retry_ms, 1, "retry_ms 1");
  BAD_HEADER(durable_seq, UINT64_MAX, "durable_seq 18446744073709551615 is beyond");
  sample(HR_OP_PULL, HR_FLAG_REPLY | HR_FLAG_ERROR);
  BAD_HEADER(status, -99, "status -99");
  BAD_HEADER(status, 1, "status 1");
  BAD_HEADER(retry_ms, 1, "retry_ms 1");
  BAD_HEADER(section_count, 1, "section_count 1 in a pull reply");
}

/* --- frames --- */

static void frames_and_sizes_that_differ(void)
{
  hr_rng rng = {1};
  sample_push(&rng, 0, HOTROW_F32, &sent);
  is_sound();
  packet_poke(&p, 0, AT(hr_header, frame_count), 5);
  REFUSED(HOTROW_ERR_PROTOCOL, "header_hash");
  is_sound();
  packet_bytes(&p, 2)[0] ^= 1;
  REFUSED(HOTROW_ERR_PROTOCOL, "payload_hash");

  is_sound();
  packet_resize(&p, 2, p.frames[2].size + 8);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "section 0: array 0 has");
  is_sound();
  packet_resize(&p, 3, p.frames[3].size - 4);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "section 0: array 1 has");
  is_sound();
  packet_remove(&p, 3);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "frame_count 3 ends in the arrays of section 0");
  is_sound();
  while (p.frame_count > 2)
    packet_remove(&p, 2);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "frame_count 2 ends in the arrays of section 0");
  is_sound();
  packet_append(&p, "12345678", 8);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "frame_count 5, and the sections call for 4");
  is_sound();
  packet_resize(&p, 1, 80);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "section table of 80 bytes, not 40");
  is_sound();
  while (p.frame_count > 1)
    packet_remove(&p, 1);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "no section table");
}

/* Sealed headers that say something else about the frames than what came. */
static void counts_of_the_header(void)
{
  sample(HR_OP_TABLE_OPEN, 0);
  is_sound();
  packet_append(&p, "x", 1);
  packet_reseal(&p);
  packet_remove(&p, 2);
  REFUSED(HOTROW_ERR_PROTOCOL, "frame_count 3 in a message of 2");
  is_sound();
  packet_resize(&p, 1, p.frames[1].size + 1);
  packet_reseal(&p);
  packet_resize(&p, 1, p.frames[1].size - 1);
  REFUSED(HOTROW_ERR_PROTOCOL, "payload_size");
  is_sound();
  while (p.frame_count < HR_WIRE_FRAMES_MAX + 1)
    packet_append(&p, "", 0);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_LIMIT, "579 frames, limit HR_WIRE_FRAMES_MAX 578");
}

static void frames_in_the_wrong_place(void)
{
  sample(HR_OP_STATS, HR_FLAG_REPLY);
  is_sound();
  static uint64_t words[8];
  hr_frame frames[2] = {p.frames[0], {(char *)words + 4, p.frames[1].size}};
  memcpy((char *)words + 4, p.frames[1].data, p.frames[1].size);
  CHECK_FAILS(hr_wire_decode(frames, 2, &received), HOTROW_ERR_PROTOCOL, "frame 1 is not aligned");
  frames[1] = (hr_frame){words, HR_WIRE_MESSAGE_BYTES_MAX - HR_WIRE_HEADER_BYTES + 1}; /* is not read */
  CHECK_FAILS(hr_wire_decode(frames, 2, &received), HOTROW_ERR_LIMIT, "HR_WIRE_MESSAGE_BYTES_MAX");
  frames[1].size--; /* just below: no longer this refusal, and still not read */
  CHECK_FAILS(hr_wire_decode(frames, 2, &received), HOTROW_ERR_PROTOCOL, "payload_size");
  frames[1].size = SIZE_MAX;
  CHECK_FAILS(hr_wire_decode(frames, 2, &received), HOTROW_ERR_LIMIT, "HR_WIRE_MESSAGE_BYTES_MAX");
  packet_fini(&p);
}

/* --- sections --- */

#define SECTION(field, value, status, words) damaged(1, AT(hr_section, field), (uint64_t)(value), status, words)
#define BAD_SECTION(field, value, words) SECTION(field, value, HOTROW_ERR_PROTOCOL, words)

static void sections_of_any_kind(void)
{
  hr_rng rng = {2};
  sample_pull(&rng, 0, HOTROW_F32, &sent);
  BAD_SECTION(kind, 0, "kind 0 is not for a pull");
  BAD_SECTION(kind, HR_SECTION_ANNOUNCE, "kind 4 is not for a pull");
  BAD_SECTION(kind, 5, "kind 5 is not for a pull");
  BAD_SECTION(kind, HR_SECTION_PUSH, "kind 2 is not for a pull");
  BAD_SECTION(kind, HR_SECTION_PULL_REPLY, "kind 3 is not for a pull");
  BAD_SECTION(flags, 32, "section 0: flags 0x20: only 0x1f");
  BAD_SECTION(reserved, 1, "section 0: reserved");
  SECTION(key_count, HR_WIRE_KEYS_MAX + 1, HOTROW_ERR_LIMIT, "key_count 4194305, limit HR_WIRE_KEYS_MAX");
  SECTION(dim, 0, HOTROW_ERR_LIMIT, "dim 0");
  SECTION(dim, HOTROW_DIM_MAX + 1, HOTROW_ERR_LIMIT, "dim 4097");
  sample_push(&rng, 0, HOTROW_F32, &sent);
  BAD_SECTION(kind, HR_SECTION_PULL, "kind 1 is not for a push");
  sample_pull_reply(&rng, 0, HOTROW_F32, &sent);
  BAD_SECTION(kind, HR_SECTION_PULL, "kind 1 is not for a pull reply");
  BAD_SECTION(kind, HR_SECTION_PUSH, "kind 2 is not for a pull reply");
}

static void pulls(void)
{
  hr_rng rng = {3};
  sample_pull(&rng, 0, HOTROW_F32, &sent);
  BAD_SECTION(flags, HR_SECTION_STEPS, "flags 0x1 say nothing on a pull");
  BAD_SECTION(flags, HR_SECTION_FOUND, "flags 0x4 say nothing on a pull");
  BAD_SECTION(extra_dim, 1, "extra_dim 1");
  BAD_SECTION(row_count, 1, "row_count 1");
  BAD_SECTION(unseen_max, 1, "unseen_max 1");
  BAD_SECTION(unseen_sum, 1, "unseen_sum 1");
  BAD_SECTION(held_count, sent.sections[0].key_count + 1, "held_count");
  SECTION(bound, HR_WIRE_BOUND_MAX + 1, HOTROW_ERR_LIMIT, "bound 1000000001");
}

static void pushes(void)
{
  hr_rng rng = {4};
  sample_push(&rng, 0, HOTROW_F32, &sent);
  BAD_SECTION(flags, HR_SECTION_WANT_STATE, "flags 0x2 say nothing on a push");
  BAD_SECTION(flags, HR_SECTION_FOUND, "flags 0x4 say nothing on a push");
  BAD_SECTION(extra_dim, 1, "extra_dim 1 in a push without steps");

  BAD_SECTION(held_count, 1, "held_count 1");
  BAD_SECTION(row_count, 1, "row_count 1");
  BAD_SECTION(unseen_max, 1, "unseen_max 1");
  BAD_SECTION(unseen_sum, 1, "unseen_sum 1");
  sample_push(&rng, HR_SECTION_STEPS, HOTROW_F32, &sent);
  damaged(4, 4, 4, 0, HOTROW_ERR_LIMIT, "steps[1] is 0");
  damaged(4, 0, 4, HR_WIRE_STEPS_MAX + 1, HOTROW_ERR_LIMIT, "steps[0] is 1000000002");
  uint32_t last = sent.sections[0].key_count - 1;
  damaged(4, last * 4, 4, 0, HOTROW_ERR_LIMIT, "is 0, not 1 to HR_WIRE_STEPS_MAX");
}

static void pushes_come_before_pulls(void)
{
  hr_rng rng = {5};
  sample_push(&rng, 0, HOTROW_F32, &sent);
  sent.header.op = HR_OP_PUSH_PULL;
  sent.section_count = 2;
  sent.sections[1] = (hr_section){.kind = HR_SECTION_PULL, .dim = 1};
  is_sound();
  for (size_t i = 0; i < 40; i++) { /* swap the sections, then their arrays */
    uint8_t *table = packet_bytes(&p, 1), byte = table[i];
    table[i] = table[40 + i];
    table[40 + i] = byte;
  }
  packet_swap(&p, 2, 4);
  packet_swap(&p, 3, 5);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "section 1: a push after a pull");
}

static void pull_replies(void)
{
  hr_rng rng = {6};
  do
    sample_pull_reply(&rng, HR_SECTION_FOUND, HOTROW_F32, &sent);
  while (sent.sections[0].held_count < 2 || sent.sections[0].held_count == sent.sections[0].bound ||
         sent.sections[0].unseen_max == 0 || (sent.sections[0].key_count - sent.sections[0].bound) % 8 == 0);
  const hr_section s = sent.sections[0];
  BAD_SECTION(flags, HR_SECTION_STEPS, "flags 0x1 say nothing on a pull reply");
  BAD_SECTION(flags, HR_SECTION_WANT_STATE, "flags 0x2 say nothing on a pull reply");
  BAD_SECTION(extra_dim, 2 * s.dim + 5, "more than any optimizer has state");
  BAD_SECTION(bound, s.key_count + 1, "asked_held");
  BAD_SECTION(held_count, s.bound + 1, "of asked_held");
  BAD_SECTION(row_count, s.row_count + 1, "row_count");
  BAD_SECTION(unseen_sum, s.unseen_max - 1, "with unseen_max");
  damaged(2, 0, 4, s.bound, HOTROW_ERR_PROTOCOL, "of asked_held");
  damaged(2, (s.held_count - 1) * 4, 4, UINT32_MAX, HOTROW_ERR_PROTOCOL, "is 4294967295 of asked_held");
  damaged(2, 4, 4, s.index[0], HOTROW_ERR_PROTOCOL, "must ascend");
  uint32_t bit_count = s.key_count - s.bound;
  is_sound();
  packet_bytes(&p, p.frame_count - 1)[bit_count / 8] |= 0x80;
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "found has bits behind its");

  hr_section whole = {.kind = HR_SECTION_PULL_REPLY, .dim = 1}; /* no row was left out: nothing is unseen */
  sent.sections[0] = whole;
  is_sound();
  packet_poke(&p, 1, AT(hr_section, unseen_max), 1);
  packet_poke(&p, 1, AT(hr_section, unseen_sum), 1);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "no held row was left out");
  BAD_SECTION(unseen_sum, 1, "unseen_sum 1 with unseen_max 0");
}

static void pulls_whose_reply_could_not_be_sent(void)
{
  uint32_t key_count = 1u << 17, dim = 4096; /* 2 GiB of values */
  uint64_t *keys = calloc(key_count, 8);
  CHECK(keys != NULL);
  hr_rng rng = {7};
  sample_pull(&rng, 0, HOTROW_F32, &sent);
  sent.sections[0] = (hr_section){.kind = HR_SECTION_PULL, .key_count = key_count, .dim = dim / 2, .keys = keys};
  CHECK_OK(hr_wire_check_size(&sent));
  is_sound();
  packet_poke(&p, 1, AT(hr_section, dim), dim);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_LIMIT, "pull with a reply of up to");
  CHECK_EQ(received.section_count, 0);
  sent.sections[0].flags = HR_SECTION_WANT_STATE;
  CHECK_FAILS(hr_wire_check_size(&sent), HOTROW_ERR_LIMIT, "pull with a reply of up to");
  sent.sections[0] = (hr_section){.kind = HR_SECTION_PUSH, .key_count = key_count, .dim = dim, .keys = keys};
  CHECK_FAILS(hr_wire_check_size(&sent), HOTROW_ERR_LIMIT, "message of");
  free(keys);
}

/* --- bodies --- */

#define BODY(type, field, value, status, words) damaged(1, AT(type, field), (uint64_t)(value), status, words)
#define BAD_BODY(type, field, value, words) BODY(type, field, value, HOTROW_ERR_PROTOCOL, words)

static void body_of_size(size_t size, hotrow_status status, const char *words)
{
  is_sound();
  if (p.frame_count < 2)
    packet_append(&p, "", 0);
  packet_resize(&p, 1, size);
  packet_reseal(&p);
  REFUSED(status, words);
}

static void bodies_of_the_wrong_size(void)
{
  static const struct {
    uint8_t op;
    uint16_t flags;
    size_t size;
  } exact[] = {{HR_OP_HELLO, 0, 40},
               {HR_OP_HELLO, HR_FLAG_REPLY, 40},
               {HR_OP_TABLE_CREATE, 0, 272},
               {HR_OP_BARRIER, 0, 16},
               {HR_OP_TABLE_CREATE, HR_FLAG_REPLY, 272},
               {HR_OP_SAVE, 0, 72},
               {HR_OP_TABLE_OPEN, HR_FLAG_REPLY, 272}};
  for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
    sample(exact[i].op, exact[i].flags);
    CHECK_EQ(sent.body_size, exact[i].size);
    body_of_size(exact[i].size - 1, HOTROW_ERR_PROTOCOL, "bytes, not");
    body_of_size(exact[i].size + 1, HOTROW_ERR_PROTOCOL, "bytes, not");
    body_of_size(exact[i].size * 2, HOTROW_ERR_PROTOCOL, "bytes, not");
    is_sound();
    packet_remove(&p, 1);
    packet_reseal(&p);
    REFUSED(HOTROW_ERR_PROTOCOL, "has 0 bytes, not");
  }
  static const struct {
    uint8_t op;
    uint16_t flags;
  } none[] = {{HR_OP_TABLE_LIST, 0},     {HR_OP_BARRIER, HR_FLAG_REPLY}, {HR_OP_BLOB_PUT, HR_FLAG_REPLY},
              {HR_OP_STATS, 0},          {HR_OP_SAVE, HR_FLAG_REPLY},    {HR_OP_BYE, 0},
              {HR_OP_BYE, HR_FLAG_REPLY}};
  for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
    sample(none[i].op, none[i].flags);
    body_of_size(0, HOTROW_ERR_PROTOCOL, "body frame of no bytes");
    body_of_size(8, HOTROW_ERR_PROTOCOL, "has 8 bytes, not 0");
  }
  sample(HR_OP_HELLO, 0);
  is_sound();
  packet_append(&p, "12345678", 8);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "frame_count 3 in a message without sections");
}

static void bodies_over_a_limit(void)
{
  sample(HR_OP_TABLE_OPEN, 0);
  body_of_size(64, HOTROW_ERR_LIMIT, "limit 63");
  sample(HR_OP_BLOB_GET, 0);
  body_of_size(64, HOTROW_ERR_LIMIT, "limit 63");
  sample(HR_OP_BLOB_GET, HR_FLAG_REPLY);
  body_of_size(4097, HOTROW_ERR_LIMIT, "limit 4096");
  sample(HR_OP_TABLE_LIST, HR_FLAG_REPLY);
  body_of_size(257 * 272, HOTROW_ERR_LIMIT, "limit 69632");
  body_of_size(sent.body_size + 64, HOTROW_ERR_PROTOCOL, "no whole number of tables");
  sample(HR_OP_STATS, HR_FLAG_REPLY);
  body_of_size((1 << 20) + 1, HOTROW_ERR_LIMIT, "limit 1048576");
  sample(HR_OP_BYE, HR_FLAG_REPLY | HR_FLAG_ERROR);
  body_of_size(501, HOTROW_ERR_LIMIT, "limit 500");
}

static void hellos(void)
{
  sample(HR_OP_HELLO, 0);
  uint32_t shard_count = ((const hr_hello *)sent.body)->shard_count;
  BAD_BODY(hr_hello, role, 0, "role 0");
  BAD_BODY(hr_hello, role, 4, "role 4");
  BODY(hr_hello, world_size, 0, HOTROW_ERR_LIMIT, "world_size 0");
  BODY(hr_hello, world_size, 4097, HOTROW_ERR_LIMIT, "world_size 4097");
  sent.header.rank = 3;
  BAD_BODY(hr_hello, world_size, 3, "rank 3 of world_size 3");
  BODY(hr_hello, shard_count, 0, HOTROW_ERR_LIMIT, "shard_count 0");
  BODY(hr_hello, shard_count, 1025, HOTROW_ERR_LIMIT, "shard_count 1025");
  BAD_BODY(hr_hello, shard_index, shard_count, "of shard_count");
  BAD_BODY(hr_hello, version_min, 0, "version_min 0");
  BAD_BODY(hr_hello, version_min, 3, "version_min 3, version_max 2");
  sample(HR_OP_HELLO, HR_FLAG_REPLY);
  BAD_BODY(hr_hello_reply, epoch, 0, "epoch 0");
  BODY(hr_hello_reply, shard_count, 0, HOTROW_ERR_LIMIT, "shard_count 0");
  BODY(hr_hello_reply, shard_count, 1025, HOTROW_ERR_LIMIT, "shard_count 1025");
  BAD_BODY(hr_hello_reply, shard_index, 8, "shard_index 8 of shard_count 8");
  BAD_BODY(hr_hello_reply, version, 0, "version 0");
  BODY(hr_hello_reply, table_count, 257, HOTROW_ERR_LIMIT, "table_count 257");
}

static uint64_t float_bits(float value)
{
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static void tables(void)
{
  sample(HR_OP_TABLE_CREATE, 0);
  BODY(hr_table_desc, dim, 0, HOTROW_ERR_LIMIT, "dim 0");
  BODY(hr_table_desc, dim, 4097, HOTROW_ERR_LIMIT, "dim 4097");
  BAD_BODY(hr_table_desc, id, 1, "id 1");
  BAD_BODY(hr_table_desc, row_count, 1, "row_count 1");
  BAD_BODY(hr_table_desc, segments[0].optimizer.kind, 0, "optimizer kind 0");
  BAD_BODY(hr_table_desc, segments[0].optimizer.kind, HOTROW_LAMB + 1, "optimizer kind 10");
  BAD_BODY(hr_table_desc, segments[0].optimizer.kind, -1, "optimizer kind -1");
  BAD_BODY(hr_table_desc, segments[0].optimizer.lr, float_bits(NAN), "learning rate nan");
  BAD_BODY(hr_table_desc, segments[0].optimizer.lr, 0, "segment 0 is not resolved");
  BAD_BODY(hr_table_desc, segments[0].optimizer.beta1, 0, "segment 0 is not resolved");
  BAD_BODY(hr_table_desc, segments[0].optimizer.beta2, 0, "segment 0 is not resolved");
  BAD_BODY(hr_table_desc, segments[0].optimizer.eps, 0, "segment 0 is not resolved");
  BAD_BODY(hr_table_desc, segments[0].optimizer.beta1, float_bits(1.0f), "beta1 1");
  BAD_BODY(hr_table_desc, segments[0].optimizer.eps, float_bits(INFINITY), "eps inf");
  BAD_BODY(hr_table_desc, segments[0].optimizer.initial_state, float_bits(-1.0f), "initial_state -1");
  BAD_BODY(hr_table_desc, segments[0].initializer.kind, 0, "initializer kind 0");
  BAD_BODY(hr_table_desc, segments[0].initializer.kind, HOTROW_INIT_TRUNCATED_NORMAL + 1, "initializer kind 6");
  BAD_BODY(hr_table_desc, segments[0].initializer.scale, float_bits(INFINITY), "initializer scale");
  BAD_BODY(hr_table_desc, name[0], 0, "table: name of 0 bytes");
  BAD_BODY(hr_table_desc, name[0], '.', "begins with a dot");
  BAD_BODY(hr_table_desc, name[0], '/', "byte 0x2f at 0");
  BAD_BODY(hr_table_desc, name[63], 'x', "byte 0x78 at 63, behind the name's end");
  is_sound();
  memset(packet_bytes(&p, 1) + offsetof(hr_table_desc, name), 'x', 64);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "name of 64 bytes");
  sample(HR_OP_TABLE_LIST, HR_FLAG_REPLY); /* the last of the list is looked at too */
  damaged(1, sent.body_size - 272 + offsetof(hr_table_desc, dim), 4, 0, HOTROW_ERR_LIMIT, "dim 0");
}

static void names(void)
{
  sample(HR_OP_TABLE_OPEN, 0);
  damaged(1, 0, 1, '.', HOTROW_ERR_PROTOCOL, "table: name begins with a dot");
  damaged(1, 0, 1, 0, HOTROW_ERR_PROTOCOL, "table: name has byte 0x00");
  sample(HR_OP_BLOB_GET, 0);
  damaged(1, 0, 1, ' ', HOTROW_ERR_PROTOCOL, "blob: name has byte 0x20");
  sample(HR_OP_SAVE, 0);
  damaged(1, 8, 1, '/', HOTROW_ERR_PROTOCOL, "save: name has byte 0x2f");
  damaged(1, 8, 1, 0, HOTROW_ERR_PROTOCOL, "save: name of 0 bytes");
  CHECK_FAILS(hr_wire_check_name("", 0), HOTROW_ERR_INVALID, "0 bytes");
  CHECK_FAILS(hr_wire_check_name("a\xc3\xa4", 3), HOTROW_ERR_INVALID, "byte 0xc3 at 1");
  CHECK_OK(hr_wire_check_name("A-z_0.9", 7));
}

static void other_bodies(void)
{
  sample(HR_OP_BARRIER, 0);
  BAD_BODY(hr_barrier, number, 0, "number 0");
  BODY(hr_barrier, world_size, 0, HOTROW_ERR_LIMIT, "world_size 0");
  BODY(hr_barrier, world_size, 4097, HOTROW_ERR_LIMIT, "world_size 4097");
  BAD_BODY(hr_barrier, reserved, 1, "reserved");
  HEADER(rank, 4095, HOTROW_ERR_PROTOCOL, "rank 4095");
  sample(HR_OP_BLOB_PUT, 0);
  damaged(1, 0, 1, 0, HOTROW_ERR_PROTOCOL, "blob: name of 0 bytes");
  damaged(1, 0, 1, 255, HOTROW_ERR_PROTOCOL, "blob: name of 255 bytes");
  is_sound();
  packet_resize(&p, 1, 10);
  packet_poke(&p, 1, 0, 1, 10);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "blob: name of 10 bytes in a body of 10");
  is_sound();
  packet_resize(&p, 1, 1 + 1 + 4096);
  packet_poke(&p, 1, 0, 1, 1);
  packet_reseal(&p);
  CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
  packet_fini(&p);
  damaged(1, 1, 1, '/', HOTROW_ERR_PROTOCOL, "blob: name has byte 0x2f");
  is_sound();
  packet_resize(&p, 1, 1 + 1 + 4097);
  packet_poke(&p, 1, 0, 1, 1);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_LIMIT, "blob of 4097 bytes");
  sample(HR_OP_STATS, HR_FLAG_REPLY);
  damaged(1, 0, 1, '[', HOTROW_ERR_PROTOCOL, "not one JSON object");
  damaged(1, sent.body_size - 1, 1, ' ', HOTROW_ERR_PROTOCOL, "not one JSON object");
  damaged(1, 3, 1, '\n', HOTROW_ERR_PROTOCOL, "control byte 0x0a at 3");
  sample(HR_OP_BYE, HR_FLAG_REPLY | HR_FLAG_ERROR);
  damaged(1, 2, 1, 0x1b, HOTROW_ERR_PROTOCOL, "control byte 0x1b at 2");
  damaged(1, 2, 1, 0x7f, HOTROW_ERR_PROTOCOL, "control byte 0x7f at 2");
}

/* --- what lies just within the limits is not refused --- */

#define GOOD_HEADER(field, value) changed(0, AT(hr_header, field), value)
#define GOOD_BODY(type, field, value) changed(1, AT(type, field), value)

static void headers_and_bodies_at_their_limits(void)
{
  sample(HR_OP_BYE, 0);
  GOOD_HEADER(rank, HR_WIRE_WORLD_MAX - 1);
  sample(HR_OP_HELLO, 0);
  sent.header.rank = 0;
  GOOD_BODY(hr_hello, world_size, 1);
  GOOD_BODY(hr_hello, world_size, HR_WIRE_WORLD_MAX);
  GOOD_BODY(hr_hello, shard_count, 1024);
  GOOD_BODY(hr_hello, version_max, 3);
  sample(HR_OP_HELLO, HR_FLAG_REPLY);
  GOOD_BODY(hr_hello_reply, shard_count, 1024);
  GOOD_BODY(hr_hello_reply, table_count, HR_WIRE_TABLES_MAX);
  is_sound();
  packet_poke(&p, 1, AT(hr_hello_reply, shard_index), 0);
  packet_poke(&p, 1, AT(hr_hello_reply, shard_count), 1);
  packet_reseal(&p);
  CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
  packet_fini(&p);
  sample(HR_OP_TABLE_CREATE, 0);
  sample(HR_OP_BARRIER, 0);
  GOOD_BODY(hr_barrier, world_size, HR_WIRE_WORLD_MAX);
  sent.header.rank = 0;
  GOOD_BODY(hr_barrier, world_size, 1);
}

static void sections_at_their_limits(void)
{
  hr_rng rng = {8};
  sample_pull(&rng, 0, HOTROW_F32, &sent);
  changed(1, AT(hr_section, bound), HR_WIRE_BOUND_MAX);
  sample_push(&rng, HR_SECTION_STEPS, HOTROW_F32, &sent);
  changed(4, 0, 4, HR_WIRE_STEPS_MAX);
  SECTION(key_count, HR_WIRE_KEYS_MAX, HOTROW_ERR_PROTOCOL, "section 0: array 0 has");
  /* 128 + 40 + 53687087 * (8 + 8 * 4) is the limit; then the same for the reply of a pull, with announcements */
  sent.sections[0] = (hr_section){.kind = HR_SECTION_PUSH, .key_count = 53687087, .dim = 8};
  CHECK_OK(hr_wire_check_size(&sent));
  sent.sections[0].key_count++;
  CHECK_FAILS(hr_wire_check_size(&sent), HOTROW_ERR_LIMIT, "message of");
  uint32_t pulled = (uint32_t)((HR_WIRE_MESSAGE_BYTES_MAX - 128 - (1u << 24) - 40) / (4 + 4 + 8 * 4));
  sent.sections[0] = (hr_section){.kind = HR_SECTION_PULL, .key_count = pulled, .held_count = pulled, .dim = 8};
  CHECK_OK(hr_wire_check_size(&sent));
  sent.sections[0].key_count = ++sent.sections[0].held_count;
  CHECK_FAILS(hr_wire_check_size(&sent), HOTROW_ERR_LIMIT, "pull with a reply of up to");
}

static void empty_frames_may_lie_anywhere(void)
{
  hr_rng rng = {9};
  sample_push(&rng, 0, HOTROW_F32, &sent);
  sent.sections[0].key_count = 0;
  is_sound();
  hr_frame frames[4] = {p.frames[0], p.frames[1], {(const void *)1, 0}, {NULL, 0}};
  CHECK_OK(hr_wire_decode(frames, 4, &received));
  CHECK(received.sections[0].keys != NULL && received.sections[0].grads != NULL);
  packet_fini(&p);
}

static void ops_have_names(void)
{
  CHECK(strcmp(hr_op_name(HR_OP_HELLO), "hello") == 0 && strcmp(hr_op_name(HR_OP_BYE), "bye") == 0);
  CHECK(strcmp(hr_op_name(0), "unknown") == 0 && strcmp(hr_op_name(HR_OP_COUNT), "unknown") == 0);
  CHECK(strcmp(hr_op_name(255), "unknown") == 0);
}

int main(void)
{
  RUN(headers_that_are_not_ours);
  RUN(requests_with_what_only_replies_say);
  RUN(replies_that_contradict_themselves);
  RUN(frames_and_sizes_that_differ);
  RUN(counts_of_the_header);
  RUN(frames_in_the_wrong_place);
  RUN(sections_of_any_kind);
  RUN(pulls);
  RUN(pushes);
  RUN(pushes_come_before_pulls);
  RUN(pull_replies);
  RUN(pulls_whose_reply_could_not_be_sent);
  RUN(bodies_of_the_wrong_size);
  RUN(bodies_over_a_limit);
  RUN(hellos);
  RUN(tables);
  RUN(names);
  RUN(other_bodies);
  RUN(headers_and_bodies_at_their_limits);
  RUN(sections_at_their_limits);
  RUN(empty_frames_may_lie_anywhere);
  RUN(ops_have_names);
  return 0;
}
