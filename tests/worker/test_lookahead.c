/* The look-ahead window against a plain search through the batches. */
#include <lookahead.h>

#include "hr_test.h"

#include <hr/hash.h>
#include <hr/random.h>

#define KEYS 50
#define BATCH_MAX 24
#define BATCHES 3000

typedef struct batch {
  uint64_t keys[BATCH_MAX], hashes[BATCH_MAX];
  uint32_t count;
} batch;

static batch history[BATCHES]; /* of batch number n at n */
static hr_lookahead window;

static uint64_t hash_of(uint64_t key, bool is_crowded)
{
  uint64_t hash = hr_key_hash(key, 3);
  return is_crowded ? hash & 0xffff000000000003u : hash; /* all keys in four places of the map: they push each other */
}

static void choose(batch *b, hr_rng *rng, bool is_crowded)
{
  bool taken[KEYS] = {false};
  b->count = (uint32_t)hr_rng_below(rng, BATCH_MAX + 1);
  for (uint32_t i = 0; i < b->count; i++) {
    uint64_t key = hr_rng_below(rng, KEYS);
    while (taken[key])
      key = (key + 1) % KEYS;
    taken[key] = true;
    b->keys[i] = key;
    b->hashes[i] = hash_of(key, is_crowded);
  }
}

/* How far from batch n, in steps of `direction`, the key is needed; 0: not within [first, end). */
static uint32_t search(uint64_t n, int direction, uint64_t key, uint64_t first, uint64_t end)
{
  for (uint64_t at = n + (uint64_t)direction; at >= first && at < end; at += (uint64_t)direction)
    for (uint32_t i = 0; i < history[at].count; i++)
      if (history[at].keys[i] == key)
        return (uint32_t)(direction > 0 ? at - n : n - at);
  return 0;
}

static void check_window(uint64_t first, uint64_t end)
{
  CHECK(window.first == first && window.count == end - first);
  CHECK(!hr_lookahead_find(&window, first - 1) && !hr_lookahead_find(&window, end));
  for (uint64_t n = first; n < end; n++) {
    const hr_lookahead_batch *b = hr_lookahead_find(&window, n);
    CHECK(b && b->count == history[n].count);
    for (uint32_t i = 0; i < b->count; i++) {
      uint64_t key = history[n].keys[i];
      CHECK(b->keys[i] == key && b->hashes[i] == history[n].hashes[i]);
      CHECK_EQ(b->later[i], search(n, 1, key, first, end));
      CHECK_EQ(hr_lookahead_is_needed_before(&window, n, i), search(n, -1, key, first, end) > 0);
    }
  }
}

static void next_uses_are_those_of_a_plain_search(bool is_crowded)
{
  hr_rng rng = {hr_test_seed(11)};
  uint64_t first = 0, end = 0;
  while (end < BATCHES) {
    uint32_t deep = (uint32_t)hr_rng_below(&rng, 3) == 0 ? HOTROW_LOOKAHEAD_MAX : 12;
    if (hr_rng_below(&rng, 200) == 0) {
      hr_lookahead_drop(&window);
      first = end;
    } else if (end > first && (end - first >= deep || hr_rng_below(&rng, 5) < 2)) {
      CHECK(hr_lookahead_take(&window, history[first].keys, history[first].count));
      hr_lookahead_pop(&window);
      first++;
    } else {
      choose(&history[end], &rng, is_crowded);
      CHECK_OK(hr_lookahead_add(&window, history[end].keys, history[end].hashes, history[end].count));
      end++;
    }
    if (end % 16 == 0)
      check_window(first, end);
  }
  check_window(first, end);
  size_t used = 0;
  for (size_t i = 0; i < window.place_count; i++)
    used += window.places[i].position != UINT32_MAX;
  CHECK_EQ(used, window.place_used);
  hr_lookahead_fini(&window);
}

static void next_uses_are_exact(void)
{
  next_uses_are_those_of_a_plain_search(false);
  next_uses_are_those_of_a_plain_search(true);
}

static void add_key(uint64_t key)
{
  uint64_t hash = hash_of(key, false);
  CHECK_OK(hr_lookahead_add(&window, &key, &hash, 1));
}

static void it_holds_256_batches(void)
{
  const uint64_t key = 7, hash = hash_of(7, false);
  for (uint32_t i = 0; i < HOTROW_LOOKAHEAD_MAX; i++)
    add_key(i % 255 == 0 ? key : 1000 + i); /* key 7 in batches 0 and 255: the farthest apart that there is */
  CHECK_FAILS(hr_lookahead_add(&window, &key, &hash, 1), HOTROW_ERR_LIMIT, "256 batches");
  CHECK_EQ(hr_lookahead_find(&window, 0)->later[0], 255);
  hr_lookahead_pop(&window);
  CHECK_OK(hr_lookahead_add(&window, &key, &hash, 1));
  CHECK_EQ(hr_lookahead_find(&window, 255)->later[0], 1);
  hr_lookahead_fini(&window);
}

static void a_batch_is_taken_if_it_is_the_next(void)
{
  const uint64_t one = 1, two = 2, three = 3;
  add_key(1);
  add_key(2);
  add_key(3);
  CHECK(!hr_lookahead_take(&window, &two, 1));
  CHECK(hr_lookahead_take(&window, &one, 1));
  CHECK(hr_lookahead_take(&window, &one, 1)); /* tried again */
  CHECK(window.first == 0 && window.count == 3);
  CHECK(hr_lookahead_take(&window, &two, 1)); /* the first was given up */
  CHECK(window.first == 1 && window.is_in_hand);
  hr_lookahead_pop(&window);
  CHECK(!window.is_in_hand);
  CHECK(!hr_lookahead_take(&window, &three, 0));
  CHECK(hr_lookahead_take(&window, &three, 1));
  hr_lookahead_drop(&window);
  CHECK(!hr_lookahead_take(&window, &three, 1) && window.count == 0 && !window.is_in_hand);
  hr_lookahead_fini(&window);
}

int main(void)
{
  RUN(next_uses_are_exact);
  RUN(it_holds_256_batches);
  RUN(a_batch_is_taken_if_it_is_the_next);
  return 0;
}
