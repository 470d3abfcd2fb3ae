/* What the process has in memory: what the system says, and what is counted, each part by its own keeper. */
#ifndef HR_PROCESS_MEMORY_H
#define HR_PROCESS_MEMORY_H

#include "shard.h"

/* Beside arrays that are mapped: those are their owners' to count. */
typedef struct hr_process_memory {
  uint64_t resident_bytes; /* as the system counts it, all of it; 0: it does not say */
  uint64_t file_bytes;     /* of that, files that are mapped: program and libraries */
  uint64_t heap_bytes;     /* that malloc has given out */
  uint64_t kept_bytes;     /* that malloc keeps of what was freed */
} hr_process_memory;

/* Takes malloc's locks one after the other, and some milliseconds where memory comes or goes meanwhile: not on a thread
 * that somebody waits for. */
void hr_process_measure(hr_process_memory *memory_p);

/* What a process has beside its heap and files: in one that has no mapped arrays yet. */
uint64_t hr_process_program_bytes(void);

/* Adds up what is counted. program_bytes: of hr_process_program_bytes(). Of all shards: what they count, and what of it
 * malloc has given out, with what is idle. */
hr_process_counts hr_process_add_up(const hr_process_memory *memory, uint64_t program_bytes, uint64_t shard_bytes,
                                    uint64_t shard_heap_bytes);

/* Gives back what malloc keeps, of all threads. */
void hr_process_trim(void);

#endif
