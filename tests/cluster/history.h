/* What the history test's workers do and its checker knows: the steps, their keys, the records.
 *
 * Push i of rank w has the gradient -2^(i mod 20) for coordinate w*K + i/20 of the rows it touches. With SGD, lr 1 and
 * rows that begin as zeros a coordinate is a set of pushes, exact in any order: one that is lost is a zero bit, one
 * that is applied twice carries into the next. Sessions of a rank have pushes of their own: i = session * STEPS_MAX +
 * step.
 *
 * DIR/history-RANK-SESSION gets a record with one write() before each step is handed in, and after a flush. */
#ifndef HR_TEST_HISTORY_H
#define HR_TEST_HISTORY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hotrow/hotrow.h>

#define RANKS 3u
#define SESSIONS_MAX 8u
#define BITS 20u
#define COLUMNS 50u /* of one session */
#define STEPS_MAX (COLUMNS * BITS)
#define RANK_COLUMNS (SESSIONS_MAX * COLUMNS)
#define DIM (RANKS * RANK_COLUMNS)
#define TABLES 2u /* 0: cached, with bounds; 1: plain, without a cache, every step's push leaves at once */
#define KEYS 96u
#define HOT_KEYS 8u   /* 0 and 2^64-1 among them; read in every step */
#define COLD_DRAWS 6u /* keys that a step touches beside them */
#define TIMEOUT_MS 30000u

typedef enum event { EVENT_BEGUN = 1, EVENT_HANDED, EVENT_CONFIRMED, EVENT_READ } event;

typedef struct history_record {
  uint32_t kind; /* an event */
  uint32_t rank;
  uint32_t session;
  uint32_t step;    /* HANDED: which; CONFIRMED: the last that the flush covers */
  uint64_t seed;    /* of the key sets of the step */
  uint64_t time_ns; /* one clock for all processes. BEGUN: after all shards have greeted; HANDED: before the call */
} history_record;

/* What all modes are told. */
typedef struct run {
  const char *shards;
  const char *dir;
  const char *name; /* last part of dir: tells runs on the same shards apart */
  uint64_t seed;
} run;

typedef struct key_set {
  bool has[TABLES][KEYS];
} key_set;

typedef struct step_keys {
  key_set touched;
  key_set is_read; /* before the step: the hot keys and most of the touched */
} step_keys;

static const char *const table_names[TABLES] = {"cached", "plain"};

_Noreturn static inline void die(const char *what)
{
  fprintf(stderr, "history_worker: %s: %s\n", what, hotrow_last_error());
  exit(1);
}

static inline void must(hotrow_status status, const char *what)
{
  if (status != HOTROW_OK)
    die(what);
}

static inline uint64_t mix(uint64_t x)
{
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static inline uint64_t key_at(const run *r, uint32_t k)
{
  return k == 0 ? 0 : k == 1 ? UINT64_MAX : mix(mix(r->seed) + k);
}

static inline void draw_keys(uint64_t seed, step_keys *set)
{
  memset(set, 0, sizeof *set);
  for (uint32_t t = 0; t < TABLES; t++) {
    for (uint32_t k = 0; k < HOT_KEYS; k++)
      set->touched.has[t][k] = (seed = mix(seed)) & 1;
    set->touched.has[t][(seed = mix(seed)) % HOT_KEYS] = 1;
    memset(set->is_read.has[t], 1, HOT_KEYS);
    for (uint32_t draw = 0; draw < COLD_DRAWS; draw++) {
      uint32_t k = HOT_KEYS + (uint32_t)((seed = mix(seed)) % (KEYS - HOT_KEYS));
      set->touched.has[t][k] = 1;
      set->is_read.has[t][k] = (seed = mix(seed)) % 4 > 0;
    }
  }
}

static inline uint32_t column_of(uint32_t rank, uint32_t session, uint32_t step)
{
  return rank * RANK_COLUMNS + (session * STEPS_MAX + step) / BITS;
}

/* The pushes that a coordinate holds; false if it is no sum of distinct ones. */
static inline bool bits_of(float value, uint32_t *bits_p)
{
  if (!(value >= 0 && value < 16777216.0f) || (float)(uint32_t)value != value)
    return false;
  *bits_p = (uint32_t)value;
  return true;
}

static inline void history_path(const run *r, uint32_t rank, uint32_t session, char *path, size_t size)
{
  snprintf(path, size, "%s/history-%u-%u", r->dir, rank, session);
}

static inline void name_table(const run *r, uint32_t t, char name[HOTROW_TABLE_NAME_MAX + 1])
{
  snprintf(name, HOTROW_TABLE_NAME_MAX + 1, "%s-%s", r->name, table_names[t]);
}

/* A read-only client and its tables, which are there already. */
static inline void open_reader(const run *r, hotrow_client **client_p, hotrow_table *tables[TABLES])
{
  hotrow_client_options options = HOTROW_CLIENT_OPTIONS_INIT;
  options.shards = r->shards;
  options.timeout_ms = TIMEOUT_MS;
  options.read_only = 1;
  must(hotrow_client_open(&options, client_p), "open");
  for (uint32_t t = 0; t < TABLES; t++) {
    char name[HOTROW_TABLE_NAME_MAX + 1];
    name_table(r, t, name);
    hotrow_table_options table = HOTROW_TABLE_OPTIONS_INIT;
    table.name = name;
    must(hotrow_table_open(*client_p, &table, &tables[t]), "open table");
  }
}

int history_check(const run *r);
int history_repeats(const run *r);

#endif
