/* A cluster in one thread: real workers, caches and shards over a network that delays, drops, repeats, reorders nothing
 * within a connection, and cuts connections. Time and chance come from one seed, so a seed replays a run.
 *
 * How a check can be exact: every table has SGD with learning rate 1, rows start at 0 and dim is the number of workers.
 * Worker j's gradient is -1 in column j. So column j of any copy of a row counts the steps of worker j that the copy
 * contains; a lost push is one too few, a doubled one one too many, on the shard and in every read. */
#ifndef HR_SIM_H
#define HR_SIM_H

#include <core.h>
#include <hr/random.h>
#include <shard.h>

#define SIM_WORKERS_MAX 4
#define SIM_SHARDS_MAX 3
#define SIM_TABLES_MAX 2
#define SIM_KEYS_MAX 40
#define SIM_BATCH_MAX 24
#define SIM_AHEAD_MAX 5
#define SIM_TOOL UINT32_MAX /* in a route: not a worker but the tool */

typedef struct sim_config {
  uint64_t seed;
  uint32_t workers, shards, tables, steps;
  uint32_t keys;  /* the key space of each table */
  uint32_t batch; /* keys of a lookup, duplicates included */
  uint32_t pull_bound[SIM_TABLES_MAX], push_bound[SIM_TABLES_MAX];
  uint64_t cache_rows;
  hotrow_cache_policy policy;
  hotrow_mode mode;
  uint32_t announce_step[SIM_TABLES_MAX];
  bool use_lookahead, use_fused, use_flush;
  uint32_t give_up_permille; /* of the moments of a wait: the lookup is given up, as when its deadline has passed */
  uint32_t burst_max;        /* steps without a lookup before them, one after the other */
  uint32_t drop_permille, repeat_permille, cut_permille;
  uint64_t delay_max_ns;
  bool trace;
} sim_config;

typedef struct sim_message {
  uint64_t due_ns;
  uint64_t order; /* ties in due_ns go in the order of sending */
  uint32_t worker, shard, connection;
  bool to_shard;
  size_t frame_count;
  hr_frame frames[HR_WIRE_FRAMES_MAX]; /* data owned */
  /* Of a reply: what the shard's rows counted when it was sent. */
  float *truth; /* owned: [tables][keys][workers] */
} sim_message;

typedef enum sim_phase { PHASE_HELLO, PHASE_IDLE, PHASE_LOOKUP, PHASE_FLUSH, PHASE_DONE } sim_phase;

typedef struct sim_worker {
  struct cluster *sim;
  uint32_t index;
  hr_core *core;
  hotrow_table *tables[SIM_TABLES_MAX];
  sim_phase phase;
  uint32_t step;
  uint64_t idle_until_ns;
  bool step_is_open; /* gradients are in, the step has not ended: the fused call ends it */
  uint64_t keys[SIM_TABLES_MAX][SIM_BATCH_MAX];
  float rows[SIM_TABLES_MAX][SIM_BATCH_MAX][SIM_WORKERS_MAX];
  uint32_t issued[SIM_TABLES_MAX][SIM_KEYS_MAX]; /* own steps that have ended, by key */
  /* Of each shard: at the last reply that a lookup waited for, and at the last one of all. */
  float *truth[SIM_SHARDS_MAX], *latest[SIM_SHARDS_MAX];
  uint64_t coming[SIM_AHEAD_MAX][SIM_TABLES_MAX][SIM_BATCH_MAX]; /* handed over, the next first */
  uint32_t coming_count;
} sim_worker;

typedef struct cluster {
  sim_config config;
  hr_rng rng;
  uint64_t now_ns;
  uint64_t message_order;
  sim_message **queue; /* owned array of owned messages, a heap by (due_ns, order) */
  size_t queue_count, queue_capacity;
  uint64_t last_due_ns[SIM_WORKERS_MAX][SIM_SHARDS_MAX][2]; /* a connection keeps its order */
  uint32_t connection[SIM_WORKERS_MAX][SIM_SHARDS_MAX];     /* number of the present one */
  hr_shard *shards[SIM_SHARDS_MAX];
  sim_worker workers[SIM_WORKERS_MAX];
  hr_core *tool; /* creates the tables, over a perfect network */
  uint32_t shard_in_hand;
  bool faults_end; /* from here on the network behaves, so that everything must come to an end */
  uint64_t reads_checked, messages, dropped, repeated, cut, stale_reads, given_up;
} cluster;

uint64_t sim_key(uint32_t table, uint32_t index); /* includes 0 and 2^64-1 */
bool sim_chance(cluster *sim, uint32_t permille);

/* sim_network.c */
void sim_send_to_shard(void *worker, uint32_t shard, const hr_frame *frames, size_t frame_count);
void sim_send_to_worker(void *sim, const hr_route_id *to, const hr_frame *frames, size_t frame_count);
sim_message *sim_take_message(cluster *sim, uint64_t until_ns); /* NULL: none is due by then */
uint64_t sim_next_due_ns(const cluster *sim);
void sim_cut_connection(cluster *sim, uint32_t worker, uint32_t shard);
void sim_free_message(sim_message *message);
float *sim_read_truth(cluster *sim, uint32_t shard);

/* sim_worker.c */
void sim_worker_init(cluster *sim, uint32_t index);
void sim_worker_run(sim_worker *worker); /* does what it can do now */
void sim_worker_take(sim_worker *worker, sim_message *message);

/* Runs one cluster from its seed to its end; every check is inside. */
typedef struct sim_totals {
  uint64_t reads, stale_reads, messages, dropped, repeated, cut, resends, hits, prefetched, given_up, announced,
      dropped_windows;
} sim_totals;
void sim_run(uint64_t seed, sim_totals *totals);

/* Fails the test with the seed. */
_Noreturn void sim_fail(const cluster *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
