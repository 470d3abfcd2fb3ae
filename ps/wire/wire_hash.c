#include "wire_layout.h"

#include <hr/hash.h>

static bool has_wide_vectors(void)
{
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2");
#else
  return false;
#endif
}

uint64_t hr_wire_payload_hash(const hr_frame *frames, size_t frame_count)
{
  XXH3_state_t state;
  uint64_t size = 0;
  XXH3_64bits_reset(&state);
  bool is_wide = has_wide_vectors();
  for (size_t i = 1; i < frame_count; i++) {
    if (frames[i].size == 0)
      continue;
    if (is_wide)
      hr_wire_hash_update_wide(&state, frames[i].data, frames[i].size);
    else
      XXH3_64bits_update(&state, frames[i].data, frames[i].size);
    size += frames[i].size;
  }
  return size ? XXH3_64bits_digest(&state) : 0;
}
