/* A server: N shards in one process, one thread and one ZeroMQ ROUTER endpoint each. And one shard without sockets. */
#ifndef HOTROW_SERVER_H
#define HOTROW_SERVER_H

#include <hotrow/base.h>
#include <hotrow/counts.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HOTROW_SERVER_SHARDS_MAX 64u

typedef struct hotrow_server hotrow_server;

/* When what clients push is durable, with data_dir. A client is told of it and keeps its pushes until then; so with all
 * but NONE nothing is lost or applied twice, however a server ends. */
typedef enum hotrow_durability {
  HOTROW_DURABILITY_CUT = 0, /* the default: with the next cut of the rows */
  /* When it is applied, as clients are told, which is not so: the rows are written when the server ends in good order.
   * If it does not they are what they were when it started, and jobs that used it end. */
  HOTROW_DURABILITY_NONE = 1,
  HOTROW_DURABILITY_LOG = 2 /* within milliseconds: each push is logged beside the cuts, many in one write */
} hotrow_durability;

typedef struct hotrow_server_options {
  size_t struct_size;
  /* "tcp://127.0.0.1:7117": shard i of this server listens on port 7117+i; "tcp://127.0.0.1:*": on free ports;
   * "ipc:///dir/name": on name.0, name.1, ...   Only loopback addresses and ipc are accepted. */
  const char *bind;
  const char *save_dir;   /* where saves and checkpoints go; it is made if only it itself is missing. NULL: refused */
  const char *load_path;  /* a save, checkpoint or data directory of any shard count to start from; NULL: start empty */
  uint32_t shards;        /* of this server; 0 means 1 */
  uint32_t shard_first;   /* index of its first shard in the cluster */
  uint32_t shard_count;   /* of the cluster; 0 means `shards` */
  uint32_t io_threads;    /* ZeroMQ's; 0 means 1 */
  uint64_t row_count_max; /* per table and shard; 0: no limit of its own */
  /* Where the shards keep their rows, each in a directory of its own; it is made if only it itself is missing. A server
   * that is started on it again goes on from what was durable, and no update of a client that kept its pushes is lost
   * or applied twice. NULL: memory only. */
  const char *data_dir;
  /* Of changed rows, after which a shard makes a cut at once; 0 means 4 MiB. With HOTROW_DURABILITY_LOG: a sixteenth of
   * the pushes that may be in the log. */
  uint64_t cut_bytes;
  /* Called now and then while start loads from data_dir or load_path, and at the end of each shard. NULL: nobody. */
  void (*progress)(void *context, uint32_t shard_index, uint64_t row_count, uint64_t row_count_expected);
  void *context;
  /* Between two cuts: how long what a client pushed may not be durable. 0 means 1000, and with HOTROW_DURABILITY_LOG,
   * where it says how much a start has to apply, 60000. */
  uint32_t cut_interval_ms;
  hotrow_durability durability;
  /* What the process may take, in bytes: its shards get equal shares for rows, state, index, buffers and RocksDB. With
   * a data_dir rows that were not used lately leave memory when others need the place, and are read when they are asked
   * for; without one new rows are refused (HOTROW_ERR_QUOTA). 0: no bound. At least 96 MiB a shard. */
  uint64_t memory_bytes;
} hotrow_server_options;
#define HOTROW_SERVER_OPTIONS_INIT HOTROW_INIT(hotrow_server_options)

/* Loads, binds and starts the shard threads; when it returns the server is ready. Blocks while loading.
 *   HOTROW_ERR_INVALID      a bad option; an address that is not loopback; durability without data_dir; too little
 *                           memory
 *   HOTROW_ERR_UNREACHABLE  an address in use or not there
 *   HOTROW_ERR_NOT_FOUND, HOTROW_ERR_CORRUPT, HOTROW_ERR_STORAGE   of load_path
 *   HOTROW_ERR_STORAGE      save_dir or data_dir is not there, or not to be written to
 *   HOTROW_ERR_BUSY         data_dir, or a data directory that is load_path, is open in another server
 *   HOTROW_ERR_EXISTS       data_dir is of other shards, or a checkpoint, or has rows and load_path is given too
 *   HOTROW_ERR_CORRUPT, HOTROW_ERR_VERSION   of data_dir
 *   HOTROW_ERR_NO_MEMORY
 * After a failure with data_dir the process is to end, with _exit(). */
HOTROW_API hotrow_status hotrow_server_start(const hotrow_server_options *options, hotrow_server **server_p);

/* The address that shard i of this server (0 .. shards-1) listens on. Valid until stop. */
HOTROW_API const char *hotrow_server_endpoint(const hotrow_server *server, uint32_t i);

/* What shard i of this server counts and holds: as of its last wait for a message, or of at most 10 ms ago. Does not
 * disturb the shard. struct_size is the caller's; as much as fits is filled in. Any thread, until stop.
 *   HOTROW_ERR_INVALID  no such shard, or no struct_size */
HOTROW_API hotrow_status hotrow_server_get_counts(const hotrow_server *server, uint32_t i, hotrow_shard_counts *counts);

/* Stops the threads after the message in hand. Shards with a data directory make a last cut first and wait for it.
 *   HOTROW_ERR_STORAGE  one could not be written, now or earlier: what is not durable is lost if the clients do not
 * have it, and the process is to end with _exit() once hotrow_server_stop() was called */
HOTROW_API hotrow_status hotrow_server_drain(hotrow_server *server);

/* Drains, closes the sockets, frees everything. Accepts NULL. */
HOTROW_API void hotrow_server_stop(hotrow_server *server);

/* One shard in the caller's process, without sockets, threads or a clock, for benchmarks and simulators: messages go in
 * and come out by function calls. Memory only: it neither saves nor loads. One thread at a time. */
typedef struct hotrow_shard hotrow_shard;

typedef struct hotrow_shard_options {
  size_t struct_size;
  uint32_t shard_index;
  uint32_t shard_count;   /* of the cluster; 0 means 1 */
  uint64_t row_count_max; /* per table; 0: no limit of its own */
  /* Takes a reply; called from within hotrow_shard_receive(). The frames are valid until it returns, and it must not
   * call the shard. `client` is where the reply goes: as a rule the one that asked, in exact steps also others. */
  void (*reply)(void *context, uint64_t client, const hotrow_frame *frames, size_t frame_count);
  void *context;
  uint64_t epoch;              /* another one for every shard that takes the place of an earlier one; 0: random */
  uint32_t announce_log_count; /* announcements that are kept, up to 2^20; 0 means 2^18 */
  uint32_t reserved;           /* 0 */
} hotrow_shard_options;
#define HOTROW_SHARD_OPTIONS_INIT HOTROW_INIT(hotrow_shard_options)

/* Makes an empty shard in *shard_p, which is unchanged on failure.
 *   HOTROW_ERR_INVALID  no reply function, or an index that is not below the count, or more than 1024 shards
 *   HOTROW_ERR_LIMIT    announce_log_count
 *   HOTROW_ERR_NO_MEMORY */
HOTROW_API hotrow_status hotrow_shard_open(const hotrow_shard_options *options, hotrow_shard **shard_p);

/* Takes one message of a client (any number; its replies go to it). Each frame of more than no bytes begins at an
 * address that 8 divides; a message with another is dropped, as are messages of too many frames. What a message says is
 * answered, good or bad. The frames are not kept. now_ns: any monotonic clock. */
HOTROW_API void hotrow_shard_receive(hotrow_shard *shard, uint64_t client, const hotrow_frame *frames,
                                     size_t frame_count, uint64_t now_ns);

/* Accepts NULL. */
HOTROW_API void hotrow_shard_close(hotrow_shard *shard);

#ifdef __cplusplus
}
#endif
#endif
