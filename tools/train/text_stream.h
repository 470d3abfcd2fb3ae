/* Lines of a text file, plain or compressed with gzip or xz. What a file is, its first bytes say, not its name. */
#ifndef HR_TEXT_STREAM_H
#define HR_TEXT_STREAM_H

#include <hr/status.h>

#define HR_TEXT_LINE_MAX 65535u /* bytes, without the newline */

typedef struct hr_text_stream hr_text_stream;

/* One thread at a time. Blocks on the disk.
 *   HOTROW_ERR_NOT_FOUND    the file cannot be opened
 *   HOTROW_ERR_NO_MEMORY */
hotrow_status hr_text_stream_open(const char *path, hr_text_stream **stream_p);
void hr_text_stream_close(hr_text_stream *stream);

/* The next line without its newline (or carriage return and newline), closed by a 0; NULL at the end of the file. The
 * caller may write into it; it is valid until the next call.
 *   HOTROW_ERR_CORRUPT      a line with a zero byte; a compressed file that is damaged or ends early
 *   HOTROW_ERR_LIMIT        a line longer than HR_TEXT_LINE_MAX
 *   HOTROW_ERR_NO_MEMORY    the compressed file needs more than 1 GiB to decompress
 *   HOTROW_ERR_STORAGE      the disk failed */
hotrow_status hr_text_stream_next(hr_text_stream *stream, char **line_p, size_t *size_p);

/* Up to `size` bytes as they are, for files that hold no lines; *read_p is less than size at the end of the file only.
 * A stream gives lines or bytes, not both. HOTROW_ERR_CORRUPT, HOTROW_ERR_NO_MEMORY, HOTROW_ERR_STORAGE as above */
hotrow_status hr_text_stream_read(hr_text_stream *stream, void *bytes, size_t size, size_t *read_p);

/* Counts from 1: the line that was given last, for messages. 0 before the first. */
uint64_t hr_text_stream_line(const hr_text_stream *stream);
const char *hr_text_stream_path(const hr_text_stream *stream);

/* "PATH line N: " and the sentence, as HOTROW_ERR_CORRUPT. */
hotrow_status hr_text_stream_fail(const hr_text_stream *stream, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Cuts a line at every separator, in place; returns how many columns there are, of which at most column_max are given.
 */
size_t hr_text_split(char *line, const char *separator, char **columns, size_t column_max);

/* A whole text that is one number: digits of the base (10 or 16) alone, no sign or space, at most digit_max of them. */
bool hr_text_parse(const char *text, unsigned base, size_t digit_max, uint64_t *value_p);

#endif
