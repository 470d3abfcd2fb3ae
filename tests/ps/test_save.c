#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hr/hash.h>
#include <hr/optimizer.h>
#include <hr/random.h>
#include <hr/route.h>

#include "hr_test.h"
#include "save.h"
#include "save_format.h"

#define TABLES 3u
#define KEYS 1500u
#define FLOATS_MAX 32u

static const struct {
  const char *name;
  uint32_t dim;
  hotrow_optimizer_kind kind;
  uint64_t key_count;
  hotrow_dtype dtype;
} shapes[TABLES] = {{"user.id", 5, HOTROW_ADAM, KEYS, HOTROW_F32},
                    {"wide", 3, HOTROW_FTRL, KEYS, HOTROW_F16},
                    {"empty", 16, HOTROW_ADAGRAD, 0, HOTROW_BF16}};

typedef struct shard {
  uint32_t index, count;
  size_t table_count;
  hr_table *tables[TABLES];
} shard;

static hr_table_desc describe(size_t t)
{
  hr_table_desc desc = {.seed = 9, .id = (uint32_t)t, .dim = shapes[t].dim, .segment_count = 1};
  desc.segments[0].dim = desc.dim;
  desc.storage_dtype = (uint16_t)shapes[t].dtype;
  snprintf(desc.name, sizeof desc.name, "%s", shapes[t].name);
  hotrow_optimizer optimizer = {.kind = shapes[t].kind};
  hotrow_initializer initializer = {0};
  CHECK_OK(hr_optimizer_resolve(&optimizer, &desc.segments[0].optimizer));
  CHECK_OK(hr_initializer_resolve(&initializer, desc.dim, &desc.segments[0].initializer));
  if (optimizer.kind == HOTROW_FTRL) { /* a weight under FTRL and a vector under another optimizer */
    desc.segment_count = 2;
    desc.segments[1] = describe(0).segments[0];
    desc.segments[1].dim = desc.dim - 1;
    desc.segments[0].dim = 1;
  }
  return desc;
}

static uint64_t key_at(size_t i)
{
  return i < 2 ? i - 1ull : hr_mix64(i);
}

/* What a key's row holds: any that its table can keep do, as long as they are the same when asked again. */
static uint32_t expected_row(size_t t, uint64_t key, uint64_t token, float *row)
{
  hr_rng rng = {key ^ hr_mix64(token + t)};
  for (size_t i = 0; i < FLOATS_MAX; i++)
    row[i] = hr_rng_unit(&rng) - 0.5f;
  for (size_t i = 0; i < shapes[t].dim && shapes[t].dtype != HOTROW_F32; i++)
    row[i] = roundf(row[i] * 256.0f) / 256.0f;
  return (uint32_t)hr_rng_next(&rng);
}

static hr_table *make_table(size_t t, const hr_table_desc *desc, const shard *s, uint64_t token)
{
  hr_table *table = NULL;
  CHECK_OK(hr_table_create(desc, 0, &table));
  for (size_t i = 0; i < shapes[t].key_count; i++) {
    float row[FLOATS_MAX];
    uint64_t key = key_at(i);
    uint32_t clock = expected_row(t, key, token, row);
    if (hr_shard_of(hr_key_hash(key, hr_table_get_seed(table)), s->count) == s->index)
      CHECK_OK(hr_table_restore_row(table, key, clock, row));
  }
  return table;
}

static void make_shard(shard *s, uint32_t index, uint32_t count, uint64_t token)
{
  *s = (shard){index, count, TABLES, {0}};
  for (size_t t = 0; t < TABLES; t++) {
    hr_table_desc desc = describe(t);
    s->tables[t] = make_table(t, &desc, s, token);
  }
}

static void empty_shard(shard *s)
{
  for (size_t t = 0; t < s->table_count; t++)
    hr_table_destroy(s->tables[t]);
  s->table_count = 0;
}

static hr_save save_called(const char *name, uint64_t token)
{
  hr_save save = {.token = token};
  snprintf(save.name, sizeof save.name, "%s", name);
  return save;
}

static hotrow_status write_shard(const char *name, uint64_t token, const shard *s)
{
  hr_save_part part = {.save = save_called(name, token),
                       .save_dir = hr_test_tmpdir(),
                       .shard_index = s->index,
                       .shard_count = s->count,
                       .epoch = 4};
  return hr_save_write(&part, s->tables, s->table_count);
}

static void write_part(const char *name, uint32_t index, uint32_t count, uint64_t token)
{
  shard s;
  make_shard(&s, index, count, token);
  CHECK_OK(write_shard(name, token, &s));
  empty_shard(&s);
}

static hotrow_status load_table(const hr_table_desc *desc, void *context, hr_table **table_p)
{
  shard *s = context;
  HOTROW_TRY(hr_table_create(desc, 0, table_p));
  s->tables[s->table_count++] = *table_p;
  return HOTROW_OK;
}

static hotrow_status load_shard(const char *name, shard *s, uint32_t index, uint32_t count)
{
  *s = (shard){.index = index, .count = count};
  hr_path path;
  HOTROW_TRY(hr_path_format(&path, "%s/%s", hr_test_tmpdir(), name));
  hr_save_origin origin;
  HOTROW_TRY(hr_save_load(path.text, index, count, load_table, NULL, s, (hr_load_progress){0}, &origin));
  CHECK_EQ(origin.restored.token, 0);
  return HOTROW_OK;
}

/* Loads at shard 0 of 1 and expects to be refused. */
static void refused(int line, const char *name, hotrow_status status, const char *words)
{
  shard s;
  hotrow_status actual = load_shard(name, &s, 0, 1);
  hr_test_check_fails(__FILE__, line, name, actual, status, words);
  empty_shard(&s);
}
#define REFUSED(name, status, words) refused(__LINE__, name, status, words)

static hr_path file_of(const char *name, const char *part, const char *file)
{
  hr_path path;
  CHECK_OK(hr_path_format(&path, "%s/%s/%s/%s", hr_test_tmpdir(), name, part, file));
  return path;
}

static size_t read_whole(const char *path, uint8_t *bytes, size_t size_max)
{
  FILE *file = fopen(path, "rb");
  CHECK_MSG(file, "%s", path);
  size_t size = fread(bytes, 1, size_max, file);
  CHECK(size < size_max);
  fclose(file);
  return size;
}

static void write_whole(const char *path, const uint8_t *bytes, size_t size)
{
  FILE *file = fopen(path, "wb");
  CHECK_MSG(file && fwrite(bytes, 1, size, file) == size, "%s", path);
  fclose(file);
}

static uint8_t original[1 << 20], changed[1 << 20];

static void check_loaded(const shard *s, uint64_t token)
{
  CHECK_EQ(s->table_count, TABLES);
  for (size_t t = 0; t < TABLES; t++) {
    hr_table_desc expected = describe(t);
    const hr_table_desc *desc = hr_table_get_desc(s->tables[t]);
    CHECK(hr_table_desc_matches(desc, &expected));
    const hotrow_row_layout *layout = hr_table_get_layout(s->tables[t]);
    size_t owned = 0;
    for (size_t i = 0; i < shapes[t].key_count; i++) {
      float row[FLOATS_MAX], value[FLOATS_MAX], states[FLOATS_MAX];
      uint64_t key = key_at(i);
      uint32_t at, clock, expected_clock = expected_row(t, key, token, row);
      hr_table_find(s->tables[t], &key, 1, &at, &clock);
      bool is_own = hr_shard_of(hr_key_hash(key, hr_table_get_seed(s->tables[t])), s->count) == s->index;
      CHECK_EQ(at != HR_ROW_NONE, is_own);
      if (!is_own)
        continue;
      owned++;
      CHECK_EQ(clock, expected_clock);
      hr_table_gather(s->tables[t], HOTROW_F32, &at, 1, value, NULL);
      hr_table_gather_states(s->tables[t], &at, 1, states);
      CHECK(memcmp(value, row, layout->dim * sizeof(float)) == 0);
      CHECK(memcmp(states, row + layout->dim, layout->state_dim * sizeof(float)) == 0);
    }
    CHECK_EQ(desc->row_count, owned);
  }
}

static void a_save_loads_at_any_shard_count(void)
{
  static const uint32_t counts[5][2] = {{1, 3}, {3, 2}, {3, 1}, {2, 2}, {2, 7}};
  for (size_t c = 0; c < 5; c++) {
    char name[32];
    snprintf(name, sizeof name, "from-%u-to-%u", counts[c][0], counts[c][1]);
    for (uint32_t i = 0; i < counts[c][0]; i++)
      write_part(name, i, counts[c][0], 100 + c);
    for (uint32_t i = 0; i < counts[c][1]; i++) {
      shard s;
      CHECK_OK(load_shard(name, &s, i, counts[c][1]));
      check_loaded(&s, 100 + c);
      empty_shard(&s);
    }
  }
}

static void every_byte_of_a_manifest_counts(void)
{
  write_part("manifest", 0, 2, 1);
  write_part("manifest", 1, 2, 1);
  hr_path path = file_of("manifest", "shard-1-of-2", "MANIFEST");
  size_t size = read_whole(path.text, original, sizeof original);
  CHECK_EQ(size, sizeof(hr_manifest_header) + TABLES * sizeof(hr_manifest_table) + 8);
  hr_rng rng = {hr_test_seed(3)};
  for (size_t i = 0; i < size; i++) {
    memcpy(changed, original, size);
    changed[i] ^= (uint8_t)(1 + hr_rng_below(&rng, 255));
    write_whole(path.text, changed, size);
    bool is_version = i >= HR_SAVE_MAGIC_BYTES && i < HR_SAVE_MAGIC_BYTES + 4;
    REFUSED("manifest", is_version ? HOTROW_ERR_VERSION : HOTROW_ERR_CORRUPT, "shard-1-of-2/MANIFEST");
  }
  for (size_t shorter = 0; shorter < size; shorter += 7) {
    write_whole(path.text, original, shorter);
    REFUSED("manifest", HOTROW_ERR_CORRUPT, "shard-1-of-2/MANIFEST");
  }
  memcpy(changed, original, size);
  write_whole(path.text, changed, size + 1);
  REFUSED("manifest", HOTROW_ERR_CORRUPT, "shard-1-of-2/MANIFEST");
  write_whole(path.text, changed, sizeof changed);
  REFUSED("manifest", HOTROW_ERR_CORRUPT, "cannot be a manifest");
  write_whole(path.text, original, size);
  shard s;
  CHECK_OK(load_shard("manifest", &s, 0, 1));
  empty_shard(&s);
}

/* Rewrites a manifest with one field changed and a checksum that fits: what a hostile writer could bring. */
static void forge(const char *name, size_t offset, const void *bytes, size_t size)
{
  hr_path path = file_of(name, "shard-0-of-1", "MANIFEST");
  size_t file_size = read_whole(path.text, changed, sizeof changed);
  memcpy(changed + offset, bytes, size);
  uint64_t hash = hr_hash_bytes(changed, file_size - sizeof hash);
  memcpy(changed + file_size - sizeof hash, &hash, sizeof hash);
  write_whole(path.text, changed, file_size);
}

static void a_forged_manifest_leads_nowhere(void)
{
  const size_t table = sizeof(hr_manifest_header), desc = table + offsetof(hr_manifest_table, desc);
  const uint32_t zero = 0, one = 1, two = 2, many = 1u << 20, as_bytes = HOTROW_I8 << 16 | 1, segments = 4096;
  const uint64_t huge = UINT64_MAX / 16;
  const struct {
    size_t offset;
    const void *bytes;
    size_t size;
    hotrow_status status;
    const char *words;
  } forgeries[] = {
      {0, "GARBAGE!", 8, HOTROW_ERR_CORRUPT, "not a file of a hotrow save"},
      {offsetof(hr_manifest_header, version), &two, 4, HOTROW_ERR_VERSION, "format version 2, this build reads 4"},
      {offsetof(hr_manifest_header, table_count), &two, 4, HOTROW_ERR_CORRUPT, "do not hold 2 tables"},
      {offsetof(hr_manifest_header, table_count), &many, 4, HOTROW_ERR_CORRUPT, "do not hold 1048576 tables"},
      {offsetof(hr_manifest_header, file_count), &one, 4, HOTROW_ERR_CORRUPT, "do not hold 3 tables and 1 files"},
      {offsetof(hr_manifest_header, file_count), &many, 4, HOTROW_ERR_CORRUPT, "and 1048576 files"},
      {offsetof(hr_manifest_header, reserved), &one, 4, HOTROW_ERR_CORRUPT, "reserved field 1"},
      {offsetof(hr_manifest_header, shard_index), &two, 4, HOTROW_ERR_CORRUPT, "is of shard 2 of 1"},
      {offsetof(hr_manifest_header, shard_count), &two, 4, HOTROW_ERR_CORRUPT, "is of shard 0 of 2"},
      {desc + offsetof(hr_table_desc, name), "../../x", 8, HOTROW_ERR_CORRUPT, "MANIFEST"},
      {desc + offsetof(hr_table_desc, dim), &zero, 4, HOTROW_ERR_CORRUPT, "dim 0"},
      {desc + offsetof(hr_table_desc, dim), &many, 4, HOTROW_ERR_CORRUPT, "dim 1048576"},
      {desc + offsetof(hr_table_desc, row_count), &huge, 8, HOTROW_ERR_CORRUPT, "do not make a file"},
      {desc + offsetof(hr_table_desc, segment_count), &zero, 4, HOTROW_ERR_CORRUPT, "user.id: a row of 0 segments"},
      {desc + offsetof(hr_table_desc, segment_count), &segments, 2, HOTROW_ERR_CORRUPT, "a row of 4096 segments"},
      {desc + offsetof(hr_table_desc, segment_count), &as_bytes, 4, HOTROW_ERR_CORRUPT, "storage_dtype 2"},
      {desc + offsetof(hr_table_desc, segments[0].dim), &many, 4, HOTROW_ERR_CORRUPT, "segment 0: dim 1048576"},
      {desc + offsetof(hr_table_desc, segments[0].optimizer), &many, 4, HOTROW_ERR_CORRUPT, "optimizer kind 1048576"},
      {desc + offsetof(hr_table_desc, segments[0].optimizer.lr), &zero, 4, HOTROW_ERR_INVALID, "defaults left"},
      {table + offsetof(hr_manifest_table, file_size), &huge, 8, HOTROW_ERR_CORRUPT, "do not make a file"},
      {table + offsetof(hr_manifest_table, file_hash), &huge, 8, HOTROW_ERR_CORRUPT, "user.id.rows: its bytes"},
      {offsetof(hr_manifest_header, token), &huge, 8, HOTROW_ERR_CORRUPT, "user.id.rows: of save"},
  };
  for (size_t i = 0; i < sizeof forgeries / sizeof *forgeries; i++) {
    write_part("forged", 0, 1, 1);
    forge("forged", forgeries[i].offset, forgeries[i].bytes, forgeries[i].size);
    REFUSED("forged", forgeries[i].status, forgeries[i].words);
  }
}

static void flipped_bytes_of_rows_are_found(void)
{
  write_part("rows", 0, 2, 1);
  write_part("rows", 1, 2, 1);
  hr_rng rng = {hr_test_seed(4)};
  for (size_t round = 0; round < 200; round++) {
    const char *part = round & 1 ? "shard-1-of-2" : "shard-0-of-2";
    char file[40], words[80];
    snprintf(file, sizeof file, "%s.rows", shapes[round / 2 % TABLES].name);
    snprintf(words, sizeof words, "%s/%s", part, file);
    hr_path path = file_of("rows", part, file);
    size_t size = read_whole(path.text, original, sizeof original), at = hr_rng_below(&rng, size);
    memcpy(changed, original, size);
    changed[at] ^= (uint8_t)(1 + hr_rng_below(&rng, 255));
    write_whole(path.text, changed, size);
    bool is_version = at >= HR_SAVE_MAGIC_BYTES && at < HR_SAVE_MAGIC_BYTES + 4;
    REFUSED("rows", is_version ? HOTROW_ERR_VERSION : HOTROW_ERR_CORRUPT, words);
    write_whole(path.text, original, size);
  }
  hr_path path = file_of("rows", "shard-0-of-2", "wide.rows");
  size_t size = read_whole(path.text, original, sizeof original);
  const size_t sizes[4] = {0, 10, size - 1, size + 1};
  for (size_t i = 0; i < 4; i++) {
    write_whole(path.text, original, sizes[i]);
    REFUSED("rows", HOTROW_ERR_CORRUPT, "shard-0-of-2/wide.rows");
  }
}

static void what_is_missing_is_named(void)
{
  REFUSED("nowhere", HOTROW_ERR_NOT_FOUND, "nowhere: no such save");
  for (uint32_t i = 0; i < 3; i++)
    write_part("missing", i, 3, 1);
  hr_path rows = file_of("missing", "shard-2-of-3", "wide.rows");
  size_t size = read_whole(rows.text, original, sizeof original);
  CHECK(unlink(rows.text) == 0);
  REFUSED("missing", HOTROW_ERR_NOT_FOUND, "shard-2-of-3/wide.rows: missing");
  write_whole(rows.text, original, size);
  hr_path part = file_of("missing", "shard-1-of-3", ""), aside = file_of("missing", "shard-1-of-3.old", "");
  CHECK(rename(part.text, aside.text) == 0);
  REFUSED("missing", HOTROW_ERR_NOT_FOUND, "shard-1-of-3/MANIFEST: missing");
  for (uint32_t i = 0; i < 3; i += 2) {
    char name[32];
    snprintf(name, sizeof name, "shard-%u-of-3", i);
    part = file_of("missing", name, "");
    snprintf(name, sizeof name, "shard-%u-of-3.tmp-1", i);
    aside = file_of("missing", name, "");
    CHECK(rename(part.text, aside.text) == 0);
  }
  REFUSED("missing", HOTROW_ERR_NOT_FOUND, "holds no part");
}

static void parts_that_do_not_belong_together_are_refused(void)
{
  write_part("mixed", 0, 2, 1);
  write_part("mixed", 1, 2, 2);
  REFUSED("mixed", HOTROW_ERR_CORRUPT, "shard-1-of-2/MANIFEST: of save 0000000000000002");

  write_part("foreign", 0, 1, 1); /* the right size, another save's bytes */
  write_part("foreign-too", 0, 1, 2);
  hr_path rows = file_of("foreign", "shard-0-of-1", "wide.rows");
  hr_path other = file_of("foreign-too", "shard-0-of-1", "wide.rows");
  write_whole(rows.text, original, read_whole(other.text, original, sizeof original));
  REFUSED("foreign", HOTROW_ERR_CORRUPT, "wide.rows: of save 0000000000000002");

  write_part("copied", 0, 2, 1);
  hr_path to = file_of("copied", "shard-1-of-2", ""), from = file_of("copied", "shard-0-of-2", "");
  CHECK(rename(from.text, to.text) == 0);
  write_part("copied", 0, 2, 1);
  REFUSED("copied", HOTROW_ERR_CORRUPT, "shard-1-of-2/MANIFEST: is of shard 0 of 2");

  write_part("counts", 0, 2, 1);
  write_part("counts-3", 0, 3, 1);
  from = file_of("counts-3", "shard-0-of-3", ""), to = file_of("counts", "shard-0-of-3", "");
  CHECK(rename(from.text, to.text) == 0);
  REFUSED("counts", HOTROW_ERR_CORRUPT, "of 2 ");
}

static void tables_must_be_described_alike(void)
{
  for (int difference = 0; difference < 7; difference++) {
    char name[32];
    snprintf(name, sizeof name, "alike-%d", difference);
    write_part(name, 0, 2, 1);
    shard s;
    make_shard(&s, 1, 2, 1);
    hr_table_desc desc = describe(1);
    desc.seed += difference == 0;
    desc.dim += difference == 1;
    desc.segments[0].dim += difference == 1;
    desc.segments[0].optimizer.lr *= difference == 2 ? 2.0f : 1.0f;
    desc.segments[0].initializer.scale *= difference == 3 ? 2.0f : 1.0f;
    desc.name[0] = difference == 4 ? 'W' : 'w';
    desc.announce_step = 7; /* no difference */
    hr_table_destroy(s.tables[1]);
    s.tables[1] = make_table(1, &desc, &s, 1);
    size_t table_count = s.table_count;
    s.table_count -= difference == 5;
    if (difference == 6) { /* another order and other ids are no difference */
      hr_table *first = s.tables[0];
      s.tables[0] = s.tables[1];
      s.tables[1] = first;
    }
    CHECK_OK(write_shard(name, 1, &s));
    s.table_count = table_count;
    empty_shard(&s);
    if (difference < 6) {
      REFUSED(name, HOTROW_ERR_CORRUPT, "shard-1-of-2/MANIFEST: ");
      continue;
    }
    CHECK_OK(load_shard(name, &s, 0, 1));
    check_loaded(&s, 1);
    empty_shard(&s);
  }
}

static void no_part_may_have_more_tables(void)
{
  write_part("more", 1, 2, 1);
  shard s;
  make_shard(&s, 0, 2, 1);
  s.table_count--;
  CHECK_OK(write_shard("more", 1, &s));
  s.table_count++;
  empty_shard(&s);
  REFUSED("more", HOTROW_ERR_CORRUPT, "shard-1-of-2/MANIFEST: has 3 tables");
}

static size_t entry_count(const char *name)
{
  hr_path path = file_of(name, "", "");
  DIR *dir = opendir(path.text);
  CHECK(dir);
  size_t count = 0;
  for (struct dirent *entry; (entry = readdir(dir));)
    count += entry->d_name[0] != '.';
  closedir(dir);
  return count;
}

static void a_part_replaces_its_older_self(void)
{
  write_part("again", 0, 1, 1);
  write_part("again", 0, 1, 2);
  CHECK_EQ(entry_count("again"), 1);
  shard s;
  CHECK_OK(load_shard("again", &s, 0, 1));
  check_loaded(&s, 2);
  empty_shard(&s);
}

static void a_save_that_cannot_be_written_is_refused(void)
{
  shard s;
  make_shard(&s, 0, 1, 1);
  hr_save_part part = {.save = save_called("x", 1), .shard_count = 1, .epoch = 4};
  const char *dirs[3] = {"/nonexistent/dir", "/dev/null", "/proc"};
  for (size_t i = 0; i < 3; i++) {
    part.save_dir = dirs[i];
    CHECK_FAILS(hr_save_write(&part, s.tables, TABLES), HOTROW_ERR_STORAGE, dirs[i]);
  }
  CHECK_FAILS(write_shard("../up", 1, &s), HOTROW_ERR_INVALID, NULL);
  CHECK_FAILS(write_shard("", 1, &s), HOTROW_ERR_INVALID, NULL);
  write_part("three", 1, 3, 1);
  CHECK_FAILS(write_shard("three", 1, &s), HOTROW_ERR_EXISTS, "parts of 3 shards, this is one of 1");
  s.count = 3; /* holds the keys of all three */
  CHECK_FAILS(write_shard("stray", 1, &s), HOTROW_ERR_INTERNAL, "not of shard 0 of 3");
  CHECK_EQ(entry_count("stray"), 0);
  empty_shard(&s);
}

/* Files are cut off at a limit, as by a full disk. */
static void a_full_disk_leaves_the_earlier_save_alone(void)
{
  write_part("full", 0, 1, 1);
  shard s;
  make_shard(&s, 0, 1, 2);
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit before, limit;
  CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const rlim_t limits[5] = {0, 10, 1000, 20000, 60000};
  for (size_t i = 0; i < 5; i++) {
    limit = (struct rlimit){limits[i], before.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    hotrow_status replace = write_shard("full", 2, &s);
    CHECK_FAILS(replace, HOTROW_ERR_STORAGE, "user.id.rows: cannot write: File too large");
    CHECK_FAILS(write_shard("full-new", 2, &s), HOTROW_ERR_STORAGE, "File too large");
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK_EQ(entry_count("full"), 1);
    CHECK_EQ(entry_count("full-new"), 0);
    shard loaded;
    CHECK_OK(load_shard("full", &loaded, 0, 1));
    check_loaded(&loaded, 1);
    empty_shard(&loaded);
  }
  CHECK_OK(write_shard("full", 2, &s));
  empty_shard(&s);
}

int main(void)
{
  RUN(a_save_that_cannot_be_written_is_refused);
  RUN(a_full_disk_leaves_the_earlier_save_alone);
  RUN(what_is_missing_is_named);
  RUN(parts_that_do_not_belong_together_are_refused);
  RUN(tables_must_be_described_alike);
  RUN(no_part_may_have_more_tables);
  RUN(every_byte_of_a_manifest_counts);
  RUN(a_forged_manifest_leads_nowhere);
  RUN(flipped_bytes_of_rows_are_found);
  RUN(a_part_replaces_its_older_self);
  RUN(a_save_loads_at_any_shard_count);
  return 0;
}
