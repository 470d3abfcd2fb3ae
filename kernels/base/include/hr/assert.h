/* HOTROW_ASSERT is for our own bugs and stays on in release builds. Input of any kind is never asserted. */
#ifndef HR_ASSERT_H
#define HR_ASSERT_H

_Noreturn void hr_assert_failed(const char *expression, const char *file, int line);

#define HOTROW_ASSERT(expression) ((expression) ? (void)0 : hr_assert_failed(#expression, __FILE__, __LINE__))

#endif
