#include "fuzz_message.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"

/* --- oracle --- */

#define PROMISED(condition)                                                                                            \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "decoded, but not: %s\n", #condition);                                                           \
      abort();                                                                                                         \
    }                                                                                                                  \
  } while (0)

static volatile uint8_t sink;

/* Every byte that a user of the message may read. */
static void read_all(const void *array, size_t size)
{
  const uint8_t *bytes = array;
  PROMISED(bytes != NULL && (uintptr_t)bytes % 8 == 0);
  uint8_t sum = 0;
  for (size_t i = 0; i < size; i++)
    sum = (uint8_t)(sum + bytes[i]);
  sink = sum;
}

/* Clocks of `count` elements, of which those from `held_count` on say that there is none. */
static void read_clocks(const hr_section *s, const uint32_t *clocks, uint32_t count, uint32_t held_count)
{
  bool is_wide = s->flags & HR_SECTION_WIDE;
  read_all(clocks, (size_t)count * (is_wide ? 8 : 4));
  for (uint32_t i = 0; is_wide && i < count; i++) {
    PROMISED(clocks[2 * i + 1] == (i < held_count ? 0 : UINT32_MAX));
    PROMISED(i < held_count || clocks[2 * i] == UINT32_MAX);
  }
}

/* Gradients are finite where a dtype can tell at once; a reply brings what the table holds. */
static void read_rows(const hr_section *s, const float *floats, uint32_t row_count)
{
  size_t count = (size_t)row_count * s->dim;
  bool is_push = s->kind == HR_SECTION_PUSH;
  PROMISED(s->dtype <= HOTROW_I8);
  PROMISED((floats != NULL) == (s->dtype == HOTROW_F32) && (s->packed != NULL) == (s->dtype != HOTROW_F32));
  PROMISED((s->scales != NULL) == (s->dtype == HOTROW_I8));
  if (s->dtype == HOTROW_F32) {
    read_all(floats, count * 4);
  } else if (s->dtype == HOTROW_F16) {
    const uint16_t *halves = s->packed;
    read_all(halves, count * 2);
    for (size_t i = 0; is_push && i < count; i++)
      PROMISED((halves[i] >> 10 & 31) != 31);
  } else {
    read_all(s->packed, count);
    read_all(s->scales, row_count * 4u);
    for (uint32_t i = 0; is_push && i < row_count; i++)
      PROMISED(s->scales[i] >= 0.0f && s->scales[i] <= FLT_MAX);
  }
}

/* What a client does with a reply: rows go where index says. */
static void use_pull_reply(const hr_section *s)
{
  uint32_t asked_held = s->bound;
  PROMISED(asked_held <= s->key_count && s->row_count == s->held_count + s->key_count - asked_held);
  uint8_t *is_returned = calloc((size_t)asked_held + 1, 1);
  PROMISED(is_returned != NULL);
  read_clocks(s, s->index, s->held_count, s->held_count);
  for (uint32_t i = 0; i < s->held_count; i++) {
    uint32_t index = hr_section_u32(s->index, s, i);
    PROMISED(index < asked_held);
    PROMISED(is_returned[index]++ == 0);
  }
  free(is_returned);
  read_clocks(s, s->clocks, s->row_count, s->row_count);
  read_rows(s, s->values, s->row_count);
  if (s->extra_dim > 0)
    read_all(s->states, (size_t)s->row_count * s->extra_dim * 4);
  if (s->flags & HR_SECTION_FOUND)
    read_all(s->found, (s->key_count - asked_held + 7) / 8);
  if (s->flags & HR_SECTION_UNSEEN) {
    uint64_t stayed = 0;
    for (uint32_t b = 0; b < HR_UNSEEN_BUCKETS; b++)
      stayed += s->unseen_counts[b];
    PROMISED(stayed == asked_held - s->held_count);
  }
}

static void use_announcements(const hr_section *s)
{
  PROMISED(s->key_count > 0);
  read_all(s->keys, s->key_count * 8u);
  if (!(s->flags & HR_SECTION_GONE))
    read_all(s->clocks, s->key_count * 4u);
}

/* What a shard does with a request. */
static void use_request(const hr_section *s)
{
  read_all(s->keys, s->key_count * 8u);
  if (s->kind == HR_SECTION_PULL) {
    PROMISED(s->held_count <= s->key_count && s->bound <= HR_WIRE_BOUND_MAX && s->dtype <= HOTROW_I8);
    read_clocks(s, s->seen, s->flags & HR_SECTION_WIDE ? s->key_count : s->held_count, s->held_count);
    return;
  }
  PROMISED(s->lr_scale >= 0.0f && s->lr_scale <= FLT_MAX);
  read_rows(s, s->grads, s->key_count);
  if (s->flags & HR_SECTION_STEPS) {
    read_clocks(s, s->steps, s->key_count, s->key_count);
    for (uint32_t i = 0; i < s->key_count; i++) {
      uint32_t steps = hr_section_u32(s->steps, s, i);
      PROMISED(steps >= 1 && steps <= HR_WIRE_STEPS_MAX);
    }
    if (s->extra_dim > 0)
      read_all(s->squares, (size_t)s->key_count * s->extra_dim * 4);
  }
}

static void use_message(const hr_message *m)
{
  bool is_reply = m->header.flags & HR_FLAG_REPLY, is_told = false;
  PROMISED(m->header.op > 0 && m->header.op < HR_OP_COUNT && m->section_count == m->header.section_count);
  PROMISED((m->body == NULL) == (m->body_size == 0));
  PROMISED(!(m->header.flags & HR_FLAG_RESET) || m->header.announce_seq > 0);
  if (m->body_size > 0)
    read_all(m->body, m->body_size);
  for (size_t i = 0; i < m->section_count; i++) {
    const hr_section *s = &m->sections[i];
    PROMISED(s->key_count <= HR_WIRE_KEYS_MAX);
    if (is_reply && s->kind == HR_SECTION_ANNOUNCE) {
      is_told = true;
      use_announcements(s);
      continue;
    }
    PROMISED(!is_told && s->dim >= 1 && s->dim <= HOTROW_DIM_MAX);
    if (is_reply)
      use_pull_reply(s);
    else
      use_request(s);
  }
  PROMISED(!is_told || (m->header.announce_seq > 1 && !(m->header.flags & HR_FLAG_RESET)));
}

static void check_encodes_again(const hr_message *m, const packet *p)
{
  packet again;
  packet_encode(&again, m);
  PROMISED(again.frame_count == p->frame_count);
  for (size_t i = 0; i < p->frame_count; i++) {
    PROMISED(again.frames[i].size == p->frames[i].size);
    PROMISED(p->frames[i].size == 0 || memcmp(again.frames[i].data, p->frames[i].data, p->frames[i].size) == 0);
  }
  packet_fini(&again);
}

static void check_refusal(hotrow_status status, const hr_message *m)
{
  static const hr_header zero;
  PROMISED(status == HOTROW_ERR_PROTOCOL || status == HOTROW_ERR_VERSION || status == HOTROW_ERR_LIMIT);
  PROMISED(m->section_count == 0 && m->body == NULL && m->body_size == 0);
  if (m->header.magic != HR_WIRE_MAGIC) {
    PROMISED(memcmp(&m->header, &zero, sizeof zero) == 0);
    return;
  }
  char text[HR_WIRE_TEXT_BYTES_MAX];
  hr_message reply, decoded;
  packet answer;
  hr_wire_reply_error(&m->header, status, hotrow_last_error(), text, &reply);
  packet_encode(&answer, &reply);
  PROMISED(hr_wire_decode(answer.frames, answer.frame_count, &decoded) == HOTROW_OK);
  packet_fini(&answer);
}

bool fuzz_message(const uint8_t *input, size_t size)
{
  packet p;
  hr_message m;
  packet_parse(&p, input, size);
  hotrow_status status = hr_wire_decode(p.frames, p.frame_count, &m);
  if (status == HOTROW_OK) {
    use_message(&m);
    check_encodes_again(&m, &p);
  } else {
    check_refusal(status, &m);
  }
  packet_fini(&p);
  return status == HOTROW_OK;
}

/* --- mutator --- */

#define FRAME_BYTES_MAX 2048u /* of an array that fits are made for */

static size_t below(hr_rng *rng, size_t limit)
{
  return (size_t)hr_rng_below(rng, limit);
}

/* Numbers that checks are about. */
static uint64_t interesting(hr_rng *rng, uint64_t current)
{
  static const uint64_t values[] = {0,
                                    1,
                                    2,
                                    3,
                                    4,
                                    7,
                                    8,
                                    14,
                                    15,
                                    16,
                                    24,
                                    40,
                                    63,
                                    64,
                                    65,
                                    128,
                                    255,
                                    256,
                                    500,
                                    1024,
                                    4095,
                                    4096,
                                    4097,
                                    1u << 22,
                                    (1u << 22) + 1,
                                    HR_WIRE_BOUND_MAX,
                                    HR_WIRE_STEPS_MAX,
                                    HR_WIRE_STEPS_MAX + 1,
                                    INT32_MAX,
                                    1u << 31,
                                    UINT32_MAX,
                                    UINT64_MAX};
  switch (below(rng, 5)) {
  case 0:
    return current + 1;
  case 1:
    return current - 1;
  case 2:
    return current ^ (uint64_t)1 << below(rng, 64);
  case 3:
    return below(rng, 12);
  default:
    return values[below(rng, sizeof values / sizeof values[0])];
  }
}

static void change_field(hr_rng *rng, packet *p, size_t frame, size_t offset, size_t size)
{
  if (offset + size > p->frames[frame].size)
    return;
  uint64_t current = 0;
  memcpy(&current, packet_bytes(p, frame) + offset, size);
  packet_poke(p, frame, offset, size, interesting(rng, current));
}

static void change_header(hr_rng *rng, packet *p)
{
  static const struct {
    uint8_t offset, size;
  } fields[] = {{4, 1},  {5, 1},  {6, 2},  {8, 8},  {32, 8}, {40, 8}, {48, 8},  {56, 8},
                {64, 4}, {68, 4}, {72, 4}, {76, 4}, {82, 2}, {84, 4}, {104, 8}, {112, 8}};
  size_t i = below(rng, sizeof fields / sizeof fields[0]);
  change_field(rng, p, 0, fields[i].offset, fields[i].size);
}

static void change_section(hr_rng *rng, packet *p)
{
  size_t count = p->frames[1].size / HR_WIRE_SECTION_BYTES;
  if (count == 0)
    return;
  size_t offset = below(rng, count) * HR_WIRE_SECTION_BYTES;
  if (below(rng, 3) == 0)
    change_field(rng, p, 1, offset + below(rng, 4), 1); /* kind, flags, dtype, reserved */
  else
    change_field(rng, p, 1, offset + 4 * (1 + below(rng, 9)), 4);
}

static void change_frames(hr_rng *rng, packet *p)
{
  size_t frame = 1 + below(rng, p->frame_count - 1);
  switch (below(rng, 4)) {
  case 0:
    packet_resize(p, frame, below(rng, 2) ? below(rng, 200) : p->frames[frame].size + 4 * below(rng, 3));
    break;
  case 1:
    packet_remove(p, frame);
    break;
  case 2:
    if (p->frame_count < PACKET_FRAMES_MAX)
      packet_append(p, p->frames[frame].data, p->frames[frame].size);
    break;
  default:
    packet_swap(p, frame, 1 + below(rng, p->frame_count - 1));
    break;
  }
}

/* The high word of element i of a clock array. */
static void fit_high(packet *p, const hr_section *s, size_t frame, uint32_t i, uint32_t value)
{
  if (s->flags & HR_SECTION_WIDE)
    packet_poke(p, frame, 8u * i + 4, 4, value);
}

/* Makes the content of one array of a section legal; its frame has the right size. */
static void fit_array(packet *p, const hr_section *s, size_t pointer_offset, size_t frame)
{
  size_t size = p->frames[frame].size, word = s->flags & HR_SECTION_WIDE ? 8 : 4;
  uint8_t *bytes = packet_bytes(p, frame);
  uint32_t count = (uint32_t)(size / word);
  switch (pointer_offset) {
  case offsetof(hr_section, index):
    for (uint32_t i = 0; i < count; i++) {
      packet_poke(p, frame, word * i, 4, i);
      fit_high(p, s, frame, i, 0);
    }
    break;
  case offsetof(hr_section, steps):
    for (uint32_t i = 0; i < count; i++) {
      bytes[word * i] |= 1;
      fit_high(p, s, frame, i, 0);
    }
    break;
  case offsetof(hr_section, clocks):
    for (uint32_t i = 0; i < count; i++)
      fit_high(p, s, frame, i, 0);
    break;
  case offsetof(hr_section, seen):
    for (uint32_t i = 0; i < count; i++) {
      fit_high(p, s, frame, i, i < s->held_count ? 0 : UINT32_MAX);
      if (i >= s->held_count)
        packet_poke(p, frame, word * i, 4, UINT32_MAX);
    }
    break;
  case offsetof(hr_section, packed): /* no exponent of all ones */
    for (size_t at = 1; s->dtype == HOTROW_F16 && at < size; at += 2)
      bytes[at] &= 0xbf;
    break;
  case offsetof(hr_section, scales): /* nor these, nor a sign */
    for (size_t at = 3; at < size; at += 4)
      bytes[at] &= 0x3f;
    break;
  case offsetof(hr_section, unseen_counts):
    memset(bytes, 0, size);
    packet_poke(p, frame, 4 * (size_t)hr_unseen_bucket(s->unseen_max & INT32_MAX), 4, s->bound - s->held_count);
    break;
  default:
    break;
  }
}

/* Gives every section the frames that its fields call for, so far as they are small. */
static void fit_arrays(packet *p, bool is_filled)
{
  size_t next = 2, section_count = p->frames[1].size / HR_WIRE_SECTION_BYTES;
  if (section_count > HR_WIRE_SECTIONS_MAX)
    return;
  packet_poke(p, 0, offsetof(hr_header, section_count), 2, section_count);
  packet_resize(p, 1, section_count * HR_WIRE_SECTION_BYTES);
  for (size_t i = 0; i < section_count; i++) {
    hr_section s = {0};
    hr_wire_array arrays[HR_WIRE_ARRAYS_MAX];
    memcpy(&s, packet_bytes(p, 1) + i * HR_WIRE_SECTION_BYTES, HR_WIRE_SECTION_BYTES);
    size_t array_count = hr_wire_arrays(&s, arrays);
    for (size_t k = 0; k < array_count; k++, next++) {
      if (arrays[k].size_bytes > FRAME_BYTES_MAX || next >= HR_WIRE_FRAMES_MAX)
        return;
      if (next >= p->frame_count)
        packet_append(p, "", 0);
      packet_resize(p, next, (size_t)arrays[k].size_bytes);
      if (is_filled)
        fit_array(p, &s, arrays[k].pointer_offset, next);
    }
  }
  while (p->frame_count > next)
    packet_remove(p, next);
}

static bool has_sections(uint8_t op)
{
  return (op >= HR_OP_PULL && op <= HR_OP_PUSH_PULL) || op == HR_OP_TICK;
}

static void new_packet(hr_rng *rng, packet *p)
{
  static const uint16_t directions[] = {0, HR_FLAG_REPLY, HR_FLAG_REPLY | HR_FLAG_ERROR};
  hr_message m;
  uint8_t op = below(rng, 2) ? (uint8_t)(HR_OP_PULL + below(rng, 3)) : (uint8_t)(1 + below(rng, HR_OP_COUNT - 1));
  sample_message(rng, op, directions[below(rng, has_sections(op) ? 2 : 3)], &m);
  packet_encode(p, &m);
}

static void change_packet(hr_rng *rng, packet *p)
{
  if (below(rng, 4) == 0 || p->frame_count < 2) {
    change_header(rng, p);
    return;
  }
  size_t frame = 1 + below(rng, p->frame_count - 1), size = p->frames[frame].size;
  switch (below(rng, 4)) {
  case 0:
    change_section(rng, p);
    break;
  case 1:
    change_frames(rng, p);
    break;
  case 2:
    if (size >= 4)
      change_field(rng, p, frame, below(rng, size / 4) * 4, 4);
    break;
  default:
    if (size > 0)
      change_field(rng, p, frame, below(rng, size), 1);
    break;
  }
}

size_t fuzz_mutate(uint8_t *input, size_t size, size_t capacity, uint64_t seed)
{
  hr_rng rng = {seed};
  packet p;
  packet_parse(&p, input, size);
  if (p.frame_count == 0 || p.frames[0].size != HR_WIRE_HEADER_BYTES || below(&rng, 64) == 0) {
    packet_fini(&p);
    new_packet(&rng, &p);
  }
  for (size_t count = 1 + below(&rng, 3); count > 0; count--)
    change_packet(&rng, &p);
  uint8_t op = packet_bytes(&p, 0)[offsetof(hr_header, op)];
  if (p.frame_count > 1 && has_sections(op) && below(&rng, 4) > 0)
    fit_arrays(&p, below(&rng, 2));
  if (below(&rng, 2)) /* what is changed after the fit is not undone by it */
    change_packet(&rng, &p);
  if (below(&rng, 16) > 0)
    packet_reseal(&p);
  size_t written = packet_write(&p, input, capacity);
  packet_fini(&p);
  return written ? written : size;
}
