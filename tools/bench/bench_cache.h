/* The two halves of `hotrow bench cache`. */
#ifndef HR_BENCH_CACHE_H
#define HR_BENCH_CACHE_H

#include "bench.h"

/* Hit rates on options->trace. Exit code. */
int hr_bench_cache_trace(const bench_cache_options *options);

#endif
