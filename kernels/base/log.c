#include <hr/log.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static hotrow_log_fn log_fn;
static hotrow_log_level log_level;
static void *log_context;

void hotrow_log_set(hotrow_log_fn fn, hotrow_log_level level, void *context)
{
  pthread_mutex_lock(&log_lock);
  log_fn = fn;
  log_level = level;
  log_context = context;
  pthread_mutex_unlock(&log_lock);
}

void hr_log(hotrow_log_level level, const char *format, ...)
{
  char line[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  pthread_mutex_lock(&log_lock);
  if (log_fn && level <= log_level)
    log_fn(level, line, log_context);
  pthread_mutex_unlock(&log_lock);
}
