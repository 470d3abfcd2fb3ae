/* The system calls on files below a directory, counted: one of them does not come back, is done by half, or fails.
 *
 * These stand in the place of libc's, for this program and for RocksDB. A process that dies leaves what it has written
 * to the system, so nothing has to reach a disk: fsync and fdatasync are counted, and do nothing. */
#ifndef CRASH_POINTS_H
#define CRASH_POINTS_H

#include <stdbool.h>

typedef enum crash_kind {
  CRASH_NONE,
  CRASH_KILL,  /* the process ends before the call */
  CRASH_TORN,  /* half of what is written is, and the process ends */
  CRASH_EIO,   /* the call fails, once */
  CRASH_ENOSPC /* likewise */
} crash_kind;

#define CRASH_EXIT 9 /* of a process that was ended so */
#define CRASH_CALLS_MAX 4096u

/* From here on calls are counted, from 1; of call `at` becomes what `kind` says. Files that are open already count as
 * well. `names` (may be NULL), shared with whoever wants to know: which call each was. */
void crash_begin(const char *dir, crash_kind kind, unsigned at, char (*names)[16]);
void crash_end(void);
unsigned crash_count(void);

#endif
