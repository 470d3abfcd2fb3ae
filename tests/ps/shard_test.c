#include "shard_test.h"

#include <hr/optimizer.h>

static void keep_reply(void *context, const hr_route_id *to, const hr_frame *frames, size_t frame_count)
{
  test_shard *t = context;
  CHECK(t->reply_count < TEST_REPLIES_MAX);
  test_reply *reply = &t->replies[t->reply_count++];
  hr_frame copies[HR_WIRE_FRAMES_MAX];
  reply->to = *to;
  reply->memory_count = frame_count;
  for (size_t i = 0; i < frame_count; i++) {
    void *copy = malloc(frames[i].size + 1);
    CHECK(copy);
    if (frames[i].size)
      memcpy(copy, frames[i].data, frames[i].size);
    reply->memory[i] = copy;
    copies[i] = (hr_frame){copy, frames[i].size};
  }
  CHECK_OK(hr_wire_decode(copies, frame_count, &reply->message));
  CHECK(reply->message.header.flags & HR_FLAG_REPLY);
}

void test_clear(test_shard *t)
{
  for (size_t i = 0; i < t->reply_count; i++)
    for (size_t k = 0; k < t->replies[i].memory_count; k++)
      free(t->replies[i].memory[k]);
  t->reply_count = 0;
}

test_shard *test_shard_open(const hr_shard_options *options)
{
  test_shard *t = calloc(1, sizeof *t);
  CHECK(t);
  t->replies = calloc(TEST_REPLIES_MAX, sizeof *t->replies);
  CHECK(t->replies);
  hr_shard_options o = options ? *options : (hr_shard_options){0};
  o.shard_count = o.shard_count ? o.shard_count : 1;
  o.epoch = o.epoch ? o.epoch : 0x1234;
  o.transport = (hr_shard_transport){.send = keep_reply, .context = t};
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &o.kernels));
  CHECK_OK(hr_shard_create(&o, &t->shard));
  return t;
}

void test_shard_close(test_shard *t)
{
  test_clear(t);
  hr_shard_destroy(t->shard);
  free(t->replies);
  free(t);
}

test_client test_worker(uint64_t session, uint64_t job, uint32_t rank, uint32_t world_size, uint64_t started_ns)
{
  test_client c = {
      .session = {session, ~session},
      .job = job,
      .started_ns = started_ns,
      .role = HR_ROLE_WORKER,
      .rank = rank,
      .world_size = world_size,
      .shard_count = 1,
      .route = {.size = 8},
  };
  memcpy(c.route.bytes, &session, sizeof session);
  return c;
}

test_client test_reader(uint64_t session)
{
  test_client c = test_worker(session, 0, 0, 1, 1);
  c.role = HR_ROLE_READER;
  return c;
}

hr_message *test_begin(test_client *c, hr_op op)
{
  hr_message *m = &c->message;
  if (op == HR_OP_PUSH || op == HR_OP_PUSH_PULL)
    c->push_seq++;
  m->header = (hr_header){
      .op = (uint8_t)op,
      .request_id = ++c->request_id,
      .session = c->session,
      .epoch = op == HR_OP_HELLO ? 0 : c->epoch,
      .push_seq = c->push_seq,
      .announce_seq =
          op == HR_OP_PULL || op == HR_OP_PUSH || op == HR_OP_PUSH_PULL || op == HR_OP_TICK ? c->announce_seq : 0,
      .rank = c->rank,
  };
  m->body = NULL;
  m->body_size = 0;
  m->section_count = 0;
  return m;
}

hr_section *test_add_pull(hr_message *m, uint32_t table, const uint64_t *keys, uint32_t key_count)
{
  hr_section *s = &m->sections[m->section_count++];
  *s = (hr_section){.kind = HR_SECTION_PULL, .table = table, .key_count = key_count, .dim = TEST_DIM, .keys = keys};
  return s;
}

hr_section *test_add_push(hr_message *m, uint32_t table, const uint64_t *keys, const float *grads, uint32_t key_count)
{
  hr_section *s = &m->sections[m->section_count++];
  *s = (hr_section){.kind = HR_SECTION_PUSH,
                    .lr_scale = 1.0f,
                    .table = table,
                    .key_count = key_count,
                    .dim = TEST_DIM,
                    .keys = keys,
                    .grads = grads};
  return s;
}

hr_message *test_body(test_client *c, hr_op op, const void *body, size_t size)
{
  static _Alignas(8) uint8_t copy[8192];
  CHECK(size <= sizeof copy);
  hr_message *m = test_begin(c, op);
  memcpy(copy, body, size);
  m->body = copy;
  m->body_size = size;
  return m;
}

hr_message *test_hello(test_client *c)
{
  hr_hello hello = {
      .job = c->job,
      .started_ns = c->started_ns,
      .role = c->role,
      .world_size = c->world_size,
      .shard_index = c->shard_index,
      .shard_count = c->shard_count,
      .version_min = HR_WIRE_VERSION,
      .version_max = HR_WIRE_VERSION,
  };
  return test_body(c, HR_OP_HELLO, &hello, sizeof hello);
}

hr_table_desc test_desc(const char *name)
{
  hr_table_desc desc = {.dim = TEST_DIM, .seed = 5, .segment_count = 1, .segments[0].dim = TEST_DIM};
  hotrow_optimizer sgd = {.kind = HOTROW_SGD, .lr = 1.0f};
  hotrow_initializer zero = {.kind = HOTROW_INIT_ZERO};
  CHECK(strlen(name) < sizeof desc.name);
  memcpy(desc.name, name, strlen(name));

  CHECK_OK(hr_optimizer_resolve(&sgd, &desc.segments[0].optimizer));
  desc.segments[0].initializer = zero;
  return desc;
}

void test_send(test_shard *t, test_client *c)
{
  static _Alignas(8) uint8_t header[HR_WIRE_HEADER_BYTES], sections[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t frame_count;
  hr_wire_encode(&c->message, header, sections, frames, &frame_count);
  void *copies[HR_WIRE_FRAMES_MAX]; /* aligned, and gone afterwards: what the shard keeps it must have copied */
  for (size_t i = 0; i < frame_count; i++) {
    copies[i] = malloc(frames[i].size + 1);
    CHECK(copies[i]);
    if (frames[i].size)
      memcpy(copies[i], frames[i].data, frames[i].size);
    frames[i].data = copies[i];
  }
  hr_shard_receive(t->shard, &c->route, frames, frame_count, ++t->now_ns);
  for (size_t i = 0; i < frame_count; i++) {
    memset(copies[i], 0xee, frames[i].size);
    free(copies[i]);
  }
  if (t->settle)
    t->settle(t->shard, t->settle_context);
}

hotrow_status test_status(const hr_message *reply)
{
  if (reply->header.status != HOTROW_OK)
    hr_fail_text((hotrow_status)reply->header.status, reply->body, reply->body_size);
  return (hotrow_status)reply->header.status;
}

const test_reply *test_one_reply(const test_shard *t)
{
  CHECK_EQ(t->reply_count, 1);
  return &t->replies[0];
}

hotrow_status test_ask(test_shard *t, test_client *c)
{
  test_clear(t);
  test_send(t, c);
  const test_reply *reply = test_one_reply(t);
  const hr_header *got = &reply->message.header, *sent = &c->message.header;
  CHECK(reply->to.size == c->route.size && memcmp(reply->to.bytes, c->route.bytes, c->route.size) == 0);
  CHECK(got->op == sent->op && got->request_id == sent->request_id && got->push_seq == sent->push_seq);
  CHECK(got->session.high == sent->session.high && got->session.low == sent->session.low);
  return test_status(&reply->message);
}

const test_reply *test_reply_to(const test_shard *t, const test_client *c)
{
  for (size_t i = t->reply_count; i-- > 0;)
    if (memcmp(t->replies[i].to.bytes, c->route.bytes, c->route.size) == 0)
      return &t->replies[i];
  return NULL;
}

void test_greet(test_shard *t, test_client *c)
{
  test_hello(c);
  CHECK_OK(test_ask(t, c));
  hr_hello_reply reply;
  CHECK_EQ(t->replies[0].message.body_size, sizeof reply);
  memcpy(&reply, t->replies[0].message.body, sizeof reply);
  CHECK(reply.epoch != 0 && reply.epoch == t->replies[0].message.header.epoch);
  c->epoch = reply.epoch;
}

uint32_t test_create(test_shard *t, test_client *c, const hr_table_desc *desc)
{
  hr_table_desc answer;
  test_body(c, HR_OP_TABLE_CREATE, desc, sizeof *desc);
  CHECK_OK(test_ask(t, c));
  memcpy(&answer, t->replies[0].message.body, sizeof answer);
  return answer.id;
}

uint32_t test_create_table(test_shard *t, test_client *c, const char *name)
{
  hr_table_desc desc = test_desc(name);
  return test_create(t, c, &desc);
}

hr_message *test_push_row(test_client *c, uint32_t table, uint64_t key, float grad)
{
  static uint64_t keys[1];
  static float grads[TEST_DIM];
  keys[0] = key;
  grads[0] = grad;
  grads[1] = -grad;
  hr_message *m = test_begin(c, HR_OP_PUSH);
  test_add_push(m, table, keys, grads, 1);
  return m;
}

float test_pull_value(test_shard *t, test_client *c, uint32_t table, uint64_t key)
{
  test_add_pull(test_begin(c, HR_OP_PULL), table, &key, 1);
  CHECK_OK(test_ask(t, c));
  const hr_section *got = &t->replies[0].message.sections[0];
  CHECK_EQ(got->row_count, 1);
  CHECK(got->values[0] == -got->values[1]);
  return got->values[0];
}

hotrow_status test_copy(hr_shard *shard)
{
  hotrow_status status = HOTROW_OK;
  while (status == HOTROW_OK && hr_shard_is_copying(shard))
    status = hr_shard_copy(shard);
  return status;
}

hotrow_status test_cut(hr_shard *shard, uint64_t *number_p)
{
  hotrow_status status = hr_shard_cut(shard, number_p);
  return status == HOTROW_OK ? test_copy(shard) : status;
}

long long test_counter(const hr_shard *shard, const char *name)
{
  static char text[HR_WIRE_STATS_BYTES_MAX];
  CHECK(hr_shard_stats_json(shard, text, sizeof text) < sizeof text);
  const char *at = strstr(text, name);
  CHECK_MSG(at && at[strlen(name)] == ':', "no %s in %s", name, text);
  return atoll(at + strlen(name) + 1);
}
