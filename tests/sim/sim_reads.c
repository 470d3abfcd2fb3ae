/* What is true of every row that a worker may use. */
#include <string.h>

#include "hr_test.h"
#include "sim.h"

void sim_reads_taken(sim_worker *worker, const sim_message *message, const hr_message *reply, bool answers_pull)
{
  const sim_counts *truth = message->truth;
  worker->newest[message->shard] = *truth;
  for (uint32_t i = 0; answers_pull && i < reply->section_count; i++) {
    uint32_t t = reply->sections[i].table;
    if (reply->sections[i].kind == HR_SECTION_PULL_REPLY)
      memcpy(worker->probed[message->shard].steps[t], truth->steps[t], sizeof truth->steps[t]);
  }
}

/* Which rows were held, and what the shard had of those that came. */
void sim_reads_observe(void *context, const hotrow_table *table, hotrow_event event, const uint64_t *keys,
                       const uint32_t *numbers, size_t count)
{
  sim_worker *worker = context;
  (void)numbers;
  for (size_t i = 0; i < count && event != HOTROW_EVENT_PUSH; i++) {
    uint32_t k = sim_index_of_key(worker->sim, table->index, keys[i]);
    worker->is_hit[table->index][k] = event == HOTROW_EVENT_HIT;
    if (event != HOTROW_EVENT_HIT)
      memcpy(worker->came[table->index][k], worker->in_hand->truth->steps[table->index][k],
             sizeof worker->came[table->index][k]);
  }
}

/* Own steps, all of them and each once; of others none that the shard does not have. Returns how many of others it
 * lacks. A row that came is of the moment of its answer, and a probe likewise; announcements keep copies right as of
 * the last reply. */
static float check_columns(const sim_worker *worker, uint32_t t, uint32_t k, const float *read, uint32_t shard)
{
  cluster *sim = worker->sim;
  bool is_probed = sim->config.mode[t] == HOTROW_MODE_PROBE;
  const float *allowed = (is_probed ? worker->probed : worker->newest)[shard].steps[t][k];
  if (!worker->is_hit[t][k])
    allowed = worker->came[t][k];
  const float *newest = worker->newest[shard].steps[t][k];
  float unseen = 0;
  for (uint32_t j = 0; j < sim->session_count; j++) {
    if (j == worker->session) {
      if (read[j] != (float)worker->issued[t][k])
        sim_fail(sim, "worker %u step %u table %u key %u: reads %g of its own steps, has made %u", worker->index,
                 worker->step, t, k, (double)read[j], worker->issued[t][k]);
      continue;
    }
    if (read[j] > newest[j] && read[j] > allowed[j])
      sim_fail(sim, "worker %u step %u table %u key %u: reads %g steps of session %u, the shard had %g", worker->index,
               worker->step, t, k, (double)read[j], j, (double)newest[j]);
    unseen += allowed[j] - read[j];
  }
  return unseen;
}

/* Exact steps: others' steps before this one are all there, none of this step is. */
static void check_exact(const sim_worker *worker, uint32_t t, uint32_t k, const float *read)
{
  cluster *sim = worker->sim;
  for (uint32_t j = 0; j < sim->config.workers; j++) {
    const sim_worker *other = &sim->workers[j];
    if (other->step == worker->step && read[other->session] != (float)other->issued[t][k])
      sim_fail(sim, "worker %u step %u table %u key %u: reads %g steps of worker %u, exact is %u", worker->index,
               worker->step, t, k, (double)read[other->session], j, other->issued[t][k]);
  }
}

/* A table whose pushes are rounded keeps a row's last step back when it sends the sum: what is there of a session may
 * be one step ahead of the clock. */
static uint32_t allowance(const sim_config *c, uint32_t t)
{
  return c->dtype[t] != HOTROW_F32 && c->push_bound[t] > 0 ? c->sessions - 1 : 0;
}

void sim_reads_check(sim_worker *worker, uint32_t t)
{
  cluster *sim = worker->sim;
  const sim_config *c = &sim->config;
  for (uint32_t i = 0; i < c->batch; i++) {
    uint32_t k = sim_index_of_key(sim, t, worker->batch.keys[t][i]);
    const float *read = worker->rows[t][i];
    float unseen = check_columns(worker, t, k, read, sim_shard_of_key(sim, t, k));
    if (unseen > (float)(c->pull_bound[t] + allowance(c, t)))
      sim_fail(sim, "worker %u step %u table %u key %u: lacks %g steps of others, pull bound %u", worker->index,
               worker->step, t, k, (double)unseen, c->pull_bound[t]);
    if (c->pull_bound[t] == 0 && c->push_bound[t] == 0)
      check_exact(worker, t, k, read);
    sim->totals.stale_reads += unseen > 0;
    sim->totals.reads++;
  }
}
