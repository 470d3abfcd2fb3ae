/* Keeps a shard within its memory. Rows that are safe in its storage leave when others need their place, and are
 * fetched before a table is asked for them. One thread. */
#ifndef HR_SHARD_MEMORY_H
#define HR_SHARD_MEMORY_H

#include "shard_state.h"

/* A dirty row is copied so often while it is made durable: the cut, and RocksDB's batch, which grows by doubling. */
#define HR_MEMORY_CUT_COPIES 3u

/* What is counted of the shard's memory: tables and what they have touched ahead, buffers, copies of cuts. */
size_t hr_memory_used(const hr_shard *shard);

uint64_t hr_memory_cold_count(const hr_table *table); /* rows that only its storage has */
/* The keys that are not in memory, ascending, each once, into memory.missing. Those that are count as used. */
size_t hr_memory_find_missing(hr_shard *shard, const hr_table *table, const uint64_t *keys, size_t key_count);
/* All rows of this array of the request in hand are in memory: the calls below need not look again. */
void hr_memory_note_whole(hr_shard *shard, const uint64_t *keys);
/* Room for `count` rows that are not in memory, new_count of which nobody has yet, and for what changes. Rows of the
 * table itself leave their places to the new ones; for the rest memory goes back to the system. HOTROW_ERR_BUSY,
 * HOTROW_ERR_QUOTA, as below */
hotrow_status hr_memory_make_room(hr_shard *shard, hr_table *table, uint64_t count, uint64_t new_count);

/* The next cut must not become larger while the storage is slow with this one: who changes rows waits for the disk, and
 * who reads them does not. HOTROW_ERR_BUSY */
hotrow_status hr_memory_check_next_cut(hr_shard *shard);

/* To be called before a table is asked for the rows of these keys: those that only the storage has are fetched, and
 * there is room for as many as are missing. If `creates` missing rows will be made.
 *
 *   HOTROW_ERR_BUSY   rows that could leave are not durable yet, or the next cut is large enough: one was asked for
 *   HOTROW_ERR_QUOTA  there is no room, and none will be
 *   HOTROW_ERR_NO_MEMORY, HOTROW_ERR_LIMIT, HOTROW_ERR_INVALID (another shard's key), HOTROW_ERR_STORAGE,
 *   HOTROW_ERR_CORRUPT */
hotrow_status hr_memory_prepare(hr_shard *shard, hr_table *table, const uint64_t *keys, size_t key_count, bool creates);
/* The same for what must be done now, room or not: a push that was taken. */
hotrow_status hr_memory_prepare_push(hr_shard *shard, hr_table *table, const uint64_t *keys, size_t key_count);
/* Is there room for a push that is not taken yet? HOTROW_ERR_BUSY, HOTROW_ERR_QUOTA */
hotrow_status hr_memory_admit_push(hr_shard *shard, const hr_section *sections, size_t section_count);

/* The cut that holds all that was dirty is under way, or durable. */
void hr_memory_begin_cut(hr_shard *shard, size_t dirty_bytes);
void hr_memory_end_cut(hr_shard *shard);

/* How many rows of a table that has so many are to be loaded at the start, where there is not room for all: each table
 * gets its share. */
uint64_t hr_memory_load_max(const hr_shard *shard, const hr_table *table, const uint64_t *row_counts);

#endif
