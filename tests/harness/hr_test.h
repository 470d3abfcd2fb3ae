/* A test harness one can read in a minute. A test is a function that CHECKs; main() lists them with RUN.
 *   exit 0: all passed   exit 1: a check failed   exit 77: skipped (ctest shows it as skipped) */
#ifndef HR_TEST_H
#define HR_TEST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hotrow/base.h>

#define HR_TEST_SKIP 77

/* Stops the program when the expression is false. */
#define CHECK(expression)                                                                                              \
  do {                                                                                                                 \
    if (!(expression))                                                                                                 \
      hr_test_fail(__FILE__, __LINE__, "CHECK(%s)", #expression);                                                      \
  } while (0)
#define CHECK_MSG(expression, ...)                                                                                     \
  do {                                                                                                                 \
    if (!(expression))                                                                                                 \
      hr_test_fail(__FILE__, __LINE__, __VA_ARGS__);                                                                   \
  } while (0)
#define CHECK_EQ(actual, expected)                                                                                     \
  do {                                                                                                                 \
    long long hr_actual = (long long)(actual), hr_expected = (long long)(expected);                                    \
    if (hr_actual != hr_expected)                                                                                      \
      hr_test_fail(__FILE__, __LINE__, "%s is %lld, expected %lld", #actual, hr_actual, hr_expected);                  \
  } while (0)
#define CHECK_OK(call)                                                                                                 \
  do {                                                                                                                 \
    hotrow_status hr_status = (call);                                                                                  \
    if (hr_status != HOTROW_OK)                                                                                        \
      hr_test_fail(__FILE__, __LINE__, "%s: %s: %s", #call, hotrow_status_name(hr_status), hotrow_last_error());       \
  } while (0)
/* The refusal itself is what is tested: this status and, unless NULL, these words in the sentence. */
#define CHECK_FAILS(call, expected_status, words)                                                                      \
  hr_test_check_fails(__FILE__, __LINE__, #call, (call), expected_status, words)

#define RUN(test)                                                                                                      \
  do {                                                                                                                 \
    printf("- %s\n", #test);                                                                                           \
    fflush(stdout);                                                                                                    \
    test();                                                                                                            \
  } while (0)

_Noreturn void hr_test_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
void hr_test_check_fails(const char *file, int line, const char *call, hotrow_status actual, hotrow_status expected,
                         const char *words);

/* Prints why and exits 77; with HOTROW_TEST_REQUIRE naming `what` (comma-separated list) it fails instead. */
_Noreturn void hr_test_skip(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The seed of this run: HOTROW_TEST_SEED, else `standard`. Printed, so that a failure can be replayed. */
uint64_t hr_test_seed(uint64_t standard);

/* An empty directory that is removed when the program exits normally. */
const char *hr_test_tmpdir(void);

/* Directory of the data sets (HOTROW_TEST_DATA, else ../shared/data beside the source tree), or NULL if absent. */
const char *hr_test_data_dir(void);

#endif
