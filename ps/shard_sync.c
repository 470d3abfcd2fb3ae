#include "shard_sync.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>

#include "shard_admin.h"
#include "shard_data.h"
#include "shard_log.h"
#include "shard_memory.h"
#include "shard_pull.h"
#include "shard_visit.h"

/* A job whose every worker has been silent this long may be replaced by one of another size under its number. */
#define JOB_SILENT_NS 60000000000u

/* ---- what waits ---- */

/* Copies arrays one behind the other; with memory NULL it only measures. */
typedef struct copier {
  uint8_t *memory;
  size_t used;
} copier;

static void *copy_array(copier *to, const void *from, size_t size_bytes)
{
  void *at = to->memory ? to->memory + to->used : NULL;
  to->used += (size_bytes + 7u) / 8u * 8u;
  if (at && size_bytes)
    memcpy(at, from, size_bytes);
  return from ? at : NULL;
}

static void copy_sections(copier *to, const hr_section *sections, size_t section_count, hr_section *copies)
{
  for (size_t i = 0; i < section_count; i++) {
    const hr_section *s = &sections[i];
    hr_section copy = *s;
    hr_wire_array arrays[HR_WIRE_ARRAYS_MAX];
    size_t array_count = hr_wire_arrays(s, arrays);
    for (size_t k = 0; k < array_count; k++) {
      char *pointer = (char *)&copy + arrays[k].pointer_offset;
      const void *array;
      memcpy(&array, pointer, sizeof array);
      array = copy_array(to, array, (size_t)arrays[k].size_bytes);
      memcpy(pointer, &array, sizeof array);
    }
    if (copies)
      copies[i] = copy;
  }
}

static hotrow_status hold(hr_shard *shard, const hr_header *header, const hr_section *sections, size_t section_count,
                          size_t budget_bytes, hr_held **held_p)
{
  copier arrays = {0};
  copy_sections(&arrays, sections, section_count, NULL);
  size_t fixed_bytes = sizeof(hr_held) + section_count * sizeof(hr_section);
  size_t size_bytes = fixed_bytes + arrays.used;
  if (shard->held_bytes > budget_bytes || size_bytes > budget_bytes - shard->held_bytes)
    return hr_fail(HOTROW_ERR_BUSY, "%zu bytes wait for other ranks: no room for %zu more", shard->held_bytes,
                   size_bytes);
  hr_held *held = malloc(size_bytes);
  if (!held)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for %zu bytes that must wait for other ranks", size_bytes);
  held->header = *header;
  held->size_bytes = size_bytes;
  held->section_count = section_count;
  held->sections = (hr_section *)(held + 1);
  arrays = (copier){.memory = (uint8_t *)held + fixed_bytes};
  copy_sections(&arrays, sections, section_count, held->sections);
  shard->held_bytes += size_bytes;
  *held_p = held;
  return HOTROW_OK;
}

void hr_held_free(hr_shard *shard, hr_held *held)
{
  if (!held)
    return;
  HOTROW_ASSERT(shard->held_bytes >= held->size_bytes);
  shard->held_bytes -= held->size_bytes;
  free(held);
}

/* ---- jobs and their members ---- */

static void free_held_pushes(hr_shard *shard, hr_job *job)
{
  for (size_t i = 0; job->held && i < (size_t)HR_PUSH_WINDOW * job->world_size; i++)
    hr_held_free(shard, job->held[i]);
  free(job->held);
  job->held = NULL;
}

static void fence_all(hr_shard *shard, hr_job *job)
{
  for (uint32_t rank = 0; rank < job->world_size; rank++)
    if (job->members[rank].session)
      hr_session_remove(shard, job->members[rank].session);
  hr_blobs_drop(shard, job->id, NULL);
}

void hr_job_drop(hr_shard *shard, hr_job *job)
{
  hr_job **link = &shard->jobs;
  while (*link != job)
    link = &(*link)->next;
  *link = job->next;
  shard->job_count--;
  fence_all(shard, job);
  free_held_pushes(shard, job);
  hr_log_job_gone(shard, job->id);
  free(job);
}

static void drop_idlest(hr_shard *shard)
{
  hr_job *idlest = shard->jobs;
  for (hr_job *job = shard->jobs; job; job = job->next)
    if (job->used_ns < idlest->used_ns)
      idlest = job;
  hr_job_drop(shard, idlest);
}

static bool is_living(const hr_shard *shard, const hr_job *job)
{
  bool has_member = false;
  for (uint32_t rank = 0; rank < job->world_size; rank++)
    has_member = has_member || job->members[rank].session;
  return has_member && shard->now_ns - job->used_ns < JOB_SILENT_NS;
}

hr_job *hr_job_find(const hr_shard *shard, uint64_t id)
{
  hr_job *job = shard->jobs;
  while (job && job->id != id)
    job = job->next;
  return job;
}

hr_job *hr_job_add(hr_shard *shard, uint64_t id, uint32_t world_size, uint64_t now_ns)
{
  hr_job *job = calloc(1, sizeof *job + world_size * sizeof *job->members);
  if (!job)
    return NULL;
  if (shard->job_count == HR_SHARD_JOBS_MAX)
    drop_idlest(shard);
  job->id = id;
  job->world_size = world_size;
  job->used_ns = now_ns;
  job->next = shard->jobs;
  shard->jobs = job;
  shard->job_count++;
  return job;
}

hotrow_status hr_job_open(hr_shard *shard, const hr_hello *hello, uint32_t rank, hr_job **job_p)
{
  hr_job *job = hr_job_find(shard, hello->job);
  if (job && job->world_size != hello->world_size) {
    if (is_living(shard, job))
      return hr_fail(HOTROW_ERR_INVALID, "job %llu has %u workers, and rank %u says %u", (unsigned long long)job->id,
                     job->world_size, rank, hello->world_size);
    hr_job_drop(shard, job);
    job = NULL;
  }
  if (job && hello->started_ns <= job->members[rank].started_ns)
    return hr_fail(HOTROW_ERR_FENCED, "rank %u of job %llu has a session that started later or at the same time", rank,
                   (unsigned long long)job->id);
  if (!job) {
    job = hr_job_add(shard, hello->job, hello->world_size, shard->now_ns);
    if (!job)
      return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a job of %u workers", hello->world_size);
  }
  job->used_ns = shard->now_ns;
  *job_p = job;
  return HOTROW_OK;
}

/* The rows keep what was applied; the steps begin again, without what the old sessions left waiting. */
static void start_over(hr_shard *shard, hr_job *job)
{
  fence_all(shard, job);
  free_held_pushes(shard, job);
  memset(job->arrived, 0, sizeof job->arrived);
  job->step_next = 0;
  for (uint32_t rank = 0; rank < job->world_size; rank++)
    job->members[rank] = (hr_member){.started_ns = job->members[rank].started_ns};
}

/* Also when one rank alone has: it waits for a push that the successor of another does not have. */
static bool has_begun_steps(const hr_job *job)
{
  for (uint32_t rank = 0; rank < job->world_size; rank++)
    if (job->members[rank].step_next > 0)
      return true;
  return false;
}

void hr_job_join(hr_shard *shard, hr_job *job, hr_session *session)
{
  hr_member *member = &job->members[session->rank];
  HOTROW_ASSERT(session->rank < job->world_size && session->hello.started_ns > member->started_ns);
  if (member->has_joined && has_begun_steps(job)) {
    start_over(shard, job);
  } else if (member->session && HR_MUTANT(NO_FENCE)) {
    member->session->job = NULL;
  } else if (member->session) {
    hr_blobs_drop(shard, job->id, &member->session->id);
    hr_session_remove(shard, member->session);
  }
  /* Barriers are asked for again and again until they open: forgetting who asked loses nothing of the living, and of
   * the dead it forgets what they asked for in the job's earlier life. */
  for (uint32_t rank = 0; rank < job->world_size; rank++)
    job->members[rank].barrier = 0;
  session->fences = member->has_joined && hr_shard_waits_for_disk(shard);
  *member = (hr_member){.session = session, .started_ns = session->hello.started_ns, .has_joined = true};
  session->job = job;
}

void hr_job_bye(hr_shard *shard, hr_job *job, uint32_t rank)
{
  bool all_said_bye = true;
  job->members[rank].said_bye = true;
  for (uint32_t i = 0; i < job->world_size; i++)
    all_said_bye = all_said_bye && job->members[i].said_bye;
  if (all_said_bye)
    hr_job_drop(shard, job);
  else
    hr_log_job(shard, job);
}

/* A rank that has asked for the next barrier has passed this one. Farther apart two ranks cannot be. */
bool hr_job_barrier(hr_job *job, uint32_t rank, uint64_t number)
{
  uint64_t *own = &job->members[rank].barrier;
  if (number < *own)
    return true;
  *own = number;
  for (uint32_t i = 0; i < job->world_size; i++)
    if (job->members[i].barrier != number && job->members[i].barrier != number + 1)
      return false;
  return true;
}

/* ---- exact steps ---- */

static uint32_t *arrived_at(hr_job *job, uint64_t step)
{
  return &job->arrived[step % HR_PUSH_WINDOW];
}

static hr_held **held_at(hr_job *job, uint64_t step, uint32_t rank)
{
  return &job->held[(step % HR_PUSH_WINDOW) * job->world_size + rank];
}

static void apply_one(hr_shard *shard, hr_job *job, uint32_t rank, const hr_held *push)
{
  hotrow_status status = hr_data_apply_push(shard, &push->header, push->sections, push->section_count);
  hr_session *session = job->members[rank].session;
  if (session)
    hr_session_finish_push(shard, session, push->header.push_seq, status);
}

static void answer_held_pulls(hr_shard *shard, hr_job *job)
{
  for (uint32_t rank = 0; rank < job->world_size; rank++) {
    hr_session *session = job->members[rank].session;
    if (!session || !session->pull || hr_job_must_wait(job, &session->pull->header))
      continue;
    hr_held *pull = session->pull;
    const hr_outcome *outcome = hr_session_outcome(session, pull->header.push_seq);
    session->pull = NULL;
    if (pull->header.op == HR_OP_PUSH_PULL && outcome->status != HOTROW_OK)
      hr_session_answer_push(shard, session, pull->header.push_seq);
    else
      hr_data_answer_pull(shard, session, &pull->header, pull->sections, pull->section_count);
    hr_held_free(shard, pull);
  }
}

/* All rows twice in the time that one has to live, but at least so many with a step and at most so many. */
static uint64_t sweep_count(uint64_t row_count, uint32_t steps_to_live, uint64_t min, uint64_t max)
{
  uint64_t share = 2 * row_count / steps_to_live;
  return share < max - min ? min + share : max;
}

/* Time is counted in steps, and a little of the tables is looked through at each. */
void hr_job_advance(hr_shard *shard, uint32_t step_count)
{
  for (size_t i = 0; i < shard->table_count; i++) {
    hr_table *table = shard->tables[i];
    uint32_t steps_to_live = hr_table_get_desc(table)->steps_to_live;
    if (!hr_table_has_eviction(hr_table_get_desc(table)))
      continue;
    hr_table_advance(table, step_count);
    if (steps_to_live == 0)
      continue;
    hr_visit_ask(shard, (uint32_t)i,
                 (size_t)sweep_count(hr_memory_cold_count(table), steps_to_live, HR_SWEEP_STORED_ROWS_MIN,
                                     HR_SWEEP_STORED_ROWS_MAX));
    hr_table_sweep(table,
                   sweep_count(hr_table_resident_count(table), steps_to_live, HR_SWEEP_ROWS_MIN, HR_SWEEP_ROWS_MAX));
  }
}

void hr_job_note_step(hr_shard *shard, hr_job *job, const hr_header *header)
{
  job->is_exact = job->is_exact || (header->flags & HR_FLAG_SYNC);
  if (job->is_exact)
    return;
  int32_t ahead = job->has_step ? (int32_t)(header->step - job->step_seen) : 0;
  if (!job->has_step || ahead > 0)
    job->step_seen = header->step;
  job->has_step = true;
  if (ahead > 0)
    hr_job_advance(shard, (uint32_t)ahead);
}

/* Every rank's push of the next step is here: in rank order, whatever the order in which they came. `last` is the one
 * that came last and was not copied (NULL: it was refused, as are those of ranks without a copy). */
static void apply_step(hr_shard *shard, hr_job *job, uint32_t last_rank, const hr_held *last)
{
  for (uint32_t rank = 0; rank < job->world_size; rank++) {
    if (rank == last_rank) {
      if (last)
        apply_one(shard, job, rank, last);
    } else if (job->held && *held_at(job, job->step_next, rank)) {
      hr_held *push = *held_at(job, job->step_next, rank);
      *held_at(job, job->step_next, rank) = NULL;
      apply_one(shard, job, rank, push);
      hr_held_free(shard, push);
    }
  }
  *arrived_at(job, job->step_next) = 0;
  job->step_next++;
  hr_job_advance(shard, 1);
  hr_log_job(shard, job);
  answer_held_pulls(shard, job);
}

/* The step after which this pull is answered, counted from 1. */
static uint64_t awaited_step(const hr_header *header)
{
  return header->step + (header->op == HR_OP_PUSH_PULL ? (uint64_t)1 : 0);
}

bool hr_job_visit_waiting(hr_session *session, const hr_header *header, hr_sections_fn visit, void *context)
{
  hr_job *job = session->job;
  if (header->step != job->step_next || *arrived_at(job, header->step) + 1 != job->world_size)
    return false;
  for (uint32_t rank = 0; rank < job->world_size; rank++) {
    const hr_held *push = job->held ? *held_at(job, header->step, rank) : NULL;
    const hr_session *other = job->members[rank].session;
    const hr_held *pull = other ? other->pull : NULL;
    if (push)
      visit(context, &push->header, push->sections, push->section_count);
    if (pull && awaited_step(&pull->header) == job->step_next + 1)
      visit(context, &pull->header, pull->sections, pull->section_count);
  }
  return true;
}

/* A copy of a push that is not the last of its step. Half of the budget is for the step that all wait for, so that
 * ranks which run ahead cannot keep it out. */
static hotrow_status hold_push(hr_shard *shard, hr_job *job, const hr_header *header, const hr_section *sections,
                               size_t section_count, hr_held **held_p)
{
  size_t budget_bytes = shard->options.held_bytes_max;
  if (header->step > job->step_next)
    budget_bytes /= 2;
  if (!job->held)
    job->held = calloc((size_t)HR_PUSH_WINDOW * job->world_size, sizeof(hr_held *));
  if (!job->held)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for the steps of %u workers", job->world_size);
  return hold(shard, header, sections, section_count, budget_bytes, held_p);
}

/* Is this the step that the rank's next push ends, and is there room for it? Waiting pushes alone do not bound the
 * steps: a push that was refused does not wait. */
static hotrow_status check_step(const hr_job *job, uint32_t rank, uint32_t step)
{
  if (step != job->members[rank].step_next)
    return hr_fail(HOTROW_ERR_PROTOCOL, "rank %u pushes step %u, and its next is step %llu", rank, step,
                   (unsigned long long)job->members[rank].step_next);
  if (step - job->step_next >= HR_PUSH_WINDOW)
    return hr_fail(HOTROW_ERR_PROTOCOL, "rank %u pushes step %u, and step %llu has not come yet: at most %u ahead",
                   rank, step, (unsigned long long)job->step_next, HR_PUSH_WINDOW - 1u);
  return HOTROW_OK;
}

/* Of a push that completes its step all pushes of the step go into the log; one that waits does not. */
static size_t log_bytes(hr_job *job, const hr_header *header, size_t section_count)
{
  size_t size_bytes = hr_log_push_bytes(header->payload_size, section_count);
  for (uint32_t rank = 0; job->held && rank < job->world_size; rank++) {
    const hr_held *held = *held_at(job, header->step, rank);
    size_bytes += held ? hr_log_push_bytes(held->size_bytes, held->section_count) : 0;
  }
  return size_bytes;
}

hotrow_status hr_job_push(hr_shard *shard, hr_session *session, const hr_header *header, hr_section *sections,
                          size_t section_count)
{
  hr_job *job = session->job;
  hr_member *member = &job->members[session->rank];
  hotrow_status step_status = check_step(job, session->rank, header->step);
  uint32_t *arrived = arrived_at(job, header->step);
  bool is_last = step_status == HOTROW_OK && *arrived + 1 == job->world_size;
  HOTROW_TRY(hr_log_reserve(shard, is_last ? log_bytes(job, header, section_count) : 0));
  if (step_status != HOTROW_OK) {
    hr_session_take_push(session, header);
    hr_session_finish_push(shard, session, header->push_seq, step_status);
    return HOTROW_OK;
  }
  hotrow_status verdict = hr_data_check_push(shard, sections, section_count);
  hr_held *copy = NULL;
  if (verdict == HOTROW_OK && !is_last)
    HOTROW_TRY(hold_push(shard, job, header, sections, section_count, &copy));

  hr_session_take_push(session, header);
  hr_session_outcome(session, header->push_seq)->is_step = true;
  member->step_next++;
  ++*arrived;
  if (verdict != HOTROW_OK) /* the step goes on without it */
    hr_session_finish_push(shard, session, header->push_seq, verdict);
  if (!is_last) {
    if (copy)
      *held_at(job, header->step, session->rank) = copy;
    else
      hr_log_job(shard, job);
    return HOTROW_OK;
  }
  hr_held last = {.header = *header, .section_count = section_count, .sections = sections};
  apply_step(shard, job, session->rank, verdict == HOTROW_OK ? &last : NULL);
  return HOTROW_OK;
}

/* A pull is for the step that its header names; that of a push_pull for the one after the step that it ends. */
bool hr_job_must_wait(const hr_job *job, const hr_header *header)
{
  return awaited_step(header) > job->step_next;
}

hotrow_status hr_job_hold_pull(hr_shard *shard, hr_session *session, const hr_header *header, hr_section *sections,
                               size_t section_count)
{
  hr_held_free(shard, session->pull);
  session->pull = NULL;
  HOTROW_TRY(hold(shard, header, sections, section_count, shard->options.held_bytes_max, &session->pull));
  shard->counters.pulls_held++;
  return HOTROW_OK;
}
