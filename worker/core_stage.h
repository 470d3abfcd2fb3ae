/* Arrays on their way to the device: copied into pinned memory, and from there on the stream, while the caller goes on.
 */
#ifndef HR_CORE_STAGE_H
#define HR_CORE_STAGE_H

#include <hotrow/kernels.h>

/* Room for what goes over at once; two, used in turn, let the host fill one while the other is under way. */
typedef struct hr_stage {
  const hotrow_kernels *kernels; /* borrowed */
  void *stream;                  /* borrowed */
  char *host;                    /* owned, pinned */
  char *device;                  /* owned */
  void *event;                   /* owned: behind the last copy */
  size_t capacity, used;
} hr_stage;

hotrow_status hr_stage_init(hr_stage *stage, const hotrow_kernels *kernels, void *stream);
void hr_stage_fini(hr_stage *stage); /* of one that is all zeroes too */

/* Empties the stage, once what was put into it last has left the host, and makes room for size_bytes. What the device
 * does with what was in it is queued before, and so done before.
 *   HOTROW_ERR_NO_MEMORY, HOTROW_ERR_DEVICE */
hotrow_status hr_stage_begin(hr_stage *stage, size_t size_bytes);

/* What an array of size_bytes takes of a stage. */
size_t hr_stage_size(size_t size_bytes);

/* Queues the copy of an array; *device_p is where it will be. NULL stays NULL. */
hotrow_status hr_stage_put(hr_stage *stage, const void *array, size_t size_bytes, const void **device_p);

/* Nothing more is put in. */
hotrow_status hr_stage_end(hr_stage *stage);

#endif
