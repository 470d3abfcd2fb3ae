/* Rows handed out for pushing, in the order in which they must be applied. */
#ifndef CACHE_PUSH_LIST_H
#define CACHE_PUSH_LIST_H

#include <hotrow/cache.h>

#include "cache_arena.h"

typedef struct hr_push_list {
  uint64_t *keys;
  uint64_t *hashes;
  uint32_t *steps;
  uint8_t *tables;   /* whose row it is */
  uint8_t *is_exact; /* 1 unless the cache rounds the entry afterwards */
  float *grads;      /* [capacity][dim] */
  float *squares;    /* [capacity][square_dim] */
  size_t count;
  size_t capacity;
  uint32_t dim;
  uint32_t square_dim;
  bool has_squares; /* some entry has had k > 1: from then on entries with k = 1 must clear theirs */
} hr_push_list;

void hr_push_list_layout(hr_push_list *list, size_t capacity, uint32_t dim, uint32_t square_dim, hr_arena *arena);

/* The first `count` entries as the interface shows them. */
hotrow_cache_push_list hr_push_list_view(const hr_push_list *list, size_t count);

/* Appends one row of k accumulated steps; squares are read for k > 1 alone. */
void hr_push_list_append(hr_push_list *list, uint8_t table, uint64_t key, uint64_t hash, uint32_t steps,
                         const float *grad, const float *squares);
/* Appends rows whose gradient came in one piece, counted steps[i] times (NULL: once). */
void hr_push_list_append_batch(hr_push_list *list, uint8_t table, const uint64_t *keys, const uint64_t *hashes,
                               const uint32_t *steps, const float *grads, size_t count);
/* An entry of k > 1 that came in one piece gets its squares. */
void hr_push_list_set_squares(hr_push_list *list, size_t entry, const float *squares);

#endif
