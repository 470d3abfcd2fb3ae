/* The arrays of a table: address space for their largest size, filled from the front, memory once touched.
 *
 * The first touch of a huge page takes the kernel a third of a millisecond, and five where a virtual machine must get
 * it from its host. So that inserts need not wait for it, a table that has grown has a thread that touches what comes
 * next. It is in a hurry and may be late: memory that it has not come to is of small pages, each quick to be had. It
 * shares nothing with the table's thread but how much of each array is used. */
#ifndef HR_TABLE_MEMORY_H
#define HR_TABLE_MEMORY_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <hr/status.h>

typedef enum hr_array_kind {
  HR_ARRAY_ROWS,
  HR_ARRAY_KEYS,
  HR_ARRAY_ANNOUNCED,
  HR_ARRAY_INDEX,
  HR_ARRAY_COUNT
} hr_array_kind;

typedef struct hr_array {
  uint8_t *bytes; /* owned */
  size_t size_bytes;
  size_t wake_bytes;           /* once so many are used the helper is told */
  size_t touched_bytes;        /* the most that has been touched, once some of it went back to the system */
  atomic_size_t ready_bytes;   /* the helper's: touched up to here, or left to the table's thread */
  atomic_size_t left_bytes;    /* likewise: up to here left to it */
  atomic_size_t advised_bytes; /* likewise: may be huge pages up to here */
  atomic_size_t used_bytes;    /* as last told */
} hr_array;

typedef struct hr_table_memory {
  hr_array arrays[HR_ARRAY_COUNT];
  pthread_t helper;
  sem_t wake;
  bool has_helper, can_have_helper;
  size_t helper_bytes;       /* used of an array before there is a helper */
  size_t lead_bytes_min;     /* how far it is ahead at least */
  atomic_bool touches_ahead; /* until memory goes back to the system */
  atomic_bool is_ending;
} hr_table_memory;

void hr_table_memory_init(hr_table_memory *memory);
void hr_table_memory_fini(hr_table_memory *memory); /* ends the helper and frees the arrays */

/* The helper is to begin later and to touch less ahead. Before there are rows. */
void hr_table_memory_save(hr_table_memory *memory);
/* How much of an array, of which so many bytes are used, the helper has touched beyond them. */
size_t hr_table_memory_ahead(const hr_table_memory *memory, hr_array_kind kind, size_t used_bytes);
/* Less of an array is used than the bytes that were: the rest goes back to the system, and reads as 0 when it is used
 * again. From then on nothing is touched ahead, in no array: rows would have to leave for it. */
void hr_table_memory_shrink(hr_table_memory *memory, hr_array_kind kind, size_t used_bytes, size_t used_bytes_before);

/* HOTROW_ERR_NO_MEMORY */
hotrow_status hr_table_memory_map(hr_table_memory *memory, hr_array_kind kind, size_t size_bytes, const char *what,
                                  void **memory_p);

void hr_table_memory_wake(hr_table_memory *memory, hr_array_kind kind, size_t used_bytes);

/* The array is used up to here. Costs nothing unless much has been used since the helper was last told. */
static inline void hr_table_memory_use(hr_table_memory *memory, hr_array_kind kind, size_t used_bytes)
{
  if (used_bytes >= memory->arrays[kind].wake_bytes)
    hr_table_memory_wake(memory, kind, used_bytes);
}

#endif
