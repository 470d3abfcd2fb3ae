/* The rules of a table: which keys get a row, which rows go for good, and what clocks count. */
#include <float.h>

#include <hr/wire.h>

hotrow_status hr_table_check_rules(const hr_table_desc *desc)
{
  if (desc->admit_count > HR_WIRE_ADMIT_COUNT_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "admit_count %u, at most %u", desc->admit_count, HR_WIRE_ADMIT_COUNT_MAX);
  if (!(desc->admit_probability >= 0 && desc->admit_probability <= 1))
    return hr_fail(HOTROW_ERR_INVALID, "admit_probability %g is not in 0 .. 1", (double)desc->admit_probability);
  if (desc->admit_count > 0 && desc->admit_probability > 0)
    return hr_fail(HOTROW_ERR_INVALID, "admit_count %u and admit_probability %g: only one of them", desc->admit_count,
                   (double)desc->admit_probability);
  if (desc->steps_to_live > HR_WIRE_BOUND_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "steps_to_live %u, at most %u", desc->steps_to_live, HR_WIRE_BOUND_MAX);
  if (!(desc->l2_weight_threshold >= 0 && desc->l2_weight_threshold <= FLT_MAX))
    return hr_fail(HOTROW_ERR_INVALID, "l2_weight_threshold %g is negative or not finite",
                   (double)desc->l2_weight_threshold);
  if (desc->l2_weight_threshold > 0 && desc->steps_to_live == 0)
    return hr_fail(HOTROW_ERR_INVALID,
                   "l2_weight_threshold %g without steps_to_live: how long must a row have been left alone?",
                   (double)desc->l2_weight_threshold);
  if (desc->row_count_max > HR_WIRE_ROWS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "row_count_max %llu, at most %llu", (unsigned long long)desc->row_count_max,
                   (unsigned long long)HR_WIRE_ROWS_MAX);
  if (desc->eviction > HOTROW_EVICT_LFU)
    return hr_fail(HOTROW_ERR_INVALID, "eviction %u is none of ours", desc->eviction);
  if (desc->eviction != HOTROW_EVICT_LRU && desc->row_count_max == 0)
    return hr_fail(HOTROW_ERR_INVALID, "eviction %u without row_count_max", desc->eviction);
  if (desc->counts_occurrences > 1)
    return hr_fail(HOTROW_ERR_INVALID, "counts_occurrences %u is neither 0 nor 1", desc->counts_occurrences);
  return HOTROW_OK;
}

const char *hr_table_rules_difference(const hr_table_desc *a, const hr_table_desc *b)
{
  return a->admit_count != b->admit_count                   ? "admit_count"
         : a->admit_probability != b->admit_probability     ? "admit_probability"
         : a->steps_to_live != b->steps_to_live             ? "steps_to_live"
         : a->l2_weight_threshold != b->l2_weight_threshold ? "l2_weight_threshold"
         : a->row_count_max != b->row_count_max             ? "row_count_max"
         : a->eviction != b->eviction                       ? "eviction"
         : a->counts_occurrences != b->counts_occurrences   ? "counts_occurrences"
                                                            : NULL;
}
