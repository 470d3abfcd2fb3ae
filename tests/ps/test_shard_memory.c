/* A shard that has less memory than rows: what it says and holds is what one with enough memory says and holds. */
#include <hr/optimizer.h>
#include <hr/random.h>

#include "disk_test.h"
#include "shard_memory.h"

#define KEYS 40000u
#define BATCH 1000u
#define ENOUGH ((size_t)1 << 40)
#define LITTLE ((size_t)4 << 20) /* for 15000 rows of 40000 */

static test_client worker(uint64_t session)
{
  return test_worker(session, session, 0, 1, 100);
}

static hr_table_desc desc_of(const char *name, uint32_t dim)
{
  hr_table_desc desc = test_desc(name);
  hotrow_optimizer optimizer = {.kind = HOTROW_ADAM, .lr = 0.1f};
  desc.dim = desc.segments[0].dim = dim;
  CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  desc.segments[0].initializer = (hotrow_initializer){HOTROW_INIT_UNIFORM, 0.5f};
  return desc;
}

#define DIM 16u

/* Sends the client's request; what is busy waits for a cut, as a client does by asking again. */
static hotrow_status ask(disk *d, test_client *c)
{
  for (int tries = 0; tries < 3; tries++) {
    hotrow_status status = test_ask(d->t, c);
    if (status != HOTROW_ERR_BUSY)
      return status;
    CHECK(hr_shard_awaits_cut(d->t->shard));
    CHECK_OK(disk_cut(d));
  }
  return HOTROW_ERR_BUSY;
}

static hotrow_status push(disk *d, test_client *c, uint32_t table, const uint64_t *keys, uint32_t count, float grad)
{
  static float grads[BATCH * DIM];
  for (size_t i = 0; i < count * DIM; i++)
    grads[i] = grad + (float)(i % 7);
  test_add_push(test_begin(c, HR_OP_PUSH), table, keys, grads, count)->dim = DIM;
  return ask(d, c);
}

static hotrow_status pull(disk *d, test_client *c, uint32_t table, const uint64_t *keys, uint32_t count)
{
  test_add_pull(test_begin(c, HR_OP_PULL), table, keys, count)->dim = DIM;
  return ask(d, c);
}

/* Both are asked the same and must answer the same. */
static void pull_both(disk *both, test_client *clients, uint32_t table, const uint64_t *keys, uint32_t count)
{
  const hr_section *answers[2];
  for (int i = 0; i < 2; i++) {
    test_clear(both[i].t);
    CHECK_OK(pull(&both[i], &clients[i], table, keys, count));
    answers[i] = &both[i].t->replies[both[i].t->reply_count - 1].message.sections[0];
  }
  CHECK(answers[0]->row_count == count && answers[1]->row_count == count);
  CHECK(memcmp(answers[0]->values, answers[1]->values, count * DIM * sizeof(float)) == 0);
  CHECK(memcmp(answers[0]->clocks, answers[1]->clocks, count * sizeof(uint32_t)) == 0);
}

static void check_same_rows(const disk *both, uint32_t table)
{
  size_t sizes[2];
  void *rows[2] = {disk_rows(&both[0], table, &sizes[0]), disk_rows(&both[1], table, &sizes[1])};
  CHECK(sizes[0] == sizes[1] && memcmp(rows[0], rows[1], sizes[0]) == 0);
  free(rows[0]);
  free(rows[1]);
}

static uint32_t draw(hr_rng *rng, uint64_t *keys)
{
  uint32_t count = 1 + (uint32_t)hr_rng_below(rng, BATCH);
  uint64_t first = hr_rng_below(rng, KEYS);
  for (uint32_t i = 0; i < count; i++)
    keys[i] = (first + i * 7919u) % KEYS; /* a prime that does not divide KEYS: distinct */
  return count;
}

/* Two tables, of which the second comes when the first has taken all there is; in between the shard dies. */
static void rows_are_those_of_a_shard_with_enough_memory(void)
{
  static uint64_t keys[BATCH];
  hr_rng rng = {hr_test_seed(4)};
  disk both[2] = {{0}, {0}};
  disk_start_within(&both[0], disk_dir("enough"), ENOUGH);
  disk_start_within(&both[1], disk_dir("little"), LITTLE);
  test_client clients[2] = {worker(1), worker(1)};
  hr_table_desc descs[2] = {desc_of("a", DIM), desc_of("b", DIM)};
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(disk_greet(&both[i], &clients[i]), 0);
    CHECK(disk_create(&both[i], &clients[i], &descs[0]) == 0 && disk_create(&both[i], &clients[i], &descs[1]) == 1);
  }
  for (uint32_t round = 0; round < 260; round++) {
    uint32_t table = round > 120 && hr_rng_below(&rng, 2), count = draw(&rng, keys);
    if (hr_rng_below(&rng, 2))
      pull_both(both, clients, table, keys, count);
    for (int i = 0; i < 2; i++)
      CHECK_OK(push(&both[i], &clients[i], table, keys, count, (float)round));
    if (hr_rng_below(&rng, 5) == 0)
      CHECK_OK(disk_cut(&both[1]));
    if (round % 50 == 49)
      CHECK_OK(disk_cut(&both[0]));
    if (round == 180) { /* with less than all rows it comes back, and goes on */
      CHECK_OK(disk_cut(&both[1]));
      disk_die(&both[1]);
      disk_start_within(&both[1], both[1].dir, LITTLE);
      CHECK_EQ(disk_greet(&both[1], &clients[1]), clients[0].push_seq);
      hotrow_shard_counts counts;
      hr_shard_get_counts(both[1].t->shard, &counts);
      CHECK(counts.rows > KEYS / 2 && counts.rows_in_memory < counts.rows / 2 && counts.rows_in_memory > 1000);
    }
    if (round % 100 == 0)
      check_same_rows(both, 0);
    size_t used = hr_memory_used(both[1].t->shard);
    CHECK_MSG(used <= LITTLE + LITTLE / 4, "%zu bytes of %zu in round %u", used, LITTLE, round);
  }
  check_same_rows(both, 0);
  check_same_rows(both, 1);
  hotrow_shard_counts counts;
  hr_shard_get_counts(both[1].t->shard, &counts);
  CHECK(counts.rows_evicted > KEYS / 2 && counts.rows_fetched > KEYS / 2);
  CHECK_EQ(test_counter(both[0].t->shard, "\"rows_evicted\""), 0);
  disk_die(&both[0]);
  disk_die(&both[1]);
}

static void keys_from(uint64_t *keys, uint64_t first)
{
  for (uint32_t i = 0; i < BATCH; i++)
    keys[i] = first + i;
}

/* Nothing can leave before it is durable: the client is to ask again, and the push is not taken. */
static void what_is_not_durable_makes_it_busy(void)
{
  uint64_t keys[BATCH], rounds = 0;
  disk d = {0};
  disk_start_within(&d, disk_dir("busy"), LITTLE);
  test_client c = worker(1);
  hr_table_desc desc = desc_of("a", DIM);
  disk_greet(&d, &c);
  CHECK_EQ(disk_create(&d, &c, &desc), 0);
  hotrow_status status = HOTROW_OK;
  for (; status == HOTROW_OK && rounds < 100; rounds++) {
    keys_from(keys, rounds * BATCH);
    test_add_pull(test_begin(&c, HR_OP_PULL), 0, keys, BATCH)->dim = DIM;
    status = test_ask(d.t, &c);
  }
  CHECK_FAILS(status, HOTROW_ERR_BUSY, "shard 0 has 4 MiB of memory and rows in it that are not durable yet");
  CHECK(d.t->replies[0].message.header.retry_ms > 0 && hr_shard_awaits_cut(d.t->shard));
  CHECK(hr_memory_used(d.t->shard) <= LITTLE);
  float grads[BATCH * DIM] = {0};
  keys_from(keys, 1000000);
  test_add_push(test_begin(&c, HR_OP_PUSH), 0, keys, grads, BATCH)->dim = DIM;
  CHECK_EQ(test_ask(d.t, &c), HOTROW_ERR_BUSY);
  CHECK_EQ(d.t->replies[0].message.header.applied_seq, 0);
  keys_from(keys, 0); /* what is there is served */
  test_add_pull(test_begin(&c, HR_OP_PULL), 0, keys, BATCH)->dim = DIM;
  c.message.header.push_seq = 0;
  CHECK_OK(test_ask(d.t, &c));
  CHECK_OK(disk_cut(&d));
  c.push_seq = 0;
  keys_from(keys, 1000000);
  test_add_push(test_begin(&c, HR_OP_PUSH), 0, keys, grads, BATCH)->dim = DIM;
  CHECK_OK(test_ask(d.t, &c));
  CHECK_EQ(d.t->replies[0].message.header.applied_seq, 1);
  disk_die(&d);
}

static void without_a_storage_new_rows_are_refused(void)
{
  static uint64_t keys[BATCH];
  test_shard *t = test_shard_open(&(hr_shard_options){.memory_bytes = LITTLE, .row_count_max = 1u << 20});
  test_client c = worker(1);
  hr_table_desc desc = desc_of("a", DIM);
  test_greet(t, &c);
  CHECK_EQ(test_create(t, &c, &desc), 0);
  hotrow_status status = HOTROW_OK;
  uint64_t rounds = 0;
  for (; status == HOTROW_OK && rounds < 100; rounds++) {
    keys_from(keys, rounds * BATCH);
    test_add_pull(test_begin(&c, HR_OP_PULL), 0, keys, BATCH)->dim = DIM;
    status = test_ask(t, &c);
  }
  CHECK_FAILS(status, HOTROW_ERR_QUOTA, "no room for 1000 more rows of table a");
  size_t used = hr_memory_used(t->shard);
  CHECK_MSG(rounds > 5 && used <= LITTLE, "%llu rounds, %zu bytes", (unsigned long long)rounds, used);
  static float grads[BATCH * DIM];
  keys_from(keys, 0);
  test_add_push(test_begin(&c, HR_OP_PUSH), 0, keys, grads, BATCH)->dim = DIM;
  CHECK_OK(test_ask(t, &c));
  test_shard_close(t);
}

static void a_request_for_more_than_there_is_is_refused(void)
{
  enum { MANY = 60000 };
  static uint64_t keys[MANY];
  disk d = {0};
  disk_start_within(&d, disk_dir("more"), LITTLE);
  test_client c = worker(1);
  hr_table_desc desc = desc_of("a", DIM);
  disk_greet(&d, &c);
  CHECK_EQ(disk_create(&d, &c, &desc), 0);
  for (uint64_t i = 0; i < MANY; i++)
    keys[i] = i;
  CHECK_OK(disk_cut(&d));
  CHECK_FAILS(pull(&d, &c, 0, keys, MANY), HOTROW_ERR_QUOTA, "no room for 60000 more rows of table a");
  CHECK_OK(pull(&d, &c, 0, keys, BATCH));
  disk_die(&d);
}

/* A reader gets rows that are not in memory, and makes none. */
static void readers_read_what_left(void)
{
  uint64_t keys[BATCH];
  disk d = {0};
  disk_start_within(&d, disk_dir("readers"), LITTLE);
  test_client c = worker(1), reader = test_reader(2);
  hr_table_desc desc = desc_of("a", DIM);
  disk_greet(&d, &c);
  test_greet(d.t, &reader);
  CHECK_EQ(disk_create(&d, &c, &desc), 0);
  for (uint64_t first = 0; first < KEYS; first += BATCH) {
    keys_from(keys, first);
    CHECK_OK(push(&d, &c, 0, keys, BATCH, 1.0f));
  }
  CHECK_OK(disk_cut(&d));
  for (uint64_t first = 0; first < 2 * KEYS; first += BATCH / 2) {
    keys_from(keys, first);
    CHECK_OK(pull(&d, &reader, 0, keys, BATCH));
    const hr_section *answer = &d.t->replies[0].message.sections[0];
    for (uint64_t i = 0; i < BATCH; i++) {
      bool is_found = answer->found[i / 8] & (1u << (i % 8));
      CHECK_EQ(is_found, first + i < KEYS);
      CHECK_EQ(answer->clocks[i], is_found ? 1u : 0u);
    }
  }
  CHECK_EQ(test_counter(d.t->shard, "\"rows\""), KEYS);
  disk_die(&d);
}

static void pull_all(disk *d, test_client *c)
{
  uint64_t keys[BATCH];
  for (uint64_t first = 0; first < KEYS; first += BATCH) {
    keys_from(keys, first);
    CHECK_OK(pull(d, c, 0, keys, BATCH));
  }
}

/* Rows leave for what the process has elsewhere, up to half of the memory, and come back when that is gone. */
static void rows_make_room_for_what_is_not_of_the_shard(void)
{
  uint64_t keys[BATCH];
  disk d = {0};
  disk_start_within(&d, disk_dir("foreign"), LITTLE);
  test_client c = worker(1);
  hr_table_desc desc = desc_of("a", DIM);
  disk_greet(&d, &c);
  CHECK_EQ(disk_create(&d, &c, &desc), 0);
  pull_all(&d, &c);
  CHECK_OK(disk_cut(&d));
  keys_from(keys, 0);
  const size_t foreign[] = {0, LITTLE / 4, SIZE_MAX, 0};
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
    hr_shard_count_foreign(d.t->shard, foreign[i]);
    pull_all(&d, &c);
    size_t room = LITTLE - (foreign[i] < LITTLE / 2 ? foreign[i] : LITTLE / 2), used = hr_memory_used(d.t->shard);
    CHECK_MSG(used <= room && used > room / 2, "%zu bytes used, there is room for %zu", used, room);
  }
  disk_die(&d);
}

int main(void)
{
  RUN(what_is_not_durable_makes_it_busy);
  RUN(without_a_storage_new_rows_are_refused);
  RUN(a_request_for_more_than_there_is_is_refused);
  RUN(readers_read_what_left);
  RUN(rows_make_room_for_what_is_not_of_the_shard);
  RUN(rows_are_those_of_a_shard_with_enough_memory);
  return 0;
}
