/* Every push as it was sent, by session and shard. After every message the shard's rows must hold, of every session,
 * the pushes up to its watermark and nothing else: exactly once, no phantom, nothing lost. The watermark itself only
 * rises while a shard lives, and never falls below what the session was told to be durable. */
#include <stdlib.h>
#include <string.h>

#include <shard_session.h>

#include "hr_test.h"
#include "sim.h"

static void record_section(cluster *sim, uint32_t session, const hr_section *section, sim_push *push)
{
  uint32_t t = section->table; /* tables are created in order: an id is an index */
  CHECK(t < sim->config.tables);
  push->rows = realloc(push->rows, (push->row_count + section->key_count) * sizeof *push->rows);
  CHECK(push->rows);
  const hotrow_kernels *kernels;
  float row[SIM_SESSIONS_MAX];
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &kernels));
  for (uint32_t i = 0; i < section->key_count; i++) {
    if (section->dtype == HOTROW_F32)
      memcpy(row, section->grads + (size_t)i * section->dim, section->dim * sizeof *row);
    else
      kernels->unpack((hotrow_dtype)section->dtype, (const uint16_t *)section->packed + (size_t)i * section->dim, NULL,
                      section->dim, 1, NULL, row, section->dim);
    for (uint32_t c = 0; c < section->dim; c++)
      if (c != session && row[c] != 0)
        sim_fail(sim, "session %u pushes a gradient in the column of session %u", session, c);
    push->rows[push->row_count++] = (struct sim_pushed_row){
        .table = (uint8_t)t,
        .key = (uint8_t)sim_index_of_key(sim, t, section->keys[i]),
        .steps = section->flags & HR_SECTION_STEPS ? hr_section_u32(section->steps, section, i) : 1,
        .count = -row[session],
    };
  }
}

void sim_ledger_sent(cluster *sim, uint32_t session, uint32_t shard, const hr_frame *frames, size_t frame_count)
{
  static hr_message message;
  CHECK_OK(hr_wire_decode(frames, frame_count, &message));
  struct sim_stream *stream = &sim->sessions[session].streams[shard];
  const hr_header *header = &message.header;
  if (header->op != HR_OP_PUSH && header->op != HR_OP_PUSH_PULL) {
    if (header->push_seq > stream->count)
      sim_fail(sim, "session %u names push %llu to shard %u and has sent %llu", session,
               (unsigned long long)header->push_seq, shard, (unsigned long long)stream->count);
    return;
  }
  if (header->push_seq <= stream->count)
    return; /* sent again; what it holds is checked by what it does */
  CHECK_EQ(header->push_seq, stream->count + 1);
  if (stream->count == stream->capacity) {
    stream->capacity = stream->capacity ? 2 * stream->capacity : 16;
    stream->pushes = realloc(stream->pushes, stream->capacity * sizeof *stream->pushes);
    CHECK(stream->pushes);
  }
  sim_push *push = &stream->pushes[stream->count++];
  *push = (sim_push){0};
  for (uint32_t i = 0; i < message.section_count; i++)
    if (message.sections[i].kind == HR_SECTION_PUSH)
      record_section(sim, session, &message.sections[i], push);
}

void sim_ledger_told(cluster *sim, uint32_t session, uint32_t shard, const hr_message *reply)
{
  struct sim_stream *stream = &sim->sessions[session].streams[shard];
  const hr_header *header = &reply->header;
  if (header->durable_seq > header->applied_seq && header->status != HOTROW_ERR_RESET)
    sim_fail(sim, "shard %u tells session %u that %llu pushes are durable, and %llu are applied", shard, session,
             (unsigned long long)header->durable_seq, (unsigned long long)header->applied_seq);
  if (header->durable_seq > stream->durable_told)
    stream->durable_told = header->durable_seq;
}

/* Reads the watermarks of the sessions that the shard knows; of others they stay. */
static void read_watermarks(cluster *sim, uint32_t shard)
{
  for (uint32_t j = 0; j < sim->session_count; j++) {
    struct sim_stream *stream = &sim->sessions[j].streams[shard];
    const hr_session *known = hr_session_find(sim_shard_get(sim, shard), sim->sessions[j].id);
    if (!known)
      continue;
    const sim_session *successor = &sim->sessions[sim->workers[sim->sessions[j].worker].session];
    if (sim->sessions[j].is_dead && hr_session_find(sim_shard_get(sim, shard), successor->id))
      sim_fail(sim, "shard %u: session %u may go on although its successor has come", shard, j);
    if (known->applied_seq < stream->applied)
      sim_fail(sim, "shard %u: the watermark of session %u falls from %llu to %llu", shard, j,
               (unsigned long long)stream->applied, (unsigned long long)known->applied_seq);
    if (known->applied_seq > stream->count)
      sim_fail(sim, "shard %u: the watermark of session %u is %llu, sent were %llu", shard, j,
               (unsigned long long)known->applied_seq, (unsigned long long)stream->count);
    stream->applied = known->applied_seq;
  }
}

/* Up to the watermark; and of an exact job, in which a push waits for its step, those behind it that need not wait,
 * here or in the cut that the shard came back from. */
static bool is_applied(const cluster *sim, uint32_t session, uint32_t shard, uint64_t seq)
{
  if (seq <= sim->sessions[session].streams[shard].applied)
    return true;
  hr_session *known = hr_session_find(sim_shard_get(sim, shard), sim->sessions[session].id);
  if (!known)
    return false;
  if (seq <= known->received_seq)
    return !hr_session_outcome(known, seq)->waiting;
  return seq <= known->received_seq + HR_PUSH_WINDOW && (known->decided >> seq % HR_PUSH_WINDOW & 1u);
}

void sim_ledger_check(cluster *sim, uint32_t shard)
{
  static sim_counts expected, held;
  memset(&expected, 0, sizeof expected);
  read_watermarks(sim, shard);
  for (uint32_t j = 0; j < sim->session_count; j++) {
    const struct sim_stream *stream = &sim->sessions[j].streams[shard];
    for (uint64_t n = 0; n < stream->count; n++) {
      if (!is_applied(sim, j, shard, n + 1))
        continue;
      for (uint32_t r = 0; r < stream->pushes[n].row_count; r++) {
        const struct sim_pushed_row *row = &stream->pushes[n].rows[r];
        expected.steps[row->table][row->key][j] += row->count;
        expected.clocks[row->table][row->key] += row->steps;
      }
    }
  }
  sim_count_rows(sim, shard, &held);
  if (memcmp(held.clocks, expected.clocks, sizeof held.clocks) != 0)
    sim_fail(sim, "shard %u: the clocks of its rows are not the steps that were pushed", shard);
  for (uint32_t t = 0; t < sim->config.tables; t++)
    for (uint32_t k = 0; k < sim->config.keys; k++)
      for (uint32_t j = 0; j < sim->session_count; j++)
        if (held.steps[t][k][j] != expected.steps[t][k][j])
          sim_fail(sim, "shard %u table %u key %u holds %g steps of session %u, its watermark %llu says %g", shard, t,
                   k, (double)held.steps[t][k][j], j, (unsigned long long)sim->sessions[j].streams[shard].applied,
                   (double)expected.steps[t][k][j]);
}

/* Every step of every living session is on the shards exactly once. */
void sim_ledger_check_end(cluster *sim)
{
  const sim_config *c = &sim->config;
  for (uint32_t s = 0; s < c->shards; s++) {
    sim_counts held;
    sim_ledger_check(sim, s);
    sim_count_rows(sim, s, &held);
    for (uint32_t w = 0; w < c->workers; w++) {
      const sim_worker *worker = &sim->workers[w];
      for (uint32_t t = 0; t < c->tables; t++)
        for (uint32_t k = 0; k < c->keys; k++) {
          uint32_t made = sim_shard_of_key(sim, t, k) == s ? worker->issued[t][k] : 0;
          if (held.steps[t][k][worker->session] != (float)made)
            sim_fail(sim, "at the end shard %u, table %u, key %u holds %g steps of worker %u, made were %u", s, t, k,
                     (double)held.steps[t][k][worker->session], w, made);
        }
    }
  }
}

void sim_ledger_free(cluster *sim)
{
  for (uint32_t j = 0; j < sim->session_count; j++)
    for (uint32_t s = 0; s < SIM_SHARDS_MAX; s++) {
      struct sim_stream *stream = &sim->sessions[j].streams[s];
      for (uint64_t n = 0; n < stream->count; n++)
        free(stream->pushes[n].rows);
      free(stream->pushes);
    }
}
