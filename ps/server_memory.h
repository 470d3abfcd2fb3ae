/* How the memory of a server is shared out. */
#ifndef HR_SERVER_MEMORY_H
#define HR_SERVER_MEMORY_H

#include <hr/status.h>

#define HR_SERVER_MEMORY_BYTES_MIN ((uint64_t)96 << 20) /* a shard */

typedef struct hr_memory_shares {
  size_t shard_bytes;   /* rows, state, index, buffers, copies of cuts; 0: no bound */
  size_t storage_bytes; /* RocksDB's buffers and cache; 0: as it likes */
  size_t cut_bytes_max; /* of dirty rows after which a cut is made */
} hr_memory_shares;

/* memory_bytes: of the process, with `shards` shards in it; 0: no bound. HOTROW_ERR_INVALID */
hotrow_status hr_memory_share_out(uint64_t memory_bytes, uint32_t shards, bool has_storage, hr_memory_shares *shares_p);

/* Has malloc give large blocks back when they are freed: those of a database, and, where memory is bounded, all. It
 * keeps tens of MiB a thread otherwise, of messages and cuts that are over. For the whole process. */
void hr_memory_set_malloc(bool is_bounded);

/* Of what the process has, the part of one of its shards that none of them counts and nothing was set aside for. */
size_t hr_memory_foreign(uint64_t process_bytes, uint64_t counted_bytes, uint32_t shards);

#endif
