/* What a cut consists of, as the shard's thread puts it together: entries in blocks that stay where they are. Bytes
 * that grow as one would be moved now and then, all of them, while a client waits. */
#include <stdlib.h>

#include <hr/assert.h>

#include "storage_state.h"

#define BLOCK_BYTES ((size_t)1 << 20)
#define KEPT_BYTES_MAX ((size_t)256 << 20) /* for the next cut; of a storage whose memory is set a quarter of it */

struct hr_entry_block {
  hr_entry_block *next; /* owned */
  size_t used;
  uint8_t bytes[BLOCK_BYTES];
};

_Static_assert(sizeof(hr_entry_head) + HR_STORE_KEY_BYTES_MAX + (HR_STORE_FLOATS_MAX + 2) * sizeof(float) <=
                   BLOCK_BYTES,
               "the largest row");

static bool use_next_block(hr_entries *e)
{
  hr_entry_block **next = e->last ? &e->last->next : &e->first;
  if (!*next) {
    *next = malloc(sizeof **next);
    if (!*next)
      return false;
    (*next)->next = NULL;
    atomic_fetch_add_explicit(&e->block_bytes, sizeof **next, memory_order_relaxed);
  }
  e->last = *next;
  e->last->used = 0;
  return true;
}

void *hr_entries_take(hr_entries *e, size_t size_bytes)
{
  HOTROW_ASSERT(size_bytes <= BLOCK_BYTES);
  if ((!e->last || size_bytes > BLOCK_BYTES - e->last->used) && !use_next_block(e)) {
    hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a cut of more than %zu bytes", e->size);
    return NULL;
  }
  void *memory = e->last->bytes + e->last->used;
  e->last->used += size_bytes;
  e->size += size_bytes;
  e->count++;
  return memory;
}

static void free_blocks(hr_entry_block *block)
{
  for (hr_entry_block *next; block; block = next) {
    next = block->next;
    free(block);
  }
}

void hr_entries_empty(const hr_rocksdb *s, hr_entries *e)
{
  size_t kept = 0, kept_max = s->memory_bytes ? s->memory_bytes / 4 : KEPT_BYTES_MAX;
  hr_entry_block **at = &e->first;
  for (; *at && kept + sizeof **at <= kept_max; at = &(*at)->next)
    kept += sizeof **at;
  free_blocks(*at);
  *at = NULL;
  e->last = NULL;
  atomic_store_explicit(&e->block_bytes, kept, memory_order_relaxed);
  e->size = e->count = 0;
}

void hr_entries_free(hr_entries *e)
{
  free_blocks(e->first);
  e->first = e->last = NULL;
  e->size = e->count = 0;
  atomic_store_explicit(&e->block_bytes, 0, memory_order_relaxed);
}

const uint8_t *hr_entries_next(const hr_entries *e, hr_entries_place *place)
{
  if (!e->last)
    return NULL;
  if (!place->block)
    *place = (hr_entries_place){.block = e->first};
  while (place->at == place->block->used) {
    if (place->block == e->last)
      return NULL;
    *place = (hr_entries_place){.block = place->block->next};
  }
  hr_entry_head head;
  const uint8_t *entry = place->block->bytes + place->at;
  __builtin_memcpy(&head, entry, sizeof head);
  place->at += sizeof head + head.key_size + head.value_size;
  return entry;
}
