/* The thread that reads rows while the shard goes on, over rows that a function makes: no database is behind it, so
 * that a thread sanitizer sees all that it and the shard's thread share. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hr/random.h>

#include "hr_test.h"
#include "row_read.h"
#include "storage_state.h"

#define ROUNDS 300u
#define FLOATS 3u
#define READS_MAX 60u
#define VISITED_KEYS 1000u

static hr_rocksdb storage;
static const hr_table_desc good = {.name = "t"}, bad = {.name = "damaged", .id = 1};

/* Of three keys two have rows. */
static hotrow_status get_rows(void *context, const hr_table_desc *desc, size_t float_count, const uint64_t *keys,
                              size_t key_count, hr_stored_row_fn found, void *found_context)
{
  CHECK(context == &storage && float_count == FLOATS);
  if (desc->id == bad.id)
    return hr_fail(HOTROW_ERR_CORRUPT, "table %s cannot be read", desc->name);
  for (size_t i = 0; i < key_count; i++) {
    const float record[FLOATS] = {(float)keys[i], -1, 2};
    if (keys[i] % 3 != 0)
      HOTROW_TRY(found(keys[i], (uint32_t)keys[i] + 1, record, found_context));
  }
  return HOTROW_OK;
}

/* All keys below VISITED_KEYS have rows that say so. */
static hotrow_status visit_rows(void *context, const hr_table_desc *desc, size_t float_count, uint64_t first,
                                size_t count_max, hr_stored_row_fn found, void *found_context)
{
  CHECK(context == &storage && float_count == FLOATS);
  if (desc->id == bad.id)
    return hr_fail(HOTROW_ERR_CORRUPT, "table %s cannot be read", desc->name);
  for (uint64_t key = first; key < VISITED_KEYS && count_max > 0; key++, count_max--) {
    const float record[FLOATS] = {(float)key, -1, 2};
    HOTROW_TRY(found(key, (uint32_t)key + 1, record, found_context));
  }
  return HOTROW_OK;
}

static void open_reader(void)
{
  storage = (hr_rocksdb){.calls = {.context = &storage, .get_rows = get_rows, .visit_rows = visit_rows},
                         .event_fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC)};
  CHECK(storage.event_fd >= 0);
  CHECK_OK(hr_rocksdb_start_reader(&storage));
}

static bool has_event(int timeout_ms)
{
  struct pollfd event = {.fd = storage.event_fd, .events = POLLIN};
  return poll(&event, 1, timeout_ms) == 1;
}

static void close_reader(void)
{
  hr_rocksdb_stop_reader(&storage);
  CHECK(!has_event(0));
  close(storage.event_fd);
}

static hr_row_read *ask(hr_rng *rng)
{
  hr_row_read *read = hr_row_read_create(hr_rng_below(rng, 8) == 0 ? &bad : &good, FLOATS, HR_READ_KEYS_MAX);
  CHECK(read);
  uint64_t key = 0;
  size_t key_count = 1 + hr_rng_below(rng, HR_READ_KEYS_MAX);
  if (hr_rng_below(rng, 4) == 0) {
    read->is_visit = true;
    read->first = hr_rng_below(rng, VISITED_KEYS + 1);
    read->key_count = key_count;
  }
  while (read->key_count < key_count)
    read->keys[read->key_count++] = key += 1 + hr_rng_below(rng, 4);
  storage.calls.ask_rows(&storage, read);
  return read;
}

static void check_visit(const hr_row_read *read)
{
  uint64_t left = VISITED_KEYS - read->first;
  CHECK_EQ(read->found_count, left < read->key_count ? left : read->key_count);
  for (size_t i = 0; i < read->found_count; i++) {
    uint64_t key = read->first + i;
    CHECK(read->keys[i] == key && read->clocks[i] == key + 1 && read->records[i * FLOATS] == (float)key);
  }
}

static void check_read(const hr_row_read *read)
{
  size_t found = 0;
  if (read->desc == &bad) {
    CHECK_EQ(read->status, HOTROW_ERR_CORRUPT);
    return;
  }
  CHECK_OK(read->status);
  if (read->is_visit) {
    check_visit(read);
    return;
  }
  for (uint32_t i = 0; i < read->key_count; i++) {
    if (read->keys[i] % 3 == 0)
      continue;
    const float *record = read->records + found * FLOATS;
    CHECK(found < read->found_count && read->found[found] == i && read->clocks[found] == read->keys[i] + 1);
    CHECK(record[0] == (float)read->keys[i] && record[1] == -1 && record[2] == 2);
    found++;
  }
  CHECK_EQ(read->found_count, found);
}

/* However many are on their way, they come back whole, one event each, in the order in which they were asked for. */
static void reads_come_back_in_order(void)
{
  hr_row_read *asked[HR_READS_MAX];
  hr_rng rng = {hr_test_seed(1)};
  uint64_t asked_count = 0, taken_count = 0;
  open_reader();
  for (uint32_t round = 0; round < ROUNDS; round++) {
    for (uint64_t n = hr_rng_below(&rng, 6); n > 0 && asked_count - taken_count < HR_READS_MAX; n--)
      asked[asked_count++ % HR_READS_MAX] = ask(&rng);
    CHECK_EQ(hr_rocksdb_is_reading(&storage), asked_count > taken_count);
    for (uint64_t n = hr_rng_below(&rng, 6); n > 0 && asked_count > taken_count; n--) {
      CHECK(has_event(-1));
      hr_row_read *read = hr_rocksdb_take_read(&storage);
      if (!read) /* its event comes first */
        continue;
      CHECK(read == asked[taken_count++ % HR_READS_MAX]);
      check_read(read);
      free(read);
    }
  }
  close_reader();
  for (; taken_count < asked_count; taken_count++)
    free(asked[taken_count % HR_READS_MAX]);
}

/* The reader ends at any moment, whatever is asked for; what it has is the shard's again. */
static void it_ends_at_any_moment(void)
{
  hr_rng rng = {hr_test_seed(2)};
  for (uint32_t round = 0; round < ROUNDS / 10; round++) {
    hr_row_read *asked[READS_MAX];
    uint64_t count = hr_rng_below(&rng, READS_MAX);
    open_reader();
    for (uint64_t i = 0; i < count; i++)
      asked[i] = ask(&rng);
    for (uint64_t i = hr_rng_below(&rng, count + 1); i > 0; i--)
      CHECK(has_event(-1));
    close_reader();
    for (uint64_t i = 0; i < count; i++)
      free(asked[i]);
  }
}

int main(void)
{
  RUN(reads_come_back_in_order);
  RUN(it_ends_at_any_moment);
  return 0;
}
