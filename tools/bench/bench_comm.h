/* The parts of `hotrow bench comm`. */
#ifndef HR_BENCH_COMM_H
#define HR_BENCH_COMM_H

#include "bench.h"
#include "comm_run.h"

#define COMM_CONFIGS_MAX 256u

typedef struct comm_job {
  comm_config config;
  comm_result result;
  bool is_done;
} comm_job;

/* Appends to jobs[*count_p] a configuration as --configs names it. False, with a message, if it names none:
 *   no-cache | het-compat | default | MODE:PULL/PUSH[:STEP][:POLICY][:DTYPE][:occurrences], such as
 *   announce:300/30:64:lru:i8:occurrences */
bool comm_add_config(const comm_config *common, const char *text, comm_job *jobs, size_t *count_p);

/* The MODE:PULL/PUSH of a job that was named by a preset. */
const char *comm_mode_name(const comm_config *config);
const char *comm_policy_name(const comm_config *config);
const char *comm_dtype_name(const comm_config *config);

/* Runs the jobs, each in a process of its own, `parallel` of them at a time, and shows progress on stderr. done is
 * called as each ends. Exit code. */
int comm_run_jobs(comm_job *jobs, size_t count, uint32_t parallel, void (*done)(const comm_job *job, void *context),
                  void *context);

/* HOTROW_ERR_STORAGE, HOTROW_ERR_NO_MEMORY */
hotrow_status comm_write_html(const char *path, const comm_job *jobs, size_t count);

#endif
