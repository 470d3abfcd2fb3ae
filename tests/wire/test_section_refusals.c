/* Sections and arrays that are refused, one thing at a time, and those just within each limit. */
#include <math.h>

#include "damage.h"

static void sections_of_any_kind(void)
{
  hr_rng rng = {2};
  sample_pull(&rng, 0, HOTROW_F32, &sent);
  BAD_SECTION(kind, 0, "kind 0 is not for a pull");
  BAD_SECTION(kind, HR_SECTION_ANNOUNCE, "kind 4 is not for a pull");
  BAD_SECTION(kind, 5, "kind 5 is not for a pull");
  BAD_SECTION(kind, HR_SECTION_PUSH, "kind 2 is not for a pull");
  BAD_SECTION(kind, HR_SECTION_PULL_REPLY, "kind 3 is not for a pull");
  BAD_SECTION(flags, 64, "section 0: flags 0x40: only 0x3f");
  BAD_SECTION(dtype, 3, "section 0: dtype 3");
  BAD_SECTION(dtype, 255, "section 0: dtype 255");
  BAD_SECTION(reserved, 1, "section 0: reserved");
  SECTION(key_count, HR_WIRE_KEYS_MAX + 1, HOTROW_ERR_LIMIT, "key_count 4194305, limit HR_WIRE_KEYS_MAX");
  SECTION(dim, 0, HOTROW_ERR_LIMIT, "dim 0");
  SECTION(dim, HOTROW_DIM_MAX + 1, HOTROW_ERR_LIMIT, "dim 4097");
  sample_push(&rng, 0, HOTROW_F32, &sent);
  BAD_SECTION(kind, HR_SECTION_PULL, "kind 1 is not for a push");
  BAD_SECTION(kind, HR_SECTION_ANNOUNCE, "kind 4 is not for a push");
  BAD_SECTION(dtype, 3, "section 0: dtype 3");
  sample_pull_reply(&rng, 0, HOTROW_F32, &sent);
  BAD_SECTION(kind, HR_SECTION_PULL, "kind 1 is not for a pull reply");
  BAD_SECTION(kind, HR_SECTION_PUSH, "kind 2 is not for a pull reply");
  BAD_SECTION(dtype, 3, "section 0: dtype 3");
  HEADER(op, HR_OP_PUSH, HOTROW_ERR_PROTOCOL, "kind 3 is not for a push reply");
  HEADER(op, HR_OP_TICK, HOTROW_ERR_PROTOCOL, "kind 3 is not for a tick reply");
}

static void pulls(void)
{
  hr_rng rng = {3};
  sample_pull(&rng, 0, HOTROW_F32, &sent);
  BAD_SECTION(flags, HR_SECTION_STEPS, "flags 0x1 say nothing on a pull");
  BAD_SECTION(flags, HR_SECTION_FOUND, "flags 0x4 say nothing on a pull");
  BAD_SECTION(flags, HR_SECTION_FOUND | HR_SECTION_WIDE, "flags 0xc say nothing on a pull");
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
  BAD_SECTION(flags, HR_SECTION_UNSEEN, "flags 0x10 say nothing on a push");
  BAD_SECTION(flags, HR_SECTION_WIDE, "flags 0x8 say nothing on a push");
  BAD_SECTION(extra_dim, 1, "extra_dim 1 in a push without steps");
  BAD_SECTION(lr_scale, float_bits(NAN), "lr_scale nan");
  BAD_SECTION(lr_scale, float_bits(INFINITY), "lr_scale inf");
  BAD_SECTION(lr_scale, float_bits(-1.0f), "lr_scale -1");
  BAD_SECTION(lr_scale, float_bits(-1e-45f), "lr_scale -1.4013e-45");
  BAD_SECTION(held_count, 1, "held_count 1");
  BAD_SECTION(row_count, 1, "row_count 1");
  BAD_SECTION(unseen_max, 1, "unseen_max 1");
  BAD_SECTION(unseen_sum, 1, "unseen_sum 1");
  sample_push(&rng, HR_SECTION_STEPS, HOTROW_F32, &sent);
  damaged(4, 4, 4, 0, HOTROW_ERR_LIMIT, "steps[1] is 0");
  damaged(4, 0, 4, HR_WIRE_STEPS_MAX + 1, HOTROW_ERR_LIMIT, "steps[0] is 1000000002");
  uint32_t last = sent.sections[0].key_count - 1;
  damaged(4, last * 4, 4, 0, HOTROW_ERR_LIMIT, "is 0, not 1 to HR_WIRE_STEPS_MAX");
  BAD_SECTION(extra_dim, sent.sections[0].dim + 1, "more than any optimizer has squares");
  BAD_SECTION(flags, HR_SECTION_STEPS | HR_SECTION_UNSEEN, "flags 0x11 say nothing on a push");
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
  is_sound();
  packet_poke(&p, 1, AT(hr_section, unseen_max), HR_WIRE_BOUND_MAX + 1);
  packet_poke(&p, 1, AT(hr_section, unseen_sum), HR_WIRE_BOUND_MAX + 1);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_LIMIT, "unseen_max 1000000001");
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

/* The last element of each wide array, and the first of those that say that there is none. */
static void clocks_of_eight_bytes(void)
{
  hr_rng rng = {10};
  do
    sample_pull(&rng, HR_SECTION_WIDE, HOTROW_F32, &sent);
  while (sent.sections[0].held_count < 2 || sent.sections[0].held_count == sent.sections[0].key_count);
  const hr_section pull = sent.sections[0];
  uint32_t held_count = pull.held_count, key_count = pull.key_count;
  damaged(3, 4, 4, 1, HOTROW_ERR_PROTOCOL, "seen[0] is over 32 bits");
  damaged(3, 8 * held_count - 4, 4, UINT32_MAX, HOTROW_ERR_PROTOCOL, "is over 32 bits");
  damaged(3, 8 * held_count, 4, 0, HOTROW_ERR_PROTOCOL, "of a key that is not held is not all ones");
  damaged(3, 8 * held_count + 4, 4, 0, HOTROW_ERR_PROTOCOL, "of a key that is not held is not all ones");
  damaged(3, 8 * key_count - 8, 4, 7, HOTROW_ERR_PROTOCOL, "of a key that is not held is not all ones");
  damaged(3, 8 * key_count - 4, 4, 7, HOTROW_ERR_PROTOCOL, "of a key that is not held is not all ones");
  BAD_SECTION(flags, 0, "section 0: array 1 has");
  is_sound();
  packet_resize(&p, 3, 8 * held_count);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "section 0: array 1 has");

  sample_push(&rng, HR_SECTION_STEPS | HR_SECTION_WIDE, HOTROW_F32, &sent);
  uint32_t last = sent.sections[0].key_count - 1;
  damaged(4, 8 * last + 4, 4, 1, HOTROW_ERR_PROTOCOL, "is over 32 bits");
  damaged(4, 8 * last, 4, 0, HOTROW_ERR_LIMIT, "is 0, not 1 to HR_WIRE_STEPS_MAX");
  damaged(4, 8, 4, HR_WIRE_STEPS_MAX + 1, HOTROW_ERR_LIMIT, "steps[1] is 1000000002");

  do
    sample_pull_reply(&rng, HR_SECTION_WIDE, HOTROW_F32, &sent);
  while (sent.sections[0].held_count < 2);
  const hr_section s = sent.sections[0];
  damaged(2, 8 * s.held_count - 4, 4, 1, HOTROW_ERR_PROTOCOL, "is over 32 bits");
  damaged(2, 8 * s.held_count - 8, 4, s.bound, HOTROW_ERR_PROTOCOL, "of asked_held");
  damaged(2, 8, 4, s.index[0], HOTROW_ERR_PROTOCOL, "must ascend");
  damaged(3, 8 * s.row_count - 4, 4, 1, HOTROW_ERR_PROTOCOL, "is over 32 bits");
}

/* Packed gradients are finite. What a reply brings is as the table has it. */
static void packed_rows(void)
{
  hr_rng rng = {11};
  sample_push(&rng, 0, HOTROW_F16, &sent);
  size_t last = (size_t)sent.sections[0].key_count * sent.sections[0].dim - 1;
  damaged(3, 0, 2, 0x7c00, HOTROW_ERR_PROTOCOL, "gradient 0 is 0x7c00, which is not finite");
  damaged(3, 2 * last, 2, 0xfc00, HOTROW_ERR_PROTOCOL, "is 0xfc00, which is not finite");
  damaged(3, 2 * last, 2, 0x7e01, HOTROW_ERR_PROTOCOL, "is 0x7e01, which is not finite");
  changed(3, 2 * last, 2, 0xfbff); /* -65504 */
  BAD_SECTION(dtype, HOTROW_F32, "section 0: array 1 has");
  BAD_SECTION(dtype, HOTROW_I8, "section 0: array 1 has");

  sample_push(&rng, 0, HOTROW_I8, &sent);
  last = sent.sections[0].key_count - 1;
  damaged(4, 0, 4, float_bits(NAN), HOTROW_ERR_PROTOCOL, "scales[0] is nan");
  damaged(4, 4 * last, 4, float_bits(INFINITY), HOTROW_ERR_PROTOCOL, "is inf: not finite, or negative");
  damaged(4, 4 * last, 4, float_bits(-1.0f), HOTROW_ERR_PROTOCOL, "is -1: not finite, or negative");
  changed(4, 4 * last, 4, float_bits(0.0f));
  changed(4, 4 * last, 4, 0x7f7fffff); /* the largest float */
  changed(3, 0, 1, 0x80);
  is_sound();
  packet_remove(&p, 4);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "frame_count 4 ends in the arrays of section 0");

  do
    sample_pull_reply(&rng, 0, HOTROW_I8, &sent);
  while (sent.sections[0].row_count == 0);
  changed(5, 0, 4, float_bits(NAN));
  sent.sections[0].dtype = HOTROW_F16;
  sent.sections[0].dim = 1;
  sent.sections[0].extra_dim = 0;
  uint16_t halves[16] = {0x7c00};
  sent.sections[0].packed = halves;
  is_sound();
  packet_fini(&p);
}

static void counts_of_the_unseen(void)
{
  hr_rng rng = {12};
  do
    sample_pull_reply(&rng, HR_SECTION_UNSEEN, HOTROW_F32, &sent);
  while (sent.sections[0].unseen_max < 2 || sent.sections[0].extra_dim > 0);
  const hr_section s = sent.sections[0];
  damaged(5, 0, 4, s.unseen_counts[0] + 1, HOTROW_ERR_PROTOCOL, "were left out");
  damaged(5, 0, 4, UINT32_MAX, HOTROW_ERR_PROTOCOL, "were left out");
  uint32_t top = hr_unseen_bucket(s.unseen_max);
  is_sound();
  packet_poke(&p, 5, 4 * top, 4, s.unseen_counts[top] - 1);
  packet_poke(&p, 5, 4 * 31, 4, 1);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "unseen_counts end in bucket 31, which unseen_max");
  is_sound();
  packet_resize(&p, 5, 4 * 31);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "section 0: array 3 has 124 bytes, not 128");
  BAD_SECTION(flags, 0, "frame_count 6, and the sections call for 5");
  CHECK(hr_unseen_bucket(0) == 0 && hr_unseen_bucket(1) == 1 && hr_unseen_bucket(2) == 2 && hr_unseen_bucket(3) == 2);
  CHECK(hr_unseen_bucket(4) == 3 && hr_unseen_bucket(HR_WIRE_BOUND_MAX) == 30 && hr_unseen_bucket(INT32_MAX) == 31);
}

static void announcements(void)
{
  static const uint8_t told_by[] = {HR_OP_PUSH, HR_OP_PULL, HR_OP_PUSH_PULL, HR_OP_TICK};
  hr_rng rng = {13};
  for (size_t i = 0; i < sizeof told_by; i++) {
    sample_announce(&rng, told_by[i], &sent);
    is_sound();
    packet_fini(&p);
  }
  BAD_HEADER(announce_seq, 0, "announcements, and announce_seq 0 follows none");
  BAD_HEADER(announce_seq, 1, "announcements, and announce_seq 1 follows none");
  GOOD_HEADER(announce_seq, 2);
  BAD_HEADER(flags, HR_FLAG_REPLY | HR_FLAG_RESET, "announcements in a reply that says they are gone");
  BAD_SECTION(flags, HR_SECTION_FOUND, "flags 0x4, dtype 0 say nothing on announcements");
  BAD_SECTION(flags, HR_SECTION_WIDE, "flags 0x8, dtype 0 say nothing on announcements");
  BAD_SECTION(flags, HR_SECTION_GONE, "frame_count 4, and the sections call for 3");
  BAD_SECTION(flags, HR_SECTION_GONE | HR_SECTION_STEPS, "flags 0x21, dtype 0 say nothing on announcements");
  BAD_SECTION(dtype, HOTROW_F16, "flags 0x0, dtype 1 say nothing on announcements");
  BAD_SECTION(reserved, 1, "reserved");
  BAD_SECTION(held_count, 1, "held_count 1");
  BAD_SECTION(row_count, 1, "row_count 1");
  BAD_SECTION(dim, 1, "dim 1");
  BAD_SECTION(extra_dim, 1, "extra_dim 1");
  BAD_SECTION(bound, 1, "bound 1");
  BAD_SECTION(unseen_max, 1, "unseen_max 1");
  BAD_SECTION(unseen_sum, 1, "unseen_sum 1");
  BAD_SECTION(key_count, 0, "announcements of no keys");
  SECTION(key_count, HR_WIRE_KEYS_MAX + 1, HOTROW_ERR_LIMIT, "key_count 4194305");
  is_sound();
  packet_resize(&p, 3, p.frames[3].size - 4);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "section 0: array 1 has");
}

static void too_many_announcements(void)
{
  static uint64_t keys[1u << 20];
  hr_section told = {.kind = HR_SECTION_ANNOUNCE, .key_count = 1, .keys = keys, .clocks = (const uint32_t *)keys};
  hr_section pulled = {.kind = HR_SECTION_PULL_REPLY, .dim = 1};
  hr_rng rng = {14};
  sample_announce(&rng, HR_OP_PULL, &sent);
  for (size_t i = 0; i < HR_WIRE_SECTIONS_MAX; i++)
    sent.sections[i] = i < HR_WIRE_DATA_SECTIONS_MAX ? pulled : told;
  sent.section_count = HR_WIRE_SECTIONS_MAX;
  is_sound();
  memcpy(packet_bytes(&p, 1) + (size_t)64 * 40, &pulled, 40);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_LIMIT, "section 64: more pull replies than HR_WIRE_DATA_SECTIONS_MAX");
  for (size_t i = 0; i < HR_WIRE_ANNOUNCE_SECTIONS_MAX; i++)
    sent.sections[i] = told;
  sent.section_count = HR_WIRE_ANNOUNCE_SECTIONS_MAX;
  is_sound();
  packet_resize(&p, 1, (size_t)65 * 40);
  memcpy(packet_bytes(&p, 1) + (size_t)64 * 40, &told, 40);
  packet_append(&p, keys, 8);
  packet_append(&p, keys, 4);
  packet_poke(&p, 0, AT(hr_header, section_count), 65);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_LIMIT, "section 64: more announcements than HR_WIRE_ANNOUNCE_SECTIONS_MAX");

  sent.section_count = 2; /* 40 + 12 key_count bytes each; 16 MiB together */
  sent.sections[0].key_count = 1u << 20;
  sent.sections[1].key_count = ((1u << 24) - 80) / 12 - (1u << 20);
  is_sound();
  packet_fini(&p);
  sent.sections[1].key_count++;
  CHECK_FAILS(hr_wire_check_size(&sent), HOTROW_ERR_LIMIT, "announcements of 16777220 bytes");
  sent.sections[1].key_count--;
  is_sound();
  packet_resize(&p, 4, p.frames[4].size + 8);
  packet_resize(&p, 5, p.frames[5].size + 4);
  packet_poke(&p, 1, 40 + offsetof(hr_section, key_count), 4, sent.sections[1].key_count + 1);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_LIMIT, "announcements of 16777220 bytes");
}

static void announcements_come_last(void)
{
  hr_rng rng = {15};
  sample_announce(&rng, HR_OP_PULL, &sent);
  sent.sections[1] = sent.sections[0];
  sent.sections[0] = (hr_section){.kind = HR_SECTION_PULL_REPLY, .dim = 1};
  sent.section_count = 2;
  is_sound();
  hr_section swapped[2] = {sent.sections[1], sent.sections[0]};
  memcpy(packet_bytes(&p, 1), &swapped[0], 40);
  memcpy(packet_bytes(&p, 1) + 40, &swapped[1], 40);
  packet_swap(&p, 2, 5);
  packet_swap(&p, 3, 6);
  packet_swap(&p, 4, 5);
  packet_reseal(&p);
  REFUSED(HOTROW_ERR_PROTOCOL, "section 1: a pull reply after announcements");
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
  sent.sections[0].dim = dim;
  sent.sections[0].dtype = HOTROW_F16; /* half of it */
  is_sound();
  packet_fini(&p);
  BAD_SECTION(flags, HR_SECTION_STEPS, "flags 0x1 say nothing on a pull");
  SECTION(flags, HR_SECTION_WANT_STATE, HOTROW_ERR_LIMIT, "pull with a reply of up to");
  sent.sections[0].dtype = HOTROW_I8;
  sent.sections[0].flags = HR_SECTION_WANT_STATE;
  CHECK_FAILS(hr_wire_check_size(&sent), HOTROW_ERR_LIMIT, "pull with a reply of up to");
  sent.sections[0] = (hr_section){.kind = HR_SECTION_PUSH, .key_count = key_count, .dim = dim, .keys = keys};
  CHECK_FAILS(hr_wire_check_size(&sent), HOTROW_ERR_LIMIT, "message of");
  free(keys);
}

static void sections_at_their_limits(void)
{
  hr_rng rng = {8};
  sample_pull(&rng, 0, HOTROW_F32, &sent);
  GOOD_SECTION(bound, HR_WIRE_BOUND_MAX);
  GOOD_SECTION(dtype, HOTROW_I8);
  GOOD_SECTION(flags, HR_SECTION_WANT_STATE | HR_SECTION_UNSEEN);
  do
    sample_pull_reply(&rng, 0, HOTROW_F32, &sent);
  while (sent.sections[0].extra_dim <= 2 * sent.sections[0].dim + 1); /* the largest state of 4 segments */
  is_sound();
  packet_fini(&p);
  sample_push(&rng, HR_SECTION_STEPS, HOTROW_F32, &sent);
  changed(4, 0, 4, HR_WIRE_STEPS_MAX);
  GOOD_SECTION(lr_scale, 0);
  GOOD_SECTION(lr_scale, 0x7f7fffff); /* the largest float */
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

int main(void)
{
  RUN(sections_of_any_kind);
  RUN(pulls);
  RUN(pushes);
  RUN(pushes_come_before_pulls);
  RUN(pull_replies);
  RUN(clocks_of_eight_bytes);
  RUN(packed_rows);
  RUN(counts_of_the_unseen);
  RUN(announcements);
  RUN(too_many_announcements);
  RUN(announcements_come_last);
  RUN(pulls_whose_reply_could_not_be_sent);
  RUN(sections_at_their_limits);
  RUN(empty_frames_may_lie_anywhere);
  return 0;
}
