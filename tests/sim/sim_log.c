#include "sim_log.h"

#include <stdlib.h>
#include <string.h>

#include "hr_test.h"

#define WRITE_NS_MAX 30000000u

void sim_log_init(sim_log *log, cluster *sim, uint32_t shard)
{
  *log = (sim_log){.sim = sim, .shard = shard};
}

void sim_log_fini(sim_log *log)
{
  for (size_t i = 0; i < log->count; i++)
    free(log->records[i].bytes);
  free(log->records);
}

static hotrow_status reserve_log(void *context, size_t push_bytes, size_t other_bytes)
{
  sim_log *log = context;
  CHECK(!log->is_open && other_bytes > 0);
  if (push_bytes == 0 || log->sim->faults_end || !sim_chance(log->sim, log->sim->config.busy_permille))
    return HOTROW_OK;
  log->sim->totals.busy++;
  return hr_fail(HOTROW_ERR_BUSY, "the log is full");
}

static void *put_log(void *context, size_t size_bytes)
{
  sim_log *log = context;
  if (!log->is_open && log->count == log->capacity) {
    log->capacity = log->capacity ? 2 * log->capacity : 64;
    log->records = realloc(log->records, log->capacity * sizeof *log->records);
    CHECK(log->records);
  }
  sim_record *record = &log->records[log->count];
  if (!log->is_open)
    *record = (sim_record){0};
  log->is_open = true;
  record->bytes = realloc(record->bytes, record->size + size_bytes);
  CHECK(record->bytes && size_bytes % 8 == 0);
  record->size += size_bytes;
  return record->bytes + record->size - size_bytes;
}

static void end_log(void *context)
{
  sim_log *log = context;
  log->count += log->is_open;
  log->is_open = false;
}

void sim_log_set_calls(hr_storage *calls)
{
  calls->reserve_log = reserve_log;
  calls->put_log = put_log;
  calls->end_log = end_log;
}

uint64_t sim_log_end_record(sim_log *log)
{
  end_log(log);
  return log->count;
}

void sim_log_hand_over(sim_log *log, hr_shard *shard)
{
  cluster *sim = log->sim;
  if (log->handed > log->durable || log->count == log->handed)
    return;
  log->handed = log->count;
  for (uint32_t j = 0; j < sim->session_count; j++)
    log->applied_handed[j] = sim->sessions[j].streams[log->shard].applied;
  hr_shard_log_is_handed(shard);
  sim_plan(sim,
           (sim_event){SIM_LOG_IS_DURABLE, sim->now_ns + 1 + sim_below(sim, WRITE_NS_MAX), 0, log->shard, log->handed});
}

static void become_durable(sim_log *log)
{
  log->durable = log->handed;
  memcpy(log->applied, log->applied_handed, sizeof log->applied);
}

void sim_log_is_durable(sim_log *log, hr_shard *shard, uint64_t number)
{
  if (!shard || log->durable == log->handed || number != log->handed)
    return; /* of a former life */
  become_durable(log);
  log->sim->totals.logged++;
  hr_shard_log_is_durable(shard);
}

void sim_log_die(sim_log *log, uint64_t covered)
{
  if (log->handed > log->durable && sim_below(log->sim, 2))
    become_durable(log);
  if (log->durable < covered)
    log->durable = covered;
  log->handed = log->durable;
  for (size_t i = log->durable; i < log->count; i++)
    free(log->records[i].bytes);
  log->count = log->durable;
}

void sim_log_replay(sim_log *log, hr_shard *shard, uint64_t covered)
{
  for (uint64_t number = covered + 1; number <= log->durable; number++) {
    const sim_record *record = &log->records[number - 1];
    CHECK_OK(hr_shard_replay(shard, record->bytes, record->size, log->sim->now_ns));
  }
}
