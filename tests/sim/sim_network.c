#include <stdlib.h>
#include <string.h>

#include "hr_test.h"
#include "sim.h"

static bool is_before(const sim_message *a, const sim_message *b)
{
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void queue_put(cluster *sim, sim_message *message)
{
  if (sim->queue_count == sim->queue_capacity) {
    sim->queue_capacity = sim->queue_capacity ? 2 * sim->queue_capacity : 64;
    sim->queue = realloc(sim->queue, sim->queue_capacity * sizeof(sim_message *));
    CHECK(sim->queue);
  }
  size_t i = sim->queue_count++;
  while (i && is_before(message, sim->queue[(i - 1) / 2])) {
    sim->queue[i] = sim->queue[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  sim->queue[i] = message;
}

static sim_message *queue_take(cluster *sim)
{
  sim_message *first = sim->queue[0], *moved = sim->queue[--sim->queue_count];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= sim->queue_count)
      break;
    if (child + 1 < sim->queue_count && is_before(sim->queue[child + 1], sim->queue[child]))
      child++;
    if (!is_before(sim->queue[child], moved))
      break;
    sim->queue[i] = sim->queue[child];
    i = child;
  }
  sim->queue[i] = moved;
  return first;
}

/* Header and section table, the first two frames, are never lent. */
static void lend_frames(sim_message *message, const hr_frame *frames, atomic_uint *users)
{
  message->users = users;
  for (size_t i = 2; users && i < message->frame_count; i++) {
    message->lent[i] = frames[i].data;
    atomic_fetch_add(users, 1);
  }
}

static void give_back(sim_message *message)
{
  for (size_t i = 2; message->users && i < message->frame_count; i++) {
    CHECK(message->frames[i].size == 0 ||
          memcmp(message->lent[i], message->frames[i].data, message->frames[i].size) == 0);
    atomic_fetch_sub(message->users, 1);
  }
  message->users = NULL;
}

void sim_free_message(sim_message *message)
{
  give_back(message);
  for (size_t i = 0; i < message->frame_count; i++)
    free((void *)(uintptr_t)message->frames[i].data);
  free(message->truth);
  free(message);
}

/* How long a message takes; a slow worker's take much longer, which fills what waits for it. */
static uint64_t choose_delay(cluster *sim, uint32_t worker)
{
  uint64_t delay_ns = 1 + sim_below(sim, sim->config.delay_max_ns);
  return worker == sim->config.slow_worker && !sim->faults_end ? 50 * delay_ns : delay_ns;
}

/* Puts one copy on its way, behind everything sent before on the same connection. */
static void send_copy(cluster *sim, uint32_t worker, uint32_t shard, bool to_shard, const hr_frame *frames,
                      size_t frame_count, atomic_uint *users)
{
  sim_message *message = calloc(1, sizeof *message);
  CHECK(message && frame_count <= HR_WIRE_FRAMES_MAX);
  for (size_t i = 0; i < frame_count; i++) {
    void *data = NULL;
    if (frames[i].size) {
      data = malloc(frames[i].size);
      CHECK(data);
      memcpy(data, frames[i].data, frames[i].size);
    }
    message->frames[i] = (hr_frame){data, frames[i].size};
  }
  message->frame_count = frame_count;
  lend_frames(message, frames, users);
  message->worker = worker;
  message->shard = shard;
  message->to_shard = to_shard;
  message->connection = sim->connection[worker][shard];
  message->order = sim->message_order++;
  message->due_ns = sim->now_ns + choose_delay(sim, worker);
  uint64_t *last = &sim->last_due_ns[worker][shard][to_shard];
  if (message->due_ns < *last)
    message->due_ns = *last;
  *last = message->due_ns;
  if (!to_shard) {
    message->truth = malloc(sizeof *message->truth);
    CHECK(message->truth);
    sim_count_rows(sim, shard, message->truth);
  }
  queue_put(sim, message);
}

static void send_message(cluster *sim, uint32_t worker, uint32_t shard, bool to_shard, const hr_frame *frames,
                         size_t frame_count, atomic_uint *users)
{
  sim->totals.messages++;
  if (!sim->faults_end && sim_chance(sim, sim->config.cut_permille)) {
    sim_cut_connection(sim, worker, shard);
    return;
  }
  if (!sim->faults_end && (sim->is_parted[worker][shard][to_shard] || sim_chance(sim, sim->config.drop_permille))) {
    sim->totals.dropped++;
    return;
  }
  send_copy(sim, worker, shard, to_shard, frames, frame_count, users);
  if (!sim->faults_end && sim_chance(sim, sim->config.repeat_permille)) {
    sim->totals.repeated++;
    send_copy(sim, worker, shard, to_shard, frames, frame_count, users);
  }
}

void sim_send_to_shard(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count, atomic_uint *users)
{
  sim_worker *worker = context;
  sim_ledger_sent(worker->sim, worker->session, shard, frames, frame_count);
  send_message(worker->sim, worker->index, shard, true, frames, frame_count, users);
}

/* A route is worker and connection: a reply to a connection that has been cut goes nowhere, as with ZeroMQ. */
void sim_send_to_worker(void *context, const hr_route_id *to, const hr_frame *frames, size_t frame_count)
{
  cluster *sim = context;
  uint32_t route[2];
  CHECK_EQ(to->size, sizeof route);
  memcpy(route, to->bytes, sizeof route);
  if (route[0] == SIM_TOOL)
    hr_core_receive(sim->tool, sim->shard_in_hand, frames, frame_count, sim->now_ns);
  else if (route[1] == sim->connection[route[0]][sim->shard_in_hand])
    send_message(sim, route[0], sim->shard_in_hand, false, frames, frame_count, NULL);
}

/* Everything under way on the connection is lost, both ways; the next message opens a new one. */
void sim_cut_connection(cluster *sim, uint32_t worker, uint32_t shard)
{
  sim->totals.cut++;
  sim->connection[worker][shard]++;
}

void sim_forget_worker(cluster *sim, uint32_t worker)
{
  bool is_lost = sim_chance(sim, 500);
  for (size_t i = 0; i < sim->queue_count; i++) {
    sim_message *message = sim->queue[i];
    if (message->worker == worker && message->to_shard)
      give_back(message);
    if (message->worker == worker && message->to_shard && !is_lost &&
        message->connection == sim->connection[worker][message->shard])
      message->outlives_sender = true;
  }
  for (uint32_t s = 0; s < sim->config.shards; s++)
    sim->connection[worker][s]++;
}

uint64_t sim_next_due_ns(const cluster *sim)
{
  return sim->queue_count ? sim->queue[0]->due_ns : SIM_FOREVER;
}

sim_message *sim_take_message(cluster *sim, uint64_t until_ns)
{
  while (sim->queue_count && sim->queue[0]->due_ns <= until_ns) {
    sim_message *message = queue_take(sim);
    bool is_connected = message->connection == sim->connection[message->worker][message->shard];
    if ((is_connected || message->outlives_sender) && (!message->to_shard || sim_shard_is_up(sim, message->shard)))
      return message;
    sim_free_message(message);
  }
  return NULL;
}
