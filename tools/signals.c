#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int signal_pipe[2] = {-1, -1};

static void note_signal(int signal_number)
{
  int saved_errno = errno;
  unsigned char byte = (unsigned char)signal_number;
  ssize_t written = write(signal_pipe[1], &byte, 1);
  (void)written; /* a full pipe already has what wakes us */
  errno = saved_errno;
}

bool hr_signals_open(const int *numbers, size_t count, int *fd_p)
{
  if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
    return false;
  struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
  for (size_t i = 0; i < count; i++)
    if (sigaction(numbers[i], &action, NULL) != 0)
      return false;
  signal(SIGPIPE, SIG_IGN);
  *fd_p = signal_pipe[0];
  return true;
}
