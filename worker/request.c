#include "request.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>

#define ALIGNMENT_BYTES 64u
#define BLOCK_BYTES_MIN ((size_t)64 << 10)
#define BLOCK_BYTES_MAX (BLOCK_BYTES_MIN << (HR_BLOCK_SIZES - 1))

_Static_assert(BLOCK_BYTES_MAX >= HR_WIRE_MESSAGE_BYTES_MAX, "a block holds the largest array");

typedef struct hr_arena_block {
  struct hr_arena_block *next;
  size_t capacity;
  size_t used;
  uint8_t *bytes; /* owned, aligned to ALIGNMENT_BYTES */
} hr_arena_block;

static uint32_t size_index(size_t size)
{
  uint32_t index = 0;
  while (BLOCK_BYTES_MIN << index < size)
    index++;
  HOTROW_ASSERT(index < HR_BLOCK_SIZES);
  return index;
}

static void recycle(hr_request_pool *pool, hr_request *request)
{
  while (request->blocks) {
    hr_arena_block *block = request->blocks;
    hr_arena_block **list = &pool->free_blocks[size_index(block->capacity)];
    request->blocks = block->next;
    block->next = *list;
    *list = block;
  }
  request->next = pool->free_list;
  pool->free_list = request;
}

/* Takes back what the transport has let go of meanwhile. */
static void sweep(hr_request_pool *pool)
{
  for (hr_request **at = &pool->leaving; *at;) {
    hr_request *request = *at;
    if (atomic_load_explicit(&request->users, memory_order_acquire) > 0) {
      at = &request->next;
      continue;
    }
    *at = request->next;
    recycle(pool, request);
  }
}

hotrow_status hr_request_acquire(hr_request_pool *pool, hr_request **request_p)
{
  sweep(pool);
  hr_request *request = pool->free_list;
  if (request) {
    pool->free_list = request->next;
  } else {
    request = malloc(sizeof *request);
    if (!request)
      return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a request");
    request->blocks = NULL;
    request->pool = pool;
    atomic_init(&request->users, 0);
  }
  request->next = NULL;
  request->is_admin = request->is_push = request->is_ahead = request->is_waited_for = false;
  request->is_pull_sent = false;
  request->is_refused = request->is_answered = request->is_credited = false;
  request->call = 0;
  request->kept_size = 0;
  memset(request->bytes, 0, sizeof request->bytes);
  request->push_count = request->pull_count = 0;
  request->frame_count = 0;
  memset(&request->message.header, 0, sizeof request->message.header);
  request->message.body = NULL;
  request->message.body_size = 0;
  request->message.section_count = 0;
  *request_p = request;
  return HOTROW_OK;
}

void hr_request_release(hr_request_pool *pool, hr_request *request)
{
  if (!request)
    return;
  if (atomic_load_explicit(&request->users, memory_order_acquire) == 0) {
    recycle(pool, request);
    return;
  }
  request->next = pool->leaving;
  pool->leaving = request;
}

void hr_request_pool_fini(hr_request_pool *pool)
{
  sweep(pool);
  HOTROW_ASSERT(!pool->leaving);
  while (pool->free_list) {
    hr_request *request = pool->free_list;
    pool->free_list = request->next;
    free(request);
  }
  for (uint32_t i = 0; i < HR_BLOCK_SIZES; i++)
    while (pool->free_blocks[i]) {
      hr_arena_block *block = pool->free_blocks[i];
      pool->free_blocks[i] = block->next;
      free(block->bytes);
      free(block);
    }
}

/* A block for `size` bytes, the request's first from now on. NULL: no memory. */
static hr_arena_block *add_block(hr_request *request, size_t size)
{
  uint32_t index = size_index(size);
  hr_arena_block *block = request->pool->free_blocks[index];
  if (block) {
    request->pool->free_blocks[index] = block->next;
  } else {
    size_t capacity = BLOCK_BYTES_MIN << index;
    void *bytes = aligned_alloc(ALIGNMENT_BYTES, capacity); /* what is not written to takes no memory */
    block = malloc(sizeof *block);
    if (!block || !bytes) {
      free(block);
      free(bytes);
      return NULL;
    }
    *block = (hr_arena_block){.capacity = capacity, .bytes = bytes};
  }
  block->used = 0;
  block->next = request->blocks;
  request->blocks = block;
  return block;
}

hotrow_status hr_request_take(hr_request *request, size_t size, void **memory_p)
{
  if (size > HR_WIRE_MESSAGE_BYTES_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "a message of more than %zu bytes: make the batch smaller",
                   HR_WIRE_MESSAGE_BYTES_MAX);
  size_t rounded = (size + ALIGNMENT_BYTES - 1) / ALIGNMENT_BYTES * ALIGNMENT_BYTES;
  hr_arena_block *block = request->blocks;
  while (block && block->capacity - block->used < rounded)
    block = block->next;
  if (!block)
    block = add_block(request, rounded);
  if (!block)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for %zu bytes of a request", size);
  *memory_p = block->bytes + block->used;
  block->used += rounded;
  return HOTROW_OK;
}

hotrow_status hr_request_add_section(hr_request *request, hr_section_kind kind, hr_section **section_p)
{
  hr_message *message = &request->message;
  if (message->section_count == HR_WIRE_DATA_SECTIONS_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "more than %u sections in a message", HR_WIRE_DATA_SECTIONS_MAX);
  hr_section *section = &message->sections[message->section_count++];
  memset(section, 0, sizeof *section);
  section->kind = (uint8_t)kind;
  *section_p = section;
  return HOTROW_OK;
}

void hr_request_absorb(hr_request *request, hr_request *other)
{
  hr_message *to = &request->message;
  const hr_message *from = &other->message;
  HOTROW_ASSERT(request->pull_count == 0 && other->pull_count == 0);
  HOTROW_ASSERT(to->section_count + from->section_count <= HR_WIRE_DATA_SECTIONS_MAX);
  memcpy(to->sections + to->section_count, from->sections, from->section_count * sizeof *to->sections);
  memcpy(request->pushes + request->push_count, other->pushes, other->push_count * sizeof *request->pushes);
  to->section_count = (uint16_t)(to->section_count + from->section_count);
  request->push_count += other->push_count;
  for (size_t i = 0; i < HR_BYTES_COUNT; i++)
    request->bytes[i] += other->bytes[i];
  hr_arena_block **last = &request->blocks;
  while (*last)
    last = &(*last)->next;
  *last = other->blocks;
  other->blocks = NULL;
  hr_request_release(other->pool, other);
}

void hr_request_strip_pulls(hr_request *request)
{
  hr_message *message = &request->message;
  message->section_count = (uint16_t)(message->section_count - request->pull_count);
  message->header.op = HR_OP_PUSH;
  request->pull_count = 0;
  request->is_ahead = false;
  request->bytes[HR_BYTES_MISS] = request->bytes[HR_BYTES_STALE] = request->bytes[HR_BYTES_PROBE] = 0;
}

void hr_request_strip_pushes(hr_request *request)
{
  hr_message *message = &request->message;
  HOTROW_ASSERT(message->header.op == HR_OP_PUSH_PULL);
  uint32_t count = request->push_count;
  memmove(message->sections, message->sections + count, request->pull_count * sizeof *message->sections);
  for (uint32_t i = 0; i < request->pull_count; i++)
    request->pulls[i].section_index -= count;
  message->section_count = (uint16_t)request->pull_count;
  message->header.op = HR_OP_PULL;
  message->header.step++; /* a push names the step that it ends, a pull the one that it is for */
  request->push_count = 0;
  request->is_push = false;
  request->bytes[HR_BYTES_PUSH] = 0;
}

void hr_request_forget_held(hr_request *request)
{
  for (uint32_t i = 0; i < request->pull_count; i++) {
    hr_pull_note *note = &request->pulls[i];
    hr_section *section = &request->message.sections[note->section_index];
    if (section->flags & HR_SECTION_WIDE) /* an element for every key, all ones for those not held */
      memset((void *)section->seen, 0xff, section->key_count * sizeof(uint64_t));
    note->stale_count += section->held_count;
    section->held_count = 0;
  }
}
