#include "terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"

static struct termios before;
static bool is_open, has_keys;

static void put(const char *text, size_t size)
{
  ssize_t written = write(STDOUT_FILENO, text, size);
  (void)written;
}

bool hr_terminal_open(void)
{
  if (!isatty(STDOUT_FILENO))
    return false;
  has_keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
  if (has_keys) {
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* stopped, it would leave the terminal like this */
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  put(ENTER, sizeof ENTER - 1);
  is_open = true;
  return true;
}

void hr_terminal_close(void)
{
  if (!is_open)
    return;
  is_open = false;
  put(LEAVE, sizeof LEAVE - 1);
  if (has_keys)
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
}

void hr_terminal_size(uint32_t *columns_p, uint32_t *lines_p)
{
  struct winsize size = {0};
  bool is_known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
  *columns_p = is_known ? size.ws_col : 80;
  *lines_p = is_known ? size.ws_row : 24;
}

int hr_terminal_key(int fd, int timeout_ms)
{
  struct pollfd items[] = {{.fd = fd, .events = POLLIN}, {.fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN}};
  unsigned char key = 0;
  if (poll(items, 2, timeout_ms) <= 0 || !items[1].revents)
    return 0;
  ssize_t got = read(STDIN_FILENO, &key, 1);
  if (got <= 0)
    has_keys = false; /* nobody is there any more */
  return got == 1 ? key : 0;
}
