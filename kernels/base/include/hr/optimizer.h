/* What is known of an optimizer without running it: sizes, defaults, validity, names. */
#ifndef HR_OPTIMIZER_H
#define HR_OPTIMIZER_H

#include <hr/status.h>

/* Fills in defaults and refuses values that are not finite or out of range (HOTROW_ERR_INVALID). */
hotrow_status hr_optimizer_resolve(const hotrow_optimizer *given, hotrow_optimizer *resolved_p);
hotrow_status hr_initializer_resolve(const hotrow_initializer *given, uint32_t dim, hotrow_initializer *resolved_p);

/* Floats of state beside a row of `dim` floats: SGD 0, momentum dim, Adagrad dim, row-wise Adagrad 1; Adam, AdamW and
 * LAMB 2*dim + 1 (m, v, and the row's step count as a float); row-wise Adam dim + 2 (m, v, count); FTRL 2*dim (z, n).
 */
uint32_t hr_optimizer_state_dim(hotrow_optimizer_kind kind, uint32_t dim);

/* Floats of summed squares that a push of k > 1 steps carries per row: Adagrad and FTRL dim, row-wise Adagrad 1,
 * others 0. */
uint32_t hr_optimizer_square_dim(hotrow_optimizer_kind kind, uint32_t dim);

/* Are the k steps of a push taken one by one? Where they are not, rows do not depend on k, so that clocks and k may
 * count something else than steps. */
bool hr_optimizer_takes_steps(hotrow_optimizer_kind kind);

/* The most steps that one push may carry for a row. Momentum and Adam with its kin run each of the k steps, so there k
 * is bounded to keep one message from holding a shard up; the others take any k at once. */
#define HR_OPTIMIZER_REPEATED_STEPS_MAX 4096u
uint32_t hr_optimizer_steps_max(hotrow_optimizer_kind kind);

/* The layout of rows of these segments, with their optimizers resolved.
 *   HOTROW_ERR_INVALID  no segments or more than HOTROW_SEGMENTS_MAX, one without columns, more than HOTROW_DIM_MAX
 *                       columns in all, or what hr_optimizer_resolve() refuses */
hotrow_status hr_row_layout_make(const hotrow_segment *segments, uint32_t segment_count, hotrow_row_layout *layout_p);

/* The most steps that one push may carry for a row of all these segments. */
uint32_t hr_row_layout_steps_max(const hotrow_row_layout *layout);

/* The first segment whose optimizer takes steps; segment_count if there is none. */
uint32_t hr_row_layout_find_stepper(const hotrow_row_layout *layout);

/* states[layout->state_dim] of a new row with these values[layout->dim]. */
void hr_row_layout_init_state(const hotrow_row_layout *layout, const float *values, float *states);

#endif
