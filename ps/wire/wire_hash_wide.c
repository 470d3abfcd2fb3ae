/* XXH3 once more, compiled for AVX2: the same bits in half the time. Payloads are megabytes, and both sides hash them.
 */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2")
#endif

#include "wire_layout.h"

#include <hr/hash.h>

void hr_wire_hash_update_wide(void *xxh3_state, const void *bytes, size_t size)
{
  XXH3_64bits_update(xxh3_state, bytes, size);
}
