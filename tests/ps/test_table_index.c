/* The index against a plain model, with each variant of the probe: test_ps_table_index scalar|avx2|avx512. */
#include <hr/hash.h>
#include <hr/optimizer.h>
#include <hr/random.h>

#include "hr_test.h"
#include "table_state.h"

#define UNIVERSE 40000u
#define BATCH 1000u
#define SEED 77u

static hr_probe_fn probe_fn;
static bool memory_is_out;

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
  return memory_is_out ? NULL : __real_aligned_alloc(alignment, size);
}

/* What the index should hold: a slot per key of a fixed universe. */
typedef struct model {
  uint64_t keys[UNIVERSE];
  bool is_there[UNIVERSE];
  uint32_t rows[UNIVERSE], clocks[UNIVERSE];
  uint32_t row_count;
} model;

typedef struct subject {
  hr_table_memory memory;
  hr_index index;
} subject;

static void open_index(subject *s, uint64_t row_count_max)
{
  hr_table_memory_init(&s->memory);
  CHECK_OK(hr_index_init(&s->index, SEED, row_count_max, &s->memory));
}

static void close_index(subject *s)
{
  hr_index_fini(&s->index);
  hr_table_memory_fini(&s->memory);
}

static void insert(subject *s, model *m, uint32_t pick)
{
  hr_entry *entry = NULL;
  if (m->is_there[pick])
    return;
  CHECK_OK(hr_index_insert(&s->index, hr_key_hash(m->keys[pick], SEED), m->keys[pick], m->row_count, &entry));
  CHECK(entry->row == m->row_count && entry->clock == 0);
  m->is_there[pick] = true;
  m->rows[pick] = m->row_count++;
}

static void take_out(subject *s, model *m, uint32_t pick)
{
  if (!m->is_there[pick])
    return;
  hr_index_remove(&s->index, hr_key_hash(m->keys[pick], SEED), m->keys[pick]);
  m->is_there[pick] = false;
  m->clocks[pick] = 0;
}

/* Every key that is there is found, and no other. */
static void check_all(const subject *s, const model *m)
{
  for (uint32_t i = 0; i < UNIVERSE; i++) {
    const hr_entry *entry = hr_index_find(&s->index, hr_key_hash(m->keys[i], SEED), m->keys[i]);
    CHECK_MSG((entry != NULL) == m->is_there[i], "key %llu", (unsigned long long)m->keys[i]);
    if (entry)
      CHECK(entry->row == m->rows[i] && entry->clock == m->clocks[i]);
  }
}

/* Looks for a batch with duplicates. If `changes`, clocks move and keys are put in between the blocks, with splits. */
static void check_batch(subject *s, model *m, hr_rng *rng, size_t batch, bool changes)
{
  static uint64_t keys[BATCH];
  static uint32_t picks[BATCH];
  hr_entry *entries[HR_PROBE_BLOCK];
  for (size_t i = 0; i < batch; i++) {
    picks[i] = (uint32_t)hr_rng_below(rng, i % 3 ? UNIVERSE : 64);
    keys[i] = m->keys[picks[i]];
  }
  hr_probe probe = hr_probe_begin(&s->index, keys, batch);
  size_t done = 0;
  for (size_t count; (count = probe_fn(&probe, entries)) > 0; done += count) {
    CHECK(count == HR_PROBE_BLOCK || done + count == batch);
    for (size_t i = 0; i < count; i++) {
      uint32_t pick = picks[done + i];
      CHECK_MSG((entries[i] != NULL) == m->is_there[pick], "key %llu", (unsigned long long)m->keys[pick]);
      if (!entries[i])
        continue;
      CHECK(entries[i]->row == m->rows[pick] && entries[i]->clock == m->clocks[pick]);
      CHECK(entries[i] == hr_index_find(&s->index, hr_key_hash(m->keys[pick], SEED), m->keys[pick]));
      entries[i]->clock += changes;
      m->clocks[pick] += changes;
    }
    for (size_t i = 0; changes && i < 100; i++)
      insert(s, m, (uint32_t)hr_rng_below(rng, UNIVERSE));
  }
  CHECK_EQ(done, batch);
}

typedef uint64_t (*key_of_fn)(uint64_t i, hr_rng *rng);

static uint64_t counted(uint64_t i, hr_rng *rng)
{
  (void)rng;
  return i - 1; /* 2^64-1, 0, 1, ... */
}

static uint64_t scattered(uint64_t i, hr_rng *rng)
{
  return i < 2 ? i - 1 : hr_rng_next(rng);
}

static uint64_t equal_low_bits(uint64_t i, hr_rng *rng)
{
  (void)rng;
  return i << 44;
}

static uint64_t equal_high_bits(uint64_t i, hr_rng *rng)
{
  (void)rng;
  return UINT64_MAX - i;
}

/* All are at home in three buckets, of which the last is followed by the first of its segment. */
static uint64_t crowded(uint64_t i, hr_rng *rng)
{
  for (;;) {
    uint64_t key = hr_rng_next(rng), home = hr_key_hash(key, SEED) % HR_SEGMENT_BUCKETS;
    if (i >= UNIVERSE / 20 || home == 0 || home >= HR_SEGMENT_BUCKETS - 2)
      return key;
  }
}

static void the_index_does_what_a_plain_model_does(void)
{
  static model m;
  const key_of_fn patterns[] = {counted, scattered, equal_low_bits, equal_high_bits, crowded};
  hr_rng rng = {hr_test_seed(5)};
  for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
    memset(&m, 0, sizeof m);
    for (uint32_t i = 0; i < UNIVERSE; i++)
      m.keys[i] = patterns[p](i, &rng);
    subject s;
    open_index(&s, UNIVERSE);
    check_batch(&s, &m, &rng, BATCH, false); /* an empty index */
    while (m.row_count < UNIVERSE * 9 / 10)
      check_batch(&s, &m, &rng, 1 + hr_rng_below(&rng, BATCH), true);
    CHECK(s.index.split_count > 8);
    for (uint32_t i = 0; i < UNIVERSE; i++)
      insert(&s, &m, i);
    for (size_t batch = 0; batch < 3 * HR_PROBE_BLOCK; batch++)
      check_batch(&s, &m, &rng, batch, false);
    check_batch(&s, &m, &rng, BATCH, true);
    for (size_t round = 0; round < 20; round++) { /* down to a few, and up again */
      for (size_t i = 0; i < UNIVERSE; i++)
        take_out(&s, &m, (uint32_t)hr_rng_below(&rng, UNIVERSE));
      check_all(&s, &m);
      for (size_t i = 0; i < round * UNIVERSE / 10; i++)
        insert(&s, &m, (uint32_t)hr_rng_below(&rng, UNIVERSE));
      check_batch(&s, &m, &rng, BATCH, false);
    }
    for (uint32_t i = 0; i < UNIVERSE; i++)
      take_out(&s, &m, i);
    check_all(&s, &m);
    close_index(&s);
  }
}

/* The index never says that it holds more than it does, and takes little of it. */
static void memory_grows_with_the_keys(void)
{
  enum { COUNT = 300000 };
  subject s;
  open_index(&s, COUNT);
  double sum = 0;
  int samples = 0;
  for (uint32_t row = 0; row < COUNT; row++) {
    hr_entry *entry;
    CHECK_OK(hr_index_insert(&s.index, hr_key_hash(row, SEED), row, row, &entry));
    if (row > COUNT / 2 && row % 1000 == 0) {
      double bytes = (double)hr_index_memory_bytes(&s.index) / (row + 1);
      CHECK_MSG(bytes > 16 && bytes < 33, "%g bytes a key at %u keys", bytes, row);
      sum += bytes;
      samples++;
    }
  }
  CHECK_MSG(sum / samples < 31, "%g bytes a key", sum / samples);
  close_index(&s);
}

/* A split that cannot be made is refused, and what was there is still found; once there is memory it goes on. */
static void memory_runs_out_and_comes_back(void)
{
  subject s;
  open_index(&s, 1 << 20);
  hr_entry *entry;
  uint32_t row = 0, refusals = 0;
  for (uint64_t key = 0; row < 30000; key++) {
    uint64_t hash = hr_key_hash(key, SEED);
    memory_is_out = true;
    hotrow_status status = hr_index_insert(&s.index, hash, key, row, &entry);
    memory_is_out = false;
    if (status != HOTROW_OK) {
      CHECK_FAILS(status, HOTROW_ERR_NO_MEMORY, "table directory");
      CHECK(hr_index_find(&s.index, hash, key) == NULL);
      for (uint64_t k = 0; k < key; k++)
        CHECK_EQ(hr_index_find(&s.index, hr_key_hash(k, SEED), k)->row, k);
      refusals++;
      CHECK_OK(hr_index_insert(&s.index, hash, key, row, &entry));
    }
    row++;
  }
  CHECK(refusals >= 3);
  close_index(&s);
}

/* Segments run out only if keys were chosen to make it so; here there is room for few. */
static void segments_run_out(void)
{
  subject s;
  open_index(&s, 0);
  s.index.segment_count_max = 8;
  hr_entry *entry;
  hotrow_status status = HOTROW_OK;
  uint64_t key = 0;
  for (; status == HOTROW_OK; key++)
    status = hr_index_insert(&s.index, hr_key_hash(key, SEED), key, (uint32_t)key, &entry);
  CHECK_FAILS(status, HOTROW_ERR_LIMIT, "more bits");
  for (uint64_t k = 0; k < 2 * key; k++) {
    entry = hr_index_find(&s.index, hr_key_hash(k, SEED), k);
    CHECK(k + 1 < key ? entry && entry->row == k : !entry);
  }
  close_index(&s);
}

/* A whole table with this variant: rows are created, found and pushed to. */
static void a_table_uses_the_variant(void)
{
  enum { COUNT = 20000 };
  static uint64_t keys[COUNT];
  static uint32_t rows[COUNT], clocks[COUNT];
  static float grads[COUNT];
  hr_table_desc desc = {.seed = 42, .dim = 1, .segment_count = 1, .name = "t", .segments[0].dim = 1};
  const hotrow_optimizer optimizer = {.kind = HOTROW_SGD};
  const hotrow_initializer initializer = {0};
  CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  CHECK_OK(hr_initializer_resolve(&initializer, 1, &desc.segments[0].initializer));
  hr_table *table = NULL;
  CHECK_OK(hr_table_create(&desc, COUNT, &table));
  table->probe = probe_fn;
  for (uint64_t i = 0; i < COUNT; i++)
    keys[i] = hr_mix64(i / 2); /* each twice, next to each other: within a block the first creates it */
  CHECK_OK(hr_table_find_or_create(table, keys, COUNT, rows, clocks));
  for (uint32_t i = 0; i < COUNT; i++)
    CHECK_EQ(rows[i], i / 2);
  for (uint64_t i = 0; i < COUNT; i++)
    keys[i] = hr_mix64(i);
  hr_section push = {
      .kind = HR_SECTION_PUSH, .lr_scale = 1, .key_count = COUNT, .dim = 1, .keys = keys, .grads = grads};
  CHECK_OK(hr_table_push(table, &push, NULL));
  hr_table_find(table, keys, COUNT, rows, clocks);
  for (uint32_t i = 0; i < COUNT; i++)
    CHECK(rows[i] == i && clocks[i] == 1);
  keys[COUNT - 1] = 12345; /* one row too many: no clock has moved */
  CHECK_FAILS(hr_table_push(table, &push, NULL), HOTROW_ERR_LIMIT, "row_count_max");
  hr_table_find(table, keys, COUNT, rows, clocks);
  CHECK(rows[COUNT - 1] == HR_ROW_NONE);
  for (uint32_t i = 0; i + 1 < COUNT; i++)
    CHECK(rows[i] == i && clocks[i] == 1);
  hr_table_destroy(table);
}

int main(int argc, char **argv)
{
  int kind = 0;
  while (argc == 2 && kind < HR_PROBE_KIND_COUNT && strcmp(hr_probe_name((hr_probe_kind)kind), argv[1]) != 0)
    kind++;
  CHECK_MSG(argc == 2 && kind < HR_PROBE_KIND_COUNT, "usage: %s scalar|avx2|avx512", argv[0]);
  probe_fn = hr_probe_variant((hr_probe_kind)kind);
  if (!probe_fn)
    hr_test_skip(argv[1], "this machine lacks %s", argv[1]);
  RUN(memory_runs_out_and_comes_back);
  RUN(segments_run_out);
  RUN(memory_grows_with_the_keys);
  RUN(the_index_does_what_a_plain_model_does);
  RUN(a_table_uses_the_variant);
  return 0;
}
