/* What copies lacked when they were used, known from outside: the oracle sees every update made, pushed and fetched,
 * and counts them by occurrences of the key, whatever the clocks under test count. Updates that other workers still
 * keep back are lacked too.
 *
 *   made[w], pushed[w]   occurrences of the key in w's batches so far; of them, those whose gradient has left w
 *   contained[w]         of the others' pushed occurrences, those in w's copy: all, at the moment it was fetched
 *   unseen               made by others - contained[w], when w uses its copy
 *
 * A row that is pushed takes all that was made of it along: where a step is kept back for what rounding left, the
 * gradient itself has gone. */
#ifndef HR_COMM_ORACLE_H
#define HR_COMM_ORACLE_H

#include <hotrow/hotrow.h>

#define COMM_BUCKETS 32u /* 0, then [2^(b-1), 2^b) */

typedef struct comm_oracle comm_oracle;

typedef struct comm_unseen {
  uint64_t uses; /* rows of distinct keys of batches */
  uint64_t sum, max;
  uint64_t counts[COMM_BUCKETS];
} comm_unseen;

/* For keys as the built-in stream makes them. HOTROW_ERR_NO_MEMORY */
hotrow_status comm_oracle_open(uint32_t worker_count, comm_oracle **oracle_p);
void comm_oracle_close(comm_oracle *oracle); /* accepts NULL */

/* `worker` has computed gradients of these keys; one that stands there more than once was updated as often. Before its
 * hotrow_step. */
void comm_oracle_made(comm_oracle *oracle, uint32_t worker, const uint64_t *keys, size_t count);

/* The observer of a client, with comm_oracle_context(oracle, worker) as its context. */
void comm_oracle_observe(void *context, const hotrow_table *table, hotrow_event event, const uint64_t *keys,
                         const uint32_t *numbers, size_t count);
void *comm_oracle_context(comm_oracle *oracle, uint32_t worker);

/* Counts start anew. */
void comm_oracle_restart(comm_oracle *oracle);
const comm_unseen *comm_oracle_unseen(const comm_oracle *oracle);

#endif
