/* What a shard has announced: which rows' clocks have moved on, in the order in which they did. Announcements are
 * numbered from 1 within an epoch; a ring keeps the latest. Every reader reads from some number to the end, so of one
 * key only the last is worth keeping: an older one is struck out when the key is announced again. One thread. */
#ifndef HR_ANNOUNCE_LOG_H
#define HR_ANNOUNCE_LOG_H

#include <hr/wire.h>

#define HR_ANNOUNCE_LOG_COUNT_DEFAULT (1u << 18)
/* All that the largest log can hold goes into one reply: HR_WIRE_ANNOUNCE_BYTES_MAX. */
#define HR_ANNOUNCE_LOG_COUNT_MAX (1u << 20)
#define HR_ANNOUNCE_STRUCK UINT32_MAX
#define HR_ANNOUNCE_GONE 0x80000000u /* in hr_announcement.table: the row is gone */

typedef struct hr_announcement {
  uint64_t key;
  uint32_t table; /* HR_ANNOUNCE_STRUCK: the key is announced again further on */
  uint32_t clock;
} hr_announcement;

typedef struct hr_announce_log {
  hr_announcement *ring; /* owned: address space, memory once touched */
  uint32_t count_max;    /* a power of two */
  uint64_t next;         /* the number that the next announcement gets */
} hr_announce_log;

/* Room for at least `count_max` announcements (0: the default). HOTROW_ERR_LIMIT, HOTROW_ERR_NO_MEMORY */
hotrow_status hr_announce_log_init(hr_announce_log *log, uint32_t count_max);
void hr_announce_log_fini(hr_announce_log *log);

/* The oldest number that is still there, or `next` if none is. */
static inline uint64_t hr_announce_log_first(const hr_announce_log *log)
{
  return log->next > log->count_max ? log->next - log->count_max : 1;
}

static inline hr_announcement *hr_announce_log_at(const hr_announce_log *log, uint64_t number)
{
  return &log->ring[number & (log->count_max - 1)];
}

/* Announces a key. *place: where the caller keeps the place of the key's last announcement, anything if there is none
 * (what stands there is the key's only if it says so). */
static inline void hr_announce_log_append(hr_announce_log *log, uint32_t table, uint64_t key, uint32_t clock,
                                          uint32_t *place)
{
  hr_announcement *last = hr_announce_log_at(log, *place);
  if (last->table == table && last->key == key)
    last->table = HR_ANNOUNCE_STRUCK;
  *place = (uint32_t)log->next;
  *hr_announce_log_at(log, log->next++) = (hr_announcement){.key = key, .table = table, .clock = clock};
}

/* Says that a key's row is gone. A new row of the key has no place yet, and knows nothing of this. */
static inline void hr_announce_log_append_gone(hr_announce_log *log, uint32_t table, uint64_t key, uint32_t *place)
{
  hr_announce_log_append(log, table, key, 0, place);
  hr_announce_log_at(log, log->next - 1)->table |= HR_ANNOUNCE_GONE;
}

/* How many announcements from `first` (kept) on there are of each table, and of those how many say that a
 * row is gone: counts_p[table_count], gone_p[table_count]. */
void hr_announce_log_count(const hr_announce_log *log, uint64_t first, uint32_t *counts_p, uint32_t *gone_p,
                           size_t table_count);

/* Where the announcements of a table go, in order. */
typedef struct hr_announce_arrays {
  uint64_t *keys;
  uint32_t *clocks;
  uint64_t *gone;
} hr_announce_arrays;

/* The same announcements: those of table t go to arrays[t]. */
void hr_announce_log_copy(const hr_announce_log *log, uint64_t first, const hr_announce_arrays *arrays,
                          size_t table_count);

#endif
