/* The system calls on files below a directory, counted: one of them does not come back, is done by half, or fails, or
 * all do from there on.
 *
 * These stand in the place of libc's, for this program and for RocksDB. A process that dies leaves what it has written
 * to the system, so nothing has to reach a disk: fsync and fdatasync are counted, and do nothing. */
#ifndef CRASH_POINTS_H
#define CRASH_POINTS_H

#include <stdbool.h>

typedef enum crash_kind {
  CRASH_NONE,
  CRASH_KILL,   /* the process ends before the call */
  CRASH_TORN,   /* half of what is written is, and the process ends */
  CRASH_EIO,    /* the call fails, once */
  CRASH_ENOSPC, /* likewise */
  CRASH_FULL,   /* the disk is full from here on: whatever takes room fails */
  CRASH_EROFS,  /* the disk is read-only from here on: everything fails */
  CRASH_HOOK    /* something is done before each call from here on */
} crash_kind;

#define CRASH_EXIT 9 /* of a process that was ended so */
#define CRASH_CALLS_MAX 4096u

/* From here on calls are counted, from 1; of call `at` becomes what `kind` says. Files that are open already count as
 * well. `names` (may be NULL), shared with whoever wants to know: which call each was. */
void crash_begin(const char *dir, crash_kind kind, unsigned at, char (*names)[16]);
void crash_end(void);

/* From the next crash_begin() on: calls of threads with another name do not count, nor do they fail. NULL: all do. */
void crash_in_thread(const char *name);
/* What CRASH_HOOK does, on the thread of the call. */
void crash_hook(void (*hook)(void));
unsigned crash_count(void);

#endif
