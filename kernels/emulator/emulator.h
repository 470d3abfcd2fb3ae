/* What the files of the emulator share. */
#ifndef EMULATOR_H
#define EMULATOR_H

#include <stdbool.h>

#include "emulated_launch.h"

#define HR_BLOCK_LANES_MAX 1024u
#define HR_WARP_LANES 32u
#define HR_SHARED_BYTES 49152u      /* what a block may have without asking */
#define HR_SHARED_BYTES_MAX 232448u /* and with cudaFuncSetAttribute */
#define HR_DEVICE_BYTES ((size_t)64 << 30)
#define HR_RUBBISH 0xa5

/* The program is wrong and stops: one sentence, after the kernel, block and lane that run, if any do. */
_Noreturn void hr_emulator_stop(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Remembers an error for cudaGetLastError, and returns it. */
cudaError_t hr_emulator_error(cudaError_t error);

/* When work that is queued on a stream runs: at once; when somebody waits for it or asks after it; or by the dice. */
typedef enum hr_when { HR_NOW, HR_LATE, HR_MIXED } hr_when;

/* From HOTROW_EMULATOR (now, late, mixed) and HOTROW_TEST_SEED. Read once. */
hr_when hr_emulator_when(void);
uint64_t hr_emulator_seed(void);

/* One call of the runtime, one piece of work at a time. */
void hr_emulator_lock(void);
void hr_emulator_unlock(void); /* device memory is out of the host's reach again */

/* Memory. The lock is held. */
typedef enum hr_memory_kind { HR_PAGEABLE, HR_PINNED, HR_ON_DEVICE } hr_memory_kind;
cudaError_t hr_memory_take(size_t size_bytes, hr_memory_kind kind, void **memory_p);
void hr_memory_return(void *memory, hr_memory_kind kind);
/* What `pointer` points into; stops if size_bytes from there end beyond it. */
hr_memory_kind hr_memory_find(const void *pointer, size_t size_bytes, const char *what);
/* Whether this is the address of something that the device cannot reach. */
bool hr_memory_is_hosts(const void *address);
/* A few words for an address that could not be touched, or NULL if it has nothing to do with the device. Any time. */
const char *hr_memory_describe(const void *address);
void hr_memory_open(void);  /* for work that runs */
void hr_memory_close(void); /* for the host */
size_t hr_memory_taken_bytes(void);

/* Plays all lanes of all blocks. The lock is held and memory is open. */
void hr_emulator_play(const hr_emulated_launch *launch);
/* Stops if a GPU would refuse the launch. */
void hr_emulator_check_launch(const hr_emulated_launch *launch);
/* " kernel k, block 1, lane 2:" of what runs, or "". */
const char *hr_emulator_place(void);

/* A lane that waits in a collective of its warp. */
typedef struct hr_meeting {
  hr_collective kind;
  uint32_t mask;
  uint64_t value, result;
  int argument, width;
} hr_meeting;

/* The results of lanes that have met: meetings[32] are the warp's, those of the mask wait. */
void hr_collective_settle(hr_meeting *meetings, uint32_t mask);
const char *hr_collective_name(hr_collective kind);

/* A stack of its own and a place in it. */
typedef struct hr_fibre {
  void *place; /* the stack pointer while another fibre runs */
  void *stack;
  size_t stack_bytes;
  void *shadow; /* the address sanitizer's */
} hr_fibre;

void hr_fibre_init(hr_fibre *fibre, void *stack, size_t stack_bytes, void (*entry)(void));
void hr_fibre_of_thread(hr_fibre *fibre); /* the calling thread's own stack */
void hr_fibre_switch(hr_fibre *from, hr_fibre *to);

#endif
