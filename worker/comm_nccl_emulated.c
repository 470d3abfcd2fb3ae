/* NCCL among emulated GPUs, for tests: each process of a job has one, and what they give each other lies in memory that
 * they share. Only where HOTROW_EMULATOR_NCCL is on. A collective runs when its stream does and then waits for the
 * other ranks; once one of them is gone it is never done, as with NCCL. Sums have an order that is not the ring's. */
#include "comm_nccl.h"

#include <emulated_launch.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <hr/status.h>

#define VERSION 22809
#define RANKS_MAX 8u
#define SLOT_FLOATS ((size_t)64 << 10) /* of a rank at a time */
#define PAUSE_NS 50000

typedef struct seat {
  atomic_int pid; /* 0: nobody has come yet */
  atomic_bool is_given_up;
  atomic_ullong arrived; /* number of the last piece that is in its slot */
  atomic_ullong taken;   /* number of the last piece that it has taken from all slots */
  float slot[SLOT_FLOATS];
} seat;

typedef struct shared_world {
  seat seats[RANKS_MAX];
} shared_world;

typedef struct emulated_comm {
  shared_world *world; /* owned: mapped */
  int file;            /* owned: of the rank that made the id; else -1 */
  uint32_t rank, world_size;
  uint64_t piece;  /* number of the last one */
  bool is_silent;  /* a rank was gone when it was waited for */
  bool is_refused; /* two ranks are one process, and so one GPU */
  bool is_ended;
  size_t queued_count; /* collectives that refer to it */
} emulated_comm;

static int id_file = -1; /* of the last id */

static hr_nccl_result get_version(int *version_p)
{
  *version_p = VERSION;
  return HR_NCCL_SUCCESS;
}

/* The id is the path by which others find the memory: nothing is left when its maker has ended. */
static hr_nccl_result get_unique_id(hr_nccl_id *id_p)
{
  id_file = memfd_create("hotrow-nccl", MFD_CLOEXEC);
  if (id_file < 0 || ftruncate(id_file, sizeof(shared_world)) != 0)
    return HR_NCCL_SYSTEM_ERROR;
  *id_p = (hr_nccl_id){{0}};
  snprintf(id_p->bytes, sizeof id_p->bytes, "/proc/%d/fd/%d", (int)getpid(), id_file);
  return HR_NCCL_SUCCESS;
}

static hr_nccl_result comm_init(void **comm_p, uint32_t world_size, const hr_nccl_id *id, uint32_t rank)
{
  if (world_size > RANKS_MAX || rank >= world_size)
    return HR_NCCL_INVALID_ARGUMENT;
  emulated_comm *comm = calloc(1, sizeof *comm);
  int file = open(id->bytes, O_RDWR | O_CLOEXEC);
  void *world = file >= 0 ? mmap(NULL, sizeof(shared_world), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  if (file >= 0)
    close(file);
  if (comm == NULL || world == MAP_FAILED) {
    free(comm);
    return HR_NCCL_SYSTEM_ERROR;
  }
  *comm = (emulated_comm){.world = world, .file = rank == 0 ? id_file : -1, .rank = rank, .world_size = world_size};
  for (uint32_t r = 0; r < world_size; r++)
    comm->is_refused |= atomic_load(&comm->world->seats[r].pid) == (int)getpid();
  atomic_store(&comm->world->seats[rank].pid, (int)getpid());
  *comm_p = comm;
  return comm->is_refused ? HR_NCCL_INVALID_USAGE : HR_NCCL_IN_PROGRESS;
}

static hr_nccl_result comm_async_error(void *handle, hr_nccl_result *state_p)
{
  const emulated_comm *comm = handle;
  *state_p = comm->is_refused ? HR_NCCL_INVALID_USAGE : comm->is_silent ? HR_NCCL_IN_PROGRESS : HR_NCCL_SUCCESS;
  for (uint32_t r = 0; r < comm->world_size && *state_p == HR_NCCL_SUCCESS; r++)
    if (atomic_load(&comm->world->seats[r].pid) == 0)
      *state_p = HR_NCCL_IN_PROGRESS;
  return HR_NCCL_SUCCESS;
}

static hr_nccl_result comm_finalize(void *comm)
{
  (void)comm;
  return HR_NCCL_SUCCESS;
}

/* What is still queued when it is given up runs all the same, and does nothing. */
static void release(emulated_comm *comm)
{
  if (!comm->is_ended || comm->queued_count > 0)
    return;
  munmap(comm->world, sizeof(shared_world));
  if (comm->file >= 0)
    close(comm->file);
  free(comm);
}

static hr_nccl_result comm_end(void *handle)
{
  emulated_comm *comm = handle;
  atomic_store(&comm->world->seats[comm->rank].is_given_up, true);
  comm->is_ended = true;
  release(comm);
  return HR_NCCL_SUCCESS;
}

static hr_nccl_result comm_shrink(void *comm, const uint32_t *lost_ranks, uint32_t lost_count, void **smaller_p)
{
  (void)comm;
  (void)lost_ranks;
  (void)lost_count;
  (void)smaller_p;
  return HR_NCCL_INVALID_USAGE;
}

/* ---- collectives ---- */

typedef enum operation_kind { ALL_REDUCE, ALL_GATHER, BROADCAST } operation_kind;

typedef struct operation {
  operation_kind kind;
  emulated_comm *comm;
  const uint8_t *from;
  uint8_t *to;
  size_t size; /* bytes of one rank */
  uint32_t root;
} operation;

static bool is_gone(const seat *s)
{
  return atomic_load(&s->is_given_up) || (kill(atomic_load(&s->pid), 0) != 0 && errno == ESRCH);
}

/* Until all ranks have the number there; false: one of them never will. */
static bool await_all(emulated_comm *comm, size_t offset, uint64_t number)
{
  for (uint32_t r = 0; r < comm->world_size; r++) {
    seat *s = &comm->world->seats[r];
    const atomic_ullong *counter = (const atomic_ullong *)(const void *)((const uint8_t *)s + offset);
    while (atomic_load(counter) < number) {
      const bool was_gone = is_gone(s);
      if (was_gone && atomic_load(counter) < number) { /* not in between */
        comm->is_silent = true;
        return false;
      }
      nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
  }
  return true;
}

static void take_piece(const operation *op, size_t first, size_t size)
{
  const seat *seats = op->comm->world->seats;
  if (op->kind == BROADCAST)
    memcpy(op->to + first, seats[op->root].slot, size);
  for (uint32_t r = 0; op->kind == ALL_GATHER && r < op->comm->world_size; r++)
    memcpy(op->to + r * op->size + first, seats[r].slot, size);
  float *sums = (float *)(void *)(op->to + first);
  for (size_t i = 0; op->kind == ALL_REDUCE && i < size / sizeof *sums; i++) {
    sums[i] = 0;
    for (uint32_t r = op->comm->world_size; r-- > 0;)
      sums[i] += seats[r].slot[i];
  }
}

static void run_operation(void *context)
{
  const operation *op = context;
  emulated_comm *comm = op->comm;
  seat *own = &comm->world->seats[comm->rank];
  for (size_t first = 0; first < op->size && !comm->is_silent && !comm->is_ended; first += sizeof own->slot) {
    const size_t size = op->size - first < sizeof own->slot ? op->size - first : sizeof own->slot;
    const uint64_t number = ++comm->piece;
    if (!await_all(comm, offsetof(seat, taken), number - 1))
      break;
    memcpy(own->slot, op->from + first, size);
    atomic_store(&own->arrived, number);
    if (!await_all(comm, offsetof(seat, arrived), number))
      break;
    take_piece(op, first, size);
    atomic_store(&own->taken, number);
  }
  free(context);
  comm->queued_count--;
  release(comm);
}

static hr_nccl_result queue(operation pattern, void *stream)
{
  operation *op = malloc(sizeof *op);
  if (op == NULL)
    return HR_NCCL_SYSTEM_ERROR;
  *op = pattern;
  op->comm->queued_count++;
  hr_emulated_check_pointer("NCCL", op->from);
  hr_emulated_check_pointer("NCCL", op->to);
  hr_emulated_call(run_operation, op, stream);
  return HR_NCCL_SUCCESS;
}

static hr_nccl_result all_reduce(float *values, size_t count, void *comm, void *stream)
{
  uint8_t *bytes = (uint8_t *)values;
  return queue(
      (operation){.kind = ALL_REDUCE, .comm = comm, .from = bytes, .to = bytes, .size = count * sizeof *values},
      stream);
}

static hr_nccl_result all_gather(const float *values, float *gathered, size_t count, void *comm, void *stream)
{
  return queue((operation){.kind = ALL_GATHER,
                           .comm = comm,
                           .from = (const uint8_t *)values,
                           .to = (uint8_t *)gathered,
                           .size = count * sizeof *values},
               stream);
}

static hr_nccl_result broadcast(void *bytes, size_t size, uint32_t root, void *comm, void *stream)
{
  return queue((operation){.kind = BROADCAST, .comm = comm, .from = bytes, .to = bytes, .size = size, .root = root},
               stream);
}

static const char *error_string(hr_nccl_result result)
{
  static const char *const names[] = {"no error",       "unhandled cuda error", "unhandled system error",
                                      "internal error", "invalid argument",     "invalid usage",
                                      "remote error",   "in progress"};
  return (unsigned)result < sizeof names / sizeof *names ? names[result] : "unknown result code";
}

static const char *last_error(void *handle)
{
  const emulated_comm *comm = handle;
  return comm->is_refused ? "two ranks are on one GPU" : "";
}

static const hr_nccl table = {
    .get_version = get_version,
    .get_unique_id = get_unique_id,
    .comm_init = comm_init,
    .comm_async_error = comm_async_error,
    .comm_finalize = comm_finalize,
    .comm_destroy = comm_end,
    .comm_abort = comm_end,
    .comm_shrink = comm_shrink,
    .all_reduce = all_reduce,
    .all_gather = all_gather,
    .broadcast = broadcast,
    .error_string = error_string,
    .last_error = last_error,
};

hotrow_status hr_nccl_get(const hr_nccl **nccl_p)
{
  const char *word = getenv("HOTROW_EMULATOR_NCCL");
  if (word == NULL || strcmp(word, "on") != 0)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "emulated GPUs have NCCL only where HOTROW_EMULATOR_NCCL is on");
  *nccl_p = &table;
  return HOTROW_OK;
}
