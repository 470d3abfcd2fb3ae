/* What is encoded is decoded as it was, and nothing else is: one changed byte, one byte more or less is refused. */
#include "hr_test.h"
#include "packet.h"

static const uint16_t directions[] = {0, HR_FLAG_REPLY, HR_FLAG_REPLY | HR_FLAG_ERROR};

static hr_message sent, received;
static packet p;

static size_t checked_bytes; /* of arrays, since it was last set to 0 */

static void check_array(const void *actual, const void *expected, size_t size)
{
  checked_bytes += expected == NULL ? 0 : size;
  CHECK((actual == NULL) == (expected == NULL));
  CHECK(expected == NULL || memcmp(actual, expected, size) == 0);
}

/* The sizes are written out again here, from the header's words and not from the library's table of them. */
static void check_section(const hr_section *actual, const hr_section *expected)
{
  const hr_section *e = expected;
  size_t keys = e->key_count, rows = e->row_count, not_held = keys - e->bound;
  bool is_wide = e->flags & HR_SECTION_WIDE;
  size_t word = is_wide ? 8 : 4, value = (size_t[]){4, 2, 1}[e->dtype];
  size_t packed = e->kind == HR_SECTION_PUSH ? keys : rows;
  CHECK(memcmp(actual, e, HR_WIRE_SECTION_BYTES) == 0);
  check_array(actual->keys, e->keys, keys * 8);
  check_array(actual->seen, e->seen, (is_wide ? keys : e->held_count) * word);
  check_array(actual->grads, e->grads, keys * e->dim * 4);
  check_array(actual->steps, e->steps, keys * word);
  check_array(actual->squares, e->squares, keys * e->extra_dim * 4);
  check_array(actual->index, e->index, e->held_count * word);
  check_array(actual->clocks, e->clocks,
              e->flags & HR_SECTION_GONE       ? 0
              : e->kind == HR_SECTION_ANNOUNCE ? keys * 4
                                               : rows * word);
  check_array(actual->values, e->values, rows * e->dim * 4);
  check_array(actual->states, e->states, rows * e->extra_dim * 4);
  check_array(actual->found, e->found, e->found ? (not_held + 7) / 8 : 0);
  check_array(actual->unseen_counts, e->unseen_counts, 32 * 4);
  check_array(actual->packed, e->packed, packed * e->dim * value);
  check_array(actual->scales, e->scales, packed * 4);
}

/* Magic, version, counts, sizes and hashes are the encoder's: after a decode they are in `received` alone. */
static void check_header(void)
{
  hr_header expected = sent.header;
  expected.magic = HR_WIRE_MAGIC;
  expected.version = HR_WIRE_VERSION;
  expected.frame_count = (uint16_t)p.frame_count;
  expected.section_count = sent.section_count;
  expected.payload_size = received.header.payload_size;
  expected.payload_hash = received.header.payload_hash;
  expected.header_hash = received.header.header_hash;
  CHECK(memcmp(&received.header, &expected, sizeof expected) == 0);
}

static void check_encodes_again(void)
{
  packet again;
  packet_encode(&again, &received);
  CHECK_EQ(again.frame_count, p.frame_count);
  for (size_t i = 0; i < p.frame_count; i++) {
    CHECK_EQ(again.frames[i].size, p.frames[i].size);
    CHECK(p.frames[i].size == 0 || memcmp(again.frames[i].data, p.frames[i].data, p.frames[i].size) == 0);
  }
  packet_fini(&again);
}

static void every_message_comes_back(void)
{
  hr_rng rng = {hr_test_seed(11)};
  for (int round = 0; round < 300; round++)
    for (uint8_t op = 1; op < HR_OP_COUNT; op++)
      for (int d = 0; d < 3; d++) {
        sample_message(&rng, op, directions[d], &sent);
        packet_encode(&p, &sent);
        CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
        check_header();
        CHECK_EQ(received.section_count, sent.section_count);
        checked_bytes = 0;
        for (size_t i = 0; i < sent.section_count; i++)
          check_section(&received.sections[i], &sent.sections[i]);
        CHECK_EQ(received.body_size, sent.body_size);
        check_array(received.body, sent.body, sent.body_size);
        CHECK_EQ(received.header.payload_size, checked_bytes + sent.section_count * HR_WIRE_SECTION_BYTES);
        check_encodes_again();
        packet_fini(&p);
      }
}

static void large_messages_and_full_section_tables_come_back(void)
{
  hr_rng rng = {hr_test_seed(12)};
  do
    sample_pull_reply(&rng, HR_SECTION_FOUND | HR_SECTION_UNSEEN, HOTROW_I8, &sent);
  while (sent.sections[0].extra_dim == 0);
  uint64_t told_keys[] = {7, 8};
  hr_section told = {.kind = HR_SECTION_ANNOUNCE, .key_count = 2, .keys = told_keys, .clocks = (uint32_t[]){3, 4}};
  for (size_t i = 1; i < HR_WIRE_SECTIONS_MAX; i++)
    sent.sections[i] = i < HR_WIRE_DATA_SECTIONS_MAX ? sent.sections[0] : told;
  sent.section_count = HR_WIRE_SECTIONS_MAX;
  sent.header.announce_seq = 129;
  packet_encode(&p, &sent);
  CHECK_EQ(p.frame_count, HR_WIRE_FRAMES_MAX);
  CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
  CHECK_EQ(received.section_count, HR_WIRE_SECTIONS_MAX);
  check_section(&received.sections[HR_WIRE_DATA_SECTIONS_MAX - 1], &sent.sections[0]);
  check_section(&received.sections[HR_WIRE_SECTIONS_MAX - 1], &told);
  packet_fini(&p);

  uint32_t key_count = 20000, dim = 64;
  uint64_t *keys = calloc(key_count, 8);
  float *grads = calloc((size_t)key_count * dim, 4);
  CHECK(keys && grads);
  sample_push(&rng, 0, HOTROW_F32, &sent);
  sent.sections[0] =
      (hr_section){.kind = HR_SECTION_PUSH, .key_count = key_count, .dim = dim, .keys = keys, .grads = grads};
  CHECK_EQ(hr_wire_section_bytes(&sent.sections[0]), 40 + 20000 * 8 + 20000 * 64 * 4);
  packet_encode(&p, &sent);
  CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
  check_section(&received.sections[0], &sent.sections[0]);
  packet_fini(&p);
  free(keys);
  free(grads);
}

static void refused(const char *what, size_t frame, size_t at)
{
  hotrow_status status = hr_wire_decode(p.frames, p.frame_count, &received);
  CHECK_MSG(status != HOTROW_OK, "op %u, frame %zu: %s %zu was accepted", sent.header.op, frame, what, at);
  CHECK(received.section_count == 0 && received.body == NULL && received.body_size == 0);
  static const hr_header zero;
  if (received.header.magic != HR_WIRE_MAGIC)
    CHECK(memcmp(&received.header, &zero, sizeof zero) == 0);
  else
    CHECK(received.header.request_id == sent.header.request_id);
}

static void no_byte_can_change(void)
{
  hr_rng rng = {hr_test_seed(13)};
  for (uint8_t op = 1; op < HR_OP_COUNT; op++)
    for (int d = 0; d < 3; d++) {
      sample_message(&rng, op, directions[d], &sent);
      packet_encode(&p, &sent);
      for (size_t frame = 0; frame < p.frame_count; frame++)
        for (size_t at = 0; at < p.frames[frame].size; at++) {
          uint8_t was = packet_bytes(&p, frame)[at];
          packet_bytes(&p, frame)[at] ^= (uint8_t)(1 + hr_rng_below(&rng, 255));
          refused("changed byte", frame, at);
          packet_bytes(&p, frame)[at] = was;
        }
      CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
      packet_fini(&p);
    }
}

/* One frame longer, shorter, empty, gone, or twice: with the hashes of the whole message, and with hashes made right
 * again, when only the counts can tell. */
static void damage_frame(size_t frame, int how, bool is_resealed)
{
  packet_encode(&p, &sent);
  size_t size = p.frames[frame].size;
  if (how == 0)
    packet_resize(&p, frame, size + 1);
  else if (how == 1 && size > 0)
    packet_resize(&p, frame, size - 1);
  else if (how == 2 && size > 0)
    packet_resize(&p, frame, 0);
  else if (how == 3)
    packet_remove(&p, frame);
  else if (how == 4)
    packet_append(&p, p.frames[frame].data, size);
  else
    goto fini_packet;                                   /* an empty frame cannot be cut */
  bool is_free_size = frame == 1 && sent.body_size > 0; /* bodies of free size may still be legal */
  is_free_size = is_free_size || (how == 4 && sent.header.op == HR_OP_BLOB_GET && sent.body_size == 0);
  if (is_resealed)
    packet_reseal(&p);
  if (!(is_resealed && is_free_size))
    refused("damaged frame, way", frame, (size_t)how);
fini_packet:
  packet_fini(&p);
}

static void no_frame_can_change(void)
{
  hr_rng rng = {hr_test_seed(14)};
  for (int round = 0; round < 10; round++)
    for (uint8_t op = 1; op < HR_OP_COUNT; op++)
      for (int d = 0; d < 3; d++) {
        sample_message(&rng, op, directions[d], &sent);
        packet_encode(&p, &sent);
        size_t frame_count = p.frame_count;
        packet_fini(&p);
        for (size_t frame = 0; frame < frame_count; frame++)
          for (int how = 0; how < 5; how++) {
            damage_frame(frame, how, false);
            damage_frame(frame, how, true);
          }
      }
}

/* Whatever header a shard is handed, it can answer it. */
static void what_can_be_answered_is_answered(void)
{
  hr_rng rng = {hr_test_seed(15)};
  int answered = 0;
  for (int round = 0; round < 20000; round++) {
    sample_message(&rng, (uint8_t)(1 + hr_rng_below(&rng, HR_OP_COUNT - 1)), 0, &sent);
    packet_encode(&p, &sent);
    packet_poke(&p, 0, 4 + hr_rng_below(&rng, 80), 1 + hr_rng_below(&rng, 8), hr_rng_next(&rng));
    packet_reseal(&p);
    hotrow_status status = hr_wire_decode(p.frames, p.frame_count, &received);
    packet_fini(&p);
    if (status == HOTROW_OK || received.header.magic == 0)
      continue;
    char text[HR_WIRE_TEXT_BYTES_MAX];
    hr_message reply;
    hr_wire_reply_error(&received.header, status, hotrow_last_error(), text, &reply);
    packet_encode(&p, &reply);
    CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &reply));
    CHECK(reply.header.request_id == received.header.request_id && reply.header.status == (int32_t)status);
    packet_fini(&p);
    answered++;
  }
  CHECK_MSG(answered > 5000, "only %d", answered);
}

static void error_texts_are_made_fit_to_send(void)
{
  hr_header request = {.op = HR_OP_PULL, .request_id = 7, .rank = 3};
  char long_text[1000], text[HR_WIRE_TEXT_BYTES_MAX];
  memset(long_text, 'x', sizeof long_text - 1);
  long_text[sizeof long_text - 1] = 0;
  memcpy(long_text, "a\nb\x7f", 4);
  hr_wire_reply_error(&request, HR_STATUS_GAP, long_text, text, &sent);
  CHECK_EQ(sent.body_size, HR_WIRE_TEXT_BYTES_MAX);
  CHECK(memcmp(sent.body, "a?b?xx", 6) == 0);
  packet_encode(&p, &sent);
  CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
  packet_fini(&p);
  hr_wire_reply_error(&request, HOTROW_ERR_BUSY, "", text, &sent);
  CHECK_EQ(sent.body_size, 1);
}

int main(void)
{
  RUN(every_message_comes_back);
  RUN(large_messages_and_full_section_tables_come_back);
  RUN(no_byte_can_change);
  RUN(no_frame_can_change);
  RUN(what_can_be_answered_is_answered);
  RUN(error_texts_are_made_fit_to_send);
  return 0;
}
