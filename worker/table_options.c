/* Options of a table: presets, what is refused, and what is asked of the shards. */
#include <string.h>

#include <hr/hash.h>
#include <hr/optimizer.h>

#include "client.h"

#define FLAGS_KNOWN (HOTROW_TABLE_COUNT_OCCURRENCES | HOTROW_TABLE_WIDE_CLOCKS)

/* Has the row a part whose optimizer takes the steps of a push one by one? */
static bool takes_steps(const hotrow_table_options *o)
{
  bool takes = o->segment_count == 0 && hr_optimizer_takes_steps(o->optimizer.kind);
  for (uint32_t i = 0; i < o->segment_count; i++)
    takes |= hr_optimizer_takes_steps(o->segments[i].optimizer.kind);
  return takes;
}

void hotrow_table_options_preset(hotrow_table_options *options, hotrow_preset preset)
{
  options->mode = HOTROW_MODE_PROBE;
  options->pull_bound = options->push_bound = options->announce_step = 0;
  options->policy = HOTROW_POLICY_LRU;
  options->wire_dtype = HOTROW_F32;
  options->flags = 0;
  if (preset == HOTROW_PRESET_BOUNDED) {
    bool counts_steps = takes_steps(options);
    options->mode = HOTROW_MODE_ANNOUNCE;
    options->pull_bound = counts_steps ? 10 : 150;
    options->push_bound = counts_steps ? 3 : 70;
    options->announce_step = counts_steps ? 4 : 71;
    options->policy = HOTROW_POLICY_W_TINY_LFU;
    options->wire_dtype = HOTROW_I8;
    options->flags = counts_steps ? 0 : HOTROW_TABLE_COUNT_OCCURRENCES;
  } else if (preset == HOTROW_PRESET_HET_COMPAT) {
    options->pull_bound = options->push_bound = 100;
    options->policy = HOTROW_POLICY_LIGHT_LFU;
    options->flags = HOTROW_TABLE_COUNT_OCCURRENCES | HOTROW_TABLE_WIDE_CLOCKS;
  }
}

static bool has_cache(const hotrow_table_options *o)
{
  return o->cache_row_count > 0 || o->cache_of;
}

static bool is_exact(const hotrow_table_options *o)
{
  return o->pull_bound == 0 && o->push_bound == 0;
}

static hotrow_status check_staleness(const hotrow_table_options *o)
{
  if (o->pull_bound > HOTROW_BOUND_MAX || o->push_bound > HOTROW_PUSH_BOUND_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "table %s: bounds %u and %u, at most %u and %u", o->name, o->pull_bound,
                   o->push_bound, HOTROW_BOUND_MAX, HOTROW_PUSH_BOUND_MAX);
  if (o->mode != HOTROW_MODE_DEFAULT && o->mode != HOTROW_MODE_PROBE && o->mode != HOTROW_MODE_ANNOUNCE)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: mode %d is not known", o->name, (int)o->mode);
  if (o->mode == HOTROW_MODE_ANNOUNCE && is_exact(o))
    return hr_fail(HOTROW_ERR_INVALID,
                   "table %s has both bounds 0: exact steps ask at every lookup, mode must be probe", o->name);
  if (o->mode != HOTROW_MODE_PROBE && o->announce_step > (uint64_t)o->pull_bound + 1)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: announce_step %u, with pull_bound %u at most %llu", o->name,
                   o->announce_step, o->pull_bound, (unsigned long long)o->pull_bound + 1);
  if (o->announce_step > HR_WIRE_BOUND_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "table %s: announce_step %u, at most %u", o->name, o->announce_step,
                   HR_WIRE_BOUND_MAX);
  return HOTROW_OK;
}

static hotrow_status check_cache_of(const hotrow_client *client, const hotrow_table_options *o)
{
  if (client->core->options.role == HR_ROLE_READER && has_cache(o))
    return hr_fail(HOTROW_ERR_UNSUPPORTED,
                   "table %s: a read-only client has no cache yet: cache_row_count must be 0 and cache_of NULL",
                   o->name);
  if (!o->cache_of)
    return HOTROW_OK;
  if (o->cache_of->core != client->core)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: cache_of is not a table of this client", o->name);
  const char *other = o->cache_of->desc.name;
  if (!o->cache_of->has_cache)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: cache_of is table %s, which has no cache", o->name, other);
  if (o->cache_row_count)
    return hr_fail(HOTROW_ERR_INVALID,
                   "table %s: cache_row_count %llu, must be 0: its rows are in the cache of table %s", o->name,
                   (unsigned long long)o->cache_row_count, other);
  if (o->policy && o->policy != o->cache_of->policy)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: policy %d, the cache of table %s has policy %d", o->name,
                   (int)o->policy, other, (int)o->cache_of->policy);
  if (o->push_bound > 0 && o->cache_of->cache_owner->push_bound == 0)
    return hr_fail(HOTROW_ERR_INVALID,
                   "table %s: push_bound %u, the cache of table %s was made for push_bound 0 and keeps no steps",
                   o->name, o->push_bound, o->cache_of->cache_owner->desc.name);
  uint64_t seed = hr_table_seed(o->name, strlen(o->name));
  for (uint32_t i = 0; i < client->core->table_count; i++) {
    const hotrow_table *table = client->core->tables[i];
    if (table->cache_owner == o->cache_of->cache_owner && table->seed == seed)
      return hr_fail(HOTROW_ERR_INVALID, "table %s: its name hashes as that of table %s, so they cannot share a cache",
                     o->name, table->desc.name);
  }
  return HOTROW_OK;
}

hotrow_status hr_table_options_check(const hotrow_client *client, const hotrow_table_options *o)
{
  if (!o->name)
    return hr_fail(HOTROW_ERR_INVALID, "a table needs a name");
  HOTROW_TRY(hr_wire_check_name(o->name, strlen(o->name)));
  HOTROW_TRY(check_staleness(o));
  if (o->wire_dtype != HOTROW_F32 && o->wire_dtype != HOTROW_F16 && o->wire_dtype != HOTROW_I8)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: wire_dtype %d is not known", o->name, (int)o->wire_dtype);
  if (o->flags & ~FLAGS_KNOWN)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: flags %u has an unknown one", o->name, o->flags);
  if (o->flags & HOTROW_TABLE_WIDE_CLOCKS && o->mode != HOTROW_MODE_PROBE && !is_exact(o))
    return hr_fail(HOTROW_ERR_INVALID, "table %s: HOTROW_TABLE_WIDE_CLOCKS needs mode probe", o->name);
  if (!hr_dtype_is_kept((uint32_t)o->storage_dtype))
    return hr_fail(HOTROW_ERR_INVALID, "table %s: storage_dtype %d is none of HOTROW_F32, HOTROW_F16, HOTROW_BF16",
                   o->name, (int)o->storage_dtype);
  HOTROW_TRY(check_cache_of(client, o));
  for (uint32_t i = 0; i < client->core->table_count; i++)
    if (strcmp(client->core->tables[i]->desc.name, o->name) == 0)
      return hr_fail(HOTROW_ERR_INVALID, "table %s is open on this client already", o->name);
  return HOTROW_OK;
}

static uint32_t announce_step_of(const hotrow_table_options *o)
{
  bool needs_none = o->mode == HOTROW_MODE_DEFAULT && !has_cache(o); /* nothing is kept that could be stale */
  if (o->announce_step || o->mode == HOTROW_MODE_PROBE || is_exact(o) || needs_none)
    return o->announce_step;
  return o->pull_bound / 4 ? o->pull_bound / 4 : 1;
}

static hotrow_status describe_segments(const hotrow_table_options *o, hr_table_desc *desc)
{
  hotrow_row_layout layout;
  HOTROW_TRY(hr_row_layout_make(desc->segments, desc->segment_count, &layout));
  for (uint32_t i = 0; i < desc->segment_count; i++) {
    hotrow_segment *segment = &desc->segments[i];
    segment->optimizer = layout.segments[i].optimizer;
    HOTROW_TRY(hr_initializer_resolve(&segment->initializer, segment->dim, &segment->initializer));
  }
  if (o->dim && o->dim != layout.dim)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: dim %u, its segments have %u together", o->name, o->dim, layout.dim);
  desc->dim = layout.dim;
  return HOTROW_OK;
}

hotrow_status hr_table_options_describe(const hotrow_table_options *o, hr_table_desc *desc_p)
{
  memset(desc_p, 0, sizeof *desc_p);
  desc_p->seed = o->seed;
  desc_p->announce_step = announce_step_of(o);
  desc_p->storage_dtype = (uint16_t)o->storage_dtype;
  desc_p->admit_count = o->admit_count > 1 ? o->admit_count : 0;
  desc_p->admit_probability = o->admit_probability;
  desc_p->steps_to_live = o->steps_to_live;
  desc_p->l2_weight_threshold = o->l2_weight_threshold;
  desc_p->row_count_max = o->row_count_max;
  desc_p->eviction = (uint16_t)o->eviction;
  desc_p->counts_occurrences = (o->flags & HOTROW_TABLE_COUNT_OCCURRENCES) != 0;
  hotrow_status status = hr_table_check_rules(desc_p);
  if (status != HOTROW_OK)
    return hr_fail(status, "table %s: %s", o->name, hotrow_last_error());
  memcpy(desc_p->name, o->name, strlen(o->name));
  if (o->segment_count > HOTROW_SEGMENTS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "table %s: %u segments, at most %u", o->name, o->segment_count,
                   HOTROW_SEGMENTS_MAX);
  if (o->segment_count && !o->segments)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: segments is NULL", o->name);
  if (!o->segment_count && (o->dim == 0 || o->dim > HOTROW_DIM_MAX))
    return hr_fail(HOTROW_ERR_INVALID, "table %s: dim %u, must be 1 to %u", o->name, o->dim, HOTROW_DIM_MAX);
  desc_p->segment_count = o->segment_count ? (uint16_t)o->segment_count : 1;
  if (o->segment_count)
    memcpy(desc_p->segments, o->segments, o->segment_count * sizeof *o->segments);
  else
    desc_p->segments[0] = (hotrow_segment){o->dim, o->optimizer, o->initializer};
  return describe_segments(o, desc_p);
}

/* Copies of rows that go for good need announcements; which rows make room depends on the number of shards. */
static hotrow_status check_eviction(const hotrow_table_options *o, const hr_table_desc *desc, bool is_reader)
{
  bool is_announced = o->mode != HOTROW_MODE_PROBE && !is_exact(o) && desc->announce_step > 0 &&
                      desc->announce_step <= (uint64_t)o->pull_bound + 1;
  if (has_cache(o) && !is_announced && hr_table_has_eviction(desc))
    return hr_fail(HOTROW_ERR_INVALID,
                   "table %s: its rows go for good (%s), and copies of them are told so by announcements: mode must be "
                   "announce with bounds above 0, or cache_row_count 0",
                   o->name, desc->steps_to_live > 0 ? "steps_to_live" : "row_count_max");
  if (!is_reader && is_exact(o) && desc->row_count_max > 0)
    return hr_fail(HOTROW_ERR_INVALID,
                   "table %s: row_count_max %llu with both bounds 0: which rows make room depends on the number of "
                   "shards, and exact results must not",
                   o->name, (unsigned long long)desc->row_count_max);
  return HOTROW_OK;
}

static hotrow_status check_row_shape(const hotrow_table_options *o, const hotrow_row_layout *row)
{
  if (!o->cache_of)
    return HOTROW_OK;
  const hotrow_row_layout *other = &o->cache_of->layout;
  if (row->dim != other->dim || row->state_dim != other->state_dim || row->square_dim != other->square_dim)
    return hr_fail(
        HOTROW_ERR_INVALID,
        "table %s: rows of dim %u with state %u and squares %u, in the cache of table %s they have %u, %u and "
        "%u",
        o->name, row->dim, row->state_dim, row->square_dim, o->cache_of->desc.name, other->dim, other->state_dim,
        other->square_dim);
  return HOTROW_OK;
}

/* Bounds of clients that count one thing say nothing of clocks that others move by another. */
static hotrow_status check_counting(const hotrow_table_options *o, const hr_table_desc *desc)
{
  bool counts_occurrences = o->flags & HOTROW_TABLE_COUNT_OCCURRENCES;
  if (counts_occurrences != (desc->counts_occurrences == 1))
    return hr_fail(HOTROW_ERR_INVALID, "table %s counts %s, and the options %s HOTROW_TABLE_COUNT_OCCURRENCES", o->name,
                   desc->counts_occurrences ? "occurrences" : "steps", counts_occurrences ? "have" : "lack");
  return HOTROW_OK;
}

hotrow_status hr_table_options_match(const hotrow_table_options *o, const hr_table_desc *desc, bool is_reader)
{
  HOTROW_TRY(check_eviction(o, desc, is_reader));
  if (!is_reader)
    HOTROW_TRY(check_counting(o, desc));
  hotrow_row_layout layout;
  HOTROW_TRY(hr_row_layout_make(desc->segments, desc->segment_count, &layout));
  HOTROW_TRY(check_row_shape(o, &layout));
  uint32_t steps_max = hr_row_layout_steps_max(&layout);
  if (o->push_bound >= steps_max)
    return hr_fail(HOTROW_ERR_LIMIT, "table %s: push_bound %u, with its optimizer at most %u", o->name, o->push_bound,
                   steps_max - 1);
  uint32_t stepper = hr_row_layout_find_stepper(&layout);
  if (o->flags & HOTROW_TABLE_COUNT_OCCURRENCES && stepper < layout.segment_count)
    return hr_fail(HOTROW_ERR_INVALID,
                   "table %s: HOTROW_TABLE_COUNT_OCCURRENCES with optimizer %d, which takes steps one by one", o->name,
                   (int)layout.segments[stepper].optimizer.kind);
  return HOTROW_OK;
}

const char *hr_table_difference(const hr_table_desc *a, const hr_table_desc *b)
{
  if (a->dim != b->dim)
    return "dim";
  if (a->seed != b->seed)
    return "seed";
  if (a->storage_dtype != b->storage_dtype)
    return "storage_dtype";
  if (a->segment_count != b->segment_count)
    return "segments";
  for (uint32_t i = 0; i < a->segment_count; i++) {
    const hotrow_segment *left = &a->segments[i], *right = &b->segments[i];
    if (left->dim != right->dim)
      return "segments";
    if (memcmp((const void *)&left->optimizer, (const void *)&right->optimizer, sizeof left->optimizer) != 0)
      return "optimizer";
    if (memcmp((const void *)&left->initializer, (const void *)&right->initializer, sizeof left->initializer) != 0)
      return "initializer";
  }
  return hr_table_rules_difference(a, b);
}
