/* Checkpoints as shards write them and start from them, and everything about one that is refused. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hotrow/checkpoint.h>
#include <hr/hash.h>
#include <hr/random.h>
#include <hr/route.h>

#include "save_format.h"
#include "shard_test.h"

#define SHARDS 2u
#define KEYS 400u
#define BLOB "what the job needs"

static const uint64_t blob_size = sizeof BLOB;

/* SHARDS shards and a client of each. */
typedef struct cluster {
  test_shard *shards[SHARDS];
  test_client clients[SHARDS];
} cluster;

static const char *save_dir(void)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/checkpoints", hr_test_tmpdir());
  mkdir(path, 0777);
  return path;
}

static void open_cluster(cluster *c)
{
  for (uint32_t i = 0; i < SHARDS; i++) {
    c->shards[i] = test_shard_open(
        &(hr_shard_options){.shard_index = i, .shard_count = SHARDS, .save_dir = save_dir(), .epoch = 5 + i});
    c->clients[i] = test_worker(1, 7, 0, 1, 100);
    c->clients[i].shard_index = i;
    c->clients[i].shard_count = SHARDS;
    test_greet(c->shards[i], &c->clients[i]);
    CHECK_EQ(test_create_table(c->shards[i], &c->clients[i], "t"), 0);
  }
}

static void close_cluster(cluster *c)
{
  for (uint32_t i = 0; i < SHARDS; i++)
    test_shard_close(c->shards[i]);
}

/* Row k is pushed `amount` to. */
static void push_all(cluster *c, float amount)
{
  uint64_t seed = hr_table_seed("t", 1);
  for (uint64_t key = 0; key < KEYS; key++) {
    uint32_t shard = hr_shard_of(hr_key_hash(key, seed), SHARDS);
    test_push_row(&c->clients[shard], 0, key, amount * (float)(key + 1));
    CHECK_OK(test_ask(c->shards[shard], &c->clients[shard]));
  }
}

static hr_checkpoint order(const char *name, uint64_t token, uint32_t action)
{
  hr_checkpoint what = {.token = token, .step = 100 + token, .blob_size = blob_size, .action = action, .rank_count = 4};
  snprintf(what.name, sizeof what.name, "%s", name);
  return what;
}

static hotrow_status ask(cluster *c, uint32_t shard, const hr_checkpoint *what)
{
  test_body(&c->clients[shard], HR_OP_CHECKPOINT, what, sizeof *what);
  return test_ask(c->shards[shard], &c->clients[shard]);
}

static hotrow_status ask_all(cluster *c, const char *name, uint64_t token, uint32_t action)
{
  hr_checkpoint what = order(name, token, action);
  for (uint32_t i = 0; i < SHARDS; i++)
    HOTROW_TRY(ask(c, i, &what));
  return HOTROW_OK;
}

static hotrow_status put_blob(cluster *c, const char *name, uint64_t token, uint64_t from, uint64_t to)
{
  struct {
    hr_checkpoint what;
    char bytes[sizeof BLOB];
  } body = {.what = order(name, token, HR_CHECKPOINT_BLOB)};
  body.what.blob_offset = from;
  memcpy(body.bytes, &BLOB[from], to - from);
  test_body(&c->clients[0], HR_OP_CHECKPOINT, &body, sizeof body.what + (to - from));
  return test_ask(c->shards[0], &c->clients[0]);
}

static hotrow_status publish(cluster *c, const char *name, uint64_t token, uint32_t keep)
{
  hr_checkpoint what = order(name, token, HR_CHECKPOINT_PUBLISH);
  what.keep = keep;
  return ask(c, 0, &what);
}

static hotrow_status make_kept(cluster *c, const char *name, uint64_t token, uint32_t keep)
{
  hr_checkpoint what = order(name, token, HR_CHECKPOINT_COPY);
  what.keep = keep;
  for (uint32_t i = 0; i < SHARDS; i++)
    HOTROW_TRY(ask(c, i, &what));
  HOTROW_TRY(ask_all(c, name, token, HR_CHECKPOINT_SETTLE));
  HOTROW_TRY(put_blob(c, name, token, 0, 5));
  HOTROW_TRY(put_blob(c, name, token, 5, blob_size));
  return publish(c, name, token, keep);
}

static hotrow_status make(cluster *c, const char *name, uint64_t token)
{
  return make_kept(c, name, token, 0);
}

static hr_path path_of(const char *name, const char *file)
{
  hr_path path;
  CHECK_OK(hr_path_format(&path, "%s/%s%s%s", save_dir(), name, *file ? "/" : "", file));
  return path;
}

/* Starts shard `index` of `count` from a checkpoint; NULL if it refuses. */
static test_shard *start(const char *name, uint32_t index, uint32_t count, hotrow_status *status_p)
{
  hr_path path = path_of(name, "");
  test_shard *t = test_shard_open(&(hr_shard_options){.shard_index = index, .shard_count = count});
  *status_p = hr_shard_load(t->shard, path.text, (hr_load_progress){0}, (hr_load_settle){0});
  if (*status_p == HOTROW_OK)
    return t;
  test_shard_close(t);
  return NULL;
}

static void refused(int line, const char *name, hotrow_status expected, const char *words)
{
  hotrow_status status;
  test_shard *t = start(name, 0, 1, &status);
  hr_test_check_fails(__FILE__, line, name, status, expected, words);
  CHECK(!t);
  hr_path path = path_of(name, "");
  hr_test_check_fails(__FILE__, line, "verify", hotrow_checkpoint_verify(path.text, NULL, NULL), expected, words);
}
#define REFUSED(name, status, words) refused(__LINE__, name, status, words)

/* All rows are as after one push of `amount`, on shards of another count. */
static void check_rows(const char *name, uint32_t count, float amount)
{
  uint64_t found = 0, seed = hr_table_seed("t", 1);
  for (uint32_t i = 0; i < count; i++) {
    hotrow_status status;
    test_shard *t = start(name, i, count, &status);
    CHECK_OK(status);
    size_t stride;
    hr_table *table = hr_shard_table(t->shard, 0);
    const float *rows = hr_table_rows(table, &stride);
    for (uint64_t key = 0; key < KEYS; key++) {
      uint32_t at, clock;
      hr_table_find(table, &key, 1, &at, &clock);
      CHECK_EQ(at != HR_ROW_NONE, hr_shard_of(hr_key_hash(key, seed), count) == i);
      if (at == HR_ROW_NONE)
        continue;
      CHECK_EQ(clock, 1);
      CHECK(rows[at * stride] == -amount * (float)(key + 1));
      found++;
    }
    test_shard_close(t);
  }
  CHECK_EQ(found, KEYS);
}

static test_client client_of(uint64_t session, uint32_t index, uint32_t count)
{
  test_client c = test_worker(session, session, 0, 1, 1);
  c.shard_index = index;
  c.shard_count = count;
  return c;
}

static hr_restored ask_restored(test_shard *t, uint32_t index, uint64_t offset, char *bytes, size_t *size_p)
{
  test_client c = client_of(9 + offset, index, 3);
  hr_restored_request request = {offset};
  hr_restored restored;
  test_greet(t, &c);
  test_body(&c, HR_OP_RESTORED, &request, sizeof request);
  CHECK_OK(test_ask(t, &c));
  const hr_message *reply = &test_one_reply(t)->message;
  memcpy(&restored, reply->body, sizeof restored);
  *size_p = reply->body_size - sizeof restored;
  memcpy(bytes, (const char *)reply->body + sizeof restored, *size_p);
  return restored;
}

static void it_holds_the_moment_of_the_copy_and_loads_at_any_count(void)
{
  cluster c;
  open_cluster(&c);
  push_all(&c, 2.0f);
  CHECK_OK(ask_all(&c, "moment", 1, HR_CHECKPOINT_COPY));
  push_all(&c, 1.0f);                                     /* training goes on before it is safe */
  CHECK_OK(ask_all(&c, "moment", 1, HR_CHECKPOINT_COPY)); /* a repeat is no other copy */
  CHECK_OK(ask_all(&c, "moment", 1, HR_CHECKPOINT_SETTLE));
  CHECK_OK(put_blob(&c, "moment", 1, 0, blob_size));
  CHECK_OK(publish(&c, "moment", 1, 0));
  CHECK_OK(publish(&c, "moment", 1, 0));
  close_cluster(&c);
  for (uint32_t count = 1; count <= 3; count++)
    check_rows("moment", count, 2.0f);
}

static void shards_tell_what_they_were_started_from(void)
{
  for (uint32_t i = 0; i < 3; i++) {
    hotrow_status status;
    char bytes[sizeof BLOB];
    size_t size;
    test_shard *t = start("moment", i, 3, &status);
    CHECK_OK(status);
    hr_restored restored = ask_restored(t, i, 4, bytes, &size);
    CHECK(restored.token == 1 && restored.step == 101 && restored.blob_size == blob_size && restored.rank_count == 4);
    CHECK_EQ(size, i == 0 ? blob_size - 4 : 0);
    CHECK(memcmp(bytes, &BLOB[4], size) == 0);
    ask_restored(t, i, blob_size, bytes, &size);
    CHECK_EQ(size, 0);
    test_client late = client_of(8, i, 3);
    hr_restored_request request = {blob_size + 1};
    test_greet(t, &late);
    test_body(&late, HR_OP_RESTORED, &request, sizeof request);
    CHECK_FAILS(test_ask(t, &late), HOTROW_ERR_INVALID, "byte 20 of a blob of 19");
    request.offset = 0;
    uint64_t key = 1;
    while (hr_shard_of(hr_key_hash(key, hr_table_seed("t", 1)), 3) != i)
      key++;
    test_push_row(&late, 0, key, 1.0f);
    CHECK_OK(test_ask(t, &late));
    test_body(&late, HR_OP_RESTORED, &request, sizeof request);
    CHECK_FAILS(test_ask(t, &late), HOTROW_ERR_NOT_FOUND, "has taken pushes since");
    test_shard_close(t);
  }
  cluster c;
  open_cluster(&c);
  hr_restored_request request = {0};
  test_body(&c.clients[1], HR_OP_RESTORED, &request, sizeof request);
  CHECK_FAILS(test_ask(c.shards[1], &c.clients[1]), HOTROW_ERR_NOT_FOUND, "shard 1 was not started from a checkpoint");
  close_cluster(&c);
}

static void requests_out_of_turn_are_refused(void)
{
  cluster c;
  open_cluster(&c);
  CHECK_FAILS(ask_all(&c, "turn", 1, HR_CHECKPOINT_SETTLE), HOTROW_ERR_NOT_FOUND, "has no checkpoint turn in hand");
  CHECK_FAILS(publish(&c, "turn", 1, 0), HOTROW_ERR_NOT_FOUND, "has no checkpoint turn in hand");
  hr_checkpoint what = order("turn", 1, HR_CHECKPOINT_COPY);
  CHECK_OK(ask(&c, 0, &what));
  CHECK_FAILS(put_blob(&c, "turn", 1, 3, 6), HOTROW_ERR_INVALID, "from 3 on, and it is filled up to 0");
  CHECK_OK(put_blob(&c, "turn", 1, 0, 6));
  CHECK_OK(put_blob(&c, "turn", 1, 0, 6)); /* a repeat */
  CHECK_FAILS(publish(&c, "turn", 1, 0), HOTROW_ERR_NOT_FOUND, "shard-1-of-2/MANIFEST: missing");
  REFUSED("turn", HOTROW_ERR_NOT_FOUND, "turn: no such save");
  CHECK_OK(ask_all(&c, "turn", 2, HR_CHECKPOINT_COPY)); /* takes its place */
  CHECK_FAILS(publish(&c, "turn", 1, 0), HOTROW_ERR_NOT_FOUND, "in hand");
  CHECK_OK(put_blob(&c, "turn", 2, 0, 6));
  CHECK_FAILS(publish(&c, "turn", 2, 0), HOTROW_ERR_INVALID, "6 of the 19 bytes of its blob have come");
  REFUSED("turn", HOTROW_ERR_NOT_FOUND, "turn: no such save");
  what = order("turn", 2, HR_CHECKPOINT_PUBLISH);
  CHECK_FAILS(ask(&c, 1, &what), HOTROW_ERR_INVALID, "shard 1 neither takes blobs nor publishes");
  CHECK_OK(ask_all(&c, "turn", 2, HR_CHECKPOINT_DROP));
  CHECK_OK(ask_all(&c, "turn", 2, HR_CHECKPOINT_DROP));
  test_client reader = test_reader(44);
  reader.shard_count = SHARDS;
  test_greet(c.shards[0], &reader);
  test_body(&reader, HR_OP_CHECKPOINT, &what, sizeof what);
  CHECK_FAILS(test_ask(c.shards[0], &reader), HOTROW_ERR_INVALID, "a reader may not");
  close_cluster(&c);
  test_shard *t = test_shard_open(NULL);
  test_client own = test_worker(1, 1, 0, 1, 1);
  test_greet(t, &own);
  test_body(&own, HR_OP_CHECKPOINT, &what, sizeof what);
  CHECK_FAILS(test_ask(t, &own), HOTROW_ERR_UNSUPPORTED, "without a save directory");
  test_shard_close(t);
}

static size_t count_entries(void)
{
  size_t count = 0;
  DIR *entries = opendir(save_dir());
  CHECK(entries);
  for (struct dirent *entry; (entry = readdir(entries));)
    count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  closedir(entries);
  return count;
}

static void what_is_not_published_leaves_nothing(void)
{
  size_t before = count_entries();
  cluster c;
  open_cluster(&c);
  CHECK_OK(ask_all(&c, "gone", 1, HR_CHECKPOINT_COPY));
  CHECK_OK(put_blob(&c, "gone", 1, 0, 6));
  CHECK_EQ(count_entries(), before + 1);
  CHECK_OK(ask_all(&c, "gone", 1, HR_CHECKPOINT_DROP));
  CHECK_EQ(count_entries(), before);
  CHECK_OK(ask_all(&c, "gone", 2, HR_CHECKPOINT_COPY));
  close_cluster(&c);
  CHECK_EQ(count_entries(), before);
}

static bool is_there(const char *name)
{
  return access(path_of(name, HR_CHECKPOINT_FILE).text, F_OK) == 0;
}

static void a_series_keeps_its_last(void)
{
  cluster c;
  open_cluster(&c);
  push_all(&c, 1.0f);
  static const char *const others[] = {"series-x", "series", "series-", "other-1", "series-1-2", "series-7x"};
  for (size_t i = 0; i < 6; i++)
    CHECK_OK(make(&c, others[i], 50 + i));
  CHECK(mkdir(path_of("series-99", "").text, 0777) == 0);          /* not a checkpoint */
  CHECK(mkdir(path_of(".series-5.00ab.tmp", "").text, 0777) == 0); /* of a run that was killed */
  CHECK(mkdir(path_of(".other-5.00ab.tmp", "").text, 0777) == 0);  /* of another series */
  for (uint64_t n = 9; n <= 12; n++) {
    char name[32];
    snprintf(name, sizeof name, "series-%llu", (unsigned long long)n);
    CHECK_OK(make_kept(&c, name, n, 2));
  }
  CHECK_OK(make_kept(&c, "series-3", 13, 2)); /* the one made last counts, and not the largest number */
  CHECK(is_there("series-3") && is_there("series-12") && !is_there("series-11") && !is_there("series-9"));
  for (size_t i = 0; i < 6; i++)
    CHECK(is_there(others[i]));
  CHECK(access(path_of("series-99", "").text, F_OK) == 0 && access(path_of(".other-5.00ab.tmp", "").text, F_OK) == 0);
  CHECK(access(path_of(".series-5.00ab.tmp", "").text, F_OK) != 0);
  check_rows("series-3", 1, 1.0f);
  close_cluster(&c);
}

static void one_of_the_same_name_is_replaced(void)
{
  cluster c;
  open_cluster(&c);
  push_all(&c, 3.0f);
  size_t before = count_entries();
  CHECK_OK(make(&c, "moment", 77));
  CHECK_EQ(count_entries(), before);
  check_rows("moment", 1, 3.0f);
  close_cluster(&c);
}

/* ---- damage ---- */

static uint8_t original[1 << 16], changed[1 << 16];

static size_t read_whole(const char *path, uint8_t *bytes, size_t size_max)
{
  FILE *file = fopen(path, "rb");
  CHECK_MSG(file, "%s", path);
  size_t size = fread(bytes, 1, size_max, file);
  CHECK(size > 0 && size < size_max);
  fclose(file);
  return size;
}

static void write_whole(const char *path, const uint8_t *bytes, size_t size)
{
  FILE *file = fopen(path, "wb");
  CHECK_MSG(file && fwrite(bytes, 1, size, file) == size, "%s", path);
  fclose(file);
}

static void prepare_damage(void)
{
  cluster c;
  open_cluster(&c);
  push_all(&c, 1.0f);
  CHECK_OK(make(&c, "damaged", 5));
  close_cluster(&c);
}

/* Every byte of the file is changed in turn, and the file cut and made longer: refused with its name. */
static void every_byte_counts(const char *file)
{
  hr_path path = path_of("damaged", file);
  size_t size = read_whole(path.text, original, sizeof original);
  hr_rng rng = {hr_test_seed(3)};
  for (size_t i = 0; i < size; i++) {
    memcpy(changed, original, size);
    changed[i] ^= (uint8_t)(1 + hr_rng_below(&rng, 255));
    write_whole(path.text, changed, size);
    bool is_version = i >= HR_SAVE_MAGIC_BYTES && i < HR_SAVE_MAGIC_BYTES + 4;
    REFUSED("damaged", is_version ? HOTROW_ERR_VERSION : HOTROW_ERR_CORRUPT, file);
  }
  for (size_t shorter = 0; shorter < size; shorter += 5) {
    write_whole(path.text, original, shorter);
    REFUSED("damaged", HOTROW_ERR_CORRUPT, file);
  }
  memcpy(changed, original, size);
  write_whole(path.text, changed, size + 1);
  REFUSED("damaged", HOTROW_ERR_CORRUPT, file);
  CHECK(unlink(path.text) == 0);
  bool is_checkpoint = strcmp(file, HR_CHECKPOINT_FILE) == 0; /* its parts say that it is missing */
  REFUSED("damaged", is_checkpoint ? HOTROW_ERR_CORRUPT : HOTROW_ERR_NOT_FOUND, file);
  write_whole(path.text, original, size);
  CHECK_OK(hotrow_checkpoint_verify(path_of("damaged", "").text, NULL, NULL));
}

static void every_byte_of_the_manifests_counts(void)
{
  every_byte_counts(HR_CHECKPOINT_FILE);
  every_byte_counts("shard-0-of-2/MANIFEST");
  every_byte_counts("shard-1-of-2/MANIFEST");
}

static void flipped_bytes_of_data_are_found(void)
{
  static const char *const files[] = {"shard-0-of-2/t.rows", "shard-1-of-2/t.rows", HR_CHECKPOINT_BLOB_FILE};
  hr_rng rng = {hr_test_seed(4)};
  for (size_t round = 0; round < 1000; round++) {
    const char *file = files[round % 3];
    hr_path path = path_of("damaged", file);
    size_t size = read_whole(path.text, original, sizeof original), at = hr_rng_below(&rng, size);
    memcpy(changed, original, size);
    changed[at] ^= (uint8_t)(1 + hr_rng_below(&rng, 255));
    write_whole(path.text, changed, size);
    bool is_version = round % 3 < 2 && at >= HR_SAVE_MAGIC_BYTES && at < HR_SAVE_MAGIC_BYTES + 4;
    REFUSED("damaged", is_version ? HOTROW_ERR_VERSION : HOTROW_ERR_CORRUPT, file);
    write_whole(path.text, original, size);
  }
  for (size_t i = 0; i < 3; i++) {
    hr_path path = path_of("damaged", files[i]);
    size_t size = read_whole(path.text, original, sizeof original);
    CHECK(unlink(path.text) == 0);
    REFUSED("damaged", HOTROW_ERR_NOT_FOUND, files[i]);
    write_whole(path.text, original, size - 1);
    REFUSED("damaged", HOTROW_ERR_CORRUPT, files[i]);
    write_whole(path.text, original, size);
  }
}

/* With a checksum that fits: what a hostile writer could bring. */
static void forge(size_t offset, uint64_t value, size_t value_size, hotrow_status status, const char *words)
{
  hr_path path = path_of("damaged", HR_CHECKPOINT_FILE);
  size_t size = read_whole(path.text, original, sizeof original);
  memcpy(changed, original, size);
  memcpy(changed + offset, &value, value_size);
  uint64_t hash = hr_hash_bytes(changed, size - sizeof hash);
  memcpy(changed + size - sizeof hash, &hash, sizeof hash);
  write_whole(path.text, changed, size);
  REFUSED("damaged", status, words);
  write_whole(path.text, original, size);
}

static void a_forged_checkpoint_leads_nowhere(void)
{
  const size_t part = sizeof(hr_checkpoint_header);
  forge(offsetof(hr_checkpoint_header, version), 2, 4, HOTROW_ERR_VERSION, "format version 2, this build reads 1");
  forge(offsetof(hr_checkpoint_header, shard_count), 3, 4, HOTROW_ERR_CORRUPT, "not those of 3 shards");
  forge(offsetof(hr_checkpoint_header, shard_count), UINT32_MAX, 4, HOTROW_ERR_CORRUPT, "shards");
  forge(offsetof(hr_checkpoint_header, token), 6, 8, HOTROW_ERR_CORRUPT, "shard-0-of-2/MANIFEST: of checkpoint");
  forge(offsetof(hr_checkpoint_header, reserved), 1, 4, HOTROW_ERR_CORRUPT, "reserved field 1");
  forge(offsetof(hr_checkpoint_header, blob_size), 0x40000001, 8, HOTROW_ERR_CORRUPT, "blob of 1073741825 bytes");
  forge(offsetof(hr_checkpoint_header, blob_size), 18, 8, HOTROW_ERR_CORRUPT, "blob: 19 bytes, CHECKPOINT says 18");
  forge(offsetof(hr_checkpoint_header, blob_hash), 1, 8, HOTROW_ERR_CORRUPT, "blob: its bytes do not match");
  forge(part + offsetof(hr_checkpoint_part, row_count), 1, 8, HOTROW_ERR_CORRUPT, "CHECKPOINT says 1 in");
  forge(part + offsetof(hr_checkpoint_part, rows_size), 1, 8, HOTROW_ERR_CORRUPT, "CHECKPOINT says");
  forge(part + offsetof(hr_checkpoint_part, manifest_size), 1, 8, HOTROW_ERR_CORRUPT, "checksum in CHECKPOINT");
  forge(part + offsetof(hr_checkpoint_part, manifest_hash), 1, 8, HOTROW_ERR_CORRUPT, "checksum in CHECKPOINT");
}

static void parts_of_another_checkpoint_are_refused(void)
{
  hr_path own = path_of("damaged", "shard-1-of-2/MANIFEST"), other = path_of("moment", "shard-1-of-2/MANIFEST");
  size_t size = read_whole(own.text, original, sizeof original);
  write_whole(own.text, changed, read_whole(other.text, changed, sizeof changed));
  REFUSED("damaged", HOTROW_ERR_CORRUPT, "shard-1-of-2/MANIFEST: its bytes do not match the checksum in CHECKPOINT");
  write_whole(own.text, original, size);
  /* A save in the place of a part, as of a run of before. */
  memcpy(changed, original, size);
  changed[HR_SAVE_MAGIC_BYTES - 1] = 'M'; /* HR_MANIFEST_MAGIC */
  uint64_t hash = hr_hash_bytes(changed, size - sizeof hash);
  memcpy(changed + size - sizeof hash, &hash, sizeof hash);
  write_whole(own.text, changed, size);
  REFUSED("damaged", HOTROW_ERR_CORRUPT, "shard-1-of-2/MANIFEST: of a save");
  write_whole(own.text, original, size);
}

static void inspect_says_what_is_there(void)
{
  hotrow_checkpoint_info *info;
  CHECK_OK(hotrow_checkpoint_inspect(path_of("damaged", "").text, &info));
  CHECK(info->is_checkpoint && info->shard_count == SHARDS && info->rank_count == 4 && info->step == 105);
  CHECK(info->token == 5 && info->blob_size == blob_size && info->table_count == 1 && info->created_ns > 0);
  CHECK(strcmp(info->tables[0].name, "t") == 0 && info->tables[0].dim == TEST_DIM);
  CHECK_EQ(info->tables[0].row_count, KEYS);
  CHECK_EQ(info->size_bytes, info->tables[0].size_bytes + blob_size);
  hotrow_checkpoint_info_free(info);
  hotrow_checkpoint_info_free(NULL);
  CHECK_FAILS(hotrow_checkpoint_inspect(path_of("none", "").text, &info), HOTROW_ERR_NOT_FOUND, "none: no such save");
}

int main(void)
{
  RUN(it_holds_the_moment_of_the_copy_and_loads_at_any_count);
  RUN(shards_tell_what_they_were_started_from);
  RUN(requests_out_of_turn_are_refused);
  RUN(what_is_not_published_leaves_nothing);
  RUN(a_series_keeps_its_last);
  RUN(one_of_the_same_name_is_replaced);
  prepare_damage();
  RUN(inspect_says_what_is_there);
  RUN(every_byte_of_the_manifests_counts);
  RUN(flipped_bytes_of_data_are_found);
  RUN(a_forged_checkpoint_leads_nowhere);
  RUN(parts_of_another_checkpoint_are_refused);
  return 0;
}
