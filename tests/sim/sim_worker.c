/* A training job of one worker: look up, check what was read, push, end the step; now and then look ahead or flush. */
#include <stdlib.h>
#include <string.h>

#include <hr/optimizer.h>
#include <hr/route.h>

#include "hr_test.h"
#include "sim.h"

#define IDLE_NS_MAX 2000000u /* a worker's own pace between steps */

void sim_worker_init(cluster *sim, uint32_t index)
{
  sim_worker *worker = &sim->workers[index];
  static const char *const endpoints[SIM_SHARDS_MAX] = {"sim-0", "sim-1", "sim-2"};
  memset(worker, 0, sizeof *worker);
  worker->sim = sim;
  worker->index = index;
  hr_core_options options = {.session = {index + 1, sim->config.seed},
                             .job = 7,
                             .started_ns = 1,
                             .rank = index,
                             .world_size = sim->config.workers,
                             .role = HR_ROLE_WORKER,
                             .shard_count = sim->config.shards,
                             .endpoints = endpoints,
                             .staging_rows_max = 4 * SIM_BATCH_MAX,
                             .send = sim_send_to_shard,
                             .send_context = worker};
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  CHECK_OK(hr_core_create(&options, &worker->core));
  CHECK_OK(hr_core_hello_begin(worker->core, sim->now_ns));
  worker->phase = PHASE_HELLO;
}

/* The tables are created in the shards before the run (the client's way of creating them waits); here they are added.
 */
static void add_tables(sim_worker *worker)
{
  const sim_config *c = &worker->sim->config;
  for (uint32_t t = 0; t < c->tables; t++) {
    uint32_t ids[SIM_SHARDS_MAX];
    const hr_table_desc *desc = NULL;
    for (uint32_t s = 0; s < c->shards; s++) {
      desc = hr_table_get_desc(hr_shard_table(worker->sim->shards[s], t));
      ids[s] = desc->id;
    }
    hotrow_table_options options = HOTROW_TABLE_OPTIONS_INIT;
    options.cache_row_count = c->cache_rows;
    options.policy = c->policy;
    options.mode = c->mode;
    options.pull_bound = c->pull_bound[t];
    options.push_bound = c->push_bound[t];
    CHECK_OK(hr_core_add_table(worker->core, desc, ids, &options, &worker->tables[t]));
  }
}

static uint32_t index_of_key(const cluster *sim, uint32_t table, uint64_t key)
{
  for (uint32_t k = 0; k < sim->config.keys; k++)
    if (sim_key(table, k) == key)
      return k;
  sim_fail(sim, "an unknown key");
}

static void choose_keys(sim_worker *worker)
{
  cluster *sim = worker->sim;
  for (uint32_t t = 0; t < sim->config.tables; t++)
    for (uint32_t i = 0; i < sim->config.batch; i++) {
      uint64_t a = hr_rng_below(&sim->rng, sim->config.keys), b = hr_rng_below(&sim->rng, sim->config.keys);
      worker->keys[t][i] = sim_key(t, (uint32_t)(a < b ? a : b)); /* low keys are hotter */
    }
}

/* The keys of the next batch: mostly those that were handed over for it. */
static void choose_batch(sim_worker *worker)
{
  cluster *sim = worker->sim;
  bool is_expected = worker->coming_count > 0 && !sim_chance(sim, 30);
  if (is_expected) {
    memcpy(worker->keys, worker->coming[0], sizeof worker->keys);
    memmove(worker->coming[0], worker->coming[1], sizeof worker->coming - sizeof worker->coming[0]);
    worker->coming_count--;
  } else {
    choose_keys(worker);
    worker->coming_count = 0;
  }
}

static void fill_requests(sim_worker *worker, hotrow_lookup_request *requests)
{
  const sim_config *c = &worker->sim->config;
  for (uint32_t t = 0; t < c->tables; t++) {
    requests[t] = (hotrow_lookup_request)HOTROW_LOOKUP_REQUEST_INIT;
    requests[t].table = worker->tables[t];
    requests[t].keys = worker->keys[t];
    requests[t].key_count = c->batch;
    requests[t].out = &worker->rows[t][0][0];
    requests[t].out_stride = SIM_WORKERS_MAX;
  }
}

/* What is true of every row that a worker may use. `truth` is the shard's row at the last reply taken in. */
static void check_row(const sim_worker *worker, uint32_t t, uint32_t i)
{
  cluster *sim = worker->sim;
  const sim_config *c = &sim->config;
  uint64_t key = worker->keys[t][i], seed = worker->tables[t]->seed;
  uint32_t k = index_of_key(sim, t, key), shard = hr_shard_of(hr_key_hash(key, seed), c->shards);
  const float *read = worker->rows[t][i];
  /* What has been announced to the worker counts whenever it came; a probe is answered by the lookup's own reply. */
  bool is_announced = worker->tables[t]->is_announced;
  const float *truth =
      (is_announced ? worker->latest : worker->truth)[shard] + (t * SIM_KEYS_MAX + k) * SIM_WORKERS_MAX;
  bool is_exact = c->pull_bound[t] == 0 && c->push_bound[t] == 0;
  float unseen = 0;
  for (uint32_t j = 0; j < c->workers; j++) {
    if (j == worker->index) {
      if (read[j] != (float)worker->issued[t][k])
        sim_fail(sim, "worker %u step %u table %u key %u: reads %g of its own steps, has made %u", worker->index,
                 worker->step, t, k, (double)read[j], worker->issued[t][k]);
      continue;
    }
    if (read[j] > truth[j])
      sim_fail(sim, "worker %u step %u table %u key %u: reads %g steps of worker %u, the shard had %g", worker->index,
               worker->step, t, k, (double)read[j], j, (double)truth[j]);
    unseen += truth[j] - read[j];
  }
  if (unseen > (float)c->pull_bound[t])
    sim_fail(sim, "worker %u step %u table %u key %u: lacks %g steps of others, pull bound %u", worker->index,
             worker->step, t, k, (double)unseen, c->pull_bound[t]);
  sim->stale_reads += unseen > 0;
  /* Exact steps: others' steps before this one are all there, none of this step is. */
  for (uint32_t j = 0; is_exact && j < c->workers; j++)
    if (read[j] != (float)sim->workers[j].issued[t][k] && sim->workers[j].step == worker->step)
      sim_fail(sim, "worker %u step %u table %u key %u: reads %g steps of worker %u, exact is %u", worker->index,
               worker->step, t, k, (double)read[j], j, sim->workers[j].issued[t][k]);
  sim->reads_checked++;
}

static void check_reads(sim_worker *worker)
{
  for (uint32_t t = 0; t < worker->sim->config.tables; t++)
    for (uint32_t i = 0; i < worker->sim->config.batch; i++)
      check_row(worker, t, i);
}

static void push_gradients(sim_worker *worker)
{
  const sim_config *c = &worker->sim->config;
  hotrow_push_request requests[2 * SIM_TABLES_MAX];
  float grads[SIM_BATCH_MAX][SIM_WORKERS_MAX];
  memset(grads, 0, sizeof grads);
  uint32_t count = 0;
  for (uint32_t t = 0; t < c->tables; t++) {
    /* The occurrences of a key share the step's -1: the first carries it. Two pushes may make up one step. */
    uint32_t split = (uint32_t)hr_rng_below(&worker->sim->rng, c->batch + 1u);
    float *first = &grads[0][0];
    for (uint32_t part = 0; part < 2; part++) {
      uint32_t from = part ? split : 0, to = part ? c->batch : split;
      requests[count] = (hotrow_push_request)HOTROW_PUSH_REQUEST_INIT;
      requests[count].table = worker->tables[t];
      requests[count].keys = worker->keys[t] + from;
      requests[count].key_count = to - from;
      requests[count].grads = first + (size_t)from * SIM_WORKERS_MAX;
      requests[count++].grad_stride = SIM_WORKERS_MAX;
    }
    for (uint32_t i = 0; i < c->batch; i++) {
      bool is_first = true;
      for (uint32_t before = 0; before < i; before++)
        is_first &= worker->keys[t][before] != worker->keys[t][i];
      grads[i][worker->index] = is_first ? -1.0f : 0.0f;
    }
    CHECK_OK(hr_core_push(worker->core, requests + count - 2, 2));
  }
}

/* Books the step: from now on every read of this worker must show it. */
static void count_step(sim_worker *worker)
{
  const sim_config *c = &worker->sim->config;
  for (uint32_t t = 0; t < c->tables; t++)
    for (uint32_t k = 0; k < c->keys; k++)
      for (uint32_t i = 0; i < c->batch; i++)
        if (worker->keys[t][i] == sim_key(t, k)) {
          worker->issued[t][k]++;
          break;
        }
  worker->step++;
}

static void begin_lookup(sim_worker *worker)
{
  hotrow_lookup_request requests[SIM_TABLES_MAX];
  if (worker->step_is_open) { /* the fused call: ends the step before and looks up in one message */
    CHECK_OK(hr_core_step(worker->core, true, worker->sim->now_ns));
    count_step(worker);
    worker->step_is_open = false;
  }
  choose_batch(worker);
  fill_requests(worker, requests);
  CHECK_OK(hr_core_lookup_begin(worker->core, requests, worker->sim->config.tables, worker->sim->now_ns));
  worker->phase = PHASE_LOOKUP;
}

static void look_ahead(sim_worker *worker)
{
  hotrow_lookup_request requests[SIM_TABLES_MAX];
  uint64_t keys[SIM_TABLES_MAX][SIM_BATCH_MAX];
  memcpy(keys, worker->keys, sizeof keys);
  choose_keys(worker);
  fill_requests(worker, requests);
  CHECK_OK(hr_core_lookahead(worker->core, requests, worker->sim->config.tables, worker->sim->now_ns));
  memcpy(worker->coming[worker->coming_count++], worker->keys, sizeof keys);
  memcpy(worker->keys, keys, sizeof keys);
}

static void end_step(sim_worker *worker)
{
  cluster *sim = worker->sim;
  push_gradients(worker);
  bool is_last = worker->step + 1 == sim->config.steps;
  while (sim->config.use_lookahead && worker->coming_count < SIM_AHEAD_MAX && sim_chance(sim, 600))
    look_ahead(worker);
  if (sim->config.use_fused && !is_last && sim_chance(sim, 500)) {
    worker->step_is_open = true;
  } else {
    CHECK_OK(hr_core_step(worker->core, false, sim->now_ns));
    count_step(worker);
  }
  worker->idle_until_ns = sim->now_ns + hr_rng_below(&sim->rng, IDLE_NS_MAX);
  worker->phase = PHASE_IDLE;
}

/* Steps that look nothing up: the window of unanswered pushes fills. */
static void run_burst(sim_worker *worker)
{
  cluster *sim = worker->sim;
  uint32_t count = (uint32_t)hr_rng_below(&sim->rng, sim->config.burst_max + 1u);
  for (uint32_t i = 0; i < count && worker->step + 1 < sim->config.steps && hr_core_can_push(worker->core); i++) {
    choose_keys(worker);
    push_gradients(worker);
    CHECK_OK(hr_core_step(worker->core, false, sim->now_ns));
    count_step(worker);
  }
}

/* The deadline has passed: another lookup takes its place, or the step goes on without having read. */
static void give_up(sim_worker *worker)
{
  worker->sim->given_up++;
  if (sim_chance(worker->sim, 500))
    begin_lookup(worker);
  else
    end_step(worker);
}

static void leave_idle(sim_worker *worker)
{
  cluster *sim = worker->sim;
  if (sim->now_ns < worker->idle_until_ns || !hr_core_can_push(worker->core) || hr_core_is_fetching(worker->core) ||
      hr_core_is_behind(worker->core))
    return;
  bool is_over = worker->step == sim->config.steps && !worker->step_is_open;
  if (is_over || (sim->config.use_flush && !worker->step_is_open && sim_chance(sim, 100))) {
    CHECK_OK(hr_core_flush_begin(worker->core, sim->now_ns));
    worker->phase = PHASE_FLUSH;
  } else {
    begin_lookup(worker);
  }
}

static void leave_lookup(sim_worker *worker)
{
  cluster *sim = worker->sim;
  if (!hr_core_is_waiting(worker->core)) {
    bool is_settled;
    CHECK_OK(hr_core_lookup_settle(worker->core, sim->now_ns, &is_settled));
    if (!is_settled)
      return;
    hr_core_lookup_finish(worker->core);
    check_reads(worker);
    end_step(worker);
    if (!worker->step_is_open)
      run_burst(worker);
  } else if (hr_core_can_push(worker->core) && !sim->faults_end && sim_chance(sim, sim->config.give_up_permille)) {
    give_up(worker);
  }
}

static void run_once(sim_worker *worker)
{
  cluster *sim = worker->sim;
  hr_core *core = worker->core;
  hotrow_status status = hr_core_status(core);
  if (status != HOTROW_OK)
    sim_fail(sim, "worker %u: %s: %s", worker->index, hotrow_status_name(status), hotrow_last_error());
  if (worker->phase == PHASE_HELLO && !hr_core_is_waiting(core)) {
    add_tables(worker);
    worker->phase = PHASE_IDLE;
  }
  if (worker->phase == PHASE_LOOKUP)
    leave_lookup(worker);
  if (worker->phase == PHASE_FLUSH && hr_core_pushes_done(core)) {
    worker->phase = worker->step == sim->config.steps && !worker->step_is_open ? PHASE_DONE : PHASE_IDLE;
    worker->idle_until_ns = sim->now_ns + 1;
  }
  if (worker->phase == PHASE_IDLE)
    leave_idle(worker);
  hotrow_client_stats stats;
  hr_core_get_stats(core, &stats);
  const sim_config *c = &sim->config;
  uint32_t pull_bound = c->pull_bound[0] > c->pull_bound[1] ? c->pull_bound[0] : c->pull_bound[1];
  uint32_t push_bound = c->push_bound[0] > c->push_bound[1] ? c->push_bound[0] : c->push_bound[1];
  if (stats.pending_max > push_bound || stats.unseen_max > pull_bound)
    sim_fail(sim, "worker %u: keeps back %llu steps, push bound %u; lacks %llu, pull bound %u", worker->index,
             (unsigned long long)stats.pending_max, push_bound, (unsigned long long)stats.unseen_max, pull_bound);
}

void sim_worker_run(sim_worker *worker)
{
  sim_phase before;
  do { /* a phase may be over as soon as it begins: a flush with nothing to send */
    before = worker->phase;
    run_once(worker);
  } while (worker->phase != before);
}

static uint32_t count_open(const hr_link *link)
{
  uint32_t count = 0;
  for (const hr_request *request = link->open.oldest; request; request = request->next)
    count++;
  return count;
}

static void keep_truth(float **kept, const float *truth)
{
  size_t size = sizeof(float) * SIM_TABLES_MAX * SIM_KEYS_MAX * SIM_WORKERS_MAX;
  if (!*kept)
    *kept = malloc(size);
  CHECK(*kept);
  memcpy(*kept, truth, size);
}

void sim_worker_take(sim_worker *worker, sim_message *message)
{
  uint32_t shard = message->shard, waited = worker->core->waited_count;
  const hr_link *link = &worker->core->links[shard];
  uint32_t open = count_open(link);
  hr_core_receive(worker->core, shard, message->frames, message->frame_count, worker->sim->now_ns);
  if (count_open(link) < open)
    keep_truth(&worker->latest[shard], message->truth);
  if (worker->core->waited_count < waited && worker->phase == PHASE_LOOKUP)
    keep_truth(&worker->truth[shard], message->truth);
}
