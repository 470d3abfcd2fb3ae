#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <hr/clock.h>

#include "bench.h"

const char *const bench_optimizer_names[] = {"sgd", "rowwise_adagrad", NULL};
const char *const bench_storage_names[] = {"f32", "f16", "bf16", NULL};

double bench_seconds(void)
{
  return 1e-9 * (double)hr_now_ns();
}

double bench_cpu_seconds(pid_t process)
{
  clockid_t clock;
  struct timespec ts = {0};
  if (clock_getcpuclockid(process, &clock) == 0)
    clock_gettime(clock, &ts);
  return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t count, double quantile)
{
  qsort(values, count, sizeof *values, compare_doubles);
  return values[(size_t)(quantile * (double)(count - 1) + 0.5)];
}

bool bench_for_each(const char *option, const char *list, double minimum, double maximum,
                    bool (*fn)(void *context, double number), void *context)
{
  const char *rest = list;
  do {
    char *end;
    const double number = strtod(rest, &end);
    if (end == rest || !(number >= minimum && number <= maximum) || (*end != '\0' && *end != ',')) {
      fprintf(stderr, "hotrow bench: --%s %s: must be numbers from %g to %g, with commas\n", option, list, minimum,
              maximum);
      return false;
    }
    if (!fn(context, number))
      return false;
    rest = *end != '\0' ? end + 1 : end;
  } while (*rest != '\0');
  return true;
}
