/* Shards and clients of one process, one thread: a message that is sent is served before the call returns, and its
 * reply waits in the client's inbox. Counts the bytes of all frames as encoded: requests when they are
 * sent, replies when the client takes them. */
#ifndef HR_COMM_LINK_H
#define HR_COMM_LINK_H

#include <hotrow/hotrow.h>
#include <hotrow/server.h>
#include <hotrow/transport.h>

typedef struct comm_cluster comm_cluster;

hotrow_status comm_cluster_open(uint32_t shard_count, uint32_t client_count, comm_cluster **cluster_p);
/* After all clients are closed. Accepts NULL. */
void comm_cluster_close(comm_cluster *cluster);

/* What client number `client` is opened with; valid until the cluster is closed. */
const hotrow_transport *comm_cluster_transport(comm_cluster *cluster, uint32_t client);
/* What it names as its shards: only their number counts. */
const char *comm_cluster_shards(const comm_cluster *cluster);
uint64_t comm_cluster_bytes(const comm_cluster *cluster);

#endif
