/* Threads that the library makes for itself. */
#ifndef HR_THREAD_H
#define HR_THREAD_H

#include <pthread.h>
#include <stdint.h>

#include <hr/status.h>

/* Who gets a processor first when more threads could use one than there are. */
typedef enum hr_thread_kind {
  HR_THREAD_PROMPT,     /* a client waits for each thing it does, and none takes long: HR_PROMPT_SLICE_NS */
  HR_THREAD_FOREGROUND, /* a client waits for what it does: it is as its maker is, but not prompt */
  HR_THREAD_BACKGROUND  /* others come first: HR_BACKGROUND_NICE above its maker */
} hr_thread_kind;

/* Since Linux 6.12 a thread may say how long it likes to run in one go. One that asks for less than the others (they
 * have 0.7 ms on one processor, 1.4 on two, 2.8 on eight) gets a processor from them when it has something to do;
 * without that it waits until the tick, for up to 4 ms, behind whoever computes. It has no larger share for it.
 * Before 6.12, or where a real-time policy was chosen for the process, nothing is different. */
#define HR_PROMPT_SLICE_NS ((uint64_t)500000)

/* Beside one thread in the foreground that never rests one in the background has a quarter of a processor, by the
 * weights that Linux gives: so what it does ends, in four times the time at worst. At 19 it would have a hundredth, and
 * clients do wait for cuts in the end. */
#define HR_BACKGROUND_NICE 5

#define HR_THREAD_NAME_BYTES 16u /* with the zero at its end: what Linux keeps, and top -H shows */

/* Starts a thread, which takes none of the program's signals: they are for its own threads. `what` is its name, and is
 * cut. Whoever starts it joins it. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_thread_start(hr_thread_kind kind, const char *what, void *(*run)(void *context), void *context,
                              pthread_t *thread_p);

/* Has a thread of this kind run it and waits for it: for what makes threads of its own, which are as who makes them.
 * *result_p, unless NULL, is what it returned. HOTROW_ERR_NO_MEMORY */
hotrow_status hr_thread_call(hr_thread_kind kind, const char *what, void *(*run)(void *context), void *context,
                             void **result_p);

#endif
