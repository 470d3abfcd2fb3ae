#include "data_files.h"

#include <lzma.h>
#include <zlib.h>

#include "hr_test.h"

static void *gzip_bytes(const void *text, size_t size, size_t *size_p)
{
  z_stream gzip = {0};
  CHECK(deflateInit2(&gzip, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  size_t room = deflateBound(&gzip, size) + 64;
  unsigned char *bytes = malloc(room), *copy = malloc(size + 1);
  CHECK(bytes && copy);
  memcpy(copy, text, size);
  gzip.next_in = copy;
  gzip.avail_in = (uInt)size;
  gzip.next_out = bytes;
  gzip.avail_out = (uInt)room;
  CHECK(deflate(&gzip, Z_FINISH) == Z_STREAM_END);
  *size_p = room - gzip.avail_out;
  deflateEnd(&gzip);
  free(copy);
  return bytes;
}

void *data_file_bytes(data_kind kind, const void *text, size_t size, size_t *size_p)
{
  if (kind == DATA_GZIP)
    return gzip_bytes(text, size, size_p);
  size_t room = lzma_stream_buffer_bound(size);
  uint8_t *bytes = malloc(room);
  CHECK(bytes);
  *size_p = 0;
  if (kind == DATA_XZ) {
    CHECK(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, NULL, text, size, bytes, size_p, room) == LZMA_OK);
  } else {
    memcpy(bytes, text, size);
    *size_p = size;
  }
  return bytes;
}

const char *data_file_write(const char *name, data_kind kind, const void *text, size_t size)
{
  static char paths[8][512];
  static unsigned next;
  char *path = paths[next++ % 8];
  size_t file_size;
  void *bytes = data_file_bytes(kind, text, size, &file_size);
  snprintf(path, sizeof paths[0], "%s/%s", hr_test_tmpdir(), name);
  FILE *file = fopen(path, "wb");
  CHECK_MSG(file != NULL, "cannot write %s", path);
  CHECK(fwrite(bytes, 1, file_size, file) == file_size);
  CHECK(fclose(file) == 0);
  free(bytes);
  return path;
}

const char *data_file_text(const char *name, const char *text)
{
  return data_file_write(name, DATA_PLAIN, text, strlen(text));
}

char *data_criteo_lines(size_t count)
{
  char *text = malloc(count * 640 + 1);
  CHECK(text);
  size_t size = 0;
  text[0] = 0;
  for (size_t i = 0; i < count; i++) {
    size += (size_t)sprintf(text + size, "%zu", i % 2);
    for (size_t j = 0; j < 13; j++)
      size += (size_t)sprintf(text + size, "\t%zu", i + j);
    for (size_t j = 0; j < 26; j++)
      size += (size_t)sprintf(text + size, "\t%08zx", i + 0x100 * j);
    size += (size_t)sprintf(text + size, "\n");
  }
  return text;
}
