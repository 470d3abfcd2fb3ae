#include "text_stream.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lzma.h>
#include <zlib.h>

#include <hr/assert.h>
#include <hr/memory.h>

#define INPUT_BYTES 65536u
#define XZ_MEMORY_MAX (UINT64_C(1) << 30) /* a file names its own dictionary size */
#define TEXT_BYTES (4 * (HR_TEXT_LINE_MAX + 1u))

typedef enum text_kind { TEXT_PLAIN, TEXT_GZIP, TEXT_XZ } text_kind;

static const char *const kind_names[] = {"text", "gzip", "xz"};

struct hr_text_stream {
  FILE *file;
  char *path;
  text_kind kind;
  z_stream gzip;
  lzma_stream xz;
  bool decoder_open; /* the decoder of `kind` has memory to give back */
  bool member_open;  /* gzip: inside a member; what ends here is cut off */
  bool input_ended;
  bool ended; /* no text will follow what is in `text` */
  uint64_t line;
  size_t input_begin; /* bytes of `input` not decoded yet: [input_begin, input_end) */
  size_t input_end;
  size_t text_begin; /* bytes of `text` not given yet: [text_begin, text_end) */
  size_t text_end;
  unsigned char input[INPUT_BYTES];
  char text[TEXT_BYTES + 1]; /* one more for the closing 0 of a last line without a newline */
};

uint64_t hr_text_stream_line(const hr_text_stream *stream)
{
  return stream->line;
}

const char *hr_text_stream_path(const hr_text_stream *stream)
{
  return stream->path;
}

hotrow_status hr_text_stream_fail(const hr_text_stream *stream, const char *format, ...)
{
  char sentence[HR_ERROR_TEXT_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(sentence, sizeof sentence, format, args);
  va_end(args);
  return hr_fail(HOTROW_ERR_CORRUPT, "%s line %llu: %s", stream->path, (unsigned long long)stream->line, sentence);
}

static hotrow_status read_input(hr_text_stream *stream)
{
  HOTROW_ASSERT(stream->input_begin == stream->input_end);
  if (stream->input_ended)
    return HOTROW_OK;
  stream->input_begin = 0;
  stream->input_end = fread(stream->input, 1, INPUT_BYTES, stream->file);
  if (ferror(stream->file))
    return hr_fail(HOTROW_ERR_STORAGE, "cannot read %s after line %llu: %s", stream->path,
                   (unsigned long long)stream->line, strerror(errno));
  stream->input_ended = stream->input_end < INPUT_BYTES;
  return HOTROW_OK;
}

static hotrow_status damaged(const hr_text_stream *stream, const char *what)
{
  return hr_fail(HOTROW_ERR_CORRUPT, "%s: %s data %s after line %llu", stream->path, kind_names[stream->kind], what,
                 (unsigned long long)stream->line);
}

static hotrow_status open_decoder(hr_text_stream *stream)
{
  static const unsigned char gzip_magic[] = {0x1f, 0x8b}, xz_magic[] = {0xfd, '7', 'z', 'X', 'Z', 0};
  HOTROW_TRY(read_input(stream));
  if (stream->input_end >= sizeof gzip_magic && memcmp(stream->input, gzip_magic, sizeof gzip_magic) == 0) {
    stream->kind = TEXT_GZIP;
    if (inflateInit2(&stream->gzip, 15 + 16) != Z_OK) /* 15: largest window; 16: gzip header and checksum */
      return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory to decompress %s", stream->path);
    stream->decoder_open = true;
  } else if (stream->input_end >= sizeof xz_magic && memcmp(stream->input, xz_magic, sizeof xz_magic) == 0) {
    stream->kind = TEXT_XZ;
    if (lzma_stream_decoder(&stream->xz, XZ_MEMORY_MAX, LZMA_CONCATENATED) != LZMA_OK)
      return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory to decompress %s", stream->path);
    stream->decoder_open = true;
  }
  return HOTROW_OK;
}

hotrow_status hr_text_stream_open(const char *path, hr_text_stream **stream_p)
{
  hr_text_stream *stream = NULL;
  hotrow_status status = hr_alloc(1, sizeof *stream, "text stream", (void **)&stream);
  if (status != HOTROW_OK)
    return status;
  stream->path = strdup(path);
  if (!stream->path) {
    status = hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for the name of %s", path);
    goto close_stream;
  }
  stream->file = fopen(path, "rb");
  if (!stream->file) {
    status = hr_fail(HOTROW_ERR_NOT_FOUND, "cannot open %s: %s", path, strerror(errno));
    goto close_stream;
  }
  status = open_decoder(stream);
  if (status != HOTROW_OK)
    goto close_stream;
  *stream_p = stream;
  return HOTROW_OK;

close_stream:
  hr_text_stream_close(stream);
  return status;
}

void hr_text_stream_close(hr_text_stream *stream)
{
  if (!stream)
    return;
  if (stream->decoder_open && stream->kind == TEXT_GZIP)
    inflateEnd(&stream->gzip);
  if (stream->decoder_open && stream->kind == TEXT_XZ)
    lzma_end(&stream->xz);
  if (stream->file)
    fclose(stream->file);
  free(stream->path);
  free(stream);
}

static hotrow_status decode_plain(hr_text_stream *stream, size_t room)
{
  size_t input_size = stream->input_end - stream->input_begin;
  size_t size = input_size < room ? input_size : room;
  memcpy(stream->text + stream->text_end, stream->input + stream->input_begin, size);
  stream->input_begin += size;
  stream->text_end += size;
  stream->ended = stream->input_ended && stream->input_begin == stream->input_end;
  return HOTROW_OK;
}

static hotrow_status decode_gzip(hr_text_stream *stream, size_t room)
{
  z_stream *gzip = &stream->gzip;
  if (stream->input_begin == stream->input_end) {
    stream->ended = !stream->member_open;
    return stream->ended ? HOTROW_OK : damaged(stream, "ends early");
  }
  gzip->next_in = stream->input + stream->input_begin;
  gzip->avail_in = (uInt)(stream->input_end - stream->input_begin);
  gzip->next_out = (unsigned char *)stream->text + stream->text_end;
  gzip->avail_out = (uInt)room;
  stream->member_open = true;
  int result = inflate(gzip, Z_NO_FLUSH);
  stream->input_begin = stream->input_end - gzip->avail_in;
  stream->text_end += room - gzip->avail_out;
  if (result == Z_STREAM_END) { /* a file may hold several members, one after the other */
    stream->member_open = false;
    result = inflateReset(gzip);
  }
  return result == Z_OK || result == Z_BUF_ERROR ? HOTROW_OK : damaged(stream, "is damaged");
}

static hotrow_status decode_xz(hr_text_stream *stream, size_t room)
{
  lzma_stream *xz = &stream->xz;
  xz->next_in = stream->input + stream->input_begin;
  xz->avail_in = stream->input_end - stream->input_begin;
  xz->next_out = (uint8_t *)stream->text + stream->text_end;
  xz->avail_out = room;
  lzma_ret result = lzma_code(xz, stream->input_ended ? LZMA_FINISH : LZMA_RUN);
  stream->input_begin = stream->input_end - xz->avail_in;
  stream->text_end += room - xz->avail_out;
  stream->ended = result == LZMA_STREAM_END;
  if (result == LZMA_BUF_ERROR)
    return damaged(stream, "ends early");
  if (result == LZMA_MEM_ERROR || result == LZMA_MEMLIMIT_ERROR)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "%s needs %llu bytes to decompress, the limit is %llu", stream->path,
                   (unsigned long long)lzma_memusage(xz), (unsigned long long)XZ_MEMORY_MAX);
  return result == LZMA_OK || stream->ended ? HOTROW_OK : damaged(stream, "is damaged");
}

/* Adds text behind what is there; some, unless the file ended. */
static hotrow_status decode_more(hr_text_stream *stream)
{
  static hotrow_status (*const decoders[])(hr_text_stream *, size_t) = {decode_plain, decode_gzip, decode_xz};
  memmove(stream->text, stream->text + stream->text_begin, stream->text_end - stream->text_begin);
  stream->text_end -= stream->text_begin;
  stream->text_begin = 0;
  size_t text_end = stream->text_end;
  HOTROW_ASSERT(text_end < TEXT_BYTES);
  while (stream->text_end == text_end && !stream->ended) {
    if (stream->input_begin == stream->input_end)
      HOTROW_TRY(read_input(stream));
    hotrow_status status = decoders[stream->kind](stream, TEXT_BYTES - stream->text_end);
    /* Lines before the damage are given first, so that the sentence names the right line: a decoder fails again. */
    if (status != HOTROW_OK && stream->text_end == text_end)
      return status;
  }
  return HOTROW_OK;
}

hotrow_status hr_text_stream_next(hr_text_stream *stream, char **line_p, size_t *size_p)
{
  char *newline;
  size_t size, searched = 0;
  for (;;) {
    char *begin = stream->text + stream->text_begin;
    size = stream->text_end - stream->text_begin;
    newline = memchr(begin + searched, '\n', size - searched);
    if (newline || stream->ended || size > HR_TEXT_LINE_MAX)
      break;
    searched = size;
    HOTROW_TRY(decode_more(stream));
  }
  if (newline)
    size = (size_t)(newline - (stream->text + stream->text_begin));
  else if (size == 0) {
    *line_p = NULL;
    *size_p = 0;
    return HOTROW_OK;
  }
  stream->line++;
  if (size > HR_TEXT_LINE_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%s line %llu is longer than %u bytes", stream->path,
                   (unsigned long long)stream->line, HR_TEXT_LINE_MAX);
  char *line = stream->text + stream->text_begin;
  stream->text_begin += size + (newline ? 1 : 0);
  if (memchr(line, 0, size))
    return hr_text_stream_fail(stream, "a zero byte: this is not a text file");
  if (size > 0 && line[size - 1] == '\r')
    size--;
  line[size] = 0;
  *line_p = line;
  *size_p = size;
  return HOTROW_OK;
}

hotrow_status hr_text_stream_read(hr_text_stream *stream, void *bytes, size_t size, size_t *read_p)
{
  size_t done = 0;
  while (done < size) {
    const size_t there = stream->text_end - stream->text_begin, part = there < size - done ? there : size - done;
    memcpy((char *)bytes + done, stream->text + stream->text_begin, part);
    stream->text_begin += part;
    done += part;
    if (done < size && stream->ended)
      break;
    if (done < size)
      HOTROW_TRY(decode_more(stream));
  }
  *read_p = done;
  return HOTROW_OK;
}

size_t hr_text_split(char *line, const char *separator, char **columns, size_t column_max)
{
  size_t separator_size = strlen(separator), count = 0;
  HOTROW_ASSERT(separator_size > 0 && column_max > 0);
  for (char *column = line; column;) {
    char *next = strstr(column, separator);
    if (next) {
      *next = 0;
      next += separator_size;
    }
    if (count < column_max)
      columns[count] = column;
    count++;
    column = next;
  }
  return count;
}

bool hr_text_parse(const char *text, unsigned base, size_t digit_max, uint64_t *value_p)
{
  HOTROW_ASSERT((base == 10 && digit_max < 20) || (base == 16 && digit_max <= 16));
  uint64_t value = 0;
  size_t count = 0;
  for (; text[count] && count < digit_max; count++) {
    char digit = text[count];
    unsigned number = digit >= '0' && digit <= '9'   ? (unsigned)(digit - '0')
                      : digit >= 'a' && digit <= 'f' ? (unsigned)(digit - 'a') + 10
                      : digit >= 'A' && digit <= 'F' ? (unsigned)(digit - 'A') + 10
                                                     : base;
    if (number >= base)
      return false;
    value = value * base + number;
  }
  if (count == 0 || text[count])
    return false;
  *value_p = value;
  return true;
}
