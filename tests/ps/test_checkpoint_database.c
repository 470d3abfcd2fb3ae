/* Checkpoints of shards with a data directory: the cut that they are of, what they share with one another and with the
 * database, and everything about one that is refused. And data directories as something to load from. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hotrow/checkpoint.h>
#include <hr/hash.h>
#include <hr/random.h>

#include "cluster_test.h"
#include "save_format.h"
#include "storage_test.h"

#define SHARDS 2u
#define KEYS 400u
#define MANY_KEYS 100000u
#define LITTLE ((size_t)4 << 20) /* for half of them */
#define FILES_MAX 32u

static const char *scratch(const char *name)
{
  static char paths[16][512];
  static size_t count;
  char *path = paths[count++ % 16];
  snprintf(path, sizeof paths[0], "%s/%s", hr_test_tmpdir(), name);
  return path;
}

static const char *save_dir(void)
{
  const char *path = scratch("saves");
  mkdir(path, 0777);
  return path;
}

static hr_path path_of(const char *name, const char *file)
{
  hr_path path;
  CHECK_OK(hr_path_format(&path, "%s/%s%s%s", save_dir(), name, *file ? "/" : "", file));
  return path;
}

static void check_equal(const uint8_t *rows, size_t size, const char *path, uint32_t count)
{
  uint8_t *loaded = NULL;
  size_t loaded_size = 0;
  CHECK_OK(cluster_load_rows(path, count, &loaded, &loaded_size));
  CHECK_MSG(loaded_size == size && memcmp(loaded, rows, size) == 0, "%s on %u shards: other rows", path, count);
  free(loaded);
}

/* Names, inodes, sizes and times of all files of a checkpoint: what must not change when it is read. */
static uint64_t fingerprint(const char *path)
{
  uint64_t sum = 0;
  DIR *entries = opendir(path);
  CHECK_MSG(entries, "%s", path);
  for (struct dirent *entry; (entry = readdir(entries));) {
    hr_path inner;
    struct stat info;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    CHECK_OK(hr_path_format(&inner, "%s/%s", path, entry->d_name));
    CHECK(stat(inner.text, &info) == 0);
    const uint64_t words[] = {info.st_ino, (uint64_t)info.st_size, (uint64_t)info.st_mtim.tv_sec,
                              (uint64_t)info.st_mtim.tv_nsec, hr_hash_bytes(entry->d_name, strlen(entry->d_name))};
    sum += hr_hash_bytes(words, sizeof words) + (S_ISDIR(info.st_mode) ? fingerprint(inner.text) : 0);
  }
  closedir(entries);
  return sum;
}

/* ---- the moment ---- */

static void it_holds_one_cut_and_loads_at_any_count(void)
{
  disk_cluster c;
  size_t size;
  cluster_open(&c, SHARDS, scratch("moment"), save_dir(), NULL);
  cluster_push(&c, 0, KEYS, 2.0f);
  cluster_cut(&c);
  cluster_push(&c, 0, KEYS / 2, 1.0f);
  hr_checkpoint what = cluster_order("moment", 1);
  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_COPY));
  uint8_t *rows = cluster_rows(c.shards, SHARDS, &size);
  cluster_push(&c, 0, KEYS + 9, 1.0f);                     /* training goes on before the cut is durable */
  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_COPY)); /* a repeat is no other moment */
  CHECK_FAILS(cluster_ask_all(&c, what, HR_CHECKPOINT_SETTLE), HOTROW_ERR_BUSY, "is still writing checkpoint moment");
  cluster_pump(&c);
  cluster_push(&c, 0, KEYS + 9, 1.0f);
  cluster_cut(&c);
  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_SETTLE));
  CHECK_OK(cluster_ask(&c, 0, what, HR_CHECKPOINT_BLOB));
  CHECK_OK(cluster_ask(&c, 0, what, HR_CHECKPOINT_PUBLISH));
  cluster_close(&c);
  hr_path path = path_of("moment", "");
  uint64_t before = fingerprint(path.text);
  CHECK_OK(hotrow_checkpoint_verify(path.text, NULL, NULL));
  for (uint32_t count = 1; count <= 3; count++)
    check_equal(rows, size, path.text, count);
  CHECK_EQ(fingerprint(path.text), before);
  free(rows);
}

/* A shard that has less memory than rows. */
static void rows_that_are_not_in_memory_are_in_it(void)
{
  disk_cluster c;
  hotrow_shard_counts counts;
  size_t size;
  cluster_open(&c, 1, scratch("large"), save_dir(), NULL);
  cluster_push(&c, 0, MANY_KEYS, 2.0f);
  cluster_cut(&c);
  uint8_t *rows = cluster_rows(c.shards, 1, &size);
  cluster_close(&c);
  cluster_open_within(&c, 1, scratch("large"), save_dir(), NULL, LITTLE);
  hr_shard_get_counts(c.shards[0]->shard, &counts);
  CHECK(counts.rows == MANY_KEYS && counts.rows_in_memory < MANY_KEYS * 3 / 4);
  CHECK_OK(cluster_make(&c, "large", 1, 0));
  cluster_close(&c);
  check_equal(rows, size, path_of("large", "").text, 2);
  free(rows);
}

/* What runs aside, until the test lets it. */
static struct {
  void (*task)(void *context);
  void *context;
} asides[SHARDS];
static size_t aside_count;

static bool begin_later(void *context, void (*task)(void *task_context), void *task_context)
{
  (void)context;
  CHECK(aside_count < SHARDS);
  asides[aside_count].task = task;
  asides[aside_count++].context = task_context;
  return true;
}

static void run_asides(void)
{
  for (size_t i = 0; i < aside_count; i++)
    asides[i].task(asides[i].context);
  aside_count = 0;
}

static void the_next_cut_waits_until_the_database_is_copied(void)
{
  disk_cluster c;
  size_t size;
  uint64_t number;
  hr_checkpoint what = cluster_order("held", 2);
  cluster_open(&c, SHARDS, scratch("held"), save_dir(), &(hr_shard_aside){.begin = begin_later});
  cluster_push(&c, 0, KEYS, 2.0f);
  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_COPY));
  uint8_t *rows = cluster_rows(c.shards, SHARDS, &size);
  cluster_pump(&c);
  CHECK_EQ(aside_count, SHARDS);
  cluster_push(&c, 0, KEYS, 3.0f);
  for (uint32_t i = 0; i < SHARDS; i++)
    CHECK_OK(test_cut(c.shards[i]->shard, &number));
  usleep(50000); /* a writer that did not wait would be done by now */
  run_asides();
  cluster_pump(&c);
  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_SETTLE));
  CHECK_OK(cluster_ask(&c, 0, what, HR_CHECKPOINT_BLOB));
  CHECK_FAILS(cluster_ask(&c, 0, what, HR_CHECKPOINT_PUBLISH), HOTROW_ERR_BUSY, "held");
  run_asides();
  CHECK_OK(cluster_ask(&c, 0, what, HR_CHECKPOINT_PUBLISH));
  cluster_close(&c);
  check_equal(rows, size, path_of("held", "").text, 1);
  free(rows);
  cluster_open(&c, SHARDS, scratch("held"), save_dir(), NULL);
  rows = cluster_rows(c.shards, SHARDS, &size);
  cluster_close(&c);
  check_equal(rows, size, scratch("held"), 1); /* and the cut that waited is durable */
  free(rows);
}

static size_t hold_count, copy_count, let_go_count;

static void count_hold(void *context)
{
  (void)context;
  hold_count++;
}

static hotrow_status count_copy(void *context, const char *path)
{
  (void)context;
  copy_count++;
  CHECK(hold_count == copy_count && let_go_count == copy_count - 1);
  return hr_fail(HOTROW_ERR_STORAGE, "no copy at %s", path);
}

static void count_let_go(void *context)
{
  (void)context;
  let_go_count++;
}

typedef struct seam {
  test_storage *disk;
  test_shard *t;
  test_client client;
} seam;

static hotrow_status ask_seam(seam *s, uint64_t token, uint32_t action)
{
  hr_checkpoint what = cluster_order("seam", token);
  what.action = action;
  test_body(&s->client, HR_OP_CHECKPOINT, &what, sizeof what);
  return test_ask(s->t, &s->client);
}

static seam open_seam(void)
{
  seam s = {.disk = test_storage_open()};
  uint64_t number;
  hold_count = copy_count = let_go_count = 0;
  s.disk->calls.hold = count_hold;
  s.disk->calls.copy = count_copy;
  s.disk->calls.let_go = count_let_go;
  s.t = test_shard_open(&(hr_shard_options){.epoch = 1, .storage = &s.disk->calls, .save_dir = save_dir()});
  s.client = test_worker(1, 7, 0, 1, 100);
  test_greet(s.t, &s.client);
  CHECK_OK(test_cut(s.t->shard, &number));
  return s;
}

static void close_seam(seam *s)
{
  test_shard_close(s->t);
  free(s->disk);
}

/* A cut is under way: the moment comes when it is durable, and until then the client asks again. */
static void a_checkpoint_waits_for_the_cut_before_it(void)
{
  seam s = open_seam();
  CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_COPY), HOTROW_ERR_BUSY, NULL);
  CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_COPY), HOTROW_ERR_BUSY, NULL);
  CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_SETTLE), HOTROW_ERR_BUSY, NULL);
  test_storage_commit(s.disk, s.t->shard);
  CHECK(s.disk->is_whole && s.disk->number == 2); /* its own */
  CHECK_OK(ask_seam(&s, 3, HR_CHECKPOINT_COPY));
  CHECK(hold_count == 0 && copy_count == 0);
  test_storage_commit(s.disk, s.t->shard);
  CHECK(hold_count == 1 && copy_count == 1 && let_go_count == 1 && !s.disk->is_whole);
  CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_SETTLE), HOTROW_ERR_STORAGE, "no copy at");
  CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_COPY), HOTROW_ERR_STORAGE, "no copy at");
  CHECK_OK(ask_seam(&s, 3, HR_CHECKPOINT_DROP));
  close_seam(&s);
}

static void one_that_is_dropped_or_replaced_has_nothing_copied(void)
{
  seam s = open_seam();
  CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_COPY), HOTROW_ERR_BUSY, NULL);
  CHECK_OK(ask_seam(&s, 3, HR_CHECKPOINT_DROP));
  test_storage_commit(s.disk, s.t->shard);
  CHECK(!s.disk->is_whole);
  CHECK_OK(ask_seam(&s, 4, HR_CHECKPOINT_COPY));
  CHECK_OK(ask_seam(&s, 4, HR_CHECKPOINT_DROP)); /* while its cut is under way */
  test_storage_commit(s.disk, s.t->shard);
  CHECK_OK(ask_seam(&s, 5, HR_CHECKPOINT_COPY));
  CHECK_FAILS(ask_seam(&s, 6, HR_CHECKPOINT_COPY), HOTROW_ERR_BUSY, NULL);
  CHECK_FAILS(ask_seam(&s, 5, HR_CHECKPOINT_SETTLE), HOTROW_ERR_NOT_FOUND, "in hand");
  CHECK_EQ(hold_count, 0);
  test_storage_commit(s.disk, s.t->shard);
  CHECK(hold_count == 0 && s.disk->is_whole); /* that cut was of the one that is not to be */
  test_storage_commit(s.disk, s.t->shard);
  CHECK(hold_count == 1 && copy_count == 1);
  close_seam(&s);
}

static void a_storage_that_fails_is_told_to_who_waits(void)
{
  for (int has_own = 0; has_own < 2; has_own++) {
    seam s = open_seam();
    if (has_own)
      test_storage_commit(s.disk, s.t->shard);
    hotrow_status status = ask_seam(&s, 3, HR_CHECKPOINT_COPY);
    CHECK_EQ(status, has_own ? HOTROW_OK : HOTROW_ERR_BUSY);
    hr_fail(HOTROW_ERR_STORAGE, "the disk burns");
    hr_shard_degrade(s.t->shard);
    CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_SETTLE), HOTROW_ERR_STORAGE, "the disk burns");
    CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_COPY), HOTROW_ERR_STORAGE, "the disk burns");
    CHECK_OK(ask_seam(&s, 3, HR_CHECKPOINT_DROP));
    CHECK_FAILS(ask_seam(&s, 4, HR_CHECKPOINT_COPY), HOTROW_ERR_STORAGE, "the disk burns");
    close_seam(&s);
  }
  seam s = open_seam(); /* a cut that is refused: the next one may be taken */
  CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_COPY), HOTROW_ERR_BUSY, NULL);
  s.disk->calls_left = 1;
  test_storage_commit(s.disk, s.t->shard);
  CHECK_FAILS(ask_seam(&s, 3, HR_CHECKPOINT_COPY), HOTROW_ERR_STORAGE, "the disk is full");
  CHECK_OK(ask_seam(&s, 4, HR_CHECKPOINT_COPY));
  close_seam(&s);
}

static void a_file_that_is_gone_before_it_is_published_is_missed(void)
{
  disk_cluster c;
  hr_checkpoint what = cluster_order("gone", 9);
  cluster_open(&c, SHARDS, scratch("gone"), save_dir(), NULL);
  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_COPY));
  cluster_pump(&c);
  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_SETTLE));
  CHECK_OK(cluster_ask(&c, 0, what, HR_CHECKPOINT_BLOB));
  CHECK(unlink(path_of(".gone.0000000000000009.tmp", "shard-1-of-2/CURRENT").text) == 0);
  CHECK_FAILS(cluster_ask(&c, 0, what, HR_CHECKPOINT_PUBLISH), HOTROW_ERR_NOT_FOUND, "shard-1-of-2/CURRENT: missing");
  CHECK_OK(cluster_ask_all(&c, what, HR_CHECKPOINT_DROP));
  CHECK(access(path_of("gone", "").text, F_OK) != 0);
  CHECK(access(path_of(".gone.0000000000000009.tmp", "").text, F_OK) != 0);
  cluster_close(&c);
}

/* ---- what they share ---- */

static size_t count_links(const char *name, size_t *files_p)
{
  size_t linked = 0;
  *files_p = 0;
  hr_path path = path_of(name, "shard-0-of-2");
  DIR *entries = opendir(path.text);
  CHECK(entries);
  for (struct dirent *entry; (entry = readdir(entries));) {
    struct stat info;
    CHECK(fstatat(dirfd(entries), entry->d_name, &info, 0) == 0);
    size_t size = strlen(entry->d_name);
    if (size < 4 || strcmp(entry->d_name + size - 4, ".sst") != 0)
      continue;
    ++*files_p;
    linked += info.st_nlink > 2; /* the database, and another checkpoint */
  }
  closedir(entries);
  return linked;
}

static void the_second_one_writes_what_is_new(void)
{
  disk_cluster c;
  hotrow_shard_counts first, second;
  size_t files, size;
  cluster_open(&c, SHARDS, scratch("links"), save_dir(), NULL);
  cluster_push(&c, 0, 20 * KEYS, 1.0f);
  CHECK_OK(cluster_make(&c, "links-1", 1, 0));
  hr_shard_get_counts(c.shards[0]->shard, &first);
  CHECK(first.checkpoint_parts == 1 && first.checkpoint_bytes > 20 * KEYS / 2 * 20);
  CHECK_EQ(first.checkpoint_bytes_new, first.checkpoint_bytes);
  cluster_push(&c, 7, 3, 1.0f);
  uint8_t *rows = cluster_rows(c.shards, SHARDS, &size);
  CHECK_OK(cluster_make(&c, "links-2", 2, 0));
  hr_shard_get_counts(c.shards[0]->shard, &second);
  uint64_t bytes = second.checkpoint_bytes - first.checkpoint_bytes;
  uint64_t bytes_new = second.checkpoint_bytes_new - first.checkpoint_bytes_new;
  printf("  %llu bytes, of them new %llu\n", (unsigned long long)bytes, (unsigned long long)bytes_new);
  CHECK(second.checkpoint_parts == 2 && bytes > first.checkpoint_bytes && bytes_new < bytes / 10);
  size_t linked = count_links("links-2", &files);
  CHECK(linked > 0 && linked < files);
  CHECK_OK(cluster_make(&c, "links-3", 3, 1)); /* the only one that stays */
  cluster_close(&c);
  CHECK(access(path_of("links-1", "").text, F_OK) != 0 && access(path_of("links-2", "").text, F_OK) != 0);
  check_equal(rows, size, path_of("links-3", "").text, 1);
  free(rows);
}

/* ---- damage ---- */

static uint8_t original[1 << 18], changed[1 << 18];

static size_t read_whole(const char *path, uint8_t *bytes, size_t size_max)
{
  FILE *file = fopen(path, "rb");
  CHECK_MSG(file, "%s", path);
  size_t size = fread(bytes, 1, size_max, file);
  CHECK_MSG(size > 0 && size < size_max, "%s: %zu bytes", path, size);
  fclose(file);
  return size;
}

/* In its place: a file that is emptied first and written anew makes some filesystems wait for the disk. */
static void write_whole(const char *path, const uint8_t *bytes, size_t size)
{
  int fd = open(path, O_WRONLY | O_CREAT, 0666);
  CHECK_MSG(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && ftruncate(fd, (off_t)size) == 0, "%s", path);
  close(fd);
}

static void refused(int line, const char *name, hotrow_status expected, const char *words)
{
  uint8_t *rows;
  size_t size;
  hr_path path = path_of(name, "");
  hr_test_check_fails(__FILE__, line, name, cluster_load_rows(path.text, 1, &rows, &size), expected, words);
  hr_test_check_fails(__FILE__, line, "verify", hotrow_checkpoint_verify(path.text, NULL, NULL), expected, words);
}
#define REFUSED(name, status, words) refused(__LINE__, name, status, words)

/* The files of both parts, by name within the checkpoint. */
static char data_files[FILES_MAX][64];
static size_t data_file_count;

static void list_files(const char *part)
{
  DIR *entries = opendir(path_of("damaged", part).text);
  CHECK(entries);
  for (struct dirent *entry; (entry = readdir(entries));)
    if (entry->d_name[0] != '.' && strcmp(entry->d_name, HR_MANIFEST_FILE) != 0) {
      CHECK(data_file_count < FILES_MAX);
      CHECK(snprintf(data_files[data_file_count++], 64, "%s/%.40s", part, entry->d_name) < 64);
    }
  closedir(entries);
}

static void prepare_damage(void)
{
  disk_cluster c;
  cluster_open(&c, SHARDS, scratch("damaged"), save_dir(), NULL);
  cluster_push(&c, 0, KEYS, 1.0f);
  CHECK_OK(cluster_make(&c, "damaged", 5, 0));
  cluster_close(&c);
  list_files("shard-0-of-2");
  list_files("shard-1-of-2");
  CHECK(data_file_count >= 8); /* of each part: CURRENT, RocksDB's manifest and options, a table file */
  for (size_t i = 0; i < data_file_count; i++) { /* its own, and not the database's too */
    hr_path path = path_of("damaged", data_files[i]);
    size_t size = read_whole(path.text, original, sizeof original);
    CHECK(unlink(path.text) == 0);
    write_whole(path.text, original, size);
  }
}

static void every_byte_of_the_manifests_counts(void)
{
  static const char *const files[] = {HR_CHECKPOINT_FILE, "shard-0-of-2/MANIFEST", "shard-1-of-2/MANIFEST"};
  hr_rng rng = {hr_test_seed(3)};
  for (size_t f = 0; f < 3; f++) {
    hr_path path = path_of("damaged", files[f]);
    size_t size = read_whole(path.text, original, sizeof original);
    for (size_t i = 0; i < size; i++) {
      memcpy(changed, original, size);
      changed[i] ^= (uint8_t)(1 + hr_rng_below(&rng, 255));
      write_whole(path.text, changed, size);
      bool is_version = i >= HR_SAVE_MAGIC_BYTES && i < HR_SAVE_MAGIC_BYTES + 4;
      REFUSED("damaged", is_version ? HOTROW_ERR_VERSION : HOTROW_ERR_CORRUPT, files[f]);
    }
    for (size_t shorter = 0; shorter < size; shorter += 5) {
      write_whole(path.text, original, shorter);
      REFUSED("damaged", HOTROW_ERR_CORRUPT, files[f]);
    }
    write_whole(path.text, changed, size + 1);
    REFUSED("damaged", HOTROW_ERR_CORRUPT, files[f]);
    CHECK(unlink(path.text) == 0);
    REFUSED("damaged", f == 0 ? HOTROW_ERR_CORRUPT : HOTROW_ERR_NOT_FOUND, files[f]);
    write_whole(path.text, original, size);
  }
  CHECK_OK(hotrow_checkpoint_verify(path_of("damaged", "").text, NULL, NULL));
}

static void flipped_bytes_of_data_are_found(void)
{
  hr_rng rng = {hr_test_seed(4)};
  for (size_t round = 0; round < 1000; round++) {
    const char *file = data_files[round % data_file_count];
    hr_path path = path_of("damaged", file);
    size_t size = read_whole(path.text, original, sizeof original), at = hr_rng_below(&rng, size);
    memcpy(changed, original, size);
    changed[at] ^= (uint8_t)(1 + hr_rng_below(&rng, 255));
    write_whole(path.text, changed, size);
    REFUSED("damaged", HOTROW_ERR_CORRUPT, file);
    write_whole(path.text, original, size);
  }
  for (size_t i = 0; i < data_file_count; i++) {
    hr_path path = path_of("damaged", data_files[i]);
    size_t size = read_whole(path.text, original, sizeof original);
    CHECK(unlink(path.text) == 0);
    REFUSED("damaged", HOTROW_ERR_NOT_FOUND, data_files[i]);
    write_whole(path.text, original, size - 1);
    REFUSED("damaged", HOTROW_ERR_CORRUPT, data_files[i]);
    write_whole(path.text, original, size + 1);
    REFUSED("damaged", HOTROW_ERR_CORRUPT, data_files[i]);
    write_whole(path.text, original, size);
  }
}

/* RocksDB would play a log that lies there. */
static void files_that_no_manifest_lists_are_refused(void)
{
  hr_path path = path_of("damaged", "shard-1-of-2/000099.log");
  write_whole(path.text, (const uint8_t *)"x", 1);
  REFUSED("damaged", HOTROW_ERR_CORRUPT, "shard-1-of-2/000099.log: not one of the files that MANIFEST lists");
  CHECK(unlink(path.text) == 0);
}

static void rehash(uint8_t *bytes, size_t size)
{
  uint64_t hash = hr_hash_bytes(bytes, size - sizeof hash);
  memcpy(bytes + size - sizeof hash, &hash, sizeof hash);
}

/* With checksums that fit: what a hostile writer could bring. Of part 0. */
static void forge(size_t offset, const void *bytes, size_t size, const char *words)
{
  static uint8_t top[4096], top_original[4096];
  hr_path manifest = path_of("damaged", "shard-0-of-2/MANIFEST"), checkpoint = path_of("damaged", HR_CHECKPOINT_FILE);
  size_t manifest_size = read_whole(manifest.text, original, sizeof original);
  size_t top_size = read_whole(checkpoint.text, top_original, sizeof top_original);
  memcpy(changed, original, manifest_size);
  memcpy(changed + offset, bytes, size);
  rehash(changed, manifest_size);
  memcpy(top, top_original, top_size);
  hr_checkpoint_part part;
  memcpy(&part, top + sizeof(hr_checkpoint_header), sizeof part);
  part.manifest_hash = hr_hash_bytes(changed, manifest_size);
  if (offset == sizeof(hr_manifest_header) + offsetof(hr_manifest_table, desc.row_count))
    part.row_count++;
  memcpy(top + sizeof(hr_checkpoint_header), &part, sizeof part);
  rehash(top, top_size);
  write_whole(manifest.text, changed, manifest_size);
  write_whole(checkpoint.text, top, top_size);
  uint8_t *rows;
  size_t rows_size;
  CHECK_FAILS(cluster_load_rows(path_of("damaged", "").text, 1, &rows, &rows_size), HOTROW_ERR_CORRUPT, words);
  write_whole(manifest.text, original, manifest_size);
  write_whole(checkpoint.text, top_original, top_size);
}

static void a_forged_manifest_leads_nowhere(void)
{
  const size_t table = sizeof(hr_manifest_header), file = table + sizeof(hr_manifest_table);
  static const char long_name[HR_MANIFEST_NAME_BYTES] = "012345678901234567890123456789012345678901234567";
  hr_manifest_table stored;
  read_whole(path_of("damaged", "shard-0-of-2/MANIFEST").text, original, sizeof original);
  memcpy(&stored, original + table, sizeof stored);
  uint64_t row_count = stored.desc.row_count + 1;
  uint32_t one = 1;
  forge(file, "../../../etc/passwd", 20, "file 0 of the database is called ../../../etc/passwd");
  forge(file, "x/y", 4, "file 0 of the database is called x/y");
  forge(file, "", 1, "file 0 of the database is called");
  forge(file, HR_MANIFEST_FILE, 9, "file 0 of the database is called MANIFEST");
  forge(file, long_name, sizeof long_name, "file 0 of the database is called 0123");
  forge(file, "zzz", 4, "file 1 of the database is called"); /* out of their order */
  forge(file + offsetof(hr_manifest_file, hash), &row_count, 8, "its bytes do not match the checksum in MANIFEST");
  forge(table + offsetof(hr_manifest_table, desc.row_count), &row_count, 8, "rows of table t, it is said to have");
  forge(table + offsetof(hr_manifest_table, file_size), &row_count, 8, "do not make a file of");
  forge(offsetof(hr_manifest_header, reserved), &one, 4, "reserved field 1");
  forge(0, HR_PART_MAGIC, 8, "files of a database");
  forge(0, HR_MANIFEST_MAGIC, 8, "MANIFEST: of a save");
}

static void inspect_says_what_is_there(void)
{
  hotrow_checkpoint_info *info;
  CHECK_OK(hotrow_checkpoint_inspect(path_of("damaged", "").text, &info));
  CHECK(info->is_checkpoint && info->shard_count == SHARDS && info->step == 5 && info->table_count == 1);
  CHECK_EQ(info->tables[0].row_count, KEYS);
  CHECK_EQ(info->tables[0].size_bytes, KEYS * (8 + 4 + 4 * 2 * TEST_DIM));
  CHECK(info->size_bytes > info->tables[0].size_bytes);
  hotrow_checkpoint_info_free(info);
}

/* ---- data directories ---- */

static void a_checkpoint_is_no_data_directory(void)
{
  hr_path path = path_of("damaged", "");
  hr_rocksdb *storage;
  uint64_t before = fingerprint(path.text);
  CHECK_FAILS(hr_rocksdb_open(path.text, 0, SHARDS, 0, &storage), HOTROW_ERR_EXISTS, "it is a checkpoint or save");
  CHECK_EQ(fingerprint(path.text), before);
}

static void a_data_directory_loads_at_any_count(void)
{
  const char *dir = scratch("source");
  disk_cluster c;
  size_t size;
  uint8_t *none;
  cluster_open(&c, SHARDS, dir, save_dir(), NULL);
  cluster_push(&c, 0, KEYS, 2.0f);
  cluster_cut(&c);
  CHECK_OK(cluster_make(&c, "source", 1, 0)); /* so that some rows are in table files, and some in the log */
  cluster_push(&c, 3, KEYS, 1.0f);
  cluster_cut(&c);
  CHECK_FAILS(cluster_load_rows(dir, 1, &none, &size), HOTROW_ERR_BUSY, "is in use: a server has shard 0 open");
  uint8_t *rows = cluster_rows(c.shards, SHARDS, &size);
  cluster_push(&c, 0, KEYS, 9.0f); /* in no cut */
  cluster_close(&c);
  uint64_t before = fingerprint(dir);
  for (uint32_t count = 1; count <= 3; count++)
    check_equal(rows, size, dir, count);
  CHECK_EQ(fingerprint(dir), before);
  free(rows);
  CHECK_FAILS(hotrow_checkpoint_verify(dir, NULL, NULL), HOTROW_ERR_INVALID, "source: a data directory, and no");
  hr_rocksdb *storage;
  CHECK_FAILS(hr_rocksdb_open(dir, 0, 3, 0, &storage), HOTROW_ERR_EXISTS, "hotrow restore");
}

static void what_is_no_whole_data_directory_is_refused(void)
{
  const char *dir = scratch("source");
  hr_path part, aside, current;
  uint8_t *rows;
  size_t size;
  CHECK_OK(hr_path_format(&part, "%s/shard-1-of-2", dir));
  CHECK_OK(hr_path_format(&aside, "%s/aside", dir));
  CHECK(rename(part.text, aside.text) == 0);
  CHECK_FAILS(cluster_load_rows(dir, 1, &rows, &size), HOTROW_ERR_NOT_FOUND, "shard-1-of-2/CURRENT: missing");
  CHECK(rename(aside.text, part.text) == 0);
  CHECK_OK(hr_path_format(&current, "%s/CURRENT", part.text));
  size_t current_size = read_whole(current.text, original, sizeof original);
  write_whole(current.text, (const uint8_t *)"x", 1);
  CHECK_FAILS(cluster_load_rows(dir, 1, &rows, &size), HOTROW_ERR_CORRUPT, "shard-1-of-2");
  write_whole(current.text, original, current_size);
  hr_path first;
  CHECK_OK(hr_path_format(&first, "%s/shard-0-of-2", dir));
  CHECK(rename(first.text, aside.text) == 0 && rename(part.text, first.text) == 0 &&
        rename(aside.text, part.text) == 0);
  CHECK_FAILS(cluster_load_rows(dir, 1, &rows, &size), HOTROW_ERR_CORRUPT, "shard-0-of-2: is of shard 1 of 2");
}

int main(void)
{
  RUN(it_holds_one_cut_and_loads_at_any_count);
  RUN(rows_that_are_not_in_memory_are_in_it);
  RUN(the_next_cut_waits_until_the_database_is_copied);
  RUN(a_checkpoint_waits_for_the_cut_before_it);
  RUN(one_that_is_dropped_or_replaced_has_nothing_copied);
  RUN(a_storage_that_fails_is_told_to_who_waits);
  RUN(a_file_that_is_gone_before_it_is_published_is_missed);
  RUN(the_second_one_writes_what_is_new);
  prepare_damage();
  RUN(inspect_says_what_is_there);
  RUN(every_byte_of_the_manifests_counts);
  RUN(flipped_bytes_of_data_are_found);
  RUN(files_that_no_manifest_lists_are_refused);
  RUN(a_forged_manifest_leads_nowhere);
  RUN(a_checkpoint_is_no_data_directory);
  RUN(a_data_directory_loads_at_any_count);
  RUN(what_is_no_whole_data_directory_is_refused);
  return 0;
}
