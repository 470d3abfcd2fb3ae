/* Signals as bytes in a pipe, one per signal, each the signal's number. */
#ifndef HR_SIGNALS_H
#define HR_SIGNALS_H

#include <stdbool.h>
#include <stddef.h>

/* From now on these signals are written to *fd_p (non-blocking) instead of ending the program, and SIGPIPE is ignored.
 * Once per program. Handlers, not sigwait or signalfd: a library may have started threads (OpenBLAS does) that do not
 * block these signals. False, with errno, if it cannot. */
bool hr_signals_open(const int *numbers, size_t count, int *fd_p);

#endif
