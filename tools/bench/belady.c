#include <stdlib.h>

#include <hr/memory.h>
#include <hr/status.h>

#include "key_stream.h"

/* A held row that is needed again. Entries of rows that were used since stay in the heap until they come up. */
typedef struct held_row {
  uint32_t next_use;
  uint32_t key;
} held_row;

typedef struct oracle {
  held_row *heap; /* owned: the farthest next use first */
  size_t heap_count;
  uint32_t *next_use; /* owned, [key_count]: of a held row, or HR_STREAM_NEVER: not held */
  uint64_t held_count;
} oracle;

static void push_row(oracle *o, held_row row)
{
  size_t at = o->heap_count++;
  for (; at > 0 && o->heap[(at - 1) / 2].next_use < row.next_use; at = (at - 1) / 2)
    o->heap[at] = o->heap[(at - 1) / 2];
  o->heap[at] = row;
}

static held_row pop_row(oracle *o)
{
  const held_row first = o->heap[0], last = o->heap[--o->heap_count];
  size_t at = 0, child;
  while ((child = 2 * at + 1) < o->heap_count) {
    child += child + 1 < o->heap_count && o->heap[child + 1].next_use > o->heap[child].next_use;
    if (o->heap[child].next_use <= last.next_use)
      break;
    o->heap[at] = o->heap[child];
    at = child;
  }
  o->heap[at] = last;
  return first;
}

/* Serves a batch; returns its hits. A row that is never needed again is not kept. */
static uint64_t serve_batch(oracle *o, const hr_key_stream *stream, size_t batch, uint64_t row_count)
{
  uint64_t hits = 0;
  for (size_t i = stream->offsets[batch]; i < stream->offsets[batch + 1]; i++) {
    const uint32_t key = stream->keys[i], next_use = stream->next_use[i];
    const bool was_held = o->next_use[key] != HR_STREAM_NEVER, is_kept = next_use != HR_STREAM_NEVER;
    hits += was_held;
    o->held_count = o->held_count - was_held + is_kept;
    o->next_use[key] = next_use;
    if (is_kept)
      push_row(o, (held_row){next_use, key});
  }
  while (o->held_count > row_count) {
    const held_row row = pop_row(o);
    if (o->next_use[row.key] == row.next_use) {
      o->next_use[row.key] = HR_STREAM_NEVER;
      o->held_count--;
    }
  }
  return hits;
}

hotrow_status hr_belady_hits(const hr_key_stream *stream, uint64_t row_count, uint64_t *hits_p)
{
  oracle o = {0};
  uint64_t hits = 0;
  hotrow_status status =
      hr_alloc(stream->offsets[stream->batch_count], sizeof *o.heap, "rows of the oracle", (void **)&o.heap);
  if (status == HOTROW_OK)
    status = hr_alloc(stream->key_count, sizeof *o.next_use, "next uses of the oracle", (void **)&o.next_use);
  for (uint32_t key = 0; status == HOTROW_OK && key < stream->key_count; key++)
    o.next_use[key] = HR_STREAM_NEVER;
  for (size_t b = 0; status == HOTROW_OK && b < stream->batch_count; b++)
    hits += serve_batch(&o, stream, b, row_count);

  free(o.heap);
  free(o.next_use);
  if (status == HOTROW_OK)
    *hits_p = hits;
  return status;
}
