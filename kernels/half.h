/* Values of 16 bits and of 8. Float to half, to bfloat and back is done on bits, so that no instruction of one machine
 * decides. */
#ifndef HALF_H
#define HALF_H

#include "shared_math.h"

#define HALF_MAX_BITS 0x477fe000u    /* 65504.0f: the largest half */
#define HALF_NORMAL_BITS 0x38800000u /* 2^-14: the smallest normal half */
#define BFLOAT_MAX_BITS 0x7f7f0000u  /* the largest finite bfloat */

/* Both results are computed and one is chosen: no branch stands in the way of vectors. Below 2^-14 halves are multiples
 * of 2^-24, which is the last bit of 0.5f: an addition rounds them. */
HR_SHARED_INLINE uint16_t half_of(float value)
{
  uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  bits = bits < HALF_MAX_BITS ? bits : HALF_MAX_BITS;
  uint32_t denormal = bits_of(float_of(bits) + 0.5f) - 0x3f000000u;
  uint32_t normal = (bits - (112u << 23) + 0xfffu + (bits >> 13 & 1u)) >> 13;
  return (uint16_t)(sign | (bits < HALF_NORMAL_BITS ? denormal : normal));
}

HR_SHARED_INLINE float float_of_half(uint16_t half)
{
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = (uint32_t)(half & 0x7fffu) << 13;
  uint32_t normal = rest + (rest < 0x0f800000u ? 112u << 23 : 224u << 23); /* else an infinity or a NaN */
  uint32_t denormal = bits_of(float_of(rest + 0x38800000u) - 0x1p-14f);
  return float_of(sign | (rest < 0x00800000u ? denormal : normal));
}

/* A bfloat is the upper half of a float. */
HR_SHARED_INLINE uint16_t bfloat_of(float value)
{
  uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  bits = bits < BFLOAT_MAX_BITS ? bits : BFLOAT_MAX_BITS;
  return (uint16_t)(sign | (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

HR_SHARED_INLINE float float_of_bfloat(uint16_t bfloat)
{
  return float_of((uint32_t)bfloat << 16);
}

/* Rounded to a neighbour by chance: up as often as the value lies near the one above. So what many small steps add up
 * to is there in the mean, where rounding to nearest would lose each. `random` is 32 random bits, of which the low ones
 * are added below the last bit that stays. Of values below 2^-44 a half knows nothing. */
HR_SHARED_INLINE uint16_t half_by_chance(float value, uint32_t random)
{
  uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  bits = bits < HALF_MAX_BITS ? bits : HALF_MAX_BITS;
  float small = float_of(bits < HALF_NORMAL_BITS ? bits : HALF_NORMAL_BITS);
  uint32_t denormal = ((uint32_t)(int32_t)(small * 0x1p44f) + (random & 0xfffffu)) >> 20;
  uint32_t normal = (bits - (112u << 23) + (random & 0x1fffu)) >> 13;
  return (uint16_t)(sign | (bits < HALF_NORMAL_BITS ? denormal : normal));
}

HR_SHARED_INLINE uint16_t bfloat_by_chance(float value, uint32_t random)
{
  uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  bits = bits < BFLOAT_MAX_BITS ? bits : BFLOAT_MAX_BITS;
  return (uint16_t)(sign | (bits + (random & 0xffffu)) >> 16);
}

/* 32 random bits of a column: a counter, and the finalizer lowbias32 (Wellons 2018) with half of the stream in it. */
HR_SHARED_INLINE uint32_t random_of(uint64_t stream, uint32_t column)
{
  uint32_t x = (uint32_t)stream + column * 0x9e3779b9u;
  x = (x ^ x >> 16) * 0x7feb352du + (uint32_t)(stream >> 32);
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

/* A byte of a row whose largest magnitude is `divisor`. Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in
 * the low bits. */
HR_SHARED_INLINE uint8_t byte_of(float value, float divisor)
{
  return (uint8_t)(bits_of(value / divisor * 127.0f + 0x1.8p23f) & 0xffu);
}

HR_SHARED_INLINE float float_of_byte(int8_t byte, float scale)
{
  int32_t whole = byte > -127 ? byte : -127;
  return (float)whole / 127.0f * scale;
}

#endif
