#include "cache_push_list.h"

#include <string.h>

#include <hr/assert.h>

void hr_push_list_layout(hr_push_list *list, size_t capacity, uint32_t dim, uint32_t square_dim, hr_arena *arena)
{
  list->capacity = capacity;
  list->dim = dim;
  list->square_dim = square_dim;
  list->keys = hr_arena_take(arena, capacity, sizeof *list->keys);
  list->hashes = hr_arena_take(arena, capacity, sizeof *list->hashes);
  list->steps = hr_arena_take(arena, capacity, sizeof *list->steps);
  list->tables = hr_arena_take(arena, capacity, sizeof *list->tables);
  list->is_exact = hr_arena_take(arena, capacity, sizeof *list->is_exact);
  list->grads = hr_arena_take(arena, capacity, dim * sizeof *list->grads);
  list->squares = hr_arena_take(arena, capacity, hr_mul(square_dim, sizeof *list->squares));
}

void hr_push_list_append(hr_push_list *list, uint8_t table, uint64_t key, uint64_t hash, uint32_t steps,
                         const float *grad, const float *squares)
{
  if (steps == 1) {
    hr_push_list_append_batch(list, table, &key, &hash, NULL, grad, 1);
    return;
  }
  HOTROW_ASSERT(steps > 0 && list->count < list->capacity);
  size_t i = list->count++;
  list->keys[i] = key;
  list->hashes[i] = hash;
  list->steps[i] = steps;
  list->tables[i] = table;
  list->is_exact[i] = 1;
  memcpy(list->grads + i * list->dim, grad, list->dim * sizeof(float));
  memcpy(list->squares + i * list->square_dim, squares, list->square_dim * sizeof(float));
  list->has_squares = true;
}

void hr_push_list_append_batch(hr_push_list *list, uint8_t table, const uint64_t *keys, const uint64_t *hashes,
                               const uint32_t *steps, const float *grads, size_t count)
{
  HOTROW_ASSERT(count <= list->capacity - list->count);
  size_t first = list->count;
  memcpy(list->keys + first, keys, count * sizeof *keys);
  memcpy(list->hashes + first, hashes, count * sizeof *hashes);
  memcpy(list->grads + first * list->dim, grads, count * list->dim * sizeof *grads);
  memset(list->tables + first, table, count * sizeof *list->tables);
  memset(list->is_exact + first, 1, count * sizeof *list->is_exact);
  for (size_t i = 0; i < count; i++)
    list->steps[first + i] = steps ? steps[i] : 1;
  if (list->has_squares)
    memset(list->squares + first * list->square_dim, 0, count * list->square_dim * sizeof(float));
  list->count += count;
}

void hr_push_list_set_squares(hr_push_list *list, size_t entry, const float *squares)
{
  HOTROW_ASSERT(entry < list->count && list->steps[entry] > 1);
  memcpy(list->squares + entry * list->square_dim, squares, list->square_dim * sizeof(float));
  list->has_squares = true;
}

hotrow_cache_push_list hr_push_list_view(const hr_push_list *list, size_t count)
{
  return (hotrow_cache_push_list){.keys = list->keys,
                                  .hashes = list->hashes,
                                  .steps = list->steps,
                                  .grads = list->grads,
                                  .squares = list->square_dim > 0 ? list->squares : NULL,
                                  .is_exact = list->is_exact,
                                  .tables = list->tables,
                                  .count = count};
}
