/* HR_VECTORISED compiles a function for AVX-512, AVX2 and the baseline and picks one when the program loads. The bits
 * are the same in all three: elements are independent and products are never fused into sums. */
#ifndef HR_VECTOR_H
#define HR_VECTOR_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
#define HR_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HR_VECTORISED
#endif

#endif
