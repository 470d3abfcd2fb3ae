#include "comm_oracle.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>
#include <hr/status.h>

#include "criteo_shape_constants.h"
#include "dataset.h"

typedef struct observer {
  comm_oracle *oracle;
  uint32_t worker;
} observer;

/* A key's record: made by all, pushed by all, then made[W], pushed[W], contained[W]. */
enum { MADE_TOTAL, PUSHED_TOTAL, TOTAL_COUNT };

struct comm_oracle {
  uint32_t worker_count;
  uint32_t record_words;
  uint32_t record_count;
  uint64_t field_begin[HR_SHAPE_FIELD_COUNT + 1]; /* keys lie one field behind the other */
  uint32_t *record_of; /* owned, [keys]: number of the key's record + 1, 0: it has none yet */
  uint32_t *records;   /* owned: room for every key, memory only for those that came */
  size_t index_bytes, record_bytes;
  observer *observers; /* owned, [worker_count] */
  comm_unseen unseen;
};

hotrow_status comm_oracle_open(uint32_t worker_count, comm_oracle **oracle_p)
{
  comm_oracle *oracle;
  HOTROW_TRY(hr_alloc(1, sizeof *oracle, "oracle", (void **)&oracle));
  oracle->worker_count = worker_count;
  oracle->record_words = TOTAL_COUNT + 3 * worker_count;
  for (uint32_t f = 0; f < HR_SHAPE_FIELD_COUNT; f++)
    oracle->field_begin[f + 1] = oracle->field_begin[f] + hr_shape_fields[f].cardinality;
  const size_t key_count = oracle->field_begin[HR_SHAPE_FIELD_COUNT];
  oracle->index_bytes = key_count * sizeof *oracle->record_of;
  oracle->record_bytes = key_count * oracle->record_words * sizeof *oracle->records;
  hotrow_status status = hr_map(oracle->index_bytes, "index of the oracle", (void **)&oracle->record_of);
  if (status == HOTROW_OK)
    status = hr_map(oracle->record_bytes, "records of the oracle", (void **)&oracle->records);
  if (status == HOTROW_OK)
    status = hr_alloc(worker_count, sizeof *oracle->observers, "observers", (void **)&oracle->observers);
  for (uint32_t w = 0; status == HOTROW_OK && w < worker_count; w++)
    oracle->observers[w] = (observer){oracle, w};
  if (status == HOTROW_OK)
    *oracle_p = oracle;
  else
    comm_oracle_close(oracle);
  return status;
}

void comm_oracle_close(comm_oracle *oracle)
{
  if (!oracle)
    return;
  hr_unmap(oracle->record_of, oracle->index_bytes);
  hr_unmap(oracle->records, oracle->record_bytes);
  free(oracle->observers);
  free(oracle);
}

static uint32_t *record_of(comm_oracle *oracle, uint64_t key)
{
  const uint64_t field = key >> HR_FIELD_SHIFT, id = key & ((UINT64_C(1) << HR_FIELD_SHIFT) - 1);
  HOTROW_ASSERT(field < HR_SHAPE_FIELD_COUNT && id < hr_shape_fields[field].cardinality);
  uint32_t *number = &oracle->record_of[oracle->field_begin[field] + id];
  if (*number == 0)
    *number = ++oracle->record_count;
  return oracle->records + (size_t)(*number - 1) * oracle->record_words;
}

void comm_oracle_made(comm_oracle *oracle, uint32_t worker, const uint64_t *keys, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    uint32_t *record = record_of(oracle, keys[i]);
    record[MADE_TOTAL]++;
    record[TOTAL_COUNT + worker]++;
  }
}

static void count_use(comm_unseen *unseen, uint32_t missed)
{
  unseen->uses++;
  unseen->sum += missed;
  unseen->max = missed > unseen->max ? missed : unseen->max;
  const uint32_t bucket = missed > 0 ? 32 - (uint32_t)__builtin_clz(missed) : 0;
  unseen->counts[bucket < COMM_BUCKETS ? bucket : COMM_BUCKETS - 1]++;
}

void comm_oracle_observe(void *context, const hotrow_table *table, hotrow_event event, const uint64_t *keys,
                         const uint32_t *numbers, size_t count)
{
  const observer *who = context;
  comm_oracle *oracle = who->oracle;
  const uint32_t workers = oracle->worker_count;
  (void)table, (void)numbers;
  for (size_t i = 0; i < count; i++) {
    uint32_t *record = record_of(oracle, keys[i]);
    uint32_t *made = &record[TOTAL_COUNT + who->worker], *pushed = made + workers, *contained = pushed + workers;
    if (event == HOTROW_EVENT_PUSH) {
      record[PUSHED_TOTAL] += *made - *pushed;
      *pushed = *made;
      continue;
    }
    if (event != HOTROW_EVENT_HIT)
      *contained = record[PUSHED_TOTAL] - *pushed;
    const uint32_t made_by_others = record[MADE_TOTAL] - *made;
    HOTROW_ASSERT(made_by_others >= *contained);
    count_use(&oracle->unseen, made_by_others - *contained);
  }
}

void *comm_oracle_context(comm_oracle *oracle, uint32_t worker)
{
  return &oracle->observers[worker];
}

void comm_oracle_restart(comm_oracle *oracle)
{
  oracle->unseen = (comm_unseen){0};
}

const comm_unseen *comm_oracle_unseen(const comm_oracle *oracle)
{
  return &oracle->unseen;
}
