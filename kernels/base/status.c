#include <hr/status.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>

static _Thread_local char last_error[HR_ERROR_TEXT_BYTES];

hotrow_status(hr_fail)(hotrow_status status, const char *format, ...)
{
  HOTROW_ASSERT(status != HOTROW_OK);
  /* An argument may point into the old sentence ("while loading: %s"), so the new one is built aside. */
  char text[HR_ERROR_TEXT_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  memcpy(last_error, text, sizeof text);
  return status;
}

hotrow_status hr_fail_text(hotrow_status status, const char *text, size_t text_size)
{
  HOTROW_ASSERT(status != HOTROW_OK);
  size_t size = text_size < sizeof last_error - 1 ? text_size : sizeof last_error - 1;
  memmove(last_error, text, size);
  last_error[size] = 0;
  return status;
}

const char *hotrow_last_error(void)
{
  return last_error;
}

bool hr_status_is_known(int32_t status)
{
  switch (status) {
#define CASE(name, value, text) case value:
    HOTROW_STATUS_LIST(CASE)
#undef CASE
    return true;
  default:
    return false;
  }
}

const char *hotrow_status_name(hotrow_status status)
{
  switch ((int)status) {
#define CASE(name, value, text)                                                                                        \
  case value:                                                                                                          \
    return #name;
    HOTROW_STATUS_LIST(CASE)
#undef CASE
  default:
    return "HOTROW_ERR_UNKNOWN";
  }
}

const char *hotrow_status_text(hotrow_status status)
{
  switch ((int)status) {
#define CASE(name, value, text)                                                                                        \
  case value:                                                                                                          \
    return text;
    HOTROW_STATUS_LIST(CASE)
#undef CASE
  default:
    return "unknown status";
  }
}

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *hotrow_version(void)
{
  return VERSION_TEXT(HOTROW_VERSION_MAJOR, HOTROW_VERSION_MINOR, HOTROW_VERSION_PATCH);
}

_Noreturn void hr_assert_failed(const char *expression, const char *file, int line)
{
  fprintf(stderr, "hotrow: assertion failed: %s (%s:%d)\n", expression, file, line);
  fflush(stderr);
  abort();
}
