#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hr_test.h"
#include "table_memory.h"

#define MIB ((size_t)1 << 20)

static bool is_resident(uint8_t *page)
{
  unsigned char state = 0;
  CHECK(mincore(page, (size_t)sysconf(_SC_PAGESIZE), &state) == 0);
  return state & 1;
}

static bool becomes_resident(uint8_t *page)
{
  for (int i = 0; i < 2000 && !is_resident(page); i++)
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  return is_resident(page);
}

static void sizes_that_do_not_fit_are_refused(void)
{
  hr_table_memory memory;
  void *bytes = NULL;
  hr_table_memory_init(&memory);
  CHECK_FAILS(hr_table_memory_map(&memory, HR_ARRAY_ROWS, SIZE_MAX, "rows", &bytes), HOTROW_ERR_NO_MEMORY, "rows");
  CHECK_FAILS(hr_table_memory_map(&memory, HR_ARRAY_ROWS, SIZE_MAX / 2, "rows", &bytes), HOTROW_ERR_NO_MEMORY, "rows");
  CHECK(!bytes);
  hr_table_memory_fini(&memory);
}

static void little_use_needs_no_helper(void)
{
  hr_table_memory memory;
  void *bytes;
  hr_table_memory_init(&memory);
  CHECK_OK(hr_table_memory_map(&memory, HR_ARRAY_ROWS, 1, "rows", &bytes));
  CHECK_OK(hr_table_memory_map(&memory, HR_ARRAY_INDEX, (size_t)1 << 36, "index", &bytes));
  hr_table_memory_use(&memory, HR_ARRAY_ROWS, 1);
  hr_table_memory_use(&memory, HR_ARRAY_INDEX, MIB - 1);
  CHECK(!memory.has_helper && !is_resident(bytes));
  hr_table_memory_fini(&memory);
}

/* What comes next is touched without the caller, and what is there is left as it is. */
static void a_helper_is_ahead(void)
{
  hr_table_memory memory;
  void *mapped;
  hr_table_memory_init(&memory);
  CHECK_OK(hr_table_memory_map(&memory, HR_ARRAY_ROWS, 64 * MIB, "rows", &mapped));
  uint8_t *bytes = mapped;
  size_t used = 0;
  bytes[37 * MIB] = bytes[38 * MIB] = 7; /* sooner than it was told */
  for (; used < 32 * MIB; used += 4096) {
    CHECK(bytes[used] == 0);
    bytes[used] = 1;
    hr_table_memory_use(&memory, HR_ARRAY_ROWS, used);
  }
  if (!memory.can_have_helper)
    hr_test_skip("thread", "no thread for a helper");
  CHECK(becomes_resident(bytes + 37 * MIB + MIB / 2));
  CHECK(bytes[37 * MIB] == 7 && bytes[38 * MIB] == 7);
  bytes[37 * MIB] = bytes[38 * MIB] = 0;
  CHECK(!is_resident(bytes + 50 * MIB));
  for (; used < 64 * MIB; used += 4096) { /* to the end of the array, and no further */
    CHECK(bytes[used] == 0);
    bytes[used] = 1;
    hr_table_memory_use(&memory, HR_ARRAY_ROWS, used);
  }
  for (size_t i = 0; i < 64 * MIB; i += 4096)
    CHECK(bytes[i] == 1);
  hr_table_memory_fini(&memory);
}

/* A split touches a whole segment of the index at once: rows wait until there is one. */
static void the_index_comes_first(void)
{
  hr_table_memory memory;
  void *rows, *index;
  hr_table_memory_init(&memory);
  CHECK_OK(hr_table_memory_map(&memory, HR_ARRAY_ROWS, 1024 * MIB, "rows", &rows));
  CHECK_OK(hr_table_memory_map(&memory, HR_ARRAY_INDEX, 1024 * MIB, "index", &index));
  hr_table_memory_use(&memory, HR_ARRAY_INDEX, 512 * MIB);
  hr_table_memory_use(&memory, HR_ARRAY_ROWS, 512 * MIB);
  if (!memory.can_have_helper)
    hr_test_skip("thread", "no thread for a helper");
  CHECK(becomes_resident((uint8_t *)rows + 544 * MIB)); /* the first that the rows' user will not have come to */
  CHECK(is_resident((uint8_t *)index + 576 * MIB - 4096));
  hr_table_memory_fini(&memory);
}

/* Uses the array from one size to another as a table does. What is new reads as 0. */
static void grow(hr_table_memory *memory, uint8_t *bytes, size_t from, size_t to)
{
  for (size_t used = from; used < to; used += 4096) {
    CHECK(bytes[used] == 0);
    bytes[used] = 1;
    hr_table_memory_use(memory, HR_ARRAY_ROWS, used);
  }
}

static bool is_any_resident(uint8_t *bytes, size_t from, size_t to)
{
  while (from < to && !is_resident(bytes + from))
    from += MIB;
  return from < to;
}

static bool goes_with_next_calls(hr_table_memory *memory, uint8_t *bytes, size_t used)
{
  for (int i = 0; i < 2000 && is_any_resident(bytes, used, 64 * MIB); i++) {
    hr_table_memory_shrink(memory, HR_ARRAY_ROWS, used, used);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
  return is_resident(bytes + used - MIB) && !is_any_resident(bytes, used, 64 * MIB);
}

/* Memory is short then: rows would have to leave for what is touched ahead. */
static void where_memory_went_back_nothing_is_touched_ahead(void)
{
  hr_table_memory memory;
  void *mapped;
  hr_table_memory_init(&memory);
  CHECK_OK(hr_table_memory_map(&memory, HR_ARRAY_ROWS, 64 * MIB, "rows", &mapped));
  uint8_t *bytes = mapped;
  grow(&memory, bytes, 0, 32 * MIB);
  if (!memory.can_have_helper)
    hr_test_skip("thread", "no thread for a helper");
  CHECK(becomes_resident(bytes + 37 * MIB + MIB / 2));
  hr_table_memory_shrink(&memory, HR_ARRAY_ROWS, 8 * MIB, 32 * MIB);
  CHECK(memory.has_helper); /* and was not waited for */
  bytes[37 * MIB] = 1;      /* as the helper may just now */
  CHECK(goes_with_next_calls(&memory, bytes, 8 * MIB));
  grow(&memory, bytes, 8 * MIB, 24 * MIB);
  nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL); /* to see what must not happen */
  CHECK_EQ(hr_table_memory_ahead(&memory, HR_ARRAY_ROWS, 24 * MIB), 0);
  CHECK(goes_with_next_calls(&memory, bytes, 24 * MIB));
  for (size_t i = 0; i < 24 * MIB; i += 4096)
    CHECK(bytes[i] == 1);
  hr_table_memory_fini(&memory);
}

/* It may have much to do when its table is destroyed. */
static void the_end_does_not_wait_for_it(void)
{
  for (size_t i = 0; i < 20; i++) {
    hr_table_memory memory;
    void *bytes;
    hr_table_memory_init(&memory);
    CHECK_OK(hr_table_memory_map(&memory, HR_ARRAY_KEYS, 512 * MIB, "keys", &bytes));
    hr_table_memory_use(&memory, HR_ARRAY_KEYS, 256 * MIB + i);
    hr_table_memory_fini(&memory);
  }
}

int main(void)
{
  RUN(sizes_that_do_not_fit_are_refused);
  RUN(little_use_needs_no_helper);
  RUN(the_end_does_not_wait_for_it);
  RUN(the_index_comes_first);
  RUN(a_helper_is_ahead); /* this and those around it may be skipped */
  RUN(where_memory_went_back_nothing_is_touched_ahead);
  return 0;
}
