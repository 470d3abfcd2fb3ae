/* The core without sockets, answered by a shard that lies. */
#include "hr_test.h"

#include "core.h"

static hr_message sent; /* the last request; its pointers are into the core's own frames */

static void on_send(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count, atomic_uint *users)
{
  (void)users;
  (void)context;
  (void)shard;
  CHECK_OK(hr_wire_decode(frames, frame_count, &sent));
}

static void answer(hr_core *core, hr_message *reply)
{
  static _Alignas(8) uint8_t header[HR_WIRE_HEADER_BYTES], sections[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t count;
  reply->header.epoch = 5;
  hr_wire_encode(reply, header, sections, frames, &count);
  hr_core_receive(core, 0, frames, count, 1);
}

static hr_core *open_core(uint64_t cache_row_count, hotrow_table **table_p)
{
  static const char *const endpoint = "nowhere";
  static hr_message reply;
  hr_core_options options = {.session = {1, 2},
                             .world_size = 1,
                             .role = HR_ROLE_WORKER,
                             .shard_count = 1,
                             .endpoints = &endpoint,
                             .staging_rows_max = 1000,
                             .send = on_send};
  hr_core *core;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  CHECK_OK(hr_core_create(&options, &core));
  CHECK_OK(hr_core_hello_begin(core, 0));
  hr_hello_reply hello = {.epoch = 5, .shard_count = 1, .version = HR_WIRE_VERSION};
  hr_wire_reply(&sent.header, &reply);
  reply.header.announce_seq = 1;
  reply.body = &hello;
  reply.body_size = sizeof hello;
  answer(core, &reply);
  CHECK(!hr_core_is_waiting(core));
  hr_table_desc desc = {.dim = 2, .segment_count = 1, .name = "t"};
  desc.segments[0] = (hotrow_segment){2, {HOTROW_SGD, 1, 0.9f, 0.999f, 1e-8f, 0, 0, 0}, {HOTROW_INIT_ZERO, 0}};
  hotrow_table_options table_options = HOTROW_TABLE_OPTIONS_INIT;
  uint32_t id = 3;
  table_options.pull_bound = 1;
  table_options.cache_row_count = cache_row_count;
  CHECK_OK(hr_core_add_table(core, &desc, &id, &table_options, table_p));
  return core;
}

typedef struct lie {
  const char *what;
  uint32_t table, key_count, dim, extra_dim, asked_held;
  int sections;
} lie;

static void tell(hr_core *core, const lie *l)
{
  static hr_message reply;
  static const float values[16];
  static const uint32_t clocks[8];
  hr_wire_reply(&sent.header, &reply);
  for (int i = 0; i < l->sections; i++) {
    hr_section *s = &reply.sections[reply.section_count++];
    *s = (hr_section){.kind = HR_SECTION_PULL_REPLY,
                      .table = l->table,
                      .key_count = l->key_count,
                      .row_count = l->key_count - l->asked_held,
                      .dim = l->dim,
                      .extra_dim = l->extra_dim,
                      .bound = l->asked_held,
                      .index = clocks,
                      .clocks = clocks,
                      .values = values,
                      .states = l->extra_dim ? values : NULL};
  }
  answer(core, &reply);
}

/* Sound messages that do not answer what was asked: the stream to such a shard is over. */
static void wrong_answers_break_the_link(void)
{
  static const lie lies[] = {
      {"truth", 3, 2, 2, 0, 0, 1},      {"table", 4, 2, 2, 0, 0, 1}, {"key count", 3, 1, 2, 0, 0, 1},
      {"dim", 3, 2, 1, 0, 0, 1},        {"state", 3, 2, 2, 1, 0, 1}, {"held", 3, 2, 2, 0, 1, 1},
      {"no section", 3, 2, 2, 0, 0, 0}, {"twice", 3, 2, 2, 0, 0, 2},
  };
  for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
    hotrow_table *table;
    hr_core *core = open_core(64, &table);
    const uint64_t keys[2] = {1, 2};
    float rows[4];
    hotrow_lookup_request r = HOTROW_LOOKUP_REQUEST_INIT;
    r.table = table;
    r.keys = keys;
    r.key_count = 2;
    r.out = rows;
    CHECK_OK(hr_core_lookup_begin(core, &r, 1, 0));
    CHECK(hr_core_is_waiting(core));
    tell(core, &lies[i]);
    CHECK(!hr_core_is_waiting(core));
    for (int again = 0; again < 2; again++)
      if (i == 0)
        CHECK_OK(hr_core_status(core));
      else
        CHECK_FAILS(hr_core_status(core), HOTROW_ERR_PROTOCOL, "answered something else");
    hr_core_destroy(core);
  }
}

/* A lookup that was given up is answered late: its rows are not those that the lookup in hand waits for. */
static void a_late_answer_changes_nothing(void)
{
  static hr_message reply, late;
  static const float first_values[2] = {7, 7}, second_values[2] = {8, 8};
  static const uint32_t clocks[1] = {0};
  hotrow_table *table;
  hr_core *core = open_core(64, &table);
  const uint64_t keys[2] = {1, 2};
  float row[2] = {0, 0};
  hotrow_lookup_request r = HOTROW_LOOKUP_REQUEST_INIT;
  r.table = table;
  r.key_count = 1;
  r.out = row;
  hr_section section = {.kind = HR_SECTION_PULL_REPLY, .table = 3, .key_count = 1, .row_count = 1, .dim = 2};
  section.index = section.clocks = clocks;
  r.keys = keys;
  CHECK_OK(hr_core_lookup_begin(core, &r, 1, 0));
  hr_wire_reply(&sent.header, &late);
  late.sections[late.section_count++] = section;
  late.sections[0].values = first_values;
  r.keys = keys + 1;
  CHECK_OK(hr_core_lookup_begin(core, &r, 1, 0));
  hr_wire_reply(&sent.header, &reply);
  reply.sections[reply.section_count++] = section;
  reply.sections[0].values = second_values;
  answer(core, &late);
  CHECK(hr_core_is_waiting(core));
  CHECK_EQ(table->slots[0], HOTROW_SLOT_NONE);
  answer(core, &reply);
  CHECK(!hr_core_is_waiting(core));
  hr_core_lookup_finish(core);
  CHECK_EQ(table->stats.misses, 1);
  CHECK_OK(hr_core_status(core));
  CHECK(row[0] == 8 && row[1] == 8);
  hr_core_destroy(core);
}

/* Without a cache rows go straight to the caller's memory, which is the caller's again when the call is over. */
static void a_lookup_that_is_over_is_written_to_no_more(void)
{
  static hr_message reply;
  static const float values[2] = {7, 8};
  static const uint32_t clocks[1] = {0};
  for (int is_given_up = 0; is_given_up < 2; is_given_up++) {
    hotrow_table *table;
    hr_core *core = open_core(0, &table);
    const uint64_t keys[3] = {1, 1, 1};
    float rows[9] = {0};
    hotrow_lookup_request r = HOTROW_LOOKUP_REQUEST_INIT;
    r.table = table;
    r.key_count = 3;
    r.keys = keys;
    r.out = rows;
    r.out_stride = 3;
    CHECK_OK(hr_core_lookup_begin(core, &r, 1, 0));
    if (is_given_up)
      hr_core_lookup_abandon(core);
    hr_wire_reply(&sent.header, &reply);
    reply.sections[reply.section_count++] = (hr_section){.kind = HR_SECTION_PULL_REPLY,
                                                         .table = 3,
                                                         .key_count = 1,
                                                         .row_count = 1,
                                                         .dim = 2,
                                                         .index = clocks,
                                                         .clocks = clocks,
                                                         .values = values};
    answer(core, &reply);
    CHECK(!hr_core_is_waiting(core));
    CHECK_OK(hr_core_status(core));
    for (int i = 0; i < 3; i++)
      CHECK(rows[3 * i] == (is_given_up ? 0 : 7) && rows[3 * i + 1] == (is_given_up ? 0 : 8) && rows[3 * i + 2] == 0);
    hr_core_destroy(core);
  }
}

int main(void)
{
  RUN(a_lookup_that_is_over_is_written_to_no_more);
  RUN(a_late_answer_changes_nothing);
  RUN(wrong_answers_break_the_link);
  return 0;
}
