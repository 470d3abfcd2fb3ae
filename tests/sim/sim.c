#include "sim.h"

#include <stdarg.h>
#include <stdio.h>

#include <stdlib.h>
#include <string.h>

#include <hr/hash.h>
#include <hr/optimizer.h>
#include <hr/route.h>

#include "hr_test.h"

#define FAULTS_END_NS 60000000000u    /* one virtual minute of faults */
#define PROGRESS_END_NS 900000000000u /* by then every step must be over */
#define DEATHS_MAX 3u
#define LIFE_MAX 6u /* in steps */
#define SMALL 0.5f  /* a row that was pushed to has at least one 1 */

uint64_t sim_key(uint32_t table, uint32_t index)
{
  if (index == 0)
    return 0;
  return index == 1 ? UINT64_MAX : hr_mix64(index + (index % 2 ? 0 : 1000u * table)); /* every other one is in all */
}

uint32_t sim_index_of_key(const cluster *sim, uint32_t table, uint64_t key)
{
  for (uint32_t k = 0; k < sim->config.keys; k++)
    if (sim_key(table, k) == key)
      return k;
  sim_fail(sim, "an unknown key");
}

uint32_t sim_shard_of_key(const cluster *sim, uint32_t table, uint32_t index)
{
  const char *name = sim->descs[table].name;
  return hr_shard_of(hr_key_hash(sim_key(table, index), hr_table_seed(name, strlen(name))), sim->config.shards);
}

uint64_t sim_below(cluster *sim, uint64_t limit)
{
  return hr_rng_below(&sim->rng, limit);
}

bool sim_chance(cluster *sim, uint32_t permille)
{
  return sim_below(sim, 1000) < permille;
}

static void print_config(const sim_config *c)
{
  fprintf(stderr, "\n  %u workers, %u shards%s%s, %u keys, batch %u, cache %llu rows, policy %d, window %u%s%s\n",
          c->workers, c->shards,
          c->has_log      ? " (with logs)"
          : c->is_durable ? " (durable)"
                          : "",
          c->evict_permille ? " (rows leave memory)" : "", c->keys, c->batch, (unsigned long long)c->cache_rows,
          (int)c->policy, c->window, c->use_fused ? ", fused" : "", c->use_flush ? ", flush" : "");
  fprintf(stderr, "  tables%s%s\n", c->shares_cache ? " share a cache" : "", c->is_one_by_one ? ", one by one" : "");
  for (uint32_t t = 0; t < c->tables; t++)
    fprintf(stderr, "  table %u: bounds %u/%u, mode %d, dtype %d%s, steps to live %u\n", t, c->pull_bound[t],
            c->push_bound[t], (int)c->mode[t], (int)c->dtype[t], c->counts_occurrences[t] ? ", occurrences" : "",
            c->steps_to_live[t]);
  fprintf(stderr,
          "  bursts of %u, %u of 1000 waits given up, %u of 1000 requests find a shard busy, announcement log %u,\n"
          "  deaths: %u shards, %u workers\n",
          c->burst_max, c->give_up_permille, c->busy_permille, c->announce_log_count, c->shard_deaths,
          c->worker_deaths);
}

void sim_fail(const cluster *sim, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  fflush(stdout);
  fprintf(stderr, "seed %llu at %.3f ms: ", (unsigned long long)sim->config.seed, (double)sim->now_ns / 1e6);
  vfprintf(stderr, format, args);
  va_end(args);
  print_config(&sim->config);
  fprintf(stderr, "  replay: HOTROW_TEST_SEED=%llu test_sim_protocol 1\n", (unsigned long long)sim->config.seed);
  exit(1);
}

/* ---- what a seed decides ---- */

static void choose_tables(cluster *sim)
{
  static const uint32_t bounds[][2] = {{0, 0},  {0, 2}, {3, 0}, {5, 5}, {100, 100},
                                       {30, 3}, {1, 1}, {8, 2}, {8, 1}, {12, 0}};
  sim_config *c = &sim->config;
  c->tables = 1 + (uint32_t)sim_below(sim, SIM_TABLES_MAX);
  c->is_exact = sim_below(sim, 5) == 0;
  bool is_mixed = sim_below(sim, 8) == 0; /* exact and bounded tables in one job */
  for (uint32_t t = 0; t < c->tables; t++) {
    bool is_exact = is_mixed ? t == 0 : c->is_exact;
    size_t pair = is_exact ? 0 : 1 + sim_below(sim, sizeof bounds / sizeof bounds[0] - 1);
    c->pull_bound[t] = bounds[pair][0];
    c->push_bound[t] = bounds[pair][1];
    c->mode[t] = is_exact || sim_below(sim, 3) == 0 ? HOTROW_MODE_PROBE : HOTROW_MODE_ANNOUNCE;
    c->dtype[t] = is_exact || sim_below(sim, 3) > 0 ? HOTROW_F32 : HOTROW_F16;
    c->counts_occurrences[t] = c->dtype[t] == HOTROW_F32 && sim_below(sim, 3) == 0;
  }
  c->is_exact |= is_mixed;
}

static void choose_faults(cluster *sim)
{
  sim_config *c = &sim->config;
  bool is_faulty = sim_below(sim, 8) > 0;
  c->drop_permille = is_faulty ? (uint32_t)sim_below(sim, 60) : 0;
  c->repeat_permille = is_faulty ? (uint32_t)sim_below(sim, 60) : 0;
  c->cut_permille = is_faulty ? (uint32_t)sim_below(sim, 15) : 0;
  c->delay_max_ns = 1000 + sim_below(sim, 3000000);
  c->slow_worker = sim_below(sim, 6) == 0 ? (uint32_t)sim_below(sim, c->workers) : c->workers;
  c->give_up_permille = sim_below(sim, 3) == 0 ? (uint32_t)sim_below(sim, 200) : 0;
  c->burst_max = sim_below(sim, 3) == 0 ? (uint32_t)sim_below(sim, 100) : 0;
  c->announce_log_count = sim_below(sim, 2) ? 1 + (uint32_t)sim_below(sim, 16) : 1024;
  c->is_durable = sim_below(sim, 2);
  c->has_log = c->is_durable && !(c->seed >> 1 & 1);
  c->shard_deaths = c->is_durable && is_faulty ? (uint32_t)sim_below(sim, DEATHS_MAX + 1) : 0;
  /* A rank of an exact job that comes back alone ends the job. */
  uint32_t free_sessions = SIM_SESSIONS_MAX - c->workers;
  uint32_t deaths = free_sessions < DEATHS_MAX ? free_sessions : DEATHS_MAX;
  c->worker_deaths = is_faulty && !c->is_exact ? (uint32_t)sim_below(sim, deaths + 1) : 0;
  c->partings = is_faulty ? (uint32_t)sim_below(sim, 3) : 0;
  c->sessions = c->workers + c->worker_deaths;
  c->busy_permille = sim_below(sim, 3) == 0 ? (uint32_t)sim_below(sim, 300) : 0;
  c->part_bytes = sim_below(sim, 2) ? 1 + sim_below(sim, 400) : 0;
  c->use_whole_pushes = sim_below(sim, 2);
  c->evict_permille = c->is_durable && sim_below(sim, 2) ? (uint32_t)sim_below(sim, 500) : 0;
  c->cut_turn_bytes = sim_below(sim, 4) ? 1 + sim_below(sim, 1000) : 0;
}

/* These are drawn apart, so that the other draws of a seed do not depend on them. Halves that are kept back are pushed
 * as steps of nothing when their rounding left nothing: a row would have a clock and still be small. */
static void choose_lives(sim_config *c)
{
  hr_rng rng = {hr_mix64(c->seed + 1)};
  for (uint32_t t = 0; t < c->tables; t++)
    if (c->mode[t] == HOTROW_MODE_ANNOUNCE && c->dtype[t] == HOTROW_F32 && hr_rng_below(&rng, 4) > 0)
      c->steps_to_live[t] = 1 + (uint32_t)hr_rng_below(&rng, LIFE_MAX);
}

static void choose_sharing(sim_config *c)
{
  hr_rng rng = {hr_mix64(c->seed)};
  bool may_share = c->tables == 2 && c->cache_rows > 0 && (c->push_bound[0] > 0 || c->push_bound[1] == 0);
  c->shares_cache = may_share && hr_rng_below(&rng, 3) > 0;
  c->is_one_by_one = c->tables == 2 && hr_rng_below(&rng, 4) == 0;
}

static void choose_config(cluster *sim, uint64_t seed)
{
  sim->rng.state = seed;
  sim_config *c = &sim->config;
  c->seed = seed;
  c->workers = sim_below(sim, 8) == 0 ? 2 + (uint32_t)sim_below(sim, SIM_WORKERS_MAX - 1) : 2;
  c->workers += sim_below(sim, 4) == 0 && c->workers < SIM_WORKERS_MAX;
  c->shards = 1 + (uint32_t)sim_below(sim, sim_below(sim, 4) == 0 ? SIM_SHARDS_MAX : 2);
  c->steps = 4 + (uint32_t)sim_below(sim, c->workers > 4 ? 8 : 20);
  c->keys = 2 + (uint32_t)sim_below(sim, SIM_KEYS_MAX - 1);
  c->batch = 1 + (uint32_t)sim_below(sim, SIM_BATCH_MAX);
  c->cache_rows = 16 * sim_below(sim, 4); /* none, or one to three sets: rows are evicted all the time */
  c->policy = (hotrow_cache_policy)sim_below(sim, 4);
  c->window = sim_below(sim, 2) ? (uint32_t)sim_below(sim, SIM_WINDOW_MAX + 1) : 0;
  c->use_fused = sim_below(sim, 2);
  c->use_flush = sim_below(sim, 2);
  choose_tables(sim);
  choose_lives(c);
  choose_sharing(c);
  choose_faults(sim);
}

void sim_plan(cluster *sim, sim_event event)
{
  CHECK(sim->event_count < SIM_EVENTS_MAX);
  sim->events[sim->event_count++] = event;
}

/* Half of the faults come while everything is busy, half while what was lost is sent again. */
static uint64_t choose_time(cluster *sim)
{
  return 1 + sim_below(sim, sim_below(sim, 2) ? 40000000u : 4000000000u);
}

static void plan_faults(cluster *sim)
{
  const sim_config *c = &sim->config;
  for (uint32_t i = 0; i < c->shard_deaths; i++)
    sim_plan(sim, (sim_event){SIM_SHARD_DIES, choose_time(sim), 0, (uint32_t)sim_below(sim, c->shards), 0});
  for (uint32_t i = 0; i < c->worker_deaths; i++)
    sim_plan(sim, (sim_event){SIM_WORKER_DIES, choose_time(sim), (uint32_t)sim_below(sim, c->workers), 0, 0});
  for (uint32_t i = 0; i < c->partings; i++)
    sim_plan(sim, (sim_event){SIM_PART, choose_time(sim), (uint32_t)sim_below(sim, c->workers),
                              (uint32_t)sim_below(sim, c->shards), sim_below(sim, 3)});
  for (uint32_t s = 0; c->is_durable && s < c->shards; s++)
    sim_plan(sim, (sim_event){SIM_CUT, choose_time(sim), 0, s, 0});
}

/* ---- tables ---- */

static void send_from_tool(void *context, uint32_t shard, const hr_frame *frames, size_t frame_count,
                           atomic_uint *users)
{
  (void)users;
  cluster *sim = context;
  hr_route_id from = {.size = 8};
  uint32_t route[2] = {SIM_TOOL, 0};
  memcpy(from.bytes, route, sizeof route);
  sim_shard_receive(sim, shard, &from, frames, frame_count);
}

static void describe_table(cluster *sim, uint32_t t)
{
  const sim_config *c = &sim->config;
  hr_table_desc *desc = &sim->descs[t];
  hotrow_segment *segment = &desc->segments[0];
  segment->dim = c->sessions;
  segment->optimizer = (hotrow_optimizer){.kind = HOTROW_SGD, .lr = 1.0f};
  segment->initializer.kind = HOTROW_INIT_ZERO;
  CHECK_OK(hr_optimizer_resolve(&segment->optimizer, &segment->optimizer));
  desc->dim = c->sessions;
  desc->segment_count = 1;
  desc->steps_to_live = c->steps_to_live[t];
  desc->l2_weight_threshold = c->steps_to_live[t] > 0 ? SMALL : 0;
  if (c->mode[t] == HOTROW_MODE_ANNOUNCE) {
    uint32_t quarter = c->pull_bound[t] / 4;
    bool is_default = sim_below(sim, 2);
    desc->announce_step = !is_default ? 1 + (uint32_t)sim_below(sim, c->pull_bound[t] + 1) : quarter > 0 ? quarter : 1;
  }
  snprintf(desc->name, sizeof desc->name, "table-%u", t);
}

static void create_tables(cluster *sim)
{
  static const char *const endpoints[SIM_SHARDS_MAX] = {"sim-0", "sim-1", "sim-2", "sim-3"};
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
    describe_table(sim, t);
    for (uint32_t s = 0; s < c->shards; s++) {
      CHECK_OK(hr_core_ask_begin(sim->tool, s, HR_OP_TABLE_CREATE, &sim->descs[t], sizeof sim->descs[t], sim->now_ns));
      sim_shard_finish_cuts(sim, s); /* a durable shard answers once its new table is safe */
      CHECK_OK(hr_core_status(sim->tool));
      CHECK_EQ(sim->tool->waited_count, 0);
    }
  }
}

/* ---- the course of events ---- */

static void deliver(cluster *sim, sim_message *message)
{
  if (message->to_shard) {
    hr_route_id from = {.size = 8};
    uint32_t route[2] = {message->worker, message->connection};
    memcpy(from.bytes, route, sizeof route);
    sim_shard_receive(sim, message->shard, &from, message->frames, message->frame_count);
    sim_ledger_check(sim, message->shard);
  } else {
    sim_worker_take(&sim->workers[message->worker], message);
  }
  sim_free_message(message);
}

static void part(cluster *sim, const sim_event *event, bool is_parted)
{
  for (uint32_t way = 0; way < 2; way++) /* one way, the other, or both */
    if (event->number == 2 || event->number == way)
      sim->is_parted[event->worker][event->shard][way] = is_parted;
  if (is_parted)
    sim_plan(sim, (sim_event){SIM_HEAL, sim->now_ns + choose_time(sim), event->worker, event->shard, event->number});
}

static void kill_worker(cluster *sim, uint32_t index)
{
  sim_worker *worker = &sim->workers[index];
  if (worker->phase == PHASE_DONE)
    return; /* its work is over: nobody would start it again */
  sim->totals.worker_deaths++;
  sim->sessions[worker->session].is_dead = true;
  sim_forget_worker(sim, index);
  sim_worker_begin(sim, index);
}

static void handle_events(cluster *sim)
{
  for (size_t i = 0; i < sim->event_count; i++) {
    if (sim->events[i].due_ns > sim->now_ns)
      continue;
    sim_event event = sim->events[i];
    sim->events[i--] = sim->events[--sim->event_count];
    if (event.kind == SIM_PART || event.kind == SIM_HEAL)
      part(sim, &event, event.kind == SIM_PART);
    else if (event.kind == SIM_WORKER_DIES)
      kill_worker(sim, event.worker);
    else
      sim_shard_event(sim, &event);
  }
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
  for (size_t i = 0; i < sim->event_count; i++)
    next = sim->events[i].due_ns < next ? sim->events[i].due_ns : next;
  return next;
}

static bool all_are_done(const cluster *sim)
{
  bool done = true;
  for (uint32_t w = 0; w < sim->config.workers; w++)
    done &= sim->workers[w].phase == PHASE_DONE;
  for (uint32_t s = 0; s < sim->config.shards; s++)
    done &= sim_shard_is_up(sim, s);
  return done;
}

_Noreturn static void fail_for_standstill(const cluster *sim)
{
  for (uint32_t w = 0; w < sim->config.workers; w++) {
    const sim_worker *worker = &sim->workers[w];
    hr_core *core = worker->core;
    fprintf(stderr, "worker %u: step %u, phase %d%s, waited for %u, may %spush, fetching %d, behind %d, flushed %d\n",
            w, worker->step, (int)worker->phase, worker->step_is_open ? " (step open)" : "", core->waited_count,
            hr_core_can_push(core) ? "" : "not ", hr_core_is_fetching(core), hr_core_is_behind(core),
            hr_core_pushes_done(core));
  }
  sim_fail(sim, "no progress");
}

static void add_totals(cluster *sim, sim_totals *totals)
{
  for (uint32_t w = 0; w < sim->config.workers; w++) {
    hotrow_client_stats stats;
    hr_core_get_stats(sim->workers[w].core, &stats);
    sim->totals.resends += stats.resends;
    sim->totals.hits += stats.hits;
    sim->totals.fetched_ahead += stats.prefetched;
    sim->totals.announcements += stats.announcements;
    sim->totals.resets += stats.resets;
  }
  uint64_t *sums = (uint64_t *)totals;
  const uint64_t *own = (const uint64_t *)&sim->totals;
  for (size_t i = 0; i < sizeof *totals / sizeof *sums; i++)
    sums[i] += own[i];
}

static void destroy(cluster *sim)
{
  for (size_t i = 0; i < sim->queue_count; i++)
    sim_free_message(sim->queue[i]);
  for (uint32_t w = 0; w < sim->config.workers; w++)
    hr_core_destroy(sim->workers[w].core);
  hr_core_destroy(sim->tool);
  sim_shards_destroy(sim);
  sim_ledger_free(sim);
  free(sim->queue);
  free(sim);
}

void sim_run(uint64_t seed, sim_totals *totals)
{
  cluster *sim = calloc(1, sizeof *sim);
  CHECK(sim);
  sim->now_ns = 1;
  choose_config(sim, seed);
  sim_shards_create(sim);
  create_tables(sim);
  plan_faults(sim);
  for (uint32_t w = 0; w < sim->config.workers; w++)
    sim_worker_begin(sim, w);
  while (!all_are_done(sim)) {
    uint64_t next = next_event_ns(sim);
    if (next == SIM_FOREVER || next > PROGRESS_END_NS)
      fail_for_standstill(sim);
    sim->now_ns = next > sim->now_ns ? next : sim->now_ns;
    sim->faults_end = sim->now_ns > FAULTS_END_NS;
    handle_events(sim);
    sim_message *message;
    while ((message = sim_take_message(sim, sim->now_ns)))
      deliver(sim, message);
    for (uint32_t w = 0; w < sim->config.workers; w++) {
      hr_core_tick(sim->workers[w].core, sim->now_ns);
      sim_worker_run(&sim->workers[w]);
    }
  }
  sim_ledger_check_end(sim);
  add_totals(sim, totals);
  destroy(sim);
}
