/* Where a server may listen: loopback and local sockets only, one address per shard. */
#ifndef HR_SERVER_ADDRESS_H
#define HR_SERVER_ADDRESS_H

#include <hr/status.h>

#define HR_ENDPOINT_BYTES 256u

/* The address of shard i of a server with this `bind`: "tcp://127.0.0.1:7117" gives port 7117+i, "tcp://127.0.0.1:*"
 * the same for all (ZeroMQ chooses), "ipc:///dir/name" gives name.i. HOTROW_ERR_INVALID (not an address, not loopback),
 * HOTROW_ERR_UNREACHABLE (an ipc socket somebody listens on) */
hotrow_status hr_address_of_shard(const char *bind, uint32_t i, char *address, size_t address_size);

bool hr_address_is_ipv6(const char *address);

#endif
