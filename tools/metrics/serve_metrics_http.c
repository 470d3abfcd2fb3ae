/* The only file that knows libmicrohttpd. */
#include "serve_metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <microhttpd.h>

#define CONNECTIONS_MAX 16u
#define CONNECTION_TIMEOUT_S 10u
#define CONNECTION_BYTES ((size_t)32 << 10) /* of a request's head, and what is kept of its answer */
#define PORT_MAX 65535u

struct hr_metrics {
  struct MHD_Daemon *daemon; /* owned */
  char address[HR_METRICS_ADDRESS_BYTES];
  pthread_mutex_t lock; /* of what follows */
  const hotrow_server *server;
  uint32_t shards;
};

/* ---- answers ---- */

/* The counts of all shards; 0 while there is no server. */
static uint32_t take_counts(hr_metrics *m, hotrow_shard_counts counts[HOTROW_SERVER_SHARDS_MAX])
{
  pthread_mutex_lock(&m->lock);
  uint32_t shards = m->server ? m->shards : 0;
  for (uint32_t i = 0; i < shards; i++) {
    counts[i] = (hotrow_shard_counts)HOTROW_SHARD_COUNTS_INIT;
    hotrow_server_get_counts(m->server, i, &counts[i]);
  }
  pthread_mutex_unlock(&m->lock);
  return shards;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, const char *type, char *body,
                              size_t size, enum MHD_ResponseMemoryMode mode)
{
  struct MHD_Response *response = MHD_create_response_from_buffer(size, body, mode);
  if (!response) {
    if (mode == MHD_RESPMEM_MUST_FREE)
      free(body);
    return MHD_NO;
  }
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
  if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  enum MHD_Result result = MHD_queue_response(connection, code, response);
  MHD_destroy_response(response);
  return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned code, const char *text)
{
  return answer(connection, code, "text/plain; charset=utf-8", (char *)(uintptr_t)text, strlen(text),
                MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result answer_metrics(hr_metrics *m, struct MHD_Connection *connection)
{
  hotrow_shard_counts counts[HOTROW_SERVER_SHARDS_MAX];
  uint32_t shards = take_counts(m, counts);
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  if (!out)
    return MHD_NO;
  hr_metrics_print(out, counts, shards);
  if (fclose(out) != 0) {
    free(text);
    return MHD_NO;
  }
  return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text, size, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result answer_ready(hr_metrics *m, struct MHD_Connection *connection)
{
  hotrow_shard_counts counts[HOTROW_SERVER_SHARDS_MAX];
  uint32_t shards = take_counts(m, counts);
  char text[HR_METRICS_WHY_BYTES];
  if (shards == 0)
    return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "the shards are loading, or end\n");
  for (uint32_t i = 0; i < shards; i++)
    if (counts[i].is_degraded) {
      snprintf(text, sizeof text, "shard %u is degraded: nothing becomes durable\n", (unsigned)counts[i].shard);
      return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, text);
    }
  snprintf(text, sizeof text, "%u shards serve\n", shards);
  return answer_text(connection, MHD_HTTP_OK, text);
}

/* On the daemon's thread. The first call for a request has its head only; what a client sends behind it is not read. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **request)
{
  static int seen;
  (void)version;
  (void)upload;
  if (!*request) {
    *request = &seen;
    return MHD_YES;
  }
  *upload_size = 0;
  if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
    return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
  if (strcmp(url, "/metrics") == 0)
    return answer_metrics(context, connection);
  if (strcmp(url, "/healthz") == 0)
    return answer_text(connection, MHD_HTTP_OK, "ok\n");
  if (strcmp(url, "/readyz") == 0)
    return answer_ready(context, connection);
  return answer_text(connection, MHD_HTTP_NOT_FOUND, "there are /metrics, /healthz and /readyz\n");
}

/* ---- address ---- */

typedef union socket_address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
} socket_address;

/* ADDRESS:PORT with an address of loopback. */
static hr_metrics_result parse(const char *text, socket_address *a, char *why)
{
  const char *colon = strrchr(text, ':');
  char host[HR_METRICS_ADDRESS_BYTES];
  if (!colon || colon == text || (size_t)(colon - text) >= sizeof host) {
    snprintf(why, HR_METRICS_WHY_BYTES, "%s: not ADDRESS:PORT, as in 127.0.0.1:9117", text);
    return HR_METRICS_BAD_ADDRESS;
  }
  memcpy(host, text, (size_t)(colon - text));
  host[colon - text] = 0;
  unsigned long port = strtoul(colon + 1, NULL, 10);
  bool is_any = strcmp(colon + 1, "*") == 0;
  if (!is_any && (strspn(colon + 1, "0123456789") != strlen(colon + 1) || port == 0 || port > PORT_MAX)) {
    snprintf(why, HR_METRICS_WHY_BYTES, "%s: port %s is neither 1 to %u nor *", text, colon + 1, PORT_MAX);
    return HR_METRICS_BAD_ADDRESS;
  }
  uint16_t port_bytes = htons(is_any ? 0 : (uint16_t)port);
  *a = (socket_address){0};
  if (strcmp(host, "localhost") == 0)
    strcpy(host, "127.0.0.1");
  if (strcmp(host, "[::1]") == 0) {
    a->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port_bytes, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    return HR_METRICS_OK;
  }
  a->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port_bytes};
  if (inet_pton(AF_INET, host, &a->v4.sin_addr) == 1 && ntohl(a->v4.sin_addr.s_addr) >> 24 == 127)
    return HR_METRICS_OK;
  snprintf(why, HR_METRICS_WHY_BYTES, "%s is not a loopback address: metrics are told on loopback only", text);
  return HR_METRICS_BAD_ADDRESS;
}

static int start(hr_metrics *m, const socket_address *a)
{
  bool is_v6 = a->any.sa_family == AF_INET6;
  sigset_t all, before; /* the program's signals are for its own threads */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  errno = 0;
  m->daemon = MHD_start_daemon(MHD_USE_AUTO_INTERNAL_THREAD | (is_v6 ? MHD_USE_IPv6 : 0u), 0, NULL, NULL, handle, m,
                               MHD_OPTION_SOCK_ADDR, &a->any, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
                               MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                               CONNECTION_BYTES, MHD_OPTION_END);
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return m->daemon ? 0 : error ? error : EADDRINUSE;
}

static void name_address(hr_metrics *m, const socket_address *a)
{
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_BIND_PORT);
  char host[INET6_ADDRSTRLEN] = "";
  bool is_v6 = a->any.sa_family == AF_INET6;
  if (is_v6)
    inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
  else
    inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof host);
  snprintf(m->address, sizeof m->address, is_v6 ? "[%s]:%u" : "%s:%u", host, info ? (unsigned)info->port : 0);
}

hr_metrics_result hr_metrics_open(const char *address, hr_metrics **metrics_p, char why[HR_METRICS_WHY_BYTES])
{
  socket_address a;
  hr_metrics_result result = parse(address, &a, why);
  if (result != HR_METRICS_OK)
    return result;
  hr_metrics *m = calloc(1, sizeof *m);
  if (!m) {
    snprintf(why, HR_METRICS_WHY_BYTES, "no memory for metrics");
    return HR_METRICS_NO_MEMORY;
  }
  pthread_mutex_init(&m->lock, NULL);
  int error = start(m, &a);
  if (error) {
    snprintf(why, HR_METRICS_WHY_BYTES, "cannot listen on %s: %s", address, strerror(error));
    hr_metrics_close(m);
    return HR_METRICS_UNREACHABLE;
  }
  name_address(m, &a);
  *metrics_p = m;
  return HR_METRICS_OK;
}

void hr_metrics_watch(hr_metrics *m, const hotrow_server *server, uint32_t shards)
{
  pthread_mutex_lock(&m->lock);
  m->server = server;
  m->shards = shards;
  pthread_mutex_unlock(&m->lock);
}

const char *hr_metrics_address(const hr_metrics *m)
{
  return m->address;
}

void hr_metrics_close(hr_metrics *m)
{
  if (!m)
    return;
  if (m->daemon)
    MHD_stop_daemon(m->daemon);
  pthread_mutex_destroy(&m->lock);
  free(m);
}
