/* The fuzzer's corpus replayed, and some seeded mutations of it, with any compiler: test_wire_corpus DIR */
#include <dirent.h>

#include <hr/random.h>

#include "fuzz_message.h"
#include "hr_test.h"

#define INPUT_BYTES_MAX 65536u
#define FILES_MAX 1024u

static struct {
  char name[256];
  uint8_t *bytes;
  size_t size;
} files[FILES_MAX];
static size_t file_count;

static void load(const char *dir, const char *name)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *file = fopen(path, "rb");
  CHECK_MSG(file != NULL, "cannot read %s", path);
  uint8_t *bytes = malloc(INPUT_BYTES_MAX);
  CHECK(bytes != NULL && file_count < FILES_MAX);
  snprintf(files[file_count].name, sizeof files[0].name, "%s", name);
  files[file_count].bytes = bytes;
  files[file_count++].size = fread(bytes, 1, INPUT_BYTES_MAX, file);
  fclose(file);
}

static bool begins(const char *name, const char *with)
{
  return strncmp(name, with, strlen(with)) == 0;
}

/* Files are named by what must become of them, ok-... or refused-...; those named otherwise must only break no promise.
 */
static void the_corpus_holds(void)
{
  size_t accepted = 0;
  for (size_t i = 0; i < file_count; i++) {
    bool is_accepted = fuzz_message(files[i].bytes, files[i].size);
    CHECK_MSG(!(is_accepted && begins(files[i].name, "refused-")), "%s was accepted", files[i].name);
    CHECK_MSG(is_accepted || !begins(files[i].name, "ok-"), "%s: %s", files[i].name, hotrow_last_error());
    accepted += is_accepted;
  }
  printf("%zu inputs, %zu accepted\n", file_count, accepted);
}

static void mutations_of_it_hold(void)
{
  hr_rng rng = {hr_test_seed(21)};
  static uint8_t input[INPUT_BYTES_MAX];
  size_t accepted = 0, rounds = 20000;
  for (size_t round = 0; round < rounds; round++) {
    size_t i = (size_t)hr_rng_below(&rng, file_count), size = files[i].size;
    memcpy(input, files[i].bytes, size);
    for (int depth = 0; depth < 3; depth++) {
      size = fuzz_mutate(input, size, sizeof input, hr_rng_next(&rng));
      accepted += fuzz_message(input, size);
    }
  }
  printf("%zu mutations, %zu accepted\n", 3 * rounds, accepted);
  CHECK(accepted > rounds / 10);
}

int main(int argc, char **argv)
{
  CHECK_MSG(argc == 2, "usage: test_wire_corpus DIR");
  DIR *dir = opendir(argv[1]);
  CHECK_MSG(dir != NULL, "no directory %s", argv[1]);
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
    if (entry->d_name[0] != '.')
      load(argv[1], entry->d_name);
  closedir(dir);
  CHECK_MSG(file_count > 0, "%s is empty", argv[1]);
  RUN(the_corpus_holds);
  RUN(mutations_of_it_hold);
  for (size_t i = 0; i < file_count; i++)
    free(files[i].bytes);
  return 0;
}
