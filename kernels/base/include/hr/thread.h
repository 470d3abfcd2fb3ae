/* Threads that the library makes for itself. */
#ifndef HR_THREAD_H
#define HR_THREAD_H

#include <pthread.h>

#include <hr/status.h>

/* Who gets a processor first when more threads could use one than there are. */
typedef enum hr_thread_kind {
  HR_THREAD_FOREGROUND, /* a client waits for what it does: it is as its maker is */
  HR_THREAD_BACKGROUND  /* others come first: HR_BACKGROUND_NICE above its maker */
} hr_thread_kind;

/* Beside one thread in the foreground that never rests one in the background has a quarter of a processor, by the
 * weights that Linux gives: so what it does ends, in four times the time at worst. At 19 it would have a hundredth, and
 * clients do wait for cuts in the end. */
#define HR_BACKGROUND_NICE 5

#define HR_THREAD_NAME_BYTES 16u /* with the zero at its end: what Linux keeps, and top -H shows */

/* Starts a thread, which takes none of the program's signals: they are for its own threads. `what` is its name, and is
 * cut. Whoever starts it joins it. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_thread_start(hr_thread_kind kind, const char *what, void *(*run)(void *context), void *context,
                              pthread_t *thread_p);

#endif
