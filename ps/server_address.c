#include "server_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HOST_BYTES 64u
#define PORT_MAX 65535u

bool hr_address_is_ipv6(const char *address)
{
  return strncmp(address, "tcp://[", 7) == 0;
}

static bool is_loopback(const char *host)
{
  struct in_addr v4;
  struct in6_addr v6;
  if (host[0] != '[')
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
  char inner[HOST_BYTES];
  size_t size = strlen(host);
  if (size < 3 || size > sizeof inner || host[size - 1] != ']')
    return false;
  memcpy(inner, host + 1, size - 2);
  inner[size - 2] = 0;
  return inet_pton(AF_INET6, inner, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static hotrow_status parse_port(const char *bind, const char *text, uint32_t i, char *port, size_t port_size)
{
  if (strcmp(text, "*") == 0) {
    snprintf(port, port_size, "*");
    return HOTROW_OK;
  }
  size_t digits = strspn(text, "0123456789");
  unsigned long base = strtoul(text, NULL, 10);
  if (digits == 0 || digits > 5 || text[digits] || base == 0 || base > PORT_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "%s: port %s is neither 1 to %u nor *", bind, text, PORT_MAX);
  if (base + i > PORT_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "%s: shard %u would need port %lu, and ports end at %u", bind, i, base + i,
                   PORT_MAX);
  snprintf(port, port_size, "%lu", base + i);
  return HOTROW_OK;
}

static hotrow_status tcp_address(const char *bind, uint32_t i, char *address, size_t address_size)
{
  const char *begin = bind + strlen("tcp://"), *colon = strrchr(begin, ':');
  char host[HOST_BYTES], port[8];
  if (!colon || colon == begin || (size_t)(colon - begin) >= sizeof host)
    return hr_fail(HOTROW_ERR_INVALID, "%s: not tcp://address:port", bind);
  memcpy(host, begin, (size_t)(colon - begin));
  host[colon - begin] = 0;
  if (strcmp(host, "localhost") == 0)
    strcpy(host, "127.0.0.1");
  if (!is_loopback(host))
    return hr_fail(HOTROW_ERR_INVALID,
                   "%s is not a loopback address: without keys (not in this version) Hotrow listens on loopback only",
                   bind);
  HOTROW_TRY(parse_port(bind, colon + 1, i, port, sizeof port));
  snprintf(address, address_size, "tcp://%s:%s", host, port);
  return HOTROW_OK;
}

/* ZeroMQ removes a socket file that is in its way, even one that a living server listens on. */
static bool somebody_listens(const struct sockaddr_un *name)
{
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool is_answered = fd >= 0 && connect(fd, (const struct sockaddr *)name, sizeof *name) == 0;
  if (fd >= 0)
    close(fd);
  return is_answered;
}

static hotrow_status ipc_address(const char *bind, uint32_t i, char *address, size_t address_size)
{
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  const char *path = bind + strlen("ipc://");
  if (path[0] != '/')
    return hr_fail(HOTROW_ERR_INVALID, "%s: not ipc:///an/absolute/path", bind);
  int size = snprintf(name.sun_path, sizeof name.sun_path, "%s.%u", path, i);
  if (size < 0 || (size_t)size >= sizeof name.sun_path)
    return hr_fail(HOTROW_ERR_INVALID, "%s.%u: the path of a local socket has at most %zu bytes", bind, i,
                   sizeof name.sun_path - 1);
  if (somebody_listens(&name))
    return hr_fail(HOTROW_ERR_UNREACHABLE, "cannot listen on ipc://%s: somebody does already", name.sun_path);
  snprintf(address, address_size, "ipc://%s", name.sun_path);
  return HOTROW_OK;
}

hotrow_status hr_address_of_shard(const char *bind, uint32_t i, char *address, size_t address_size)
{
  if (strncmp(bind, "tcp://", 6) == 0)
    return tcp_address(bind, i, address, address_size);
  if (strncmp(bind, "ipc://", 6) == 0)
    return ipc_address(bind, i, address, address_size);
  return hr_fail(HOTROW_ERR_INVALID, "%s: an address begins with tcp:// or ipc://", bind);
}
