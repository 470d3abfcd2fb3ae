#include "request.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#define BLOCK_BYTES_MIN ((size_t)64 << 10)

typedef struct hr_arena_block {
  struct hr_arena_block *next;
  size_t capacity;
  size_t used;
  uint8_t *bytes; /* owned, aligned to 64 bytes */
} hr_arena_block;

hotrow_status hr_request_acquire(hr_request_pool *pool, hr_request **request_p)
{
  hr_request *request = pool->free_list;
  if (request) {
    pool->free_list = request->next;
  } else {
    request = malloc(sizeof *request);
    if (!request)
      return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a request");
    request->blocks = NULL;
  }
  request->next = NULL;
  request->is_admin = request->is_push = request->is_ahead = request->is_waited_for = false;
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
  for (hr_arena_block *block = request->blocks; block; block = block->next)
    block->used = 0;
  *request_p = request;
  return HOTROW_OK;
}

void hr_request_release(hr_request_pool *pool, hr_request *request)
{
  if (!request)
    return;
  request->next = pool->free_list;
  pool->free_list = request;
}

void hr_request_pool_fini(hr_request_pool *pool)
{
  while (pool->free_list) {
    hr_request *request = pool->free_list;
    pool->free_list = request->next;
    while (request->blocks) {
      hr_arena_block *block = request->blocks;
      request->blocks = block->next;
      free(block->bytes);
      free(block);
    }
    free(request);
  }
}

/* NULL: no memory. */
static hr_arena_block *add_block(hr_request *request, size_t size)
{
  hr_arena_block *block = malloc(sizeof *block);
  void *bytes = NULL;
  size_t capacity = size > BLOCK_BYTES_MIN ? size + size / 4 : BLOCK_BYTES_MIN;
  if (!block || hr_alloc(capacity, 1, "request", &bytes) != HOTROW_OK) {
    free(block);
    return NULL;
  }
  *block = (hr_arena_block){request->blocks, capacity, 0, bytes};
  request->blocks = block;
  return block;
}

hotrow_status hr_request_take(hr_request *request, size_t size, void **memory_p)
{
  if (size > HR_WIRE_MESSAGE_BYTES_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "a message of more than %zu bytes: make the batch smaller",
                   HR_WIRE_MESSAGE_BYTES_MAX);
  size_t rounded = (size + 63) / 64 * 64;
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
