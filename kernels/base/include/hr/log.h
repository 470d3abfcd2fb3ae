/* Log lines: lower case, the value after its name with a space ("shard 3 unreachable"). */
#ifndef HR_LOG_H
#define HR_LOG_H

#include <hotrow/base.h>

void hr_log(hotrow_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
