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

hotrow_status hr_request_acquire(hr_request_pool *pool, hr_request_kind kind, hr_request **request_p)
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
  request->kind = kind;
  request->is_push = false;
  request->is_waited_for = false;
  request->pull_count = 0;
  request->call = 0;
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
