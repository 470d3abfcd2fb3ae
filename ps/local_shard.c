/* A shard behind function calls instead of sockets. */
#include <hotrow/server.h>

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <hr/options.h>
#include <hr/route.h>

#include "shard.h"

HR_NO_TAIL_PADDING(hotrow_shard_options, reserved);

struct hotrow_shard {
  hr_shard *shard; /* owned */
  hotrow_shard_options options;
};

static void pass_reply(void *context, const hr_route_id *to, const hr_frame *frames, size_t frame_count)
{
  const hotrow_shard *local = context;
  uint64_t client;
  memcpy(&client, to->bytes, sizeof client);
  local->options.reply(local->options.context, client, frames, frame_count);
}

static hotrow_status check_options(hotrow_shard_options *o)
{
  o->shard_count = o->shard_count ? o->shard_count : 1;
  if (!o->reply)
    return hr_fail(HOTROW_ERR_INVALID, "a shard needs a function that takes its replies");
  if (o->shard_index >= o->shard_count || o->shard_count > HR_SHARD_COUNT_MAX)
    return hr_fail(HOTROW_ERR_INVALID, "shard %u of %u: there are at most %u, counted from 0", o->shard_index,
                   o->shard_count, HR_SHARD_COUNT_MAX);
  if (o->reserved != 0)
    return hr_fail(HOTROW_ERR_INVALID, "reserved is %u, must be 0", o->reserved);
  while (o->epoch == 0)
    if (getrandom(&o->epoch, sizeof o->epoch, 0) != sizeof o->epoch)
      o->epoch = 0;
  return HOTROW_OK;
}

hotrow_status hotrow_shard_open(const hotrow_shard_options *options, hotrow_shard **shard_p)
{
  hotrow_shard_options o;
  if (!options || !shard_p)
    return hr_fail(HOTROW_ERR_INVALID, "options or shard_p is NULL");
  HOTROW_TRY(hr_options_copy(&o, sizeof o, options, options->struct_size, "hotrow_shard_options"));
  HOTROW_TRY(check_options(&o));
  hotrow_shard *local = calloc(1, sizeof *local);
  if (!local)
    return hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for a shard");
  local->options = o;
  hr_shard_options own = {.shard_index = o.shard_index,
                          .shard_count = o.shard_count,
                          .epoch = o.epoch,
                          .row_count_max = o.row_count_max,
                          .transport = {.send = pass_reply, .context = local},
                          .announce_log_count = o.announce_log_count};
  hotrow_status status = hotrow_kernels_get(HOTROW_CPU, &own.kernels);
  if (status == HOTROW_OK)
    status = hr_shard_create(&own, &local->shard);
  if (status != HOTROW_OK) {
    free(local);
    return status;
  }
  *shard_p = local;
  return HOTROW_OK;
}

static bool is_receivable(const hotrow_frame *frames, size_t frame_count)
{
  bool is_aligned = true;
  for (size_t i = 0; i < frame_count && i < HR_WIRE_FRAMES_MAX; i++)
    is_aligned = is_aligned && (frames[i].size == 0 || (uintptr_t)frames[i].data % sizeof(uint64_t) == 0);
  return is_aligned && frame_count <= HR_WIRE_FRAMES_MAX;
}

void hotrow_shard_receive(hotrow_shard *local, uint64_t client, const hotrow_frame *frames, size_t frame_count,
                          uint64_t now_ns)
{
  hr_route_id from = {.size = sizeof client};
  memcpy(from.bytes, &client, sizeof client);
  if (is_receivable(frames, frame_count))
    hr_shard_receive(local->shard, &from, frames, frame_count, now_ns);
  else
    hr_shard_count_refused(local->shard);
}

void hotrow_shard_close(hotrow_shard *local)
{
  if (!local)
    return;
  hr_shard_destroy(local->shard);
  free(local);
}
