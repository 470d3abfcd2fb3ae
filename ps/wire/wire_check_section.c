#include "wire_layout.h"

#include <math.h>

static hotrow_status check_kind(const hr_header *h, const hr_section *sections, size_t i)
{
  const hr_section *s = &sections[i];
  bool fits = false;
  if (hr_wire_is_reply(h))
    fits = s->kind == HR_SECTION_ANNOUNCE ||
           (s->kind == HR_SECTION_PULL_REPLY && (h->op == HR_OP_PULL || h->op == HR_OP_PUSH_PULL));
  else if (s->kind == HR_SECTION_PULL)
    fits = h->op != HR_OP_PUSH;
  else if (s->kind == HR_SECTION_PUSH)
    fits = h->op != HR_OP_PULL;
  if (!fits)
    REFUSE("section %zu: kind %u is not for a %s%s", i, s->kind, hr_wire_ops[h->op].name, hr_wire_reply_word(h));
  if (i > 0 && s->kind == HR_SECTION_PUSH && sections[i - 1].kind == HR_SECTION_PULL)
    REFUSE("section %zu: a push after a pull", i);
  if (i > 0 && s->kind == HR_SECTION_PULL_REPLY && sections[i - 1].kind == HR_SECTION_ANNOUNCE)
    REFUSE("section %zu: a pull reply after announcements", i);
  if (s->kind == HR_SECTION_PULL_REPLY && i >= HR_WIRE_DATA_SECTIONS_MAX)
    OVER_LIMIT("section %zu: more pull replies than HR_WIRE_DATA_SECTIONS_MAX %u", i, HR_WIRE_DATA_SECTIONS_MAX);
  return HOTROW_OK;
}

static hotrow_status check_pull(const hr_section *s, size_t i)
{
  if (s->flags & ~(HR_SECTION_WANT_STATE | HR_SECTION_WIDE | HR_SECTION_UNSEEN))
    REFUSE("section %zu: flags 0x%x say nothing on a pull", i, s->flags);
  if (s->extra_dim != 0 || s->row_count != 0 || s->unseen_max != 0 || s->unseen_sum != 0)
    REFUSE("section %zu: a pull with extra_dim %u, row_count %u, unseen_max %u, unseen_sum %u", i, s->extra_dim,
           s->row_count, s->unseen_max, s->unseen_sum);
  if (s->held_count > s->key_count)
    REFUSE("section %zu: held_count %u of key_count %u", i, s->held_count, s->key_count);
  if (s->bound > HR_WIRE_BOUND_MAX)
    OVER_LIMIT("section %zu: bound %u, limit HR_WIRE_BOUND_MAX %u", i, s->bound, HR_WIRE_BOUND_MAX);
  return HOTROW_OK;
}

static hotrow_status check_push(const hr_section *s, size_t i)
{
  bool has_steps = s->flags & HR_SECTION_STEPS;
  if (s->flags & ~(HR_SECTION_STEPS | HR_SECTION_WIDE) || (s->flags & HR_SECTION_WIDE && !has_steps))
    REFUSE("section %zu: flags 0x%x say nothing on a push", i, s->flags);
  if (s->extra_dim != 0 && !has_steps)
    REFUSE("section %zu: extra_dim %u in a push without steps", i, s->extra_dim);
  if (s->extra_dim > s->dim)
    REFUSE("section %zu: extra_dim %u is more than any optimizer has squares at dim %u", i, s->extra_dim, s->dim);
  if (s->held_count != 0 || s->row_count != 0 || s->unseen_max != 0 || s->unseen_sum != 0)
    REFUSE("section %zu: a push with held_count %u, row_count %u, unseen_max %u, unseen_sum %u", i, s->held_count,
           s->row_count, s->unseen_max, s->unseen_sum);
  if (!isfinite(s->lr_scale) || s->lr_scale < 0.0f)
    REFUSE("section %zu: lr_scale %g is not finite, or negative", i, (double)s->lr_scale);
  return HOTROW_OK;
}

static hotrow_status check_pull_reply(const hr_section *s, size_t i)
{
  uint32_t asked_held = s->bound;
  if (s->flags & ~(HR_SECTION_FOUND | HR_SECTION_WIDE | HR_SECTION_UNSEEN))
    REFUSE("section %zu: flags 0x%x say nothing on a pull reply", i, s->flags);
  if (s->extra_dim > hr_wire_extra_dim_max(s->dim))
    REFUSE("section %zu: extra_dim %u is more than any optimizer has state at dim %u", i, s->extra_dim, s->dim);
  if (asked_held > s->key_count)
    REFUSE("section %zu: asked_held %u of key_count %u", i, asked_held, s->key_count);
  if (s->held_count > asked_held)
    REFUSE("section %zu: held_count %u of asked_held %u", i, s->held_count, asked_held);
  if (s->row_count != s->held_count + (s->key_count - asked_held))
    REFUSE("section %zu: row_count %u, not held_count %u and %u that were not held", i, s->row_count, s->held_count,
           s->key_count - asked_held);
  if (s->unseen_sum < s->unseen_max || (s->unseen_max == 0 && s->unseen_sum != 0))
    REFUSE("section %zu: unseen_sum %u with unseen_max %u", i, s->unseen_sum, s->unseen_max);
  if (s->unseen_max != 0 && s->held_count == asked_held)
    REFUSE("section %zu: unseen_max %u, and no held row was left out", i, s->unseen_max);
  if (s->unseen_max > HR_WIRE_BOUND_MAX)
    OVER_LIMIT("section %zu: unseen_max %u, limit HR_WIRE_BOUND_MAX %u", i, s->unseen_max, HR_WIRE_BOUND_MAX);
  return HOTROW_OK;
}

static hotrow_status check_announce(const hr_header *h, const hr_section *sections, size_t i)
{
  const hr_section *s = &sections[i];
  if (h->flags & HR_FLAG_RESET)
    REFUSE("section %zu: announcements in a reply that says they are gone", i);
  if (h->announce_seq < 2)
    REFUSE("section %zu: announcements, and announce_seq %llu follows none", i, (unsigned long long)h->announce_seq);
  if (s->flags & ~HR_SECTION_GONE || s->dtype != 0)
    REFUSE("section %zu: flags 0x%x, dtype %u say nothing on announcements", i, s->flags, s->dtype);
  if (s->held_count != 0 || s->row_count != 0 || s->dim != 0 || s->extra_dim != 0 || s->bound != 0 ||
      s->unseen_max != 0 || s->unseen_sum != 0)
    REFUSE("section %zu: announcements with held_count %u, row_count %u, dim %u, extra_dim %u, bound %u, unseen_max "
           "%u, unseen_sum %u",
           i, s->held_count, s->row_count, s->dim, s->extra_dim, s->bound, s->unseen_max, s->unseen_sum);
  if (s->key_count == 0)
    REFUSE("section %zu: announcements of no keys", i);
  if (i >= HR_WIRE_ANNOUNCE_SECTIONS_MAX && sections[i - HR_WIRE_ANNOUNCE_SECTIONS_MAX].kind == HR_SECTION_ANNOUNCE)
    OVER_LIMIT("section %zu: more announcements than HR_WIRE_ANNOUNCE_SECTIONS_MAX %u", i,
               HR_WIRE_ANNOUNCE_SECTIONS_MAX);
  return HOTROW_OK;
}

hotrow_status hr_wire_check_section(const hr_header *h, const hr_section *sections, size_t i)
{
  const hr_section *s = &sections[i];
  HOTROW_TRY(check_kind(h, sections, i));
  if (s->flags & ~HR_SECTION_FLAGS_KNOWN)
    REFUSE("section %zu: flags 0x%x: only 0x%x are known", i, s->flags, HR_SECTION_FLAGS_KNOWN);
  if (s->dtype > HOTROW_I8)
    REFUSE("section %zu: dtype %u is none of ours", i, s->dtype);
  if (s->reserved != 0)
    REFUSE("section %zu: reserved field is 0x%x, not 0", i, s->reserved);
  if (s->key_count > HR_WIRE_KEYS_MAX)
    OVER_LIMIT("section %zu: key_count %u, limit HR_WIRE_KEYS_MAX %u", i, s->key_count, HR_WIRE_KEYS_MAX);
  if (s->kind == HR_SECTION_ANNOUNCE)
    return check_announce(h, sections, i);
  if (s->dim < 1 || s->dim > HOTROW_DIM_MAX)
    OVER_LIMIT("section %zu: dim %u, not 1 to HOTROW_DIM_MAX %u", i, s->dim, HOTROW_DIM_MAX);
  switch (s->kind) {
  case HR_SECTION_PULL:
    return check_pull(s, i);
  case HR_SECTION_PUSH:
    return check_push(s, i);
  default:
    return check_pull_reply(s, i);
  }
}

/* --- arrays --- */

/* The high words of a wide array: 0. */
static hotrow_status check_high(const char *name, const hr_section *s, const uint32_t *array, uint32_t count, size_t i)
{
  if (s->flags & HR_SECTION_WIDE)
    for (uint32_t k = 0; k < count; k++)
      if (array[2 * k + 1] != 0)
        REFUSE("section %zu: %s[%u] is over 32 bits", i, name, k);
  return HOTROW_OK;
}

static hotrow_status check_seen(const hr_section *s, size_t i)
{
  HOTROW_TRY(check_high("seen", s, s->seen, s->held_count, i));
  if (s->flags & HR_SECTION_WIDE)
    for (uint32_t k = s->held_count; k < s->key_count; k++)
      if (s->seen[2 * k] != UINT32_MAX || s->seen[2 * k + 1] != UINT32_MAX)
        REFUSE("section %zu: seen[%u] of a key that is not held is not all ones", i, k);
  return HOTROW_OK;
}

static hotrow_status check_steps(const hr_section *s, size_t i)
{
  HOTROW_TRY(check_high("steps", s, s->steps, s->key_count, i));
  for (uint32_t k = 0; k < s->key_count; k++) {
    uint32_t steps = hr_section_u32(s->steps, s, k);
    if (steps < 1 || steps > HR_WIRE_STEPS_MAX)
      OVER_LIMIT("section %zu: steps[%u] is %u, not 1 to HR_WIRE_STEPS_MAX %u", i, k, steps, HR_WIRE_STEPS_MAX);
  }
  return HOTROW_OK;
}

/* Packed gradients have no infinity and no NaN. */
static hotrow_status check_packed(const hr_section *s, size_t i)
{
  if (s->dtype == HOTROW_F16) {
    const uint16_t *halves = s->packed;
    for (size_t k = 0; k < (size_t)s->key_count * s->dim; k++)
      if ((halves[k] & 0x7c00u) == 0x7c00u)
        REFUSE("section %zu: gradient %zu is 0x%04x, which is not finite", i, k, halves[k]);
  } else if (s->dtype == HOTROW_I8) {
    for (uint32_t k = 0; k < s->key_count; k++)
      if (!isfinite(s->scales[k]) || s->scales[k] < 0.0f)
        REFUSE("section %zu: scales[%u] is %g: not finite, or negative", i, k, (double)s->scales[k]);
  }
  return HOTROW_OK;
}

static hotrow_status check_index(const hr_section *s, size_t i)
{
  uint32_t asked_held = s->bound;
  HOTROW_TRY(check_high("index", s, s->index, s->held_count, i));
  for (uint32_t k = 0; k < s->held_count; k++) {
    uint32_t index = hr_section_u32(s->index, s, k);
    if (index >= asked_held)
      REFUSE("section %zu: index[%u] is %u of asked_held %u", i, k, index, asked_held);
    if (k > 0 && index <= hr_section_u32(s->index, s, k - 1))
      REFUSE("section %zu: index[%u] is %u, after %u: must ascend", i, k, index, hr_section_u32(s->index, s, k - 1));
  }
  return HOTROW_OK;
}

static hotrow_status check_found(const hr_section *s, size_t i)
{
  uint32_t bit_count = s->key_count - s->bound;
  if (bit_count % 8 != 0 && s->found[bit_count / 8] >> (bit_count % 8) != 0)
    REFUSE("section %zu: found has bits behind its %u", i, bit_count);
  return HOTROW_OK;
}

/* They count the held rows that stayed, and unseen_max is in the last bucket that is not empty. */
static hotrow_status check_unseen_counts(const hr_section *s, size_t i)
{
  uint64_t sum = 0;
  uint32_t last = 0, stayed = s->bound - s->held_count;
  for (uint32_t b = 0; b < HR_UNSEEN_BUCKETS; b++) {
    sum += s->unseen_counts[b];
    last = s->unseen_counts[b] ? b : last;
  }
  if (sum != stayed)
    REFUSE("section %zu: unseen_counts of %llu rows, and %u were left out", i, (unsigned long long)sum, stayed);
  if (last != hr_unseen_bucket(s->unseen_max))
    REFUSE("section %zu: unseen_counts end in bucket %u, which unseen_max %u is not in", i, last, s->unseen_max);
  return HOTROW_OK;
}

hotrow_status hr_wire_check_arrays(const hr_section *sections, size_t i)
{
  const hr_section *s = &sections[i];
  switch (s->kind) {
  case HR_SECTION_PULL:
    return check_seen(s, i);
  case HR_SECTION_PUSH:
    HOTROW_TRY(check_packed(s, i));
    return s->flags & HR_SECTION_STEPS ? check_steps(s, i) : HOTROW_OK;
  case HR_SECTION_PULL_REPLY:
    HOTROW_TRY(check_index(s, i));
    HOTROW_TRY(check_high("clocks", s, s->clocks, s->row_count, i));
    if (s->flags & HR_SECTION_FOUND)
      HOTROW_TRY(check_found(s, i));
    return s->flags & HR_SECTION_UNSEEN ? check_unseen_counts(s, i) : HOTROW_OK;
  default:
    return HOTROW_OK;
  }
}
