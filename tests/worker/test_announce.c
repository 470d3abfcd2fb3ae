/* A worker in announce mode, told by hand what a shard would tell it: which copies it uses, and when it asks. Keys are
 * small, rows have one float, every own step adds 1, pull bound 1, announce step 1. */
#include "hr_test.h"

#include "core.h"

#define SENT_MAX 200u
#define KEYS_MAX 32u
#define TABLE 3u

typedef struct sent_message {
  hr_header header;
  uint32_t pushed, pulled, held; /* keys of all push and pull sections */
  uint64_t keys[KEYS_MAX];       /* pulled */
} sent_message;

static sent_message sent[SENT_MAX];
static uint32_t sent_count;
static uint64_t epoch = 5, cache_row_count = 64;
static hr_core *core;
static hotrow_table *table;

static void on_send(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count, atomic_uint *users)
{
  (void)users;
  (void)context;
  CHECK_EQ(shard, 0);
  static hr_message message;
  CHECK_OK(hr_wire_decode(frames, frame_count, &message));
  CHECK(sent_count < SENT_MAX);
  sent_message *s = &sent[sent_count++];
  *s = (sent_message){.header = message.header};
  for (uint32_t i = 0; i < message.section_count; i++) {
    const hr_section *section = &message.sections[i];
    if (section->kind == HR_SECTION_PUSH) {
      s->pushed += section->key_count;
      continue;
    }
    s->held += section->held_count;
    for (uint32_t k = 0; k < section->key_count; k++)
      s->keys[s->pulled++] = section->keys[k];
  }
}

/* The answer to a sent message: rows of what it pulls, all with this value and clock, then announcements. */
typedef struct answer {
  uint64_t applied, next;
  float value;
  uint32_t clock;
  uint64_t announced_key;
  uint32_t announced_clock; /* 0: nothing is announced */
  bool is_reset;
} answer;

static void tell(uint32_t index, answer a)
{
  static hr_message reply;
  static _Alignas(8) uint8_t header[HR_WIRE_HEADER_BYTES], sections[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  static hr_frame frames[HR_WIRE_FRAMES_MAX];
  const sent_message *s = &sent[index];
  float values[KEYS_MAX];
  uint32_t clocks[KEYS_MAX];
  size_t count;
  hr_wire_reply(&s->header, &reply);
  reply.section_count = 0;
  reply.header.epoch = epoch;
  reply.header.applied_seq = a.applied;
  reply.header.announce_seq = s->header.announce_seq ? a.next : 0;
  reply.header.flags |= a.is_reset ? HR_FLAG_RESET : 0;
  for (uint32_t i = 0; i < KEYS_MAX; i++) {
    values[i] = a.value;
    clocks[i] = a.clock;
  }
  if (s->pulled)
    reply.sections[reply.section_count++] = (hr_section){.kind = HR_SECTION_PULL_REPLY,
                                                         .table = TABLE,
                                                         .key_count = s->pulled,
                                                         .row_count = s->pulled,
                                                         .dim = 1,
                                                         .index = clocks,
                                                         .clocks = clocks,
                                                         .values = values};
  if (a.announced_clock)
    reply.sections[reply.section_count++] = (hr_section){.kind = HR_SECTION_ANNOUNCE,
                                                         .table = TABLE,
                                                         .key_count = 1,
                                                         .keys = &a.announced_key,
                                                         .clocks = &a.announced_clock};
  hr_wire_encode(&reply, header, sections, frames, &count);
  hr_core_receive(core, 0, frames, count, 1);
  CHECK_OK(hr_core_status(core));
}

static const hotrow_kernels *plain_kernels;
static hotrow_kernels counted_kernels;
static size_t probed_count;

static void counted_probe(const uint64_t *set_keys, const uint64_t *set_hashes, const uint16_t *occupied,
                          uint32_t set_count, const uint64_t *keys, const uint64_t *hashes, size_t key_count,
                          void *stream, uint32_t *slot_p)
{
  probed_count += key_count;
  plain_kernels->probe(set_keys, set_hashes, occupied, set_count, keys, hashes, key_count, stream, slot_p);
}

static void begin(uint32_t push_bound)
{
  static const char *const endpoint = "nowhere";
  static hr_message reply;
  static _Alignas(8) uint8_t header[HR_WIRE_HEADER_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  hr_core_options options = {.session = {1, 2},
                             .world_size = 2,
                             .role = HR_ROLE_WORKER,
                             .shard_count = 1,
                             .endpoints = &endpoint,
                             .staging_rows_max = 100,
                             .send = on_send};
  size_t count;
  sent_count = 0;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &plain_kernels));
  counted_kernels = *plain_kernels;
  counted_kernels.probe = counted_probe;
  options.kernels = &counted_kernels;
  CHECK_OK(hr_core_create(&options, &core));
  CHECK_OK(hr_core_hello_begin(core, 0));
  static hr_hello_reply hello = {.epoch = 5, .shard_count = 1, .version = HR_WIRE_VERSION};
  hr_wire_reply(&sent[0].header, &reply);
  reply.header.epoch = 5;
  reply.header.announce_seq = 40;
  reply.body = &hello;
  reply.body_size = sizeof hello;
  hr_wire_encode(&reply, header, NULL, frames, &count);
  hr_core_receive(core, 0, frames, count, 1);
  hr_table_desc desc = {.dim = 1, .segment_count = 1, .announce_step = 1, .name = "t"};
  desc.segments[0] = (hotrow_segment){1, {HOTROW_SGD, 1, 0.9f, 0.999f, 1e-8f, 0, 0, 0}, {HOTROW_INIT_ZERO, 0}};
  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  const uint32_t id = TABLE;
  table_options.pull_bound = 1;
  table_options.push_bound = push_bound;
  table_options.cache_row_count = cache_row_count;
  CHECK_OK(hr_core_add_table(core, &desc, &id, &table_options, &table));
  CHECK(table->is_announced);
  sent_count = 0;
}

static void end(void)
{
  hr_core_destroy(core);
}

static float rows[KEYS_MAX];

static hotrow_lookup_request request_of(const uint64_t *keys, size_t count)
{
  hotrow_lookup_request r = HOTROW_LOOKUP_REQUEST_INIT;
  r.table = table;
  r.keys = keys;
  r.key_count = count;
  r.out = rows;
  return r;
}

/* Begins a lookup; returns how many keys it asks for. */
static uint32_t look_up(const uint64_t *keys, size_t count)
{
  hotrow_lookup_request r = request_of(keys, count);
  uint32_t before = sent_count;
  CHECK_OK(hr_core_lookup_begin(core, &r, 1, 1));
  CHECK_EQ(hr_core_is_waiting(core), sent_count > before);
  return sent_count > before ? sent[sent_count - 1].pulled : 0;
}

static void finish(void)
{
  bool is_settled;
  CHECK(!hr_core_is_waiting(core));
  CHECK_OK(hr_core_lookup_settle(core, 1, &is_settled));
  CHECK(is_settled);
  hr_core_lookup_finish(core);
}

/* Is the key read without asking? */
static bool is_fresh(uint64_t key)
{
  uint32_t asked = look_up(&key, 1);
  hr_core_begin_call(core); /* given up: nothing is taken in */
  return asked == 0;
}

/* Brings keys 1 .. count into the cache with this clock; nothing is unanswered then. */
static void hold(uint64_t count, uint32_t clock, float value)
{
  static const uint64_t keys[4] = {1, 2, 3, 4};
  CHECK_EQ(look_up(keys, count), count);
  CHECK_EQ(sent[sent_count - 1].held, 0);
  tell(sent_count - 1, (answer){.next = 40, .clock = clock, .value = value});
  finish();
}

/* One own step of key 1, or of nothing. Returns the index of the message that it sent. */
static uint32_t step(uint64_t key)
{
  hotrow_push_request r = HOTROW_PUSH_REQUEST_INIT;
  const float grad = -1;
  r.table = table;
  r.keys = &key;
  r.grads = &grad;
  r.key_count = key != 0;
  uint32_t before = sent_count;
  CHECK_OK(hr_core_push(core, &r, 1));
  CHECK_OK(hr_core_step(core, false, 1));
  CHECK_EQ(sent_count, before + 1);
  return before;
}

static void copies_are_used_until_they_are_told_to_be_old(void)
{
  begin(0);
  hold(1, 5, 50);
  CHECK(is_fresh(1) && sent_count == 1); /* no pull, no message */
  uint32_t tick = step(0);
  CHECK_EQ(sent[tick].header.op, HR_OP_TICK);
  CHECK_EQ(sent[tick].header.announce_seq, 40);
  tell(tick, (answer){.next = 41, .announced_key = 1, .announced_clock = 6});
  CHECK(is_fresh(1)); /* lacks 1, which is the bound */
  tick = step(0);
  CHECK_EQ(sent[tick].header.announce_seq, 41);
  tell(tick, (answer){.next = 42, .announced_key = 1, .announced_clock = 7});
  const uint64_t key = 1;
  CHECK_EQ(look_up(&key, 1), 1);
  CHECK(sent[sent_count - 1].held == 0 && sent[sent_count - 1].header.op == HR_OP_PULL);
  tell(sent_count - 1, (answer){.next = 42, .clock = 7, .value = 70});
  finish();
  CHECK(rows[0] == 70);
  CHECK(is_fresh(1));
  CHECK(table->stats.stale == 1 && table->stats.misses == 1);
  end();
}

/* A step has the keys of the lookup before it, as a rule. */
static void a_step_does_not_look_for_rows_again(void)
{
  const uint64_t rows_before = cache_row_count;
  cache_row_count = 16; /* one set: the slot of another key would do for this one */
  begin(9);
  hold(1, 5, 50);
  probed_count = 0;
  step(1);
  CHECK_EQ(probed_count, 0);
  step(2); /* another key */
  CHECK_EQ(probed_count, 1);
  CHECK(is_fresh(1));
  probed_count = 0;
  step(1);
  CHECK_EQ(probed_count, 0);
  CHECK(is_fresh(1) && rows[0] == 50);
  const uint64_t keys[2] = {1, 2};
  CHECK_EQ(look_up(keys, 2), 1);
  tell(sent_count - 1, (answer){.next = 40, .clock = 5, .value = 50});
  finish();
  CHECK(rows[0] == 52 && rows[1] == 50);
  probed_count = 0;
  step(1); /* of the two */
  CHECK_EQ(probed_count, 1);
  look_up(keys, 2);
  finish();
  CHECK(rows[0] == 53 && rows[1] == 50);
  end();
  cache_row_count = rows_before;
}

static void a_log_that_has_moved_on_makes_every_copy_stale(void)
{
  begin(3);
  hold(2, 5, 50);
  uint32_t tick = step(1); /* within the push bound: kept back, and told by a tick */
  CHECK_EQ(sent[tick].header.op, HR_OP_TICK);
  tell(tick, (answer){.next = 1000, .is_reset = true});
  const uint64_t keys[2] = {1, 2};
  CHECK_EQ(look_up(keys, 2), 2);
  CHECK_EQ(sent[sent_count - 1].header.announce_seq, 1000);
  tell(sent_count - 1, (answer){.next = 1000, .clock = 9, .value = 90});
  finish();
  CHECK(rows[0] == 91 && rows[1] == 90); /* what was kept back is still there */
  CHECK_EQ(core->stats.resets, 1);
  end();
}

/* The shard counts 7: are two of others in it, or one and the worker's own, which is on its way? */
static void own_pushes_count_once_they_are_applied(void)
{
  for (uint64_t applied = 0; applied < 2; applied++) {
    begin(0);
    hold(1, 5, 50);
    uint32_t tick = step(0), push = step(1);
    CHECK_EQ(sent[push].header.op, HR_OP_PUSH);
    tell(tick, (answer){.applied = applied, .next = 41, .announced_key = 1, .announced_clock = 7});
    CHECK_EQ(is_fresh(1), applied == 1);
    end();
  }
}

static void a_push_is_credited_once(void)
{
  begin(0);
  hold(1, 5, 50);
  uint32_t tick = step(0), push = step(1);
  tell(tick, (answer){.applied = 1, .next = 41, .announced_key = 1, .announced_clock = 6});
  tell(push, (answer){.applied = 1, .next = 42, .announced_key = 1, .announced_clock = 7});
  CHECK(is_fresh(1)); /* 5 at the pull, one of its own, one of another */
  tick = step(0);
  tell(tick, (answer){.applied = 1, .next = 43, .announced_key = 1, .announced_clock = 8});
  CHECK(!is_fresh(1));
  end();
}

/* Answers overtake each other when the network loses some; each credits what it speaks of. */
static void the_answer_of_a_push_credits_those_before_it(void)
{
  begin(0);
  hold(1, 5, 50);
  step(1);
  uint32_t second = step(1);
  tell(second, (answer){.applied = 2, .next = 41, .announced_key = 1, .announced_clock = 8});
  CHECK(is_fresh(1)); /* two of them are its own */
  end();
}

/* A row that came while a push of it was on its way: it is taken only if the push is in it. */
static void rows_that_a_push_has_overtaken_are_not_taken(void)
{
  for (int is_pushed = 0; is_pushed < 2; is_pushed++) {
    begin(0);
    const uint64_t key = 1;
    hotrow_lookup_request r = request_of(&key, 1);
    CHECK_OK(hr_core_lookahead(core, &r, 1, 1));
    CHECK(sent_count == 1 && sent[0].pulled == 1 && sent[0].header.op == HR_OP_PULL);
    CHECK(hr_core_is_fetching(core));
    uint32_t told = step(is_pushed ? 1 : 0);
    tell(0, (answer){.next = 40, .clock = 5, .value = 50});
    CHECK(!hr_core_is_fetching(core));
    tell(told, (answer){.applied = (uint64_t)is_pushed, .next = 40});
    CHECK_EQ(look_up(&key, 1), is_pushed);
    end();
  }
}

/* The same for a copy that is held: stale, updated, and its fresh row on its way. */
static void fresh_rows_of_held_copies_are_spoiled_too(void)
{
  begin(0);
  hold(1, 5, 50);
  uint32_t tick = step(0);
  tell(tick, (answer){.next = 41, .announced_key = 1, .announced_clock = 7});
  const uint64_t key = 1;
  hotrow_lookup_request r = request_of(&key, 1);
  CHECK_OK(hr_core_lookahead(core, &r, 1, 1));
  uint32_t pull = sent_count - 1;
  CHECK_EQ(sent[pull].pulled, 1);
  uint32_t push = step(1);
  tell(pull, (answer){.next = 41, .clock = 7, .value = 70}); /* without the push */
  tell(push, (answer){.applied = 1, .next = 42, .announced_key = 1, .announced_clock = 8});
  CHECK_EQ(look_up(&key, 1), 1);
  tell(sent_count - 1, (answer){.applied = 1, .next = 42, .clock = 8, .value = 71});
  finish();
  CHECK(rows[0] == 71);
  end();
}

/* The answer that brings a missing row tells that a copy, fresh when the lookup began, is too old by now. */
static void an_answer_that_makes_a_used_copy_stale_is_heeded(void)
{
  begin(0);
  hold(1, 5, 50);
  const uint64_t keys[2] = {1, 2};
  CHECK_EQ(look_up(keys, 2), 1);
  tell(sent_count - 1, (answer){.next = 41, .clock = 3, .value = 30, .announced_key = 1, .announced_clock = 9});
  bool is_settled = true;
  CHECK_OK(hr_core_lookup_settle(core, 1, &is_settled));
  CHECK(!is_settled && hr_core_is_waiting(core));
  CHECK(sent[sent_count - 1].pulled == 1 && sent[sent_count - 1].keys[0] == 1);
  CHECK_EQ(sent[sent_count - 1].header.announce_seq, 41);
  tell(sent_count - 1, (answer){.next = 41, .clock = 9, .value = 90});
  finish();
  CHECK(rows[0] == 90 && rows[1] == 30);
  CHECK(table->stats.stale == 1 && table->stats.misses == 2 && table->stats.hits == 0);
  end();
}

/* 17 rows in a cache of 16: one is in staging, where the cache knows no clocks. */
static void news_of_staged_rows_are_heeded_too(void)
{
  uint64_t keys[17];
  for (uint64_t i = 0; i < 17; i++)
    keys[i] = i + 1;
  for (int is_reset = 0; is_reset < 2; is_reset++) {
    cache_row_count = 16;
    begin(0);
    uint32_t tick = step(0);
    CHECK_EQ(look_up(keys, 17), 17);
    tell(sent_count - 1, (answer){.next = 41, .clock = 5, .value = 50});
    uint32_t staged = 0;
    while (table->slots[staged] < table->cached_slots)
      staged++;
    uint64_t key = table->lookup.dedup.keys[staged];
    for (uint32_t clock = 6; clock < 8 && !is_reset; clock++) { /* 6 is within the bound */
      bool is_settled;
      tell(tick, (answer){.next = 42, .announced_key = key, .announced_clock = clock});
      CHECK_OK(hr_core_lookup_settle(core, 1, &is_settled));
      CHECK_EQ(is_settled, clock == 6);
      tick = clock == 6 ? sent_count : tick;
      if (clock == 6) { /* something else that is answered while the lookup goes on */
        core->is_told[0] = false;
        CHECK_OK(hr_core_tell_ticks(core));
      }
    }
    if (is_reset) {
      bool is_settled;
      tell(tick, (answer){.next = 900, .is_reset = true});
      CHECK_OK(hr_core_lookup_settle(core, 1, &is_settled));
      CHECK(!is_settled);
    }
    CHECK_EQ(sent[sent_count - 1].pulled, is_reset ? 17 : 1);
    CHECK(is_reset || sent[sent_count - 1].keys[0] == key);
    end();
  }
  cache_row_count = 64;
}

static void announcements_of_unknown_tables_and_keys_are_passed_over(void)
{
  begin(0);
  hold(1, 5, 50);
  uint32_t tick = step(0);
  tell(tick, (answer){.next = 41, .announced_key = 77, .announced_clock = 1000});
  CHECK(is_fresh(1));
  end();
}

static void a_lookup_waits_for_a_shard_that_owes_more_than_four_steps(void)
{
  begin(0);
  hold(1, 5, 50);
  for (uint32_t i = 0; i < HR_LINK_TICKS_MAX; i++)
    step(i % 2);
  CHECK(!hr_core_is_behind(core));
  uint32_t last = step(0);
  CHECK(hr_core_is_behind(core));
  tell(last, (answer){.next = 41});
  CHECK(!hr_core_is_behind(core));
  end();
}

static void what_an_earlier_batch_brings_is_asked_for_once(void)
{
  begin(0);
  const uint64_t keys[3] = {1, 2, 3};
  hotrow_lookup_request r = request_of(keys, 2);
  CHECK_OK(hr_core_lookahead(core, &r, 1, 1));
  r = request_of(keys, 3);
  CHECK_OK(hr_core_lookahead(core, &r, 1, 1));
  CHECK(sent_count == 2 && sent[0].pulled == 2 && sent[1].pulled == 1 && sent[1].keys[0] == 3);
  end();
}

static void the_next_uses_of_the_window_keep_rows_in_the_cache(void)
{
  begin(0);
  const uint64_t keys[4] = {1, 2, 3, 4};
  for (uint32_t i = 0; i < 4; i++) { /* batches {1}, {2}, {3}, {4} */
    hotrow_lookup_request r = request_of(&keys[i], 1);
    CHECK_OK(hr_core_lookahead(core, &r, 1, 1));
    CHECK_EQ(sent_count, i < 2 ? i + 1 : 2); /* the first two are due at once */
  }
  tell(0, (answer){.next = 40, .clock = 1, .value = 1});
  tell(1, (answer){.next = 40, .clock = 2, .value = 2});
  CHECK_EQ(look_up(keys, 1), 0);
  finish();
  CHECK(rows[0] == 1);
  uint32_t message = step(1); /* with the step's push comes the pull of batch {3} */
  CHECK(sent[message].header.op == HR_OP_PUSH_PULL && sent[message].pushed == 1 && sent[message].keys[0] == 3);
  CHECK(!hr_core_is_fetching(core)); /* batch {2} is here */
  CHECK_EQ(look_up(keys + 1, 1), 0);
  finish();
  CHECK(hr_core_is_fetching(core));
  tell(message, (answer){.applied = 1, .next = 40, .clock = 3, .value = 3});
  CHECK(!hr_core_is_fetching(core));
  CHECK_EQ(look_up(keys + 3, 1), 1); /* not the batch that comes next: served, and the window is dropped */
  CHECK_EQ(core->stats.lookahead_dropped, 2);
  CHECK_EQ(core->stats.lookahead_hits, 2);
  CHECK_EQ(table->stats.fetched_ahead, 3);
  end();
}

/* A durable shard that was restarted: it is greeted again, has a push less than it said, and its copies are stale. */
static void a_restarted_shard_makes_copies_stale_and_gets_what_it_lacks(void)
{
  static hr_message message;
  static _Alignas(8) uint8_t header[HR_WIRE_HEADER_BYTES];
  static char text[HR_WIRE_TEXT_BYTES_MAX];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t count;
  begin(1);
  core->links[0].is_durable = true;
  hold(2, 5, 50);
  step(1);
  uint32_t push = step(1); /* two steps: over the push bound of 1 */
  CHECK_EQ(sent[push].header.op, HR_OP_PUSH);
  tell(push, (answer){.applied = 1, .next = 41});
  step(2); /* kept back by the cache */
  const uint64_t keys[3] = {1, 2, 3};
  CHECK_EQ(look_up(keys, 3), 1);
  uint32_t pull = sent_count - 1;
  hr_wire_reply_error(&sent[pull].header, HOTROW_ERR_RESET, "another epoch", text, &message);
  message.header.epoch = 6;
  hr_wire_encode(&message, header, NULL, frames, &count);
  hr_core_receive(core, 0, frames, count, 1);
  CHECK_EQ(sent[sent_count - 1].header.op, HR_OP_HELLO);
  CHECK(hr_core_is_waiting(core));
  hr_hello_reply hello = {.epoch = 6, .shard_count = 1, .version = HR_WIRE_VERSION, .is_durable = 1};
  hr_wire_reply(&sent[sent_count - 1].header, &message);
  message.header.epoch = 6;
  message.header.announce_seq = 3;
  message.body = &hello;
  message.body_size = sizeof hello;
  hr_wire_encode(&message, header, NULL, frames, &count);
  uint32_t before = sent_count;
  hr_core_receive(core, 0, frames, count, 1);
  CHECK_EQ(sent[before++].header.op, HR_OP_TICK); /* of the first step, never answered */
  CHECK(sent[before].header.op == HR_OP_PUSH && sent[before].header.push_seq == 1); /* the shard has lost it */
  uint32_t again = before;
  while (sent[again].header.op != HR_OP_PULL)
    again++;
  CHECK(sent[again].header.epoch == 6 && sent[again].header.announce_seq == 3 && sent[again].pulled == 1);
  epoch = 6;
  tell(before, (answer){.applied = 1, .next = 3});
  tell(again, (answer){.applied = 1, .next = 3, .clock = 1, .value = 30});
  bool is_settled = true;
  CHECK_OK(hr_core_lookup_settle(core, 1, &is_settled));
  CHECK(!is_settled); /* the copies that were fresh are stale */
  CHECK_EQ(sent[sent_count - 1].pulled, 2);
  tell(sent_count - 1, (answer){.applied = 1, .next = 3, .clock = 7, .value = 20});
  finish();
  CHECK(rows[0] == 20 && rows[1] == 21 && rows[2] == 30); /* what was kept back is there */
  CHECK_EQ(core->stats.resets, 1);
  end();
  epoch = 5;
}

int main(void)
{
  RUN(a_restarted_shard_makes_copies_stale_and_gets_what_it_lacks);
  RUN(copies_are_used_until_they_are_told_to_be_old);
  RUN(a_step_does_not_look_for_rows_again);
  RUN(a_log_that_has_moved_on_makes_every_copy_stale);
  RUN(own_pushes_count_once_they_are_applied);
  RUN(a_push_is_credited_once);
  RUN(the_answer_of_a_push_credits_those_before_it);
  RUN(rows_that_a_push_has_overtaken_are_not_taken);
  RUN(fresh_rows_of_held_copies_are_spoiled_too);
  RUN(an_answer_that_makes_a_used_copy_stale_is_heeded);
  RUN(news_of_staged_rows_are_heeded_too);
  RUN(announcements_of_unknown_tables_and_keys_are_passed_over);
  RUN(a_lookup_waits_for_a_shard_that_owes_more_than_four_steps);
  RUN(what_an_earlier_batch_brings_is_asked_for_once);
  RUN(the_next_uses_of_the_window_keep_rows_in_the_cache);
  return 0;
}
