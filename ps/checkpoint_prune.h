/* Which older checkpoints go when a new one is there. */
#ifndef HR_CHECKPOINT_PRUNE_H
#define HR_CHECKPOINT_PRUNE_H

#include <hr/wire.h>

#define HR_PRUNE_LISTED_MAX 4096u /* checkpoints of one series that are looked at; any further stay */

/* `newest` was just published. With newest->keep > 0: of its series (<series>-<digits>) the keep - 1 others that were
 * made last stay, and the rest is removed, each first taken out of its name; so is what unpublished checkpoints of the
 * series have left behind. Whatever is no whole checkpoint stays. What cannot be removed stays and is logged. */
void hr_checkpoint_prune(const char *save_dir, const hr_checkpoint *newest);

#endif
