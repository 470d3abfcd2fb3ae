/* Rounding by chance is made here by looking for both neighbours, and by comparing in double how near they are. */
#include <math.h>

#include "kernel_test.h"

#define ROW_COUNT 60u

static const hotrow_dtype dtypes[] = {HOTROW_F16, HOTROW_BF16};

static float float_of(uint32_t bits)
{
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static double value_of(hotrow_dtype dtype, uint16_t packed)
{
  int exponent = packed >> 10 & 31, fraction = packed & 1023;
  if (dtype == HOTROW_BF16)
    return (double)float_of((uint32_t)packed << 16);
  double magnitude = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
  return packed & 0x8000 ? -magnitude : magnitude;
}

static uint16_t largest_of(hotrow_dtype dtype)
{
  return dtype == HOTROW_F16 ? 0x7bff : 0x7f7f;
}

static uint32_t random_of(uint64_t stream, uint32_t column)
{
  uint32_t x = (uint32_t)stream + column * 0x9e3779b9u;
  x ^= x >> 16;
  x *= 0x7feb352du;
  x += (uint32_t)(stream >> 32);
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ x >> 16;
}

/* The last that is not above, and the one behind it if the value and the random bits carry. */
static uint16_t rounded(hotrow_dtype dtype, float value, uint32_t random)
{
  uint16_t sign = signbit(value) ? 0x8000 : 0, low = 0, high = largest_of(dtype);
  double magnitude = fabs((double)value);
  if (isnan(value) || magnitude >= value_of(dtype, high))
    return sign | high;
  while (high - low > 1) {
    uint16_t middle = (uint16_t)((low + high) / 2);
    if (value_of(dtype, middle) <= magnitude)
      low = middle;
    else
      high = middle;
  }
  uint32_t bits = dtype == HOTROW_BF16 ? 16 : magnitude < 0x1p-14 ? 20 : 13;
  double share = (magnitude - value_of(dtype, low)) / (value_of(dtype, high) - value_of(dtype, low));
  double steps = floor(ldexp(share, (int)bits)) + (double)(random & ((1u << bits) - 1));
  return sign | (steps >= ldexp(1, (int)bits) ? high : low);
}

/* Rows of all sorts: ordinary, exact, tiny, huge, any bits. */
static float *random_values(hr_rng *rng, size_t count)
{
  float *values = random_floats(rng, count);
  for (size_t i = 0; i < count; i++) {
    uint32_t bits = (uint32_t)hr_rng_next(rng);
    switch (hr_rng_below(rng, 8)) {
    case 0:
      values[i] *= 0x1p-16f;
      break;
    case 1:
      values[i] *= 0x1p-30f;
      break;
    case 2:
      values[i] = float_of(bits & 0x8007ffffu);
      break;
    case 3:
      values[i] *= 70000.0f;
      break;
    case 4:
      values[i] = float_of(bits & 0xffff0000u);
      break;
    case 5:
      values[i] = float_of(bits);
      break;
    default:
      break;
    }
  }
  return values;
}

static void check_rows(hr_rng *rng, hotrow_dtype dtype, uint32_t dim, size_t pad, size_t count)
{
  size_t row_floats = (dim + 1) / 2, row_stride = row_floats + pad, value_stride = dim + 2 - pad;
  float *rows = random_floats(rng, ROW_COUNT * row_stride), *before = random_floats(rng, ROW_COUNT * row_stride);
  float *values = random_values(rng, count * value_stride), *out = random_floats(rng, count * value_stride);
  uint64_t streams[ROW_COUNT];
  uint32_t *slots = random_distinct(rng, count, ROW_COUNT);
  memcpy(before, rows, ROW_COUNT * row_stride * sizeof *rows);
  for (size_t i = 0; i < count; i++)
    streams[i] = hr_rng_next(rng);
  float *device_rows = TO_DEVICE(rows, ROW_COUNT * row_stride), *device_out = TO_DEVICE(out, count * value_stride);
  const uint32_t *device_slots = TO_DEVICE(slots, count);
  kernels->scatter_packed(dtype, TO_DEVICE(values, count * value_stride), value_stride, dim, TO_DEVICE(streams, count),
                          device_slots, count, NULL, device_rows, row_stride);
  from_device(rows, device_rows, ROW_COUNT * row_stride * sizeof *rows);
  for (size_t i = 0; i < count; i++)
    for (uint32_t c = 0; c < dim; c++) {
      uint16_t got, expected = rounded(dtype, values[i * value_stride + c], random_of(streams[i], c));
      memcpy(&got, (const char *)(rows + slots[i] * row_stride) + 2 * (size_t)c, sizeof got);
      CHECK_MSG(got == expected, "dtype %d dim %u row %zu column %u: %.9g became %04x, expected %04x", (int)dtype, dim,
                i, c, (double)values[i * value_stride + c], got, expected);
      memcpy((char *)(before + slots[i] * row_stride) + 2 * (size_t)c, &got, sizeof got);
    }
  CHECK(memcmp(before, rows, ROW_COUNT * row_stride * sizeof *rows) == 0); /* and nothing else */
  memcpy(values, out, count * value_stride * sizeof *out);
  kernels->gather_packed(dtype, device_rows, row_stride, dim, device_slots, count, NULL, device_out, value_stride);
  from_device(out, device_out, count * value_stride * sizeof *out);
  for (size_t i = 0; i < count; i++)
    for (size_t c = 0; c < value_stride; c++) {
      uint16_t packed = 0;
      if (c < dim)
        memcpy(&packed, (const char *)(rows + slots[i] * row_stride) + 2 * c, sizeof packed);
      float expected = c < dim ? (float)value_of(dtype, packed) : values[i * value_stride + c];
      CHECK(same_bits(out[i * value_stride + c], expected));
    }
  kernel_test_release();
}

static void rows_are_written_and_read_bit_by_bit(void)
{
  hr_rng rng = {hr_test_seed(40)};
  for (size_t d = 0; d < 2; d++) {
    for (uint32_t dim = 1; dim <= 130; dim++)
      check_rows(&rng, dtypes[d], dim, dim % 3, (size_t)hr_rng_below(&rng, ROW_COUNT + 1));
    check_rows(&rng, dtypes[d], HOTROW_DIM_MAX, 1, 3);
    check_rows(&rng, dtypes[d], 16, 0, 0);
  }
}

/* Ties and their neighbours, what is exact, and the largest: with no random bits, with all of them, and with others. */
static void edges_are_rounded_as_said(void)
{
  hr_rng rng = {hr_test_seed(41)};
  for (size_t d = 0; d < 2; d++)
    for (uint32_t packed = 0; packed < largest_of(dtypes[d]); packed += packed < 0x0420 ? 1 : 97) {
      float values[12], out[6];
      uint64_t stream = hr_rng_next(&rng);
      uint32_t slot = 0;
      double low = value_of(dtypes[d], (uint16_t)packed), high = value_of(dtypes[d], (uint16_t)(packed + 1));
      for (int i = 0; i < 6; i++) {
        float between = (float)((low * (3 - i % 3) + high * (i % 3 + 1)) / 4);
        values[i] = i < 3 ? between : i == 3 ? (float)low : nextafterf((float)(i == 4 ? low : high), (float)high);
        values[i + 6] = -values[i];
      }
      float *device_rows = TO_DEVICE(out, 6);
      kernels->scatter_packed(dtypes[d], TO_DEVICE(values, 12), 12, 12, TO_DEVICE(&stream, 1), TO_DEVICE(&slot, 1), 1,
                              NULL, device_rows, 6);
      from_device(out, device_rows, sizeof out);
      kernel_test_release_device();
      for (uint32_t i = 0; i < 12; i++) {
        uint16_t got;
        memcpy(&got, (const char *)out + 2 * (size_t)i, sizeof got);
        CHECK_EQ(got, rounded(dtypes[d], values[i], random_of(stream, i)));
      }
    }
  kernel_test_release();
}

/* A thousand roundings of one value, each by another number: their mean is the value, to five deviations. */
static void the_mean_of_roundings_is_the_value(void)
{
  enum { DIM = 64, ROWS = 60, ROUNDS = 20 };
  const float cases[] = {0.1f, -0.3f, 3.14159f, 1000.3f, 1.1e-5f, -3.3e-6f, 1.0f / 3.0f, 0.7e-8f};
  hr_rng rng = {hr_test_seed(42)};
  float values[ROWS * DIM], out[ROWS * DIM];
  uint32_t slots[ROWS];
  for (size_t d = 0; d < 2; d++)
    for (size_t v = 0; v < sizeof cases / sizeof *cases; v++) {
      double sum = 0, squares = 0;
      for (int round = 0; round < ROUNDS; round++) {
        uint64_t streams[ROWS];
        for (uint32_t i = 0; i < ROWS; i++) {
          streams[i] = hr_rng_next(&rng);
          slots[i] = i;
        }
        for (size_t i = 0; i < (size_t)ROWS * DIM; i++)
          values[i] = cases[v];
        float *rows = TO_DEVICE(out, ROWS * DIM / 2), *device_out = TO_DEVICE(out, ROWS * DIM);
        const uint32_t *device_slots = TO_DEVICE(slots, ROWS);
        kernels->scatter_packed(dtypes[d], TO_DEVICE(values, ROWS * DIM), DIM, DIM, TO_DEVICE(streams, ROWS),
                                device_slots, ROWS, NULL, rows, DIM / 2);
        kernels->gather_packed(dtypes[d], rows, DIM / 2, DIM, device_slots, ROWS, NULL, device_out, DIM);
        from_device(out, device_out, sizeof out);
        kernel_test_release_device();
        for (size_t i = 0; i < (size_t)ROWS * DIM; i++) {
          double error = (double)out[i] - (double)cases[v];
          sum += error;
          squares += error * error;
        }
      }
      double count = (double)ROUNDS * ROWS * DIM, deviation = sqrt(squares / count / count);
      CHECK_MSG(fabs(sum / count) <= 5 * deviation, "dtype %d: %.9g is %.3g off in the mean, %.1f deviations",
                (int)dtypes[d], (double)cases[v], sum / count, fabs(sum / count) / deviation);
    }
  kernel_test_release();
}

int main(int argc, char **argv)
{
  kernel_test_open(argc, argv);
  RUN(rows_are_written_and_read_bit_by_bit);
  RUN(edges_are_rounded_as_said);
  RUN(the_mean_of_roundings_is_the_value);
  return 0;
}
