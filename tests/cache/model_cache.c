#include "model_cache.h"

#include <string.h>

#include "cache_rules.h"
#include "hr_test.h"

static hr_sketch_line sketch_lines[SETS_MAX * HR_SKETCH_LINES];
static hr_sketch sketch;

void model_start(model_cache *m)
{
  memset(m, 0, sizeof *m);
  memset(sketch_lines, 0, sizeof sketch_lines);
  CHECK_OK(hotrow_kernels_get(HOTROW_CPU, &m->kernels));
}

void model_add_table(model_cache *m, const hotrow_cache_options *options, const hotrow_row_layout *layout)
{
  m->own = &m->tables[m->table_count++];
  *m->own = (model_table){.options = *options, .layout = *layout, .lr_scale = 1.0f};
  if (m->table_count > 1)
    return;
  m->policy = options->policy;
  m->set_count = (uint32_t)(options->row_count + WAYS - 1) / WAYS;
  sketch = (hr_sketch){sketch_lines, m->set_count};
  m->dirty_max = m->set_count * WAYS;
  if (options->pending_row_count && options->pending_row_count < m->dirty_max)
    m->dirty_max = (uint32_t)options->pending_row_count;
}

bool model_is_own(const model_cache *m, const model_row *r)
{
  return r->held && m->own == &m->tables[r->table];
}

void model_begin_batch(model_cache *m)
{
  uint64_t lookups = 0;
  m->batch++;
  m->staging_used = 0;
  for (uint32_t t = 0; t < m->table_count; t++)
    lookups += m->tables[t].stats.lookups;
  if (m->policy >= HOTROW_POLICY_LFU && m->set_count > 0)
    m->age = (uint32_t)(lookups / (20 * WAYS * m->set_count));
}

static uint8_t own_number(const model_cache *m)
{
  return (uint8_t)(m->own - m->tables);
}

model_row *model_find(model_cache *m, uint64_t key)
{
  for (size_t s = 0; s < m->set_count * WAYS; s++)
    if (model_is_own(m, &m->rows[s]) && m->rows[s].key == key)
      return &m->rows[s];
  return NULL;
}

hotrow_row_state model_state(const model_cache *m, const model_row *r)
{
  if (!r)
    return HOTROW_ROW_MISSING;
  if (m->own->options.mode == HOTROW_CACHE_PROBE)
    return r->stale ? HOTROW_ROW_STALE : HOTROW_ROW_DOUBTFUL;
  int64_t most_unseen = (int64_t)(int32_t)(r->announced - r->seen) + m->own->options.announce_step - 1;
  return r->stale || most_unseen > m->own->options.pull_bound ? HOTROW_ROW_STALE : HOTROW_ROW_FRESH;
}

static void use(model_cache *m, model_row *r, const uint32_t *next_use)
{
  r->used_in = m->batch;
  if (!next_use)
    r->live_until = (int32_t)(r->live_until - m->batch) > 0 ? r->live_until : m->batch;
  else if (*next_use == HOTROW_BATCH_NONE || (int32_t)(*next_use - m->batch) <= 0)
    r->live_until = m->batch;
  else
    r->live_until = *next_use;
}

hotrow_row_state model_lookup(model_cache *m, uint64_t key, const uint32_t *next_use)
{
  static const uint32_t uses_max[] = {0, 10, 127, 127};
  model_row *r = model_find(m, key);
  hotrow_row_state state = model_state(m, r);
  hotrow_cache_stats *stats = &m->own->stats;
  stats->lookups++;
  stats->misses += state == HOTROW_ROW_MISSING;
  stats->stale += state == HOTROW_ROW_STALE;
  stats->hits += state == HOTROW_ROW_FRESH || state == HOTROW_ROW_DOUBTFUL;
  if (!r)
    return state;
  use(m, r, next_use);
  r->uses += r->uses < uses_max[m->policy];
  if (state != HOTROW_ROW_FRESH)
    return state;
  int64_t announced = (int32_t)(r->announced - r->seen), most = announced + m->own->options.announce_step - 1;
  uint32_t bucket = 0;
  for (int64_t a = announced; a > 0; a /= 2)
    bucket++;
  stats->unseen_counts[bucket]++;
  stats->unseen_sum += announced > 0 ? (uint64_t)announced : 0;
  if (most > (int64_t)stats->unseen_max)
    stats->unseen_max = (uint64_t)most;
  return state;
}

void model_expect(model_cache *m, uint64_t key, uint32_t batch)
{
  model_row *r = model_find(m, key);
  if (!r)
    return;
  int32_t pinned_for = (int32_t)(r->live_until - m->batch), ahead = (int32_t)(batch - m->batch);
  if (pinned_for == 0)
    r->used_in = m->batch;
  if (pinned_for <= 0)
    r->live_until = ahead > 0 ? batch : m->batch;
  else if (ahead > 0 && ahead < pinned_for)
    r->live_until = batch;
}

static void apply(const model_cache *m, model_row *r, const float *grad, const float *squares, uint32_t steps)
{
  uint32_t slot = 0;
  m->kernels->optimizer_apply(&m->own->layout, m->own->lr_scale, r->row, ROW_MAX, &slot, grad,
                              m->own->layout.square_dim ? squares : NULL, &steps, 1, NULL);
}

static model_push *push(model_cache *m, uint8_t table, uint64_t key, uint64_t hash, uint32_t steps, const float *grad,
                        const float *squares)
{
  model_push *p = &m->pushes[m->push_count++];
  *p = (model_push){.table = table, .key = key, .hash = hash, .steps = steps, .is_exact = 1};
  memcpy(p->grad, grad, sizeof p->grad);
  if (steps > 1)
    memcpy(p->squares, squares, m->own->layout.square_dim * sizeof(float));
  return p;
}

static void count_sent(const model_cache *m, model_row *r, uint32_t steps)
{
  bool comes_again = m->own->options.is_rounded && m->own->options.pull_bound == 0 && m->own->options.push_bound == 0;
  if (m->own->options.mode == HOTROW_CACHE_PROBE && !comes_again)
    r->seen += steps;
}

void model_hand_out(model_cache *m, model_row *r)
{
  if (r->pending == 0)
    return;
  push(m, r->table, r->key, r->hash, r->pending, r->grad, r->squares);
  count_sent(m, r, r->pending);
  r->pending = 0;
  m->dirty_count--;
}

static void set_row(const model_cache *m, model_row *r, uint32_t clock, const float *value, const float *state)
{
  memcpy(r->row, value, DIM * sizeof(float));
  memcpy(r->row + DIM, state, m->own->layout.state_dim * sizeof(float));
  r->seen = r->announced = clock;
  r->stale = false;
  if (r->pending > 0)
    apply(m, r, r->grad, r->squares, r->pending);
}

void model_refresh(model_cache *m, uint64_t key, uint32_t clock, const float *value, const float *state)
{
  model_row *r = model_find(m, key);
  CHECK(r != NULL);
  if (model_state(m, r) == HOTROW_ROW_DOUBTFUL && m->own->stats.hits > 0) {
    m->own->stats.hits--;
    m->own->stats.stale++;
  }
  set_row(m, r, clock, value, state);
}

static bool may_leave(const model_cache *m, const model_row *r)
{
  return m->policy != HOTROW_POLICY_LIGHT_LFU || r->uses < 10;
}

static bool is_unpinned(const model_cache *m, const model_row *r)
{
  return (int32_t)(r->live_until - m->batch) < 0;
}

/* Rows that would find no way without the farthest rule. */
static size_t count_uncached(model_cache *m, const uint64_t *keys, const uint64_t *hashes, size_t count)
{
  size_t room[SETS_MAX] = {0}, uncached = 0;
  for (size_t s = 0; s < m->set_count * WAYS; s++)
    room[s / WAYS] += !m->rows[s].held || (is_unpinned(m, &m->rows[s]) && may_leave(m, &m->rows[s]));
  for (size_t i = 0; i < count; i++) {
    size_t set = ((hashes[i] >> 32) * m->set_count) >> 32;
    if (model_find(m, keys[i]))
      continue;
    if (m->set_count > 0 && room[set] > 0)
      room[set]--;
    else
      uncached++;
  }
  return uncached;
}

/* The row of a full set that leaves to a new one, or NULL. */
static model_row *choose(model_cache *m, size_t set, uint32_t uses, uint32_t next_use, size_t *bypass_left)
{
  model_row *first = m->rows + set * WAYS, *victim = NULL;
  for (model_row *r = first; r < first + WAYS; r++) {
    if (!is_unpinned(m, r) || !may_leave(m, r))
      continue;
    int64_t order = !victim ? -1 : (int64_t)r->uses - victim->uses;
    if (order == 0 || (victim && m->policy == HOTROW_POLICY_LRU))
      order = (int32_t)(r->live_until - victim->live_until);
    if (order < 0)
      victim = r;
  }
  if (victim && m->policy == HOTROW_POLICY_W_TINY_LFU && next_use == HOTROW_BATCH_NONE &&
      uses<victim->uses && * bypass_left> 0) {
    --*bypass_left;
    m->own->stats.bypassed++;
    return NULL;
  }
  if (!victim && next_use != HOTROW_BATCH_NONE)
    for (model_row *r = first; r < first + WAYS; r++)
      if (r->used_in != m->batch && may_leave(m, r) && (int32_t)(r->live_until - next_use) > 0 &&
          (!victim || (int32_t)(r->live_until - victim->live_until) > 0))
        victim = r;
  m->own->stats.uncached += !victim;
  return victim;
}

typedef struct place {
  model_row *row; /* NULL: staged */
  bool is_held, is_victim;
  uint32_t uses;
} place;

static place find_place(model_cache *m, uint64_t key, uint64_t hash, const uint32_t *next_use, size_t *bypass_left)
{
  size_t set = ((hash >> 32) * m->set_count) >> 32;
  place p = {model_find(m, key), true, false, m->policy == HOTROW_POLICY_LFU};
  if (p.row)
    return p;
  p.is_held = false;
  for (; m->set_count > 0 && m->policy >= HOTROW_POLICY_LFU && m->set_ages[set] < m->age; m->set_ages[set]++)
    for (model_row *r = m->rows + set * WAYS; r < m->rows + (set + 1) * WAYS; r++)
      r->uses /= 2;
  if (m->policy == HOTROW_POLICY_W_TINY_LFU && m->set_count > 0)
    p.uses = hr_sketch_count(&sketch, hash, m->age);
  for (size_t way = WAYS; way-- > 0 && m->set_count > 0;)
    if (!m->rows[set * WAYS + way].held)
      p.row = &m->rows[set * WAYS + way];
  if (!p.row) {
    bool is_ahead = next_use && (int32_t)(*next_use - m->batch) > 0;
    p.row = m->set_count > 0 ? choose(m, set, p.uses, is_ahead ? *next_use : HOTROW_BATCH_NONE, bypass_left) : NULL;
    p.is_victim = p.row != NULL;
    m->own->stats.uncached += m->set_count == 0;
    if (p.is_victim && m->policy == HOTROW_POLICY_W_TINY_LFU)
      hr_sketch_remember(&sketch, p.row->hash, p.row->uses, m->age);
  }
  if (p.row) {
    if (!p.is_victim)
      *p.row = (model_row){.held = true, .table = own_number(m), .key = key, .hash = hash};
    p.row->live_until = m->batch;
    use(m, p.row, next_use);
  }
  return p;
}

static void evict(model_cache *m, model_row *r)
{
  hotrow_cache_stats *stats = &m->tables[r->table].stats;
  stats->evicted_dirty += r->pending > 0;
  stats->evicted_clean += r->pending == 0;
  model_hand_out(m, r);
}

hotrow_status model_insert(model_cache *m, const uint64_t *keys, const uint64_t *hashes, const uint32_t *clocks,
                           const float *values, const float *states, const uint32_t *next_use, size_t count,
                           uint32_t *slots)
{
  place places[64];
  size_t staging_free = STAGING - m->staging_used, missing = 0;
  for (size_t i = 0; i < count && m->set_count > 0; i++) {
    model_row *r = model_find(m, keys[i]);
    missing += !r;
    if (r)
      use(m, r, next_use ? next_use + i : NULL);
  }
  size_t uncached = count_uncached(m, keys, hashes, count);
  if (uncached > staging_free)
    return HOTROW_ERR_LIMIT;
  size_t bypass_left = missing <= staging_free ? missing : staging_free - uncached;
  for (size_t i = 0; i < count; i++)
    places[i] = find_place(m, keys[i], hashes[i], next_use ? next_use + i : NULL, &bypass_left);
  for (size_t i = 0; i < count; i++) {
    model_row *r = places[i].row;
    const float *value = values + i * DIM, *state = states + i * m->own->layout.state_dim;
    slots[i] = r ? (uint32_t)(r - m->rows) : m->set_count * WAYS + (uint32_t)m->staging_used++;
    if (!r || places[i].is_held)
      continue;
    if (places[i].is_victim)
      evict(m, r);
    *r = (model_row){.held = true,
                     .table = own_number(m),
                     .key = keys[i],
                     .hash = hashes[i],
                     .live_until = r->live_until,
                     .used_in = r->used_in,
                     .uses = places[i].uses};
    set_row(m, r, clocks[i], value, state);
  }
  for (size_t i = 0; i < count; i++) {
    model_row *r = places[i].row;
    if (r && places[i].is_held &&
        (model_state(m, r) == HOTROW_ROW_STALE || (int64_t)(int32_t)(clocks[i] - r->seen) > m->own->options.pull_bound))
      set_row(m, r, clocks[i], values + i * DIM, states + i * m->own->layout.state_dim);
  }
  return HOTROW_OK;
}

static bool leaves_rounded(const model_cache *m, uint32_t steps)
{
  return steps > m->own->options.push_bound && m->own->options.push_bound > 0 &&
         m->own->options.wire_dtype != HOTROW_F32 && (steps - 1 > 1 || m->own->layout.square_dim == 0);
}

size_t model_count_new(model_cache *m, uint64_t key, uint32_t ticks)
{
  const model_row *r = model_find(m, key);
  if (!r)
    return 1;
  return (r->pending == 0) + (size_t)leaves_rounded(m, r->pending + ticks);
}

static void add_to_sum(const model_cache *m, model_row *r, const float *grad)
{
  bool is_first = r->pending == 0;
  for (uint32_t c = 0; c < DIM; c++)
    r->grad[c] = is_first ? grad[c] : r->grad[c] + grad[c];
  for (uint32_t s = 0; s < m->own->layout.segment_count; s++) {
    const hotrow_segment_layout *segment = &m->own->layout.segments[s];
    const float *g = grad + segment->value_offset;
    float *squares = r->squares + segment->square_offset, mean = 0.0f;
    for (uint32_t c = 0; c < segment->dim; c++) {
      float square = g[c] * g[c];
      mean = c == 0 ? square : mean + square;
      if (segment->square_dim == segment->dim)
        squares[c] = is_first ? square : squares[c] + square;
    }
    mean *= 1.0f / (float)segment->dim;
    if (segment->square_dim == 1 && segment->dim > 1)
      squares[0] = is_first ? mean : squares[0] + mean;
  }
}

/* All but one step go, as the wire's dtype can say them. */
static void push_rounded(model_cache *m, model_row *r)
{
  char packed[DIM * sizeof(float)];
  float scale, sent[DIM];
  model_push *p = push(m, r->table, r->key, r->hash, r->pending - 1, r->grad, r->squares);
  m->kernels->pack(m->own->options.wire_dtype, r->grad, DIM, DIM, NULL, 1, NULL, packed, &scale);
  m->kernels->unpack(m->own->options.wire_dtype, packed, &scale, DIM, 1, NULL, sent, DIM);
  memcpy(p->grad, sent, sizeof sent);
  p->is_exact = 0;
  for (uint32_t c = 0; c < DIM; c++)
    r->grad[c] -= sent[c];
  memset(r->squares, 0, sizeof r->squares);
  count_sent(m, r, r->pending - 1);
  r->pending = 1;
}

void model_update(model_cache *m, uint64_t key, uint64_t hash, const float *grad, uint32_t ticks)
{
  static const float no_squares[DIM];
  model_row *r = model_find(m, key), alone = {0};
  if (r)
    apply(m, r, grad, no_squares, 1);
  if (!r || m->own->options.push_bound == 0 || (r->pending == 0 && m->dirty_count + m->leaving_count == m->dirty_max)) {
    add_to_sum(m, &alone, grad);
    push(m, own_number(m), key, hash, ticks, grad, alone.squares);
    if (r)
      count_sent(m, r, ticks);
    return;
  }
  m->dirty_count += r->pending == 0;
  add_to_sum(m, r, grad);
  r->pending += ticks;
  if (leaves_rounded(m, r->pending)) {
    push_rounded(m, r);
  } else if (r->pending > m->own->options.push_bound) {
    model_hand_out(m, r);
    m->leaving_count++;
  } else if (r->pending > m->own->stats.pending_max) {
    m->own->stats.pending_max = r->pending;
  }
}
