#include "packet.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/optimizer.h>

/* The arrays of the latest sample. */
static struct {
  uint64_t words[8192];
  size_t used;
} arena;

static void *take(size_t size)
{
  size_t word_count = (size + 7) / 8;
  HOTROW_ASSERT(word_count <= sizeof arena.words / 8 - arena.used);
  void *memory = arena.words + arena.used;
  arena.used += word_count;
  return memory;
}

static uint32_t below(hr_rng *rng, uint32_t limit)
{
  return (uint32_t)hr_rng_below(rng, limit);
}

static uint8_t *random_bytes(hr_rng *rng, size_t size)
{
  uint8_t *bytes = take(size);
  for (size_t i = 0; i < size; i++)
    bytes[i] = (uint8_t)hr_rng_next(rng);
  return bytes;
}

static uint32_t *random_words(hr_rng *rng, uint32_t count, uint32_t limit)
{
  uint32_t *words = take((size_t)count * 4);
  for (uint32_t i = 0; i < count; i++)
    words[i] = 1 + below(rng, limit);
  return words;
}

/* Clocks as a section of these flags has them. */
static uint32_t *random_clocks(hr_rng *rng, uint8_t flags, uint32_t count, uint32_t limit)
{
  uint32_t *words = random_words(rng, count, limit);
  if (!(flags & HR_SECTION_WIDE))
    return words;
  uint32_t *wide = take((size_t)count * 8);
  for (uint32_t i = 0; i < count; i++) {
    wide[2 * i] = words[i];
    wide[2 * i + 1] = 0;
  }
  return wide;
}

static float *random_floats(hr_rng *rng, uint32_t count)
{
  float *floats = take((size_t)count * 4);
  for (uint32_t i = 0; i < count; i++)
    floats[i] = hr_rng_unit(rng) - 0.5f;
  return floats;
}

static void random_name(hr_rng *rng, char *name, size_t size)
{
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
  for (size_t i = 0; i < size; i++)
    name[i] = letters[below(rng, i == 0 ? 64 : 65)];
}

/* --- sections --- */

/* Values or gradients in the section's dtype; floats go to *floats_p. */
static void random_rows(hr_rng *rng, uint32_t row_count, hr_section *s, const float **floats_p)
{
  uint32_t count = row_count * s->dim;
  if (s->dtype == HOTROW_F32) {
    *floats_p = random_floats(rng, count);
  } else if (s->dtype == HOTROW_F16) {
    uint16_t *halves = take((size_t)count * 2);
    for (uint32_t i = 0; i < count; i++)
      halves[i] = (uint16_t)(below(rng, 0x7c00) | below(rng, 2) << 15);
    s->packed = halves;
  } else {
    float *scales = take((size_t)row_count * 4);
    for (uint32_t i = 0; i < row_count; i++)
      scales[i] = hr_rng_unit(rng);
    s->packed = random_bytes(rng, count);
    s->scales = scales;
  }
}

static void push_section(hr_rng *rng, uint8_t flags, uint8_t dtype, uint32_t key_count, hr_section *s)
{
  *s = (hr_section){
      .kind = HR_SECTION_PUSH, .flags = flags, .dtype = dtype, .table = below(rng, 5), .key_count = key_count};
  s->dim = 1 + below(rng, 5);
  s->lr_scale = 2.0f * hr_rng_unit(rng);
  s->keys = (uint64_t *)(void *)random_bytes(rng, (size_t)key_count * 8);
  random_rows(rng, key_count, s, &s->grads);
  if (flags & HR_SECTION_STEPS) {
    s->extra_dim = (uint32_t[]){0, 1, s->dim}[below(rng, 3)];
    s->steps = random_clocks(rng, flags, key_count, HR_WIRE_STEPS_MAX);
    if (s->extra_dim > 0)
      s->squares = random_floats(rng, key_count * s->extra_dim);
  }
}

static void pull_section(hr_rng *rng, uint8_t flags, uint8_t dtype, uint32_t key_count, hr_section *s)
{
  *s = (hr_section){
      .kind = HR_SECTION_PULL, .flags = flags, .dtype = dtype, .table = below(rng, 5), .key_count = key_count};
  s->dim = 1 + below(rng, 5);
  s->held_count = below(rng, key_count + 1);
  s->bound = below(rng, HR_WIRE_BOUND_MAX + 1);
  s->keys = (uint64_t *)(void *)random_bytes(rng, (size_t)key_count * 8);
  bool is_wide = flags & HR_SECTION_WIDE;
  uint32_t *seen = random_clocks(rng, flags, is_wide ? key_count : s->held_count, UINT32_MAX);
  for (uint32_t i = 2 * s->held_count; is_wide && i < 2 * key_count; i++)
    seen[i] = UINT32_MAX;
  s->seen = seen;
}

/* How many of the rows that stayed behind lack how much; unseen_max and unseen_sum likewise. */
static void count_unseen(hr_rng *rng, hr_section *s)
{
  uint32_t *counts = take(HR_UNSEEN_BUCKETS * 4);
  memset(counts, 0, HR_UNSEEN_BUCKETS * 4);
  for (uint32_t i = s->held_count; i < s->bound; i++) {
    uint32_t unseen = below(rng, 2) ? 0 : below(rng, 1000);
    counts[hr_unseen_bucket(unseen)]++;
    s->unseen_max = unseen > s->unseen_max ? unseen : s->unseen_max;
    s->unseen_sum += unseen;
  }
  if (s->flags & HR_SECTION_UNSEEN)
    s->unseen_counts = counts;
}

static void pull_reply_section(hr_rng *rng, uint8_t flags, uint8_t dtype, uint32_t key_count, hr_section *s)
{
  *s = (hr_section){
      .kind = HR_SECTION_PULL_REPLY, .flags = flags, .dtype = dtype, .table = below(rng, 5), .key_count = key_count};
  s->dim = 1 + below(rng, 5);
  s->extra_dim = (uint32_t[]){0, 1, s->dim, hr_wire_extra_dim_max(s->dim)}[below(rng, 4)];
  uint32_t asked_held = s->bound = below(rng, key_count + 1);
  size_t stride = flags & HR_SECTION_WIDE ? 2 : 1;
  uint32_t *index = take(asked_held * stride * 4);
  memset(index, 0, asked_held * stride * 4);
  for (uint32_t i = 0; i < asked_held; i++)
    if (below(rng, 2))
      index[stride * s->held_count++] = i;
  s->index = index;
  s->row_count = s->held_count + key_count - asked_held;
  count_unseen(rng, s);
  s->clocks = random_clocks(rng, flags, s->row_count, UINT32_MAX);
  random_rows(rng, s->row_count, s, &s->values);
  if (s->extra_dim > 0)
    s->states = random_floats(rng, s->row_count * s->extra_dim);
  if (flags & HR_SECTION_FOUND) {
    uint32_t bit_count = key_count - asked_held;
    uint8_t *found = random_bytes(rng, (bit_count + 7) / 8);
    if (bit_count % 8 != 0)
      found[bit_count / 8] &= (uint8_t)((1u << bit_count % 8) - 1);
    s->found = found;
  }
}

static void announce_section(hr_rng *rng, uint8_t flags, uint8_t dtype, uint32_t key_count, hr_section *s)
{
  *s = (hr_section){
      .kind = HR_SECTION_ANNOUNCE, .flags = flags, .dtype = dtype, .table = below(rng, 5), .key_count = 1 + key_count};
  s->keys = (uint64_t *)(void *)random_bytes(rng, (size_t)s->key_count * 8);
  if (!(flags & HR_SECTION_GONE))
    s->clocks = random_words(rng, s->key_count, UINT32_MAX);
}

typedef void (*section_fn)(hr_rng *rng, uint8_t flags, uint8_t dtype, uint32_t key_count, hr_section *s);

/* Each with some of these flags. */
static void add_sections(hr_rng *rng, section_fn section, uint8_t flags, hr_message *m)
{
  for (uint32_t count = below(rng, 4); count > 0; count--) {
    uint8_t some = flags & (uint8_t)hr_rng_next(rng);
    if (section == push_section && !(some & HR_SECTION_STEPS))
      some = 0;
    uint8_t dtype = section == announce_section ? 0 : (uint8_t)below(rng, 3);
    section(rng, some, dtype, below(rng, 12), &m->sections[m->section_count++]);
  }
}

/* --- bodies --- */

static void table_rules(hr_rng *rng, bool is_reply, hr_table_desc *desc)
{
  if (below(rng, 2))
    desc->admit_count = below(rng, HR_WIRE_ADMIT_COUNT_MAX + 1);
  else
    desc->admit_probability = hr_rng_unit(rng);
  if (below(rng, 2)) {
    desc->steps_to_live = 1 + below(rng, 1000);
    desc->l2_weight_threshold = hr_rng_unit(rng);
  }
  if (below(rng, 2)) {
    desc->row_count_max = 1 + below(rng, 1000);
    desc->eviction = (uint16_t)below(rng, 2);
  }
  if (is_reply)
    desc->step = below(rng, 1000);
}

static void table_body(hr_rng *rng, bool is_reply, hr_table_desc *desc)
{
  static const uint8_t kept[] = {HOTROW_F32, HOTROW_F16, HOTROW_BF16};
  memset(desc, 0, sizeof *desc);
  desc->seed = hr_rng_next(rng);
  desc->announce_step = below(rng, 100);
  desc->segment_count = (uint16_t)(1 + below(rng, HOTROW_SEGMENTS_MAX));
  desc->storage_dtype = kept[desc->seed % sizeof kept];
  for (uint32_t i = 0; i < desc->segment_count; i++) {
    hotrow_optimizer optimizer = {.kind = (hotrow_optimizer_kind)(1 + below(rng, 9)), .lr = hr_rng_unit(rng)};
    hotrow_initializer initializer = {.kind = (hotrow_initializer_kind)(1 + below(rng, 5)), .scale = hr_rng_unit(rng)};
    hotrow_segment *segment = &desc->segments[i];
    segment->dim = 1 + below(rng, HOTROW_DIM_MAX / HOTROW_SEGMENTS_MAX);
    desc->dim += segment->dim;
    HOTROW_ASSERT(hr_optimizer_resolve(&optimizer, &segment->optimizer) == HOTROW_OK);
    HOTROW_ASSERT(hr_initializer_resolve(&initializer, segment->dim, &segment->initializer) == HOTROW_OK);
  }
  random_name(rng, desc->name, 1 + below(rng, HR_WIRE_NAME_BYTES_MAX));
  if (is_reply) {
    desc->id = below(rng, 256);
    desc->row_count = hr_rng_next(rng);
  }
  table_rules(rng, is_reply, desc);
}

static void set_body(hr_message *m, const void *body, size_t size)
{
  m->body = size ? body : NULL;
  m->body_size = size;
}

static void name_body(hr_rng *rng, hr_message *m)
{
  size_t size = 1 + below(rng, HR_WIRE_NAME_BYTES_MAX);
  char *name = take(size);
  random_name(rng, name, size);
  set_body(m, name, size);
}

static void text_body(const char *text, hr_message *m)
{
  char *copy = take(strlen(text));
  memcpy(copy, text, strlen(text));
  set_body(m, copy, strlen(text));
}

static void checkpoint_body(hr_rng *rng, hr_message *m)
{
  hr_checkpoint checkpoint = {.token = 1 + below(rng, 99),
                              .step = hr_rng_next(rng),
                              .blob_size = 40 + below(rng, 9),
                              .action = 1 + below(rng, HR_CHECKPOINT_DROP),
                              .rank_count = below(rng, 9),
                              .keep = below(rng, 9)};
  random_name(rng, checkpoint.name, 1 + below(rng, HR_WIRE_NAME_BYTES_MAX));
  uint32_t chunk_size = checkpoint.action == HR_CHECKPOINT_BLOB ? 1 + below(rng, 20) : 0;
  checkpoint.blob_offset = chunk_size ? below(rng, 21) : 0;
  uint8_t *body = random_bytes(rng, sizeof checkpoint + chunk_size);
  memcpy(body, &checkpoint, sizeof checkpoint);
  set_body(m, body, sizeof checkpoint + chunk_size);
}

static void request_body(hr_rng *rng, hr_message *m)
{
  switch (m->header.op) {
  case HR_OP_HELLO: {
    hr_hello *hello = take(sizeof *hello);
    *hello = (hr_hello){hr_rng_next(rng), hr_rng_next(rng), 1 + below(rng, 3), 4 + below(rng, 4093), 0, 0, 2, 2};
    hello->shard_count = 1 + below(rng, 1024);
    hello->shard_index = below(rng, hello->shard_count);
    set_body(m, hello, sizeof *hello);
    break;
  }
  case HR_OP_TABLE_CREATE: {
    hr_table_desc *desc = take(sizeof *desc);
    table_body(rng, false, desc);
    set_body(m, desc, sizeof *desc);
    break;
  }
  case HR_OP_TABLE_OPEN:
  case HR_OP_BLOB_GET:
    name_body(rng, m);
    break;
  case HR_OP_BARRIER: {
    hr_barrier *barrier = take(sizeof *barrier);
    *barrier = (hr_barrier){1 + below(rng, 9), 4 + below(rng, 9), 0};
    set_body(m, barrier, sizeof *barrier);
    break;
  }
  case HR_OP_BLOB_PUT: {
    size_t name_size = 1 + below(rng, HR_WIRE_NAME_BYTES_MAX), blob_size = below(rng, 40);
    char *body = (char *)random_bytes(rng, 1 + name_size + blob_size);
    body[0] = (char)name_size;
    random_name(rng, body + 1, name_size);
    set_body(m, body, 1 + name_size + blob_size);
    break;
  }
  case HR_OP_SAVE: {
    hr_save *save = take(sizeof *save);
    *save = (hr_save){.token = hr_rng_next(rng)};
    random_name(rng, save->name, 1 + below(rng, HR_WIRE_NAME_BYTES_MAX));
    set_body(m, save, sizeof *save);
    break;
  }
  case HR_OP_CHECKPOINT:
    checkpoint_body(rng, m);
    break;
  case HR_OP_RESTORED: {
    hr_restored_request *request = take(sizeof *request);
    *request = (hr_restored_request){hr_rng_next(rng)};
    set_body(m, request, sizeof *request);
    break;
  }
  default:
    break;
  }
}

static void reply_body(hr_rng *rng, hr_message *m)
{
  switch (m->header.op) {
  case HR_OP_HELLO: {
    hr_hello_reply *reply = take(sizeof *reply);
    *reply = (hr_hello_reply){.epoch = 1 + below(rng, 99),
                              .received_seq = m->header.applied_seq + below(rng, 9),
                              .shard_index = below(rng, 8),
                              .shard_count = 8,
                              .version = HR_WIRE_VERSION,
                              .table_count = below(rng, 9),
                              .is_durable = below(rng, 2)};
    set_body(m, reply, sizeof *reply);
    break;
  }
  case HR_OP_TABLE_CREATE:
  case HR_OP_TABLE_OPEN:
  case HR_OP_TABLE_LIST: {
    size_t count = m->header.op == HR_OP_TABLE_LIST ? below(rng, 4) : 1;
    hr_table_desc *descs = take(count * sizeof *descs);
    for (size_t i = 0; i < count; i++)
      table_body(rng, true, &descs[i]);
    set_body(m, descs, count * sizeof *descs);
    break;
  }
  case HR_OP_BLOB_GET: {
    size_t size = below(rng, 100);
    set_body(m, random_bytes(rng, size), size);
    break;
  }
  case HR_OP_RESTORED: {
    uint32_t chunk_size = below(rng, 30);
    hr_restored restored = {1 + below(rng, 99), hr_rng_next(rng), chunk_size + below(rng, 9), below(rng, 9), 0};
    uint8_t *body = random_bytes(rng, sizeof restored + chunk_size);
    memcpy(body, &restored, sizeof restored);
    set_body(m, body, sizeof restored + chunk_size);
    break;
  }
  case HR_OP_STATS:
    text_body("{\"tables\": 3}", m);
    break;
  default:
    break;
  }
}

/* --- messages --- */

static bool may_announce(uint8_t op, uint16_t flags)
{
  if (op == HR_OP_HELLO)
    return flags == HR_FLAG_REPLY;
  bool is_data = op == HR_OP_PULL || op == HR_OP_PUSH || op == HR_OP_PUSH_PULL || op == HR_OP_TICK;
  return is_data && !(flags & HR_FLAG_ERROR);
}

static void header_of(hr_rng *rng, uint8_t op, uint16_t flags, hr_message *m)
{
  memset(m, 0, sizeof *m);
  m->header = (hr_header){.op = op,
                          .flags = flags,
                          .request_id = hr_rng_next(rng),
                          .session = {hr_rng_next(rng), hr_rng_next(rng)},
                          .epoch = hr_rng_next(rng),
                          .push_seq = 1 + below(rng, 1000),
                          .step = below(rng, 1000),
                          .rank = below(rng, 4)};
  if (may_announce(op, flags))
    m->header.announce_seq = op == HR_OP_HELLO || below(rng, 2) ? 1 + below(rng, 1000) : 0;
  if (flags & HR_FLAG_REPLY) {
    m->header.applied_seq = below(rng, 1000);
    m->header.durable_seq = hr_rng_below(rng, m->header.applied_seq + 1);
  } else if (op == HR_OP_HELLO) {
    m->header.epoch = 0;
  } else if (op == HR_OP_PULL) {
    m->header.flags = (uint16_t[]){0, HR_FLAG_SYNC, HR_FLAG_READ_ONLY, HR_FLAG_SYNC | HR_FLAG_READ_ONLY}[below(rng, 4)];
  } else if (op == HR_OP_PUSH || op == HR_OP_PUSH_PULL) {
    m->header.flags = below(rng, 2) ? HR_FLAG_SYNC : 0;
  } else if (op == HR_OP_TICK) {
    m->header.flags = below(rng, 2) ? HR_FLAG_DURABLE : 0;
  }
  arena.used = 0;
}

void sample_message(hr_rng *rng, uint8_t op, uint16_t flags, hr_message *m)
{
  header_of(rng, op, flags, m);
  if (flags & HR_FLAG_ERROR) {
    static const int32_t statuses[] = {HOTROW_ERR_BUSY, HOTROW_ERR_RESET, HR_STATUS_GAP, HOTROW_ERR_INVALID};
    m->header.status = statuses[below(rng, 4)];
    m->header.retry_ms = m->header.status == HOTROW_ERR_BUSY ? below(rng, 50) : 0;
    text_body("shard 3 is full of gr\xc3\xbc\xc3\x9f", m);
  } else if (flags & HR_FLAG_REPLY) {
    if (op == HR_OP_PULL || op == HR_OP_PUSH_PULL)
      add_sections(rng, pull_reply_section, HR_SECTION_FOUND | HR_SECTION_WIDE | HR_SECTION_UNSEEN, m);
    if (op != HR_OP_HELLO && m->header.announce_seq > 1)
      add_sections(rng, announce_section, HR_SECTION_GONE, m);
    if (op != HR_OP_HELLO && m->header.announce_seq == 1 && below(rng, 2))
      m->header.flags |= HR_FLAG_RESET;
    reply_body(rng, m);
  } else {
    if (op == HR_OP_PUSH || op == HR_OP_PUSH_PULL)
      add_sections(rng, push_section, HR_SECTION_STEPS | HR_SECTION_WIDE, m);
    if (op == HR_OP_PULL || op == HR_OP_PUSH_PULL)
      add_sections(rng, pull_section, HR_SECTION_WANT_STATE | HR_SECTION_WIDE | HR_SECTION_UNSEEN, m);
    request_body(rng, m);
  }
}

static void one_section(hr_rng *rng, uint8_t op, uint16_t header_flags, section_fn section, uint8_t flags,
                        uint8_t dtype, hr_message *m)
{
  header_of(rng, op, header_flags, m);
  m->section_count = 1;
  section(rng, flags, dtype, 5 + below(rng, 8), &m->sections[0]);
}

void sample_push(hr_rng *rng, uint8_t flags, hotrow_dtype dtype, hr_message *m)
{
  one_section(rng, HR_OP_PUSH, 0, push_section, flags, (uint8_t)dtype, m);
}

void sample_pull(hr_rng *rng, uint8_t flags, hotrow_dtype dtype, hr_message *m)
{
  one_section(rng, HR_OP_PULL, 0, pull_section, flags, (uint8_t)dtype, m);
}

void sample_pull_reply(hr_rng *rng, uint8_t flags, hotrow_dtype dtype, hr_message *m)
{
  one_section(rng, HR_OP_PULL, HR_FLAG_REPLY, pull_reply_section, flags, (uint8_t)dtype, m);
}

void sample_announce(hr_rng *rng, uint8_t op, hr_message *m)
{
  one_section(rng, op, HR_FLAG_REPLY, announce_section, 0, 0, m);
  m->header.announce_seq = 2 + below(rng, 1000);
}
