/* One worker of the history test (history.h). Public C API only.
 *   history_worker run SHARDS DIR SEED RANK SESSION [PLANT [blind]]   until SIGTERM; exit 3: a successor took the rank
 *   history_worker check SHARDS DIR SEED                              exit 1: the first bad operation is on stdout
 *   history_worker repeats SHARDS                                     prints how many pushes the shards got again */
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "history.h"

#define CACHE_ROWS 32u
#define PULL_BOUND 7u
#define PUSH_BOUND 5u
#define PAUSE_NS (uint64_t)8000000
#define PLANT_STEP 30u
#define PLANT_END 60u
#define EXIT_FENCED 3

typedef enum plant { /* faults for the checks to find */
                     PLANT_NONE,
                     PLANT_SKIP,     /* a push that is recorded and not made */
                     PLANT_TWICE,    /* one made twice */
                     PLANT_SECRET,   /* one made and not recorded */
                     PLANT_HOLE,     /* SKIP, and nothing is ever flushed */
                     PLANT_UNDO,     /* at the end the first push is taken back */
                     PLANT_UNFENCED, /* the session is one of another job, so that a successor does not end it */
                     PLANT_COUNT
} plant;
static const char *const plant_names[] = {"none", "skip", "twice", "secret", "hole", "undo", "unfenced"};

typedef enum reading_mode { /* how it looks at what it reads */
                            READ_ALL,
                            READ_BLIND,    /* not at all */
                            READ_RESTARTS, /* shards die: what others pushed may be gone until it is sent again */
                            READING_COUNT
} reading_mode;
static const char *const reading_names[] = {"all", "blind", "restarts"};

typedef struct worker {
  run run;
  uint32_t rank, session;
  plant plant;
  reading_mode reading;
  uint32_t step;
  int history;
  hotrow_client *client;
  hotrow_table *tables[TABLES];
  hotrow_client *reader; /* read-only: what the shards have */
  hotrow_table *reader_tables[TABLES];
  uint32_t own[TABLES][KEYS][COLUMNS]; /* bits of this session's pushes */
  float before[TABLES][KEYS][DIM];     /* what was read last */
  bool was_read[TABLES][KEYS];
  uint64_t key_lists[TABLES][KEYS + 1];
  uint32_t indices[TABLES][KEYS];
  uint32_t counts[TABLES];
  float rows[TABLES][KEYS][DIM];
  float grads[KEYS + 1][DIM]; /* zeros between calls */
} worker;

static uint64_t step_seed(const worker *w, uint32_t step)
{
  return mix(mix(mix(w->run.seed + w->rank) + w->session) + step);
}

static uint64_t now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void write_record(worker *w, event kind, uint32_t step)
{
  history_record record = {kind, w->rank, w->session, step, step_seed(w, step), now_ns()};
  if (write(w->history, &record, sizeof record) != (ssize_t)sizeof record) {
    perror("history_worker: history");
    exit(1);
  }
}

/* The gradient of one push for every key that the set touches. Some key stands twice, with half of it each time. */
static hotrow_status push(worker *w, const step_keys *set, uint32_t step, float sign)
{
  uint32_t column = column_of(w->rank, w->session, step);
  float gradient = sign * (float)(1u << step % BITS);
  hotrow_status status = HOTROW_OK;
  for (uint32_t t = 0; t < TABLES && status == HOTROW_OK; t++) {
    uint64_t keys[KEYS + 1];
    uint32_t count = 0;
    for (uint32_t k = 0; k < KEYS; k++)
      if (set->touched.has[t][k])
        keys[count++] = key_at(&w->run, k);
    keys[count++] = keys[0];
    for (uint32_t i = 0; i < count; i++)
      w->grads[i][column] = i == 0 || i + 1 == count ? gradient / 2 : gradient;
    hotrow_push_request request = HOTROW_PUSH_REQUEST_INIT;
    request.table = w->tables[t];
    request.keys = keys;
    request.key_count = count;
    request.grads = w->grads[0];
    status = hotrow_push(w->client, &request, 1);
    for (uint32_t i = 0; i < count; i++)
      w->grads[i][column] = 0;
  }
  return status;
}

static void ask_for(worker *w, hotrow_table *const *tables, const key_set *wanted,
                    hotrow_lookup_request requests[TABLES])
{
  for (uint32_t t = 0; t < TABLES; t++) {
    w->counts[t] = 0;
    for (uint32_t k = 0; k < KEYS; k++)
      if (wanted->has[t][k]) {
        w->key_lists[t][w->counts[t]] = key_at(&w->run, k);
        w->indices[t][w->counts[t]++] = k;
      }
    requests[t] = (hotrow_lookup_request)HOTROW_LOOKUP_REQUEST_INIT;
    requests[t].table = tables[t];
    requests[t].keys = w->key_lists[t];
    requests[t].key_count = w->counts[t];
    requests[t].out = w->rows[t][0];
  }
}

_Noreturn static void die_of_read(const worker *w, uint32_t t, uint32_t k, uint32_t c, float value, uint32_t expected,
                                  const char *rule)
{
  uint32_t rank = c / RANK_COLUMNS, session = c % RANK_COLUMNS / COLUMNS, first = c % COLUMNS * BITS, found = 0;
  uint32_t bad = bits_of(value, &found) && found != expected ? (uint32_t)__builtin_ctz(found ^ expected) : 0;
  fprintf(stderr,
          "history_worker: worker %u session %u before step %u reads table %s key %#llx: worker %u session %u step %u: "
          "%s: expected bits %#x, found %g (bits %#x)\n",
          w->rank, w->session, w->step, table_names[t], (unsigned long long)key_at(&w->run, k), rank, session,
          first + (bad < BITS ? bad : BITS - 1), rule, expected, (double)value, found);
  exit(1);
}

/* A row as read against what this session pushed and what it read before. */
static void check_row(worker *w, uint32_t t, uint32_t k, const float *row)
{
  uint32_t own_first = column_of(w->rank, w->session, 0);
  bool was_read = w->was_read[t][k];
  w->was_read[t][k] = true;
  for (uint32_t c = 0; c < DIM; c++) {
    uint32_t before = 0, found = 0, expected;
    if (was_read)
      bits_of(w->before[t][k][c], &before);
    w->before[t][k][c] = row[c];
    bool is_sum = bits_of(row[c], &found);
    if (c >= own_first && c < own_first + COLUMNS) {
      expected = w->own[t][k][c - own_first];
      if (!is_sum || found != expected)
        die_of_read(w, t, k, c, row[c], expected, "a worker reads its own steps, each once");
    } else if (w->reading == READ_RESTARTS) {
      if (!is_sum)
        die_of_read(w, t, k, c, row[c], before, "what others pushed is there once");
    } else if (c >= w->rank * RANK_COLUMNS && c < own_first) {
      if (!is_sum || (was_read && found != before))
        die_of_read(w, t, k, c, row[c], before, "a worker's predecessor pushes no more");
    } else if (!is_sum || (found & before) != before) {
      die_of_read(w, t, k, c, row[c], found | before, "what others pushed stays");
    }
  }
}

static void check_reads(worker *w)
{
  for (uint32_t t = 0; t < TABLES && w->reading != READ_BLIND; t++)
    for (uint32_t i = 0; i < w->counts[t]; i++)
      check_row(w, t, w->indices[t][i], w->rows[t][i]);
}

static void must_be_fenced(hotrow_status status, const char *what)
{
  if (status != HOTROW_ERR_FENCED) {
    fprintf(stderr, "history_worker: %s of a fenced worker: %s\n", what, hotrow_status_name(status));
    exit(1);
  }
}

/* Once fenced, nothing goes through any more. */
_Noreturn static void end_fenced(worker *w)
{
  step_keys set;
  hotrow_lookup_request requests[TABLES];
  if (w->step < STEPS_MAX)
    write_record(w, EVENT_HANDED, w->step);
  draw_keys(step_seed(w, w->step), &set);
  must_be_fenced(push(w, &set, w->step, -1), "push");
  must_be_fenced(hotrow_step(w->client, 0), "step");
  must_be_fenced(hotrow_flush(w->client, 0), "flush");
  ask_for(w, w->tables, &set.is_read, requests);
  must_be_fenced(hotrow_lookup(w->client, requests, TABLES), "lookup");
  fprintf(stderr, "history_worker: worker %u session %u: %s\n", w->rank, w->session, hotrow_last_error());
  hotrow_client_close(w->client);
  exit(EXIT_FENCED);
}

static void may_be_fenced(worker *w, hotrow_status status, const char *what)
{
  if (status == HOTROW_ERR_FENCED)
    end_fenced(w);
  must(status, what);
}

static void look_up(worker *w, const key_set *wanted)
{
  hotrow_lookup_request requests[TABLES];
  ask_for(w, w->tables, wanted, requests);
  may_be_fenced(w, hotrow_lookup(w->client, requests, TABLES), "lookup");
  check_reads(w);
}

static void look_ahead(worker *w, const key_set *wanted)
{
  hotrow_lookup_request requests[TABLES];
  ask_for(w, w->tables, wanted, requests);
  may_be_fenced(w, hotrow_lookahead(w->client, requests, TABLES), "look-ahead");
}

/* What a flush confirms is at the shards, for anyone to read. */
static void check_flushed(worker *w)
{
  key_set all;
  hotrow_lookup_request requests[TABLES];
  memset(&all, 1, sizeof all);
  ask_for(w, w->reader_tables, &all, requests);
  must(hotrow_lookup(w->reader, requests, TABLES), "lookup of a reader");
  uint32_t own_first = column_of(w->rank, w->session, 0);
  for (uint32_t t = 0; t < TABLES; t++)
    for (uint32_t k = 0; k < KEYS; k++)
      for (uint32_t c = 0; c < COLUMNS; c++)
        if (w->rows[t][k][own_first + c] != (float)w->own[t][k][c])
          die_of_read(w, t, k, own_first + c, w->rows[t][k][own_first + c], w->own[t][k][c],
                      "a flush has confirmed every step");
}

static void flush(worker *w)
{
  may_be_fenced(w, hotrow_flush(w->client, 0), "flush");
  if (w->step > 0)
    write_record(w, EVENT_CONFIRMED, w->step - 1);
  if (w->reading != READ_BLIND)
    check_flushed(w);
}

static void note_own(worker *w, const step_keys *set)
{
  for (uint32_t t = 0; t < TABLES; t++)
    for (uint32_t k = 0; k < KEYS; k++)
      w->own[t][k][w->step / BITS] |= (uint32_t)set->touched.has[t][k] << w->step % BITS;
}

static void do_step(worker *w, const step_keys *now, const step_keys *next)
{
  uint64_t dice = mix(~step_seed(w, w->step));
  plant fault = w->step == PLANT_STEP ? w->plant : PLANT_NONE;
  if (fault != PLANT_SECRET)
    write_record(w, EVENT_HANDED, w->step);
  if (dice % 4 == 0) /* before the update of these rows: what it brings of them is too old */
    look_ahead(w, &now->touched);
  if (fault != PLANT_SKIP && fault != PLANT_HOLE)
    may_be_fenced(w, push(w, now, w->step, -1), "push");
  if (fault == PLANT_TWICE)
    must(push(w, now, w->step, -1), "planted push");
  note_own(w, now);
  w->step++;
  dice /= 4;
  if (dice % 2) { /* one message to each shard, or two */
    hotrow_lookup_request requests[TABLES];
    ask_for(w, w->tables, &next->is_read, requests);
    may_be_fenced(w, hotrow_step_lookup(w->client, requests, TABLES), "step and lookup");
    check_reads(w);
  } else {
    may_be_fenced(w, hotrow_step(w->client, 0), "step");
    if (dice / 2 % 4 == 0)
      look_ahead(w, &next->touched);
    look_up(w, &next->is_read);
  }
  if (dice / 8 % 24 == 0 && fault == PLANT_NONE && w->plant != PLANT_HOLE)
    flush(w);
}

/* A little while; the fewer steps are left the longer. True if SIGTERM came. */
static bool pause_or_end(const worker *w, uint32_t round)
{
  uint64_t pause_ns_max = PAUSE_NS * STEPS_MAX / (STEPS_MAX + STEPS_MAX / 10 - w->step);
  struct timespec pause = {.tv_nsec = (long)(mix(step_seed(w, round)) % pause_ns_max)};
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  return sigtimedwait(&signals, NULL, &pause) == SIGTERM;
}

static void work(worker *w)
{
  bool is_short = w->plant != PLANT_NONE && w->plant != PLANT_UNDO && w->plant != PLANT_UNFENCED;
  step_keys now, next;
  memset(&now, 1, sizeof now);
  look_up(w, &now.is_read); /* every row once: what the predecessor left must stay as it is */
  draw_keys(step_seed(w, 0), &now);
  look_up(w, &now.is_read);
  for (uint32_t round = 0; !pause_or_end(w, round) && !(is_short && w->step == PLANT_END); round++) {
    draw_keys(step_seed(w, round + 1), &next);
    if (w->step < STEPS_MAX) {
      do_step(w, &now, &next);
      now = next;
    } else { /* no bit is left: it only reads on */
      look_up(w, &next.is_read);
      write_record(w, EVENT_READ, w->step);
    }
  }
}

static void open_worker(worker *w)
{
  char path[4096], name[HOTROW_TABLE_NAME_MAX + 1];
  history_path(&w->run, w->rank, w->session, path, sizeof path);
  w->history = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (w->history < 0) {
    perror(path);
    exit(1);
  }
  hotrow_client_options client = HOTROW_CLIENT_OPTIONS_INIT;
  client.shards = w->run.shards;
  client.job = mix(w->run.seed) + (w->plant == PLANT_UNFENCED);
  for (const char *c = w->run.name; *c; c++)
    client.job = mix(client.job + (unsigned char)*c);
  client.rank = w->rank;
  client.world_size = RANKS;
  client.timeout_ms = TIMEOUT_MS;
  must(hotrow_client_open(&client, &w->client), "open");
  write_record(w, EVENT_BEGUN, 0);
  for (uint32_t t = 0; t < TABLES; t++) {
    hotrow_table_options table = HOTROW_TABLE_OPTIONS_INIT;
    name_table(&w->run, t, name);
    table.name = name;
    table.optimizer.kind = HOTROW_SGD;
    table.optimizer.lr = 1;
    table.initializer.kind = HOTROW_INIT_ZERO;
    table.dim = DIM;
    table.policy = w->rank % 2 ? HOTROW_POLICY_LIGHT_LFU : HOTROW_POLICY_LRU;
    table.cache_row_count = t == 0 ? CACHE_ROWS : 0;
    table.pull_bound = PULL_BOUND;
    table.push_bound = t == 0 ? PUSH_BOUND : 0;
    hotrow_status status = hotrow_table_create(w->client, &table, &w->tables[t]);
    if (status == HOTROW_ERR_FENCED)
      exit(EXIT_FENCED);
    must(status, "create table");
  }
  open_reader(&w->run, &w->reader, w->reader_tables);
}

static int run_worker(const run *r, uint32_t rank, uint32_t session, plant fault, reading_mode reading)
{
  static worker w;
  w.run = *r;
  w.rank = rank;
  w.session = session;
  w.plant = fault;
  w.reading = reading;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, NULL); /* also in the threads to come: only pause_or_end takes it */
  open_worker(&w);
  work(&w);
  if (fault == PLANT_HOLE)
    return 0;
  if (fault == PLANT_UNDO) {
    step_keys first;
    draw_keys(step_seed(&w, 0), &first);
    must(push(&w, &first, 0, 1), "planted push");
    must(hotrow_step(w.client, 0), "step");
  }
  flush(&w);
  hotrow_client_stats stats;
  hotrow_client_get_stats(w.client, &stats);
  printf("%u steps, %llu resends\n", w.step, (unsigned long long)stats.resends);
  if (stats.unseen_max > PULL_BOUND || stats.pending_max > PUSH_BOUND) {
    fprintf(stderr, "history_worker: unseen_max %llu, pending_max %llu\n", (unsigned long long)stats.unseen_max,
            (unsigned long long)stats.pending_max);
    return 1;
  }
  hotrow_client_close(w.reader);
  hotrow_client_close(w.client);
  return 0;
}

/* Its place among the names, or their count. */
static uint32_t find_name(const char *const *names, uint32_t count, const char *name)
{
  uint32_t i = 0;
  while (i < count && strcmp(name, names[i]) != 0)
    i++;
  return i;
}

static int usage(void)
{
  fprintf(stderr, "usage: history_worker run SHARDS DIR SEED RANK SESSION [PLANT [blind|restarts]]\n"
                  "       history_worker check SHARDS DIR SEED\n"
                  "       history_worker repeats SHARDS\n");
  return 64;
}

int main(int argc, char **argv)
{
  if (argc < 3)
    return usage();
  run r = {.shards = argv[2]};
  if (argc == 3 && strcmp(argv[1], "repeats") == 0)
    return history_repeats(&r);
  if (argc < 5)
    return usage();
  r.dir = argv[3];
  r.name = strrchr(r.dir, '/') ? strrchr(r.dir, '/') + 1 : r.dir;
  r.seed = strtoull(argv[4], NULL, 10);
  if (argc == 5 && strcmp(argv[1], "check") == 0)
    return history_check(&r);
  if (argc < 7 || argc > 9 || strcmp(argv[1], "run") != 0)
    return usage();
  uint32_t rank = (uint32_t)strtoul(argv[5], NULL, 10), session = (uint32_t)strtoul(argv[6], NULL, 10);
  plant fault = argc > 7 ? (plant)find_name(plant_names, PLANT_COUNT, argv[7]) : PLANT_NONE;
  reading_mode reading = argc > 8 ? (reading_mode)find_name(reading_names, READING_COUNT, argv[8]) : READ_ALL;
  if (rank >= RANKS || session >= SESSIONS_MAX || fault == PLANT_COUNT || reading == READING_COUNT)
    return usage();
  return run_worker(&r, rank, session, fault, reading);
}
