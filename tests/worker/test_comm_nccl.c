/* Communicators over NCCL's functions: ranks are threads, which meet through a real server and really sum. */
#include "nccl_test.h"

#include <pthread.h>
#include <stdatomic.h>

#define RANKS_MAX 5
#define PIECE_FLOATS(ranks) (((size_t)8 << 20) / (ranks)) /* of a sum in rank order */

typedef struct world {
  test_servers servers;
  uint32_t size, timeout_ms, flags;
  void (*body)(struct world *world, uint32_t rank, hotrow_comm *comm);
} world;

typedef struct rank_thread {
  world *world;
  uint32_t rank;
  pthread_t thread;
} rank_thread;

static int openings = 1;
static atomic_uint tended;

static void tend(void *context)
{
  hotrow_tend(context);
  atomic_fetch_add(&tended, 1);
}

static hotrow_comm_options options_of(const world *w, uint32_t rank, hotrow_client *client)
{
  hotrow_comm_options options = options_alone(w->flags);
  options.client = client;
  options.rank = rank;
  options.world_size = w->size;
  options.timeout_ms = w->timeout_ms;
  options.while_waiting = tend;
  options.context = client;
  return options;
}

static void *run_rank(void *context)
{
  rank_thread *t = context;
  hotrow_client *client = test_open(t->world->servers.endpoints, t->rank, t->world->size);
  hotrow_comm_options options = options_of(t->world, t->rank, client);
  hotrow_comm *comm;
  for (int i = 0; i < openings; i++) {
    CHECK_OK(hr_comm_open_over(&options, &fake_nccl, kernels, &comm));
    CHECK_EQ(hotrow_comm_get_kind(comm), HOTROW_COMM_NCCL);
    t->world->body(t->world, t->rank, comm);
    hotrow_comm_close(comm);
  }
  hotrow_client_close(client);
  return NULL;
}

static void run_threads(world *w, void *(*run)(void *))
{
  rank_thread threads[RANKS_MAX];
  test_start(&w->servers, 1, NULL, NULL);
  for (uint32_t r = 0; r < w->size; r++) {
    threads[r] = (rank_thread){.world = w, .rank = r};
    CHECK_EQ(pthread_create(&threads[r].thread, NULL, run, &threads[r]), 0);
  }
  for (uint32_t r = 0; r < w->size; r++)
    CHECK_EQ(pthread_join(threads[r].thread, NULL), 0);
  test_stop(&w->servers);
  check_nothing_is_left();
}

static void run_world(uint32_t size, uint32_t timeout_ms, uint32_t flags,
                      void (*body)(world *, uint32_t, hotrow_comm *))
{
  world w = {.size = size, .body = body, .timeout_ms = timeout_ms, .flags = flags};
  run_threads(&w, run_rank);
}

static float *allocate(size_t count)
{
  float *values = malloc((count + 1) * sizeof *values);
  CHECK(values);
  return values;
}

/* The values of the rank that was `rank` when the world was whole: large ones are cheap here, the order shows. */
static void fill(float *values, size_t count, uint64_t seed, uint32_t rank)
{
  uint64_t x = seed * 1000003 + rank * 7919 + 1;
  for (size_t i = 0; i < count; i++) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    values[i] = (float)(int32_t)(x >> 32) * (1.0f / (float)(1u << (x >> 27 & 15)));
  }
}

/* What the sum of ranks members[count] is to be, in rank order or in that of the fake. */
static void expect_sum(float *sums, size_t count, uint64_t seed, const uint32_t *members, uint32_t member_count,
                       bool in_rank_order)
{
  float *one = allocate(count);
  for (size_t i = 0; i < count; i++)
    sums[i] = 0;
  for (uint32_t m = 0; m < member_count; m++) {
    fill(one, count, seed, members[in_rank_order ? m : member_count - 1 - m]);
    for (size_t i = 0; i < count; i++)
      sums[i] = m ? sums[i] + one[i] : one[i];
  }
  free(one);
}

static const uint32_t all_ranks[RANKS_MAX] = {0, 1, 2, 3, 4};

static void check_bits(const float *device_values, const float *expected, size_t count)
{
  float *values = allocate(count);
  from_device(values, device_values, (count + 1) * sizeof *values);
  for (size_t i = 0; i < count; i++)
    CHECK_MSG(memcmp(values + i, expected + i, sizeof *values) == 0, "sum %zu of %zu: %.9g, expected %.9g", i, count,
              (double)values[i], (double)expected[i]);
  CHECK(values[count] == 123); /* the float behind is not touched */
  free(values);
}

static void check_sum(const world *w, uint32_t rank, hotrow_comm *comm, size_t count, uint64_t seed,
                      const uint32_t *members)
{
  float *host = allocate(count);
  fill(host, count, seed, rank);
  host[count] = 123;
  float *values = to_device(host, (count + 1) * sizeof *host);
  CHECK_OK(hotrow_comm_allreduce(comm, values, count));
  expect_sum(host, count, seed, members, hotrow_comm_world_size(comm), w->flags & HOTROW_COMM_RANK_ORDER);
  check_bits(values, host, count);
  base->free(values);
  free(host);
}

static void sums_of_all_sizes(world *w, uint32_t rank, hotrow_comm *comm)
{
  static const size_t counts[] = {0, 1, 1000, 70001};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    check_sum(w, rank, comm, counts[i], i, all_ranks);
}

static void a_sum_in_pieces(world *w, uint32_t rank, hotrow_comm *comm)
{
  check_sum(w, rank, comm, PIECE_FLOATS(w->size) + 3, 5, all_ranks);
}

static void sums_in_rank_order_have_the_bits_of_the_ring(void)
{
  run_world(2, 20000, HOTROW_COMM_RANK_ORDER, sums_of_all_sizes);
  run_world(3, 20000, HOTROW_COMM_RANK_ORDER, sums_of_all_sizes);
  run_world(5, 20000, HOTROW_COMM_RANK_ORDER, sums_of_all_sizes);
  run_world(5, 20000, HOTROW_COMM_RANK_ORDER, a_sum_in_pieces);
}

static void sums_of_nccl_are_its_own(void)
{
  run_world(2, 20000, 0, sums_of_all_sizes);
  run_world(5, 20000, 0, sums_of_all_sizes);
}

static void broadcasts_from_each_root(world *w, uint32_t rank, hotrow_comm *comm)
{
  static const size_t sizes[] = {0, 1, 4097};
  for (uint32_t root = 0; root < w->size; root++)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      uint8_t host[5000];
      memset(host, rank == root ? (int)(root + 7) : 0xee, sizeof host);
      uint8_t *bytes = to_device(host, sizeof host);
      CHECK_OK(hotrow_comm_broadcast(comm, bytes, sizes[i], root));
      from_device(host, bytes, sizeof host);
      for (size_t b = 0; b < sizeof host; b++)
        CHECK_EQ(host[b], b < sizes[i] || rank == root ? root + 7 : 0xee);
      base->free(bytes);
    }
  CHECK_FAILS(hotrow_comm_broadcast(comm, NULL, 0, w->size), HOTROW_ERR_INVALID, "root");
}

static void broadcasts_reach_everyone(void)
{
  run_world(3, 20000, 0, broadcasts_from_each_root);
}

static void a_barrier_holds_here(world *w, uint32_t rank, hotrow_comm *comm)
{
  static atomic_uint here;
  (void)rank;
  atomic_fetch_add(&here, 1);
  CHECK_OK(hotrow_comm_barrier(comm));
  CHECK(atomic_load(&here) == w->size);
}

static void a_barrier_holds(void)
{
  run_world(3, 20000, 0, a_barrier_holds_here);
}

/* ---- two parts of one array, behind what the caller has queued ---- */

static void *run_with_stream(void *context)
{
  rank_thread *t = context;
  hotrow_client *client = test_open(t->world->servers.endpoints, t->rank, t->world->size);
  hotrow_comm_options options = options_of(t->world, t->rank, client);
  hotrow_comm *comm;
  enum { COUNT = 3000, TOP = 1100 };
  static _Thread_local float host[COUNT + 1], late[TOP];
  CHECK_OK(kernels->stream_create(false, &options.stream));
  CHECK_OK(hr_comm_open_over(&options, &fake_nccl, kernels, &comm));
  fill(host, COUNT, 3, t->rank);
  host[COUNT] = 123;
  memcpy(late, host, sizeof late);
  memset(host, 0, sizeof late); /* the top part is still being computed when its sum is begun */
  float *values = to_device(host, sizeof host);
  CHECK_OK(hotrow_comm_allreduce_begin(comm, values + TOP, COUNT - TOP));
  CHECK_OK(kernels->copy_in(values, late, sizeof late, options.stream));
  CHECK_OK(hotrow_comm_allreduce_begin(comm, values, TOP));
  CHECK_OK(hotrow_comm_wait(comm));
  expect_sum(host, COUNT, 3, all_ranks, t->world->size, t->world->flags & HOTROW_COMM_RANK_ORDER);
  check_bits(values, host, COUNT);
  CHECK_OK(hotrow_comm_allreduce_begin(comm, values, TOP)); /* nobody waits: given up */
  hotrow_comm_close(comm);
  base->free(values);
  kernels->stream_destroy(options.stream);
  hotrow_client_close(client);
  return NULL;
}

static void two_parts_are_begun_and_waited_for(void)
{
  world w = {.size = 3, .timeout_ms = 20000, .flags = HOTROW_COMM_RANK_ORDER};
  run_threads(&w, run_with_stream);
  w.flags = 0;
  run_threads(&w, run_with_stream);
}

/* ---- lost ranks ---- */

static void rank_1_is_lost(world *w, uint32_t rank, hotrow_comm *comm)
{
  static const uint32_t survivors[] = {0, 2, 3}, lost_first[] = {1}, lost_next[] = {0, 2}, left[] = {2};
  if (rank == 1)
    return;
  check_sum(w, rank, comm, 500, 1, all_ranks);
  float host[10] = {0}, *values = to_device(host, sizeof host);
  CHECK_FAILS(hotrow_comm_allreduce(comm, values, 10), HOTROW_ERR_TIMED_OUT, "of 10 floats is not done after 5000 ms");
  CHECK_FAILS(hotrow_comm_barrier(comm), HOTROW_ERR_TIMED_OUT, "of 10 floats is not done"); /* broken for good */
  CHECK_FAILS(hotrow_comm_broadcast(comm, values, 4, 0), HOTROW_ERR_TIMED_OUT, "of 10 floats is not done");
  CHECK_FAILS(hotrow_comm_wait(comm), HOTROW_ERR_TIMED_OUT, "of 10 floats is not done");
  CHECK_OK(hotrow_comm_shrink(comm, lost_first, 1));
  base->free(values); /* the caller's again */
  CHECK_EQ(hotrow_comm_world_size(comm), 3);
  CHECK_EQ(hotrow_comm_rank(comm), rank == 0 ? 0 : rank - 1);
  check_sum(w, rank, comm, 500, 2, survivors);
  check_sum(w, rank, comm, PIECE_FLOATS(3) / 100, 2, survivors);
  if (rank != 2)
    return;
  CHECK_OK(hotrow_comm_shrink(comm, lost_next, 2)); /* a whole one too, and to nobody else */
  CHECK_EQ(hotrow_comm_world_size(comm), 1);
  CHECK_EQ(hotrow_comm_rank(comm), 0);
  CHECK_EQ(hotrow_comm_get_kind(comm), HOTROW_COMM_LOCAL);
  check_sum(w, rank, comm, 500, 3, left);
}

static void *run_rank_1_leaves(void *context)
{
  rank_thread *t = context;
  hotrow_client *client = test_open(t->world->servers.endpoints, t->rank, t->world->size);
  hotrow_comm_options options = options_of(t->world, t->rank, client);
  hotrow_comm *comm;
  CHECK_OK(hr_comm_open_over(&options, &fake_nccl, kernels, &comm));
  if (t->rank == 1)
    check_sum(t->world, 1, comm, 500, 1, all_ranks);
  rank_1_is_lost(t->world, t->rank, comm);
  hotrow_comm_close(comm);
  hotrow_client_close(client);
  return NULL;
}

static void survivors_go_on(void)
{
  world w = {.size = 4, .timeout_ms = 5000, .flags = HOTROW_COMM_RANK_ORDER};
  atomic_store(&tended, 0);
  run_threads(&w, run_rank_1_leaves);
  CHECK(atomic_load(&tended) >= 3); /* of about 60: while others were waited for */
  w.flags = 0;
  run_threads(&w, run_rank_1_leaves);
}

static void lists_are_checked(world *w, uint32_t rank, hotrow_comm *comm)
{
  const uint32_t self[] = {rank}, beyond[] = {2}, twice[] = {1 - rank, 1 - rank};
  CHECK_FAILS(hotrow_comm_shrink(NULL, beyond, 1), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_comm_shrink(comm, NULL, 1), HOTROW_ERR_INVALID, "no rank is lost");
  CHECK_FAILS(hotrow_comm_shrink(comm, beyond, 0), HOTROW_ERR_INVALID, "no rank is lost");
  CHECK_FAILS(hotrow_comm_shrink(comm, self, 1), HOTROW_ERR_INVALID, "is lost, says rank");
  CHECK_FAILS(hotrow_comm_shrink(comm, beyond, 1), HOTROW_ERR_INVALID, "rank 2 is lost, says rank");
  CHECK_FAILS(hotrow_comm_shrink(comm, twice, 2), HOTROW_ERR_INVALID, "ascending");
  check_sum(w, rank, comm, 10, 1, all_ranks); /* nothing has happened */
}

static void a_failed_shrink_is_the_end(world *w, uint32_t rank, hotrow_comm *comm)
{
  (void)w;
  const uint32_t lost = 2;
  if (rank == 2)
    return;
  fake = (fake_plan){.call = FAKE_SHRINK, .result = HR_NCCL_REMOTE_ERROR};
  CHECK_FAILS(hotrow_comm_shrink(comm, &lost, 1), HOTROW_ERR_UNREACHABLE, "shrinking a world of 3 by 1");
  fake = (fake_plan){0};
  CHECK_FAILS(hotrow_comm_barrier(comm), HOTROW_ERR_UNREACHABLE, "shrinking a world of 3 by 1");
  CHECK_FAILS(hotrow_comm_shrink(comm, &lost, 1), HOTROW_ERR_INVALID, "close it and open another");
}

static void shrinks_are_checked(void)
{
  run_world(2, 20000, 0, lists_are_checked);
  run_world(3, 20000, 0, a_failed_shrink_is_the_end);
}

/* ---- meeting ---- */

static void one_sum(world *w, uint32_t rank, hotrow_comm *comm)
{
  check_sum(w, rank, comm, 10, 1, all_ranks);
}

static void a_communicator_of_the_same_name_is_a_new_one(void)
{
  openings = 3;
  run_world(3, 5000, 0, one_sum);
  openings = 1;
}

static pthread_barrier_t both;

static void *meet_in_vain(void *context)
{
  rank_thread *t = context;
  hotrow_client *client = test_open(t->world->servers.endpoints, t->rank, 2);
  hotrow_comm_options options = options_of(t->world, t->rank, client);
  hotrow_comm *none = NULL;
  hr_nccl_id id;
  /* Rank 0 cannot make an id: it says why, and the other that not all came. */
  fake = (fake_plan){.call = t->rank ? FAKE_NOTHING : FAKE_GET_ID, .result = HR_NCCL_SYSTEM_ERROR};
  if (t->rank == 0)
    CHECK_FAILS(hr_nccl_meet(&options, &fake_nccl, &id), HOTROW_ERR_UNREACHABLE,
                "making an id: NCCL says system error");
  else
    CHECK_FAILS(hr_nccl_meet(&options, &fake_nccl, &id), HOTROW_ERR_TIMED_OUT, "barrier");
  pthread_barrier_wait(&both);
  fake = (fake_plan){.call = FAKE_GET_VERSION, .result = HR_NCCL_INTERNAL_ERROR};
  CHECK_FAILS(hr_nccl_meet(&options, &fake_nccl, &id), HOTROW_ERR_INTERNAL,
              "asking for the version: NCCL says internal");
  fake = (fake_plan){0};
  options.timeout_ms = 5000;
  CHECK_OK(hr_nccl_meet(&options, &fake_nccl, &id));
  /* Rank 0 does not leave an id: what is there is of the meeting before. */
  if (t->rank == 0)
    CHECK_OK(hotrow_barrier(client, 0));
  else
    CHECK_FAILS(hr_nccl_meet(&options, &fake_nccl, &id), HOTROW_ERR_PROTOCOL,
                "what rank 0 left is not of this meeting");
  /* Another version: rank 1 says so, and rank 0 waits for it in NCCL. */
  fake.version = t->rank ? 22703 : 0;
  options.timeout_ms = t->rank ? 10000 : 1000;
  pthread_barrier_wait(&both);
  if (t->rank == 0)
    CHECK_FAILS(hr_comm_open_over(&options, &fake_nccl, kernels, &none), HOTROW_ERR_TIMED_OUT,
                "communicator dense of 2 ranks is not done after 1000 ms");
  else
    CHECK_FAILS(hr_comm_open_over(&options, &fake_nccl, kernels, &none), HOTROW_ERR_VERSION,
                "rank 0 has NCCL 22809 in a world of 2, this rank 22703 in one of 2");
  CHECK(!none);
  hotrow_client_close(client);
  return NULL;
}

static void ranks_that_do_not_meet_say_why(void)
{
  world w = {.size = 2, .timeout_ms = 200};
  pthread_barrier_init(&both, NULL, 2);
  run_threads(&w, meet_in_vain);
  pthread_barrier_destroy(&both);
}

/* ---- a ring, of arrays on a device ---- */

static void *run_staged_ring(void *context)
{
  rank_thread *t = context;
  hotrow_client *client = test_open(t->world->servers.endpoints, t->rank, t->world->size);
  hotrow_comm_options options = options_of(t->world, t->rank, client);
  hotrow_comm *comm;
  options.kind = HOTROW_COMM_RING;
  CHECK_OK(hr_comm_open_over(&options, NULL, kernels, &comm));
  CHECK_EQ(hotrow_comm_get_kind(comm), HOTROW_COMM_RING);
  for (size_t count = 0; count < 3 << 20; count = count * 11 + 1) /* 4 MiB go at a time */
    check_sum(t->world, t->rank, comm, count, count, all_ranks);
  broadcasts_from_each_root(t->world, t->rank, comm);
  hotrow_comm_close(comm);
  hotrow_client_close(client);
  return NULL;
}

static void a_ring_sums_what_lies_on_a_device(void)
{
  world w = {.size = 3, .timeout_ms = 20000, .flags = HOTROW_COMM_RANK_ORDER};
  run_threads(&w, run_staged_ring);
}

static void options_are_checked(void)
{
  test_servers servers;
  test_start(&servers, 1, NULL, NULL);
  hotrow_comm_options options = options_alone(0);
  hotrow_client *client = test_open(servers.endpoints, 1, 3);
  hotrow_comm *none = NULL;
  options.client = client;
  options.device = HOTROW_CPU;
  CHECK_FAILS(hotrow_comm_open(&options, &none), HOTROW_ERR_INVALID, "these are in host memory");
  options.device = (hotrow_device)9;
  options.kind = HOTROW_COMM_RING;
  CHECK_FAILS(hotrow_comm_open(&options, &none), HOTROW_ERR_INVALID, "device 9");
  options = options_alone(2);
  CHECK_FAILS(hotrow_comm_open(&options, &none), HOTROW_ERR_INVALID, "flags 0x2");
  options = options_alone(0);
  options.kind = (hotrow_comm_kind)4;
  CHECK_FAILS(hotrow_comm_open(&options, &none), HOTROW_ERR_INVALID, "kind 4");
  options = options_alone(0);
  CHECK_FAILS(hotrow_comm_open(&options, &none), HOTROW_ERR_INVALID, "needs a client");
  CHECK(!none);
  hotrow_client_close(client);
  test_stop(&servers);
}

int main(int argc, char **argv)
{
  nccl_test_open(argc, argv);
  RUN(options_are_checked);
  RUN(sums_in_rank_order_have_the_bits_of_the_ring);
  RUN(sums_of_nccl_are_its_own);
  RUN(broadcasts_reach_everyone);
  RUN(a_barrier_holds);
  RUN(two_parts_are_begun_and_waited_for);
  RUN(survivors_go_on);
  RUN(shrinks_are_checked);
  RUN(a_communicator_of_the_same_name_is_a_new_one);
  RUN(ranks_that_do_not_meet_say_why);
  RUN(a_ring_sums_what_lies_on_a_device);
  return 0;
}
