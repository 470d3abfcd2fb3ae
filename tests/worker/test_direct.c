/* Large pushes and lookups of tables that keep no rows here: summed up in the messages that they leave in, several to a
 * shard. With one shard keys stay in their order, with two they are sorted by hash. */
#include <math.h>

#include "worker_test.h"

#define DIM 16u
#define KEYS 60000u

static test_servers servers;
static uint32_t shards;
static hotrow_client *client;
static hotrow_table *table, *other;
static uint64_t keys[KEYS];
static float grads[KEYS][DIM], rows[KEYS][DIM], expected[KEYS][DIM]; /* expected: of key i, as far as there is one */

static void fill_grads(float first)
{
  for (uint32_t i = 0; i < KEYS; i++)
    for (uint32_t c = 0; c < DIM; c++)
      grads[i][c] = first + (float)(i % 7) + (float)c;
}

/* The rows have had these gradients, too. Small whole numbers are exact whatever the order. */
static void expect_push(uint32_t count)
{
  for (uint32_t i = 0; i < count; i++)
    for (uint32_t c = 0; c < DIM; c++)
      expected[keys[i]][c] -= grads[i][c];
}

static void check_rows(void)
{
  for (uint32_t i = 0; i < KEYS; i++)
    keys[i] = i;
  test_read(client, table, keys, KEYS, &rows[0][0]);
  for (uint32_t i = 0; i < KEYS; i++)
    for (uint32_t c = 0; c < DIM; c++)
      CHECK_MSG(rows[i][c] == expected[i][c], "key %u, column %u: %g, expected %g", i, c, (double)rows[i][c],
                (double)expected[i][c]);
}

static void a_large_push_goes_in_parts(void)
{
  check_rows();
  uint64_t before = test_stats(client).requests;
  fill_grads(1);
  expect_push(KEYS);
  test_push(client, table, keys, KEYS, &grads[0][0]);
  memset(grads, 0xff, sizeof grads); /* the caller's again */
  CHECK_OK(hotrow_step(client, 0));
  CHECK(test_stats(client).requests >= before + 2 * shards);
  CHECK_EQ(test_stats(client).steps, 1);
  check_rows();
}

static void keys_may_stand_twice(void)
{
  for (uint32_t i = 0; i < KEYS; i++)
    keys[i] = i * (uint64_t)2654435761u % (KEYS / 2);
  fill_grads(2);
  expect_push(KEYS);
  test_push(client, table, keys, KEYS, &grads[0][0]);
  CHECK_OK(hotrow_step(client, 0));
  check_rows();
}

/* One tick and one sum for each key of a step, in however many calls it comes. */
static void a_step_may_have_several_pushes(void)
{
  fill_grads(3);
  expect_push(KEYS);
  test_push(client, table, keys, KEYS, &grads[0][0]);
  fill_grads(4);
  expect_push(KEYS / 3);
  test_push(client, table, keys, KEYS / 3, &grads[0][0]);
  test_push(client, other, keys, 10, &grads[0][0]);
  uint64_t pushed = test_stats(client).rows_pushed;
  hotrow_lookup_request lookup = test_lookup_of(table, keys, KEYS, &rows[0][0]);
  CHECK_OK(hotrow_step_lookup(client, &lookup, 1));
  CHECK_EQ(test_stats(client).rows_pushed - pushed, KEYS + 10);
  check_rows();
}

static void a_refused_push_leaves_nothing(void)
{
  hotrow_push_request pushes[2] = {test_push_of(table, keys, KEYS, &grads[0][0]),
                                   test_push_of(other, keys, KEYS, &rows[0][0])};
  fill_grads(5);
  rows[KEYS - 1][3] = NAN;
  CHECK_FAILS(hotrow_push(client, pushes, 2), HOTROW_ERR_INVALID, "key 59999 is not finite");
  CHECK_OK(hotrow_step(client, 0));
  check_rows();
  grads[KEYS / 2][0] = INFINITY;
  CHECK_FAILS(hotrow_push(client, pushes, 1), HOTROW_ERR_INVALID, "key 30000 is not finite");
  CHECK_OK(hotrow_step(client, 0));
  check_rows();
  fill_grads(6);
  test_push(client, table, keys, KEYS, &grads[0][0]); /* stays, as what is refused after it has changed nothing */
  expect_push(KEYS);
  rows[KEYS - 1][3] = NAN;
  CHECK_FAILS(hotrow_push(client, pushes + 1, 1), HOTROW_ERR_INVALID, "not finite");
  pushes[0].grads = &rows[0][0];
  CHECK_FAILS(hotrow_push(client, pushes, 1), HOTROW_ERR_INVALID, "not finite");
  CHECK_OK(hotrow_step(client, 0));
  check_rows();
}

/* What waits for the end of its step goes with the client. */
static void a_client_may_close_in_the_middle_of_a_step(void)
{
  test_push(client, table, keys, KEYS, &grads[0][0]);
  CHECK_FAILS(hotrow_flush(client, 0), HOTROW_ERR_INVALID, "middle of a step");
  hotrow_client_close(client);
}

/* Keys of one slot (worker/distinct.c) are sorted after all. */
static void keys_may_be_chosen(void)
{
  static float slow[3000][DIM];
  for (uint64_t i = 0; i < 3000; i++)
    keys[i] = i;
  test_read(client, other, keys, 3000, &slow[0][0]); /* the one before is not chosen */
  for (uint64_t i = 0; i < 3000; i++)
    keys[i] = i % 2000 * 0xf1de83e19937733du;
  test_read(client, other, keys, 3000, &slow[0][0]);
  fill_grads(1);
  test_push(client, other, keys, 3000, &grads[0][0]);
  CHECK_OK(hotrow_step(client, 0));
  test_read(client, other, keys, 3000, &rows[0][0]);
  for (uint32_t i = 0; i < 3000; i++)
    CHECK_EQ(slow[i][0] - rows[i][0], grads[i][0] + (i < 1000   ? grads[i + 2000][0]
                                                     : i < 2000 ? 0
                                                                : grads[i - 2000][0]));
}

/* Those that are found first are asked for while others are looked at, which may be the same again. */
static void a_large_lookup_goes_in_parts(void)
{
  const uint32_t distinct[] = {KEYS, KEYS / 2, KEYS / 5 + 1, 1};
  for (size_t d = 0; d < sizeof distinct / sizeof *distinct; d++) {
    for (uint32_t i = 0; i < KEYS; i++)
      keys[i] = i < distinct[d] ? i : i * (uint64_t)2654435761u % distinct[d];
    uint64_t unique = test_stats(client).unique_keys, requests = test_stats(client).requests;
    memset(rows, 0xff, sizeof rows);
    test_read(client, table, keys, KEYS, &rows[0][0]);
    for (uint32_t i = 0; i < KEYS; i++)
      for (uint32_t c = 0; c < DIM; c++)
        CHECK_EQ(rows[i][c], expected[keys[i]][c]);
    CHECK_EQ(test_stats(client).unique_keys - unique, distinct[d]);
    requests = test_stats(client).requests - requests; /* a tenth of the keys each but for the last, and none twice */
    CHECK(requests <= distinct[d] / (KEYS / 10) + 1 + shards && (distinct[d] < KEYS / 2 || requests >= 5));
    CHECK(distinct[d] < KEYS || requests >= 10);
  }
}

/* Keys of one slot behind many that are asked for already: all are asked for again, in another order, and a push that
 * has left with the first is made once. */
static void keys_may_be_chosen_late(void)
{
  const uint32_t plain = 3 * KEYS / 4;
  check_rows();
  fill_grads(7);
  expect_push(KEYS);
  test_push(client, table, keys, KEYS, &grads[0][0]);
  for (uint32_t i = plain; i < KEYS; i++)
    keys[i] = i * 0xf1de83e19937733du;
  hotrow_lookup_request lookup = test_lookup_of(table, keys, KEYS, &rows[0][0]);
  CHECK_OK(hotrow_step_lookup(client, &lookup, 1));
  for (uint32_t i = 0; i < KEYS; i++)
    for (uint32_t c = 0; c < DIM; c++)
      CHECK_EQ(rows[i][c], i < plain ? expected[i][c] : 0);
  check_rows();
}

static void run(uint32_t shard_count)
{
  shards = shard_count;
  memset(expected, 0, sizeof expected);
  test_start(&servers, shards, NULL, NULL);
  client = test_open(servers.endpoints, 0, 1);
  table = test_counting_table(client, "direct", DIM, 0, 1, 1);
  other = test_counting_table(client, "other", DIM, 0, 1, 1);
  RUN(a_large_push_goes_in_parts);
  RUN(keys_may_stand_twice);
  RUN(a_step_may_have_several_pushes);
  RUN(a_refused_push_leaves_nothing);
  RUN(a_large_lookup_goes_in_parts);
  RUN(keys_may_be_chosen);
  RUN(keys_may_be_chosen_late);
  RUN(a_client_may_close_in_the_middle_of_a_step);
  test_stop(&servers);
}

int main(void)
{
  run(1);
  run(2);
  return 0;
}
