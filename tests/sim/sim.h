/* A cluster in one thread: real workers, caches and shards over a network that delays, drops, repeats, and cuts
 * connections; links are parted for a while, workers die and come back as new processes, shards die and come back from
 * their last durable cut. Time and chance come from one seed, so a seed replays a run.
 *
 * How a check can be exact: every table has SGD with learning rate 1 and rows that start at 0. Each session (a worker
 * process) has a column of its own, and its gradient is -1 there, or -1 for each occurrence of the key where
 * occurrences are what clocks count. So a column of any copy of a row counts the steps of that session that the copy
 * contains; a lost push is one too few, a doubled one one too many, in the shard's rows after every message
 * (sim_ledger.c) and in every read (sim_reads.c). Where rows go for good it is those that nobody has pushed to: that
 * one is there, or is not, counts for the same. */
#ifndef HR_SIM_H
#define HR_SIM_H

#include <core.h>
#include <hr/random.h>
#include <shard.h>

#define SIM_WORKERS_MAX 8
#define SIM_SHARDS_MAX 4
#define SIM_TABLES_MAX 2
#define SIM_KEYS_MAX 40
#define SIM_BATCH_MAX 24
#define SIM_SESSIONS_MAX 12 /* of all workers together: columns of a row */
#define SIM_WINDOW_MAX 8    /* batches of look-ahead */
#define SIM_TOOL UINT32_MAX /* in a route: not a worker but the tool */
#define SIM_FOREVER UINT64_MAX

typedef struct sim_config {
  uint64_t seed;
  uint32_t workers, shards, tables, steps;
  uint32_t sessions; /* the dim of every table */
  uint32_t keys;     /* the key space of each table */
  uint32_t batch;    /* keys of a lookup, duplicates included */
  uint32_t pull_bound[SIM_TABLES_MAX], push_bound[SIM_TABLES_MAX];
  hotrow_mode mode[SIM_TABLES_MAX];
  hotrow_dtype dtype[SIM_TABLES_MAX];      /* F32 or F16: small whole numbers are exact in both */
  bool counts_occurrences[SIM_TABLES_MAX]; /* each occurrence of a key in a batch is a step; F32, as these are many */
  uint32_t steps_to_live[SIM_TABLES_MAX];  /* 0: for ever. Of rows that nobody has pushed to, so that none is missed */
  uint64_t cache_rows;
  bool shares_cache;  /* the second table's rows are in the cache of the first */
  bool is_one_by_one; /* tables are looked up in calls of their own, one after the other */
  hotrow_cache_policy policy;
  uint32_t window; /* batches of look-ahead; 0: none */
  bool use_fused, use_flush;
  bool is_exact;             /* all tables: a session that dies would end the job */
  uint32_t give_up_permille; /* of the moments of a wait: the lookup is given up, as when its deadline has passed */
  uint32_t burst_max;        /* steps without a lookup before them, one after the other */
  uint32_t drop_permille, repeat_permille, cut_permille;
  uint64_t delay_max_ns;
  uint32_t slow_worker;        /* its messages take 50 times as long; none: workers */
  uint32_t announce_log_count; /* small: it wraps */
  uint32_t busy_permille;      /* of the requests that a shard may refuse so */
  size_t part_bytes;           /* of rows in one message; small: a few rows. 0: all */
  bool use_whole_pushes;       /* a step's gradients mostly come in one push, else in two */
  bool is_durable;             /* shards have storage, and may die */
  bool has_log;                /* and log what they apply */
  size_t cut_turn_bytes;       /* of a cut that are copied between messages: some rows, or all of them */
  uint32_t evict_permille;     /* of the messages to a durable shard, before which rows leave its memory */
  uint32_t shard_deaths, worker_deaths, partings; /* that will come */
} sim_config;

/* What a shard's rows count, for every key. */
typedef struct sim_counts {
  uint32_t clocks[SIM_TABLES_MAX][SIM_KEYS_MAX];
  float steps[SIM_TABLES_MAX][SIM_KEYS_MAX][SIM_SESSIONS_MAX];
} sim_counts;

typedef struct sim_message {
  uint64_t due_ns;
  uint64_t order; /* ties in due_ns go in the order of sending */
  uint32_t worker, shard, connection;
  bool to_shard;
  bool outlives_sender; /* its worker is dead, and it arrives all the same */
  size_t frame_count;
  hr_frame frames[HR_WIRE_FRAMES_MAX]; /* data owned */
  /* To a shard: arrays that the worker has lent until the message has left, which must not change until then. */
  const void *lent[HR_WIRE_FRAMES_MAX];
  atomic_uint *users; /* NULL: none, or given back */
  sim_counts *truth;  /* owned; of a reply: what the shard's rows counted when it was sent */
} sim_message;

/* One push as its session sent it to one shard. */
typedef struct sim_push {
  uint32_t row_count;
  struct sim_pushed_row {
    uint8_t table, key;
    uint32_t steps;
    float count; /* of the session's column: its gradient */
  } * rows;      /* owned */
} sim_push;

typedef struct sim_session {
  hr_session_id id;
  uint32_t worker;
  bool is_dead;
  struct sim_stream {
    sim_push *pushes; /* owned; push n is pushes[n-1] */
    uint64_t count, capacity;
    uint64_t applied;      /* by the shard as it is now */
    uint64_t durable_told; /* largest durable_seq that it was told */
  } streams[SIM_SHARDS_MAX];
} sim_session;

typedef enum sim_phase { PHASE_HELLO, PHASE_IDLE, PHASE_LOOKUP, PHASE_FLUSH, PHASE_DONE } sim_phase;

typedef struct sim_keys {
  uint64_t keys[SIM_TABLES_MAX][SIM_BATCH_MAX];
} sim_keys;

typedef struct sim_worker {
  struct cluster *sim;
  uint32_t index;
  uint32_t session; /* column of its present process */
  hr_core *core;
  hotrow_table *tables[SIM_TABLES_MAX];
  sim_phase phase;
  uint32_t step;
  uint64_t idle_until_ns;
  bool step_is_open;   /* gradients are in, the step has not ended: the fused call ends it */
  uint32_t next_table; /* that is looked up next; is_one_by_one: those before it have been in this step */
  sim_keys batch;
  sim_keys ahead[SIM_WINDOW_MAX]; /* batches handed over, the next one first */
  uint32_t ahead_count;
  float rows[SIM_TABLES_MAX][SIM_BATCH_MAX][SIM_SESSIONS_MAX];
  uint32_t issued[SIM_TABLES_MAX][SIM_KEYS_MAX]; /* own steps of this session that have ended, by key */
  sim_counts newest[SIM_SHARDS_MAX];             /* of each shard, at the last reply taken in */
  sim_counts probed[SIM_SHARDS_MAX];             /* and at the last answer to a pull of each table */
  /* Of each row read: whether it was held, and else what was true of it when it came. */
  bool is_hit[SIM_TABLES_MAX][SIM_KEYS_MAX];
  float came[SIM_TABLES_MAX][SIM_KEYS_MAX][SIM_SESSIONS_MAX];
  const sim_message *in_hand; /* the one that is being taken in */
} sim_worker;

typedef struct sim_shard sim_shard; /* sim_shard.c */

typedef struct sim_event { /* a fault that is planned */
  enum {
    SIM_SHARD_DIES,
    SIM_SHARD_RISES,
    SIM_WORKER_DIES,
    SIM_PART,
    SIM_HEAL,
    SIM_CUT,
    SIM_COPY,
    SIM_CUT_IS_DURABLE,
    SIM_LOG_IS_DURABLE,
    SIM_ROWS_ARE_READ
  } kind;
  uint64_t due_ns;
  uint32_t worker, shard;
  uint64_t number;
} sim_event;
#define SIM_EVENTS_MAX 256

typedef struct sim_totals {
  uint64_t reads, stale_reads, messages, dropped, repeated, cut, resends, hits, fetched_ahead, given_up;
  uint64_t announcements, resets, shard_deaths, worker_deaths, replayed, durable_cuts, busy, logged, fetched;
  uint64_t parked, visits, expired;
  uint64_t turns, refused_cuts; /* of cuts: parts copied after their moment, and those that were given up */
} sim_totals;

typedef struct cluster {
  sim_config config;
  hr_rng rng;
  uint64_t now_ns;
  uint64_t message_order;
  sim_message **queue; /* owned array of owned messages, a heap by (due_ns, order) */
  size_t queue_count, queue_capacity;
  uint64_t last_due_ns[SIM_WORKERS_MAX][SIM_SHARDS_MAX][2]; /* a connection keeps its order */
  uint32_t connection[SIM_WORKERS_MAX][SIM_SHARDS_MAX];     /* number of the present one */
  bool is_parted[SIM_WORKERS_MAX][SIM_SHARDS_MAX][2];       /* [to worker, to shard] */
  sim_event events[SIM_EVENTS_MAX];
  size_t event_count;
  sim_shard *shards[SIM_SHARDS_MAX]; /* owned */
  sim_session sessions[SIM_SESSIONS_MAX];
  uint32_t session_count;
  sim_worker workers[SIM_WORKERS_MAX];
  hr_table_desc descs[SIM_TABLES_MAX];
  hr_core *tool; /* creates the tables, over a perfect network */
  uint32_t shard_in_hand;
  bool faults_end; /* from here on the network behaves, so that everything must come to an end */
  sim_totals totals;
} cluster;

uint64_t sim_key(uint32_t table, uint32_t index); /* includes 0 and 2^64-1 */
uint32_t sim_index_of_key(const cluster *sim, uint32_t table, uint64_t key);
uint32_t sim_shard_of_key(const cluster *sim, uint32_t table, uint32_t index);
bool sim_chance(cluster *sim, uint32_t permille);
uint64_t sim_below(cluster *sim, uint64_t limit);

/* sim.c */
void sim_plan(cluster *sim, sim_event event);

/* sim_network.c */
void sim_send_to_shard(void *worker, uint32_t shard, const hr_frame *frames, size_t frame_count, atomic_uint *users);
void sim_send_to_worker(void *sim, const hr_route_id *to, const hr_frame *frames, size_t frame_count);
sim_message *sim_take_message(cluster *sim, uint64_t until_ns); /* NULL: none is due by then */
uint64_t sim_next_due_ns(const cluster *sim);
void sim_cut_connection(cluster *sim, uint32_t worker, uint32_t shard);
void sim_free_message(sim_message *message);
/* The worker's process is gone; what it has sent may arrive all the same. */
void sim_forget_worker(cluster *sim, uint32_t worker);

/* sim_shard.c */
void sim_shards_create(cluster *sim);
void sim_shards_destroy(cluster *sim);
bool sim_shard_is_up(const cluster *sim, uint32_t shard);
hr_shard *sim_shard_get(const cluster *sim, uint32_t shard);
void sim_shard_receive(cluster *sim, uint32_t shard, const hr_route_id *from, const hr_frame *frames, size_t count);
void sim_shard_event(cluster *sim, const sim_event *event);
void sim_shard_finish_cuts(cluster *sim, uint32_t shard); /* all that is written is durable now */
void sim_count_rows(cluster *sim, uint32_t shard, sim_counts *counts);

/* sim_ledger.c: what every session has sent, and that the shards' rows hold just that. */
void sim_ledger_sent(cluster *sim, uint32_t session, uint32_t shard, const hr_frame *frames, size_t frame_count);
void sim_ledger_told(cluster *sim, uint32_t session, uint32_t shard, const hr_message *reply);
void sim_ledger_check(cluster *sim, uint32_t shard); /* after every message to the shard */
void sim_ledger_check_end(cluster *sim);
void sim_ledger_free(cluster *sim);

/* sim_worker.c, sim_reads.c */
void sim_worker_begin(cluster *sim, uint32_t index); /* a new process */
void sim_worker_run(sim_worker *worker);             /* does what it can do now */
void sim_worker_take(sim_worker *worker, sim_message *message);
void sim_reads_taken(sim_worker *worker, const sim_message *message, const hr_message *reply, bool answers_pull);
void sim_reads_observe(void *worker, const hotrow_table *table, hotrow_event event, const uint64_t *keys,
                       const uint32_t *numbers, size_t count);
void sim_reads_check(sim_worker *worker, uint32_t table);

/* Runs one cluster from its seed to its end; every check is inside. */
void sim_run(uint64_t seed, sim_totals *totals);

/* Fails the test with the seed. */
_Noreturn void sim_fail(const cluster *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
