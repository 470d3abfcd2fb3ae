#include "server_memory.h"

#include <malloc.h>

/* Beside what shards count: the program, libraries, stacks, sockets and messages on their way, what malloc keeps. */
#define PROCESS_BYTES ((uint64_t)52 << 20)
#define MARGIN_SHARES 16u /* for what is over its share until the next look at the process, once a second */
#define STORAGE_SHARES 6u
/* Blocks from here on are pages of their own, where memory is bounded. If it is not set it grows to 32 MiB. */
#define MMAP_BYTES (128 << 10)
/* Elsewhere: those that RocksDB's buffers and our cuts consist of are as large. Messages are smaller. */
#define MMAP_BYTES_UNBOUND (1 << 20)
#define ARENAS_MAX 2
#define CUT_SHARES 32u
#define CUT_BYTES_MIN ((size_t)2 << 20) /* smaller cuts would wait for the disk most of the time */

hotrow_status hr_memory_share_out(uint64_t memory_bytes, uint32_t shards, bool has_storage, hr_memory_shares *shares_p)
{
  *shares_p = (hr_memory_shares){.cut_bytes_max = SIZE_MAX};
  if (memory_bytes == 0)
    return HOTROW_OK;
  if (memory_bytes < shards * HR_SERVER_MEMORY_BYTES_MIN)
    return hr_fail(HOTROW_ERR_INVALID, "memory_bytes %llu for %u shards: at least %llu MiB a shard",
                   (unsigned long long)memory_bytes, shards, (unsigned long long)(HR_SERVER_MEMORY_BYTES_MIN >> 20));
  size_t share = (size_t)((memory_bytes - memory_bytes / MARGIN_SHARES - PROCESS_BYTES) / shards);
  shares_p->storage_bytes = has_storage ? share / STORAGE_SHARES : 0;
  shares_p->shard_bytes = share - shares_p->storage_bytes;
  size_t cut_bytes = share / CUT_SHARES;
  shares_p->cut_bytes_max = cut_bytes > CUT_BYTES_MIN ? cut_bytes : CUT_BYTES_MIN;
  return HOTROW_OK;
}

void hr_memory_set_malloc(bool is_bounded)
{
  mallopt(M_MMAP_THRESHOLD, is_bounded ? MMAP_BYTES : MMAP_BYTES_UNBOUND);
  if (!is_bounded)
    return;
  mallopt(M_TRIM_THRESHOLD, MMAP_BYTES);
  mallopt(M_ARENA_MAX, ARENAS_MAX);
}

size_t hr_memory_foreign(uint64_t process_bytes, uint64_t counted_bytes, uint32_t shards)
{
  uint64_t known = counted_bytes + PROCESS_BYTES;
  return process_bytes > known ? (size_t)((process_bytes - known) / shards) : 0;
}
