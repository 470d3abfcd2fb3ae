/* What a job's checkpoint holds: all that its ranks pushed up to that step, also what they kept back, and nothing after
 * it, although they go on while it is written. */
#include <pthread.h>
#include <sys/stat.h>

#include <hotrow/checkpoint.h>

#include "worker_test.h"

#define RANKS 3u
#define KEYS 64u
#define STEPS 5u
#define BLOB_SIZE ((3u << 20) + 17u) /* of several messages, and then some */

static test_servers servers;
static uint8_t blob[BLOB_SIZE];

static const char *save_dir(void)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/checkpoints", hr_test_tmpdir());
  mkdir(path, 0777);
  return path;
}

static const char *path_of(const char *name)
{
  static char path[600];
  snprintf(path, sizeof path, "%s/%s", save_dir(), name);
  return path;
}

typedef struct rank {
  uint32_t index, push_bound;
  const char *name;
} rank;

static void push_steps(hotrow_client *client, hotrow_table *table, uint32_t count)
{
  uint64_t keys[KEYS];
  float grads[KEYS], rows[KEYS];
  for (uint32_t i = 0; i < KEYS; i++) {
    keys[i] = i;
    grads[i] = -1.0f;
  }
  for (uint32_t step = 0; step < count; step++) {
    test_read(client, table, keys, KEYS, rows);
    test_push(client, table, keys, KEYS, grads);
    CHECK_OK(hotrow_step(client, 0));
  }
}

static void *train(void *context)
{
  const rank *r = context;
  hotrow_client *client = test_open(servers.endpoints, r->index, RANKS);
  hotrow_table *table = test_counting_table(client, "t", 1, 1000, r->push_bound * 10, r->push_bound);
  hotrow_checkpoint_options options = HOTROW_CHECKPOINT_OPTIONS_INIT;
  options.name = r->name;
  options.step = 77;
  options.blob = blob;
  options.blob_size = r->index == 0 ? sizeof blob : 0;
  push_steps(client, table, STEPS);
  CHECK_OK(hotrow_checkpoint_begin(client, &options));
  push_steps(client, table, STEPS); /* these are not in it */
  bool is_published = false;
  if (r->index == 0)
    CHECK_OK(hotrow_checkpoint_poll(client, &is_published));
  CHECK_OK(hotrow_flush(client, 0));
  CHECK_OK(hotrow_checkpoint_finish(client, 0));
  CHECK_OK(hotrow_checkpoint_poll(client, &is_published));
  CHECK(is_published);
  CHECK_OK(hotrow_barrier(client, 0));
  hotrow_client_close(client);
  return NULL;
}

static void run_job(const char *name, uint32_t push_bound)
{
  pthread_t threads[RANKS];
  rank ranks[RANKS];
  test_start(&servers, 2, save_dir(), NULL);
  for (uint32_t i = 0; i < RANKS; i++) {
    ranks[i] = (rank){i, push_bound, name};
    CHECK_EQ(pthread_create(&threads[i], NULL, train, &ranks[i]), 0);
  }
  for (uint32_t i = 0; i < RANKS; i++)
    CHECK_EQ(pthread_join(threads[i], NULL), 0);
  test_stop(&servers);
}

static void check_restored(const char *name)
{
  test_start(&servers, 3, save_dir(), path_of(name));
  hotrow_client *client = test_open(servers.endpoints, 0, 1);
  void *bytes;
  size_t size;
  uint64_t step;
  CHECK_OK(hotrow_checkpoint_restored(client, &bytes, &size, &step, 0));
  CHECK_EQ(size, sizeof blob);
  CHECK_EQ(step, 77);
  CHECK(memcmp(bytes, blob, size) == 0);
  free(bytes);
  uint64_t keys[KEYS];
  float rows[KEYS];
  for (uint32_t i = 0; i < KEYS; i++)
    keys[i] = i;
  hotrow_table *table = test_counting_table(client, "t", 1, 0, 0, 0);
  test_read(client, table, keys, KEYS, rows);
  for (uint32_t i = 0; i < KEYS; i++)
    CHECK_MSG(rows[i] == (float)(RANKS * STEPS), "row %u has %g steps, expected %u", i, (double)rows[i], RANKS * STEPS);
  hotrow_client_close(client);
  test_stop(&servers);
}

static void it_is_of_one_step(void)
{
  for (size_t i = 0; i < sizeof blob; i++)
    blob[i] = (uint8_t)(i * 7 + i / 1000);
  static const uint32_t bounds[] = {0, 3, 100}; /* exact; some is kept back; all is */
  for (size_t i = 0; i < 3; i++) {
    char name[32];
    snprintf(name, sizeof name, "of-%u", bounds[i]);
    for (uint32_t round = 0; round < 5; round++) {
      run_job(name, bounds[i]);
      check_restored(name);
    }
  }
}

static void what_is_refused(void)
{
  hotrow_checkpoint_options options = HOTROW_CHECKPOINT_OPTIONS_INIT;
  test_start(&servers, 2, save_dir(), NULL);
  hotrow_client *client = test_open(servers.endpoints, 0, 1), *reader = test_open_reader(servers.endpoints);
  void *bytes;
  size_t size;
  uint64_t step;
  bool is_published;
  CHECK_FAILS(hotrow_checkpoint_restored(client, &bytes, &size, &step, 0), HOTROW_ERR_NOT_FOUND,
              "was not started from a checkpoint");
  CHECK_FAILS(hotrow_checkpoint_restored(client, NULL, &size, &step, 0), HOTROW_ERR_INVALID, "is NULL");
  CHECK_FAILS(hotrow_checkpoint_begin(client, NULL), HOTROW_ERR_INVALID, "is NULL");
  CHECK_FAILS(hotrow_checkpoint_begin(client, &options), HOTROW_ERR_INVALID, "needs a name");
  options.name = ".x";
  CHECK_FAILS(hotrow_checkpoint_begin(client, &options), HOTROW_ERR_INVALID, "begins with a dot");
  options.name = "x";
  CHECK_FAILS(hotrow_checkpoint_begin(reader, &options), HOTROW_ERR_INVALID, "read-only");
  options.blob_size = 1;
  CHECK_FAILS(hotrow_checkpoint_begin(client, &options), HOTROW_ERR_INVALID, "blob is NULL");
  options.blob = blob;
  options.blob_size = (size_t)HOTROW_CHECKPOINT_BLOB_MAX + 1;
  CHECK_FAILS(hotrow_checkpoint_begin(client, &options), HOTROW_ERR_LIMIT, "blob of 1073741825 bytes");
  options.blob_size = 0;
  options.keep = HOTROW_CHECKPOINT_KEEP_MAX + 1;
  CHECK_FAILS(hotrow_checkpoint_begin(client, &options), HOTROW_ERR_LIMIT, "keep 1000001");
  options.keep = 0;
  options.flags = 4;
  CHECK_FAILS(hotrow_checkpoint_begin(client, &options), HOTROW_ERR_INVALID, "flags 0x4");
  options.flags = 0;
  options.reserved = 9;
  CHECK_FAILS(hotrow_checkpoint_begin(client, &options), HOTROW_ERR_INVALID, "reserved is 9");
  options.reserved = 0;
  CHECK_OK(hotrow_checkpoint_poll(client, &is_published)); /* none was begun */
  CHECK(is_published);
  CHECK_OK(hotrow_checkpoint_begin(client, &options));
  CHECK_OK(hotrow_checkpoint_begin(client, &options)); /* takes the place of the first */
  CHECK_OK(hotrow_checkpoint_finish(client, 0));
  CHECK_OK(hotrow_checkpoint(client, &options));
  hotrow_client_close(reader);
  hotrow_client_close(client);
  test_stop(&servers);
  CHECK_OK(hotrow_checkpoint_verify(path_of("x"), NULL, NULL));
}

int main(void)
{
  RUN(it_is_of_one_step);
  RUN(what_is_refused);
  return 0;
}
