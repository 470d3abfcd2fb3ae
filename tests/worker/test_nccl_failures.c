/* Every call of NCCL and of the device fails in every way: what becomes of a communicator, what it says, and that
 * nothing is left. One rank, alone. */
#include "nccl_test.h"

typedef struct failure {
  fake_call call;
  hr_nccl_result result;
  hotrow_status status;
  const char *words;
} failure;

static void plan(const failure *f, unsigned skip)
{
  fake = (fake_plan){.call = f->call, .result = f->result, .skip = skip};
}

static void an_opening_fails(void)
{
  static const failure failures[] = {
      {FAKE_INIT, 1, HOTROW_ERR_DEVICE, "communicator dense of 3 ranks: NCCL says cuda error (1): more of it"},
      {FAKE_INIT, 2, HOTROW_ERR_UNREACHABLE, "communicator dense of 3 ranks: NCCL says system error (2)"},
      {FAKE_INIT, 3, HOTROW_ERR_INTERNAL, "communicator dense of 3 ranks: NCCL says internal error (3)"},
      {FAKE_INIT, 4, HOTROW_ERR_INVALID, "communicator dense of 3 ranks: NCCL says invalid argument (4)"},
      {FAKE_INIT, 5, HOTROW_ERR_INVALID, "communicator dense of 3 ranks: NCCL says invalid usage (5)"},
      {FAKE_INIT, 6, HOTROW_ERR_UNREACHABLE, "communicator dense of 3 ranks: NCCL says remote error (6)"},
      {FAKE_INIT, 7, HOTROW_ERR_TIMED_OUT, "communicator dense of 3 ranks is not done after 700 ms: a rank is lost"},
      {FAKE_INIT, (hr_nccl_result)8, HOTROW_ERR_INTERNAL, "NCCL says unknown result (8)"},
      {FAKE_ASYNC_ERROR, 1, HOTROW_ERR_DEVICE, "communicator dense of 3 ranks: NCCL says cuda error (1)"},
      {FAKE_ASYNC_ERROR, 4, HOTROW_ERR_INVALID, "communicator dense of 3 ranks: NCCL says invalid argument (4)"},
      {FAKE_STATE, 1, HOTROW_ERR_DEVICE, "communicator dense of 3 ranks: NCCL says cuda error (1)"},
      {FAKE_STATE, 2, HOTROW_ERR_UNREACHABLE, "communicator dense of 3 ranks: NCCL says system error (2)"},
      {FAKE_STATE, 3, HOTROW_ERR_INTERNAL, "communicator dense of 3 ranks: NCCL says internal error (3)"},
      {FAKE_STATE, 5, HOTROW_ERR_INVALID, "communicator dense of 3 ranks: NCCL says invalid usage (5)"},
      {FAKE_STATE, 6, HOTROW_ERR_UNREACHABLE, "communicator dense of 3 ranks: NCCL says remote error (6)"},
      {FAKE_STATE, 7, HOTROW_ERR_TIMED_OUT, "communicator dense of 3 ranks is not done after 700 ms"},
      {FAKE_ALL_REDUCE, 2, HOTROW_ERR_UNREACHABLE, "all-reduce 1 of 0 floats: NCCL says system error (2)"},
      {FAKE_STREAM_CREATE, 0, HOTROW_ERR_DEVICE, "device call"},
      {FAKE_EVENT_CREATE, 0, HOTROW_ERR_DEVICE, "device call"},
      {FAKE_ALLOC, 0, HOTROW_ERR_DEVICE, "device call"},
      {FAKE_EVENT_RECORD, 0, HOTROW_ERR_DEVICE, "device call"},
      {FAKE_EVENT_ORDER, 0, HOTROW_ERR_DEVICE, "device call"},
      {FAKE_EVENT_QUERY, 0, HOTROW_ERR_DEVICE, "device call"},
      {FAKE_SYNCHRONIZE, 0, HOTROW_ERR_DEVICE, "device call"},
  };
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
    hotrow_comm_options options = options_alone(HOTROW_COMM_RANK_ORDER);
    hr_nccl_id id = fake_id_alone();
    hr_device_comm *comm = NULL;
    plan(&failures[i], 0);
    hotrow_status status = hr_device_comm_open(&options, &id, &fake_nccl, kernels, &comm);
    fake = (fake_plan){0};
    hr_test_check_fails(__FILE__, __LINE__, failures[i].words, status, failures[i].status, failures[i].words);
    CHECK(!comm);
    check_nothing_is_left();
  }
}

static hr_device_comm *open_alone(uint32_t flags)
{
  hotrow_comm_options options = options_alone(flags);
  hr_nccl_id id = fake_id_alone();
  hr_device_comm *comm;
  CHECK_OK(hr_device_comm_open(&options, &id, &fake_nccl, kernels, &comm));
  return comm;
}

typedef enum work { SUM, ORDERED_SUM, BROADCAST, SUM_OF_NOTHING } work;

static hotrow_status do_work(hr_device_comm *comm, work what, float *values, size_t count)
{
  hotrow_status status = what == BROADCAST ? hr_device_comm_broadcast_begin(comm, values, count * sizeof *values, 2)
                                           : hr_device_comm_allreduce_begin(comm, values, count);
  return status == HOTROW_OK ? hr_device_comm_wait(comm) : status;
}

/* The work fails so, and from then on everything says the same; closing gives the communicator up. */
static void check_work_fails(const failure *f, unsigned skip, work what)
{
  hr_device_comm *comm = open_alone(what == ORDERED_SUM ? HOTROW_COMM_RANK_ORDER : 0);
  const float zeroes[10] = {0};
  float *values = to_device(zeroes, sizeof zeroes);
  int aborted, destroyed;
  fake_take_ends(&aborted, &destroyed);
  plan(f, skip);
  hotrow_status status = do_work(comm, what, values, what == SUM_OF_NOTHING ? 0 : 10);
  fake = (fake_plan){0};
  hr_test_check_fails(__FILE__, __LINE__, f->words, status, f->status, f->words);
  CHECK_FAILS(hr_device_comm_allreduce_begin(comm, values, 10), f->status, f->words);
  CHECK_FAILS(hr_device_comm_broadcast_begin(comm, values, 40, 0), f->status, f->words);
  CHECK_FAILS(hr_device_comm_wait(comm), f->status, f->words);
  hr_device_comm_close(comm);
  CHECK(strstr(hotrow_last_error(), f->words)); /* closing says nothing over it */
  base->free(values);
  fake_take_ends(&aborted, &destroyed);
  CHECK(aborted == 1 && destroyed == 0);
  check_nothing_is_left();
}

static void a_sum_fails(void)
{
  static const failure failures[] = {
      {FAKE_ALL_REDUCE, 1, HOTROW_ERR_DEVICE, "all-reduce 2 of 10 floats: NCCL says cuda error (1): more of it"},
      {FAKE_ALL_REDUCE, 2, HOTROW_ERR_UNREACHABLE, "all-reduce 2 of 10 floats: NCCL says system error (2)"},
      {FAKE_ALL_REDUCE, 3, HOTROW_ERR_INTERNAL, "all-reduce 2 of 10 floats: NCCL says internal error (3)"},
      {FAKE_ALL_REDUCE, 4, HOTROW_ERR_INVALID, "all-reduce 2 of 10 floats: NCCL says invalid argument (4)"},
      {FAKE_ALL_REDUCE, 5, HOTROW_ERR_INVALID, "all-reduce 2 of 10 floats: NCCL says invalid usage (5)"},
      {FAKE_ALL_REDUCE, 6, HOTROW_ERR_UNREACHABLE, "all-reduce 2 of 10 floats: NCCL says remote error (6)"},
      {FAKE_ALL_REDUCE, 7, HOTROW_ERR_TIMED_OUT, "all-reduce 2 of 10 floats is not done after 700 ms: a rank is lost"},
      {FAKE_ALL_REDUCE, (hr_nccl_result)99, HOTROW_ERR_INTERNAL, "NCCL says unknown result (99)"},
  };
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
    check_work_fails(&failures[i], 0, SUM);
  const failure barrier = {FAKE_ALL_REDUCE, 6, HOTROW_ERR_UNREACHABLE, "all-reduce 2 of 0 floats: NCCL says remote"};
  check_work_fails(&barrier, 0, SUM_OF_NOTHING);
}

static void a_sum_in_rank_order_fails(void)
{
  static const failure failures[] = {
      {FAKE_ALL_GATHER, 1, HOTROW_ERR_DEVICE, "all-reduce 2 of 10 floats: NCCL says cuda error (1)"},
      {FAKE_ALL_GATHER, 2, HOTROW_ERR_UNREACHABLE, "all-reduce 2 of 10 floats: NCCL says system error (2)"},
      {FAKE_ALL_GATHER, 3, HOTROW_ERR_INTERNAL, "all-reduce 2 of 10 floats: NCCL says internal error (3)"},
      {FAKE_ALL_GATHER, 4, HOTROW_ERR_INVALID, "all-reduce 2 of 10 floats: NCCL says invalid argument (4)"},
      {FAKE_ALL_GATHER, 5, HOTROW_ERR_INVALID, "all-reduce 2 of 10 floats: NCCL says invalid usage (5)"},
      {FAKE_ALL_GATHER, 6, HOTROW_ERR_UNREACHABLE, "all-reduce 2 of 10 floats: NCCL says remote error (6)"},
      {FAKE_ALL_GATHER, 7, HOTROW_ERR_TIMED_OUT, "all-reduce 2 of 10 floats is not done after 700 ms"},
      {FAKE_ALL_GATHER, (hr_nccl_result)8, HOTROW_ERR_INTERNAL, "NCCL says unknown result (8)"},
  };
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
    check_work_fails(&failures[i], 0, ORDERED_SUM);
}

static void a_broadcast_fails(void)
{
  static const failure failures[] = {
      {FAKE_BROADCAST, 1, HOTROW_ERR_DEVICE, "broadcast 2 of 40 bytes from rank 2: NCCL says cuda error (1)"},
      {FAKE_BROADCAST, 2, HOTROW_ERR_UNREACHABLE, "broadcast 2 of 40 bytes from rank 2: NCCL says system error (2)"},
      {FAKE_BROADCAST, 3, HOTROW_ERR_INTERNAL, "broadcast 2 of 40 bytes from rank 2: NCCL says internal error (3)"},
      {FAKE_BROADCAST, 4, HOTROW_ERR_INVALID, "broadcast 2 of 40 bytes from rank 2: NCCL says invalid argument (4)"},
      {FAKE_BROADCAST, 5, HOTROW_ERR_INVALID, "broadcast 2 of 40 bytes from rank 2: NCCL says invalid usage (5)"},
      {FAKE_BROADCAST, 6, HOTROW_ERR_UNREACHABLE, "broadcast 2 of 40 bytes from rank 2: NCCL says remote error (6)"},
      {FAKE_BROADCAST, 7, HOTROW_ERR_TIMED_OUT, "broadcast 2 of 40 bytes from rank 2 is not done after 700 ms"},
      {FAKE_BROADCAST, (hr_nccl_result)8, HOTROW_ERR_INTERNAL, "NCCL says unknown result (8)"},
  };
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
    check_work_fails(&failures[i], 0, BROADCAST);
}

/* The errors that come later: while the call is queued (skip 0), and while it is waited for (skip 4 and more). */
static void work_fails_behind_the_call(void)
{
  static const failure failures[] = {
      {FAKE_ASYNC_ERROR, 1, HOTROW_ERR_DEVICE, "2 of 10 floats: NCCL says cuda error (1)"},
      {FAKE_ASYNC_ERROR, 2, HOTROW_ERR_UNREACHABLE, "2 of 10 floats: NCCL says system error (2)"},
      {FAKE_ASYNC_ERROR, 3, HOTROW_ERR_INTERNAL, "2 of 10 floats: NCCL says internal error (3)"},
      {FAKE_ASYNC_ERROR, 4, HOTROW_ERR_INVALID, "2 of 10 floats: NCCL says invalid argument (4)"},
      {FAKE_ASYNC_ERROR, 5, HOTROW_ERR_INVALID, "2 of 10 floats: NCCL says invalid usage (5)"},
      {FAKE_ASYNC_ERROR, 6, HOTROW_ERR_UNREACHABLE, "2 of 10 floats: NCCL says remote error (6)"},
      {FAKE_STATE, 1, HOTROW_ERR_DEVICE, "2 of 10 floats: NCCL says cuda error (1)"},
      {FAKE_STATE, 2, HOTROW_ERR_UNREACHABLE, "2 of 10 floats: NCCL says system error (2)"},
      {FAKE_STATE, 3, HOTROW_ERR_INTERNAL, "2 of 10 floats: NCCL says internal error (3)"},
      {FAKE_STATE, 4, HOTROW_ERR_INVALID, "2 of 10 floats: NCCL says invalid argument (4)"},
      {FAKE_STATE, 5, HOTROW_ERR_INVALID, "2 of 10 floats: NCCL says invalid usage (5)"},
      {FAKE_STATE, 6, HOTROW_ERR_UNREACHABLE, "2 of 10 floats: NCCL says remote error (6)"},
      {FAKE_STATE, 7, HOTROW_ERR_TIMED_OUT, "2 of 10 floats is not done after 700 ms: a rank is lost or late"},
      {FAKE_EVENT_RECORD, 0, HOTROW_ERR_DEVICE, "device call"},
  };
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
    check_work_fails(&failures[i], 0, SUM);
    check_work_fails(&failures[i], 1, ORDERED_SUM);
    if (failures[i].call != FAKE_EVENT_RECORD)
      check_work_fails(&failures[i], 3, SUM); /* the only question while it is waited for: it is done already */
  }
  static const failure waits[] = {{FAKE_EVENT_ORDER, 0, HOTROW_ERR_DEVICE, "device call"},
                                  {FAKE_EVENT_QUERY, 0, HOTROW_ERR_DEVICE, "device call"},
                                  {FAKE_SYNCHRONIZE, 0, HOTROW_ERR_DEVICE, "device call"}};
  for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
    check_work_fails(&waits[i], 0, SUM);
}

static void silence_ends_at_the_deadline(void)
{
  hr_device_comm *comm = open_alone(0);
  const float zeroes[10] = {0};
  float *values = to_device(zeroes, sizeof zeroes);
  uint64_t begin = hr_now_ns();
  fake.is_silent = true;
  CHECK_OK(hr_device_comm_allreduce_begin(comm, values, 10)); /* queued, and that is all */
  CHECK_FAILS(hr_device_comm_wait(comm), HOTROW_ERR_TIMED_OUT, "all-reduce 2 of 10 floats is not done after 700 ms");
  CHECK(test_elapsed_ms(begin) >= 700);
  CHECK_FAILS(hr_device_comm_wait(comm), HOTROW_ERR_TIMED_OUT, "all-reduce 2 of 10 floats is not done after 700 ms");
  hr_device_comm_close(comm); /* though the sum is still queued */
  fake.is_silent = false;
  base->free(values);
  check_nothing_is_left();
}

static void what_is_late_is_waited_for(void)
{
  hr_device_comm *comm = open_alone(HOTROW_COMM_RANK_ORDER);
  const float ones[2] = {1, 1};
  float *values = to_device(ones, sizeof ones), sums[2];
  fake.late_polls = 300; /* more than are spun for */
  CHECK_OK(hr_device_comm_allreduce_begin(comm, values, 2));
  CHECK_OK(hr_device_comm_wait(comm));
  CHECK_EQ(fake.late_polls, 0);
  from_device(sums, values, sizeof sums);
  CHECK(sums[0] == 1 && sums[1] == 1);
  CHECK_OK(hr_device_comm_wait(comm)); /* for nothing */
  hr_device_comm_close(comm);
  base->free(values);
  check_nothing_is_left();
}

/* A whole communicator leaves; what stops it is no reason to stay. */
static void closing_fails(void)
{
  static const struct {
    fake_call call;
    hr_nccl_result result;
    int aborted, destroyed;
  } ends[] = {
      {FAKE_NOTHING, 0, 0, 1},  {FAKE_FINALIZE, 1, 1, 0}, {FAKE_FINALIZE, 2, 1, 0}, {FAKE_FINALIZE, 3, 1, 0},
      {FAKE_FINALIZE, 4, 1, 0}, {FAKE_FINALIZE, 5, 1, 0}, {FAKE_FINALIZE, 6, 1, 0}, {FAKE_FINALIZE, 7, 1, 0},
      {FAKE_STATE, 6, 1, 0},    {FAKE_DESTROY, 1, 0, 1},  {FAKE_DESTROY, 3, 0, 1},  {FAKE_DESTROY, 7, 0, 1},
  };
  int aborted, destroyed;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    hr_device_comm *comm = open_alone(0);
    fake_take_ends(&aborted, &destroyed);
    fake = (fake_plan){.call = ends[i].call, .result = ends[i].result};
    hr_device_comm_close(comm);
    fake = (fake_plan){0};
    fake_take_ends(&aborted, &destroyed);
    CHECK_EQ(aborted, ends[i].aborted);
    CHECK_EQ(destroyed, ends[i].destroyed);
    check_nothing_is_left();
  }
  hr_device_comm_close(NULL);
}

/* An abort that fails is still the end, and so is one in the middle of a sum that nobody waited for. */
static void giving_up_fails(void)
{
  const float zeroes[10] = {0};
  float *values = to_device(zeroes, sizeof zeroes);
  int aborted, destroyed;
  for (int result = 0; result <= 7; result++) {
    hr_device_comm *comm = open_alone(0);
    CHECK_OK(hr_device_comm_allreduce_begin(comm, values, 10));
    fake_take_ends(&aborted, &destroyed);
    fake = (fake_plan){.call = result ? FAKE_ABORT : FAKE_NOTHING, .result = (hr_nccl_result)result};
    hr_device_comm_close(comm);
    fake = (fake_plan){0};
    fake_take_ends(&aborted, &destroyed);
    CHECK(aborted == 1 && destroyed == 0);
    check_nothing_is_left();
  }
  base->free(values);
}

static void a_shrink_fails(void)
{
  static const failure failures[] = {
      {FAKE_SHRINK, 1, HOTROW_ERR_DEVICE, "shrinking a world of 3 by 1: NCCL says cuda error (1)"},
      {FAKE_SHRINK, 2, HOTROW_ERR_UNREACHABLE, "shrinking a world of 3 by 1: NCCL says system error (2)"},
      {FAKE_SHRINK, 3, HOTROW_ERR_INTERNAL, "shrinking a world of 3 by 1: NCCL says internal error (3)"},
      {FAKE_SHRINK, 4, HOTROW_ERR_INVALID, "shrinking a world of 3 by 1: NCCL says invalid argument (4)"},
      {FAKE_SHRINK, 5, HOTROW_ERR_INVALID, "shrinking a world of 3 by 1: NCCL says invalid usage (5)"},
      {FAKE_SHRINK, 6, HOTROW_ERR_UNREACHABLE, "shrinking a world of 3 by 1: NCCL says remote error (6)"},
      {FAKE_SHRINK, 7, HOTROW_ERR_TIMED_OUT, "shrinking a world of 3 by 1 is not done after 700 ms: a rank is lost"},
      {FAKE_SHRINK, (hr_nccl_result)8, HOTROW_ERR_INTERNAL, "NCCL says unknown result (8)"},
      {FAKE_ASYNC_ERROR, 3, HOTROW_ERR_INTERNAL, "shrinking a world of 3 by 1: NCCL says internal error (3)"},
      {FAKE_STATE, 6, HOTROW_ERR_UNREACHABLE, "shrinking a world of 3 by 1: NCCL says remote error (6)"},
      {FAKE_STATE, 7, HOTROW_ERR_TIMED_OUT, "shrinking a world of 3 by 1 is not done after 700 ms"},
  };
  const uint32_t lost = 2;
  for (unsigned skip = 0; skip <= 4; skip += 4) /* asked about the old communicator, and about the new one */
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
      if (skip && failures[i].call == FAKE_SHRINK)
        continue;
      hr_device_comm *comm = open_alone(0);
      plan(&failures[i], skip);
      hotrow_status status = hr_device_comm_shrink(comm, &lost, 1, 1, 2);
      fake = (fake_plan){0};
      hr_test_check_fails(__FILE__, __LINE__, failures[i].words, status, failures[i].status, failures[i].words);
      CHECK_FAILS(hr_device_comm_allreduce_begin(comm, NULL, 0), failures[i].status, failures[i].words);
      CHECK_EQ(fake_comm_count(), 0); /* both are given up at once */
      hr_device_comm_close(comm);
      check_nothing_is_left();
    }
}

/* What has failed by itself NCCL does not shrink, nor what is still being queued: a shrink is for silence. */
static void what_has_failed_is_not_shrunk(void)
{
  static const failure failures[] = {
      {FAKE_STATE, 6, HOTROW_ERR_UNREACHABLE, "shrinking a world of 3 by 1: NCCL says remote error (6)"},
      {FAKE_STATE, 7, HOTROW_ERR_INVALID, "shrinking a world of 3 by 1: NCCL says invalid argument (4)"},
  };
  const uint32_t lost = 2;
  const float zeroes[10] = {0};
  float *values = to_device(zeroes, sizeof zeroes);
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
    hr_device_comm *comm = open_alone(0);
    plan(&failures[i], 0);
    CHECK(do_work(comm, SUM, values, 10) != HOTROW_OK);
    fake = (fake_plan){0};
    CHECK_FAILS(hr_device_comm_shrink(comm, &lost, 1, 1, 2), failures[i].status, failures[i].words);
    CHECK_EQ(fake_comm_count(), 0);
    hr_device_comm_close(comm);
    check_nothing_is_left();
  }
  base->free(values);
}

int main(int argc, char **argv)
{
  nccl_test_open(argc, argv);
  RUN(an_opening_fails);
  RUN(a_sum_fails);
  RUN(a_sum_in_rank_order_fails);
  RUN(a_broadcast_fails);
  RUN(work_fails_behind_the_call);
  RUN(silence_ends_at_the_deadline);
  RUN(what_is_late_is_waited_for);
  RUN(closing_fails);
  RUN(giving_up_fails);
  RUN(a_shrink_fails);
  RUN(what_has_failed_is_not_shrunk);
  return 0;
}
