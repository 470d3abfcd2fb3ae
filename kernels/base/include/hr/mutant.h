/* Planted bugs. tests/sim compiles the protocol a second time with HOTROW_MUTANTS, chooses one at a time and requires
 * the simulator to find it. In every other build HR_MUTANT is the constant false. */
#ifndef HR_MUTANT_H
#define HR_MUTANT_H

#include <stdbool.h>

#define HR_MUTANT_LIST(X)                                                                                              \
  X(LOST_PUSH, "a push in flight counts as answered")                                                                  \
  X(NO_DEDUPE, "a push that comes twice is applied twice")                                                             \
  X(NO_GAP, "a pull is answered before the pushes that it names")                                                      \
  X(NO_EPOCH, "a shard that came back answers requests of its former life")                                            \
  X(NO_FENCE, "a session goes on after its successor has come")                                                        \
  X(EARLY_SEEN, "with announcements, an own push is seen when it leaves")                                              \
  X(LATE_ANNOUNCEMENT, "the reply to a push brings no announcements, they come with the next")                         \
  X(WRONG_STEP, "a shard announces one step late")                                                                     \
  X(NO_RESET, "a worker does not mind that announcements were lost")                                                   \
  X(PULL_BOUND, "a shard lets a copy lack one update more")                                                            \
  X(PUSH_BOUND, "a worker keeps back one step more")                                                                   \
  X(LOST_VICTIM, "an evicted row's steps are dropped")                                                                 \
  X(LOST_PENDING, "a refreshed row lacks the own steps kept back")                                                     \
  X(UNSPOILED, "a row fetched ahead is taken although it was pushed meanwhile")                                        \
  X(FOREIGN_ROW, "of tables that share a cache, a key finds the row of another one's")                                 \
  X(FOREIGN_VICTIM, "an evicted row's steps go to the table whose row takes its place")                                \
  X(ACK_IS_DURABLE, "pushes are forgotten when applied, not when durable")                                             \
  X(TORN_CUT, "a cut has the rows of one moment and the watermarks of the next")                                       \
  X(EARLY_LOG, "the log is called durable when it is handed over")                                                     \
  X(HOLLOW_LOG, "the log has the watermark of a push and not its rows")                                                \
  X(EARLY_EVICTION, "a row leaves memory before the cut that holds it is durable")                                     \
  X(FORGOTTEN_COPY, "a row that is pushed to before a cut has copied it is in the cut as it is then")                  \
  X(FORGOTTEN_UPDATES, "a row that comes back to memory counts as announced at its clock")                             \
  X(STALE_READ, "a row that was read is taken though a cut has come and gone in between")                              \
  X(OVERWRITTEN_ROW, "a row that was read takes the place of one that came to memory in between")                      \
  X(STALE_VISIT, "whether a row is dead is judged by what was read before a cut has ended")

#ifdef HOTROW_MUTANTS
typedef enum hr_mutant_kind {
  HR_MUTANT_NONE,
#define HR_MUTANT_ENUM(name, text) HR_MUTANT_##name,
  HR_MUTANT_LIST(HR_MUTANT_ENUM)
#undef HR_MUTANT_ENUM
      HR_MUTANT_COUNT
} hr_mutant_kind;
extern hr_mutant_kind hr_mutant;
#define HR_MUTANT(name) (hr_mutant == HR_MUTANT_##name)
#else
#define HR_MUTANT(name) false
#endif

#endif
