/* A terminal that is drawn on: another screen, without cursor and echo, and back. Plain ANSI. */
#ifndef HR_TERMINAL_H
#define HR_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/* Takes over stdout's terminal, and stdin's keys if that is one too. False: stdout is no terminal. */
bool hr_terminal_open(void);
/* As it was before. Without effect if it was not opened, or is closed already. */
void hr_terminal_close(void);

void hr_terminal_size(uint32_t *columns_p, uint32_t *lines_p);
/* Waits for a key, or until a byte can be read from fd; 0: neither came in time, or it was no key. */
int hr_terminal_key(int fd, int timeout_ms);

#endif
