/* What the values of a shard's database consist of: see STORE.md. Little-endian as in memory; keys are big-endian so
 * that their order is that of the numbers. */
#ifndef HR_STORAGE_FORMAT_H
#define HR_STORAGE_FORMAT_H

#include "storage.h"

#define HR_STORE_MAGIC "HOTROW-D"
#define HR_STORE_MAGIC_BYTES 8u
#define HR_STORE_VERSION 3u

/* First byte of a key. */
#define HR_STORE_META 'M'     /* nothing follows */
#define HR_STORE_TABLE 'T'    /* id u32 */
#define HR_STORE_ROW 'R'      /* table id u32, key u64 */
#define HR_STORE_BUCKET 'A'   /* table id u32, number u64: of keys without a row */
#define HR_STORE_JOBS 'J'     /* nothing follows */
#define HR_STORE_SESSIONS 'S' /* nothing follows */
#define HR_STORE_LOADING 'I'  /* nothing follows, and no value: what is loaded is not all there yet */
#define HR_STORE_LOG 'L'      /* nothing follows: the last record that a cut covers; or number of a record u64 */

#define HR_STORE_UNFINISHED_TEXT                                                                                       \
  "data directory %s holds a part of what was to be loaded into it: load it again, or remove the directory"

#define HR_STORE_TABLE_KEY_BYTES 5u
#define HR_STORE_ROW_KEY_BYTES 13u
#define HR_STORE_LOG_KEY_BYTES 9u
#define HR_STORE_KEY_BYTES_MAX HR_STORE_ROW_KEY_BYTES

typedef struct hr_store_meta { /* 32 bytes */
  char magic[HR_STORE_MAGIC_BYTES];
  uint32_t version;
  uint32_t shard_index;
  uint32_t shard_count;
  uint32_t reserved; /* 0 */
  uint64_t epoch;    /* of the start that wrote this */
} hr_store_meta;

_Static_assert(sizeof(hr_store_meta) == 32, "no padding: it is stored as it is");

static inline void hr_store_table_key(uint8_t *bytes, char kind, uint32_t table)
{
  uint32_t big = __builtin_bswap32(table);
  bytes[0] = (uint8_t)kind;
  __builtin_memcpy(bytes + 1, &big, sizeof big);
}

static inline void hr_store_row_key(uint8_t *bytes, char kind, uint32_t table, uint64_t key)
{
  uint64_t big = __builtin_bswap64(key);
  hr_store_table_key(bytes, kind, table);
  __builtin_memcpy(bytes + HR_STORE_TABLE_KEY_BYTES, &big, sizeof big);
}

static inline void hr_store_log_key(uint8_t *bytes, uint64_t number)
{
  uint64_t big = __builtin_bswap64(number);
  bytes[0] = HR_STORE_LOG;
  __builtin_memcpy(bytes + 1, &big, sizeof big);
}

static inline uint64_t hr_store_log_number_of(const uint8_t *bytes)
{
  uint64_t big;
  __builtin_memcpy(&big, bytes + 1, sizeof big);
  return __builtin_bswap64(big);
}

static inline uint32_t hr_store_table_of(const uint8_t *bytes)
{
  uint32_t big;
  __builtin_memcpy(&big, bytes + 1, sizeof big);
  return __builtin_bswap32(big);
}

static inline uint64_t hr_store_key_of(const uint8_t *bytes)
{
  uint64_t big;
  __builtin_memcpy(&big, bytes + HR_STORE_TABLE_KEY_BYTES, sizeof big);
  return __builtin_bswap64(big);
}

#endif
