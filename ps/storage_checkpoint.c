/* A copy of the database, made while no cut is written: RocksDB links the files that never change and copies the rest.
 */
#include <stdio.h>
#include <string.h>

#include <hr/assert.h>

#include "storage_state.h"

#define FLUSH_ALWAYS 0u /* whatever is in the log: a copy holds table files alone */

bool hr_rocksdb_enter(hr_rocksdb *s)
{
  return sem_trywait(&s->gate) == 0;
}

void hr_rocksdb_leave(hr_rocksdb *s)
{
  sem_post(&s->gate);
}

/* No cut is under way, so the writer is not in there. */
static void hold(void *context)
{
  hr_rocksdb *s = context;
  HOTROW_ASSERT(!hr_rocksdb_is_busy(s));
  int result = sem_trywait(&s->gate);
  HOTROW_ASSERT(result == 0);
}

/* By itself first, for a failure of it is one of the database's own writes: they are over then. Other failures are of
 * the copy. */
static hotrow_status flush(hr_rocksdb *s)
{
  char *error = NULL;
  rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
  rocksdb_flush(s->db, options, &error);
  rocksdb_flushoptions_destroy(options);
  if (!error)
    return HOTROW_OK;
  s->flush_result = hr_rocksdb_fail(s, "write its tables", error);
  snprintf(s->flush_sentence, sizeof s->flush_sentence, "%s", hotrow_last_error());
  return s->flush_result;
}

static hotrow_status copy(void *context, const char *path)
{
  hr_rocksdb *s = context;
  char *error = NULL;
  uint64_t unflushed = 0;
  if (s->flush_result != HOTROW_OK)
    return hr_fail_text(s->flush_result, s->flush_sentence, strlen(s->flush_sentence));
  rocksdb_property_int(s->db, "rocksdb.cur-size-all-mem-tables", &unflushed);
  HOTROW_TRY(hr_rocksdb_check_space(s, unflushed));
  HOTROW_TRY(flush(s));
  rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(s->db, &error);
  if (error)
    return hr_rocksdb_fail(s, "copy it", error);
  rocksdb_checkpoint_create(checkpoint, path, FLUSH_ALWAYS, &error);
  rocksdb_checkpoint_object_destroy(checkpoint);
  return error ? hr_rocksdb_fail(s, "copy it", error) : HOTROW_OK;
}

static void let_go(void *context)
{
  hr_rocksdb_leave(context);
}

void hr_rocksdb_init_copies(hr_rocksdb *s)
{
  sem_init(&s->gate, 0, 1);
  s->calls.hold = hold;
  s->calls.copy = copy;
  s->calls.let_go = let_go;
}
