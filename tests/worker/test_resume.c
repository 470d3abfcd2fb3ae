/* A durable shard that is restarted, played by hand: what the link forgets, keeps and sends again. */
#include <link.h>

#include "hr_test.h"

#define SENT_MAX 600

typedef struct sent_message {
  uint64_t request_id, push_seq, epoch, announce_seq;
  uint32_t pushes, pulls, held, step;
  uint16_t flags;
  uint8_t op;
} sent_message;

static sent_message sent[SENT_MAX];
static size_t sent_count;
static hr_link link_in_test;
static hr_request_pool pool;
static const hr_session_id session = {11, 22};

static void on_send(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count, atomic_uint *users)
{
  (void)users;
  (void)context;
  (void)shard;
  static hr_message message;
  CHECK_OK(hr_wire_decode(frames, frame_count, &message)); /* also what was re-encoded is sound */
  CHECK(sent_count < SENT_MAX);
  const hr_header *h = &message.header;
  sent_message *s = &sent[sent_count++];
  *s = (sent_message){.request_id = h->request_id,
                      .push_seq = h->push_seq,
                      .epoch = h->epoch,
                      .announce_seq = h->announce_seq,
                      .step = h->step,
                      .flags = h->flags,
                      .op = h->op};
  for (uint32_t i = 0; i < message.section_count; i++) {
    s->pushes += message.sections[i].kind == HR_SECTION_PUSH;
    s->pulls += message.sections[i].kind == HR_SECTION_PULL;
    s->held += message.sections[i].held_count;
  }
}

static void begin(size_t kept_bytes_max)
{
  hr_link_init(&link_in_test, &(hr_link_options){.shard = 3,
                                                 .endpoint = "tcp://here:1",
                                                 .session = session,
                                                 .rank = 5,
                                                 .kept_bytes_max = kept_bytes_max,
                                                 .pool = &pool,
                                                 .send = on_send});
  hr_link_greeted(&link_in_test, &(hr_hello_reply){.epoch = 77, .is_durable = 1}, 9);
  link_in_test.wants_announcements = true;
  sent_count = 0;
}

static void end(void)
{
  hr_link_fini(&link_in_test);
  CHECK_EQ(link_in_test.kept_bytes, 0);
}

static void *take(hr_request *request, size_t size)
{
  void *memory = NULL;
  CHECK_OK(hr_request_take(request, size, &memory));
  memset(memory, 0, size);
  return memory;
}

static hr_request *submit(hr_op op)
{
  hr_request *request;
  hr_section *section;
  CHECK_OK(hr_request_acquire(&pool, &request));
  request->message.header.op = (uint8_t)op;
  request->message.header.step = 6;
  if (op == HR_OP_PUSH || op == HR_OP_PUSH_PULL) {
    CHECK_OK(hr_request_add_section(request, HR_SECTION_PUSH, &section));
    section->keys = take(request, sizeof(uint64_t));
    section->grads = take(request, sizeof(float));
    section->lr_scale = 1;
    section->key_count = section->dim = 1;
    request->pushes[request->push_count++] = (hr_push_note){0, NULL};
  }
  if (op == HR_OP_PULL || op == HR_OP_PUSH_PULL) { /* one held key, one that is not */
    CHECK_OK(hr_request_add_section(request, HR_SECTION_PULL, &section));
    section->keys = take(request, 2 * sizeof(uint64_t));
    ((uint64_t *)(void *)section->keys)[1] = 1;
    section->seen = take(request, 2 * sizeof(uint64_t));
    section->key_count = 2;
    section->held_count = section->dim = 1;
    if (op == HR_OP_PULL) { /* with wide clocks */
      section->flags = HR_SECTION_WIDE;
      ((uint64_t *)(void *)section->seen)[1] = UINT64_MAX;
    }
    request->pulls[request->pull_count++] =
        (hr_pull_note){.section_index = request->message.section_count - 1u, .hashes = NULL};
  }
  hr_link_submit(&link_in_test, request, 0);
  return request;
}

typedef struct answer {
  hr_op op;
  uint64_t request_id, applied, durable, epoch;
  int32_t status;
} answer;

static hr_request *receive_body(answer a, const hr_hello_reply *hello)
{
  static hr_message message, reply;
  static uint8_t header[HR_WIRE_HEADER_BYTES];
  static hr_frame frames[HR_WIRE_FRAMES_MAX];
  static const uint64_t text[1] = {0x6161616161616161u};
  size_t count;
  hr_request *request;
  memset(&message.header, 0, sizeof message.header);
  message.header.op = (uint8_t)a.op;
  message.header.flags = (uint16_t)(HR_FLAG_REPLY | (a.status ? HR_FLAG_ERROR : 0u));
  message.header.request_id = a.request_id;
  message.header.session = session;
  message.header.epoch = a.epoch ? a.epoch : 77;
  message.header.applied_seq = a.applied;
  message.header.durable_seq = a.durable;
  message.header.announce_seq = hello ? 700 : 0;
  message.header.status = a.status;
  message.body = hello ? (const void *)hello : a.status ? text : NULL;
  message.body_size = hello ? sizeof *hello : a.status ? sizeof text : 0;
  message.section_count = 0;
  hr_wire_encode(&message, header, NULL, frames, &count);
  hr_link_receive(&link_in_test, frames, count, 1, &reply, &request);
  return request;
}

static void answer_push(uint64_t id, uint64_t durable)
{
  hr_request *request =
      receive_body((answer){.op = HR_OP_PUSH, .request_id = id, .applied = id, .durable = durable}, NULL);
  CHECK(request);
  hr_link_finish(&link_in_test, request);
}

/* The shard is back with another epoch. Greets it; the answer says how many pushes it has. */
static void restart(uint64_t request_id, hr_op op, uint64_t received, uint32_t is_durable)
{
  CHECK(!receive_body((answer){.op = op, .request_id = request_id, .epoch = 78, .status = HOTROW_ERR_RESET}, NULL));
  CHECK(link_in_test.is_lost && link_in_test.broken == HOTROW_OK);
  hr_request *hello;
  CHECK_OK(hr_request_acquire(&pool, &hello));
  hr_hello body = {
      .version_min = 2, .version_max = 2, .shard_count = 4, .shard_index = 3, .role = HR_ROLE_WORKER, .world_size = 6};
  hello->message.header.op = HR_OP_HELLO;
  void *copy = take(hello, sizeof body);
  memcpy(copy, &body, sizeof body);
  hello->message.body = copy;
  hello->message.body_size = sizeof body;
  hr_link_greet(&link_in_test, hello, 1);
  uint64_t id = sent[sent_count - 1].request_id;
  CHECK(sent[sent_count - 1].op == HR_OP_HELLO && sent[sent_count - 1].epoch == 0);
  size_t before = sent_count;
  hr_link_tick(&link_in_test, 1 + HR_LINK_HELLO_RETRY_NS); /* only the greeting is sent until it is answered */
  CHECK(sent_count == before + 1 && sent[before].op == HR_OP_HELLO);
  CHECK(!receive_body((answer){.op = HR_OP_PUSH, .request_id = 1, .applied = 50}, NULL)); /* of the time before */
  sent_count = 0;
  hr_hello_reply reply = {.epoch = 78,
                          .received_seq = received,
                          .shard_index = 3,
                          .shard_count = 4,
                          .version = 2,
                          .is_durable = is_durable};
  CHECK(!receive_body((answer){.op = HR_OP_HELLO, .request_id = id, .epoch = 78}, &reply));
}

static void pushes_are_kept_until_they_are_durable(void)
{
  begin(0);
  for (int i = 0; i < 5; i++)
    submit(HR_OP_PUSH);
  size_t each = link_in_test.kept_bytes / 5;
  CHECK(each > HR_WIRE_HEADER_BYTES);
  answer_push(2, 0);
  answer_push(1, 0);
  answer_push(3, 0);
  CHECK_EQ(link_in_test.kept_bytes, 5 * each);
  CHECK_EQ(link_in_test.kept.oldest->message.header.push_seq, 1); /* in order, whatever the order of the answers */
  CHECK_EQ(link_in_test.kept.newest->message.header.push_seq, 3);
  answer_push(4, 2);
  CHECK_EQ(link_in_test.kept_bytes, 3 * each);
  answer_push(5, 5);
  CHECK(link_in_test.kept_bytes == 0 && !link_in_test.kept.oldest && !link_in_test.kept.newest);
  end();
}

static void too_many_kept_bytes_close_the_window_until_the_next_cut(void)
{
  begin(1000);
  uint64_t pushes = 0;
  while (hr_link_can_push(&link_in_test)) {
    submit(HR_OP_PUSH);
    pushes++;
  }
  CHECK(pushes > 2 && pushes < HR_LINK_WINDOW);
  for (uint64_t id = 1; id <= pushes; id++)
    answer_push(id, 0);
  CHECK(!hr_link_can_push(&link_in_test));
  /* Nothing is unanswered: it asks until something has become durable. */
  sent_count = 0;
  CHECK(hr_link_due_ns(&link_in_test) == link_in_test.sent_ns + HR_LINK_CUT_POLL_NS);
  hr_link_tick(&link_in_test, hr_link_due_ns(&link_in_test));
  CHECK(sent_count == 1 && sent[0].op == HR_OP_TICK && sent[0].push_seq == pushes);
  CHECK_EQ(sent[0].flags, HR_FLAG_DURABLE);
  hr_request *tick = receive_body(
      (answer){.op = HR_OP_TICK, .request_id = sent[0].request_id, .applied = pushes, .durable = pushes - 1}, NULL);
  CHECK(tick);
  hr_link_finish(&link_in_test, tick);
  CHECK(hr_link_can_push(&link_in_test));
  CHECK(hr_link_due_ns(&link_in_test) == UINT64_MAX);
  end();
}

/* Whoever waits for something else asks for what it keeps, without hurrying the shard: a shard that was restarted says
 * so then. */
static void a_tended_link_asks_for_what_is_kept(void)
{
  begin(0);
  submit(HR_OP_PUSH);
  answer_push(1, 0);
  CHECK_EQ(hr_link_due_ns(&link_in_test), UINT64_MAX);
  link_in_test.is_tended = true;
  sent_count = 0;
  uint64_t due_ns = hr_link_due_ns(&link_in_test);
  CHECK_EQ(due_ns, link_in_test.sent_ns + HR_LINK_CUT_POLL_NS);
  hr_link_tick(&link_in_test, due_ns);
  CHECK(sent_count == 1 && sent[0].op == HR_OP_TICK && sent[0].push_seq == 1 && sent[0].flags == 0);
  hr_request *tick =
      receive_body((answer){.op = HR_OP_TICK, .request_id = sent[0].request_id, .applied = 1, .durable = 1}, NULL);
  CHECK(tick);
  hr_link_finish(&link_in_test, tick);
  CHECK_EQ(hr_link_due_ns(&link_in_test), UINT64_MAX); /* nothing is kept any more */
  end();
}

/* In an exact job two ranks may wait for two shards that have each lost the other's push: both ask the other shard. */
static void a_rank_of_an_exact_job_asks_for_what_is_kept(void)
{
  begin(0);
  link_in_test.is_exact = true;
  submit(HR_OP_PUSH);
  answer_push(1, 0);
  sent_count = 0;
  uint64_t due_ns = hr_link_due_ns(&link_in_test);
  CHECK_EQ(due_ns, link_in_test.sent_ns + HR_LINK_RETRY_MIN_NS);
  hr_link_tick(&link_in_test, due_ns - 1);
  CHECK_EQ(sent_count, 0);
  hr_link_tick(&link_in_test, due_ns);
  CHECK(sent_count == 1 && sent[0].op == HR_OP_TICK && sent[0].push_seq == 1 && sent[0].flags == 0);
  end();
}

static void what_the_shard_has_not_is_sent_again_in_order(void)
{
  begin(0);
  submit(HR_OP_PUSH);      /* 1: durable */
  submit(HR_OP_PUSH);      /* 2: answered; the shard has it */
  submit(HR_OP_PUSH);      /* 3: answered; the shard lost it */
  submit(HR_OP_PULL);      /* 4: names push 3 */
  submit(HR_OP_PUSH_PULL); /* 5: push 4, its answer lost */
  submit(HR_OP_TICK);      /* 6 */
  answer_push(3, 1);
  answer_push(2, 1);
  answer_push(1, 1);
  restart(4, HR_OP_PULL, 2, 1);
  CHECK(link_in_test.has_resumed && link_in_test.epoch == 78 && link_in_test.durable_seq == 2);
  const struct {
    hr_op op;
    uint64_t push_seq;
    uint32_t pushes, pulls;
  } expected[] = {{HR_OP_PUSH, 3, 1, 0}, {HR_OP_PULL, 3, 0, 1}, {HR_OP_PUSH_PULL, 4, 1, 1}, {HR_OP_TICK, 4, 0, 0}};
  CHECK_EQ(sent_count, 4);
  for (size_t i = 0; i < 4; i++) {
    CHECK(sent[i].op == expected[i].op && sent[i].push_seq == expected[i].push_seq);
    CHECK(sent[i].pushes == expected[i].pushes && sent[i].pulls == expected[i].pulls);
    CHECK(sent[i].epoch == 78 && sent[i].held == 0 && sent[i].announce_seq == 700);
  }
  CHECK_EQ(link_in_test.pushes_open, 2);
  CHECK_EQ(link_in_test.ticks_open, 1);
  /* An answer of the time before says nothing any more. */
  CHECK(!receive_body((answer){.op = HR_OP_TICK, .request_id = 6, .applied = 4}, NULL));
  CHECK(!link_in_test.is_lost && link_in_test.applied_seq == 2);
  /* The push that was answered before is answered again, and kept again. */
  hr_request *again =
      receive_body((answer){.op = HR_OP_PUSH, .request_id = 3, .applied = 3, .durable = 2, .epoch = 78}, NULL);
  CHECK(again && again->is_answered && again->is_credited);
  hr_link_finish(&link_in_test, again);
  CHECK_EQ(link_in_test.kept.oldest->message.header.push_seq, 3);
  end();
}

/* The shard has the push of a message whose answer was lost: only its pull is asked again. */
static void a_push_that_the_shard_has_leaves_its_pull(void)
{
  begin(0);
  submit(HR_OP_PUSH);
  submit(HR_OP_PUSH_PULL);
  restart(2, HR_OP_PUSH_PULL, 2, 1);
  CHECK_EQ(sent_count, 1);
  CHECK(sent[0].op == HR_OP_PULL && sent[0].push_seq == 2 && sent[0].pushes == 0 && sent[0].pulls == 1);
  CHECK_EQ(sent[0].step, 7); /* a push names the step that it ends, a pull the one that it is for */
  CHECK(link_in_test.pushes_open == 0 && link_in_test.kept_bytes == 0);
  end();
}

static void a_long_replay_goes_by_windows(void)
{
  begin(0);
  for (uint64_t id = 1; id <= 200; id++) {
    submit(HR_OP_PUSH);
    answer_push(id, 0);
  }
  hr_request *pull = submit(HR_OP_PULL);
  restart(201, HR_OP_PULL, 0, 1);
  CHECK_EQ(sent_count, HR_LINK_WINDOW);
  CHECK(!hr_link_can_push(&link_in_test));
  for (uint64_t id = 1; id <= 200; id++) {
    CHECK_EQ(sent[id - 1].push_seq, id);
    hr_request *request = receive_body((answer){.op = HR_OP_PUSH, .request_id = id, .applied = id, .epoch = 78}, NULL);
    CHECK(request);
    hr_link_finish(&link_in_test, request);
  }
  CHECK(sent_count == 201 && sent[200].op == HR_OP_PULL);
  CHECK(receive_body((answer){.op = HR_OP_PULL, .request_id = 201, .status = HOTROW_ERR_INVALID, .epoch = 78}, NULL) ==
        pull);
  hr_link_finish(&link_in_test, pull);
  end();
}

static void a_shard_that_cannot_go_on_ends_the_stream(void)
{
  static const struct {
    uint64_t received;
    uint32_t is_durable;
    hotrow_status status;
    const char *words;
  } cases[] = {{1, 1, HOTROW_ERR_RESET, "up to 1, and 2 were durable"},
               {3, 0, HOTROW_ERR_RESET, "lost its rows"},
               {4, 1, HOTROW_ERR_PROTOCOL, "claims to have push 4"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    begin(0);
    for (uint64_t id = 1; id <= 3; id++)
      submit(HR_OP_PUSH);
    answer_push(1, 0);
    answer_push(2, 2);
    restart(3, HR_OP_PUSH, cases[i].received, cases[i].is_durable);
    CHECK_FAILS(hr_link_status(&link_in_test), cases[i].status, cases[i].words);
    CHECK_EQ(sent_count, 0);
    end();
  }
}

static void gaps_are_answered_after_ticks_too(void)
{
  begin(0);
  submit(HR_OP_PUSH);
  hr_request *tick = submit(HR_OP_TICK);
  link_in_test.gap_ns = 0;
  static hr_message gap, reply;
  static char text[HR_WIRE_TEXT_BYTES_MAX];
  static uint8_t header[HR_WIRE_HEADER_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t count;
  hr_request *request;
  hr_wire_reply_error(&tick->message.header, HR_STATUS_GAP, "gap", text, &gap);
  gap.header.epoch = 77;
  hr_wire_encode(&gap, header, NULL, frames, &count);
  hr_link_receive(&link_in_test, frames, count, HR_LINK_GAP_PAUSE_NS, &reply, &request);
  CHECK(!request && sent_count == 4);
  CHECK(sent[2].op == HR_OP_PUSH && sent[3].op == HR_OP_TICK);
  end();
}

/* A repeat that is too late to answer anything is not taken in, and so what it announces is asked for again. */
static void late_repeats_move_no_announcement(void)
{
  begin(0);
  hr_request *tick = submit(HR_OP_TICK);
  static hr_message message, reply;
  static uint8_t header[HR_WIRE_HEADER_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t count;
  for (uint64_t next = 12; next < 16; next += 3) {
    hr_request *request;
    hr_wire_reply(&(hr_header){.magic = HR_WIRE_MAGIC, .op = HR_OP_TICK, .request_id = 1, .session = session},
                  &message);
    message.header.epoch = 77;
    message.header.announce_seq = next;
    hr_wire_encode(&message, header, NULL, frames, &count);
    hr_link_receive(&link_in_test, frames, count, 1, &reply, &request);
    CHECK(request == (next == 12 ? tick : NULL));
  }
  hr_link_finish(&link_in_test, tick);
  submit(HR_OP_TICK);
  CHECK_EQ(sent[sent_count - 1].announce_seq, 12);
  end();
}

int main(void)
{
  RUN(pushes_are_kept_until_they_are_durable);
  RUN(too_many_kept_bytes_close_the_window_until_the_next_cut);
  RUN(a_tended_link_asks_for_what_is_kept);
  RUN(a_rank_of_an_exact_job_asks_for_what_is_kept);
  RUN(what_the_shard_has_not_is_sent_again_in_order);
  RUN(a_push_that_the_shard_has_leaves_its_pull);
  RUN(a_long_replay_goes_by_windows);
  RUN(a_shard_that_cannot_go_on_ends_the_stream);
  RUN(gaps_are_answered_after_ticks_too);
  RUN(late_repeats_move_no_announcement);
  hr_request_pool_fini(&pool);
  return 0;
}
