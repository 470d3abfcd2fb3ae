/* A storage in memory for the tests of cuts: what was handed over last, and what is safe. */
#ifndef STORAGE_TEST_H
#define STORAGE_TEST_H

#include "row_read.h"
#include "shard_test.h"
#include "storage.h"

#define STORED_TABLES_MAX 8u
#define STORED_ROWS_MAX 1024u
#define STORED_FLOATS_MAX 32u
#define STORED_SESSIONS_MAX 32u
#define STORED_JOBS_MAX 4u
#define STORED_MEMBERS_MAX 8u
#define STORED_GONE_MAX 1024u
#define STORED_BUCKETS_MAX 256u
#define STORED_BUCKET_BYTES 64u
#define STORED_RECORDS_MAX 4096u
#define ASKED_MAX 64u

typedef struct stored_row {
  uint64_t key;
  uint32_t table, clock;
  size_t float_count;
  float record[STORED_FLOATS_MAX];
} stored_row;

typedef struct stored_job {
  hr_stored_job job;
  hr_stored_member members[STORED_MEMBERS_MAX];
} stored_job;

typedef struct stored_gone {
  uint64_t key;
  uint32_t table;
} stored_gone;

typedef struct stored_bucket {
  uint64_t number;
  uint32_t table;
  uint8_t bytes[STORED_BUCKET_BYTES];
} stored_bucket;

typedef struct stored_cut {
  hr_table_desc tables[STORED_TABLES_MAX];
  stored_row rows[STORED_ROWS_MAX];
  hr_stored_session sessions[STORED_SESSIONS_MAX];
  stored_job jobs[STORED_JOBS_MAX];
  stored_gone gone[STORED_GONE_MAX]; /* staged only */
  stored_bucket buckets[STORED_BUCKETS_MAX];
  size_t table_count, row_count, session_count, job_count, gone_count, bucket_count;
  size_t log_count; /* records that it covers */
} stored_cut;

typedef struct stored_record {
  uint8_t *bytes; /* owned */
  size_t size;
} stored_record;

typedef struct test_storage {
  hr_storage calls;
  stored_cut staged, safe;
  uint64_t number; /* of the staged cut */
  bool is_open, is_whole;
  size_t calls_left; /* before one fails; 0: none does */
  stored_record log[STORED_RECORDS_MAX];
  size_t log_count, log_handed, log_safe;
  bool is_record_open;
  hr_row_read *asked[ASKED_MAX]; /* and not answered, the oldest first */
  bool has_run[ASKED_MAX];       /* what was asked for has been read */
  size_t asked_count;
  size_t waited_for; /* keys that the shard's thread looked for itself */
  bool is_reading, fails;
} test_storage;

test_storage *test_storage_open(void);

/* From now on what is safe can be read, and rows may leave memory: set before the shard is made. */
void test_storage_let_read(test_storage *s);
/* A read that was asked for, by its place: reads what is safe now, if it has not yet; and the shard takes it. */
void test_storage_run(test_storage *s, size_t i);
void test_storage_bring(test_storage *s, test_shard *t, size_t i);
void test_storage_bring_all(test_storage *s, test_shard *t); /* the oldest first, and those asked for meanwhile */

/* The staged cut is on disk now, and the shard is told so. */
void test_storage_commit(test_storage *s, hr_shard *shard);

void test_storage_close(test_storage *s);

/* Hands the log over, if nothing of it is on its way; else what was handed over is on disk now. */
void test_storage_log(test_storage *s, hr_shard *shard);

/* Puts what is safe into an empty shard. What is staged is lost. */
void test_storage_restore(test_storage *s, hr_shard *shard, uint64_t now_ns);

#endif
