#include "fake_nccl.h"

#include <stdatomic.h>
#include <time.h>

#define WORLDS_MAX 256
#define OPERATIONS_MAX 512
#define IN_PROGRESS_POLLS 3 /* of every call, before it is what it is */

typedef enum operation_kind { ALL_REDUCE, ALL_GATHER, BROADCAST } operation_kind;

typedef struct operation {
  operation_kind kind;
  size_t size; /* bytes of one rank */
  uint32_t root, arrived_count, left_count;
  uint8_t *inputs[FAKE_RANKS_MAX];
} operation;

typedef struct fake_world {
  uint32_t size, joined_count;
  bool is_alone;
  operation operations[OPERATIONS_MAX];
  struct fake_world *smaller;
  struct fake_comm *comms[FAKE_RANKS_MAX]; /* kept to the end: what is queued may refer to them */
} fake_world;

typedef struct fake_comm {
  fake_world *world;
  uint32_t rank, operation_count;
  int polls_left; /* until it is no longer in progress */
  bool is_stuck, is_given_up, is_finalized;
  hr_nccl_result state;
  struct fake_comm *smaller; /* of a shrink, handed out by a thread of its own */
  void **smaller_p;
  pthread_t thread;
} fake_comm;

static fake_world *worlds[WORLDS_MAX];
static size_t world_count;
static atomic_int comm_count, aborted_count, destroyed_count;

/* Adds the last rank first: NCCL promises no order, and this is not the ring's. */
static void sum_backwards(const operation *done, uint32_t rank_count, float *sums)
{
  for (size_t i = 0; i < done->size / sizeof(float); i++) {
    sums[i] = 0;
    for (uint32_t r = rank_count; r-- > 0;)
      if (done->inputs[r]) {
        float value;
        memcpy(&value, done->inputs[r] + i * sizeof value, sizeof value);
        sums[i] += value;
      }
  }
}

static void give_result(const fake_item *what, const operation *done)
{
  const fake_world *world = what->comm->world;
  size_t size = done->kind == ALL_GATHER ? done->size * world->size : done->size;
  uint8_t *result = calloc(1, size);
  CHECK(result);
  if (done->kind == ALL_REDUCE)
    sum_backwards(done, world->size, (float *)(void *)result);
  else if (done->kind == BROADCAST && done->inputs[done->root])
    memcpy(result, done->inputs[done->root], size);
  for (uint32_t r = 0; done->kind == ALL_GATHER && r < world->size; r++)
    if (done->inputs[r])
      memcpy(result + r * done->size, done->inputs[r], done->size);
  fake_into_device(what->to, result, size);
  free(result);
}

/* True: all have come, and this rank has what it came for. */
static bool run_collective(fake_item *what)
{
  fake_comm *comm = what->comm;
  operation *op = &comm->world->operations[what->number];
  if (comm->is_given_up)
    return true;
  if (fake.is_silent)
    return false;
  if (!what->has_arrived) {
    op->inputs[comm->rank] = malloc(op->size);
    CHECK(op->inputs[comm->rank]);
    fake_from_device(op->inputs[comm->rank], what->from, op->size);
    op->arrived_count++;
    what->has_arrived = true;
  }
  if (op->arrived_count < comm->world->size && !comm->world->is_alone)
    return false;
  give_result(what, op);
  if (++op->left_count == (comm->world->is_alone ? 1 : comm->world->size))
    for (uint32_t r = 0; r < FAKE_RANKS_MAX; r++) {
      free(op->inputs[r]);
      op->inputs[r] = NULL;
    }
  return true;
}

/* ---- communicators ---- */

static fake_world *new_world(bool is_alone)
{
  fake_world *world = calloc(1, sizeof *world);
  CHECK(world && world_count < WORLDS_MAX);
  world->is_alone = is_alone;
  worlds[world_count++] = world;
  return world;
}

static fake_comm *new_comm(fake_world *world, uint32_t rank)
{
  fake_comm *comm = calloc(1, sizeof *comm);
  CHECK(comm && rank < FAKE_RANKS_MAX);
  comm->world = world;
  comm->rank = rank;
  comm->polls_left = IN_PROGRESS_POLLS;
  world->joined_count++;
  world->comms[rank] = comm;
  atomic_fetch_add(&comm_count, 1);
  return comm;
}

static hr_nccl_id id_of(fake_world *world)
{
  hr_nccl_id id = {{0}};
  memcpy(id.bytes, &world, sizeof world);
  return id;
}

hr_nccl_id fake_id_alone(void)
{
  pthread_mutex_lock(&fake_lock);
  hr_nccl_id id = id_of(new_world(true));
  pthread_mutex_unlock(&fake_lock);
  return id;
}

static hr_nccl_result get_version(int *version_p)
{
  if (fake_fails(FAKE_GET_VERSION))
    return (hr_nccl_result)fake.result;
  *version_p = fake.version ? fake.version : FAKE_VERSION;
  return HR_NCCL_SUCCESS;
}

static hr_nccl_result get_unique_id(hr_nccl_id *id_p)
{
  if (fake_fails(FAKE_GET_ID))
    return (hr_nccl_result)fake.result;
  pthread_mutex_lock(&fake_lock);
  *id_p = id_of(new_world(false));
  pthread_mutex_unlock(&fake_lock);
  return HR_NCCL_SUCCESS;
}

static hr_nccl_result comm_init(void **comm_p, uint32_t world_size, const hr_nccl_id *id, uint32_t rank)
{
  bool has_failed = fake_fails(FAKE_INIT);
  if (has_failed && (hr_nccl_result)fake.result == HR_NCCL_INVALID_ARGUMENT) /* there is none then */
    return (hr_nccl_result)fake.result;
  fake_world *world;
  memcpy(&world, id->bytes, sizeof world);
  pthread_mutex_lock(&fake_lock);
  world->size = world_size;
  fake_comm *comm = new_comm(world, rank);
  pthread_mutex_unlock(&fake_lock);
  *comm_p = comm;
  if (!has_failed)
    return HR_NCCL_IN_PROGRESS;
  comm->is_stuck = (hr_nccl_result)fake.result == HR_NCCL_IN_PROGRESS;
  comm->state = (hr_nccl_result)fake.result;
  return (hr_nccl_result)fake.result;
}

static hr_nccl_result comm_async_error(void *handle, hr_nccl_result *state_p)
{
  fake_comm *comm = handle;
  if (fake_fails(FAKE_ASYNC_ERROR))
    return comm->state = (hr_nccl_result)fake.result;
  if (fake_fails(FAKE_STATE)) {
    comm->is_stuck = (hr_nccl_result)fake.result == HR_NCCL_IN_PROGRESS;
    comm->state = (hr_nccl_result)fake.result;
  }
  pthread_mutex_lock(&fake_lock);
  bool is_joined = comm->world->is_alone || comm->world->joined_count >= comm->world->size;
  pthread_mutex_unlock(&fake_lock);
  if (comm->polls_left > 0 && is_joined && !comm->is_stuck)
    comm->polls_left--;
  *state_p =
      comm->is_stuck || (comm->polls_left > 0 && comm->state == HR_NCCL_SUCCESS) ? HR_NCCL_IN_PROGRESS : comm->state;
  return HR_NCCL_SUCCESS;
}

/* What every call on a communicator comes to. */
static hr_nccl_result call_on(fake_comm *comm, fake_call call)
{
  CHECK_MSG(comm->polls_left == 0 && !comm->is_stuck, "call %d on a communicator that is in progress", (int)call);
  CHECK_MSG(comm->state == HR_NCCL_SUCCESS && !comm->is_finalized, "call %d on a communicator that is of no use",
            (int)call);
  if (fake_fails(call)) {
    comm->is_stuck = (hr_nccl_result)fake.result == HR_NCCL_IN_PROGRESS;
    if ((hr_nccl_result)fake.result != HR_NCCL_INVALID_ARGUMENT) /* which has no effect */
      comm->state = (hr_nccl_result)fake.result;
    return (hr_nccl_result)fake.result;
  }
  comm->polls_left = IN_PROGRESS_POLLS;
  return HR_NCCL_IN_PROGRESS;
}

static hr_nccl_result comm_finalize(void *handle)
{
  fake_comm *comm = handle;
  hr_nccl_result result = call_on(comm, FAKE_FINALIZE);
  comm->is_finalized = true;
  return result;
}

static hr_nccl_result end(fake_comm *comm, fake_call call, atomic_int *ends)
{
  bool has_failed = fake_fails(call);
  pthread_mutex_lock(&fake_lock);
  comm->is_given_up = true;
  pthread_mutex_unlock(&fake_lock);
  if (comm->smaller)
    CHECK_EQ(pthread_join(comm->thread, NULL), 0);
  atomic_fetch_sub(&comm_count, 1);
  atomic_fetch_add(ends, 1);
  return has_failed ? (hr_nccl_result)fake.result : HR_NCCL_SUCCESS;
}

static hr_nccl_result comm_destroy(void *handle)
{
  fake_comm *comm = handle;
  CHECK(comm->is_finalized && comm->state == HR_NCCL_SUCCESS && comm->polls_left == 0 && !comm->is_given_up);
  return end(comm, FAKE_DESTROY, &destroyed_count);
}

static hr_nccl_result comm_abort(void *handle)
{
  fake_comm *comm = handle;
  CHECK(!comm->is_given_up);
  return end(comm, FAKE_ABORT, &aborted_count);
}

static void *hand_out(void *context)
{
  fake_comm *comm = context;
  nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL); /* long after the old one has said that it is done */
  __atomic_store_n(comm->smaller_p, comm->smaller, __ATOMIC_RELEASE);
  return NULL;
}

static hr_nccl_result comm_shrink(void *handle, const uint32_t *lost_ranks, uint32_t lost_count, void **smaller_p)
{
  fake_comm *comm = handle;
  if (fake_fails(FAKE_SHRINK)) {
    comm->is_stuck = (hr_nccl_result)fake.result == HR_NCCL_IN_PROGRESS;
    comm->state = (hr_nccl_result)fake.result;
    return (hr_nccl_result)fake.result;
  }
  if (comm->is_stuck || (comm->state == HR_NCCL_SUCCESS && comm->polls_left > 0))
    return HR_NCCL_INVALID_ARGUMENT;
  if (comm->state != HR_NCCL_SUCCESS) /* NCCL shrinks what is silent, not what has failed by itself */
    return comm->state;
  uint32_t rank = comm->rank;
  for (uint32_t i = 0; i < lost_count; i++)
    rank -= lost_ranks[i] < comm->rank;
  pthread_mutex_lock(&fake_lock);
  if (!comm->world->smaller) {
    comm->world->smaller = new_world(comm->world->is_alone);
    comm->world->smaller->size = comm->world->size - lost_count;
  }
  comm->smaller = new_comm(comm->world->smaller, rank);
  pthread_mutex_unlock(&fake_lock);
  comm->smaller_p = smaller_p;
  CHECK_EQ(pthread_create(&comm->thread, NULL, hand_out, comm), 0);
  comm->polls_left = IN_PROGRESS_POLLS;
  return HR_NCCL_IN_PROGRESS;
}

static hr_nccl_result begin(fake_item what, operation op, fake_call call, void *stream)
{
  fake_comm *comm = what.comm;
  hr_nccl_result result = call_on(comm, call);
  if (result != HR_NCCL_IN_PROGRESS || comm->is_stuck)
    return result;
  CHECK(comm->operation_count < OPERATIONS_MAX);
  what.run = run_collective;
  what.number = comm->operation_count++;
  pthread_mutex_lock(&fake_lock);
  operation *shared = &comm->world->operations[what.number];
  if (shared->size == 0) {
    shared->kind = op.kind;
    shared->size = op.size;
    shared->root = op.root;
  }
  CHECK_MSG(shared->kind == op.kind && shared->size == op.size && shared->root == op.root, "ranks disagree");
  pthread_mutex_unlock(&fake_lock);
  fake_queue(stream, what);
  return result;
}

static hr_nccl_result all_reduce(float *values, size_t count, void *comm, void *stream)
{
  return begin((fake_item){.from = values, .to = values, .comm = comm},
               (operation){.kind = ALL_REDUCE, .size = count * sizeof *values}, FAKE_ALL_REDUCE, stream);
}

static hr_nccl_result all_gather(const float *values, float *gathered, size_t count, void *comm, void *stream)
{
  return begin((fake_item){.from = values, .to = gathered, .comm = comm},
               (operation){.kind = ALL_GATHER, .size = count * sizeof *values}, FAKE_ALL_GATHER, stream);
}

static hr_nccl_result broadcast(void *bytes, size_t size, uint32_t root, void *comm, void *stream)
{
  return begin((fake_item){.from = bytes, .to = bytes, .comm = comm},
               (operation){.kind = BROADCAST, .size = size, .root = root}, FAKE_BROADCAST, stream);
}

static const char *error_string(hr_nccl_result result)
{
  static const char *const names[] = {"success",          "cuda error",    "system error", "internal error",
                                      "invalid argument", "invalid usage", "remote error", "in progress"};
  return (unsigned)result < sizeof names / sizeof *names ? names[result] : "unknown result";
}

static const char *last_error(void *comm)
{
  CHECK(comm);
  return "more of it\nand a second line";
}

const hr_nccl fake_nccl = {
    .get_version = get_version,
    .get_unique_id = get_unique_id,
    .comm_init = comm_init,
    .comm_async_error = comm_async_error,
    .comm_finalize = comm_finalize,
    .comm_destroy = comm_destroy,
    .comm_abort = comm_abort,
    .comm_shrink = comm_shrink,
    .all_reduce = all_reduce,
    .all_gather = all_gather,
    .broadcast = broadcast,
    .error_string = error_string,
    .last_error = last_error,
};

int fake_comm_count(void)
{
  return atomic_load(&comm_count);
}

void fake_take_ends(int *aborted_p, int *destroyed_p)
{
  *aborted_p = atomic_exchange(&aborted_count, 0);
  *destroyed_p = atomic_exchange(&destroyed_count, 0);
}
