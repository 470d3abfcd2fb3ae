/* Every way a value can come in, which one wins, and every way one is refused: by exit code and by the words said. */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hr_test.h"
#include "options.h"

typedef struct values {
  const char *text;
  uint64_t size;
  uint32_t count;
  uint32_t color;
  int32_t bound;
  int32_t depth;
  float rate;
  bool fast;
} values;

static const char *const colors[] = {"red", "green", NULL};

#define AT(field) offsetof(values, field)
static const hr_option options[] = {
    {"cache-text", HR_OPTION_TEXT, AT(text), "standard", 0, 0, NULL, "some words"},
    {"cache-size", HR_OPTION_U64, AT(size), "1k", 0, 0, NULL, "a size"},
    {"count", HR_OPTION_U32, AT(count), "3", 1, 64, NULL, "a count"},
    {"color", HR_OPTION_CHOICE, AT(color), NULL, 0, 0, colors, "a color"},
    {"bound", HR_OPTION_I32, AT(bound), "-1", 0, 2e9, NULL, "a bound, or -1"},
    {"depth", HR_OPTION_I32, AT(depth), NULL, 0, 0, NULL, "a depth"},
    {"rate", HR_OPTION_FLOAT, AT(rate), "0.5", -1, 1, NULL, "a rate"},
    {"fast", HR_OPTION_BOOL, AT(fast), NULL, 0, 0, NULL, "a switch"},
};
static const hr_command command = {"probe", "probe the options", NULL, options, sizeof options / sizeof options[0]};

typedef struct outcome {
  int code; /* -1: went on */
  int rest;
  values got;
  char out[8192];
  char err[2048];
} outcome;

static char *read_back(FILE *file, char *text, size_t text_size)
{
  rewind(file);
  text[fread(text, 1, text_size - 1, file)] = 0;
  fclose(file);
  return text;
}

/* Parses "probe <words>", with stdout and stderr caught. */
static outcome parse(const char *words)
{
  static char copies[64][512]; /* texts may point into argv */
  static size_t next;
  char *copy = copies[next++ % 64];
  snprintf(copy, sizeof copies[0], "%s", words);
  char *argv[16] = {"probe"};
  int argc = 1;
  for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
    argv[argc++] = word;

  outcome o = {.rest = -7};
  fflush(stdout);
  FILE *out = tmpfile(), *err = tmpfile();
  CHECK(out && err);
  int old_out = dup(1), old_err = dup(2);
  dup2(fileno(out), 1);
  dup2(fileno(err), 2);
  o.code = hr_options_parse(&command, argc, argv, &o.got, &o.rest);
  fflush(stdout);
  dup2(old_out, 1);
  dup2(old_err, 2);
  close(old_out);
  close(old_err);
  read_back(out, o.out, sizeof o.out);
  read_back(err, o.err, sizeof o.err);
  return o;
}

static const char *write_config(const char *text)
{
  static char path[512], flag[600];
  snprintf(path, sizeof path, "%s/probe.yaml", hr_test_tmpdir());
  FILE *file = fopen(path, "w");
  CHECK(file);
  fputs(text, file);
  fclose(file);
  snprintf(flag, sizeof flag, "--config %s", path);
  return flag;
}

static void check_refused(const char *words, int code, const char *const *sayings)
{
  outcome o = parse(words);
  CHECK_MSG(o.code == code, "'%s': exit code %d, expected %d (%s)", words, o.code, code, o.err);
  for (; *sayings; sayings++)
    CHECK_MSG(strstr(o.err, *sayings), "'%s' said \"%s\", expected \"%s\"", words, o.err, *sayings);
}
#define REFUSED(words, code, ...) check_refused(words, code, (const char *const[]){__VA_ARGS__, NULL})

static void flags_are_refused(void)
{
  REFUSED("--cuont 3", HR_EXIT_USAGE, "'--cuont'", "did you mean --count?", "probe --help");
  REFUSED("--zzzzzz 3", HR_EXIT_USAGE, "unknown option '--zzzzzz' (");
  REFUSED("word", HR_EXIT_USAGE, "unexpected word 'word'");
  REFUSED("-c 3", HR_EXIT_USAGE, "unexpected word '-c'");
  REFUSED("--count", HR_EXIT_USAGE, "--count needs a value");
  REFUSED("--count --fast", HR_EXIT_USAGE, "--count needs a value");
  REFUSED("--count 0", HR_EXIT_USAGE, "--count '0'", "from 1 to 64");
  REFUSED("--count 65", HR_EXIT_USAGE, "--count '65'", "from 1 to 64");
  REFUSED("--count=", HR_EXIT_USAGE, "--count ''");
  REFUSED("--count 1.5", HR_EXIT_USAGE, "whole number");
  REFUSED("--count -1", HR_EXIT_USAGE, "whole number");
  REFUSED("--count 0x10", HR_EXIT_USAGE, "whole number");
  REFUSED("--count 3x", HR_EXIT_USAGE, "whole number");
  REFUSED("--count inf", HR_EXIT_USAGE, "whole number");
  REFUSED("--cache-size 18446744073709551616", HR_EXIT_USAGE, "--cache-size '18446744073709551616'");
  REFUSED("--cache-size 18446744073709551615k", HR_EXIT_USAGE, "--cache-size");
  REFUSED("--cache-size 1e30", HR_EXIT_USAGE, "8GiB");
  REFUSED("--cache-size 1.0001k", HR_EXIT_USAGE, "8GiB");
  REFUSED("--cache-size 4kk", HR_EXIT_USAGE, "8GiB");
  REFUSED("--bound -2", HR_EXIT_USAGE, "--bound '-2'", "-1 or a whole number from 0 to 2000000000");
  REFUSED("--bound 2000000001", HR_EXIT_USAGE, "-1 or a whole number");
  REFUSED("--bound 4294967295", HR_EXIT_USAGE, "-1 or a whole number");
  REFUSED("--bound -1x", HR_EXIT_USAGE, "-1 or a whole number");
  REFUSED("--depth 2147483648", HR_EXIT_USAGE, "-1 or a whole number");
  REFUSED("--rate 1.01", HR_EXIT_USAGE, "--rate '1.01'", "from -1 to 1");
  REFUSED("--rate nan", HR_EXIT_USAGE, "a number");
  REFUSED("--rate 0.5x", HR_EXIT_USAGE, "a number");
  REFUSED("--fast=maybe", HR_EXIT_USAGE, "true or false");
  REFUSED("--color blue", HR_EXIT_USAGE, "--color 'blue'", "red, green");
  REFUSED("--log-level loud", HR_EXIT_USAGE, "error, warn, info, debug");
}

static void files_are_refused(void)
{
  REFUSED("--config /nonexistent/x.yaml", HR_EXIT_CONFIG, "/nonexistent/x.yaml", "No such file");
  REFUSED(write_config("# count\n\nfast: true\ncuont: 3\n"), HR_EXIT_CONFIG, "probe.yaml:4: ", "unknown key 'cuont'",
          "did you mean count?");
  REFUSED(write_config("fast: true\n\n# x\ncount: 99\n"), HR_EXIT_CONFIG, "probe.yaml:4: count '99'", "from 1 to 64");
  REFUSED(write_config("{fast: true,\n count: 99}\n"), HR_EXIT_CONFIG, "probe.yaml:2: count '99'");
  REFUSED(write_config("count: 3\ncount: 4\n"), HR_EXIT_CONFIG, "already seen: count");
  REFUSED(write_config("count:\n"), HR_EXIT_CONFIG, "probe.yaml:1: count ''");
  REFUSED(write_config("fast: true\ncount: [1, 2]\n"), HR_EXIT_CONFIG, "probe.yaml:2: ");
  REFUSED(write_config("- count\n"), HR_EXIT_CONFIG, "probe.yaml:1: ");
  REFUSED(write_config("count: 3\n---\ncount: 4\n"), HR_EXIT_CONFIG, "documents after first");
  REFUSED(write_config("count: \"3\n"), HR_EXIT_CONFIG, "probe.yaml:1: libyaml");
  REFUSED(write_config("{{{{"), HR_EXIT_CONFIG, "probe.yaml:1: want lines");
  REFUSED(write_config("help: true\n"), HR_EXIT_CONFIG, "unknown key 'help'");
  REFUSED(write_config("config: x\n"), HR_EXIT_CONFIG, "unknown key 'config'");
  REFUSED(write_config("print_config: true\n"), HR_EXIT_CONFIG, "unknown key 'print_config'");
  REFUSED(write_config("cache-size: 4\n"), HR_EXIT_CONFIG, "unknown key 'cache-size'", "did you mean cache_size?");
}

static void environment_is_refused(void)
{
  setenv("HOTROW_CACHE_SIZE", "many", 1);
  REFUSED("", HR_EXIT_CONFIG, "environment variable HOTROW_CACHE_SIZE 'many'", "whole number");
  /* A bad value that a flag overrides does no harm: the same variable may mean something else to another command. */
  CHECK_EQ(parse("--cache-size 5").got.size, 5);
  unsetenv("HOTROW_CACHE_SIZE");
}

static void defaults_hold(void)
{
  outcome o = parse("");
  CHECK_EQ(o.code, -1);
  CHECK_EQ(o.rest, 1);
  CHECK(strcmp(o.got.text, "standard") == 0);
  CHECK_EQ(o.got.size, 1000);
  CHECK_EQ(o.got.count, 3);
  CHECK_EQ(o.got.color, 0);
  CHECK_EQ(o.got.bound, -1);
  CHECK(o.got.rate == 0.5f);
  CHECK(!o.got.fast);
}

static void flags_are_taken(void)
{
  outcome o = parse("--cache-text=a=b --cache-size 8GiB --count=64 --color green --rate -0.25 --fast -- x --y");
  CHECK_EQ(o.code, -1);
  CHECK_EQ(o.rest, 11);
  CHECK(strcmp(o.got.text, "a=b") == 0);
  CHECK_EQ(o.got.size, (uint64_t)8 << 30);
  CHECK_EQ(o.got.count, 64);
  CHECK_EQ(o.got.color, 1);
  CHECK(o.got.rate == -0.25f);
  CHECK(o.got.fast);
  CHECK_EQ(parse("").got.depth, 0);
  CHECK_EQ(parse("--depth 2147483647").got.depth, INT32_MAX);
  CHECK_EQ(parse("--bound 0").got.bound, 0);
  CHECK_EQ(parse("--bound 2e9").got.bound, 2000000000);
  CHECK_EQ(parse("--bound 5 --bound -1").got.bound, -1);
  CHECK_EQ(parse("--count 1").got.count, 1); /* the ends of a range belong to it */
  CHECK(parse("--rate -1").got.rate == -1.0f && parse("--rate 1").got.rate == 1.0f);
  CHECK(!parse("--fast --fast=false").got.fast);
  CHECK_EQ(parse("--count 4 --count 5").got.count, 5);

  char *argv[] = {"probe", "--", "x"};
  values got;
  CHECK_EQ(hr_options_parse(&command, 3, argv, &got, NULL), HR_EXIT_USAGE);
  CHECK_EQ(hr_options_parse(&command, 2, argv, &got, NULL), -1);
}

static void sizes_are_read(void)
{
  static const struct {
    const char *words;
    uint64_t size;
  } cases[] = {
      {"--cache-size 0", 0},
      {"--cache-size 10e6", 10000000},
      {"--cache-size 1.5M", 1500000},
      {"--cache-size 1.1k", 1100},
      {"--cache-size 4k", 4000},
      {"--cache-size 4kB", 4000},
      {"--cache-size 4Ki", 4096},
      {"--cache-size 4KiB", 4096},
      {"--cache-size 0.5GiB", (uint64_t)1 << 29},
      {"--cache-size 2TB", 2000000000000},
      {"--cache-size 18446744073709551615", UINT64_MAX},
      {"--cache-size 9007199254740993", 9007199254740993}, /* 2^53 + 1: no double holds it */
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    outcome o = parse(cases[i].words);
    CHECK_MSG(o.code == -1 && o.got.size == cases[i].size, "%s gave %llu: %s", cases[i].words,
              (unsigned long long)o.got.size, o.err);
  }
}

/* flag > environment > file > default, each beside all weaker ones. */
static void precedence_holds(void)
{
  const char *config = write_config("cache_text: \"from file # still\" # comment\ncount: 10\ncache_size: 2Ki\n");
  char words[700];
  outcome o = parse(config);
  CHECK_EQ(o.code, -1);
  CHECK(strcmp(o.got.text, "from file # still") == 0);
  CHECK_EQ(o.got.count, 10);
  CHECK_EQ(o.got.size, 2048);
  setenv("HOTROW_COUNT", "20", 1);
  o = parse(config);
  CHECK_EQ(o.got.count, 20);
  CHECK_EQ(o.got.size, 2048);
  snprintf(words, sizeof words, "--count 30 %s", config);
  CHECK_EQ(parse(words).got.count, 30);
  snprintf(words, sizeof words, "%s --count 30", config);
  CHECK_EQ(parse(words).got.count, 30);
  unsetenv("HOTROW_COUNT");
  CHECK_EQ(parse(write_config("")).got.count, 3);
}

static void config_is_printed(void)
{
  setenv("HOTROW_RATE", "0.25", 1);
  char words[700];
  snprintf(words, sizeof words, "--cache-text=q\"uote --print-config %s", write_config("\ncount: 10\n"));
  outcome o = parse(words);
  CHECK_EQ(o.code, 0);
  CHECK(strstr(o.out, "cache_text: \"q\\\"uote\"  # flag\n"));
  CHECK(strstr(o.out, "cache_size: 1k  # default\n"));
  CHECK(strstr(o.out, "count: 10  # file ") && strstr(o.out, "probe.yaml:2\n"));
  CHECK(strstr(o.out, "rate: 0.25  # environment\n"));
  CHECK(strstr(o.out, "color: red  # default\n"));
  CHECK(strstr(o.out, "fast: false  # default\n"));
  unsetenv("HOTROW_RATE");

  /* What it prints is a config file of the same values. */
  o = parse(write_config(o.out));
  CHECK_EQ(o.code, -1);
  CHECK(strcmp(o.got.text, "q\"uote") == 0);
  CHECK_EQ(o.got.count, 10);
  CHECK(o.got.rate == 0.25f);
}

static void help_is_printed(void)
{
  outcome o = parse("--help --count 3");
  CHECK_EQ(o.code, 0);
  CHECK(strstr(o.out, "hotrow probe: probe the options"));
  CHECK(strstr(o.out, "--cache-size N"));
  CHECK(strstr(o.out, "[HOTROW_CACHE_SIZE, default 1k]"));
  CHECK(strstr(o.out, "a color: red green"));
  CHECK(!strstr(o.out, "HOTROW_HELP"));
  CHECK_EQ(o.err[0], 0);
}

static void every_status_has_an_exit_code(void)
{
#define CHECK_CODE(name, value, text)                                                                                  \
  CHECK(((name) == HOTROW_OK) == (hr_exit_code(name) == 0));                                                           \
  CHECK((name) == HOTROW_OK || (hr_exit_code(name) >= HR_EXIT_USAGE && hr_exit_code(name) <= HR_EXIT_CONFIG));
  HOTROW_STATUS_LIST(CHECK_CODE)
  CHECK_EQ(hr_exit_code(HOTROW_ERR_INVALID), HR_EXIT_CONFIG);
  CHECK_EQ(hr_exit_code(HOTROW_ERR_TIMED_OUT), HR_EXIT_UNAVAILABLE);
  CHECK_EQ(hr_exit_code(HOTROW_ERR_STORAGE), HR_EXIT_IO);
  CHECK_EQ(hr_exit_code(HOTROW_ERR_CORRUPT), HR_EXIT_DATA);
  CHECK_EQ(hr_exit_code(HOTROW_ERR_RESET), HR_EXIT_TEMPORARY);
  CHECK_EQ(hr_exit_code(-1000), HR_EXIT_SOFTWARE);
}

int main(void)
{
  RUN(flags_are_refused);
  RUN(files_are_refused);
  RUN(environment_is_refused);
  RUN(defaults_hold);
  RUN(flags_are_taken);
  RUN(sizes_are_read);
  RUN(precedence_holds);
  RUN(config_is_printed);
  RUN(help_is_printed);
  RUN(every_status_has_an_exit_code);
  return 0;
}
