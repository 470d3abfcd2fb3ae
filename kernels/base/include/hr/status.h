/* How a function fails: it says why once, with hr_fail(), and everyone above passes the status on. */
#ifndef HR_STATUS_H
#define HR_STATUS_H

#include <hotrow/base.h>

#define HR_ERROR_TEXT_BYTES 512

/* Records the sentence for this thread and returns `status`. */
hotrow_status hr_fail(hotrow_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
#ifdef __clang_analyzer__ /* it cannot see that hr_fail never returns HOTROW_OK */
#define hr_fail(status, ...) ((hr_fail)(status, __VA_ARGS__), (status))
#endif
/* Records a sentence that came from elsewhere (a peer), cut to HR_ERROR_TEXT_BYTES. */
hotrow_status hr_fail_text(hotrow_status status, const char *text, size_t text_size);
/* Is this one of the values of hotrow_status? For statuses that come from a peer. */
bool hr_status_is_known(int32_t status);

/* Returns from the calling function if `call` failed: only where there is nothing to undo. */
#define HOTROW_TRY(call)                                                                                               \
  do {                                                                                                                 \
    hotrow_status hr_try_status = (call);                                                                              \
    if (hr_try_status != HOTROW_OK)                                                                                    \
      return hr_try_status;                                                                                            \
  } while (0)

#endif
