/* The ordered stream of one worker to one shard, driven by hand: what is sent, what an answer does, what is sent again.
 */
#include <link.h>

#include "hr_test.h"

#define SENT_MAX 256

typedef struct sent_message {
  uint64_t request_id, push_seq;
  uint8_t op;
} sent_message;

static sent_message sent[SENT_MAX];
static size_t sent_count;

static void on_send(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count)
{
  (void)context;
  hr_message message;
  CHECK_OK(hr_wire_decode(frames, frame_count, &message)); /* what a link sends is sound */
  CHECK_EQ(shard, 3);
  CHECK(sent_count < SENT_MAX);
  sent[sent_count++] = (sent_message){message.header.request_id, message.header.push_seq, message.header.op};
}

static hr_link link_in_test;
static hr_request_pool pool;
static const hr_session_id session = {11, 22};

static void begin(void)
{
  hr_link_init(
      &link_in_test,
      &(hr_link_options){
          .shard = 3, .endpoint = "tcp://here:1", .session = session, .rank = 5, .pool = &pool, .send = on_send});
  link_in_test.epoch = 77;
  sent_count = 0;
}

static void end(void)
{
  hr_link_fini(&link_in_test);
}

static hr_request *submit(hr_op op, uint64_t now_ns)
{
  hr_request *request;
  CHECK_OK(hr_request_acquire(&pool, &request));
  request->message.header.op = (uint8_t)op;
  if (op == HR_OP_PULL) {
    hr_section *section;
    void *keys;
    CHECK_OK(hr_request_add_section(request, HR_SECTION_PULL, &section));
    CHECK_OK(hr_request_take(request, sizeof(uint64_t), &keys));
    *(uint64_t *)keys = 9;
    section->keys = keys;
    section->key_count = 1;
    section->dim = 4;
  }
  hr_link_submit(&link_in_test, request, now_ns);
  return request;
}

typedef struct answer {
  hr_op op;
  uint64_t request_id, applied_seq, epoch;
  int32_t status;
  const char *text;
  hr_session_id session;
  uint32_t retry_ms;
} answer;

/* Encodes an answer of the shard and feeds it to the link; returns the request that it answered. */
static hr_request *receive(answer a, uint64_t now_ns)
{
  static hr_message message;
  static uint8_t header[HR_WIRE_HEADER_BYTES], sections[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  static hr_frame frames[HR_WIRE_FRAMES_MAX];
  static hr_message reply;
  size_t count;
  memset(&message.header, 0, sizeof message.header);
  message.header.op = (uint8_t)a.op;
  message.header.flags = HR_FLAG_REPLY | (a.text ? HR_FLAG_ERROR : 0);
  message.header.request_id = a.request_id;
  message.header.session = a.session.high ? a.session : session;
  message.header.epoch = a.epoch ? a.epoch : 77;
  message.header.applied_seq = a.applied_seq;
  message.header.status = a.status;
  message.header.retry_ms = a.retry_ms;
  static uint64_t text[64]; /* frames are aligned to 8 bytes */
  if (a.text)
    memcpy(text, a.text, strlen(a.text));
  message.body = a.text ? text : NULL;
  message.body_size = a.text ? strlen(a.text) : 0;
  message.section_count = 0;
  hr_wire_encode(&message, header, sections, frames, &count);
  hr_request *request;
  hr_link_receive(&link_in_test, frames, count, now_ns, &reply, &request);
  return request;
}

static void pushes_are_numbered_and_pulls_name_the_last_push(void)
{
  begin();
  submit(HR_OP_PULL, 1);
  submit(HR_OP_PUSH, 1);
  submit(HR_OP_PUSH, 1);
  submit(HR_OP_PULL, 1);
  CHECK_EQ(sent_count, 4);
  uint64_t expected[] = {0, 1, 2, 2};
  for (size_t i = 0; i < 4; i++) {
    CHECK_EQ(sent[i].push_seq, expected[i]);
    CHECK_EQ(sent[i].request_id, i + 1);
  }
  CHECK_EQ(link_in_test.pushes_open, 2);
  end();
}

static void an_answer_takes_its_request_out_once(void)
{
  begin();
  hr_request *first = submit(HR_OP_PUSH, 1), *second = submit(HR_OP_PUSH, 1);
  CHECK(receive((answer){.op = HR_OP_PUSH, .request_id = 2, .applied_seq = 2}, 2) == second);
  hr_link_finish(&link_in_test, second);
  CHECK(receive((answer){.op = HR_OP_PUSH, .request_id = 2, .applied_seq = 2}, 2) == NULL); /* a repeat */
  CHECK(receive((answer){.op = HR_OP_PUSH, .request_id = 1, .applied_seq = 2}, 2) == first);
  hr_link_finish(&link_in_test, first);
  CHECK_EQ(link_in_test.pushes_open, 0);
  CHECK(link_in_test.open.oldest == NULL && link_in_test.open.newest == NULL);
  CHECK(hr_link_due_ns(&link_in_test) == UINT64_MAX);
  CHECK_OK(hr_link_status(&link_in_test));
  end();
}

static void what_is_unanswered_is_sent_again_in_order(void)
{
  begin();
  uint64_t due = HR_LINK_RETRY_MIN_NS;
  submit(HR_OP_PUSH, 0);
  submit(HR_OP_PULL, 0);
  hr_link_tick(&link_in_test, due - 1);
  CHECK_EQ(sent_count, 2);
  hr_link_tick(&link_in_test, due);
  CHECK_EQ(sent_count, 4);
  CHECK(sent[2].op == HR_OP_PUSH && sent[3].op == HR_OP_PULL);
  CHECK_EQ(sent[2].request_id, 1);
  /* The pause doubles up to its limit. */
  CHECK(hr_link_due_ns(&link_in_test) == due + 2ull * HR_LINK_RETRY_MIN_NS);
  for (int i = 0; i < 8; i++)
    hr_link_tick(&link_in_test, hr_link_due_ns(&link_in_test));
  CHECK(hr_link_due_ns(&link_in_test) - link_in_test.sent_ns == HR_LINK_RETRY_MAX_NS);
  end();
}

static void a_gap_makes_it_send_again_but_not_in_a_storm(void)
{
  begin();
  submit(HR_OP_PUSH, 0);
  submit(HR_OP_PULL, 0);
  answer gap = {.op = HR_OP_PULL, .request_id = 2, .status = HR_STATUS_GAP, .text = "gap"};
  CHECK(receive(gap, HR_LINK_GAP_PAUSE_NS) == NULL);
  CHECK_EQ(sent_count, 4);
  CHECK(receive(gap, HR_LINK_GAP_PAUSE_NS + 1) == NULL);
  CHECK_EQ(sent_count, 4);
  CHECK(receive(gap, 2 * HR_LINK_GAP_PAUSE_NS) == NULL);
  CHECK_EQ(sent_count, 6);
  CHECK_OK(hr_link_status(&link_in_test));
  end();
}

static void the_window_closes_at_64_open_pushes(void)
{
  begin();
  for (uint32_t i = 0; i < HR_LINK_WINDOW; i++) {
    CHECK_EQ(hr_link_can_push(&link_in_test), i + HR_LINK_WINDOW_RESERVE <= HR_LINK_WINDOW);
    submit(HR_OP_PUSH, 0);
  }
  /* What is submitted all the same waits for its turn, and what names it behind it. */
  submit(HR_OP_PUSH, 0);
  submit(HR_OP_PULL, 0);
  CHECK_EQ(sent_count, HR_LINK_WINDOW);
  hr_link_tick(&link_in_test, HR_LINK_RETRY_MIN_NS);
  CHECK_EQ(sent_count, 2 * HR_LINK_WINDOW);
  hr_request *answered = receive((answer){.op = HR_OP_PUSH, .request_id = 1, .applied_seq = 1}, 1);
  CHECK(answered);
  hr_link_finish(&link_in_test, answered);
  CHECK_EQ(sent_count, 2 * HR_LINK_WINDOW + 2);
  CHECK(sent[sent_count - 2].push_seq == 65 && sent[sent_count - 2].op == HR_OP_PUSH);
  CHECK(sent[sent_count - 1].push_seq == 65 && sent[sent_count - 1].op == HR_OP_PULL);
  for (uint64_t id = 2; id <= 1 + HR_LINK_WINDOW_RESERVE; id++) {
    CHECK(!hr_link_can_push(&link_in_test));
    hr_link_finish(&link_in_test, receive((answer){.op = HR_OP_PUSH, .request_id = id, .applied_seq = id}, 1));
  }
  CHECK(hr_link_can_push(&link_in_test));
  end();
}

static void a_refusal_that_concerns_one_request_leaves_the_stream(void)
{
  begin();
  hr_request *request = submit(HR_OP_PUSH, 0);
  CHECK(receive((answer){.op = HR_OP_PUSH, .request_id = 1, .status = HOTROW_ERR_INVALID, .text = "not finite"}, 1) ==
        request);
  hr_link_finish(&link_in_test, request);
  CHECK_OK(hr_link_status(&link_in_test));
  end();
}

static void each_ending_of_the_stream_is_kept_with_its_sentence(void)
{
  const struct {
    int32_t status;
    uint64_t epoch;
    hotrow_status expected;
    const char *words;
  } cases[] = {{HOTROW_ERR_FENCED, 77, HOTROW_ERR_FENCED, "shard 3 at tcp://here:1: gone"},
               {HOTROW_ERR_RESET, 77, HOTROW_ERR_RESET, "gone"},
               {HOTROW_ERR_PROTOCOL, 77, HOTROW_ERR_PROTOCOL, "gone"},
               {HOTROW_ERR_VERSION, 77, HOTROW_ERR_VERSION, "gone"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    begin();
    submit(HR_OP_PUSH, 0);
    CHECK(receive((answer){.op = HR_OP_PUSH, .request_id = 1, .status = cases[i].status, .text = "gone"}, 1) == NULL);
    CHECK_FAILS(hr_link_status(&link_in_test), cases[i].expected, cases[i].words);
    CHECK(hr_link_due_ns(&link_in_test) == UINT64_MAX); /* a broken link sends nothing again */
    end();
  }
}

static void an_answer_of_another_epoch_is_a_reset(void)
{
  begin();
  submit(HR_OP_PUSH, 0);
  CHECK(receive((answer){.op = HR_OP_PUSH, .request_id = 1, .epoch = 78}, 1) == NULL);
  CHECK_FAILS(hr_link_status(&link_in_test), HOTROW_ERR_RESET, "epoch");
  end();
}

static void an_answer_with_the_wrong_op_or_bad_bytes_breaks_the_stream(void)
{
  begin();
  submit(HR_OP_PUSH, 0);
  CHECK(receive((answer){.op = HR_OP_BYE, .request_id = 1}, 1) == NULL);
  CHECK_FAILS(hr_link_status(&link_in_test), HOTROW_ERR_PROTOCOL, "op");
  end();
  begin();
  hr_frame frame = {"12345678", 8};
  hr_message reply;
  hr_request *request;
  hr_link_receive(&link_in_test, &frame, 1, 1, &reply, &request);
  CHECK(request == NULL);
  CHECK_FAILS(hr_link_status(&link_in_test), HOTROW_ERR_PROTOCOL, "bad message");
  end();
}

static void an_answer_for_another_session_is_ignored(void)
{
  begin();
  submit(HR_OP_PUSH, 0);
  CHECK(receive((answer){.op = HR_OP_PUSH, .request_id = 1, .session = {1, 1}}, 1) == NULL);
  CHECK_OK(hr_link_status(&link_in_test));
  CHECK_EQ(link_in_test.pushes_open, 1);
  end();
}

static void what_is_given_up_is_not_sent_again(void)
{
  begin();
  submit(HR_OP_PULL, 0);
  hr_request *push = submit(HR_OP_PUSH, 0);
  submit(HR_OP_PULL, 0)->is_ahead = true;
  submit(HR_OP_PULL, 0);
  submit(HR_OP_TICK, 0);
  hr_link_abandon(&link_in_test);
  hr_link_tick(&link_in_test, HR_LINK_RETRY_MIN_NS);
  CHECK_EQ(sent_count, 8);
  CHECK(sent[5].request_id == 2 && sent[6].request_id == 3 && sent[7].request_id == 5);
  CHECK(receive((answer){.op = HR_OP_PULL, .request_id = 1}, 1) == NULL); /* late, and nobody waits */
  CHECK(receive((answer){.op = HR_OP_PUSH, .request_id = 2, .applied_seq = 1}, 1) == push);
  hr_link_finish(&link_in_test, push);
  CHECK_OK(hr_link_status(&link_in_test));
  end();
}

static hr_request *say_busy(hr_op op, uint64_t request_id, uint64_t now_ns)
{
  return receive(
      (answer){.op = op, .request_id = request_id, .status = HOTROW_ERR_BUSY, .text = "later", .retry_ms = 5}, now_ns);
}

/* What a busy shard would not do is asked for again, that alone, after pauses that grow until it answers. */
static void a_busy_shard_is_asked_again(void)
{
  const uint64_t ms = 1000000;
  begin();
  submit(HR_OP_PULL, 0);
  submit(HR_OP_PUSH, 0);
  submit(HR_OP_PULL, 0);
  CHECK(!say_busy(HR_OP_PULL, 1, ms));
  CHECK_EQ(hr_link_due_ns(&link_in_test), 6 * ms);
  hr_link_tick(&link_in_test, 6 * ms - 1);
  CHECK_EQ(sent_count, 3);
  uint64_t now = 6 * ms;
  for (uint64_t pause = 10;; pause = pause * 2 < 1000 ? pause * 2 : 1000) {
    size_t before = sent_count;
    hr_link_tick(&link_in_test, now);
    CHECK(sent_count == before + 1 && sent[before].request_id == 1);
    CHECK(!say_busy(HR_OP_PULL, 1, now));
    CHECK(!say_busy(HR_OP_PULL, 1, now)); /* said twice is waited for once */
    uint64_t due = hr_link_due_ns(&link_in_test);
    CHECK_EQ(due, now + pause * ms);
    now = due;
    if (pause == 1000)
      break;
  }
  hr_request *answered = receive((answer){.op = HR_OP_PUSH, .request_id = 2, .applied_seq = 1}, now);
  CHECK(answered);
  hr_link_finish(&link_in_test, answered);
  CHECK(!say_busy(HR_OP_PULL, 99, now)); /* nobody waits for that one */
  hr_link_tick(&link_in_test, now);
  CHECK_EQ(sent[sent_count - 1].request_id, 1);
  CHECK(!say_busy(HR_OP_PULL, 3, now));
  CHECK_EQ(hr_link_due_ns(&link_in_test), now + 5 * ms); /* it had answered: the pauses begin anew */
  answered = receive((answer){.op = HR_OP_PULL, .request_id = 1, .status = HOTROW_ERR_LIMIT, .text = "no"}, now);
  CHECK(answered);
  hr_link_finish(&link_in_test, answered);
  end();
}

static void answer_push(uint64_t request_id, uint64_t now_ns)
{
  hr_request *answered =
      receive((answer){.op = HR_OP_PUSH, .request_id = request_id, .applied_seq = request_id}, now_ns);
  CHECK(answered);
  hr_link_finish(&link_in_test, answered);
}

static void say_gap_to(uint64_t request_id, uint64_t now_ns)
{
  CHECK(!receive((answer){.op = HR_OP_PUSH, .request_id = request_id, .status = HR_STATUS_GAP, .text = "gap"}, now_ns));
}

/* What came too early because a push before it was refused is not sent again with every GAP, and not all at once: one
 * push is tried, and each that is answered lets one more come than before. */
static void a_busy_shard_is_not_flooded(void)
{
  const uint64_t ms = 1000000;
  begin();
  for (int i = 0; i < 6; i++)
    submit(HR_OP_PUSH, 0);
  CHECK(!say_busy(HR_OP_PUSH, 1, ms));
  for (uint64_t id = 2; id <= 6; id++)
    say_gap_to(id, ms + id * 10 * ms); /* far apart, so that each might have been answered */
  CHECK_EQ(sent_count, 6);
  submit(HR_OP_PUSH, 70 * ms); /* a new one waits behind those that are open */
  CHECK_EQ(sent_count, 6);
  hr_link_tick(&link_in_test, 100 * ms);
  CHECK(sent_count == 7 && sent[6].request_id == 1);
  say_gap_to(6, 101 * ms); /* of the first time */
  CHECK_EQ(sent_count, 7);
  answer_push(1, 110 * ms);
  CHECK(sent_count == 9 && sent[7].request_id == 2 && sent[8].request_id == 3);
  answer_push(2, 120 * ms);
  CHECK(sent_count == 11 && sent[9].request_id == 4 && sent[10].request_id == 5);
  answer_push(3, 130 * ms); /* the last that was refused, and then those that never were */
  CHECK(sent_count == 13 && sent[11].request_id == 6 && sent[12].request_id == 7);
  submit(HR_OP_PUSH, 140 * ms);
  CHECK_EQ(sent_count, 14);
  for (uint64_t id = 4; id <= 8; id++)
    answer_push(id, 150 * ms);
  CHECK_EQ(hr_link_due_ns(&link_in_test), UINT64_MAX);
  end();
}

static void a_barrier_that_is_not_open_is_its_callers_business(void)
{
  begin();
  hr_request *request;
  hr_barrier body = {.number = 1, .world_size = 8};
  void *copy;
  CHECK_OK(hr_request_acquire(&pool, &request));
  CHECK_OK(hr_request_take(request, sizeof body, &copy));
  memcpy(copy, &body, sizeof body);
  request->message.header.op = HR_OP_BARRIER;
  request->message.body = copy;
  request->message.body_size = sizeof body;
  hr_link_submit(&link_in_test, request, 0);
  CHECK(say_busy(HR_OP_BARRIER, 1, 1) == request);
  hr_link_finish(&link_in_test, request);
  end();
}

/* Whether the shard keeps anything or not: what is unanswered has a bound in bytes. */
static void the_window_closes_when_it_holds_too_many_bytes(void)
{
  begin();
  link_in_test.options.kept_bytes_max = 3 * HR_WIRE_HEADER_BYTES;
  for (uint64_t i = 1; i <= 3; i++)
    submit(HR_OP_PUSH, i);
  CHECK(hr_link_can_push(&link_in_test) && link_in_test.kept_bytes == 3 * HR_WIRE_HEADER_BYTES);
  submit(HR_OP_PUSH, 4);
  CHECK(!hr_link_can_push(&link_in_test));
  for (uint64_t i = 1; i <= 4; i++) {
    hr_request *request = receive((answer){.op = HR_OP_PUSH, .request_id = i, .applied_seq = i}, 5);
    CHECK(request);
    hr_link_finish(&link_in_test, request);
    CHECK(hr_link_can_push(&link_in_test));
  }
  CHECK_EQ(link_in_test.kept_bytes, 0);
  end();
}

int main(void)
{
  RUN(pushes_are_numbered_and_pulls_name_the_last_push);
  RUN(an_answer_takes_its_request_out_once);
  RUN(what_is_unanswered_is_sent_again_in_order);
  RUN(a_gap_makes_it_send_again_but_not_in_a_storm);
  RUN(the_window_closes_at_64_open_pushes);
  RUN(a_refusal_that_concerns_one_request_leaves_the_stream);
  RUN(each_ending_of_the_stream_is_kept_with_its_sentence);
  RUN(an_answer_of_another_epoch_is_a_reset);
  RUN(an_answer_with_the_wrong_op_or_bad_bytes_breaks_the_stream);
  RUN(an_answer_for_another_session_is_ignored);
  RUN(what_is_given_up_is_not_sent_again);
  RUN(a_busy_shard_is_asked_again);
  RUN(a_busy_shard_is_not_flooded);
  RUN(a_barrier_that_is_not_open_is_its_callers_business);
  RUN(the_window_closes_when_it_holds_too_many_bytes);
  hr_request_pool_fini(&pool);
  return 0;
}
