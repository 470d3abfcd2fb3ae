/* What the text of a kernel uses: qualifiers, indices, collectives, atomics, intrinsics, and its launch. Lanes take
 * turns on one thread, so an atomic is a plain read and write. */
#ifndef EMULATED_KERNEL_H
#define EMULATED_KERNEL_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <new>
#include <tuple>
#include <type_traits>

#include "emulated_launch.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
/* One block runs at a time, so one copy will do. All of it is in one section, which is filled with rubbish when a
 * kernel starts: shared memory comes with nothing in it. */
#define __shared__ static __attribute__((section("hr_shared")))

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1) : x(width), y(height), z(depth) {}
};

#define HR_VECTOR(type, name)                                                                                          \
  struct alignas(2 * sizeof(type)) name##2                                                                             \
  {                                                                                                                    \
    type x, y;                                                                                                         \
  };                                                                                                                   \
  struct name##3                                                                                                       \
  {                                                                                                                    \
    type x, y, z;                                                                                                      \
  };                                                                                                                   \
  struct alignas(16) name##4                                                                                           \
  {                                                                                                                    \
    type x, y, z, w;                                                                                                   \
  };                                                                                                                   \
  static inline name##2 make_##name##2(type x, type y)                                                                 \
  {                                                                                                                    \
    return {x, y};                                                                                                     \
  }                                                                                                                    \
  static inline name##4 make_##name##4(type x, type y, type z, type w)                                                 \
  {                                                                                                                    \
    return {x, y, z, w};                                                                                               \
  }
HR_VECTOR(int, int)
HR_VECTOR(unsigned, uint)
HR_VECTOR(float, float)
#undef HR_VECTOR
struct alignas(16) longlong2 {
  long long x, y;
};
struct alignas(16) ulonglong2 {
  unsigned long long x, y;
};
struct alignas(16) double2 {
  double x, y;
};

static constexpr int warpSize = 32;

/* --- Launch --- */

template <typename... Parameters> struct hr_emulated_kernel {
  struct bound {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
  };
  void (*kernel)(Parameters...);
  const char *name;
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;

  hr_emulated_kernel(void (*kernel_)(Parameters...), const char *name_, dim3 grid_, dim3 block_, size_t shared_bytes_,
                     cudaStream_t stream_)
      : kernel(kernel_), name(name_), grid(grid_), block(block_), shared_bytes(shared_bytes_), stream(stream_)
  {
  }

  template <typename Parameter> void check(const Parameter &argument) const
  {
    if constexpr (std::is_pointer_v<Parameter>)
      hr_emulated_check_pointer(name, (const void *)argument);
#if __has_builtin(__builtin_clear_padding) /* else what lies between the fields would be looked at */
    if constexpr (std::is_class_v<Parameter>) {
      Parameter fields = argument;
      __builtin_clear_padding(&fields);
      hr_emulated_check_structure(name, &fields, sizeof fields);
    }
#endif
  }

  void operator()(Parameters... arguments) const
  {
    (check(arguments), ...);
    bound *b = (bound *)malloc(sizeof(bound));
    if (!b)
      abort();
    new (b) bound{kernel, std::tuple<Parameters...>(arguments...)};
    hr_emulated_launch launch = {
        name,
        {grid.x, grid.y, grid.z},
        {block.x, block.y, block.z},
        shared_bytes,
        [](const void *p) { std::apply(((const bound *)p)->kernel, ((const bound *)p)->arguments); },
        free,
        b,
        (const void *)kernel};
    static_assert(std::is_trivially_destructible_v<bound>, "arguments of kernels are plain data");
    hr_emulated_enqueue(&launch, stream);
  }
};

/* --- Runtime calls that are templates --- */

template <typename T> static inline cudaError_t cudaMalloc(T **memory_p, size_t size_bytes)
{
  return cudaMalloc((void **)memory_p, size_bytes);
}
template <typename T> static inline cudaError_t cudaMallocHost(T **memory_p, size_t size_bytes)
{
  return cudaMallocHost((void **)memory_p, size_bytes);
}
template <typename T> static inline cudaError_t cudaFuncSetAttribute(T *kernel, cudaFuncAttribute attribute, int value)
{
  return cudaFuncSetAttribute((const void *)kernel, attribute, value);
}

/* --- Collectives --- */

static inline void __syncthreads()
{
  hr_emulated_meet_block(0);
}
static inline int __syncthreads_count(int predicate)
{
  return hr_emulated_meet_block(predicate);
}
static inline int __syncthreads_or(int predicate)
{
  return hr_emulated_meet_block(predicate) > 0;
}
static inline int __syncthreads_and(int predicate)
{
  return hr_emulated_meet_block(!predicate) == 0;
}
static inline void __syncwarp(unsigned mask = 0xffffffffu)
{
  hr_emulated_meet(HR_SYNCWARP, mask, 0, 0, 0);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate)
{
  return (unsigned)hr_emulated_meet(HR_BALLOT, mask, predicate != 0, 0, 0);
}
static inline int __any_sync(unsigned mask, int predicate)
{
  return __ballot_sync(mask, predicate) != 0;
}
static inline int __all_sync(unsigned mask, int predicate)
{
  return __ballot_sync(mask, predicate) == mask;
}

template <typename T>
static inline T hr_emulated_shuffle(hr_collective kind, unsigned mask, T value, int argument, int width)
{
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "what a shuffle can move");
  uint64_t word = 0;
  memcpy(&word, &value, sizeof value);
  word = hr_emulated_meet(kind, mask, word, argument, width);
  memcpy(&value, &word, sizeof value);
  return value;
}
template <typename T> static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32)
{
  return hr_emulated_shuffle(HR_SHUFFLE, mask, value, source, width);
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32)
{
  return hr_emulated_shuffle(HR_SHUFFLE_UP, mask, value, (int)distance, width);
}
template <typename T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32)
{
  return hr_emulated_shuffle(HR_SHUFFLE_DOWN, mask, value, (int)distance, width);
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32)
{
  return hr_emulated_shuffle(HR_SHUFFLE_XOR, mask, value, lane_mask, width);
}
template <typename T> static inline unsigned __match_any_sync(unsigned mask, T value)
{
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "what a match can compare");
  uint64_t word = 0;
  memcpy(&word, &value, sizeof value);
  return (unsigned)hr_emulated_meet(HR_MATCH_ANY, mask, word, 0, 0);
}

#define HR_REDUCE(name, type, kind)                                                                                    \
  static inline type name(unsigned mask, type value)                                                                   \
  {                                                                                                                    \
    return (type)hr_emulated_meet(kind, mask, (unsigned)value, 0, 0);                                                  \
  }
HR_REDUCE(__reduce_add_sync, unsigned, HR_REDUCE_ADD)
HR_REDUCE(__reduce_add_sync, int, HR_REDUCE_ADD)
HR_REDUCE(__reduce_min_sync, unsigned, HR_REDUCE_MIN)
HR_REDUCE(__reduce_min_sync, int, HR_REDUCE_MIN_SIGNED)
HR_REDUCE(__reduce_max_sync, unsigned, HR_REDUCE_MAX)
HR_REDUCE(__reduce_max_sync, int, HR_REDUCE_MAX_SIGNED)
HR_REDUCE(__reduce_and_sync, unsigned, HR_REDUCE_AND)
HR_REDUCE(__reduce_or_sync, unsigned, HR_REDUCE_OR)
HR_REDUCE(__reduce_xor_sync, unsigned, HR_REDUCE_XOR)
#undef HR_REDUCE

static inline void __threadfence() {}
static inline void __threadfence_block() {}

/* --- Atomics --- */

#define HR_ATOMIC(name, type, result)                                                                                  \
  static inline type name(type *address, type value)                                                                   \
  {                                                                                                                    \
    type old = *address;                                                                                               \
    *address = (type)(result);                                                                                         \
    return old;                                                                                                        \
  }
#define HR_ATOMICS(type)                                                                                               \
  HR_ATOMIC(atomicAdd, type, old + value)                                                                              \
  HR_ATOMIC(atomicMin, type, value < old ? value : old)                                                                \
  HR_ATOMIC(atomicMax, type, value > old ? value : old)                                                                \
  HR_ATOMIC(atomicAnd, type, old &value)                                                                               \
  HR_ATOMIC(atomicOr, type, old | value)                                                                               \
  HR_ATOMIC(atomicXor, type, old ^ value)                                                                              \
  HR_ATOMIC(atomicExch, type, value)                                                                                   \
  static inline type atomicCAS(type *address, type compare, type value)                                                \
  {                                                                                                                    \
    type old = *address;                                                                                               \
    if (old == compare)                                                                                                \
      *address = value;                                                                                                \
    return old;                                                                                                        \
  }
HR_ATOMICS(int)
HR_ATOMICS(unsigned)
HR_ATOMICS(unsigned long long)
#undef HR_ATOMICS
HR_ATOMIC(atomicSub, int, old - value)
HR_ATOMIC(atomicSub, unsigned, old - value)
#undef HR_ATOMIC

/* --- Memory --- */

template <typename T> static inline T __ldg(const T *address)
{
  return *address;
}
template <typename T> static inline T __ldcg(const T *address)
{
  return *address;
}
template <typename T> static inline T __ldcs(const T *address)
{
  return *address;
}
template <typename T> static inline void __stcg(T *address, T value)
{
  *address = value;
}
template <typename T> static inline void __stcs(T *address, T value)
{
  *address = value;
}

/* --- Integers --- */

static inline int __ffs(int x)
{
  return __builtin_ffs(x);
}
static inline int __ffs(unsigned x)
{
  return __builtin_ffs((int)x);
}
static inline int __ffsll(unsigned long long x)
{
  return __builtin_ffsll((long long)x);
}
static inline int __popc(unsigned x)
{
  return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x)
{
  return __builtin_popcountll(x);
}
static inline int __clz(int x)
{
  return x ? __builtin_clz((unsigned)x) : 32;
}
static inline int __clz(unsigned x)
{
  return x ? __builtin_clz(x) : 32;
}
static inline int __clzll(unsigned long long x)
{
  return x ? __builtin_clzll(x) : 64;
}
static inline unsigned __brev(unsigned x)
{
  unsigned reversed = 0;
  for (unsigned bit = 0; bit < 32; bit++)
    reversed |= (x >> bit & 1u) << (31 - bit);
  return reversed;
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
  return (unsigned)((uint64_t)a * b >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector)
{
  uint64_t bytes = (uint64_t)y << 32 | x;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; i++)
    result |= (unsigned)(bytes >> (selector >> 4 * i & 7u) * 8 & 0xffu) << 8 * i;
  return result;
}

#define HR_MIN_MAX(type)                                                                                               \
  static inline type min(type a, type b)                                                                               \
  {                                                                                                                    \
    return b < a ? b : a;                                                                                              \
  }                                                                                                                    \
  static inline type max(type a, type b)                                                                               \
  {                                                                                                                    \
    return a < b ? b : a;                                                                                              \
  }
HR_MIN_MAX(int)
HR_MIN_MAX(unsigned)
HR_MIN_MAX(long)
HR_MIN_MAX(unsigned long)
HR_MIN_MAX(long long)
HR_MIN_MAX(unsigned long long)
#undef HR_MIN_MAX

/* --- Floats: one rounded operation each --- */

template <typename To, typename From> static inline To hr_emulated_bits(From from)
{
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
static inline unsigned __float_as_uint(float x)
{
  return hr_emulated_bits<unsigned>(x);
}
static inline int __float_as_int(float x)
{
  return hr_emulated_bits<int>(x);
}
static inline float __uint_as_float(unsigned x)
{
  return hr_emulated_bits<float>(x);
}
static inline float __int_as_float(int x)
{
  return hr_emulated_bits<float>(x);
}
static inline long long __double_as_longlong(double x)
{
  return hr_emulated_bits<long long>(x);
}
static inline double __longlong_as_double(long long x)
{
  return hr_emulated_bits<double>(x);
}

#define HR_ROUNDED(type, prefix, root)                                                                                 \
  static inline type prefix##add_rn(type a, type b)                                                                    \
  {                                                                                                                    \
    return a + b;                                                                                                      \
  }                                                                                                                    \
  static inline type prefix##sub_rn(type a, type b)                                                                    \
  {                                                                                                                    \
    return a - b;                                                                                                      \
  }                                                                                                                    \
  static inline type prefix##mul_rn(type a, type b)                                                                    \
  {                                                                                                                    \
    return a * b;                                                                                                      \
  }                                                                                                                    \
  static inline type prefix##div_rn(type a, type b)                                                                    \
  {                                                                                                                    \
    return a / b;                                                                                                      \
  }                                                                                                                    \
  static inline type prefix##sqrt_rn(type a)                                                                           \
  {                                                                                                                    \
    return root(a);                                                                                                    \
  }
HR_ROUNDED(float, __f, sqrtf)
HR_ROUNDED(double, __d, sqrt)
#undef HR_ROUNDED
static inline float __fmaf_rn(float a, float b, float c)
{
  return fmaf(a, b, c);
}
static inline double __fma_rn(double a, double b, double c)
{
  return fma(a, b, c);
}
static inline int __float2int_rn(float x)
{
  return (int)lrintf(x);
}
static inline float __int2float_rn(int x)
{
  return (float)x;
}
static inline float __uint2float_rn(unsigned x)
{
  return (float)x;
}
static inline float __double2float_rn(double x)
{
  return (float)x;
}

#endif
