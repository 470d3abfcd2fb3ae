/* Tables, barrier, rendezvous, save, shard counters: the calls that are not on the path of a training step. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hr/clock.h>
#include <hr/memory.h>
#include <hr/options.h>

#include "client.h"

/* Asks every shard with the same body; the descriptions that come back must agree. */
static hotrow_status join_table(hotrow_client *client, hr_op op, const void *body, size_t body_size,
                                const hotrow_table_options *options, hotrow_table **table_p)
{
  uint64_t deadline = hr_client_deadline(client, 0);
  uint32_t ids[HOTROW_SHARDS_MAX];
  hr_table_desc desc = {0}, answer;
  for (uint32_t shard = 0; shard < client->shard_count; shard++) {
    HOTROW_TRY(hr_client_ask(client, shard, op, body, body_size, deadline, "opening a table", 0));
    if (client->core->answer_size != sizeof answer)
      return hr_fail(HOTROW_ERR_PROTOCOL, "shard %u describes table %s in %zu bytes", shard, options->name,
                     client->core->answer_size);
    memcpy(&answer, client->core->answer, sizeof answer);
    ids[shard] = answer.id;
    if (shard == 0)
      desc = answer;
    const char *difference = hr_table_difference(&desc, &answer);
    /* Somebody may be lowering it, shard by shard: what holds for all is the largest, or that one never announces. */
    if (answer.announce_step == 0 || (desc.announce_step > 0 && answer.announce_step > desc.announce_step))
      desc.announce_step = answer.announce_step;
    if (difference)
      return hr_fail(HOTROW_ERR_EXISTS, "table %s: shards 0 and %u differ in its %s", options->name, shard, difference);
  }
  HOTROW_TRY(hr_table_options_match(options, &desc, client->core->options.role == HR_ROLE_READER));
  return hr_core_add_table(client->core, &desc, ids, options, table_p);
}

hotrow_status hotrow_table_create(hotrow_client *client, const hotrow_table_options *options, hotrow_table **table_p)
{
  hotrow_table_options o;
  if (!client || !options || !table_p)
    return hr_fail(HOTROW_ERR_INVALID, "client, options or table_p is NULL");
  HOTROW_TRY(hr_options_copy(&o, sizeof o, options, options->struct_size, "hotrow_table_options"));
  HOTROW_TRY(hr_table_options_check(client, &o));
  if (client->core->options.role == HR_ROLE_READER)
    return hr_fail(HOTROW_ERR_INVALID, "table %s: a read-only client opens tables and creates none", o.name);
  hr_table_desc desc;
  HOTROW_TRY(hr_table_options_describe(&o, &desc));
  HOTROW_TRY(hr_table_options_match(&o, &desc, false)); /* before the shards have it */
  return join_table(client, HR_OP_TABLE_CREATE, &desc, sizeof desc, &o, table_p);
}

hotrow_status hotrow_table_open(hotrow_client *client, const hotrow_table_options *options, hotrow_table **table_p)
{
  hotrow_table_options o;
  if (!client || !options || !table_p)
    return hr_fail(HOTROW_ERR_INVALID, "client, options or table_p is NULL");
  HOTROW_TRY(hr_options_copy(&o, sizeof o, options, options->struct_size, "hotrow_table_options"));
  HOTROW_TRY(hr_table_options_check(client, &o));
  return join_table(client, HR_OP_TABLE_OPEN, o.name, strlen(o.name), &o, table_p);
}

uint32_t hotrow_table_dim(const hotrow_table *table)
{
  return table->desc.dim;
}

const char *hotrow_table_name(const hotrow_table *table)
{
  return table->desc.name;
}

void hr_client_pause(void)
{
  nanosleep(&(struct timespec){.tv_nsec = HR_ASK_AGAIN_NS}, NULL);
}

hotrow_status hotrow_barrier(hotrow_client *client, uint32_t timeout_ms)
{
  if (!client)
    return hr_fail(HOTROW_ERR_INVALID, "client is NULL");
  uint64_t deadline = hr_client_deadline(client, timeout_ms);
  hr_barrier barrier = {.number = client->barrier_number + 1, .world_size = client->world_size};
  for (;;) {
    hotrow_status status =
        hr_client_ask(client, 0, HR_OP_BARRIER, &barrier, sizeof barrier, deadline, "barrier", timeout_ms);
    if (status == HOTROW_OK) {
      client->barrier_number++;
      return HOTROW_OK;
    }
    if (status != HOTROW_ERR_BUSY)
      return status;
    if (hr_now_ns() >= deadline)
      return hr_fail(HOTROW_ERR_TIMED_OUT, "barrier %llu: not all %u workers came within %u ms",
                     (unsigned long long)barrier.number, client->world_size,
                     timeout_ms ? timeout_ms : client->timeout_ms);
    hr_client_pause();
  }
}

/* The name under which shard 0 keeps a job's blob. */
static hotrow_status blob_name(const hotrow_client *client, const char *name, char *full, size_t full_size)
{
  if (!name)
    return hr_fail(HOTROW_ERR_INVALID, "a blob needs a name");
  HOTROW_TRY(hr_wire_check_name(name, strlen(name)));
  int size = snprintf(full, full_size, "%016llx.%s", (unsigned long long)client->job, name);
  if (size < 0 || (size_t)size >= full_size)
    return hr_fail(HOTROW_ERR_LIMIT, "blob name %s: at most %zu characters", name, full_size - 18);
  return HOTROW_OK;
}

hotrow_status hotrow_blob_put(hotrow_client *client, const char *name, const void *bytes, size_t size,
                              uint32_t timeout_ms)
{
  if (!client || (size && !bytes))
    return hr_fail(HOTROW_ERR_INVALID, "client or bytes is NULL");
  uint8_t body[1 + HR_WIRE_NAME_BYTES_MAX + HOTROW_BLOB_BYTES_MAX]; /* size of the name, name, bytes */
  char *full = (char *)body + 1;
  HOTROW_TRY(blob_name(client, name, full, HR_WIRE_NAME_BYTES_MAX + 1));
  if (size > HOTROW_BLOB_BYTES_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "blob %s of %zu bytes, at most %u", name, size, HOTROW_BLOB_BYTES_MAX);
  size_t name_size = strlen(full);
  body[0] = (uint8_t)name_size;
  if (size)
    memcpy(body + 1 + name_size, bytes, size);
  return hr_client_ask(client, 0, HR_OP_BLOB_PUT, body, 1 + name_size + size, hr_client_deadline(client, timeout_ms),
                       "putting a blob", timeout_ms);
}

hotrow_status hotrow_blob_get(hotrow_client *client, const char *name, void *bytes, size_t capacity, size_t *size_p,
                              uint32_t timeout_ms)
{
  if (!client || !size_p || (capacity && !bytes))
    return hr_fail(HOTROW_ERR_INVALID, "client, bytes or size_p is NULL");
  char full[HR_WIRE_NAME_BYTES_MAX + 1];
  HOTROW_TRY(blob_name(client, name, full, sizeof full));
  uint64_t deadline = hr_client_deadline(client, timeout_ms);
  for (;;) {
    hotrow_status status =
        hr_client_ask(client, 0, HR_OP_BLOB_GET, full, strlen(full), deadline, "getting a blob", timeout_ms);
    if (status == HOTROW_OK)
      break;
    if (status != HOTROW_ERR_NOT_FOUND)
      return status;
    if (hr_now_ns() >= deadline)
      return hr_fail(HOTROW_ERR_TIMED_OUT, "nobody put blob %s within %u ms", name,
                     timeout_ms ? timeout_ms : client->timeout_ms);
    hr_client_pause();
  }
  if (client->core->answer_size > capacity)
    return hr_fail(HOTROW_ERR_LIMIT, "blob %s has %zu bytes, there is room for %zu", name, client->core->answer_size,
                   capacity);
  if (client->core->answer_size)
    memcpy(bytes, client->core->answer, client->core->answer_size);
  *size_p = client->core->answer_size;
  return HOTROW_OK;
}

hotrow_status hotrow_save(hotrow_client *client, const char *name, uint32_t timeout_ms)
{
  if (!client || !name)
    return hr_fail(HOTROW_ERR_INVALID, "client or name is NULL");
  HOTROW_TRY(hr_wire_check_name(name, strlen(name)));
  uint64_t deadline = hr_client_deadline(client, timeout_ms);
  hr_save save = {.token = hr_now_ns() ^ client->core->options.session.low};
  memcpy(save.name, name, strlen(name));
  for (uint32_t shard = 0; shard < client->shard_count; shard++)
    HOTROW_TRY(hr_client_ask(client, shard, HR_OP_SAVE, &save, sizeof save, deadline, "saving", timeout_ms));
  return HOTROW_OK;
}

hotrow_status hotrow_shard_stats(hotrow_client *client, uint32_t shard, uint32_t timeout_ms, char **json_p)
{
  if (!client || !json_p)
    return hr_fail(HOTROW_ERR_INVALID, "client or json_p is NULL");
  if (shard >= client->shard_count)
    return hr_fail(HOTROW_ERR_INVALID, "shard %u of %u", shard, client->shard_count);
  HOTROW_TRY(hr_client_ask(client, shard, HR_OP_STATS, NULL, 0, hr_client_deadline(client, timeout_ms),
                           "asking for counters", timeout_ms));
  char *json = malloc(client->core->answer_size + 1);
  if (!json)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for counters");
  memcpy(json, client->core->answer, client->core->answer_size);
  json[client->core->answer_size] = 0;
  *json_p = json;
  return HOTROW_OK;
}
