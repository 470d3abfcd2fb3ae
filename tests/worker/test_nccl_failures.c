/* Every call of NCCL and of the device fails in every way: what becomes of a communicator, what it says, and that
 * nothing is left. One rank, alone. */
#include "nccl_test.h"

#define DEADLINE_MS 1000 /* of what never ends: "after 1000 ms" */

typedef enum act { OPEN, SUM, ORDERED_SUM, BROADCAST, SUM_OF_NOTHING, SHRINK } act;

/* What a call can answer, by number of NCCL's result: what that is to the caller, and how its sentence ends. */
static const struct {
  hotrow_status status;
  const char *words;
} answers[] = {
    {HOTROW_ERR_DEVICE, "device call"}, /* not NCCL's: a call of the device fails */
    {HOTROW_ERR_DEVICE, ": NCCL says cuda error (1): more of it"},
    {HOTROW_ERR_UNREACHABLE, ": NCCL says system error (2)"},
    {HOTROW_ERR_INTERNAL, ": NCCL says internal error (3)"},
    {HOTROW_ERR_INVALID, ": NCCL says invalid argument (4)"},
    {HOTROW_ERR_INVALID, ": NCCL says invalid usage (5)"},
    {HOTROW_ERR_UNREACHABLE, ": NCCL says remote error (6)"},
    {HOTROW_ERR_TIMED_OUT, " is not done after 1000 ms: a rank is lost or late"}, /* in progress for ever */
    {HOTROW_ERR_INTERNAL, ": NCCL says unknown result (8)"},
};
#define ANSWER_COUNT (sizeof answers / sizeof *answers)

/* Sets of answers. */
#define ONE(answer) (1u << (answer))
#define DEVICE ONE(0)
#define ERRORS (ONE(1) | ONE(2) | ONE(3) | ONE(4) | ONE(5) | ONE(6))
#define NEVER ONE(7)
#define ALL (ERRORS | NEVER | ONE(8))

/* A call that fails in an act, after `skip` others of its kind, with each of these answers. */
typedef struct attempt {
  act what;
  fake_call call;
  unsigned skip, answers;
  const char *doing; /* how the sentence begins */
} attempt;

#define OPENING "communicator dense of 3 ranks"
#define SUMMING "all-reduce 2 of 10 floats"
#define SHRINKING "shrinking a world of 3 by 1"

static const attempt attempts[] = {
    {OPEN, FAKE_INIT, 0, ALL, OPENING},
    {OPEN, FAKE_ASYNC_ERROR, 0, ERRORS, OPENING},
    {OPEN, FAKE_STATE, 0, ERRORS | NEVER, OPENING},
    {OPEN, FAKE_ALL_REDUCE, 0, ERRORS, "all-reduce 1 of 0 floats"},
    {OPEN, FAKE_STREAM_CREATE, 0, DEVICE, ""},
    {OPEN, FAKE_EVENT_CREATE, 0, DEVICE, ""},
    {OPEN, FAKE_ALLOC, 0, DEVICE, ""},
    {OPEN, FAKE_EVENT_RECORD, 0, DEVICE, ""},
    {OPEN, FAKE_EVENT_ORDER, 0, DEVICE, ""},
    {OPEN, FAKE_EVENT_QUERY, 0, DEVICE, ""},
    {OPEN, FAKE_SYNCHRONIZE, 0, DEVICE, ""},
    {SUM, FAKE_ALL_REDUCE, 0, ALL, SUMMING},
    {ORDERED_SUM, FAKE_ALL_GATHER, 0, ALL, SUMMING},
    {BROADCAST, FAKE_BROADCAST, 0, ALL, "broadcast 2 of 40 bytes from rank 2"},
    {SUM_OF_NOTHING, FAKE_ALL_REDUCE, 0, ONE(6), "all-reduce 2 of 0 floats"},
    /* Errors that come later: while the call is queued, and while it is waited for. */
    {SUM, FAKE_ASYNC_ERROR, 0, ERRORS, SUMMING},
    {SUM, FAKE_ASYNC_ERROR, 3, ERRORS, SUMMING},
    {ORDERED_SUM, FAKE_ASYNC_ERROR, 1, ERRORS, SUMMING},
    {SUM, FAKE_STATE, 0, ERRORS | NEVER, SUMMING},
    {SUM, FAKE_STATE, 3, ERRORS | NEVER, SUMMING},
    {ORDERED_SUM, FAKE_STATE, 1, ERRORS | NEVER, SUMMING},
    {SUM, FAKE_EVENT_RECORD, 0, DEVICE, ""},
    {ORDERED_SUM, FAKE_EVENT_RECORD, 1, DEVICE, ""},
    {SUM, FAKE_EVENT_ORDER, 0, DEVICE, ""},
    {SUM, FAKE_EVENT_QUERY, 0, DEVICE, ""},
    {SUM, FAKE_SYNCHRONIZE, 0, DEVICE, ""},
    {SHRINK, FAKE_SHRINK, 0, ALL, SHRINKING},
    /* Asked about the old communicator, and about the new one. */
    {SHRINK, FAKE_ASYNC_ERROR, 0, ERRORS, SHRINKING},
    {SHRINK, FAKE_ASYNC_ERROR, 4, ERRORS, SHRINKING},
    {SHRINK, FAKE_STATE, 0, ONE(6) | NEVER, SHRINKING},
    {SHRINK, FAKE_STATE, 4, ONE(6) | NEVER, SHRINKING},
};

static hotrow_status open_it(hotrow_comm_options options, hr_device_comm **comm_p)
{
  const hr_nccl_id id = fake_id_alone();
  return hr_device_comm_open(&options, &id, &fake_nccl, kernels, comm_p);
}

/* With little time for what is never done, and else with more than a busy machine takes. */
static hotrow_comm_options options_for(uint32_t flags, unsigned result)
{
  hotrow_comm_options options = options_alone(flags);
  if (result == HR_NCCL_IN_PROGRESS)
    options.timeout_ms = DEADLINE_MS;
  return options;
}

static hr_device_comm *open_alone(uint32_t flags, unsigned result)
{
  hr_device_comm *comm;
  CHECK_OK(open_it(options_for(flags, result), &comm));
  return comm;
}

static hotrow_status do_act(act what, float *values, unsigned result, hr_device_comm **comm_p)
{
  const uint32_t lost = 2;
  hotrow_status status = HOTROW_OK;
  if (what == OPEN)
    return open_it(options_for(HOTROW_COMM_RANK_ORDER, result), comm_p);
  if (what == SHRINK)
    return hr_device_comm_shrink(*comm_p, &lost, 1, 1, 2);
  if (what == BROADCAST)
    status = hr_device_comm_broadcast_begin(*comm_p, values, 40, 2);
  else
    status = hr_device_comm_allreduce_begin(*comm_p, values, what == SUM_OF_NOTHING ? 0 : 10);
  return status == HOTROW_OK ? hr_device_comm_wait(*comm_p) : status;
}

/* The act fails so, and from then on everything says the same; whatever there is of a communicator is given up. */
static void check_failure(const attempt *a, unsigned answer)
{
  const float zeroes[10] = {0};
  float *values = to_device(zeroes, sizeof zeroes);
  hr_device_comm *comm =
      a->what == OPEN ? NULL : open_alone(a->what == ORDERED_SUM ? HOTROW_COMM_RANK_ORDER : 0, answer);
  char words[160];
  int aborted, destroyed;
  snprintf(words, sizeof words, "%s%s", a->doing, answers[answer].words);
  fake_take_ends(&aborted, &destroyed);
  fake = (fake_plan){.call = a->call, .result = (int)answer, .skip = a->skip};
  const hotrow_status status = do_act(a->what, values, answer, &comm), expected = answers[answer].status;
  fake = (fake_plan){0};
  hr_test_check_fails(__FILE__, __LINE__, words, status, expected, words);
  if (a->what == OPEN) {
    CHECK(!comm);
  } else {
    if (a->what == SHRINK)
      CHECK_EQ(fake_comm_count(), 0); /* both are given up at once */
    CHECK_FAILS(hr_device_comm_allreduce_begin(comm, values, 10), expected, words);
    CHECK_FAILS(hr_device_comm_broadcast_begin(comm, values, 40, 0), expected, words);
    CHECK_FAILS(hr_device_comm_wait(comm), expected, words);
    hr_device_comm_close(comm);
    CHECK(strstr(hotrow_last_error(), words)); /* closing says nothing over it */
    fake_take_ends(&aborted, &destroyed);
    CHECK((a->what == SHRINK ? aborted > 0 : aborted == 1) && destroyed == 0); /* a shrink may have two to give up */
  }
  base->free(values);
  check_nothing_is_left();
}

static void check_failures(act first, act last)
{
  for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
    for (unsigned answer = 0; answer < ANSWER_COUNT; answer++)
      if (attempts[i].what >= first && attempts[i].what <= last && (attempts[i].answers & ONE(answer)))
        check_failure(&attempts[i], answer);
}

static void an_opening_fails(void)
{
  check_failures(OPEN, OPEN);
}

static void work_fails(void)
{
  check_failures(SUM, SUM_OF_NOTHING);
}

static void a_shrink_fails(void)
{
  check_failures(SHRINK, SHRINK);
}

static void silence_ends_at_the_deadline(void)
{
  hr_device_comm *comm = open_alone(0, HR_NCCL_IN_PROGRESS);
  const float zeroes[10] = {0};
  float *values = to_device(zeroes, sizeof zeroes);
  uint64_t begin = hr_now_ns();
  fake.is_silent = true;
  CHECK_OK(hr_device_comm_allreduce_begin(comm, values, 10)); /* queued, and that is all */
  CHECK_FAILS(hr_device_comm_wait(comm), HOTROW_ERR_TIMED_OUT, "all-reduce 2 of 10 floats is not done after 1000 ms");
  CHECK(test_elapsed_ms(begin) >= DEADLINE_MS);
  CHECK_FAILS(hr_device_comm_wait(comm), HOTROW_ERR_TIMED_OUT, "all-reduce 2 of 10 floats is not done after 1000 ms");
  hr_device_comm_close(comm); /* though the sum is still queued */
  fake.is_silent = false;
  base->free(values);
  check_nothing_is_left();
}

static void what_is_late_is_waited_for(void)
{
  hr_device_comm *comm = open_alone(HOTROW_COMM_RANK_ORDER, 0);
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
    hr_device_comm *comm = open_alone(0, ends[i].result);
    fake_take_ends(&aborted, &destroyed);
    fake = (fake_plan){.call = ends[i].call, .result = (int)ends[i].result};
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
    hr_device_comm *comm = open_alone(0, (unsigned)result);
    CHECK_OK(hr_device_comm_allreduce_begin(comm, values, 10));
    fake_take_ends(&aborted, &destroyed);
    fake = (fake_plan){.call = result ? FAKE_ABORT : FAKE_NOTHING, .result = result};
    hr_device_comm_close(comm);
    fake = (fake_plan){0};
    fake_take_ends(&aborted, &destroyed);
    CHECK(aborted == 1 && destroyed == 0);
    check_nothing_is_left();
  }
  base->free(values);
}

/* What has failed by itself NCCL does not shrink, nor what is still being queued: a shrink is for silence. */
static void what_has_failed_is_not_shrunk(void)
{
  static const unsigned shrink_answers[][2] = {{HR_NCCL_REMOTE_ERROR, HR_NCCL_REMOTE_ERROR},
                                               {HR_NCCL_IN_PROGRESS, HR_NCCL_INVALID_ARGUMENT}};
  const float zeroes[10] = {0};
  float *values = to_device(zeroes, sizeof zeroes);
  for (size_t i = 0; i < 2; i++) {
    const unsigned result = shrink_answers[i][0];
    hr_device_comm *comm = open_alone(0, result);
    char words[160];
    snprintf(words, sizeof words, SHRINKING "%s", answers[shrink_answers[i][1]].words);
    fake = (fake_plan){.call = FAKE_STATE, .result = (int)result};
    CHECK(do_act(SUM, values, result, &comm) != HOTROW_OK);
    fake = (fake_plan){0};
    CHECK_FAILS(do_act(SHRINK, values, result, &comm), answers[shrink_answers[i][1]].status, words);
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
  RUN(work_fails);
  RUN(silence_ends_at_the_deadline);
  RUN(what_is_late_is_waited_for);
  RUN(closing_fails);
  RUN(giving_up_fails);
  RUN(a_shrink_fails);
  RUN(what_has_failed_is_not_shrunk);
  return 0;
}
