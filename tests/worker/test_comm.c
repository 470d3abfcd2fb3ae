/* The ring against the plain loop: each rank is a thread with a client of its own. */
#include "worker_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <zmq.h>

#include <hotrow/comm.h>

#define RANKS_MAX 5
#define COUNT_MAX 300000

typedef struct world {
  test_servers servers;
  uint32_t size;
  uint64_t seed;
  void (*body)(struct world *world, uint32_t rank, hotrow_comm *comm);
  uint32_t timeout_ms;
  const char *name;
} world;

typedef struct rank_thread {
  world *world;
  uint32_t rank;
  pthread_t thread;
} rank_thread;

static int openings = 1; /* how often each rank opens its communicator */

static atomic_uint tended;

static void tend(void *context)
{
  hotrow_tend(context);
  atomic_fetch_add(&tended, 1);
}

static void *run_rank(void *context)
{
  rank_thread *t = context;
  hotrow_client *client = test_open(t->world->servers.endpoints, t->rank, t->world->size);
  hotrow_comm_options options = HOTROW_COMM_OPTIONS_INIT;
  hotrow_comm *comm;
  options.client = client;
  options.rank = t->rank;
  options.world_size = t->world->size;
  options.timeout_ms = t->world->timeout_ms;
  options.while_waiting = tend;
  options.context = client;
  for (int i = 0; i < openings; i++) {
    if (i && t->rank == 0) /* late: the others would find its old address */
      zmq_poll(NULL, 0, 100);
    CHECK_OK(hotrow_comm_open(&options, &comm));
    t->world->body(t->world, t->rank, comm);
    hotrow_comm_close(comm);
  }
  hotrow_client_close(client);
  return NULL;
}

static void run_world(uint32_t size, uint32_t timeout_ms, void (*body)(world *, uint32_t, hotrow_comm *))
{
  world w = {.size = size, .seed = 11, .body = body, .timeout_ms = timeout_ms};
  rank_thread threads[RANKS_MAX];
  test_start(&w.servers, 1, NULL, NULL);
  for (uint32_t r = 0; r < size; r++) {
    threads[r] = (rank_thread){.world = &w, .rank = r};
    CHECK_EQ(pthread_create(&threads[r].thread, NULL, run_rank, &threads[r]), 0);
  }
  for (uint32_t r = 0; r < size; r++)
    CHECK_EQ(pthread_join(threads[r].thread, NULL), 0);
  test_stop(&w.servers);
}

static float *allocate(size_t count)
{
  float *values = malloc((count + 1) * sizeof *values);
  CHECK(values);
  return values;
}

static void fill(float *values, size_t count, uint64_t seed)
{
  hr_rng rng = {seed};
  for (size_t i = 0; i < count; i++)
    values[i] = (hr_rng_unit(&rng) - 0.5f) * (float)(1u << hr_rng_below(&rng, 24)); /* order shows in the bits */
}

static void check_sum(world *w, uint32_t rank, hotrow_comm *comm, size_t count, uint64_t seed)
{
  float *own = allocate(count), *ranks[RANKS_MAX];
  for (uint32_t r = 0; r < w->size; r++) {
    ranks[r] = allocate(count);
    fill(ranks[r], count, seed + r);
  }
  memcpy(own, ranks[rank], count * sizeof *own);
  own[count] = 123; /* the float behind is not touched */
  CHECK_OK(hotrow_comm_allreduce(comm, own, count));
  hotrow_comm_allreduce_local(ranks, w->size, count);
  CHECK_MSG(memcmp(own, ranks[rank], count * sizeof *own) == 0 && own[count] == 123, "rank %u of %u, %zu floats", rank,
            w->size, count);
  for (uint32_t r = 0; r < w->size; r++)
    free(ranks[r]);
  free(own);
}

static void sums_of_all_sizes(world *w, uint32_t rank, hotrow_comm *comm)
{
  static const size_t counts[] = {0, 1, 65535, 65536, 65537, COUNT_MAX};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
    check_sum(w, rank, comm, counts[i], w->seed + 100 * i);
}

static void sums_have_the_bits_of_the_loop(void)
{
  static const uint32_t sizes[] = {1, 2, 3, 5};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    run_world(sizes[i], 20000, sums_of_all_sizes);
}

static void check_broadcast(world *w, uint32_t rank, hotrow_comm *comm, uint32_t root, size_t size)
{
  uint8_t *bytes = malloc(size + 1);
  CHECK(bytes);
  for (size_t i = 0; i < size; i++)
    bytes[i] = rank == root ? (uint8_t)(i * 31 + root) : 0xee;
  bytes[size] = 0x55;
  CHECK_OK(hotrow_comm_broadcast(comm, bytes, size, root));
  for (size_t i = 0; i < size; i++)
    CHECK(bytes[i] == (uint8_t)(i * 31 + root));
  CHECK_EQ(bytes[size], 0x55);
  free(bytes);
  CHECK_FAILS(hotrow_comm_broadcast(comm, NULL, 0, w->size), HOTROW_ERR_INVALID, "root");
}

static void broadcasts_from_each_root(world *w, uint32_t rank, hotrow_comm *comm)
{
  static const size_t sizes[] = {0, 1, 262143, 262144, 262145, 1000003};
  for (uint32_t root = 0; root < w->size; root++)
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
      check_broadcast(w, rank, comm, root, sizes[i]);
}

static void broadcasts_reach_everyone(void)
{
  for (uint32_t size = 1; size <= 3; size++)
    run_world(size, 20000, broadcasts_from_each_root);
}

/* Many operations of all kinds, one after the other: none may take what belongs to the next. */
static void many_operations(world *w, uint32_t rank, hotrow_comm *comm)
{
  static atomic_uint left;
  if (rank == 0)
    CHECK(atomic_load(&left) == 0);
  CHECK_OK(hotrow_comm_barrier(comm));
  hr_rng rng = {w->seed}; /* the same choices on every rank */
  for (int i = 1; i <= 150; i++) {
    switch (hr_rng_below(&rng, 3)) {
    case 0:
      check_sum(w, rank, comm, hr_rng_below(&rng, 2000), (uint64_t)i * 1000);
      break;
    case 1:
      check_broadcast(w, rank, comm, (uint32_t)hr_rng_below(&rng, w->size), hr_rng_below(&rng, 2000));
      break;
    default:
      CHECK_OK(hotrow_comm_barrier(comm));
    }
  }
  /* A barrier holds: nobody is through before all have come. */
  atomic_fetch_add(&left, 1);
  CHECK_OK(hotrow_comm_barrier(comm));
  CHECK(atomic_load(&left) == w->size);
  CHECK_OK(hotrow_comm_barrier(comm));
  if (rank == 0)
    atomic_store(&left, 0);
}

static void operations_follow_one_another(void)
{
  run_world(2, 20000, many_operations);
  run_world(3, 20000, many_operations);
}

static void rank_1_dies(world *w, uint32_t rank, hotrow_comm *comm)
{
  float value = 1;
  if (rank == 1)
    return;
  char words[64];
  uint64_t begin = hr_now_ns();
  snprintf(words, sizeof words, "rank %u has been silent", (rank + w->size - 1) % w->size);
  CHECK_FAILS(hotrow_comm_allreduce(comm, &value, 1), HOTROW_ERR_TIMED_OUT, words);
  CHECK(test_elapsed_ms(begin) >= w->timeout_ms && test_elapsed_ms(begin) < w->timeout_ms + 1500);
  CHECK_FAILS(hotrow_comm_barrier(comm), HOTROW_ERR_TIMED_OUT, words); /* broken for good */
  CHECK_FAILS(hotrow_comm_broadcast(comm, &value, 4, 0), HOTROW_ERR_TIMED_OUT, words);
}

static void a_dead_rank_is_noticed(void)
{
  atomic_store(&tended, 0);
  run_world(2, 1000, rank_1_dies);
  CHECK(atomic_load(&tended) >= 5); /* of about 20 */
  run_world(3, 1000, rank_1_dies);
}

/* Rank 1 of 4 is lost; then those that are left lose two more. Who is who by the first ranks: values say so. */
static void check_sum_of(uint32_t rank, hotrow_comm *comm, const uint32_t *members, uint32_t member_count)
{
  enum { COUNT = 70000 };
  static _Thread_local float own[COUNT], sums[COUNT], one[COUNT];
  fill(own, COUNT, 900 + rank);
  for (uint32_t m = 0; m < member_count; m++) {
    fill(one, COUNT, 900 + members[m]);
    for (size_t i = 0; i < COUNT; i++)
      sums[i] = m ? sums[i] + one[i] : one[i];
  }
  CHECK_OK(hotrow_comm_allreduce(comm, own, COUNT));
  CHECK(memcmp(own, sums, sizeof own) == 0);
}

static void survivors_go_on_here(world *w, uint32_t rank, hotrow_comm *comm)
{
  static const uint32_t lost_first[] = {1}, survivors[] = {0, 2, 3}, lost_next[] = {0}, left[] = {2, 3};
  float value = 1;
  CHECK_EQ(hotrow_comm_get_kind(comm), HOTROW_COMM_RING);
  check_sum(w, rank, comm, 100, 1);
  if (rank == 1)
    return;
  if (rank == 3) { /* has heard of it otherwise, and not begun the sum that the others have */
    zmq_poll(NULL, 0, 800);
  } else {
    CHECK_FAILS(hotrow_comm_allreduce(comm, &value, 1), HOTROW_ERR_TIMED_OUT, "has been silent");
    CHECK_FAILS(hotrow_comm_wait(comm), HOTROW_ERR_TIMED_OUT, "has been silent");
  }
  CHECK_OK(hotrow_comm_shrink(comm, lost_first, 1));
  CHECK_EQ(hotrow_comm_world_size(comm), 3);
  CHECK_EQ(hotrow_comm_rank(comm), rank == 0 ? 0 : rank - 1);
  check_sum_of(rank, comm, survivors, 3);
  CHECK_OK(hotrow_comm_barrier(comm));
  if (rank == 0)
    return;
  CHECK_OK(hotrow_comm_shrink(comm, lost_next, 1)); /* a whole ring too */
  CHECK_EQ(hotrow_comm_world_size(comm), 2);
  CHECK_EQ(hotrow_comm_rank(comm), rank - 2);
  check_sum_of(rank, comm, left, 2);
  if (rank == 2)
    return;
  const uint32_t last = 0;
  CHECK_OK(hotrow_comm_shrink(comm, &last, 1));
  CHECK_EQ(hotrow_comm_get_kind(comm), HOTROW_COMM_LOCAL);
  CHECK_OK(hotrow_comm_allreduce(comm, &value, 1));
}

static void survivors_go_on(void)
{
  run_world(4, 1000, survivors_go_on_here);
}

static void nobody_comes_to_a_shrink(world *w, uint32_t rank, hotrow_comm *comm)
{
  const uint32_t lost = 2;
  (void)w;
  if (rank != 0)
    return;
  CHECK_FAILS(hotrow_comm_shrink(comm, &lost, 1), HOTROW_ERR_TIMED_OUT, "rank 1 did not come within 500 ms");
  CHECK_FAILS(hotrow_comm_barrier(comm), HOTROW_ERR_TIMED_OUT, "rank 1 did not come");
  CHECK_FAILS(hotrow_comm_shrink(comm, &lost, 1), HOTROW_ERR_INVALID, "close it and open another");
}

static void a_shrink_that_fails_is_the_end(void)
{
  run_world(3, 500, nobody_comes_to_a_shrink);
}

static void sums_begun(world *w, uint32_t rank, hotrow_comm *comm)
{
  enum { COUNT = 1000, TOP = 300 };
  float own[COUNT], ranks[3][COUNT], *all[3];
  for (uint32_t r = 0; r < w->size; r++) {
    fill(ranks[r], COUNT, r);
    all[r] = ranks[r];
  }
  memcpy(own, ranks[rank], sizeof own);
  CHECK_OK(hotrow_comm_allreduce_begin(comm, own + TOP, COUNT - TOP));
  CHECK_OK(hotrow_comm_allreduce_begin(comm, own, TOP));
  CHECK_OK(hotrow_comm_wait(comm));
  hotrow_comm_allreduce_local(all, w->size, COUNT);
  CHECK(memcmp(own, ranks[rank], sizeof own) == 0);
}

static void parts_have_the_bits_of_the_whole(void)
{
  run_world(1, 5000, sums_begun);
  run_world(3, 5000, sums_begun);
}

static void counts_differ(world *w, uint32_t rank, hotrow_comm *comm)
{
  float values[8] = {0};
  (void)w;
  if (rank == 0) /* hears nothing more of the other */
    CHECK_FAILS(hotrow_comm_allreduce(comm, values, 4), HOTROW_ERR_TIMED_OUT, "rank 1");
  else
    CHECK_FAILS(hotrow_comm_allreduce(comm, values, 5), HOTROW_ERR_PROTOCOL, "rank 0 has 16 bytes, this rank 20");
}

static void operations_differ(world *w, uint32_t rank, hotrow_comm *comm)
{
  float values[8] = {0};
  (void)w;
  if (rank == 0)
    CHECK_FAILS(hotrow_comm_allreduce(comm, values, 4), HOTROW_ERR_TIMED_OUT, "rank 1");
  else
    CHECK_FAILS(hotrow_comm_broadcast(comm, values, 16, 0), HOTROW_ERR_PROTOCOL, "phase 1");
}

static void disagreement_is_found_out(void)
{
  run_world(2, 700, counts_differ);
  run_world(2, 700, operations_differ);
}

/* A stranger who finds the port writes into the ring: one part, three parts, wrong magic, too long. */
static void strangers_write(world *w, uint32_t rank, hotrow_comm *comm)
{
  if (rank == 0) {
    hotrow_client_options options = test_options(w->servers.endpoints, 0, 1);
    hotrow_client_options reader = options;
    hotrow_client *client;
    char endpoint[128], *big = calloc(1, 300000);
    size_t size;
    reader.read_only = 1;
    CHECK(big);
    CHECK_OK(hotrow_client_open(&reader, &client));
    CHECK_OK(hotrow_blob_get(client, "comm.dense.1", endpoint, sizeof endpoint - 1, &size, 0));
    endpoint[size] = 0;
    hotrow_client_close(client);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_PUSH);
    CHECK_EQ(zmq_connect(socket, endpoint), 0);
    for (int i = 0; i < 20; i++) {
      CHECK(zmq_send(socket, "hello", 5, 0) >= 0);
      CHECK(zmq_send(socket, big, 40, ZMQ_SNDMORE) >= 0 && zmq_send(socket, big, 16, 0) >= 0);
      CHECK(zmq_send(socket, big, 40, ZMQ_SNDMORE) >= 0 && zmq_send(socket, big, 300000, 0) >= 0);
      CHECK(zmq_send(socket, "", 0, ZMQ_SNDMORE) >= 0 && zmq_send(socket, "", 0, ZMQ_SNDMORE) >= 0 &&
            zmq_send(socket, "", 0, 0) >= 0);
    }
    zmq_close(socket); /* lingers until all is sent */
    zmq_ctx_term(context);
    free(big);
  }
  for (int i = 0; i < 20; i++)
    check_sum(w, rank, comm, 1000, (uint64_t)i);
}

static void strangers_are_ignored(void)
{
  run_world(2, 20000, strangers_write);
}

static void options_are_checked(void)
{
  test_servers servers;
  test_start(&servers, 1, NULL, NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 2);
  hotrow_comm *none = NULL;
  hotrow_comm_options good = HOTROW_COMM_OPTIONS_INIT, o;
  good.client = client;
  good.world_size = 2;
  good.timeout_ms = 200;
  CHECK_FAILS(hotrow_comm_open(NULL, &none), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_comm_open(&good, NULL), HOTROW_ERR_INVALID, "NULL");
#define REFUSES(change, status, words)                                                                                 \
  do {                                                                                                                 \
    o = good;                                                                                                          \
    change;                                                                                                            \
    CHECK_FAILS(hotrow_comm_open(&o, &none), status, words);                                                           \
  } while (0)
  REFUSES(o.struct_size = 1, HOTROW_ERR_INVALID, "struct_size");
  REFUSES(o.world_size = 0, HOTROW_ERR_INVALID, "world of 0");
  REFUSES(o.world_size = HOTROW_WORLD_MAX + 1, HOTROW_ERR_INVALID, "world of 4097");
  REFUSES(o.rank = 2, HOTROW_ERR_INVALID, "rank 2 of a world of 2");
  REFUSES(o.kind = HOTROW_COMM_LOCAL, HOTROW_ERR_INVALID, "hotrow_comm_allreduce_local");
  REFUSES(o.kind = (hotrow_comm_kind)7, HOTROW_ERR_INVALID, "kind 7");
  REFUSES(o.client = NULL, HOTROW_ERR_INVALID, "needs a client");
  REFUSES(o.rank = 1, HOTROW_ERR_INVALID, "its client is rank 0 of 2");
  REFUSES(o.world_size = 3, HOTROW_ERR_INVALID, "its client is rank 0 of 2");
  REFUSES(o.host = "0.0.0.0", HOTROW_ERR_INVALID, "not a loopback address");
  REFUSES(o.host = "10.0.0.1", HOTROW_ERR_INVALID, "not a loopback address");
  REFUSES(o.host = "127.evil", HOTROW_ERR_INVALID, "not a loopback address");
  REFUSES(o.name = "a b", HOTROW_ERR_INVALID, "name has byte 0x20");
  REFUSES((void)0, HOTROW_ERR_TIMED_OUT, "rank 1 did not come within 200 ms");
#undef REFUSES
  CHECK(!none);
  CHECK_FAILS(hotrow_comm_allreduce(NULL, NULL, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_comm_broadcast(NULL, NULL, 0, 0), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_comm_barrier(NULL), HOTROW_ERR_INVALID, "NULL");
  CHECK_FAILS(hotrow_comm_wait(NULL), HOTROW_ERR_INVALID, "NULL");
  hotrow_comm_close(NULL);
  hotrow_client_close(client);
  test_stop(&servers);
}

/* A world of one needs nobody, whatever kind is asked for. */
static void a_world_of_one_is_its_own_ring(void)
{
  for (int kind = HOTROW_COMM_AUTO; kind <= HOTROW_COMM_NCCL; kind++) {
    hotrow_comm_options options = HOTROW_COMM_OPTIONS_INIT;
    hotrow_comm *comm;
    float value = 3;
    options.world_size = 1;
    options.kind = (hotrow_comm_kind)kind;
    options.device = kind == HOTROW_COMM_NCCL ? HOTROW_CUDA : HOTROW_CPU;
    CHECK_OK(hotrow_comm_open(&options, &comm));
    CHECK_OK(hotrow_comm_allreduce(comm, &value, 1));
    CHECK(value == 3);
    CHECK_FAILS(hotrow_comm_allreduce(comm, NULL, 1), HOTROW_ERR_INVALID, "NULL");
    CHECK_FAILS(hotrow_comm_broadcast(comm, &value, 4, 1), HOTROW_ERR_INVALID, "root 1");
    CHECK_OK(hotrow_comm_barrier(comm));
    hotrow_comm_close(comm);
  }
}

static void one_sum(world *w, uint32_t rank, hotrow_comm *comm)
{
  check_sum(w, rank, comm, 10, 1);
}

/* The same clients meet again under the same name, while the addresses of the first ring are still on the shard. */
static void a_ring_of_the_same_name_is_a_new_ring(void)
{
  openings = 3;
  run_world(3, 5000, one_sum);
  openings = 1;
}

int main(void)
{
  hr_test_seed(11);
  RUN(options_are_checked);
  RUN(a_world_of_one_is_its_own_ring);
  RUN(sums_have_the_bits_of_the_loop);
  RUN(broadcasts_reach_everyone);
  RUN(operations_follow_one_another);
  RUN(a_ring_of_the_same_name_is_a_new_ring);
  RUN(strangers_are_ignored);
  RUN(disagreement_is_found_out);
  RUN(a_dead_rank_is_noticed);
  RUN(parts_have_the_bits_of_the_whole);
  RUN(survivors_go_on);
  RUN(a_shrink_that_fails_is_the_end);
  return 0;
}
