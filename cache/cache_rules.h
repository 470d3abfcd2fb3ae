/* What the cache decides about one row or one set: functions of the set's arrays and the numbers of the cache alone.
 * Every device's code decides by them; what it adds is how a batch is spread over its threads. */
#ifndef CACHE_RULES_H
#define CACHE_RULES_H

#include "cache_clock.h"
#include "cache_sets.h"
#include "cache_sketch.h"
#include "policy.h"

typedef struct hr_cache_rules {
  hr_cache_policy policy;
  hotrow_cache_mode mode;
  hotrow_dtype wire_dtype;
  uint32_t announce_step;
  uint32_t pull_bound;
  uint32_t push_bound;
  uint32_t square_dim;
  uint32_t batch;   /* in hand */
  bool rereads_own; /* a row that has been pushed to is pulled again */
} hr_cache_rules;

/* Where the row of a key goes. */
typedef enum hr_place_kind {
  HR_PLACE_HELD,    /* it is here */
  HR_PLACE_FREE,    /* a way that nobody had */
  HR_PLACE_VICTIM,  /* the way of a row that leaves */
  HR_PLACE_STAGED,  /* none was to be had */
  HR_PLACE_BYPASSED /* staged too: not worth its victim */
} hr_place_kind;

typedef struct hr_place {
  uint32_t slot; /* HOTROW_SLOT_NONE: staging, in order */
  uint8_t kind;
  uint8_t uses; /* of the new row */
} hr_place;

/* ---- a row */

HR_SHARED_FN hotrow_row_state hr_rules_row_state(const hr_cache_rules *rules, const hr_row_meta *row)
{
  if (row->is_stale)
    return HOTROW_ROW_STALE;
  if (rules->mode == HOTROW_CACHE_PROBE)
    return HOTROW_ROW_DOUBTFUL;
  return hr_clock_is_fresh(row->announced, rules->announce_step, row->seen, rules->pull_bound) ? HOTROW_ROW_FRESH
                                                                                               : HOTROW_ROW_STALE;
}

/* Updates of others that a fresh row lacks, as announced, and the most there can be. */
HR_SHARED_FN uint32_t hr_rules_unseen(const hr_cache_rules *rules, const hr_row_meta *row, uint32_t *known_p)
{
  int32_t announced = hr_clock_unseen(row->announced, row->seen);
  int32_t known = announced + (int32_t)rules->announce_step - 1;
  *known_p = known > 0 ? (uint32_t)known : 0;
  return announced > 0 ? (uint32_t)announced : 0;
}

/* Does an answer of clock `clock` replace a copy that another answer has brought? */
HR_SHARED_FN bool hr_rules_replaces(const hr_cache_rules *rules, const hr_row_meta *row, uint32_t clock)
{
  return hr_rules_row_state(rules, row) == HOTROW_ROW_STALE || !hr_clock_may_read(clock, row->seen, rules->pull_bound);
}

/* The batch that a row in use is pinned to: the one in hand, or the one that needs it next. next_use NULL: later pins
 * stay. */
HR_SHARED_FN uint32_t hr_rules_pin_until(const hr_cache_rules *rules, const hr_row_meta *row, const uint32_t *next_use)
{
  if (!next_use)
    return hr_clock_later(rules->batch, row->live_until);
  return *next_use == HOTROW_BATCH_NONE ? rules->batch : hr_clock_later(rules->batch, *next_use);
}

/* A held row is needed by `batch`: unless it is pinned to an earlier batch to come, it is pinned to that one. */
HR_SHARED_FN uint32_t hr_rules_expect_until(const hr_cache_rules *rules, const hr_row_meta *row, uint32_t batch)
{
  bool is_pinned_beyond = hr_clock_is_before(rules->batch, row->live_until);
  if (!is_pinned_beyond)
    return hr_clock_later(rules->batch, batch);
  bool is_sooner = hr_clock_is_before(batch, row->live_until) && hr_clock_is_before(rules->batch, batch);
  return is_sooner ? batch : row->live_until;
}

/* A next use counts if it is after the batch in hand. */
HR_SHARED_FN uint32_t hr_rules_next_use(const hr_cache_rules *rules, const uint32_t *next_use)
{
  return next_use && hr_clock_is_before(rules->batch, *next_use) ? *next_use : HOTROW_BATCH_NONE;
}

/* Own steps that go to the shard: in probe mode the row has seen them from now on. */
HR_SHARED_FN void hr_rules_count_sent(const hr_cache_rules *rules, hr_row_meta *row, uint32_t steps)
{
  if (rules->mode == HOTROW_CACHE_PROBE || HR_MUTANT(EARLY_SEEN))
    row->seen += steps;
}

/* With push bound 0 a step that leaves counts as another's where the row is to be pulled again. */
HR_SHARED_FN void hr_rules_count_exact(const hr_cache_rules *rules, hr_row_meta *row, uint32_t steps)
{
  if (rules->mode == HOTROW_CACHE_PROBE && !rules->rereads_own)
    row->seen += steps;
}

/* The rounded sum may leave, and one step stay with what rounding left? A push of one step carries no squares of its
 * own, so where the optimizer wants them a second step has to go with it. */
HR_SHARED_FN bool hr_rules_leaves_rounded(const hr_cache_rules *rules, uint32_t steps)
{
  return rules->wire_dtype != HOTROW_F32 && (steps > 2 || rules->square_dim == 0);
}

/* Entries and pending rows that `tick` steps of a row add: a row with pending steps has its place already, and a
 * rounded one needs two, for what goes and for what stays. */
HR_SHARED_FN uint32_t hr_rules_count_new(const hr_cache_rules *rules, bool is_held, uint32_t pending, uint32_t tick)
{
  bool is_over = is_held && rules->push_bound > 0 && !hr_clock_may_keep(pending + tick, rules->push_bound);
  return (pending == 0 ? 1u : 0u) + (is_over && hr_rules_leaves_rounded(rules, pending + tick) ? 1u : 0u);
}

/* ---- a set */

HR_SHARED_FN bool hr_row_is_evictable(const hr_row_meta *row, uint32_t batch, uint32_t uses_permanent)
{
  return hr_clock_is_before(row->live_until, batch) & (row->uses < uses_permanent);
}

/* How many new rows a set can take in this batch without the farthest rule. */
HR_SHARED_FN uint32_t hr_rules_room(const hr_cache_rules *rules, const hr_cache_sets *sets, uint32_t set)
{
  const hr_row_meta *meta = sets->meta + (size_t)set * HOTROW_CACHE_WAYS;
  uint32_t occupied = sets->occupied[set], room = 0;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++)
    if (!(occupied >> way & 1u) || hr_row_is_evictable(meta + way, rules->batch, rules->policy.uses_permanent))
      room++;
  return room;
}

/* The way of a full set whose row goes, or HOTROW_CACHE_WAYS if none may. Rows that may go have live_until before
 * `batch`, so the difference rises with it. Which way is lowest cannot be predicted, so the search has no branches: the
 * way is the low end of the number compared. */
HR_SHARED_FN uint32_t hr_rules_choose(const hr_cache_policy *policy, const hr_row_meta *set_meta, uint32_t batch)
{
  uint64_t lowest = UINT64_MAX;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++) {
    const hr_row_meta *row = set_meta + way;
    uint64_t rank = (uint64_t)(row->uses & policy->uses_ranked) << 32 | (row->live_until - batch);
    uint64_t candidate = rank * HOTROW_CACHE_WAYS + way;
    candidate |= hr_row_is_evictable(row, batch, policy->uses_permanent) ? 0 : UINT64_MAX;
    lowest = candidate < lowest ? candidate : lowest;
  }
  return lowest == UINT64_MAX ? HOTROW_CACHE_WAYS : (uint32_t)(lowest % HOTROW_CACHE_WAYS);
}

/* The way of a full set that is needed last, if that is after `next_use` and the batch in hand does not use it; else
 * HOTROW_CACHE_WAYS. */
HR_SHARED_FN uint32_t hr_rules_farthest(const hr_cache_rules *rules, const hr_cache_sets *sets, uint32_t set,
                                        uint32_t next_use)
{
  const hr_row_meta *meta = sets->meta + (size_t)set * HOTROW_CACHE_WAYS;
  const hr_set_present *present = sets->present + set;
  uint32_t used = present->batch == rules->batch ? present->ways : 0;
  uint32_t farthest = HOTROW_CACHE_WAYS, latest = next_use;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++)
    if (hr_clock_is_before(latest, meta[way].live_until) && meta[way].uses < rules->policy.uses_permanent &&
        !(used >> way & 1u)) {
      farthest = way;
      latest = meta[way].live_until;
    }
  return farthest;
}

/* Halves the uses of a set's rows as often as `age` says that it is behind. */
HR_SHARED_FN void hr_rules_age(const hr_cache_sets *sets, uint32_t set, uint32_t age)
{
  uint32_t halvings = age - sets->ages[set];
  if (halvings == 0)
    return;
  sets->ages[set] = age;
  hr_row_meta *meta = sets->meta + (size_t)set * HOTROW_CACHE_WAYS;
  for (uint32_t way = 0; way < HOTROW_CACHE_WAYS; way++) {
    uint32_t uses = meta[way].uses;
    uses = halvings < 7 ? uses >> halvings : 0;
    meta[way].uses = uses & HR_USES_MAX;
  }
}

/* The row stays until `until`, and in its place until the batch in hand, which uses it, ends. For whoever owns the
 * set. */
HR_SHARED_FN void hr_rules_pin(const hr_cache_rules *rules, const hr_cache_sets *sets, uint32_t slot, uint32_t until)
{
  sets->meta[slot].live_until = until;
  if (until == rules->batch)
    return;
  hr_set_present *present = sets->present + slot / HOTROW_CACHE_WAYS;
  if (present->batch != rules->batch) {
    present->batch = rules->batch;
    present->ways = 0;
  }
  present->ways |= 1u << slot % HOTROW_CACHE_WAYS;
}

/* The way of a full set whose row leaves to a new one, or HOTROW_CACHE_WAYS and why there is none. At most
 * *bypass_left_p new rows may be refused for too few uses: staging must suffice for those without a way. */
HR_SHARED_FN uint32_t hr_rules_make_room(const hr_cache_rules *rules, const hr_cache_sets *sets, uint32_t set,
                                         uint32_t uses, uint32_t next_use, uint64_t *bypass_left_p,
                                         hr_place_kind *kind_p)
{
  const hr_row_meta *set_meta = sets->meta + (size_t)set * HOTROW_CACHE_WAYS;
  uint32_t way = hr_rules_choose(&rules->policy, set_meta, rules->batch);
  bool is_needed = next_use != HOTROW_BATCH_NONE;
  bool must_win = rules->policy.has_sketch && !is_needed && *bypass_left_p > 0;
  if (way < HOTROW_CACHE_WAYS && must_win && uses < set_meta[way].uses) {
    --*bypass_left_p;
    *kind_p = HR_PLACE_BYPASSED;
    return HOTROW_CACHE_WAYS;
  }
  if (way == HOTROW_CACHE_WAYS && is_needed)
    way = hr_rules_farthest(rules, sets, set, next_use);
  *kind_p = way < HOTROW_CACHE_WAYS ? HR_PLACE_VICTIM : HR_PLACE_STAGED;
  return way;
}

/* Finds the way of a missing key's row, takes it and pins the row: a set that is chosen from twice gives two victims.
 * What a victim leaves behind is still there. For whoever owns the set; its keys come in the order of the call. */
HR_SHARED_FN hr_place hr_rules_place(const hr_cache_rules *rules, const hr_cache_sets *sets, const hr_sketch *sketch,
                                     uint32_t age, uint64_t hash, uint32_t next_use, uint64_t *bypass_left_p)
{
  uint32_t set = hr_cache_sets_of(sets, hash), uses = rules->policy.uses_first, way;
  hr_place_kind kind = HR_PLACE_FREE;
  if (rules->policy.has_aging)
    hr_rules_age(sets, set, age);
  if (rules->policy.has_sketch)
    uses = hr_sketch_count(sketch, hash, age);
  uint32_t free_ways = ~(uint32_t)sets->occupied[set] & 0xffffu;
  if (free_ways != 0) {
    for (way = 0; !(free_ways >> way & 1u);)
      way++;
    sets->occupied[set] = (uint16_t)(sets->occupied[set] | 1u << way);
  } else {
    way = hr_rules_make_room(rules, sets, set, uses, next_use, bypass_left_p, &kind);
  }
  hr_place place = {HOTROW_SLOT_NONE, (uint8_t)kind, (uint8_t)uses};
  if (way == HOTROW_CACHE_WAYS)
    return place;
  place.slot = set * HOTROW_CACHE_WAYS + way;
  if (kind == HR_PLACE_VICTIM && rules->policy.has_sketch)
    hr_sketch_remember(sketch, sets->hashes[place.slot], sets->meta[place.slot].uses, age);
  hr_rules_pin(rules, sets, place.slot, next_use == HOTROW_BATCH_NONE ? rules->batch : next_use);
  return place;
}

/* What a new row's metadata begin with; its pin is made. */
HR_SHARED_FN hr_row_meta hr_rules_new_row(uint32_t live_until, uint32_t clock, uint32_t uses)
{
  hr_row_meta meta;
  meta.live_until = live_until;
  meta.seen = clock;
  meta.announced = clock;
  meta.pending = 0;
  meta.uses = uses & HR_USES_MAX;
  meta.is_stale = 0;
  return meta;
}

#endif
