#include "hr_test.h"

#include "data_files.h"
#include "text_stream.h"

static hr_text_stream *open_text(const char *path)
{
  hr_text_stream *stream;
  CHECK_OK(hr_text_stream_open(path, &stream));
  return stream;
}

static void check_line(hr_text_stream *stream, const char *expected)
{
  char *line;
  size_t size;
  CHECK_OK(hr_text_stream_next(stream, &line, &size));
  if (!expected) {
    CHECK(line == NULL);
    return;
  }
  CHECK(line != NULL);
  CHECK_EQ(size, strlen(expected));
  CHECK_MSG(strcmp(line, expected) == 0, "line is \"%.80s\", expected \"%.80s\"", line, expected);
}

/* Reads on until a line fails; returns its status. */
static hotrow_status read_to_failure(hr_text_stream *stream, uint64_t *good_lines_p)
{
  char *line;
  size_t size;
  hotrow_status status;
  *good_lines_p = 0;
  while ((status = hr_text_stream_next(stream, &line, &size)) == HOTROW_OK && line)
    ++*good_lines_p;
  return status;
}

static void test_lines_in_every_kind(void)
{
  static const char text[] = "first\n\nwindows\r\n\ttabs\t\nno newline at the end";
  for (data_kind kind = 0; kind < DATA_KIND_COUNT; kind++) {
    /* The name says nothing: the first bytes do. */
    hr_text_stream *stream = open_text(data_file_write("lines.txt", kind, text, sizeof text - 1));
    CHECK_EQ(hr_text_stream_line(stream), 0);
    check_line(stream, "first");
    check_line(stream, "");
    check_line(stream, "windows");
    check_line(stream, "\ttabs\t");
    check_line(stream, "no newline at the end");
    CHECK_EQ(hr_text_stream_line(stream), 5);
    check_line(stream, NULL);
    check_line(stream, NULL);
    CHECK_EQ(hr_text_stream_line(stream), 5);
    hr_text_stream_close(stream);

    stream = open_text(data_file_write("nothing.txt", kind, "", 0));
    check_line(stream, NULL);
    hr_text_stream_close(stream);
  }
  hr_text_stream_close(NULL);
}

/* Several megabytes, lines of every length, so that they end at every place of the buffers. */
static void test_long_files(void)
{
  enum { LINES = 3000 };
  char *text = malloc((size_t)LINES * LINES), *expected = malloc(LINES + 1);
  CHECK(text && expected);
  size_t size = 0;
  for (size_t i = 0; i < LINES; i++) {
    memset(text + size, 'a' + (int)(i % 26), i);
    text[size + i] = '\n';
    size += i + 1;
  }
  for (data_kind kind = 0; kind < DATA_KIND_COUNT; kind++) {
    hr_text_stream *stream = open_text(data_file_write("long", kind, text, size));
    for (size_t i = 0; i < LINES; i++) {
      memset(expected, 'a' + (int)(i % 26), i);
      expected[i] = 0;
      check_line(stream, expected);
    }
    check_line(stream, NULL);
    hr_text_stream_close(stream);
  }
  free(text);
  free(expected);
}

static void test_files_in_several_parts(void)
{
  for (data_kind kind = DATA_GZIP; kind < DATA_KIND_COUNT; kind++) {
    size_t one_size, two_size;
    char *one = data_file_bytes(kind, "a\nb", 3, &one_size), *two = data_file_bytes(kind, "c\nd\n", 4, &two_size);
    one = realloc(one, one_size + two_size);
    CHECK(one);
    memcpy(one + one_size, two, two_size);
    hr_text_stream *stream = open_text(data_file_write("parts", DATA_PLAIN, one, one_size + two_size));
    check_line(stream, "a");
    check_line(stream, "bc");
    check_line(stream, "d");
    check_line(stream, NULL);
    hr_text_stream_close(stream);
    free(one);
    free(two);
  }
}

/* Bytes of every value, in portions of every size. */
static void test_bytes(void)
{
  enum { BYTES = 700001 };
  unsigned char *bytes = malloc(BYTES), *read = malloc(BYTES);
  CHECK(bytes && read);
  for (size_t i = 0; i < BYTES; i++)
    bytes[i] = (unsigned char)(i * 131 >> 4);
  for (data_kind kind = 0; kind < DATA_KIND_COUNT; kind++) {
    hr_text_stream *stream = open_text(data_file_write("bytes", kind, bytes, BYTES));
    size_t done = 0, part;
    for (size_t size = 1; done < BYTES; size = size * 3 + 1, done += part) {
      const size_t wanted = size < BYTES - done ? size : BYTES - done;
      CHECK_OK(hr_text_stream_read(stream, read + done, wanted, &part));
      CHECK_EQ(part, wanted);
    }
    CHECK(memcmp(bytes, read, BYTES) == 0);
    CHECK_OK(hr_text_stream_read(stream, read, 8, &part));
    CHECK_EQ(part, 0);
    hr_text_stream_close(stream);
    stream = open_text(data_file_write("bytes", kind, bytes, 11));
    CHECK_OK(hr_text_stream_read(stream, read, 8, &part));
    CHECK_EQ(part, 8);
    CHECK_OK(hr_text_stream_read(stream, read, 8, &part));
    CHECK_EQ(part, 3);
    hr_text_stream_close(stream);
  }
  size_t size, part;
  char *cut = data_file_bytes(DATA_XZ, bytes, BYTES, &size);
  hr_text_stream *stream = open_text(data_file_write("cut", DATA_PLAIN, cut, size - 40));
  CHECK_FAILS(hr_text_stream_read(stream, read, BYTES + 1, &part), HOTROW_ERR_CORRUPT, "cut");
  hr_text_stream_close(stream);
  free(cut);
  free(bytes);
  free(read);
}

/* A line without end is refused long before it fills the memory. */
static void test_endless_line(void)
{
  enum { SIZE = 1 << 20 };
  char *text = malloc(SIZE);
  uint64_t good_lines;
  CHECK(text);
  memset(text, 'x', SIZE);
  for (data_kind kind = 0; kind < DATA_KIND_COUNT; kind++) {
    hr_text_stream *stream = open_text(data_file_write("endless", kind, text, SIZE));
    CHECK_FAILS(read_to_failure(stream, &good_lines), HOTROW_ERR_LIMIT, "endless line 1 is longer than 65535 bytes");
    hr_text_stream_close(stream);
  }
  free(text);
}

static void test_longest_line(void)
{
  char *text = malloc(HR_TEXT_LINE_MAX + 4);
  uint64_t good_lines;
  CHECK(text);
  text[0] = 'x';
  text[1] = '\n';
  memset(text + 2, 'y', HR_TEXT_LINE_MAX + 1);
  text[2 + HR_TEXT_LINE_MAX] = '\n';
  hr_text_stream *stream = open_text(data_file_write("longest", DATA_PLAIN, text, HR_TEXT_LINE_MAX + 3));
  CHECK_OK(read_to_failure(stream, &good_lines));
  CHECK_EQ(good_lines, 2);
  hr_text_stream_close(stream);

  text[2 + HR_TEXT_LINE_MAX] = 'y';
  text[3 + HR_TEXT_LINE_MAX] = '\n';
  for (size_t newline = 0; newline < 2; newline++) {
    stream = open_text(data_file_write("too-long", DATA_PLAIN, text, HR_TEXT_LINE_MAX + 3 + newline));
    CHECK_FAILS(read_to_failure(stream, &good_lines), HOTROW_ERR_LIMIT, "too-long line 2 is longer than 65535 bytes");
    CHECK_EQ(good_lines, 1);
    hr_text_stream_close(stream);
  }
  free(text);
}

static void test_cut_and_damaged_files(void)
{
  enum { LINES = 40 };
  char text[LINES * 16], words[64];
  size_t size = 0, file_size;
  uint64_t good_lines;
  for (int i = 0; i < LINES; i++)
    size += (size_t)sprintf(text + size, "line %d %x\n", i, i * 7919);
  for (data_kind kind = DATA_GZIP; kind < DATA_KIND_COUNT; kind++) {
    unsigned char *bytes = data_file_bytes(kind, text, size, &file_size);
    /* From 6 bytes on the magic is whole; before that the file is just odd text. */
    for (size_t cut = 6; cut < file_size; cut++) {
      hr_text_stream *stream = open_text(data_file_write("cut", DATA_PLAIN, bytes, cut));
      snprintf(words, sizeof words, "cut: %s data ends early after line", kind == DATA_GZIP ? "gzip" : "xz");
      CHECK_FAILS(read_to_failure(stream, &good_lines), HOTROW_ERR_CORRUPT, words);
      snprintf(words, sizeof words, "after line %llu", (unsigned long long)good_lines);
      CHECK_FAILS(read_to_failure(stream, &good_lines), HOTROW_ERR_CORRUPT, words);
      hr_text_stream_close(stream);
    }
    bytes[file_size / 2] ^= 0x55;
    hr_text_stream *stream = open_text(data_file_write("damaged", DATA_PLAIN, bytes, file_size));
    snprintf(words, sizeof words, "damaged: %s data is damaged after line", kind == DATA_GZIP ? "gzip" : "xz");
    CHECK_FAILS(read_to_failure(stream, &good_lines), HOTROW_ERR_CORRUPT, words);
    hr_text_stream_close(stream);
    bytes[file_size / 2] ^= 0x55;

    bytes = realloc(bytes, file_size + 16);
    CHECK(bytes);
    memcpy(bytes + file_size, "garbage garbage!", 16);
    stream = open_text(data_file_write("damaged", DATA_PLAIN, bytes, file_size + 16));
    CHECK_FAILS(read_to_failure(stream, &good_lines), HOTROW_ERR_CORRUPT, words);
    CHECK_EQ(good_lines, LINES);
    hr_text_stream_close(stream);
    free(bytes);
  }
}

static void test_refusals(void)
{
  hr_text_stream *stream = NULL;
  uint64_t good_lines;
  CHECK_FAILS(hr_text_stream_open("/nowhere/at/all.tsv", &stream), HOTROW_ERR_NOT_FOUND, "/nowhere/at/all.tsv");
  CHECK_FAILS(hr_text_stream_open(hr_test_tmpdir(), &stream), HOTROW_ERR_STORAGE, hr_test_tmpdir());
  CHECK(stream == NULL);
  stream = open_text(data_file_write("binary", DATA_PLAIN, "good\nb\0d\n", 9));
  CHECK_FAILS(read_to_failure(stream, &good_lines), HOTROW_ERR_CORRUPT, "binary line 2: a zero byte");
  CHECK_EQ(good_lines, 1);
  hr_text_stream_close(stream);
}

static void test_split_and_parse(void)
{
  char tabs[] = "a\t\tb\t", colons[] = "1::Star: A::B", alone[] = "";
  char *columns[4];
  uint64_t value = 77;
  CHECK_EQ(hr_text_split(tabs, "\t", columns, 4), 4);
  CHECK(strcmp(columns[0], "a") == 0 && columns[1][0] == 0 && strcmp(columns[2], "b") == 0 && columns[3][0] == 0);
  CHECK_EQ(hr_text_split(colons, "::", columns, 2), 3);
  CHECK(strcmp(columns[0], "1") == 0 && strcmp(columns[1], "Star: A") == 0);
  CHECK_EQ(hr_text_split(alone, "\t", columns, 4), 1);

  static const char *const refused[] = {"", "-1", "+1", " 1", "1 ", "1a", "0x1", "1234", "1.0"};
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
    CHECK_MSG(!hr_text_parse(refused[i], 10, 3, &value), "\"%s\" was parsed", refused[i]);
  CHECK_EQ(value, 77);
  CHECK(hr_text_parse("099", 10, 3, &value));
  CHECK_EQ(value, 99);
  CHECK(hr_text_parse("fFffE2a63", 16, 12, &value));
  CHECK_EQ(value, 0xffffe2a63);
  CHECK(!hr_text_parse("0g", 16, 12, &value));
  CHECK(hr_text_parse("ffffffffffffffff", 16, 16, &value));
  CHECK(value == UINT64_MAX);
}

int main(void)
{
  RUN(test_refusals);
  RUN(test_longest_line);
  RUN(test_endless_line);
  RUN(test_cut_and_damaged_files);
  RUN(test_lines_in_every_kind);
  RUN(test_long_files);
  RUN(test_files_in_several_parts);
  RUN(test_bytes);
  RUN(test_split_and_parse);
  return 0;
}
