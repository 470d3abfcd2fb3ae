/* What is done to one float on every device: compiled by the C compiler for the CPU kernels and by the CUDA compiler
 * for the GPU's. Plain operators, each rounded once: -ffp-contract=off and --fmad=false see to it. */
#ifndef SHARED_MATH_H
#define SHARED_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <hotrow/kernels.h>

/* Always inlined, so that a helper is compiled for the same instructions as the kernel it serves. */
#ifdef __CUDACC__
#define HR_SHARED_INLINE static __host__ __device__ __forceinline__
#else
#define HR_SHARED_INLINE static inline __attribute__((always_inline))
#endif

HR_SHARED_INLINE uint32_t bits_of(float value)
{
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

HR_SHARED_INLINE float float_of(uint32_t bits)
{
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The exponent bits of a NaN or an infinity are all ones. */
HR_SHARED_INLINE uint32_t is_nonfinite(float value)
{
  return (bits_of(value) & 0x7f800000u) == 0x7f800000u;
}

/* What the sum of a bag of so many keys is divided by; 1 leaves every bit. */
HR_SHARED_INLINE float pool_divisor(hotrow_pooling pooling, uint32_t bag_size)
{
  if (pooling == HOTROW_POOL_MEAN)
    return (float)bag_size;
  return pooling == HOTROW_POOL_SQRTN ? sqrtf((float)bag_size) : 1.0f;
}

#endif
