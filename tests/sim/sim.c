#include "sim.h"

#include <stdarg.h>
#include <stdio.h>

#include <stdlib.h>
#include <string.h>

#include <hr/optimizer.h>
#include <hr/route.h>

#include "hr_test.h"

uint64_t sim_key(uint32_t table, uint32_t index)
{
  if (index == 0)
    return 0;
  return index == 1 ? UINT64_MAX : hr_mix64(index + 1000u * table);
}

bool sim_chance(cluster *sim, uint32_t permille)
{
  return hr_rng_below(&sim->rng, 1000) < permille;
}

void sim_fail(const cluster *sim, const char *format, ...)
{
  const sim_config *c = &sim->config;
  va_list args;
  va_start(args, format);
  fflush(stdout);
  fprintf(stderr, "seed %llu at %.3f ms: ", (unsigned long long)c->seed, (double)sim->now_ns / 1e6);
  vfprintf(stderr, format, args);
  fprintf(
      stderr,
      "\n  %u workers, %u shards, %u tables of %u keys, batch %u, bounds %u/%u and %u/%u, cache %llu rows, policy %d,\n"
      "  bursts of %u, %u of 1000 waits given up%s%s%s%s\n"
      "  replay: HOTROW_TEST_SEED=%llu test_sim_protocol 1\n",
      c->workers, c->shards, c->tables, c->keys, c->batch, c->pull_bound[0], c->push_bound[0], c->pull_bound[1],
      c->push_bound[1], (unsigned long long)c->cache_rows, (int)c->policy, c->burst_max, c->give_up_permille,
      c->mode == HOTROW_MODE_PROBE ? ", probe" : "", c->use_lookahead ? ", look-ahead" : "",
      c->use_fused ? ", fused" : "", c->use_flush ? ", flush" : "", (unsigned long long)c->seed);
  va_end(args);
  exit(1);
}

static void choose_config(cluster *sim, uint64_t seed)
{
  static const uint32_t bounds[][2] = {{0, 0}, {0, 0}, {0, 2}, {3, 0}, {5, 5}, {100, 100}, {30, 3}, {1, 1}};
  sim->rng.state = seed;
  hr_rng *rng = &sim->rng;
  sim_config *c = &sim->config;
  c->seed = seed;
  c->workers = 2 + (uint32_t)(hr_rng_below(rng, 4) == 0);
  c->shards = 1 + (uint32_t)hr_rng_below(rng, SIM_SHARDS_MAX);
  c->tables = 1 + (uint32_t)hr_rng_below(rng, SIM_TABLES_MAX);
  c->steps = 4 + (uint32_t)hr_rng_below(rng, 20);
  c->keys = 2 + (uint32_t)hr_rng_below(rng, SIM_KEYS_MAX - 1);
  c->batch = 1 + (uint32_t)hr_rng_below(rng, SIM_BATCH_MAX);
  size_t pair = 0, pair_count = sizeof bounds / sizeof bounds[0];
  bool is_mixed = hr_rng_below(rng, 4) == 0; /* exact and bounded tables in one job */
  for (uint32_t t = 0; t < SIM_TABLES_MAX; t++) {
    pair = t == 0 || is_mixed ? hr_rng_below(rng, pair_count) : pair;
    c->pull_bound[t] = bounds[pair][0];
    c->push_bound[t] = bounds[pair][1];
  }
  c->cache_rows = 16 * hr_rng_below(rng, 3); /* none, one set, two sets: rows are evicted all the time */
  c->policy = (hotrow_cache_policy)hr_rng_below(rng, 2);
  c->mode = hr_rng_below(rng, 3) ? HOTROW_MODE_DEFAULT : HOTROW_MODE_PROBE;
  for (uint32_t t = 0; t < SIM_TABLES_MAX; t++)
    c->announce_step[t] = c->mode == HOTROW_MODE_PROBE ? 0 : 1 + (uint32_t)hr_rng_below(rng, c->pull_bound[t] + 1u);
  c->use_lookahead = hr_rng_below(rng, 2);
  c->use_fused = hr_rng_below(rng, 2);
  c->use_flush = hr_rng_below(rng, 2);
  c->give_up_permille = hr_rng_below(rng, 3) == 0 ? (uint32_t)hr_rng_below(rng, 200) : 0;
  c->burst_max = hr_rng_below(rng, 3) == 0 ? (uint32_t)hr_rng_below(rng, 100) : 0;
  bool is_faulty = hr_rng_below(rng, 8) > 0;
  c->drop_permille = is_faulty ? (uint32_t)hr_rng_below(rng, 60) : 0;
  c->repeat_permille = is_faulty ? (uint32_t)hr_rng_below(rng, 60) : 0;
  c->cut_permille = is_faulty ? (uint32_t)hr_rng_below(rng, 15) : 0;
  c->delay_max_ns = 1000 + hr_rng_below(rng, 3000000);
}

static void create_shards(cluster *sim)
{
  const sim_config *c = &sim->config;
  for (uint32_t s = 0; s < c->shards; s++) {
    hr_shard_options options = {.shard_index = s,
                                .shard_count = c->shards,
                                .epoch = 1 + hr_rng_below(&sim->rng, 1000),
                                .transport = {.send = sim_send_to_worker, .context = sim}};
    CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
    CHECK_OK(hr_shard_create(&options, &sim->shards[s]));
  }
}

static void send_from_tool(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count)
{
  cluster *sim = context;
  hr_route_id from = {.size = 8};
  uint32_t route[2] = {SIM_TOOL, 0};
  memcpy(from.bytes, route, sizeof route);
  sim->shard_in_hand = shard;
  hr_shard_receive(sim->shards[shard], &from, frames, frame_count, sim->now_ns);
}

static void create_tables(cluster *sim)
{
  static const char *const endpoints[SIM_SHARDS_MAX] = {"sim-0", "sim-1", "sim-2"};
  const sim_config *c = &sim->config;
  hr_core_options options = {.session = {99, c->seed},
                             .job = 7,
                             .started_ns = 1,
                             .world_size = 1,
                             .role = HR_ROLE_TOOL,
                             .shard_count = c->shards,
                             .endpoints = endpoints,
                             .send = send_from_tool,
                             .send_context = sim};
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  CHECK_OK(hr_core_create(&options, &sim->tool));
  CHECK_OK(hr_core_hello_begin(sim->tool, sim->now_ns));
  CHECK_OK(hr_core_status(sim->tool));
  for (uint32_t t = 0; t < c->tables; t++) {
    hr_table_desc desc = {.dim = c->workers, .segment_count = 1, .announce_step = c->announce_step[t]};
    desc.segments[0] = (hotrow_segment){.dim = c->workers, .optimizer = {.kind = HOTROW_SGD, .lr = 1.0f}};
    desc.segments[0].initializer.kind = HOTROW_INIT_ZERO;
    CHECK_OK(hr_optimizer_resolve(&desc.segments[0].optimizer, &desc.segments[0].optimizer));
    snprintf(desc.name, sizeof desc.name, "table-%u", t);
    for (uint32_t s = 0; s < c->shards; s++) {
      CHECK_OK(hr_core_ask_begin(sim->tool, s, HR_OP_TABLE_CREATE, &desc, sizeof desc, sim->now_ns));
      CHECK_OK(hr_core_status(sim->tool));
      CHECK_EQ(sim->tool->waited_count, 0);
    }
  }
}

static void deliver(cluster *sim, sim_message *message)
{
  if (message->to_shard) {
    hr_route_id from = {.size = 8};
    uint32_t route[2] = {message->worker, message->connection};
    memcpy(from.bytes, route, sizeof route);
    sim->shard_in_hand = message->shard;
    hr_shard_receive(sim->shards[message->shard], &from, message->frames, message->frame_count, sim->now_ns);
  } else {
    sim_worker_take(&sim->workers[message->worker], message);
  }
  sim_free_message(message);
}

/* The next moment at which anything can happen. */
static uint64_t next_event_ns(const cluster *sim)
{
  uint64_t next = sim_next_due_ns(sim);
  for (uint32_t w = 0; w < sim->config.workers; w++) {
    const sim_worker *worker = &sim->workers[w];
    uint64_t due = hr_core_due_ns(worker->core);
    if (worker->phase == PHASE_IDLE && worker->idle_until_ns > sim->now_ns && worker->idle_until_ns < due)
      due = worker->idle_until_ns;
    next = due < next ? due : next;
  }
  return next;
}

static bool all_are_done(const cluster *sim)
{
  bool done = true;
  for (uint32_t w = 0; w < sim->config.workers; w++)
    done &= sim->workers[w].phase == PHASE_DONE;
  return done;
}

/* Every step of every worker is on the shards exactly once: what was flushed is counted, row by row. */
static void check_end(cluster *sim)
{
  const sim_config *c = &sim->config;
  for (uint32_t s = 0; s < c->shards; s++) {
    float *truth = sim_read_truth(sim, s);
    for (uint32_t t = 0; t < c->tables; t++)
      for (uint32_t k = 0; k < c->keys; k++) {
        uint64_t hash = hr_key_hash(sim_key(t, k), sim->workers[0].tables[t]->seed);
        for (uint32_t w = 0; w < c->workers; w++) {
          uint32_t made = hr_shard_of(hash, c->shards) == s ? sim->workers[w].issued[t][k] : 0;
          float applied = truth[(t * SIM_KEYS_MAX + k) * SIM_WORKERS_MAX + w];
          if (applied != (float)made)
            sim_fail(sim, "at the end shard %u, table %u, key %u holds %g steps of worker %u, made were %u", s, t, k,
                     (double)applied, w, made);
        }
      }
    free(truth);
  }
}

#define FAULTS_END_NS 60000000000u    /* one virtual minute of faults */
#define PROGRESS_END_NS 900000000000u /* by then every step must be over */

static void add_totals(cluster *sim, sim_totals *totals)
{
  totals->reads += sim->reads_checked;
  totals->stale_reads += sim->stale_reads;
  totals->messages += sim->messages;
  totals->dropped += sim->dropped;
  totals->repeated += sim->repeated;
  totals->cut += sim->cut;
  totals->given_up += sim->given_up;
  for (uint32_t w = 0; w < sim->config.workers; w++) {
    hotrow_client_stats stats;
    hr_core_get_stats(sim->workers[w].core, &stats);
    totals->resends += stats.resends;
    totals->hits += stats.hits;
    totals->prefetched += stats.prefetched;
    totals->announced += stats.announcements;
    totals->dropped_windows += stats.lookahead_dropped;
  }
}

static void destroy(cluster *sim)
{
  for (uint32_t w = 0; w < sim->config.workers; w++) {
    hr_core_destroy(sim->workers[w].core);
    for (uint32_t s = 0; s < SIM_SHARDS_MAX; s++) {
      free(sim->workers[w].truth[s]);
      free(sim->workers[w].latest[s]);
    }
  }
  hr_core_destroy(sim->tool);
  for (uint32_t s = 0; s < sim->config.shards; s++)
    hr_shard_destroy(sim->shards[s]);
  for (size_t i = 0; i < sim->queue_count; i++)
    sim_free_message(sim->queue[i]);
  free(sim->queue);
  free(sim);
}

void sim_run(uint64_t seed, sim_totals *totals)
{
  cluster *sim = calloc(1, sizeof *sim);
  CHECK(sim);
  sim->now_ns = 1;
  choose_config(sim, seed);
  create_shards(sim);
  create_tables(sim);
  for (uint32_t w = 0; w < sim->config.workers; w++)
    sim_worker_init(sim, w);
  while (!all_are_done(sim)) {
    uint64_t next = next_event_ns(sim);
    if (next == UINT64_MAX || next > PROGRESS_END_NS)
      sim_fail(sim, "no progress: worker 0 at step %u, worker 1 at step %u", sim->workers[0].step,
               sim->workers[1].step);
    sim->now_ns = next > sim->now_ns ? next : sim->now_ns;
    sim->faults_end = sim->now_ns > FAULTS_END_NS;
    sim_message *message;
    while ((message = sim_take_message(sim, sim->now_ns)))
      deliver(sim, message);
    for (uint32_t w = 0; w < sim->config.workers; w++) {
      hr_core_tick(sim->workers[w].core, sim->now_ns);
      sim_worker_run(&sim->workers[w]);
    }
  }
  check_end(sim);
  add_totals(sim, totals);
  destroy(sim);
}
