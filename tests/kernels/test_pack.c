/* Halves and bfloats are made and read here by arithmetic on what their bits stand for, one value at a time. */
#include <math.h>

#include "kernel_test.h"

#define ROWS_MAX 40u

static float float_of(uint32_t bits)
{
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* What a half stands for: sign, 5 bits of exponent, 10 of fraction. */
static double half_value(uint16_t half)
{
  int exponent = half >> 10 & 31, fraction = half & 1023;
  double magnitude = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                     : exponent == 0 ? ldexp(fraction, -24)
                                     : ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

/* The nearest half by looking at both neighbours; of two as near the even one. Beyond the largest: the largest. */
static uint16_t nearest_half(float value)
{
  uint16_t sign = signbit(value) ? 0x8000 : 0;
  double magnitude = fabs((double)value);
  if (magnitude >= 65504.0)
    return sign | 0x7bff;
  uint16_t low = 0, high = 0x7bff; /* halves are ordered as their bits are */
  while (high - low > 1) {
    uint16_t middle = (uint16_t)((low + high) / 2);
    if (half_value(middle) <= magnitude)
      low = middle;
    else
      high = middle;
  }
  double below = magnitude - half_value(low), above = half_value(high) - magnitude;
  bool is_high = above < below || (above == below && low % 2 == 1);
  return sign | (is_high ? high : low);
}

/* What a bfloat stands for: a float whose lower half is 0. */
static double bfloat_value(uint16_t bfloat)
{
  return (double)float_of((uint32_t)bfloat << 16);
}

static uint16_t nearest_bfloat(float value)
{
  uint16_t sign = signbit(value) ? 0x8000 : 0;
  double magnitude = fabs((double)value);
  uint16_t low = 0, high = 0x7f7f; /* the largest finite one */
  if (magnitude >= bfloat_value(high))
    return sign | high;
  while (high - low > 1) {
    uint16_t middle = (uint16_t)((low + high) / 2);
    if (bfloat_value(middle) <= magnitude)
      low = middle;
    else
      high = middle;
  }
  double below = magnitude - bfloat_value(low), above = bfloat_value(high) - magnitude;
  bool is_high = above < below || (above == below && low % 2 == 1);
  return sign | (is_high ? high : low);
}

static uint16_t nearest(hotrow_dtype dtype, float value)
{
  return dtype == HOTROW_F16 ? nearest_half(value) : nearest_bfloat(value);
}

/* One row of I8 by plain arithmetic: volatile keeps the roundings apart. */
static float plain_scale(const float *x, uint32_t dim)
{
  float largest = 0.0f;
  for (uint32_t c = 0; c < dim; c++)
    largest = fmaxf(largest, fabsf(x[c]));
  return largest;
}

static int8_t plain_byte(float x, float scale)
{
  volatile float share = scale > 0.0f ? x / scale : 0.0f;
  volatile float steps = share * 127.0f;
  return (int8_t)nearbyintf(steps);
}

static float plain_value(int8_t q, float scale)
{
  volatile float share = (float)(q == -128 ? -127 : q) / 127.0f;
  volatile float value = share * scale;
  return value;
}

static size_t packed_size(hotrow_dtype dtype)
{
  return dtype == HOTROW_F32 ? 4 : dtype == HOTROW_I8 ? 1 : 2;
}

/* Packs on the device from arrays of exactly the size that is read, to one with a mark behind its end. */
static void pack(hotrow_dtype dtype, const float *values, size_t value_count, size_t stride, uint32_t dim,
                 const uint32_t *slots, size_t row_count, void *packed, float *scales)
{
  size_t size = row_count * dim * packed_size(dtype);
  uint8_t *marked = malloc(size + 16);
  float marked_scales[ROWS_MAX + 1];
  CHECK(marked && row_count <= ROWS_MAX);
  memset(marked, 0xa5, size + 16);
  memset(marked_scales, 0xa5, sizeof marked_scales);
  void *device_packed = to_device(marked, size + 16), *device_scales = to_device(marked_scales, sizeof marked_scales);
  kernels->pack(dtype, to_device(values, value_count * sizeof *values), stride, dim,
                slots ? TO_DEVICE(slots, row_count) : NULL, row_count, NULL, device_packed,
                dtype == HOTROW_I8 ? device_scales : NULL);
  from_device(marked, device_packed, size + 16);
  for (size_t i = 0; i < 16; i++)
    CHECK_MSG(marked[size + i] == 0xa5, "dtype %d dim %u: written past the end", (int)dtype, dim);
  memcpy(packed, marked, size);
  from_device(marked_scales, device_scales, sizeof marked_scales);
  size_t written = dtype == HOTROW_I8 ? row_count : 0;
  memset(marked, 0xa5, sizeof(float));
  CHECK(memcmp(marked_scales + written, marked, sizeof(float)) == 0);
  if (written > 0)
    memcpy(scales, marked_scales, written * sizeof *scales);
  free(marked);
}

static void unpack(hotrow_dtype dtype, const void *packed, const float *scales, uint32_t dim, size_t row_count,
                   float *values, size_t value_count, size_t stride)
{
  float *device_values = TO_DEVICE(values, value_count);
  kernels->unpack(dtype, to_device(packed, row_count * dim * packed_size(dtype)),
                  scales ? TO_DEVICE(scales, row_count) : NULL, dim, row_count, NULL, device_values, stride);
  from_device(values, device_values, value_count * sizeof *values);
}

/* Single values wait until there is a row of them. */
static float waiting[ROWS_MAX * 130];
static uint32_t waiting_count;

static void check_waiting(hotrow_dtype dtype)
{
  uint16_t packed[ROWS_MAX * 130];
  pack(dtype, waiting, waiting_count, waiting_count, waiting_count, NULL, 1, packed, NULL);
  kernel_test_release_device();
  for (uint32_t i = 0; i < waiting_count; i++) {
    uint16_t expected = nearest(dtype, waiting[i]);
    CHECK_MSG(packed[i] == expected, "%.9g became %04x of dtype %d, expected %04x", (double)waiting[i], packed[i],
              (int)dtype, expected);
  }
  waiting_count = 0;
}

static void check_value(hotrow_dtype dtype, float value)
{
  waiting[waiting_count++] = value;
  if (waiting_count == ROWS_MAX * 130)
    check_waiting(dtype);
}

/* The values at and around which a rounding turns. */
static void halves_are_rounded_to_nearest_even(void)
{
  for (uint32_t half = 0; half < 0x7bff; half += half < 0x0420 ? 1 : 7) {
    double low = half_value((uint16_t)half), high = half_value((uint16_t)(half + 1));
    float tie = (float)((low + high) / 2);
    CHECK((double)tie == (low + high) / 2);
    for (int sign = -1; sign <= 1; sign += 2) {
      check_value(HOTROW_F16, (float)sign * tie);
      check_value(HOTROW_F16, (float)sign * nextafterf(tie, 0.0f));
      check_value(HOTROW_F16, (float)sign * nextafterf(tie, INFINITY));
    }
  }
  const float edges[] = {0.0f,     65503.0f,        65504.0f,   65519.0f,  65519.996f, 65520.0f,
                         65536.0f, 1e10f,           3.4e38f,    0x1p-149f, 0x1p-126f,  0x1p-26f,
                         0x1p-25f, 0x1.000002p-25f, 0x1.8p-25f, 0x1p-24f,  0x1.8p-24f};
  for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
    check_value(HOTROW_F16, edges[i]);
    check_value(HOTROW_F16, -edges[i]);
  }
  check_waiting(HOTROW_F16);
}

static void bfloats_are_rounded_to_nearest_even(void)
{
  for (uint32_t bfloat = 0; bfloat < 0x7f7f; bfloat += bfloat < 0x0102 ? 1 : 13) {
    uint32_t tie = bfloat << 16 | 0x8000;
    for (uint32_t i = 0; i < 6; i++)
      check_value(HOTROW_BF16, float_of(i / 3 << 31 | (tie + i % 3 - 1)));
    if (bfloat == 0)
      check_value(HOTROW_BF16, -0.0f);
  }
  const uint32_t edges[] = {0x7f7f0000u, 0x7f7f0001u, 0x7f7f8000u, 0x7f7fffffu, 1u, 0x7fffu, 0x8000u, 0x8001u};
  for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
    check_value(HOTROW_BF16, float_of(edges[i]));
    check_value(HOTROW_BF16, -float_of(edges[i]));
  }
  check_waiting(HOTROW_BF16);
}

static void every_bfloat_is_read_and_comes_back(void)
{
  enum { DIM = 2048, ROWS = 32 };
  static uint16_t bfloats[ROWS * DIM], again[ROWS * DIM];
  static float values[ROWS * DIM];
  for (uint32_t i = 0; i < ROWS * DIM; i++)
    bfloats[i] = (uint16_t)i;
  unpack(HOTROW_BF16, bfloats, NULL, DIM, ROWS, values, ROWS * DIM, DIM);
  for (uint32_t i = 0; i < ROWS * DIM; i++) {
    CHECK(same_bits(values[i], float_of(i << 16)));
    values[i] = isfinite(values[i]) ? values[i] : 0.0f;
  }
  pack(HOTROW_BF16, values, ROWS * DIM, DIM, DIM, NULL, ROWS, again, NULL);
  for (uint32_t i = 0; i < ROWS * DIM; i++)
    CHECK_EQ(again[i], (i & 0x7f80) == 0x7f80 ? 0 : i);
  kernel_test_release();
}

static void every_half_is_read_and_comes_back(void)
{
  enum { DIM = 2048, ROWS = 32 };
  static uint16_t halves[ROWS * DIM], again[ROWS * DIM];
  static float values[ROWS * DIM];
  for (uint32_t i = 0; i < ROWS * DIM; i++)
    halves[i] = (uint16_t)i;
  unpack(HOTROW_F16, halves, NULL, DIM, ROWS, values, ROWS * DIM, DIM);
  for (uint32_t i = 0; i < ROWS * DIM; i++) {
    double expected = half_value((uint16_t)i);
    if (isnan(expected)) {
      CHECK(isnan(values[i]));
      values[i] = 0.0f;
      continue;
    }
    CHECK_MSG(same_bits(values[i], (float)expected), "half %04x is %g, expected %g", i, (double)values[i], expected);
    values[i] = isinf(expected) ? 0.0f : values[i];
  }
  pack(HOTROW_F16, values, ROWS * DIM, DIM, DIM, NULL, ROWS, again, NULL);
  for (uint32_t i = 0; i < ROWS * DIM; i++)
    CHECK_EQ(again[i], (i & 0x7c00) == 0x7c00 ? 0 : i);
  kernel_test_release();
}

/* Rows of all sorts: ordinary ones, all zero, a single value, denormals, the largest floats. */
static float *random_rows(hr_rng *rng, size_t row_count, size_t stride, uint32_t dim)
{
  float *values = random_floats(rng, row_count * stride);
  for (size_t r = 0; r < row_count; r++) {
    uint64_t sort = hr_rng_below(rng, 8);
    for (uint32_t c = 0; c < dim; c++) {
      float *x = &values[r * stride + c];
      uint32_t bits = (uint32_t)hr_rng_next(rng);
      if (sort == 0)
        *x = c % 2 ? 0.0f : -0.0f;
      else if (sort == 1)
        *x = c == dim / 2 ? -*x : 0.0f;
      else if (sort == 2)
        *x = float_of(bits & 0x800000ffu); /* denormals */
      else if (sort == 3)
        *x *= 0x1.fffffep127f;
      else if (sort == 4 && (bits & 0x7f800000u) != 0x7f800000u)
        *x = float_of(bits);
      else if (sort == 5)
        *x *= 1e-5f; /* half denormals */
    }
    if (sort == 2 && r % 2 == 0)
      values[r * stride] = float_of(1); /* the smallest denormal, perhaps alone */
  }
  return values;
}

static void check_pack(hr_rng *rng, hotrow_dtype dtype, uint32_t dim, size_t row_count, bool has_slots)
{
  size_t stride = dim + (size_t)hr_rng_below(rng, 4), value_rows = has_slots ? ROWS_MAX : row_count;
  size_t value_count = value_rows == 0 ? 0 : (value_rows - 1) * stride + dim;
  float *values = random_rows(rng, value_rows, stride, dim), scales[ROWS_MAX];
  uint32_t *slots = has_slots ? random_distinct(rng, row_count, ROWS_MAX) : NULL;
  uint8_t packed[ROWS_MAX * 130 * 4];
  pack(dtype, values, value_count, stride, dim, slots, row_count, packed, scales);
  for (size_t i = 0; i < row_count; i++) {
    const float *x = values + (slots ? slots[i] : i) * stride;
    float scale = plain_scale(x, dim);
    if (dtype == HOTROW_I8)
      CHECK_MSG(same_bits(scales[i], scale), "dim %u row %zu: scale %.9g, expected %.9g", dim, i, (double)scales[i],
                (double)scale);
    for (uint32_t c = 0; c < dim; c++) {
      size_t at = i * dim + c;
      float f32;
      uint16_t f16;
      memcpy(&f32, packed + (packed_size(dtype) == 4 ? at * 4 : 0), sizeof f32);
      memcpy(&f16, packed + (packed_size(dtype) == 2 ? at * 2 : 0), sizeof f16);
      bool is_right = dtype == HOTROW_F32  ? same_bits(f32, x[c])
                      : dtype == HOTROW_I8 ? (int8_t)packed[at] == plain_byte(x[c], scale)
                                           : f16 == nearest(dtype, x[c]);
      CHECK_MSG(is_right, "dtype %d dim %u row %zu column %u: %.9g is packed wrongly", (int)dtype, dim, i, c,
                (double)x[c]);
    }
  }
  kernel_test_release();
}

static void packed_rows_have_these_bits(void)
{
  hr_rng rng = {hr_test_seed(30)};
  for (int dtype = HOTROW_F32; dtype <= HOTROW_BF16; dtype++) {
    for (uint32_t dim = 1; dim <= 130; dim++)
      for (int has_slots = 0; has_slots < 2; has_slots++)
        check_pack(&rng, (hotrow_dtype)dtype, dim, (size_t)hr_rng_below(&rng, ROWS_MAX + 1), has_slots);
    check_pack(&rng, (hotrow_dtype)dtype, 16, 0, false);
  }
}

/* Any bytes at all, also those that pack never makes; floats between rows are left alone. */
static void check_unpack(hr_rng *rng, hotrow_dtype dtype, uint32_t dim, size_t row_count)
{
  size_t stride = dim + (size_t)hr_rng_below(rng, 4), value_count = row_count * stride, size = packed_size(dtype);
  float *values = random_floats(rng, value_count), *before = random_floats(rng, value_count);
  memcpy(before, values, value_count * sizeof *values);
  float scales[ROWS_MAX];
  uint8_t packed[ROWS_MAX * 130 * 4];
  for (size_t i = 0; i < row_count * dim * size; i++)
    packed[i] = (uint8_t)hr_rng_next(rng);
  for (size_t i = 0; i < row_count; i++)
    scales[i] = i % 5 == 0 ? 0.0f : i % 5 == 1 ? 0x1.fffffep127f : i % 5 == 2 ? 0x3p-149f : hr_rng_unit(rng);
  unpack(dtype, packed, dtype == HOTROW_I8 ? scales : NULL, dim, row_count, values, value_count, stride);
  for (size_t i = 0; i < value_count; i++) {
    size_t row = i / stride, column = i % stride, at = row * dim + column;
    float expected = before[i];
    if (column < dim && dtype == HOTROW_F32)
      memcpy(&expected, packed + at * 4, sizeof expected);
    if (column < dim && size == 2) {
      uint16_t bits = (uint16_t)(packed[at * 2] | packed[at * 2 + 1] << 8);
      expected = (float)(dtype == HOTROW_F16 ? half_value(bits) : bfloat_value(bits));
    }
    if (column < dim && dtype == HOTROW_I8)
      expected = plain_value((int8_t)packed[at], scales[row]);
    CHECK_MSG(same_bits(values[i], expected) || (isnan(values[i]) && isnan(expected)),
              "dtype %d dim %u row %zu float %zu: %.9g, expected %.9g", (int)dtype, dim, row, column, (double)values[i],
              (double)expected);
    CHECK(dtype != HOTROW_I8 || isfinite(values[i]));
  }
  kernel_test_release();
}

static void any_bytes_are_read_bit_by_bit(void)
{
  hr_rng rng = {hr_test_seed(31)};
  for (int dtype = HOTROW_F32; dtype <= HOTROW_BF16; dtype++)
    for (uint32_t dim = 1; dim <= 130; dim++)
      check_unpack(&rng, (hotrow_dtype)dtype, dim, (size_t)hr_rng_below(&rng, ROWS_MAX + 1));
}

static float round_trip_error(hotrow_dtype dtype, float x, float scale)
{
  if (dtype == HOTROW_F16)
    return fmaxf(fabsf(x) * 0x1p-11f, 0x1p-25f); /* half a unit in the last place */
  if (dtype == HOTROW_BF16)
    return fmaxf(fabsf(x) * 0x1p-8f, 0x1p-134f);
  return scale * (0.5f / 127.0f) * (1.0f + 0x1p-15f) + 0x1p-149f;
}

/* How far a value may be off after both ways; that the largest of a row is exact; that what was read packs again to the
 * same bytes and scales, so that a gradient handed on as the wire can say it is not rounded twice. */
static void round_trips_keep_their_promises(void)
{
  hr_rng rng = {hr_test_seed(32)};
  for (uint32_t round = 0; round < 400; round++) {
    hotrow_dtype dtype = round % 3 == 0 ? HOTROW_F16 : round % 3 == 1 ? HOTROW_I8 : HOTROW_BF16;
    uint32_t dim = 1 + (uint32_t)hr_rng_below(&rng, 64);
    size_t count = (size_t)ROWS_MAX * dim, size = count * packed_size(dtype);
    float *x = random_rows(&rng, ROWS_MAX, dim, dim), *y = random_floats(&rng, count);
    float scales[ROWS_MAX] = {0}, scales_again[ROWS_MAX] = {0};
    uint8_t packed[ROWS_MAX * 64 * 2], again[ROWS_MAX * 64 * 2];
    for (size_t i = 0; dtype == HOTROW_F16 && i < count; i++)
      x[i] = fmaxf(-65504.0f, fminf(65504.0f, x[i]));
    const float bfloat_max = float_of(0x7f7f0000u);
    for (size_t i = 0; dtype == HOTROW_BF16 && i < count; i++)
      x[i] = fmaxf(-bfloat_max, fminf(bfloat_max, x[i]));
    pack(dtype, x, count, dim, dim, NULL, ROWS_MAX, packed, scales);
    unpack(dtype, packed, scales, dim, ROWS_MAX, y, count, dim);
    for (size_t i = 0; i < count; i++) {
      float scale = scales[i / dim], error = fabsf(y[i] - x[i]);
      CHECK_MSG(error <= round_trip_error(dtype, x[i], scale), "dtype %d: %.9g came back as %.9g, scale %.9g",
                (int)dtype, (double)x[i], (double)y[i], (double)scale);
      CHECK(dtype != HOTROW_I8 || fabsf(x[i]) < scale || x[i] == y[i]);
    }
    pack(dtype, y, count, dim, dim, NULL, ROWS_MAX, again, scales_again);
    CHECK(memcmp(packed, again, size) == 0 && memcmp(scales, scales_again, sizeof scales) == 0);
    kernel_test_release();
  }
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(halves_are_rounded_to_nearest_even);
  RUN(every_half_is_read_and_comes_back);
  RUN(bfloats_are_rounded_to_nearest_even);
  RUN(every_bfloat_is_read_and_comes_back);
  RUN(packed_rows_have_these_bits);
  RUN(any_bytes_are_read_bit_by_bit);
  RUN(round_trips_keep_their_promises);
  return 0;
}
