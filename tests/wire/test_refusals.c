/* Headers, frames and bodies that are refused, one thing at a time, and those just within each limit. */
#include <math.h>

#include "damage.h"

/* --- header --- */

static void headers_that_are_not_ours(void)
{
  sample(HR_OP_PULL, 0);
  BAD_HEADER(magic, 0x12345678, "magic 0x12345678");
  CHECK_EQ(received.header.magic, 0);
  HEADER(version, 1, HOTROW_ERR_VERSION, "version 1, this side has version 3");
  CHECK_EQ(received.header.magic, HR_WIRE_MAGIC); /* can be told so */
  BAD_HEADER(op, 0, "op 0");
  CHECK_EQ(received.header.magic, 0);
  BAD_HEADER(op, HR_OP_COUNT, "op 17");
  BAD_HEADER(flags, 64, "flags 0x40: only 0x3f");
  BAD_HEADER(reserved, 1, "reserved");
  BAD_HEADER(reserved2, 1, "reserved");
  HEADER(section_count, 65, HOTROW_ERR_LIMIT, "section_count 65, limit HR_WIRE_DATA_SECTIONS_MAX 64");

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
  BAD_HEADER(flags, HR_FLAG_DURABLE, "flags 0x20 say nothing on a push_pull");
  BAD_HEADER(push_seq, 0, "push_seq 0");
  BAD_HEADER(flags, HR_FLAG_RESET, "flags 0x10 say nothing on a push_pull");
  sample(HR_OP_HELLO, 0);
  BAD_HEADER(epoch, 5, "epoch 5");
  sample(HR_OP_TICK, 0);
  BAD_HEADER(flags, HR_FLAG_SYNC, "flags 0x4 say nothing on a tick");
  BAD_HEADER(flags, HR_FLAG_READ_ONLY, "flags 0x8 say nothing on a tick");
  BAD_HEADER(flags, HR_FLAG_RESET, "flags 0x10 say nothing on a tick");
  GOOD_HEADER(flags, HR_FLAG_DURABLE);
  BAD_HEADER(section_count, 1, "section_count 1 in a tick, which has none");
  GOOD_HEADER(push_seq, 0);
  is_sound();
  packet_append(&p, "12345678", 8);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "frame_count 2, and the sections call for 1");
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
  sample(HR_OP_PULL, HR_FLAG_REPLY);
  HEADER(section_count, 129, HOTROW_ERR_LIMIT, "section_count 129, limit HR_WIRE_SECTIONS_MAX 128");
}

/* Only what is data, and hello's reply, speaks of announcements. */
static void announcements_where_there_are_none(void)
{
  for (uint8_t op = 1; op < HR_OP_COUNT; op++) {
    bool is_data = op == HR_OP_PUSH || op == HR_OP_PULL || op == HR_OP_PUSH_PULL || op == HR_OP_TICK;
    sample(op, 0);
    sent.header.announce_seq = 0;
    if (is_data)
      GOOD_HEADER(announce_seq, UINT64_MAX);
    else
      BAD_HEADER(announce_seq, 1, "announce_seq 1 says nothing on this");
    sample(op, HR_FLAG_REPLY);
    sent.section_count = is_data ? 0 : sent.section_count;
    if (is_data) {
      sent.header.flags = HR_FLAG_REPLY;
      GOOD_HEADER(announce_seq, 0);
      GOOD_HEADER(announce_seq, 1);
      sent.header.flags |= HR_FLAG_RESET;
      sent.header.announce_seq = 1;
      BAD_HEADER(announce_seq, 0, "announcements count from 1");
    } else {
      BAD_HEADER(flags, HR_FLAG_REPLY | HR_FLAG_RESET, "flags 0x11 say nothing on this");
      if (op == HR_OP_HELLO)
        BAD_HEADER(announce_seq, 0, "announce_seq 0 in a hello reply: announcements count from 1");
      else
        BAD_HEADER(announce_seq, 1, "announce_seq 1 says nothing on this");
    }
    sample(op, HR_FLAG_REPLY | HR_FLAG_ERROR);
    BAD_HEADER(announce_seq, 1, "announce_seq 1 says nothing on this");
    BAD_HEADER(flags, HR_FLAG_REPLY | HR_FLAG_ERROR | HR_FLAG_RESET, "flags 0x13 say nothing on this");
  }
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

/* --- bodies --- */

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
  } exact[] = {{HR_OP_HELLO, 0, 40},   {HR_OP_HELLO, HR_FLAG_REPLY, 40},         {HR_OP_TABLE_CREATE, 0, 304},
               {HR_OP_BARRIER, 0, 16}, {HR_OP_TABLE_CREATE, HR_FLAG_REPLY, 304}, {HR_OP_SAVE, 0, 72},
               {HR_OP_RESTORED, 0, 8}, {HR_OP_TABLE_OPEN, HR_FLAG_REPLY, 304}};
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
  } none[] = {{HR_OP_TABLE_LIST, 0},      {HR_OP_BARRIER, HR_FLAG_REPLY},   {HR_OP_BLOB_PUT, HR_FLAG_REPLY},
              {HR_OP_STATS, 0},           {HR_OP_SAVE, HR_FLAG_REPLY},      {HR_OP_BYE, 0},
              {HR_OP_BYE, HR_FLAG_REPLY}, {HR_OP_CHECKPOINT, HR_FLAG_REPLY}};
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
  body_of_size(257 * 304, HOTROW_ERR_LIMIT, "limit 77824");
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
  BAD_BODY(hr_hello, version_min, 4, "version_min 4, version_max 2");
  sample(HR_OP_HELLO, HR_FLAG_REPLY);
  BAD_BODY(hr_hello_reply, epoch, 0, "epoch 0");
  BODY(hr_hello_reply, shard_count, 0, HOTROW_ERR_LIMIT, "shard_count 0");
  BODY(hr_hello_reply, shard_count, 1025, HOTROW_ERR_LIMIT, "shard_count 1025");
  BAD_BODY(hr_hello_reply, shard_index, 8, "shard_index 8 of shard_count 8");
  BAD_BODY(hr_hello_reply, version, 0, "version 0");
  BODY(hr_hello_reply, table_count, 257, HOTROW_ERR_LIMIT, "table_count 257");
  BAD_BODY(hr_hello_reply, is_durable, 2, "is_durable 2");
  BAD_BODY(hr_hello_reply, reserved, 1, "reserved");
  sent.header.applied_seq = ((const hr_hello_reply *)sent.body)->received_seq;
  BAD_BODY(hr_hello_reply, received_seq, sent.header.applied_seq - 1, "and applied_seq is");
}

/* A request with two segments. */
static void sample_table(void)
{
  hr_rng rng = {HR_OP_TABLE_CREATE};
  do
    sample_message(&rng, HR_OP_TABLE_CREATE, 0, &sent);
  while (((const hr_table_desc *)sent.body)->segment_count != 2);
}

#define BAD_SEGMENTS(field, value, words)                                                                              \
  do {                                                                                                                 \
    BAD_BODY(hr_table_desc, segments[0].field, value, "table: segment 0" words);                                       \
    BAD_BODY(hr_table_desc, segments[1].field, value, "table: segment 1" words);                                       \
  } while (0)

static void segments(void)
{
  sample_table();
  BAD_SEGMENTS(dim, 0, ": dim 0, not 1 to the table's");
  BAD_SEGMENTS(dim, UINT32_MAX, ": dim 4294967295, not 1 to the table's");
  BAD_SEGMENTS(optimizer.kind, 0, ": optimizer kind 0");
  BAD_SEGMENTS(optimizer.kind, HOTROW_LAMB + 1, ": optimizer kind 10");
  BAD_SEGMENTS(optimizer.kind, -1, ": optimizer kind -1");
  BAD_SEGMENTS(optimizer.lr, float_bits(NAN), ": learning rate nan");
  BAD_SEGMENTS(optimizer.lr, 0, " is not resolved");
  BAD_SEGMENTS(optimizer.beta1, 0, " is not resolved");
  BAD_SEGMENTS(optimizer.beta2, 0, " is not resolved");
  BAD_SEGMENTS(optimizer.eps, 0, " is not resolved");
  BAD_SEGMENTS(optimizer.beta1, float_bits(1.0f), ": beta1 1");
  BAD_SEGMENTS(optimizer.eps, float_bits(INFINITY), ": eps inf");
  BAD_SEGMENTS(optimizer.initial_state, float_bits(-1.0f), ": initial_state -1");
  BAD_SEGMENTS(optimizer.weight_decay, float_bits(NAN), ": weight_decay nan");
  BAD_SEGMENTS(optimizer.l1, float_bits(-1.0f), ": l1 -1");
  BAD_SEGMENTS(initializer.kind, 0, ": initializer kind 0");
  BAD_SEGMENTS(initializer.kind, HOTROW_INIT_TRUNCATED_NORMAL + 1, ": initializer kind 6");
  BAD_SEGMENTS(initializer.scale, float_bits(INFINITY), ": initializer scale");
  uint32_t dim = ((const hr_table_desc *)sent.body)->segments[0].dim;
  BAD_BODY(hr_table_desc, segments[0].dim, dim + 1, "and its segments have");
  BAD_BODY(hr_table_desc, segments[0].dim, dim - 1, "and its segments have");
  for (size_t i = 0; i < sizeof(hotrow_segment); i++) /* any byte of those that are not there */
    damaged(1, offsetof(hr_table_desc, segments[2]) + i, 1, 1, HOTROW_ERR_PROTOCOL, "segment 2 is not zero");
  damaged(1, 271, 1, 1, HOTROW_ERR_PROTOCOL, "segment 3 is not zero, and segment_count is 2");
  BAD_BODY(hr_table_desc, segment_count, 1, "segment 1 is not zero, and segment_count is 1");
  BAD_BODY(hr_table_desc, segment_count, 3, "segment 2: dim 0");
}

static void tables(void)
{
  sample_table();
  BODY(hr_table_desc, dim, 0, HOTROW_ERR_LIMIT, "dim 0");
  BODY(hr_table_desc, dim, 4097, HOTROW_ERR_LIMIT, "dim 4097");
  BAD_BODY(hr_table_desc, dim, 4096, "dim 4096, and its segments have");
  BODY(hr_table_desc, segment_count, 0, HOTROW_ERR_LIMIT, "segment_count 0");
  BODY(hr_table_desc, segment_count, 5, HOTROW_ERR_LIMIT, "segment_count 5");
  BAD_BODY(hr_table_desc, storage_dtype, HOTROW_I8, "storage_dtype 2 is none of ours");
  BAD_BODY(hr_table_desc, storage_dtype, HOTROW_BF16 + 1, "storage_dtype 4 is none of ours");
  BAD_BODY(hr_table_desc, storage_dtype, UINT16_MAX, "storage_dtype 65535 is none of ours");
  BODY(hr_table_desc, announce_step, HR_WIRE_BOUND_MAX + 1, HOTROW_ERR_LIMIT, "announce_step 1000000001");
  BAD_BODY(hr_table_desc, id, 1, "id 1");
  BAD_BODY(hr_table_desc, row_count, 1, "row_count 1");
  BAD_BODY(hr_table_desc, name[0], 0, "table: name of 0 bytes");
  BAD_BODY(hr_table_desc, name[0], '.', "begins with a dot");
  BAD_BODY(hr_table_desc, name[0], '/', "byte 0x2f at 0");
  memset((char *)(uintptr_t)sent.body + offsetof(hr_table_desc, name) + 9, 0, 55);
  BAD_BODY(hr_table_desc, name[63], 'x', "byte 0x78 at 63, behind the name's end");
  is_sound();
  memset(packet_bytes(&p, 1) + offsetof(hr_table_desc, name), 'x', 64);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "name of 64 bytes");
  sample(HR_OP_TABLE_LIST, HR_FLAG_REPLY); /* the last of the list is looked at too */
  damaged(1, sent.body_size - sizeof(hr_table_desc) + offsetof(hr_table_desc, dim), 4, 0, HOTROW_ERR_LIMIT, "dim 0");
}

/* Floats are given as their bits. */
static void tables_with_rules(void)
{
  sample_table();
  hr_table_desc desc = *(const hr_table_desc *)sent.body;
  memset(&desc.row_count_max, 0, sizeof desc - offsetof(hr_table_desc, row_count_max));
  sent.body = &desc;
  BODY(hr_table_desc, admit_count, 65536, HOTROW_ERR_LIMIT, "table: admit_count 65536, at most 65535");
  BAD_BODY(hr_table_desc, admit_probability, 0x3f800001u, "admit_probability 1 is not in 0 .. 1");
  BAD_BODY(hr_table_desc, admit_probability, 0xbf800000u, "admit_probability -1 is not");
  BAD_BODY(hr_table_desc, admit_probability, 0x7fc00000u, "admit_probability nan is not");
  BODY(hr_table_desc, steps_to_live, HR_WIRE_BOUND_MAX + 1, HOTROW_ERR_LIMIT, "steps_to_live 1000000001");
  BAD_BODY(hr_table_desc, l2_weight_threshold, 0x3f800000u, "l2_weight_threshold 1 without steps_to_live");
  BAD_BODY(hr_table_desc, l2_weight_threshold, 0xbf800000u, "l2_weight_threshold -1 is negative");
  BAD_BODY(hr_table_desc, l2_weight_threshold, 0x7f800000u, "l2_weight_threshold inf is negative or not finite");
  BODY(hr_table_desc, row_count_max, HR_WIRE_ROWS_MAX + 1, HOTROW_ERR_LIMIT, "row_count_max 4398046511105");
  BAD_BODY(hr_table_desc, eviction, 1, "eviction 1 without row_count_max");
  BAD_BODY(hr_table_desc, eviction, 2, "eviction 2 is none of ours");
  BAD_BODY(hr_table_desc, counts_occurrences, 2, "counts_occurrences 2 is neither 0 nor 1");
  GOOD_BODY(hr_table_desc, counts_occurrences, 1);
  BAD_BODY(hr_table_desc, step, 1, "step 1 in a request");
  desc.admit_count = 2;
  BAD_BODY(hr_table_desc, admit_probability, 0x3f000000u, "admit_count 2 and admit_probability 0.5: only one");
  GOOD_BODY(hr_table_desc, admit_count, 65535);
  desc.steps_to_live = 1;
  GOOD_BODY(hr_table_desc, l2_weight_threshold, 0x3f800000u);
  desc.row_count_max = HR_WIRE_ROWS_MAX;
  GOOD_BODY(hr_table_desc, eviction, 1);
}

/* A table of one segment as wide as there may be, and its narrowest. */
static void tables_at_their_limits(void)
{
  sample_table();
  hr_table_desc desc = *(const hr_table_desc *)sent.body;
  static const hotrow_segment none;
  desc.segment_count = 1;
  desc.segments[1] = none;
  desc.announce_step = 0;
  sent.body = &desc;
  for (uint32_t dim = 1; dim <= HOTROW_DIM_MAX; dim += HOTROW_DIM_MAX - 1) {
    desc.dim = desc.segments[0].dim = dim;
    GOOD_BODY(hr_table_desc, announce_step, HR_WIRE_BOUND_MAX);
  }
  for (uint32_t i = 1; i < HOTROW_SEGMENTS_MAX; i++)
    desc.segments[i] = desc.segments[0];
  for (uint32_t i = 0; i < HOTROW_SEGMENTS_MAX; i++)
    desc.segments[i].dim = HOTROW_DIM_MAX / HOTROW_SEGMENTS_MAX;
  desc.segment_count = HOTROW_SEGMENTS_MAX;
  is_sound();
  packet_fini(&p);
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
  ACCEPTED();
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

static void checkpoints(void)
{
  hr_checkpoint checkpoint = {.token = 7, .name = "c", .blob_size = 40, .action = HR_CHECKPOINT_COPY};
  uint8_t body[sizeof checkpoint + 8] = {0};
  sample(HR_OP_CHECKPOINT, 0);
  sent.body = &checkpoint;
  sent.body_size = sizeof checkpoint;
  BAD_BODY(hr_checkpoint, token, 0, "token 0");
  damaged(1, offsetof(hr_checkpoint, name), 1, '/', HOTROW_ERR_PROTOCOL, "checkpoint: name has byte 0x2f");
  damaged(1, offsetof(hr_checkpoint, name) + 9, 1, 'x', HOTROW_ERR_PROTOCOL, "byte 0x78 at 9, behind the name's end");
  BAD_BODY(hr_checkpoint, action, 0, "action 0 is none of ours");
  BAD_BODY(hr_checkpoint, action, HR_CHECKPOINT_DROP + 1, "action 6 is none of ours");
  BODY(hr_checkpoint, rank_count, HR_WIRE_WORLD_MAX + 1, HOTROW_ERR_LIMIT, "rank_count 4097");
  BODY(hr_checkpoint, keep, HR_WIRE_CHECKPOINT_KEEP_MAX + 1, HOTROW_ERR_LIMIT, "keep 1000001");
  BAD_BODY(hr_checkpoint, reserved, 1, "reserved field is 0x1");
  BODY(hr_checkpoint, blob_size, HR_WIRE_CHECKPOINT_BLOB_MAX + 1, HOTROW_ERR_LIMIT, "blob of 1073741825 bytes");
  BAD_BODY(hr_checkpoint, blob_offset, 1, "0 bytes of blob at 1 with action 1, which has none");
  BAD_BODY(hr_checkpoint, action, HR_CHECKPOINT_BLOB, "action 3 without bytes");
  GOOD_BODY(hr_checkpoint, blob_size, HR_WIRE_CHECKPOINT_BLOB_MAX);
  GOOD_BODY(hr_checkpoint, keep, HR_WIRE_CHECKPOINT_KEEP_MAX);
  GOOD_BODY(hr_checkpoint, rank_count, HR_WIRE_WORLD_MAX);
  checkpoint.action = HR_CHECKPOINT_BLOB;
  memcpy(body, &checkpoint, sizeof checkpoint);
  sent.body = body;
  sent.body_size = sizeof body;
  GOOD_BODY(hr_checkpoint, blob_offset, 32);
  BAD_BODY(hr_checkpoint, blob_offset, 33, "8 bytes at 33 of a blob of 40");
  BAD_BODY(hr_checkpoint, blob_offset, UINT64_MAX, "8 bytes at 18446744073709551615 of a blob of 40");
  BAD_BODY(hr_checkpoint, blob_size, 7, "8 bytes at 0 of a blob of 7");
  BAD_BODY(hr_checkpoint, action, HR_CHECKPOINT_PUBLISH, "8 bytes of blob at 0 with action 4, which has none");
  body_of_size(sizeof checkpoint + HR_WIRE_CHUNK_BYTES_MAX + 1, HOTROW_ERR_LIMIT, "limit 1048688");
  body_of_size(sizeof checkpoint - 1, HOTROW_ERR_PROTOCOL, "has 111 bytes");
}

static void restored_replies(void)
{
  hr_restored restored = {.token = 7, .blob_size = 40};
  uint8_t body[sizeof restored + 8] = {0};
  memcpy(body, &restored, sizeof restored);
  sample(HR_OP_RESTORED, HR_FLAG_REPLY);
  sent.body = body;
  sent.body_size = sizeof body;
  BAD_BODY(hr_restored, token, 0, "restored reply: token 0");
  BODY(hr_restored, rank_count, HR_WIRE_WORLD_MAX + 1, HOTROW_ERR_LIMIT, "rank_count 4097");
  BAD_BODY(hr_restored, reserved, 1, "reserved field is 0x1");
  BAD_BODY(hr_restored, blob_size, 7, "8 bytes of a blob of 7");
  GOOD_BODY(hr_restored, blob_size, 8);
  BODY(hr_restored, blob_size, HR_WIRE_CHECKPOINT_BLOB_MAX + 1, HOTROW_ERR_LIMIT, "blob of 1073741825 bytes");
  body_of_size(sizeof restored - 1, HOTROW_ERR_PROTOCOL, "has 31 bytes");
}

/* --- what lies just within the limits is not refused --- */

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
  GOOD_BODY(hr_hello_reply, is_durable, 0);
  GOOD_BODY(hr_hello_reply, is_durable, 1);
  GOOD_BODY(hr_hello_reply, received_seq, sent.header.applied_seq);
  is_sound();
  packet_poke(&p, 1, AT(hr_hello_reply, shard_index), 0);
  packet_poke(&p, 1, AT(hr_hello_reply, shard_count), 1);
  packet_reseal(&p);
  ACCEPTED();
  sample(HR_OP_BARRIER, 0);
  GOOD_BODY(hr_barrier, world_size, HR_WIRE_WORLD_MAX);
  sent.header.rank = 0;
  GOOD_BODY(hr_barrier, world_size, 1);
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
  RUN(announcements_where_there_are_none);
  RUN(frames_and_sizes_that_differ);
  RUN(counts_of_the_header);
  RUN(frames_in_the_wrong_place);
  RUN(bodies_of_the_wrong_size);
  RUN(bodies_over_a_limit);
  RUN(hellos);
  RUN(segments);
  RUN(tables);
  RUN(names);
  RUN(other_bodies);
  RUN(checkpoints);
  RUN(restored_replies);
  RUN(headers_and_bodies_at_their_limits);
  RUN(tables_with_rules);
  RUN(tables_at_their_limits);
  RUN(ops_have_names);
  return 0;
}
