#include "shard_save.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "shard_checkpoint.h"
#include "shard_cut.h"

typedef enum phase {
  PHASE_NONE,
  PHASE_AWAITING, /* a cut from before is under way, and its own is not made yet */
  PHASE_CUTTING,  /* its own cut is under way */
  PHASE_WRITING,  /* until is_idle: whatever runs aside has what follows here */
  PHASE_WRITTEN
} phase;

struct hr_shard_save {
  phase phase;
  hr_save_part part;
  const hr_storage *storage; /* borrowed */
  /* Written aside, read here once is_idle is true. */
  atomic_bool is_idle;
  hotrow_status status;
  char sentence[HR_ERROR_TEXT_BYTES];
};

/* ---- aside ---- */

static void end_task(hr_shard_save *s, hotrow_status status)
{
  s->status = status;
  if (status != HOTROW_OK)
    snprintf(s->sentence, sizeof s->sentence, "%s", hotrow_last_error());
  atomic_store_explicit(&s->is_idle, true, memory_order_release);
}

static void write_it(void *context)
{
  hr_shard_save *s = context;
  end_task(s, hr_save_write_stored(&s->part, s->storage));
}

/* ---- the shard's thread ---- */

bool hr_save_is_under_way(const hr_shard *shard)
{
  const hr_shard_save *s = shard->save;
  if (!s || s->phase == PHASE_NONE || s->phase == PHASE_WRITTEN)
    return false;
  return s->phase != PHASE_WRITING || !atomic_load_explicit(&s->is_idle, memory_order_acquire);
}

static hotrow_status say_busy(const hr_shard *shard)
{
  return hr_fail(HOTROW_ERR_BUSY, "shard %u is still writing save %s", shard->options.shard_index,
                 shard->save->part.save.name);
}

/* What comes of it is told once; who asks again after a failure has it tried again. */
static hotrow_status take_outcome(hr_shard_save *s)
{
  if (s->phase == PHASE_WRITING)
    s->phase = s->status == HOTROW_OK ? PHASE_WRITTEN : PHASE_NONE;
  return s->phase == PHASE_WRITTEN ? HOTROW_OK : hr_fail_text(s->status, s->sentence, strlen(s->sentence));
}

/* The moment of a save that comes from the storage. */
static hotrow_status cut(hr_shard *shard)
{
  hr_shard_save *s = shard->save;
  uint64_t number;
  s->phase = PHASE_AWAITING;
  if (shard->cut_in_progress)
    return say_busy(shard);
  hr_shard_sweep(shard);
  hotrow_status status = hr_shard_cut(shard, &number);
  s->phase = status == HOTROW_OK ? PHASE_CUTTING : PHASE_NONE;
  return status == HOTROW_OK ? say_busy(shard) : status;
}

/* It has failed before anything ran aside. */
static void fail(hr_shard_save *s, hotrow_status status)
{
  s->phase = PHASE_WRITING;
  end_task(s, status);
}

void hr_save_cut_is_durable(hr_shard *shard)
{
  hr_shard_save *s = shard->save;
  const hr_shard_aside *aside = &shard->options.aside;
  if (s && s->phase == PHASE_AWAITING) {
    hotrow_status status = cut(shard);
    if (status != HOTROW_ERR_BUSY)
      fail(s, status);
  } else if (s && s->phase == PHASE_CUTTING) {
    s->storage->hold(s->storage->context);
    s->phase = PHASE_WRITING;
    if (!aside->begin || !aside->begin(aside->context, write_it, s))
      write_it(s);
  }
}

void hr_save_cut_failed(hr_shard *shard)
{
  hr_shard_save *s = shard->save;
  if (s && (s->phase == PHASE_AWAITING || s->phase == PHASE_CUTTING))
    fail(s, HOTROW_ERR_STORAGE);
}

/* Of the shard as it is, by this thread. A shard whose storage has failed makes no more cuts, and may still save what
 * it can read. */
static hotrow_status write_now(hr_shard *shard)
{
  hr_shard_save *s = shard->save;
  hr_shard_sweep(shard);
  s->phase = PHASE_NONE;
  HOTROW_TRY(hr_save_write(&s->part, shard->tables, shard->table_count));
  s->phase = PHASE_WRITTEN;
  return HOTROW_OK;
}

static hotrow_status save_it(hr_shard *shard, const hr_save *what)
{
  hr_shard_save *s = shard->save;
  const hr_shard_options *own = &shard->options;
  if (hr_save_is_under_way(shard))
    return say_busy(shard);
  if (s->phase != PHASE_NONE && memcmp(&s->part.save, what, sizeof *what) == 0)
    return take_outcome(s);
  if (hr_checkpoint_is_under_way(shard))
    return hr_fail(HOTROW_ERR_BUSY, "shard %u is still writing a checkpoint", own->shard_index);
  s->part = (hr_save_part){.save = *what,
                           .save_dir = own->save_dir,
                           .shard_index = own->shard_index,
                           .shard_count = own->shard_count,
                           .epoch = own->epoch};
  s->storage = own->storage;
  atomic_store_explicit(&s->is_idle, false, memory_order_relaxed);
  return own->storage && own->storage->copy && !shard->is_degraded ? cut(shard) : write_now(shard);
}

hotrow_status hr_save_request(hr_shard *shard, hr_session *session, const hr_message *message)
{
  hr_save what;
  HOTROW_ASSERT(message->body_size == sizeof what);
  memcpy(&what, message->body, sizeof what);
  if (!shard->options.save_dir)
    return hr_fail(HOTROW_ERR_UNSUPPORTED, "shard %u was started without a save directory", shard->options.shard_index);
  if (!shard->save) {
    void *memory;
    HOTROW_TRY(hr_alloc(1, sizeof *shard->save, "save", &memory));
    shard->save = memory;
  }
  hotrow_status status = save_it(shard, &what);
  if (status == HOTROW_ERR_BUSY) { /* an answer here and not a refusal: clients ask until it is done */
    hr_reply_error(shard, session, &message->header, HOTROW_ERR_BUSY);
    return HOTROW_OK;
  }
  HOTROW_TRY(status);
  hr_reply_body(shard, session, &message->header, NULL, 0);
  return HOTROW_OK;
}

void hr_save_end(hr_shard *shard)
{
  free(shard->save);
  shard->save = NULL;
}
