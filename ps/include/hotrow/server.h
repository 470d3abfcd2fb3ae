/* A server: N shards in one process, one thread and one ZeroMQ ROUTER endpoint each. */
#ifndef HOTROW_SERVER_H
#define HOTROW_SERVER_H

#include <hotrow/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HOTROW_SERVER_SHARDS_MAX 64u

typedef struct hotrow_server hotrow_server;

typedef struct hotrow_server_options {
  size_t struct_size;
  /* "tcp://127.0.0.1:7117": shard i of this server listens on port 7117+i; "tcp://127.0.0.1:*": on free ports;
   * "ipc:///dir/name": on name.0, name.1, ...   Only loopback addresses and ipc are accepted. */
  const char *bind;
  const char *save_dir;   /* where saves go; NULL: saves are refused */
  const char *load_path;  /* a save to start from; NULL: start empty */
  uint32_t shards;        /* of this server; 0 means 1 */
  uint32_t shard_first;   /* index of its first shard in the cluster */
  uint32_t shard_count;   /* of the cluster; 0 means `shards` */
  uint32_t io_threads;    /* ZeroMQ's; 0 means 1 */
  uint64_t row_count_max; /* per table and shard; 0: no limit of its own */
} hotrow_server_options;
#define HOTROW_SERVER_OPTIONS_INIT HOTROW_INIT(hotrow_server_options)

/* Loads, binds and starts the shard threads; when it returns the server is ready. Blocks while loading.
 *   HOTROW_ERR_INVALID      a bad option; an address that is not loopback
 *   HOTROW_ERR_UNREACHABLE  an address in use or not there
 *   HOTROW_ERR_NOT_FOUND, HOTROW_ERR_CORRUPT, HOTROW_ERR_STORAGE   of load_path
 *   HOTROW_ERR_NO_MEMORY */
HOTROW_API hotrow_status hotrow_server_start(const hotrow_server_options *options, hotrow_server **server_p);

/* The address that shard i of this server (0 .. shards-1) listens on. Valid until stop. */
HOTROW_API const char *hotrow_server_endpoint(const hotrow_server *server, uint32_t i);

/* Stops the threads after the message in hand, closes the sockets, frees everything. Accepts NULL. */
HOTROW_API void hotrow_server_stop(hotrow_server *server);

#ifdef __cplusplus
}
#endif
#endif
