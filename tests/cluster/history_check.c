/* The checker of the history test: all histories against the final rows, bit by bit. */
#include "history.h"

#define SHARDS_MAX 16u
#define NONE UINT32_MAX

typedef struct step {
  bool is_handed;
  bool is_fenced; /* handed in when all shards had greeted a successor */
  uint64_t time_ns;
  step_keys keys;
} handed_step;

typedef struct session {
  uint64_t begun_ns; /* 0: it never got that far */
  uint32_t confirmed_count;
  handed_step steps[STEPS_MAX];
} session;

typedef struct checker {
  const run *run;
  uint32_t shard_count;
  hotrow_client *client;
  hotrow_table *tables[TABLES];
  session sessions[RANKS][SESSIONS_MAX];
  uint32_t certain[TABLES][KEYS][DIM]; /* bits that must be there */
  uint32_t open[TABLES][KEYS][DIM];    /* bits that may: handed in, and not confirmed when the session ended */
  float rows[TABLES][KEYS][DIM];
  uint32_t shards[TABLES][KEYS]; /* where each row lives */
} checker;

/* ---- the histories ---- */

_Noreturn static void die_of_record(const char *path, long at, const char *what)
{
  fprintf(stderr, "history_worker: %s: record %ld: %s\n", path, at, what);
  exit(1);
}

static void take_record(session *s, const history_record *record, const char *path, long at)
{
  handed_step *step = &s->steps[record->step < STEPS_MAX ? record->step : 0];
  switch (record->kind) {
  case EVENT_BEGUN:
    s->begun_ns = record->time_ns;
    return;
  case EVENT_HANDED:
    if (record->step >= STEPS_MAX)
      die_of_record(path, at, "a step that cannot be");
    if (step->is_handed) /* again by a worker that found itself fenced in between */
      return;
    step->is_handed = true;
    step->time_ns = record->time_ns;
    draw_keys(record->seed, &step->keys);
    return;
  case EVENT_CONFIRMED:
    if (!step->is_handed)
      die_of_record(path, at, "a flush of a step that was not handed in");
    s->confirmed_count = record->step + 1;
    return;
  case EVENT_READ:
    return;
  default:
    die_of_record(path, at, "no event");
  }
}

static void read_history(checker *c, uint32_t rank, uint32_t number)
{
  char path[4096];
  history_path(c->run, rank, number, path, sizeof path);
  FILE *file = fopen(path, "rb");
  if (!file)
    return;
  history_record record;
  size_t size;
  long at = 0;
  for (; (size = fread(&record, 1, sizeof record, file)) == sizeof record; at++) {
    if (record.rank != rank || record.session != number)
      die_of_record(path, at, "of another session");
    take_record(&c->sessions[rank][number], &record, path, at);
  }
  if (size != 0)
    die_of_record(path, at, "half of one");
  fclose(file);
}

static void read_histories(checker *c)
{
  for (uint32_t rank = 0; rank < RANKS; rank++) {
    uint64_t successor_ns = UINT64_MAX;
    for (uint32_t i = SESSIONS_MAX; i-- > 0;) {
      session *s = &c->sessions[rank][i];
      read_history(c, rank, i);
      for (uint32_t n = 0; n < STEPS_MAX; n++)
        s->steps[n].is_fenced = s->steps[n].is_handed && s->steps[n].time_ns > successor_ns;
      if (s->begun_ns)
        successor_ns = s->begun_ns;
    }
  }
}

static void expect_bits(checker *c, uint32_t rank, uint32_t number)
{
  const session *s = &c->sessions[rank][number];
  for (uint32_t n = 0; n < STEPS_MAX; n++) {
    const handed_step *step = &s->steps[n];
    if (!step->is_handed || step->is_fenced)
      continue;
    for (uint32_t t = 0; t < TABLES; t++)
      for (uint32_t k = 0; k < KEYS; k++) {
        uint32_t bit = (uint32_t)step->keys.touched.has[t][k] << n % BITS, column = column_of(rank, number, n);
        if (n < s->confirmed_count)
          c->certain[t][k][column] |= bit;
        else
          c->open[t][k][column] |= bit;
      }
  }
}

/* ---- the rows ---- */

static void read_rows(checker *c)
{
  uint64_t keys[KEYS];
  for (uint32_t k = 0; k < KEYS; k++)
    keys[k] = key_at(c->run, k);
  open_reader(c->run, &c->client, c->tables);
  for (uint32_t t = 0; t < TABLES; t++) {
    hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
    request.table = c->tables[t];
    request.keys = keys;
    request.key_count = KEYS;
    request.out = c->rows[t][0];
    must(hotrow_lookup(c->client, &request, 1), "lookup");
  }
}

static uint64_t shard_counter(hotrow_client *client, uint32_t shard, const char *name)
{
  char *json, word[64];
  must(hotrow_shard_stats(client, shard, 0, &json), "stats");
  snprintf(word, sizeof word, "\"%s\":", name);
  const char *at = strstr(json, word);
  if (!at) {
    fprintf(stderr, "history_worker: shard %u counts no %s: %s\n", shard, name, json);
    exit(1);
  }
  uint64_t value = strtoull(at + strlen(word), NULL, 10);
  free(json);
  return value;
}

static uint32_t count_shards(const run *r)
{
  uint32_t count = 1;
  for (const char *c = r->shards; *c; c++)
    count += *c == ',';
  if (count > SHARDS_MAX) {
    fprintf(stderr, "history_worker: %u shards, at most %u\n", count, SHARDS_MAX);
    exit(1);
  }
  return count;
}

/* A row lives where a pull of it is counted: nobody else pulls any more. */
static void find_shards(checker *c)
{
  static float row[DIM];
  uint64_t pulls[SHARDS_MAX];
  for (uint32_t i = 0; i < c->shard_count; i++)
    pulls[i] = shard_counter(c->client, i, "pulls");
  for (uint32_t t = 0; t < TABLES; t++)
    for (uint32_t k = 0; k < KEYS; k++) {
      uint64_t key = key_at(c->run, k);
      hotrow_lookup_request request = HOTROW_LOOKUP_REQUEST_INIT;
      request.table = c->tables[t];
      request.keys = &key;
      request.key_count = 1;
      request.out = row;
      must(hotrow_lookup(c->client, &request, 1), "lookup");
      uint32_t at = 0;
      while (at < c->shard_count && shard_counter(c->client, at, "pulls") == pulls[at])
        at++;
      if (at == c->shard_count) {
        fprintf(stderr, "history_worker: no shard counted the pull of table %s key %#llx\n", table_names[t],
                (unsigned long long)key);
        exit(1);
      }
      pulls[at]++;
      c->shards[t][k] = at;
    }
}

/* ---- the verdict ---- */

static bool is_there(const checker *c, uint32_t t, uint32_t k, uint32_t rank, uint32_t number, uint32_t n)
{
  return (uint32_t)c->rows[t][k][column_of(rank, number, n)] >> n % BITS & 1u;
}

static int report(const checker *c, uint32_t rank, uint32_t number, uint32_t n, uint32_t t, uint32_t k,
                  const char *what)
{
  uint32_t column = column_of(rank, number, n), found = 0;
  float value = c->rows[t][k][column];
  bits_of(value, &found);
  printf(
      "worker %u session %u step %u table %s key %#llx: %s: expected bits %#x (and of %#x any), found %g (bits %#x)\n",
      rank, number, n, table_names[t], (unsigned long long)key_at(c->run, k), what, c->certain[t][k][column],
      c->open[t][k][column], (double)value, found);
  return 1;
}

/* The first wrong bit of a coordinate, or BITS. */
static uint32_t first_bad_bit(const checker *c, uint32_t t, uint32_t k, uint32_t column)
{
  uint32_t found;
  if (!bits_of(c->rows[t][k][column], &found))
    return 0;
  uint32_t wrong = found ^ (c->certain[t][k][column] | (found & c->open[t][k][column]));
  uint32_t bit = wrong ? (uint32_t)__builtin_ctz(wrong) : BITS;
  return wrong && bit >= BITS ? BITS - 1 : bit;
}

static const char *what_is_wrong(const checker *c, const handed_step *step, uint32_t t, uint32_t k, uint32_t column,
                                 uint32_t bit)
{
  uint32_t found;
  if (!bits_of(c->rows[t][k][column], &found))
    return "its coordinate is no sum of steps";
  uint32_t expected = c->certain[t][k][column] | (found & c->open[t][k][column]);
  if (expected >> bit & 1u)
    return found > expected ? "is there more than once" : "a flush confirmed it and it is not there";
  if (!step->is_handed)
    return "is there and was never handed in";
  return step->is_fenced ? "is there and was handed in when a successor had the rank"
                         : "is there and touches no such key";
}

/* Every bit of every row. */
static int check_bits(const checker *c, uint32_t rank, uint32_t number)
{
  for (uint32_t first = 0; first < STEPS_MAX; first += BITS) {
    uint32_t column = column_of(rank, number, first), bad = BITS, bad_t = 0, bad_k = 0;
    for (uint32_t t = 0; t < TABLES; t++)
      for (uint32_t k = 0; k < KEYS; k++) {
        uint32_t bit = first_bad_bit(c, t, k, column);
        if (bit < bad) {
          bad = bit;
          bad_t = t;
          bad_k = k;
        }
      }
    if (bad < BITS)
      return report(c, rank, number, first + bad, bad_t, bad_k,
                    what_is_wrong(c, &c->sessions[rank][number].steps[first + bad], bad_t, bad_k, column, bad));
  }
  return 0;
}

/* One row gets the steps of a session in their order: those that are there end where the first is missing. */
static int check_row_order(const checker *c, uint32_t rank, uint32_t number, uint32_t t, uint32_t k)
{
  bool has_ended = false;
  for (uint32_t n = 0; n < STEPS_MAX; n++) {
    const handed_step *step = &c->sessions[rank][number].steps[n];
    if (!step->is_handed || !step->keys.touched.has[t][k])
      continue;
    if (!is_there(c, t, k, rank, number, n))
      has_ended = true;
    else if (has_ended)
      return report(c, rank, number, n, t, k, "is there, and one of the session before it is not");
  }
  return 0;
}

/* A step's part of the plain table is one message to each shard, and messages are applied in order, whole or not at
 * all. What it adds to the cached table leaves with that message or a later one. */
static int check_shard_order(const checker *c, uint32_t rank, uint32_t number, uint32_t shard)
{
  uint32_t cut = NONE; /* the first step that is missing */
  for (uint32_t n = 0; n < STEPS_MAX; n++) {
    const handed_step *step = &c->sessions[rank][number].steps[n];
    for (uint32_t k = 0; step->is_handed && cut == NONE && k < KEYS; k++)
      if (step->keys.touched.has[1][k] && c->shards[1][k] == shard && !is_there(c, 1, k, rank, number, n))
        cut = n;
    for (uint32_t t = 0; step->is_handed && cut != NONE && t < TABLES; t++)
      for (uint32_t k = 0; k < KEYS; k++)
        if (step->keys.touched.has[t][k] && c->shards[t][k] == shard && is_there(c, t, k, rank, number, n))
          return report(c, rank, number, n, t, k,
                        cut == n ? "is there, and another row of the same message is not"
                                 : "is there, and a message of the session before it is not");
  }
  return 0;
}

static bool has_open_steps(const session *s)
{
  for (uint32_t n = s->confirmed_count; n < STEPS_MAX; n++)
    if (s->steps[n].is_handed)
      return true;
  return false;
}

static int check_order(const checker *c, uint32_t rank, uint32_t number)
{
  int bad = 0;
  for (uint32_t t = 0; t < TABLES; t++)
    for (uint32_t k = 0; k < KEYS && !bad; k++)
      bad = check_row_order(c, rank, number, t, k);
  for (uint32_t shard = 0; shard < c->shard_count && !bad; shard++)
    bad = check_shard_order(c, rank, number, shard);
  return bad;
}

static void print_summary(const checker *c)
{
  uint32_t sessions = 0, steps = 0, open = 0, fenced = 0, rows_open = 0, rows_there = 0;
  for (uint32_t rank = 0; rank < RANKS; rank++)
    for (uint32_t number = 0; number < SESSIONS_MAX; number++) {
      const session *s = &c->sessions[rank][number];
      sessions += s->begun_ns != 0;
      for (uint32_t n = 0; n < STEPS_MAX; n++) {
        steps += s->steps[n].is_handed;
        fenced += s->steps[n].is_fenced;
        open += s->steps[n].is_handed && !s->steps[n].is_fenced && n >= s->confirmed_count;
      }
    }
  for (uint32_t t = 0; t < TABLES; t++)
    for (uint32_t k = 0; k < KEYS; k++)
      for (uint32_t column = 0; column < DIM; column++) {
        rows_open += (uint32_t)__builtin_popcount(c->open[t][k][column]);
        rows_there += (uint32_t)__builtin_popcount(c->open[t][k][column] & (uint32_t)c->rows[t][k][column]);
      }
  printf("%u sessions, %u steps: %u confirmed, %u open (%u of their %u rows are there), %u after a successor\n",
         sessions, steps, steps - open - fenced, open, rows_there, rows_open, fenced);
}

int history_check(const run *r)
{
  static checker c;
  int bad = 0;
  bool has_open = false;
  c.run = r;
  c.shard_count = count_shards(r);
  read_histories(&c);
  read_rows(&c);
  for (uint32_t rank = 0; rank < RANKS; rank++)
    for (uint32_t number = 0; number < SESSIONS_MAX; number++) {
      expect_bits(&c, rank, number);
      bad = bad ? bad : check_bits(&c, rank, number);
      has_open |= has_open_steps(&c.sessions[rank][number]);
    }
  if (has_open && !bad)
    find_shards(&c);
  for (uint32_t rank = 0; rank < RANKS; rank++)
    for (uint32_t number = 0; number < SESSIONS_MAX && !bad; number++)
      if (has_open_steps(&c.sessions[rank][number]))
        bad = check_order(&c, rank, number);
  if (!bad)
    print_summary(&c);
  hotrow_client_close(c.client);
  return bad;
}

int history_repeats(const run *r)
{
  hotrow_client_options options = HOTROW_CLIENT_OPTIONS_INIT;
  hotrow_client *client;
  uint64_t repeats = 0;
  options.shards = r->shards;
  options.timeout_ms = TIMEOUT_MS;
  options.read_only = 1;
  must(hotrow_client_open(&options, &client), "open");
  for (uint32_t shard = 0; shard < count_shards(r); shard++)
    repeats += shard_counter(client, shard, "push_repeats");
  printf("%llu\n", (unsigned long long)repeats);
  hotrow_client_close(client);
  return 0;
}
