/* Writes the fuzzer's corpus: sound messages of every operation, and for every sentence of refusal that mutations of
 * them come by, one that gets it. A file is named by what must become of it. make_wire_corpus DIR */
#include <ctype.h>

#include "fuzz_message.h"
#include "hr_test.h"
#include "packet.h"

#define INPUT_BYTES_MAX 65536u
#define SEEDS_MAX 256u
#define REFUSALS_MAX 256u
#define NAME_BYTES 64u
#define MUTATIONS 3000000u
#define REFUSED_BYTES_MAX 1200u /* of a refused input that is kept */

static const char *dir;
static struct {
  uint8_t bytes[2048];
  size_t size;
} seeds[SEEDS_MAX];
static size_t seed_count;
static char refusals[REFUSALS_MAX][NAME_BYTES];
static size_t refusal_count;

static void write_input(const char *name, const uint8_t *bytes, size_t size)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *file = fopen(path, "wb");
  CHECK_MSG(file != NULL, "cannot write %s", path);
  CHECK_EQ(fwrite(bytes, 1, size, file), size);
  CHECK_EQ(fclose(file), 0);
}

static void write_sound(hr_rng *rng, uint8_t op, uint16_t flags, int number)
{
  hr_message m;
  packet p;
  char name[NAME_BYTES];
  sample_message(rng, op, flags, &m);
  packet_encode(&p, &m);
  CHECK(seed_count < SEEDS_MAX);
  size_t size = packet_write(&p, seeds[seed_count].bytes, sizeof seeds[0].bytes);
  packet_fini(&p);
  if (size == 0)
    return; /* larger than inputs are kept */
  const char *direction = flags == 0 ? "request" : flags & HR_FLAG_ERROR ? "error" : "reply";
  snprintf(name, sizeof name, "ok-%s-%s-%d", hr_op_name(op), direction, number);
  write_input(name, seeds[seed_count].bytes, size);
  seeds[seed_count++].size = size;
}

/* An operation by whose name sentences about headers and bodies differ, or a number in words. */
static bool is_detail(const char *word, size_t length)
{
  static const char *const details[] = {"reply", "nan", "-nan", "inf", "-inf"};
  for (uint8_t op = 1; op < HR_OP_COUNT; op++)
    if (strlen(hr_op_name(op)) == length && strncmp(hr_op_name(op), word, length) == 0)
      return true;
  for (size_t i = 0; i < sizeof details / sizeof details[0]; i++)
    if (strlen(details[i]) == length && strncmp(details[i], word, length) == 0)
      return true;
  return false;
}

/* The words of the sentence: of each kind of refusal one is enough, whatever its numbers are. */
static void name_refusal(const char *sentence, char name[NAME_BYTES])
{
  size_t size = (size_t)snprintf(name, NAME_BYTES, "refused");
  bool is_of_section = strncmp(sentence, "section ", 8) == 0;
  for (const char *at = sentence; *at && size < NAME_BYTES - 1;) {
    size_t length = strcspn(at, " ");
    size_t bare = length > 0 && strchr(":,", at[length - 1]) ? length - 1 : length;
    bool is_word = length > 0 && (is_of_section || !is_detail(at, bare));
    for (size_t i = 0; i < length; i++)
      is_word &= isalpha((unsigned char)at[i]) || strchr("_:,", at[i]);
    if (is_word && size + 1 + length < NAME_BYTES) {
      name[size++] = '-';
      for (size_t i = 0; i < length; i++)
        if (!strchr(":,", at[i]))
          name[size++] = at[i] == '_' ? '-' : (char)tolower((unsigned char)at[i]);
    }
    at += length + (at[length] == ' ');
  }
  name[size] = 0;
}

static void keep_if_new(const uint8_t *bytes, size_t size)
{
  char name[NAME_BYTES];
  name_refusal(hotrow_last_error(), name);
  for (size_t i = 0; i < refusal_count; i++)
    if (strcmp(refusals[i], name) == 0)
      return;
  CHECK(refusal_count < REFUSALS_MAX);
  memcpy(refusals[refusal_count++], name, NAME_BYTES);
  write_input(name, bytes, size);
}

int main(int argc, char **argv)
{
  static const uint16_t directions[] = {0, HR_FLAG_REPLY, HR_FLAG_REPLY | HR_FLAG_ERROR};
  static uint8_t input[INPUT_BYTES_MAX];
  hr_rng rng = {hr_test_seed(2)};
  CHECK_MSG(argc == 2, "usage: make_wire_corpus DIR");
  dir = argv[1];
  for (uint8_t op = 1; op < HR_OP_COUNT; op++)
    for (int d = 0; d < 3; d++) {
      bool is_data = op == HR_OP_TICK || (op >= HR_OP_PULL && op <= HR_OP_PUSH_PULL);
      int count = d == 2 ? op == HR_OP_PULL : is_data ? 6 : 1;
      for (int number = 1; number <= count; number++)
        write_sound(&rng, op, directions[d], number);
    }
  for (size_t round = 0; round < MUTATIONS; round++) {
    size_t i = (size_t)hr_rng_below(&rng, seed_count), size = seeds[i].size;
    memcpy(input, seeds[i].bytes, size);
    size = fuzz_mutate(input, size, sizeof input, hr_rng_next(&rng));
    if (!fuzz_message(input, size) && size <= REFUSED_BYTES_MAX)
      keep_if_new(input, size);
  }
  printf("%zu sound messages, %zu refusals\n", seed_count, refusal_count);
  return 0;
}
