/* Small data files in the test's own directory. */
#ifndef DATA_FILES_H
#define DATA_FILES_H

#include <stddef.h>

typedef enum data_kind { DATA_PLAIN, DATA_GZIP, DATA_XZ, DATA_KIND_COUNT } data_kind;

/* Writes the text as it is or compressed; the path lives for seven more calls. */
const char *data_file_write(const char *name, data_kind kind, const void *text, size_t size);
/* The same for a string. */
const char *data_file_text(const char *name, const char *text);

/* The bytes that data_file_write() would write. Free with free(). */
void *data_file_bytes(data_kind kind, const void *text, size_t size, size_t *size_p);

/* `count` lines of criteo's format: sample i has the label i % 2, the integers i, i+1, ... and the tokens
 * i, i + 0x100, .... Free with free(). */
char *data_criteo_lines(size_t count);

#endif
