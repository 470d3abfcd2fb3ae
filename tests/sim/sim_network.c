#include <stdlib.h>
#include <string.h>

#include <hr/route.h>

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

void sim_free_message(sim_message *message)
{
  for (size_t i = 0; i < message->frame_count; i++)
    free((void *)(uintptr_t)message->frames[i].data);
  free(message->truth);
  free(message);
}

/* Puts one copy on its way, behind everything sent before on the same connection. */
static void send_copy(cluster *sim, uint32_t worker, uint32_t shard, bool to_shard, const hr_frame *frames,
                      size_t frame_count)
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
  message->worker = worker;
  message->shard = shard;
  message->to_shard = to_shard;
  message->connection = sim->connection[worker][shard];
  message->order = sim->message_order++;
  message->due_ns = sim->now_ns + 1 + hr_rng_below(&sim->rng, sim->config.delay_max_ns);
  uint64_t *last = &sim->last_due_ns[worker][shard][to_shard];
  if (message->due_ns < *last)
    message->due_ns = *last;
  *last = message->due_ns;
  if (!to_shard)
    message->truth = sim_read_truth(sim, shard);
  queue_put(sim, message);
}

static void send_message(cluster *sim, uint32_t worker, uint32_t shard, bool to_shard, const hr_frame *frames,
                         size_t frame_count)
{
  sim->messages++;
  if (!sim->faults_end && sim_chance(sim, sim->config.cut_permille)) {
    sim_cut_connection(sim, worker, shard);
    return;
  }
  if (!sim->faults_end && sim_chance(sim, sim->config.drop_permille)) {
    sim->dropped++;
    return;
  }
  send_copy(sim, worker, shard, to_shard, frames, frame_count);
  if (!sim->faults_end && sim_chance(sim, sim->config.repeat_permille)) {
    sim->repeated++;
    send_copy(sim, worker, shard, to_shard, frames, frame_count);
  }
}

void sim_send_to_shard(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count)
{
  sim_worker *worker = context;
  send_message(worker->sim, worker->index, shard, true, frames, frame_count);
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
    send_message(sim, route[0], sim->shard_in_hand, false, frames, frame_count);
}

/* Everything under way on the connection is lost, both ways; the next message opens a new one. */
void sim_cut_connection(cluster *sim, uint32_t worker, uint32_t shard)
{
  sim->cut++;
  sim->connection[worker][shard]++;
}

uint64_t sim_next_due_ns(const cluster *sim)
{
  return sim->queue_count ? sim->queue[0]->due_ns : UINT64_MAX;
}

sim_message *sim_take_message(cluster *sim, uint64_t until_ns)
{
  while (sim->queue_count && sim->queue[0]->due_ns <= until_ns) {
    sim_message *message = queue_take(sim);
    if (message->connection == sim->connection[message->worker][message->shard])
      return message;
    sim_free_message(message);
  }
  return NULL;
}

float *sim_read_truth(cluster *sim, uint32_t shard)
{
  const sim_config *c = &sim->config;
  float *truth = calloc((size_t)SIM_TABLES_MAX * SIM_KEYS_MAX * SIM_WORKERS_MAX, sizeof *truth);
  CHECK(truth);
  for (size_t t = 0; t < hr_shard_table_count(sim->shards[shard]); t++) {
    hr_table *table = hr_shard_table(sim->shards[shard], t);
    size_t stride;
    const float *rows = hr_table_rows(table, &stride);
    for (uint32_t k = 0; k < c->keys; k++) {
      uint64_t key = sim_key((uint32_t)t, k);
      uint32_t row, clock;
      hr_table_find(table, &key, 1, &row, &clock);
      if (row == HR_ROW_NONE)
        continue;
      float *counts = truth + (t * SIM_KEYS_MAX + k) * SIM_WORKERS_MAX, sum = 0;
      memcpy(counts, rows + row * stride, c->workers * sizeof *counts);
      for (uint32_t w = 0; w < c->workers; w++)
        sum += counts[w];
      if ((float)clock != sum)
        sim_fail(sim, "shard %u, table %zu, key %u: the clock is %u and the row holds %g steps", shard, t, k, clock,
                 (double)sum);
    }
  }
  return truth;
}
