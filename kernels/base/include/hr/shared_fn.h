/* A small pure function that host code and device code share: there is one text of what it decides. */
#ifndef HR_SHARED_FN_H
#define HR_SHARED_FN_H

#ifdef __CUDACC__
#define HR_SHARED_FN static __host__ __device__ inline
#else
#define HR_SHARED_FN static inline
#endif

#ifdef __cplusplus
#define HR_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define HR_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#endif
