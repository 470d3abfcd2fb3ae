/* Shards that die and come back, and the storage under them: a cut is kept whole in memory, becomes durable some time
 * later, and is what a shard that comes back begins with. */
#include <stdlib.h>
#include <string.h>

#include <row_read.h>
#include <storage.h>

#include "hr_test.h"
#include "sim.h"
#include "sim_log.h"

#define CUT_EVERY_NS_MAX 200000000u
#define CUT_WRITE_NS_MAX 30000000u
#define COPY_NS_MAX 10000000u /* between two parts of a cut */
#define REFUSED_PERMILLE 5u   /* of the rows of a cut: it is given up */
#define DOWN_NS_MAX 100000000u
#define READ_NS_MAX 300000000u /* longer than a cut may take to be made, written, and rows of it to leave */
#define READS_MAX 64u
#define SHARD_BYTES ((size_t)1 << 40) /* more than there is: rows leave when the simulator says so */

typedef struct sim_row {
  bool is_there;
  uint32_t clock;
  float values[SIM_SESSIONS_MAX + 1]; /* and the step of its last push */
} sim_row;

typedef struct sim_cut {
  uint64_t number;
  uint64_t log_number; /* of the last record of the log that it covers */
  uint32_t table_count;
  hr_table_desc tables[SIM_TABLES_MAX];
  sim_row rows[SIM_TABLES_MAX][SIM_KEYS_MAX];
  uint32_t session_count, job_count;
  hr_stored_session sessions[SIM_SESSIONS_MAX + 1]; /* the tool has one too */
  hr_stored_job jobs[2];
  hr_stored_member members[2][SIM_WORKERS_MAX];
  uint64_t applied[SIM_SESSIONS_MAX]; /* watermarks of all sessions, those that are over too */
} sim_cut;

/* Rows that the shard waits for. */
typedef struct sim_read {
  hr_row_read *read; /* borrowed */
  uint64_t number;
  bool is_done;
} sim_read;

struct sim_shard {
  sim_log log; /* first, as the context of its storage is both */
  cluster *sim;
  uint32_t index;
  hr_shard *shard; /* owned; NULL: it is dead */
  hr_storage storage;
  bool is_copy_planned;
  bool may_refuse;                            /* nobody waits for the cut under way */
  bool was_put[SIM_TABLES_MAX][SIM_KEYS_MAX]; /* in the cut in the making */
  sim_cut image;                              /* what the cuts of this life add up to */
  sim_cut written;                            /* the cut that is not durable yet; number 0: none */
  sim_cut durable;                            /* number 0: none yet */
  sim_read reads[READS_MAX];
  size_t read_count;
  uint64_t read_number; /* of the last one */
};

hr_shard *sim_shard_get(const cluster *sim, uint32_t shard)
{
  return sim->shards[shard]->shard;
}

bool sim_shard_is_up(const cluster *sim, uint32_t shard)
{
  return sim->shards[shard]->shard != NULL;
}

/* ---- storage ---- */

static hotrow_status begin_cut(void *context, uint64_t number)
{
  sim_shard *s = context;
  s->image.number = number;
  memset(s->was_put, 0, sizeof s->was_put);
  s->image.log_number = sim_log_end_record(&s->log);
  s->image.session_count = s->image.job_count = 0;
  for (uint32_t j = 0; j < s->sim->session_count; j++)
    s->image.applied[j] = s->sim->sessions[j].streams[s->index].applied;
  return HOTROW_OK;
}

static hotrow_status put_table(void *context, const hr_table_desc *desc)
{
  sim_shard *s = context;
  uint32_t t = 0;
  while (t < s->image.table_count && strcmp(s->image.tables[t].name, desc->name) != 0)
    t++;
  CHECK(t < SIM_TABLES_MAX);
  s->image.tables[t] = *desc;
  s->image.table_count += t == s->image.table_count;
  return HOTROW_OK;
}

static size_t record_floats(const sim_shard *s, const hr_table_desc *desc)
{
  return s->sim->config.sessions + hr_table_has_eviction(desc);
}

static hotrow_status put_row(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock,
                             const float *record, size_t float_count)
{
  sim_shard *s = context;
  uint32_t k = sim_index_of_key(s->sim, desc->id, key);
  sim_row *row = &s->image.rows[desc->id][k];
  CHECK_EQ(float_count, record_floats(s, desc));
  if (s->may_refuse && sim_chance(s->sim, REFUSED_PERMILLE))
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a row of a cut");
  *row = (sim_row){.is_there = true, .clock = clock};
  memcpy(row->values, record, float_count * sizeof *record);
  s->was_put[desc->id][k] = true;
  return HOTROW_OK;
}

/* One that is put in the same cut, before or after, is a new one. */
static hotrow_status delete_row(void *context, const hr_table_desc *desc, uint64_t key)
{
  sim_shard *s = context;
  uint32_t k = sim_index_of_key(s->sim, desc->id, key);
  s->sim->totals.expired++;
  s->image.rows[desc->id][k].is_there = s->was_put[desc->id][k];
  return HOTROW_OK;
}

static hotrow_status put_job(void *context, const hr_stored_job *job, const hr_stored_member *members)
{
  sim_cut *image = &((sim_shard *)context)->image;
  CHECK(image->job_count < 2 && job->world_size <= SIM_WORKERS_MAX);
  image->jobs[image->job_count] = *job;
  memcpy(image->members[image->job_count++], members, job->world_size * sizeof *members);
  return HOTROW_OK;
}

static hotrow_status put_session(void *context, const hr_stored_session *session)
{
  sim_cut *image = &((sim_shard *)context)->image;
  CHECK(image->session_count <= SIM_SESSIONS_MAX);
  image->sessions[image->session_count++] = *session;
  return HOTROW_OK;
}

static hotrow_status end_cut(void *context, uint64_t number)
{
  sim_shard *s = context;
  CHECK_EQ(s->image.number, number);
  s->written = s->image;
  sim_plan(s->sim, (sim_event){SIM_CUT_IS_DURABLE, s->sim->now_ns + 1 + sim_below(s->sim, CUT_WRITE_NS_MAX), 0,
                               s->index, number});
  return HOTROW_OK;
}

/* Rows that left memory come from what is durable, or is about to be: the shard may not know yet. */
static hotrow_status get_rows(void *context, const hr_table_desc *desc, size_t float_count, const uint64_t *keys,
                              size_t key_count, hr_stored_row_fn found, void *found_context)
{
  sim_shard *s = context;
  const sim_cut *cut = s->written.number > 0 && sim_below(s->sim, 2) ? &s->written : &s->durable;
  CHECK_EQ(float_count, record_floats(s, desc));
  for (size_t i = 0; i < key_count; i++) {
    CHECK(i == 0 || keys[i] > keys[i - 1]);
    const sim_row *row = &cut->rows[desc->id][sim_index_of_key(s->sim, desc->id, keys[i])];
    if (row->is_there)
      HOTROW_TRY(found(keys[i], row->clock, row->values, found_context));
    s->sim->totals.fetched += row->is_there;
  }
  return HOTROW_OK;
}

/* The index of the smallest key that has a row, of those from `first` on; config.keys: there is none. */
static uint32_t next_row(const sim_shard *s, const sim_cut *cut, uint32_t table, uint64_t first)
{
  uint32_t next = s->sim->config.keys;
  for (uint32_t k = 0; k < s->sim->config.keys; k++)
    if (cut->rows[table][k].is_there && sim_key(table, k) >= first &&
        (next == s->sim->config.keys || sim_key(table, k) < sim_key(table, next)))
      next = k;
  return next;
}

/* The simulator itself looks at rows that only the storage has (count_max SIZE_MAX), as it knows it to be. */
static hotrow_status visit_rows(void *context, const hr_table_desc *desc, size_t float_count, uint64_t first,
                                size_t count_max, hr_stored_row_fn found, void *found_context)
{
  sim_shard *s = context;
  bool is_ahead = count_max < SIZE_MAX && s->written.number > 0 && sim_below(s->sim, 2);
  const sim_cut *cut = is_ahead ? &s->written : &s->durable;
  CHECK_EQ(float_count, record_floats(s, desc));
  uint32_t k = next_row(s, cut, desc->id, first);
  for (; k < s->sim->config.keys && count_max > 0; count_max--) {
    const sim_row *row = &cut->rows[desc->id][k];
    uint64_t key = sim_key(desc->id, k);
    HOTROW_TRY(found(key, row->clock, row->values, found_context));
    k = key < UINT64_MAX ? next_row(s, cut, desc->id, key + 1) : s->sim->config.keys;
  }
  return HOTROW_OK;
}

/* What is read is of the moment in which it was asked for, or of that in which it comes. */
static void ask_rows(void *context, hr_row_read *read)
{
  sim_shard *s = context;
  cluster *sim = s->sim;
  CHECK(s->read_count < READS_MAX);
  sim_read *asked = &s->reads[s->read_count++];
  *asked = (sim_read){.read = read, .number = ++s->read_number, .is_done = sim_below(sim, 2)};
  if (asked->is_done)
    hr_row_read_run(read, &s->storage);
  uint64_t delay_ns = 1 + sim_below(sim, sim_below(sim, 2) ? READ_NS_MAX / 300 : READ_NS_MAX);
  sim_plan(sim, (sim_event){SIM_ROWS_ARE_READ, sim->now_ns + delay_ns, 0, s->index, asked->number});
}

static void bring_rows(sim_shard *s, uint64_t number)
{
  size_t i = 0;
  while (i < s->read_count && s->reads[i].number != number)
    i++;
  if (i == s->read_count)
    return; /* of a former life */
  sim_read asked = s->reads[i];
  s->reads[i] = s->reads[--s->read_count];
  if (!asked.is_done)
    hr_row_read_run(asked.read, &s->storage);
  s->sim->totals.parked += !asked.read->is_visit;
  s->sim->totals.visits += asked.read->is_visit;
  s->sim->shard_in_hand = s->index;
  hr_shard_take_rows(s->shard, asked.read, s->sim->now_ns);
  sim_ledger_check(s->sim, s->index);
}

/* As if others needed the place. */
static void evict_some(sim_shard *s)
{
  cluster *sim = s->sim;
  for (size_t t = 0; t < hr_shard_table_count(s->shard); t++)
    if (sim_chance(sim, sim->config.evict_permille))
      hr_table_evict(hr_shard_table(s->shard, t), 1 + sim_below(sim, sim->config.keys));
}

/* ---- lives ---- */

static bool has_room(void *context, const hr_route_id *to)
{
  cluster *sim = context;
  uint32_t route[2];
  memcpy(route, to->bytes, sizeof route);
  bool is_busy = route[0] != SIM_TOOL && sim_chance(sim, sim->config.busy_permille);
  sim->totals.busy += is_busy;
  return !is_busy;
}

static void begin_life(sim_shard *s)
{
  cluster *sim = s->sim;
  hr_shard_options options = {.shard_index = s->index,
                              .shard_count = sim->config.shards,
                              .epoch = 1 + sim_below(sim, 1u << 30),
                              .announce_log_count = sim->config.announce_log_count,
                              .cut_turn_bytes = sim->config.cut_turn_bytes,
                              .transport = {.send = sim_send_to_worker, .context = sim, .has_room = has_room}};
  s->storage = (hr_storage){.context = s,
                            .begin_cut = begin_cut,
                            .put_table = put_table,
                            .put_row = put_row,
                            .delete_row = delete_row,
                            .put_job = put_job,
                            .put_session = put_session,
                            .end_cut = end_cut,
                            .get_rows = get_rows,
                            .visit_rows = visit_rows,
                            .ask_rows = ask_rows};
  sim_log_set_calls(&s->storage);
  if (sim->config.is_durable)
    options.storage = &s->storage;
  options.durability = sim->config.has_log ? HOTROW_DURABILITY_LOG : HOTROW_DURABILITY_CUT;
  if (sim->config.evict_permille > 0)
    options.memory_bytes = SHARD_BYTES;
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &options.kernels));
  CHECK_OK(hr_shard_create(&options, &s->shard));
}

static void restore(sim_shard *s)
{
  const sim_cut *cut = &s->durable;
  for (uint32_t t = 0; t < cut->table_count; t++)
    CHECK_OK(hr_shard_restore_table(s->shard, &cut->tables[t]));
  for (uint32_t t = 0; t < cut->table_count; t++)
    for (uint32_t k = 0; k < s->sim->config.keys; k++)
      if (cut->rows[t][k].is_there)
        CHECK_OK(hr_shard_restore_row(s->shard, t, sim_key(t, k), cut->rows[t][k].clock, cut->rows[t][k].values,
                                      record_floats(s, &cut->tables[t])));
  for (uint32_t i = 0; i < cut->job_count; i++)
    CHECK_OK(hr_shard_restore_job(s->shard, &cut->jobs[i], cut->members[i], s->sim->now_ns));
  for (uint32_t i = 0; i < cut->session_count; i++)
    CHECK_OK(hr_shard_restore_session(s->shard, &cut->sessions[i], s->sim->now_ns));
  sim_log_replay(&s->log, s->shard, cut->log_number);
  s->image = s->durable;
  s->written.number = 0;
}

/* What is told to be durable is durable. */
static void check_promises(sim_shard *s)
{
  cluster *sim = s->sim;
  const uint64_t *applied = s->log.durable > s->durable.log_number ? s->log.applied : s->durable.applied;
  for (uint32_t j = 0; j < sim->session_count; j++) {
    struct sim_stream *stream = &sim->sessions[j].streams[s->index];
    sim->totals.replayed += stream->applied - applied[j];
    stream->applied = applied[j];
    if (stream->durable_told > stream->applied)
      sim_fail(sim, "shard %u comes back with %llu pushes of session %u, told to be durable were %llu", s->index,
               (unsigned long long)stream->applied, j, (unsigned long long)stream->durable_told);
  }
}

static void die(sim_shard *s)
{
  cluster *sim = s->sim;
  if (!s->shard || s->durable.number == 0 || sim->faults_end)
    return; /* before its first durable cut it has no tables: that is a cluster that has not begun */
  sim->totals.shard_deaths++;
  s->read_count = 0;
  hr_shard_destroy(s->shard);
  s->shard = NULL;
  sim_log_die(&s->log, s->durable.log_number);
  for (uint32_t w = 0; w < sim->config.workers; w++)
    sim_cut_connection(sim, w, s->index);
  sim_plan(sim, (sim_event){SIM_SHARD_RISES, sim->now_ns + 1 + sim_below(sim, DOWN_NS_MAX), 0, s->index, 0});
}

static void rise(sim_shard *s)
{
  begin_life(s);
  restore(s);
  check_promises(s);
  sim_ledger_check(s->sim, s->index);
}

/* What is left of a cut is copied between messages to come. */
static void plan_copy(sim_shard *s)
{
  if (s->is_copy_planned || !s->shard || !hr_shard_is_copying(s->shard))
    return;
  s->is_copy_planned = true;
  sim_plan(s->sim, (sim_event){SIM_COPY, s->sim->now_ns + 1 + sim_below(s->sim, COPY_NS_MAX), 0, s->index, 0});
}

static void take_status(sim_shard *s, hotrow_status status)
{
  s->sim->totals.refused_cuts += status != HOTROW_OK;
  CHECK(status == HOTROW_OK || (status == HOTROW_ERR_NO_MEMORY && s->may_refuse));
}

static void begin_a_cut(sim_shard *s)
{
  uint64_t number;
  if (s->shard && s->written.number == 0 && !hr_shard_is_copying(s->shard)) {
    s->may_refuse = !s->sim->faults_end;
    take_status(s, hr_shard_cut(s->shard, &number));
  }
  sim_plan(s->sim, (sim_event){SIM_CUT, s->sim->now_ns + 1 + sim_below(s->sim, CUT_EVERY_NS_MAX), 0, s->index, 0});
}

static void copy_some(sim_shard *s)
{
  s->is_copy_planned = false;
  if (!s->shard || !hr_shard_is_copying(s->shard))
    return; /* of a former life */
  s->sim->totals.turns++;
  take_status(s, hr_shard_copy(s->shard));
}

static void finish_cut(sim_shard *s, uint64_t number)
{
  if (!s->shard || number == 0 || s->written.number != number)
    return; /* of a former life */
  s->durable = s->written;
  s->written.number = 0;
  s->sim->totals.durable_cuts++;
  s->may_refuse = false;            /* who waits for the next cut has it begun now */
  s->sim->shard_in_hand = s->index; /* whoever waited for it is answered */
  hr_shard_cut_is_durable(s->shard, number);
}

void sim_shard_event(cluster *sim, const sim_event *event)
{
  sim_shard *s = sim->shards[event->shard];
  switch (event->kind) {
  case SIM_SHARD_DIES:
    die(s);
    break;
  case SIM_SHARD_RISES:
    rise(s);
    break;
  case SIM_CUT:
    begin_a_cut(s);
    break;
  case SIM_ROWS_ARE_READ:
    bring_rows(s, event->number);
    break;
  case SIM_COPY:
    copy_some(s);
    break;
  case SIM_LOG_IS_DURABLE:
    sim_log_is_durable(&s->log, s->shard, event->number);
    break;
  default:
    CHECK_EQ(event->kind, SIM_CUT_IS_DURABLE);
    finish_cut(s, event->number);
  }
  plan_copy(s);
}

void sim_shard_finish_cuts(cluster *sim, uint32_t shard)
{
  sim_shard *s = sim->shards[shard];
  while (s->written.number > 0 || hr_shard_is_copying(s->shard)) {
    if (hr_shard_is_copying(s->shard))
      CHECK_OK(hr_shard_copy(s->shard));
    else
      finish_cut(s, s->written.number);
  }
}

void sim_shards_create(cluster *sim)
{
  for (uint32_t i = 0; i < sim->config.shards; i++) {
    sim_shard *s = calloc(1, sizeof *s);
    CHECK(s);
    s->sim = sim;
    s->index = i;
    sim_log_init(&s->log, sim, i);
    sim->shards[i] = s;
    begin_life(s);
  }
}

void sim_shards_destroy(cluster *sim)
{
  for (uint32_t i = 0; i < sim->config.shards; i++) {
    hr_shard_destroy(sim->shards[i]->shard);
    sim_log_fini(&sim->shards[i]->log);
    free(sim->shards[i]);
  }
}

void sim_shard_receive(cluster *sim, uint32_t shard, const hr_route_id *from, const hr_frame *frames, size_t count)
{
  sim->shard_in_hand = shard;
  if (sim->config.has_log)
    sim_log_hand_over(&sim->shards[shard]->log, sim->shards[shard]->shard);
  if (sim->config.evict_permille > 0)
    evict_some(sim->shards[shard]);
  if (!hr_shard_is_copying(sim->shards[shard]->shard))
    sim->shards[shard]->may_refuse = false; /* a cut that this message begins is waited for */
  hr_shard_receive(sim->shards[shard]->shard, from, frames, count, sim->now_ns);
  plan_copy(sim->shards[shard]);
}

typedef struct count_target {
  const cluster *sim;
  sim_counts *counts;
  uint32_t table;
} count_target;

static hotrow_status count_row(uint64_t key, uint32_t clock, const float *values, void *context)
{
  const count_target *target = context;
  uint32_t k = sim_index_of_key(target->sim, target->table, key);
  target->counts->clocks[target->table][k] = clock;
  memcpy(target->counts->steps[target->table][k], values, target->sim->config.sessions * sizeof *values);
  return HOTROW_OK;
}

void sim_count_rows(cluster *sim, uint32_t shard, sim_counts *counts)
{
  const hr_shard *s = sim_shard_get(sim, shard);
  memset(counts, 0, sizeof *counts);
  for (uint32_t t = 0; t < hr_shard_table_count(s); t++) {
    count_target target = {sim, counts, t};
    CHECK_OK(hr_table_scan(hr_shard_table(s, t), count_row, &target));
  }
}
