/* A training job of one worker: look up, check what was read, push, end the step; now and then look ahead or flush. A
 * worker that dies comes back as a new process: another session of its rank, with empty caches, at the same step. */
#include <stdlib.h>
#include <string.h>

#include <hr/optimizer.h>

#include "hr_test.h"
#include "sim.h"

#define IDLE_NS_MAX 2000000u       /* a worker's own pace between steps */
#define KEPT_BYTES_MAX (64u << 10) /* of pushes that are not durable: small, so that it fills */

static const char *const endpoints[SIM_SHARDS_MAX] = {"sim-0", "sim-1", "sim-2", "sim-3"};

/* HOTROW_TEST_DEVICE=cuda: workers keep their rows on a GPU. Skips the test if there is none. */
static const hotrow_kernels *sim_device(void)
{
  const char *name = getenv("HOTROW_TEST_DEVICE");
  const hotrow_kernels *kernels = NULL;
  if (!name || strcmp(name, "cuda") != 0)
    return NULL;
  hotrow_status status = hotrow_kernels_get(HOTROW_CUDA, &kernels);
  if (status == HOTROW_ERR_UNSUPPORTED || status == HOTROW_ERR_DEVICE)
    hr_test_skip("cuda", "%s", hotrow_last_error());
  CHECK_OK(status);
  return kernels;
}

void sim_worker_begin(cluster *sim, uint32_t index)
{
  sim_worker *worker = &sim->workers[index];
  uint32_t step = worker->step;
  hr_core_destroy(worker->core);
  memset(worker, 0, sizeof *worker);
  worker->sim = sim;
  worker->index = index;
  worker->step = step;
  worker->session = sim->session_count++;
  CHECK(worker->session < sim->config.sessions);
  sim_session *session = &sim->sessions[worker->session];
  session->id = (hr_session_id){worker->session + 1, sim->config.seed};
  session->worker = index;
  hr_core_options options = {.session = session->id,
                             .job = 7,
                             .started_ns = 1 + worker->session,
                             .rank = index,
                             .world_size = sim->config.workers,
                             .role = HR_ROLE_WORKER,
                             .shard_count = sim->config.shards,
                             .endpoints = endpoints,
                             .staging_rows_max = 4 * SIM_TABLES_MAX * SIM_BATCH_MAX,
                             .kept_bytes_max = KEPT_BYTES_MAX,
                             .part_bytes = sim->config.part_bytes,
                             .send = sim_send_to_shard,
                             .send_context = worker,
                             .observe = sim_reads_observe,
                             .observe_context = worker};
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  options.device_kernels = sim_device();
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
    for (uint32_t s = 0; s < c->shards; s++)
      ids[s] = t; /* tables are created in order */
    hotrow_table_options options = HOTROW_TABLE_OPTIONS_INIT;
    options.cache_of = t > 0 && c->shares_cache ? worker->tables[0] : NULL;
    options.cache_row_count = options.cache_of ? 0 : c->cache_rows;
    options.policy = c->policy;
    options.mode = c->mode[t];
    options.wire_dtype = c->dtype[t];
    options.flags = c->counts_occurrences[t] ? HOTROW_TABLE_COUNT_OCCURRENCES : 0;
    options.pull_bound = c->pull_bound[t];
    options.push_bound = c->push_bound[t];
    CHECK_OK(hr_core_add_table(worker->core, &worker->sim->descs[t], ids, &options, &worker->tables[t]));
  }
}

static void choose_keys(cluster *sim, sim_keys *batch)
{
  for (uint32_t t = 0; t < sim->config.tables; t++)
    for (uint32_t i = 0; i < sim->config.batch; i++) {
      uint64_t a = sim_below(sim, sim->config.keys), b = sim_below(sim, sim->config.keys);
      batch->keys[t][i] = sim_key(t, (uint32_t)(a < b ? a : b)); /* low keys are hotter */
    }
}

static void fill_requests(sim_worker *worker, const sim_keys *batch, hotrow_lookup_request *requests)
{
  const sim_config *c = &worker->sim->config;
  for (uint32_t t = 0; t < c->tables; t++) {
    requests[t] = (hotrow_lookup_request)HOTROW_LOOKUP_REQUEST_INIT;
    requests[t].table = worker->tables[t];
    requests[t].keys = batch->keys[t];
    requests[t].key_count = c->batch;
    requests[t].out = &worker->rows[t][0][0];
    requests[t].out_stride = SIM_SESSIONS_MAX;
  }
}

/* Fills the window; now and then the job changes its mind, and looks up something else than it has handed over. */
static void look_ahead(sim_worker *worker)
{
  cluster *sim = worker->sim;
  while (worker->ahead_count < sim->config.window) {
    hotrow_lookup_request requests[SIM_TABLES_MAX];
    sim_keys *batch = &worker->ahead[worker->ahead_count++];
    choose_keys(sim, batch);
    fill_requests(worker, batch, requests);
    CHECK_OK(hr_core_lookahead(worker->core, requests, sim->config.tables, sim->now_ns));
  }
}

static void next_batch(sim_worker *worker)
{
  cluster *sim = worker->sim;
  if (worker->ahead_count > 0 && !sim_chance(sim, 20)) {
    worker->batch = worker->ahead[0];
    memmove(worker->ahead, worker->ahead + 1, --worker->ahead_count * sizeof *worker->ahead);
    return;
  }
  choose_keys(sim, &worker->batch);
  worker->ahead_count = 0; /* the core has dropped the window too, or is about to */
}

/* -1 in the session's column: of each occurrence that counts, or else of the first one. */
static void fill_gradients(const sim_worker *worker, uint32_t t, float grads[SIM_BATCH_MAX][SIM_SESSIONS_MAX])
{
  const sim_config *c = &worker->sim->config;
  memset(grads, 0, SIM_BATCH_MAX * sizeof *grads);
  for (uint32_t i = 0; i < c->batch; i++) {
    bool counts = true;
    for (uint32_t before = 0; before < i && !c->counts_occurrences[t]; before++)
      counts &= worker->batch.keys[t][before] != worker->batch.keys[t][i];
    grads[i][worker->session] = counts ? -1.0f : 0.0f;
  }
}

static hotrow_push_request push_of(const sim_worker *worker, uint32_t t, float grads[SIM_BATCH_MAX][SIM_SESSIONS_MAX],
                                   uint32_t from, uint32_t to)
{
  hotrow_push_request request = HOTROW_PUSH_REQUEST_INIT;
  request.table = worker->tables[t];
  request.keys = worker->batch.keys[t] + from;
  request.key_count = to - from;
  request.grads = grads[from];
  request.grad_stride = SIM_SESSIONS_MAX;
  return request;
}

/* A table's gradients in one push, in two of one call, or in two calls. Where rows go for good it is one, as a key may
 * be in both, and then one of the two is a step of nothing. */
static void push_gradients(sim_worker *worker)
{
  cluster *sim = worker->sim;
  const sim_config *c = &sim->config;
  float grads[SIM_BATCH_MAX][SIM_SESSIONS_MAX];
  for (uint32_t t = 0; t < c->tables; t++) {
    fill_gradients(worker, t, grads);
    bool is_whole = c->steps_to_live[t] > 0 || (c->use_whole_pushes && sim_chance(sim, 800));
    uint32_t split = is_whole ? c->batch : (uint32_t)sim_below(sim, c->batch + 1u);
    hotrow_push_request requests[2] = {push_of(worker, t, grads, 0, split), push_of(worker, t, grads, split, c->batch)};
    if (is_whole || sim_chance(sim, 500)) {
      CHECK_OK(hr_core_push(worker->core, &requests[0], 1));
      CHECK_OK(hr_core_push(worker->core, &requests[1], is_whole ? 0 : 1));
    } else {
      CHECK_OK(hr_core_push(worker->core, requests, 2));
    }
  }
}

/* Books the step: from now on every read of this worker must show it. */
static void count_step(sim_worker *worker)
{
  const sim_config *c = &worker->sim->config;
  for (uint32_t t = 0; t < c->tables; t++)
    for (uint32_t k = 0; k < c->keys; k++)
      for (uint32_t i = 0; i < c->batch; i++)
        if (worker->batch.keys[t][i] == sim_key(t, k)) {
          worker->issued[t][k]++;
          if (!c->counts_occurrences[t])
            break;
        }
  worker->step++;
}

/* A lookup's arrays on the device, for as long as the program runs. */
static struct {
  uint64_t *keys[SIM_TABLES_MAX];
  float *rows[SIM_TABLES_MAX];
} there[SIM_WORKERS_MAX];

static void take_there(const hotrow_kernels *device, uint32_t index, uint32_t table)
{
  void *memory;
  if (there[index].rows[table])
    return;
  CHECK_OK(device->alloc(SIM_BATCH_MAX * sizeof(uint64_t), &memory));
  there[index].keys[table] = memory;
  CHECK_OK(device->alloc(SIM_BATCH_MAX * SIM_SESSIONS_MAX * sizeof(float), &memory));
  there[index].rows[table] = memory;
}

/* Workers with rows on a GPU look up from arrays there, and into them. */
static void use_arrays_there(const sim_worker *worker, hotrow_lookup_request *requests)
{
  const hotrow_kernels *device = sim_device();
  for (uint32_t t = 0; device && t < worker->sim->config.tables; t++) {
    hotrow_lookup_request *r = &requests[t];
    take_there(device, worker->index, t);
    CHECK_OK(device->copy_in(there[worker->index].keys[t], r->keys, r->key_count * sizeof *r->keys, NULL));
    r->keys = there[worker->index].keys[t];
    r->out = there[worker->index].rows[t];
    r->memory = HOTROW_CUDA;
  }
}

static void bring_rows_here(sim_worker *worker)
{
  const hotrow_kernels *device = sim_device();
  for (uint32_t t = 0; device && t < worker->sim->config.tables; t++)
    CHECK_OK(device->copy_out(worker->rows[t], there[worker->index].rows[t],
                              worker->sim->config.batch * sizeof worker->rows[t][0], NULL));
}

/* Of all tables, or of the next one. */
static void begin_lookup(sim_worker *worker)
{
  hotrow_lookup_request requests[SIM_TABLES_MAX];
  const sim_config *c = &worker->sim->config;
  if (worker->step_is_open) { /* the fused call: ends the step before and looks up in one message */
    CHECK_OK(hr_core_step(worker->core, true, worker->sim->now_ns));
    count_step(worker);
    worker->step_is_open = false;
  }
  if (worker->next_table == 0)
    next_batch(worker);
  fill_requests(worker, &worker->batch, requests);
  use_arrays_there(worker, requests);
  uint32_t first = worker->next_table, count = c->is_one_by_one ? 1 : c->tables;
  CHECK_OK(hr_core_lookup_begin(worker->core, requests + first, count, worker->sim->now_ns));
  worker->next_table += count;
  worker->phase = PHASE_LOOKUP;
}

static void end_step(sim_worker *worker)
{
  cluster *sim = worker->sim;
  push_gradients(worker);
  bool is_last = worker->step + 1 == sim->config.steps;
  look_ahead(worker);
  if (sim->config.use_fused && !is_last && sim_chance(sim, 500)) {
    worker->step_is_open = true;
  } else {
    CHECK_OK(hr_core_step(worker->core, false, sim->now_ns));
    count_step(worker);
  }
  worker->idle_until_ns = sim->now_ns + sim_below(sim, IDLE_NS_MAX);
  worker->phase = PHASE_IDLE;
}

/* Steps that look nothing up: the window of unanswered pushes fills. */
static void run_burst(sim_worker *worker)
{
  cluster *sim = worker->sim;
  uint32_t count = (uint32_t)sim_below(sim, sim->config.burst_max + 1u);
  for (uint32_t i = 0; i < count && worker->step + 1 < sim->config.steps && hr_core_can_push(worker->core); i++) {
    choose_keys(sim, &worker->batch);
    push_gradients(worker);
    CHECK_OK(hr_core_step(worker->core, false, sim->now_ns));
    count_step(worker);
  }
}

/* The deadline has passed: another lookup takes its place, or the step goes on without having read. */
static void give_up(sim_worker *worker)
{
  worker->sim->totals.given_up++;
  worker->next_table = 0;
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
  if (is_over || (worker->next_table == 0 && sim->config.use_flush && !worker->step_is_open && sim_chance(sim, 100))) {
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
    CHECK_OK(hr_core_lookup_finish(worker->core));
    bring_rows_here(worker);
    for (uint32_t t = sim->config.is_one_by_one ? worker->next_table - 1 : 0; t < worker->next_table; t++)
      sim_reads_check(worker, t);
    if (worker->next_table < sim->config.tables) {
      worker->phase = PHASE_IDLE;
      return;
    }
    worker->next_table = 0;
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
  do { /* a phase may be over as soon as it begins: a flush with nothing to send, a lookup of rows that are held */
    before = worker->phase;
    run_once(worker);
  } while (worker->phase != before || (worker->phase == PHASE_LOOKUP && !hr_core_is_waiting(worker->core)));
}

/* Requests of the core's link that have no answer yet. */
static uint32_t count_open(const sim_worker *worker, uint32_t shard)
{
  uint32_t count = 0;
  for (const hr_request *request = worker->core->links[shard].open.oldest; request; request = request->next)
    count++;
  return count;
}

void sim_worker_take(sim_worker *worker, sim_message *message)
{
  static hr_message reply;
  uint32_t shard = message->shard, waited = worker->core->waited_count, open = count_open(worker, shard);
  if (hr_wire_decode(message->frames, message->frame_count, &reply) == HOTROW_OK)
    sim_ledger_told(worker->sim, worker->session, shard, &reply);
  worker->in_hand = message;
  hr_core_receive(worker->core, shard, message->frames, message->frame_count, worker->sim->now_ns);
  bool answers_pull = worker->core->waited_count < waited && worker->phase == PHASE_LOOKUP;
  if (answers_pull || count_open(worker, shard) < open)
    sim_reads_taken(worker, message, &reply, answers_pull);
}
