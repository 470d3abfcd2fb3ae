#include "table_probe.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <hr/assert.h>
#include <hr/hash.h>

/* Starts the load of a key's home bucket. */
static inline hr_probe_home fetch_home(const hr_index *index, uint64_t key)
{
  uint64_t hash = hr_key_hash(key, index->table_seed);
  hr_bucket *buckets = index->directory[hr_index_slot(hash, index->depth)]->buckets;
  __builtin_prefetch(&buckets[hash % HR_SEGMENT_BUCKETS]);
  return (hr_probe_home){buckets, hash};
}

#define PROBE probe_scalar
#define PROBE_TARGET
#define PROBE_LOOK look_scalar
#define PROBE_MATCH(bucket, key) hr_bucket_match(bucket, key)
#include "table_probe_body.h"

#if defined(__x86_64__)

__attribute__((target("avx2"))) static inline unsigned match_avx2(const hr_bucket *bucket, uint64_t key)
{
  __m256i keys = _mm256_load_si256((const __m256i *)(const void *)bucket->keys);
  __m256i equal = _mm256_cmpeq_epi64(keys, _mm256_set1_epi64x((long long)key));
  return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(equal));
}

#define PROBE probe_avx2
#define PROBE_TARGET __attribute__((target("avx2")))
#define PROBE_LOOK look_avx2
#define PROBE_MATCH(bucket, key) match_avx2(bucket, key)
#include "table_probe_body.h"

#define AVX512 "avx2,avx512f,avx512dq,avx512vl"

__attribute__((target(AVX512))) static inline unsigned match_avx512(const hr_bucket *bucket, uint64_t key)
{
  __m256i keys = _mm256_load_si256((const __m256i *)(const void *)bucket->keys);
  return _mm256_cmpeq_epi64_mask(keys, _mm256_set1_epi64x((long long)key));
}

#define PROBE probe_avx512
#define PROBE_TARGET __attribute__((target(AVX512)))
#define PROBE_LOOK look_avx512
#define PROBE_MATCH(bucket, key) match_avx512(bucket, key)
#include "table_probe_body.h"

#endif

hr_probe_fn hr_probe_variant(hr_probe_kind kind)
{
  HOTROW_ASSERT(kind < HR_PROBE_KIND_COUNT);
  if (kind == HR_PROBE_SCALAR)
    return probe_scalar;
#if defined(__x86_64__)
  if (kind == HR_PROBE_AVX2 && __builtin_cpu_supports("avx2"))
    return probe_avx2;
  if (kind == HR_PROBE_AVX512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return probe_avx512;
#endif
  return NULL;
}

hr_probe_fn hr_probe_best(void)
{
  hr_probe_fn best = probe_scalar;
  for (int kind = HR_PROBE_SCALAR; kind < HR_PROBE_KIND_COUNT; kind++)
    if (hr_probe_variant((hr_probe_kind)kind))
      best = hr_probe_variant((hr_probe_kind)kind);
  return best;
}

const char *hr_probe_name(hr_probe_kind kind)
{
  static const char *const names[HR_PROBE_KIND_COUNT] = {"scalar", "avx2", "avx512"};
  return names[kind];
}
