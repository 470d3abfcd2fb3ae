/* Damaged messages, and requests nobody would make, at random. */
#include "shard_test.h"

#include <hr/hash.h>
#include <hr/random.h>

/* Makes counts and hashes of a damaged message right again, so that the damage gets past them. */
static void mend(uint8_t *header_bytes, const hr_frame *frames, size_t frame_count)
{
  hr_header header;
  uint8_t payload[8192];
  memcpy(&header, header_bytes, sizeof header);
  header.magic = HR_WIRE_MAGIC;
  header.version = HR_WIRE_VERSION;
  header.frame_count = (uint16_t)frame_count;
  header.payload_size = 0;
  for (size_t i = 1; i < frame_count; i++) {
    memcpy(payload + header.payload_size, frames[i].data, frames[i].size);
    header.payload_size += frames[i].size;
  }
  header.payload_hash = header.payload_size ? hr_hash_bytes(payload, header.payload_size) : 0;
  header.header_hash = hr_hash_bytes(&header, offsetof(hr_header, header_hash));
  memcpy(header_bytes, &header, sizeof header);
}

/* Arrays of any form that a section may have; they are long enough for the largest. */
static void random_form(hr_message *m, hr_rng *rng)
{
  static const uint64_t wide[3] = {1, 2, 3};
  static const uint32_t narrow[3] = {1, 2, 3};
  static const float scales[3] = {1.0f, 0.0f, 1e30f};
  static const uint16_t halves[6] = {0x3c00, 0, 0xbc00, 1, 0x7bff, 0x8000};
  for (size_t i = 0; i < m->section_count; i++) {
    hr_section *s = &m->sections[i];
    bool is_wide = hr_rng_below(rng, 2);
    s->dtype = (uint8_t)hr_rng_below(rng, HOTROW_I8 + 1);
    s->flags |= is_wide && (s->kind == HR_SECTION_PULL || hr_rng_below(rng, 2)) ? HR_SECTION_WIDE : 0;
    if (s->kind == HR_SECTION_PULL) {
      s->held_count = is_wide ? 3 : (uint32_t)hr_rng_below(rng, 4);
      s->seen = is_wide ? (const uint32_t *)wide : narrow;
      s->flags |= (uint8_t)(hr_rng_below(rng, 4) * HR_SECTION_UNSEEN / 2 & HR_SECTION_UNSEEN);
      continue;
    }
    if ((s->flags & HR_SECTION_WIDE) || hr_rng_below(rng, 2)) {
      s->flags |= HR_SECTION_STEPS;
      s->steps = s->flags & HR_SECTION_WIDE ? (const uint32_t *)wide : narrow;
    }
    s->lr_scale = hr_rng_unit(rng);
    s->packed = s->dtype == HOTROW_F32 ? NULL : halves;
    s->scales = s->dtype == HOTROW_I8 ? scales : NULL;
    s->grads = s->dtype == HOTROW_F32 ? s->grads : NULL;
  }
}

/* A message of any operation, sound but for chance. */
static void random_request(test_client *c, hr_rng *rng, const uint64_t *keys, const float *grads)
{
  c->push_seq = hr_rng_below(rng, 3);
  c->announce_seq = hr_rng_below(rng, 4) ? hr_rng_below(rng, 50) : hr_rng_next(rng);
  hr_op op = (hr_op)(1 + hr_rng_below(rng, HR_OP_COUNT - 1));
  hr_table_desc desc = test_desc("own");
  desc.announce_step = 2 - (uint32_t)hr_rng_below(rng, 2);
  hr_barrier barrier = {.number = 1, .world_size = 1};
  hr_save save = {.token = 1, .name = "x"};
  hr_checkpoint checkpoint[2] = {{.token = 1, .name = "x", .blob_size = 8}}; /* and bytes of a blob behind it */
  hr_restored_request restored = {hr_rng_below(rng, 2)};
  switch (op) {
  case HR_OP_HELLO:
    test_hello(c);
    break;
  case HR_OP_TABLE_CREATE:
    test_body(c, op, &desc, sizeof desc);
    break;
  case HR_OP_TABLE_OPEN:
  case HR_OP_BLOB_GET:
    test_body(c, op, "own", 3);
    break;
  case HR_OP_BLOB_PUT:
    test_body(c, op, "\3own--", 6);
    break;
  case HR_OP_BARRIER:
    test_body(c, op, &barrier, sizeof barrier);
    break;
  case HR_OP_SAVE:
    test_body(c, op, &save, sizeof save);
    break;
  case HR_OP_CHECKPOINT:
    checkpoint[0].action = 1 + (uint32_t)hr_rng_below(rng, 5);
    test_body(c, op, checkpoint, sizeof *checkpoint + (checkpoint[0].action == HR_CHECKPOINT_BLOB ? 8 : 0));
    break;
  case HR_OP_RESTORED:
    test_body(c, op, &restored, sizeof restored);
    break;
  default:
    test_begin(c, op);
  }
  uint64_t kinds = op == HR_OP_PUSH ? 1 : op == HR_OP_PULL ? 2 : op == HR_OP_PUSH_PULL ? 3 : 0;
  if (kinds & 1)
    test_add_push(&c->message, 1, keys, grads, 3);
  if (kinds & 2)
    test_add_pull(&c->message, 1, keys, 3);
  random_form(&c->message, rng);
  if (kinds && hr_rng_below(rng, 2)) {
    c->message.header.flags = HR_FLAG_SYNC;
    c->message.header.step = (uint32_t)hr_rng_below(rng, 3);
  }
}

/* Messages with bytes changed, cut and left out, half of them with their counts and hashes made right again. */
static void garbage_is_refused(void)
{
  test_shard *t = test_shard_open(&(hr_shard_options){.announce_log_count = 16});
  test_client victim = test_worker(2, 8, 0, 1, 100);
  test_greet(t, &victim);
  CHECK_EQ(test_create_table(t, &victim, "t") + test_create_table(t, &victim, "own"), 1);
  test_push_row(&victim, 0, 1, 1.0f);
  CHECK_OK(test_ask(t, &victim));
  hr_rng rng = {hr_test_seed(11)};
  static _Alignas(8) uint8_t bytes[12][512];
  test_client c = {0};
  for (uint64_t round = 0; round < 40000; round++) {
    if (round % 100 == 0) { /* damage may have ended its session */
      c = test_worker(1000 + round, 1000 + round, 0, 1 + (uint32_t)hr_rng_below(&rng, 2), 100 + round);
      t->now_ns += 61000000000u;
      test_greet(t, &c);
      test_clear(t);
    }
    uint8_t header[HR_WIRE_HEADER_BYTES], sections[2 * HR_WIRE_SECTION_BYTES];
    hr_frame frames[HR_WIRE_FRAMES_MAX];
    uint64_t keys[3] = {hr_rng_next(&rng), 1, 2};
    float grads[6] = {0};
    size_t count;
    random_request(&c, &rng, keys, grads);
    if (c.push_seq == 0) /* the encoder would not send that */
      continue;
    hr_wire_encode(&c.message, header, sections, frames, &count);
    for (size_t i = 0; i < count; i++) {
      if (frames[i].size)
        memcpy(bytes[i], frames[i].data, frames[i].size);
      frames[i].data = bytes[i];
    }
    for (uint64_t changes = hr_rng_below(&rng, 3); changes > 0; changes--) {
      size_t frame = hr_rng_below(&rng, count);
      if (frames[frame].size && hr_rng_below(&rng, 8))
        bytes[frame][hr_rng_below(&rng, frames[frame].size)] ^= (uint8_t)(1u << hr_rng_below(&rng, 8));
      else
        frames[frame].size = hr_rng_below(&rng, 64);
    }
    if (hr_rng_below(&rng, 16) == 0)
      count = hr_rng_below(&rng, count + 1);
    if (hr_rng_below(&rng, 2))
      mend(bytes[0], frames, count);
    hr_shard_receive(t->shard, &c.route, frames, count, ++t->now_ns);
    test_clear(t);
  }
  CHECK(test_counter(t->shard, "\"protocol\"") > 5000 && test_counter(t->shard, "\"request\"") > 100);
  CHECK(test_counter(t->shard, "\"announcements\"") > 100 && test_counter(t->shard, "\"resets\"") > 100);
  CHECK(test_counter(t->shard, "\"bytes_pushed_i8\"") > 100 && test_counter(t->shard, "\"bytes_pulled_f16\"") > 100);
  test_client reader = test_reader(1);
  test_greet(t, &reader);
  CHECK(test_pull_value(t, &reader, 0, 1) == -1.0f);
  test_shard_close(t);
}

/* What the bytes of a header alone decide. */
static void unsound_headers(void)
{
  test_shard *t = test_shard_open(NULL);
  test_client c = test_worker(1, 7, 0, 1, 100);
  test_greet(t, &c);
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  uint8_t bytes[HR_WIRE_HEADER_BYTES];
  size_t count;
  for (int i = 0; i < 3; i++) {
    hr_header header;
    hr_wire_encode(test_begin(&c, HR_OP_STATS), bytes, NULL, frames, &count);
    memcpy(&header, bytes, sizeof header);
    header.version = i == 0 ? 9 : HR_WIRE_VERSION;
    header.op = i == 1 ? 200 : HR_OP_STATS;
    header.flags = i == 2 ? HR_FLAG_REPLY : 0;
    header.header_hash = hr_hash_bytes(&header, offsetof(hr_header, header_hash));
    memcpy(bytes, &header, sizeof header);
    test_clear(t);
    hr_shard_receive(t->shard, &c.route, frames, count, ++t->now_ns);
    CHECK_EQ(t->reply_count, i == 0); /* only another version is told so; a reply never gets a reply */
    if (i == 0)
      CHECK_FAILS(test_status(&t->replies[0].message), HOTROW_ERR_VERSION, "version 9");
  }
  CHECK_EQ(test_counter(t->shard, "\"version\""), 1);
  CHECK_EQ(test_counter(t->shard, "\"protocol\""), 2);
  test_shard_close(t);
}

int main(void)
{
  RUN(garbage_is_refused);
  RUN(unsound_headers);
  return 0;
}
