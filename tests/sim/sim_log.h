/* The log of a simulated shard: its records in memory. A group of them becomes durable some time after it is handed
 * over; when the shard dies the group that was on its way may be lost or not. */
#ifndef HR_SIM_LOG_H
#define HR_SIM_LOG_H

#include <storage.h>

#include "sim.h"

typedef struct sim_record {
  uint8_t *bytes; /* owned */
  size_t size;
} sim_record;

typedef struct sim_log {
  cluster *sim;
  uint32_t shard;
  sim_record *records; /* owned; record n is records[n-1]: none is forgotten, a cut says which it covers */
  size_t count, capacity;
  bool is_open;
  uint64_t handed, durable;           /* numbers of records */
  uint64_t applied[SIM_SESSIONS_MAX]; /* watermarks as of `durable`, and as of `handed` */
  uint64_t applied_handed[SIM_SESSIONS_MAX];
} sim_log;

void sim_log_init(sim_log *log, cluster *sim, uint32_t shard);
void sim_log_fini(sim_log *log);
void sim_log_set_calls(hr_storage *calls); /* whose context begins with a sim_log */

uint64_t sim_log_end_record(sim_log *log); /* ends the record that is open; the number of the last one */
/* Between two messages: hands over what is new, if nothing is on its way. */
void sim_log_hand_over(sim_log *log, hr_shard *shard);
void sim_log_is_durable(sim_log *log, hr_shard *shard, uint64_t number);
void sim_log_die(sim_log *log, uint64_t covered); /* by the cut that it will come back from: these numbers are used */
/* Applies the records after this one that are durable. */
void sim_log_replay(sim_log *log, hr_shard *shard, uint64_t covered);

#endif
