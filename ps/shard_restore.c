/* A cut put back into an empty shard. What comes from a storage is looked at: disks lie. */
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>

#include "shard_cut.h"
#include "shard_memory.h"
#include "shard_sync.h"

hotrow_status hr_shard_restore_table(hr_shard *shard, const hr_table_desc *desc)
{
  if (desc->id != shard->table_count)
    return hr_fail(HOTROW_ERR_CORRUPT, "stored table %.63s has id %u, the next one must have %zu", desc->name, desc->id,
                   shard->table_count);
  hr_table *table;
  HOTROW_TRY(hr_shard_add_table(shard, desc, &table));
  shard->table_cuts[desc->id] = HR_TABLE_DURABLE;
  shard->stored_counts[desc->id] = desc->row_count;
  shard->stored_steps[desc->id] = desc->step;
  return HOTROW_OK;
}

uint64_t hr_shard_restore_max(const hr_shard *shard, uint32_t table_id)
{
  HOTROW_ASSERT(table_id < shard->table_count);
  return hr_memory_load_max(shard, shard->tables[table_id], shard->stored_counts);
}

hotrow_status hr_shard_restore_end(hr_shard *shard, uint32_t table_id, bool is_all)
{
  hr_table *table = shard->tables[table_id];
  uint64_t stored = shard->stored_counts[table_id], loaded = hr_table_resident_count(table);
  if (is_all ? loaded != stored : loaded > stored)
    return hr_fail(HOTROW_ERR_CORRUPT, "table %s has %llu stored rows, and %llu are there",
                   hr_table_get_desc(table)->name, (unsigned long long)stored, (unsigned long long)loaded);
  hr_table_set_row_count(table, stored);
  return HOTROW_OK;
}

hotrow_status hr_shard_restore_row(hr_shard *shard, uint32_t table_id, uint64_t key, uint32_t clock,
                                   const float *record, size_t float_count)
{
  hr_table *table;
  HOTROW_TRY(hr_shard_find_table(shard, table_id, &table));
  if (float_count != hr_table_record_floats(table))
    return hr_fail(HOTROW_ERR_CORRUPT, "stored row %llu of table %s has %zu floats, the table has %zu",
                   (unsigned long long)key, hr_table_get_desc(table)->name, float_count, hr_table_record_floats(table));
  return hr_table_restore_row(table, key, clock, record);
}

hotrow_status hr_shard_restore_bucket(hr_shard *shard, uint32_t table_id, uint64_t number, const void *bytes,
                                      size_t size_bytes)
{
  hr_table *table;
  HOTROW_TRY(hr_shard_find_table(shard, table_id, &table));
  return hr_table_restore_admission(table, number, bytes, size_bytes);
}

static hotrow_status check_job(const hr_stored_job *stored, const hr_stored_member *members)
{
  unsigned long long id = stored->id;
  if (stored->world_size == 0 || stored->world_size > HR_WIRE_WORLD_MAX)
    return hr_fail(HOTROW_ERR_CORRUPT, "stored job %llu has %u workers", id, stored->world_size);
  bool is_awaited = false; /* a step that no rank is missing from would have been applied */
  for (uint32_t rank = 0; rank < stored->world_size; rank++) {
    if (members[rank].step_next - stored->step_next >= HR_PUSH_WINDOW)
      return hr_fail(HOTROW_ERR_CORRUPT, "stored job %llu is at step %llu, its rank %u at %llu", id,
                     (unsigned long long)stored->step_next, rank, (unsigned long long)members[rank].step_next);
    is_awaited = is_awaited || members[rank].step_next == stored->step_next;
  }
  if (!is_awaited)
    return hr_fail(HOTROW_ERR_CORRUPT, "stored job %llu: all ranks have pushed step %llu", id,
                   (unsigned long long)stored->step_next);
  return HOTROW_OK;
}

static void fill_job(hr_job *job, const hr_stored_job *stored, const hr_stored_member *members)
{
  job->step_next = stored->step_next;
  memset(job->arrived, 0, sizeof job->arrived);
  for (uint32_t rank = 0; rank < job->world_size; rank++) {
    const hr_stored_member *m = &members[rank];
    job->members[rank] = (hr_member){.session = job->members[rank].session,
                                     .started_ns = m->started_ns,
                                     .barrier = m->barrier,
                                     .step_next = m->step_next,
                                     .has_joined = m->has_joined,
                                     .said_bye = m->said_bye};
    for (uint64_t step = job->step_next; step < m->step_next; step++)
      job->arrived[step % HR_PUSH_WINDOW]++;
  }
}

static hotrow_status add_job(hr_shard *shard, const hr_stored_job *stored, const hr_stored_member *members,
                             uint64_t now_ns)
{
  if (shard->job_count == HR_SHARD_JOBS_MAX)
    return hr_fail(HOTROW_ERR_CORRUPT, "stored job %llu: more than %u jobs", (unsigned long long)stored->id,
                   HR_SHARD_JOBS_MAX);
  hr_job *job = hr_job_add(shard, stored->id, stored->world_size, now_ns);
  if (!job)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a job of %u workers", stored->world_size);
  fill_job(job, stored, members);
  return HOTROW_OK;
}

hotrow_status hr_shard_restore_job(hr_shard *shard, const hr_stored_job *stored, const hr_stored_member *members,
                                   uint64_t now_ns)
{
  HOTROW_TRY(check_job(stored, members));
  if (hr_job_find(shard, stored->id))
    return hr_fail(HOTROW_ERR_CORRUPT, "stored job %llu is there twice", (unsigned long long)stored->id);
  return add_job(shard, stored, members, now_ns);
}

hotrow_status hr_cut_replace_job(hr_shard *shard, const hr_stored_job *stored, const hr_stored_member *members,
                                 uint64_t now_ns)
{
  HOTROW_TRY(check_job(stored, members));
  hr_job *job = hr_job_find(shard, stored->id);
  if (!job)
    return add_job(shard, stored, members, now_ns);
  if (job->world_size != stored->world_size)
    return hr_fail(HOTROW_ERR_CORRUPT, "stored job %llu has %u workers, and had %u", (unsigned long long)stored->id,
                   stored->world_size, job->world_size);
  fill_job(job, stored, members);
  return HOTROW_OK;
}

static hotrow_status check_session(const hr_shard *shard, const hr_stored_session *stored, const hr_job *job)
{
  unsigned long long high = stored->id.high, low = stored->id.low;
  if (shard->session_count == HR_SHARD_SESSIONS_MAX)
    return hr_fail(HOTROW_ERR_CORRUPT, "stored session %016llx%016llx: more than %u sessions", high, low,
                   HR_SHARD_SESSIONS_MAX);
  if (hr_session_find(shard, stored->id))
    return hr_fail(HOTROW_ERR_CORRUPT, "stored session %016llx%016llx is there twice", high, low);
  for (size_t i = 0; i < HR_PUSH_WINDOW; i++)
    if (!hr_status_is_known(stored->statuses[i]))
      return hr_fail(HOTROW_ERR_CORRUPT, "stored session %016llx%016llx: a push has status %d", high, low,
                     stored->statuses[i]);
  if (stored->hello.role != HR_ROLE_WORKER)
    return HOTROW_OK;
  if (!job || stored->rank >= job->world_size || job->members[stored->rank].session)
    return hr_fail(HOTROW_ERR_CORRUPT, "stored session %016llx%016llx: no place for rank %u of job %llu", high, low,
                   stored->rank, (unsigned long long)stored->hello.job);
  return HOTROW_OK;
}

hotrow_status hr_shard_restore_session(hr_shard *shard, const hr_stored_session *stored, uint64_t now_ns)
{
  hr_job *job = stored->hello.role == HR_ROLE_WORKER ? hr_job_find(shard, stored->hello.job) : NULL;
  HOTROW_TRY(check_session(shard, stored, job));
  hr_session *session = hr_session_add(shard, stored->id, &stored->hello, stored->rank, now_ns);
  if (!session)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a session");
  session->received_seq = session->applied_seq = session->cut_seq = session->durable_seq = stored->watermark;
  session->decided = stored->decided;
  for (size_t i = 0; i < HR_PUSH_WINDOW; i++)
    session->outcomes[i].status = (hotrow_status)stored->statuses[i];
  session->job = job;
  if (job)
    job->members[session->rank].session = session;
  return HOTROW_OK;
}
