#include "comm_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/memory.h>
#include <hr/status.h>

#define FRAME_ALIGNMENT 8u

/* A message and the memory that it lies in, used again and again. */
typedef struct message {
  uint32_t shard;
  hotrow_frame *frames; /* owned */
  size_t frame_count, frame_capacity;
  char *bytes; /* owned */
  size_t byte_capacity;
  uint64_t frame_bytes; /* of the frames, without what aligns them */
} message;

typedef struct link_client {
  comm_cluster *cluster;
  hotrow_transport transport;
  message *inbox; /* owned: [inbox_first, inbox_count) are waiting */
  size_t inbox_first, inbox_count, inbox_capacity;
} link_client;

typedef struct link_shard {
  comm_cluster *cluster;
  uint32_t index;
  hotrow_shard *shard; /* owned */
} link_shard;

struct comm_cluster {
  link_shard *shards; /* owned */
  uint32_t shard_count;
  link_client *clients; /* owned */
  uint32_t client_count;
  char *shard_names; /* owned */
  message outgoing;
  uint64_t bytes;
};

static void *grow(void *memory, size_t count, size_t element_size)
{
  void *more = realloc(memory, count * element_size);
  HOTROW_ASSERT(more != NULL); /* a benchmark without memory has nothing to say */
  return more;
}

/* Copies frames, each to an aligned place. */
static void message_set(message *m, const hotrow_frame *frames, size_t count)
{
  size_t size = 0;
  m->frame_bytes = 0;
  for (size_t i = 0; i < count; i++) {
    size += (frames[i].size + FRAME_ALIGNMENT - 1) / FRAME_ALIGNMENT * FRAME_ALIGNMENT;
    m->frame_bytes += frames[i].size;
  }
  if (count > m->frame_capacity)
    m->frames = grow(m->frames, m->frame_capacity = count, sizeof *m->frames);
  if (size > m->byte_capacity)
    m->bytes = grow(m->bytes, m->byte_capacity = size + size / 2, 1);
  m->frame_count = count;
  char *at = m->bytes;
  for (size_t i = 0; i < count; i++) {
    m->frames[i] = (hotrow_frame){at, frames[i].size};
    if (frames[i].size > 0)
      memcpy(at, frames[i].data, frames[i].size);
    at += (frames[i].size + FRAME_ALIGNMENT - 1) / FRAME_ALIGNMENT * FRAME_ALIGNMENT;
  }
}

static void message_fini(message *m)
{
  free(m->frames);
  free(m->bytes);
}

/* A shard answers a client. */
static void take_reply(void *context, uint64_t client_number, const hotrow_frame *frames, size_t frame_count)
{
  const link_shard *from = context;
  HOTROW_ASSERT(client_number < from->cluster->client_count);
  link_client *client = &from->cluster->clients[client_number];
  if (client->inbox_count == client->inbox_capacity) {
    const size_t capacity = 2 * client->inbox_capacity + 4;
    client->inbox = grow(client->inbox, capacity, sizeof *client->inbox);
    memset(client->inbox + client->inbox_capacity, 0, (capacity - client->inbox_capacity) * sizeof *client->inbox);
    client->inbox_capacity = capacity;
  }
  message *reply = &client->inbox[client->inbox_count++];
  reply->shard = from->index;
  message_set(reply, frames, frame_count);
}

static void client_send(void *context, uint32_t shard, const hotrow_frame *frames, size_t frame_count)
{
  link_client *client = context;
  comm_cluster *cluster = client->cluster;
  HOTROW_ASSERT(shard < cluster->shard_count);
  message_set(&cluster->outgoing, frames, frame_count);
  cluster->bytes += cluster->outgoing.frame_bytes;
  hotrow_shard_receive(cluster->shards[shard].shard, (uint64_t)(client - cluster->clients), cluster->outgoing.frames,
                       frame_count, hr_now_ns());
}

static bool client_receive(void *context, uint64_t timeout_ns, uint32_t *shard_p, const hotrow_frame **frames_p,
                           size_t *frame_count_p)
{
  link_client *client = context;
  (void)timeout_ns; /* nobody else runs: what is not here does not come by waiting */
  if (client->inbox_first == client->inbox_count) {
    client->inbox_first = client->inbox_count = 0;
    return false;
  }
  const message *reply = &client->inbox[client->inbox_first++];
  client->cluster->bytes += reply->frame_bytes;
  *shard_p = reply->shard;
  *frames_p = reply->frames;
  *frame_count_p = reply->frame_count;
  return true;
}

static hotrow_status open_shards(comm_cluster *cluster)
{
  for (uint32_t s = 0; s < cluster->shard_count; s++) {
    link_shard *shard = &cluster->shards[s];
    *shard = (link_shard){.cluster = cluster, .index = s};
    hotrow_shard_options options = HOTROW_SHARD_OPTIONS_INIT;
    options.shard_index = s;
    options.shard_count = cluster->shard_count;
    options.reply = take_reply;
    options.context = shard;
    HOTROW_TRY(hotrow_shard_open(&options, &shard->shard));
  }
  return HOTROW_OK;
}

hotrow_status comm_cluster_open(uint32_t shard_count, uint32_t client_count, comm_cluster **cluster_p)
{
  comm_cluster *cluster;
  const size_t name_bytes = sizeof "inproc://shard-4294967295,";
  HOTROW_TRY(hr_alloc(1, sizeof *cluster, "cluster", (void **)&cluster));
  cluster->shard_count = shard_count;
  cluster->client_count = client_count;
  hotrow_status status = hr_alloc(shard_count, sizeof *cluster->shards, "shards", (void **)&cluster->shards);
  if (status == HOTROW_OK)
    status = hr_alloc(client_count, sizeof *cluster->clients, "clients", (void **)&cluster->clients);
  if (status == HOTROW_OK)
    status = hr_alloc(shard_count, name_bytes, "names of shards", (void **)&cluster->shard_names);
  if (status == HOTROW_OK)
    status = open_shards(cluster);
  if (status != HOTROW_OK) {
    comm_cluster_close(cluster);
    return status;
  }
  for (uint32_t c = 0; c < client_count; c++)
    cluster->clients[c] =
        (link_client){.cluster = cluster,
                      .transport = {.context = &cluster->clients[c], .send = client_send, .receive = client_receive}};
  for (uint32_t s = 0, size = 0; s < shard_count; s++)
    size += (uint32_t)snprintf(cluster->shard_names + size, name_bytes, "%sinproc://shard-%u", s > 0 ? "," : "", s);
  *cluster_p = cluster;
  return HOTROW_OK;
}

void comm_cluster_close(comm_cluster *cluster)
{
  if (!cluster)
    return;
  for (uint32_t s = 0; cluster->shards && s < cluster->shard_count; s++)
    hotrow_shard_close(cluster->shards[s].shard);
  for (uint32_t c = 0; cluster->clients && c < cluster->client_count; c++) {
    for (size_t m = 0; m < cluster->clients[c].inbox_capacity; m++)
      message_fini(&cluster->clients[c].inbox[m]);
    free(cluster->clients[c].inbox);
  }
  message_fini(&cluster->outgoing);
  free(cluster->shards);
  free(cluster->clients);
  free(cluster->shard_names);
  free(cluster);
}

const hotrow_transport *comm_cluster_transport(comm_cluster *cluster, uint32_t client)
{
  return &cluster->clients[client].transport;
}

const char *comm_cluster_shards(const comm_cluster *cluster)
{
  return cluster->shard_names;
}

uint64_t comm_cluster_bytes(const comm_cluster *cluster)
{
  return cluster->bytes;
}
