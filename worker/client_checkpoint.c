/* Checkpoints: all shards copy, one after the other step they are made safe, the first one gives them their name. */
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/clock.h>
#include <hr/log.h>
#include <hr/memory.h>
#include <hr/options.h>

#include "client.h"

HR_NO_TAIL_PADDING(hotrow_checkpoint_options, reserved);
_Static_assert(HOTROW_CHECKPOINT_BLOB_MAX == HR_WIRE_CHECKPOINT_BLOB_MAX, "what the wire takes");
_Static_assert(HOTROW_CHECKPOINT_KEEP_MAX == HR_WIRE_CHECKPOINT_KEEP_MAX, "what the wire takes");

#define POLL_NS 20000000u   /* between two questions how far the shards are */
#define CHUNKS_PER_POLL 4u  /* of the blob */
#define DROP_TIMEOUT_MS 500 /* for telling shards that it is not to be */

void hr_client_checkpoint_forget(hotrow_client *client)
{
  free(client->checkpoint.blob);
  client->checkpoint = (hr_client_checkpoint){0};
}

/* ---- begin ---- */

static bool is_alone(const hotrow_checkpoint_options *o)
{
  return o->flags & (HOTROW_CHECKPOINT_ALONE | HOTROW_CHECKPOINT_LIVE);
}

static bool is_leader(const hotrow_client *client, const hotrow_checkpoint_options *o)
{
  return client->rank == 0 || is_alone(o);
}

static hotrow_status check_options(const hotrow_client *client, const hotrow_checkpoint_options *o)
{
  if (client->core->options.role == HR_ROLE_READER)
    return hr_fail(HOTROW_ERR_INVALID, "a read-only client makes no checkpoints");
  if (o->flags & ~(HOTROW_CHECKPOINT_ALONE | HOTROW_CHECKPOINT_LIVE))
    return hr_fail(HOTROW_ERR_INVALID, "checkpoint: flags 0x%x, only 0x%x are known", o->flags,
                   HOTROW_CHECKPOINT_ALONE | HOTROW_CHECKPOINT_LIVE);
  if (o->reserved != 0)
    return hr_fail(HOTROW_ERR_INVALID, "checkpoint: reserved is %u, must be 0", o->reserved);
  if (!is_leader(client, o))
    return HOTROW_OK;
  if (!o->name)
    return hr_fail(HOTROW_ERR_INVALID, "a checkpoint needs a name");
  HOTROW_TRY(hr_wire_check_name(o->name, strlen(o->name)));
  if (o->blob_size > 0 && !o->blob)
    return hr_fail(HOTROW_ERR_INVALID, "checkpoint %s: blob is NULL, and blob_size %zu", o->name, o->blob_size);
  if (o->blob_size > HOTROW_CHECKPOINT_BLOB_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "checkpoint %s: a blob of %zu bytes, at most %u", o->name, o->blob_size,
                   HOTROW_CHECKPOINT_BLOB_MAX);
  if (o->keep > HOTROW_CHECKPOINT_KEEP_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "checkpoint %s: keep %u, at most %u", o->name, o->keep,
                   HOTROW_CHECKPOINT_KEEP_MAX);
  return HOTROW_OK;
}

static hotrow_status describe(hotrow_client *client, const hotrow_checkpoint_options *o)
{
  hr_client_checkpoint *c = &client->checkpoint;
  *c = (hr_client_checkpoint){.what = {.token = (hr_now_ns() ^ client->core->options.session.low) | 1,
                                       .step = o->step,
                                       .blob_size = o->blob_size,
                                       .rank_count = o->flags & HOTROW_CHECKPOINT_LIVE ? 0 : client->world_size,
                                       .keep = o->keep}};
  memcpy(c->what.name, o->name, strlen(o->name));
  if (o->blob_size == 0)
    return HOTROW_OK;
  void *blob;
  HOTROW_TRY(hr_alloc(o->blob_size, 1, "a checkpoint's blob", &blob));
  memcpy(blob, o->blob, o->blob_size);
  c->blob = blob;
  return HOTROW_OK;
}

static hr_checkpoint *order(hotrow_client *client, hr_checkpoint_action action)
{
  hr_checkpoint *what = &client->checkpoint.what;
  what->action = action;
  what->blob_offset = 0;
  return what;
}

/* A shard that still writes the checkpoint before this one is asked again. */
static hotrow_status copy_all(hotrow_client *client, uint64_t deadline, uint32_t timeout_ms)
{
  for (;;) {
    hotrow_status status = hr_client_ask_all(client, HR_OP_CHECKPOINT, order(client, HR_CHECKPOINT_COPY),
                                             sizeof(hr_checkpoint), deadline, "a checkpoint's copy", timeout_ms);
    if (status != HOTROW_ERR_BUSY || hr_now_ns() >= deadline)
      return status;
    hr_client_pause();
  }
}

/* Whatever comes of it: what a shard does not hear of it removes when the next one begins. */
static hotrow_status give_up(hotrow_client *client, hotrow_status status)
{
  char sentence[HR_ERROR_TEXT_BYTES];
  const char *text = hotrow_last_error();
  size_t size = strnlen(text, sizeof sentence - 1);
  memcpy(sentence, text, size);
  if (status != HOTROW_ERR_FENCED && status != HOTROW_ERR_RESET && status != HOTROW_ERR_PROTOCOL)
    hr_client_ask_all(client, HR_OP_CHECKPOINT, order(client, HR_CHECKPOINT_DROP), sizeof(hr_checkpoint),
                      hr_client_deadline(client, DROP_TIMEOUT_MS), "dropping a checkpoint", DROP_TIMEOUT_MS);
  hr_client_checkpoint_forget(client);
  return hr_fail_text(status, sentence, size);
}

static hotrow_status lead(hotrow_client *client, const hotrow_checkpoint_options *o, uint64_t deadline)
{
  if (client->checkpoint.is_open)
    give_up(client, HOTROW_ERR_BUSY);
  uint64_t begin_ns = hr_now_ns();
  hotrow_status status = describe(client, o);
  if (status == HOTROW_OK)
    status = copy_all(client, deadline, o->timeout_ms);
  if (status != HOTROW_OK)
    return give_up(client, status);
  hr_log(HOTROW_LOG_DEBUG, "checkpoint %s copied in %llu ms", o->name,
         (unsigned long long)((hr_now_ns() - begin_ns) / 1000000u));
  client->checkpoint.is_open = true;
  return HOTROW_OK;
}

static uint32_t left_ms(uint64_t deadline)
{
  uint64_t now = hr_now_ns();
  return now < deadline ? (uint32_t)((deadline - now) / 1000000u) + 1 : 1;
}

hotrow_status hotrow_checkpoint_begin(hotrow_client *client, const hotrow_checkpoint_options *options)
{
  hotrow_checkpoint_options o;
  if (!client || !options)
    return hr_fail(HOTROW_ERR_INVALID, "client or options is NULL");
  HOTROW_TRY(hr_options_copy(&o, sizeof o, options, options->struct_size, "hotrow_checkpoint_options"));
  HOTROW_TRY(check_options(client, &o));
  uint64_t deadline = hr_client_deadline(client, o.timeout_ms);
  if (is_alone(&o))
    return lead(client, &o, deadline);
  HOTROW_TRY(hotrow_flush(client, o.timeout_ms));
  HOTROW_TRY(hotrow_barrier(client, left_ms(deadline)));
  hotrow_status status = is_leader(client, &o) ? lead(client, &o, deadline) : HOTROW_OK;
  if (status == HOTROW_OK) {
    status = hotrow_barrier(client, left_ms(deadline));
    return status == HOTROW_OK || !client->checkpoint.is_open ? status : give_up(client, status);
  }
  char sentence[HR_ERROR_TEXT_BYTES]; /* the others wait, whatever came of it */
  size_t size = strnlen(hotrow_last_error(), sizeof sentence);
  memcpy(sentence, hotrow_last_error(), size);
  hotrow_barrier(client, left_ms(deadline));
  return hr_fail_text(status, sentence, size);
}

/* ---- until it has its name ---- */

static hotrow_status send_blob(hotrow_client *client, uint64_t deadline, uint32_t timeout_ms)
{
  hr_client_checkpoint *c = &client->checkpoint;
  uint64_t left = c->what.blob_size - c->blob_sent;
  size_t size = left < HR_WIRE_CHUNK_BYTES_MAX ? (size_t)left : HR_WIRE_CHUNK_BYTES_MAX;
  uint8_t *body = malloc(sizeof c->what + size);
  if (!body)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for %zu bytes of a blob", size);
  order(client, HR_CHECKPOINT_BLOB)->blob_offset = c->blob_sent;
  memcpy(body, &c->what, sizeof c->what);
  memcpy(body + sizeof c->what, c->blob + c->blob_sent, size);
  hotrow_status status = hr_client_ask(client, 0, HR_OP_CHECKPOINT, body, sizeof c->what + size, deadline,
                                       "sending a checkpoint's blob", timeout_ms);
  free(body);
  HOTROW_TRY(status);
  c->blob_sent += size;
  if (c->blob_sent == c->what.blob_size) {
    free(c->blob);
    c->blob = NULL;
  }
  return HOTROW_OK;
}

/* One thing that is to be done next. BUSY: the shards are not so far. */
static hotrow_status advance(hotrow_client *client, uint64_t deadline, uint32_t timeout_ms)
{
  hr_client_checkpoint *c = &client->checkpoint;
  if (!c->is_settled) {
    HOTROW_TRY(hr_client_ask_all(client, HR_OP_CHECKPOINT, order(client, HR_CHECKPOINT_SETTLE), sizeof c->what,
                                 deadline, "writing a checkpoint", timeout_ms));
    c->is_settled = true;
    return HOTROW_OK;
  }
  if (c->blob)
    return send_blob(client, deadline, timeout_ms);
  HOTROW_TRY(hr_client_ask(client, 0, HR_OP_CHECKPOINT, order(client, HR_CHECKPOINT_PUBLISH), sizeof c->what, deadline,
                           "publishing a checkpoint", timeout_ms));
  hr_log(HOTROW_LOG_DEBUG, "checkpoint %s published", c->what.name);
  hr_client_checkpoint_forget(client);
  return HOTROW_OK;
}

hotrow_status hotrow_checkpoint_poll(hotrow_client *client, bool *is_published_p)
{
  if (!client || !is_published_p)
    return hr_fail(HOTROW_ERR_INVALID, "client or is_published_p is NULL");
  hr_client_checkpoint *c = &client->checkpoint;
  uint64_t now = hr_now_ns();
  if (c->is_open && now - c->asked_ns >= POLL_NS) {
    uint64_t deadline = hr_client_deadline(client, 0);
    c->asked_ns = now;
    for (uint32_t i = 0; c->is_open && i < CHUNKS_PER_POLL; i++) {
      hotrow_status status = advance(client, deadline, 0);
      if (status == HOTROW_ERR_BUSY)
        break;
      if (status != HOTROW_OK)
        return give_up(client, status);
    }
  }
  *is_published_p = !c->is_open;
  return HOTROW_OK;
}

hotrow_status hotrow_checkpoint_finish(hotrow_client *client, uint32_t timeout_ms)
{
  if (!client)
    return hr_fail(HOTROW_ERR_INVALID, "client is NULL");
  uint64_t deadline = hr_client_deadline(client, timeout_ms);
  while (client->checkpoint.is_open) {
    hotrow_status status = advance(client, deadline, timeout_ms);
    if (status == HOTROW_ERR_BUSY) {
      if (hr_now_ns() >= deadline)
        return hr_fail(HOTROW_ERR_TIMED_OUT, "checkpoint %s is not on disk within %u ms", client->checkpoint.what.name,
                       timeout_ms ? timeout_ms : client->timeout_ms);
      hr_client_pause();
    } else if (status == HOTROW_ERR_TIMED_OUT) {
      return status;
    } else if (status != HOTROW_OK) {
      return give_up(client, status);
    }
  }
  return HOTROW_OK;
}

hotrow_status hotrow_checkpoint(hotrow_client *client, const hotrow_checkpoint_options *options)
{
  HOTROW_TRY(hotrow_checkpoint_begin(client, options));
  return hotrow_checkpoint_finish(client, options->timeout_ms);
}

/* ---- what the shards were started from ---- */

static hotrow_status ask_restored(hotrow_client *client, uint32_t shard, uint64_t offset, uint64_t deadline,
                                  uint32_t timeout_ms, hr_restored *restored_p)
{
  hr_restored_request request = {offset};
  HOTROW_TRY(hr_client_ask(client, shard, HR_OP_RESTORED, &request, sizeof request, deadline,
                           "asking for the checkpoint that shards were started from", timeout_ms));
  memcpy(restored_p, client->core->answer, sizeof *restored_p); /* its size was checked by decode */
  return HOTROW_OK;
}

/* All shards must be of one checkpoint. */
static hotrow_status agree(hotrow_client *client, uint64_t deadline, uint32_t timeout_ms, hr_restored *first_p)
{
  for (uint32_t shard = 0; shard < client->shard_count; shard++) {
    hr_restored restored;
    HOTROW_TRY(ask_restored(client, shard, 0, deadline, timeout_ms, &restored));
    if (shard == 0)
      *first_p = restored;
    else if (memcmp(first_p, &restored, sizeof restored) != 0)
      return hr_fail(HOTROW_ERR_INVALID, "shard %u was started from checkpoint %016llx and shard 0 from %016llx", shard,
                     (unsigned long long)restored.token, (unsigned long long)first_p->token);
  }
  return HOTROW_OK;
}

static hotrow_status fetch_blob(hotrow_client *client, const hr_restored *first, uint64_t deadline, uint32_t timeout_ms,
                                uint8_t *blob)
{
  for (uint64_t done = 0; done < first->blob_size;) {
    hr_restored restored;
    HOTROW_TRY(ask_restored(client, 0, done, deadline, timeout_ms, &restored));
    size_t size = client->core->answer_size - sizeof restored;
    if (memcmp(first, &restored, sizeof restored) != 0 || size == 0 || size > first->blob_size - done)
      return hr_fail(HOTROW_ERR_PROTOCOL, "shard 0 answers with %zu bytes at %llu of a blob of %llu", size,
                     (unsigned long long)done, (unsigned long long)first->blob_size);
    memcpy(blob + done, client->core->answer + sizeof restored, size);
    done += size;
  }
  return HOTROW_OK;
}

hotrow_status hotrow_checkpoint_restored(hotrow_client *client, void **blob_p, size_t *blob_size_p, uint64_t *step_p,
                                         uint32_t timeout_ms)
{
  if (!client || !blob_p || !blob_size_p || !step_p)
    return hr_fail(HOTROW_ERR_INVALID, "client, blob_p, blob_size_p or step_p is NULL");
  uint64_t deadline = hr_client_deadline(client, timeout_ms);
  hr_restored first = {0};
  HOTROW_TRY(agree(client, deadline, timeout_ms, &first));
  void *blob = NULL;
  if (first.blob_size > 0) {
    HOTROW_TRY(hr_alloc((size_t)first.blob_size, 1, "a checkpoint's blob", &blob));
    hotrow_status status = fetch_blob(client, &first, deadline, timeout_ms, blob);
    if (status != HOTROW_OK) {
      free(blob);
      return status;
    }
  }
  *blob_p = blob;
  *blob_size_p = (size_t)first.blob_size;
  *step_p = first.step;
  return HOTROW_OK;
}
