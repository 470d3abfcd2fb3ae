/* From text to value: numbers with units, choices, booleans, and the ranges they must lie in. */
#include "options_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *name;
  uint64_t factor;
} units[] = {
    {"", 1},
    {"k", 1000},
    {"kB", 1000},
    {"M", 1000000},
    {"MB", 1000000},
    {"G", 1000000000},
    {"GB", 1000000000},
    {"T", 1000000000000},
    {"TB", 1000000000000},
    {"Ki", (uint64_t)1 << 10},
    {"KiB", (uint64_t)1 << 10},
    {"Mi", (uint64_t)1 << 20},
    {"MiB", (uint64_t)1 << 20},
    {"Gi", (uint64_t)1 << 30},
    {"GiB", (uint64_t)1 << 30},
    {"Ti", (uint64_t)1 << 40},
    {"TiB", (uint64_t)1 << 40},
};

static bool unit_factor(const char *name, uint64_t *factor_p)
{
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
    if (strcmp(units[i].name, name) == 0) {
      *factor_p = units[i].factor;
      return true;
    }
  return false;
}

/* Digits, perhaps a fraction or an exponent, perhaps a unit; the product must be whole. Plain digits are exact up to
 * 2^64-1, because a seed or a key may need every bit. */
static bool parse_whole(const char *text, uint64_t *value_p)
{
  if (*text < '0' || *text > '9' || strpbrk(text, "xXpP"))
    return false;
  char *end;
  uint64_t factor;
  errno = 0;
  uint64_t digits = strtoull(text, &end, 10);
  if (errno == 0 && unit_factor(end, &factor))
    return !__builtin_mul_overflow(digits, factor, value_p);
  double fraction = strtod(text, &end);
  if (!unit_factor(end, &factor))
    return false;
  double product = fraction * (double)factor;
  double whole = round(product);
  if (!(whole >= 0.0 && whole < 0x1p64) ||
      fabs(product - whole) > 1e-12 * whole) /* 1.1k is 1100, not 1100.0000000002 */
    return false;
  *value_p = (uint64_t)whole;
  return true;
}

static bool parse_float(const char *text, float *value_p)
{
  char *end;
  float value = strtof(text, &end);
  if (end == text || *end || !isfinite(value))
    return false;
  *value_p = value;
  return true;
}

static bool parse_bool(const char *text, bool *value_p)
{
  static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (strcmp(text, words[i]) == 0) {
      *value_p = i % 2 == 1;
      return true;
    }
  return false;
}

static bool is_in_range(const hr_option *option, double value)
{
  bool has_range = option->minimum != 0.0 || option->maximum != 0.0;
  return !has_range || (value >= option->minimum && value <= option->maximum);
}

/* "must be a whole number from 1 to 64" */
static bool refuse_number(const hr_option *option, const char *what, char *why)
{
  if (option->minimum != 0.0 || option->maximum != 0.0)
    snprintf(why, HR_WHY_BYTES, "must be %s from %.12g to %.12g", what, option->minimum, option->maximum);
  else
    snprintf(why, HR_WHY_BYTES, "must be %s", what);
  return false;
}

static bool store_choice(const hr_setting *setting, uint32_t *value_p, char *why)
{
  const char *const *choices = setting->option->choices;
  *value_p = 0;
  if (!setting->text)
    return true;
  int size = snprintf(why, HR_WHY_BYTES, "must be one of");
  for (uint32_t i = 0; choices[i]; i++) {
    if (strcmp(setting->text, choices[i]) == 0) {
      *value_p = i;
      return true;
    }
    if (size < (int)HR_WHY_BYTES)
      size += snprintf(why + size, HR_WHY_BYTES - (size_t)size, "%s %s", i ? "," : "", choices[i]);
  }
  return false;
}

static bool store_i32(const hr_setting *setting, void *place, char *why)
{
  const bool is_none = setting->text && strcmp(setting->text, "-1") == 0;
  uint64_t whole = 0;
  if (setting->text && !is_none &&
      (!parse_whole(setting->text, &whole) || whole > INT32_MAX || !is_in_range(setting->option, (double)whole)))
    return refuse_number(setting->option, "-1 or a whole number", why);
  memcpy(place, &(int32_t){is_none ? -1 : (int32_t)whole}, sizeof(int32_t));
  return true;
}

bool hr_option_store(const hr_setting *setting, char why[HR_WHY_BYTES])
{
  const hr_option *option = setting->option;
  void *place = (char *)setting->values + option->offset;
  const char *text = setting->text;
  uint64_t whole = 0;
  float number = 0.0f;
  bool truth = false;
  switch (option->kind) {
  case HR_OPTION_TEXT:
    memcpy(place, &text, sizeof text);
    return true;
  case HR_OPTION_U32:
  case HR_OPTION_U64:
    if (text && (!parse_whole(text, &whole) || !is_in_range(option, (double)whole)))
      return refuse_number(
          option, option->kind == HR_OPTION_U64 ? "a whole number (10000, 10e3, 4k, 8GiB)" : "a whole number", why);
    if (option->kind == HR_OPTION_U64) {
      memcpy(place, &whole, sizeof whole);
      return true;
    }
    if (whole > UINT32_MAX) {
      snprintf(why, HR_WHY_BYTES, "must be at most %u", UINT32_MAX);
      return false;
    }
    memcpy(place, &(uint32_t){(uint32_t)whole}, sizeof(uint32_t));
    return true;
  case HR_OPTION_I32:
    return store_i32(setting, place, why);
  case HR_OPTION_FLOAT:
    if (text && (!parse_float(text, &number) || !is_in_range(option, (double)number)))
      return refuse_number(option, "a number", why);
    memcpy(place, &number, sizeof number);
    return true;
  case HR_OPTION_BOOL:
    snprintf(why, HR_WHY_BYTES, "must be true or false");
    if (text && !parse_bool(text, &truth))
      return false;
    memcpy(place, &truth, sizeof truth);
    return true;
  case HR_OPTION_CHOICE:
    return store_choice(setting, place, why);
  }
  return false;
}
