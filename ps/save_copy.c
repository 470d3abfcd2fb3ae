#include "save_copy.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/memory.h>

#include "save.h"
#include "save_set.h"

#define BLOCKS_MAX (HR_COPY_BYTES_MAX / HR_COPY_BLOCK_BYTES)
#define BLOCKS_MIN 4u
#define RING_BLOCKS (BLOCKS_MAX + 2) /* and the one that is filled, and the end */
#define IMAGE_BYTES (((size_t)1 << HR_ADMISSION_BITS) * sizeof(hr_admission_bucket))

/* Bytes of one table's file, one run of them after the other in a block. */
typedef struct run_head {
  uint32_t table;
  uint32_t size;
} run_head;

typedef struct block {
  size_t used;
  _Alignas(run_head) uint8_t bytes[HR_COPY_BLOCK_BYTES];
} block;

_Static_assert(sizeof(run_head) + HR_ROW_HEAD_BYTES + HR_STORE_FLOATS_MAX * sizeof(float) <= HR_COPY_BLOCK_BYTES,
               "the largest row");

/* One table's file. */
typedef struct copied_file {
  hr_output out;              /* the writer's */
  bool is_open;               /* likewise */
  size_t record_size;         /* set once */
  hr_admission_bucket *image; /* owned: buckets by their numbers, as they must stand behind all rows in that order, and
                                 come as they change. The shard's thread's, and the writer's from the end on */
} copied_file;

/* The ring is filled by the shard's thread and emptied by the writer. Blocks that are written lie in it until the
 * shard's thread takes them again, which it does before it allocates one. */
struct hr_save_copy {
  hr_save_copy_options options;
  hr_storage calls;
  copied_file *files; /* owned [table_count] */
  sem_t handed;       /* one for each block, and one for the end */
  sem_t room;         /* for so many blocks more */
  atomic_size_t written_count;
  atomic_bool has_failed;
  block *ring[RING_BLOCKS]; /* owned, from reclaimed_count on; NULL: the end */
  /* The shard's thread, and the writer once it has come to the end. */
  block *filling;    /* owned; NULL: none */
  run_head *run;     /* in it */
  size_t blocks_max; /* on their way */
  size_t handed_count, reclaimed_count;
  size_t block_count, image_count;
  bool writes_along;
  hotrow_status end_status;
  char end_sentence[HR_ERROR_TEXT_BYTES];
  /* The writer. */
  hotrow_status status; /* not OK: nothing is written any more */
  char sentence[HR_ERROR_TEXT_BYTES];
  hr_path path;    /* of the file in hand */
  uint8_t *buffer; /* owned, HR_SAVE_BUFFER_BYTES; NULL: the files are not there yet */
};

/* ---- the writer ---- */

static hotrow_status note_failure(hr_save_copy *c, hotrow_status status)
{
  if (status != HOTROW_OK && c->status == HOTROW_OK) {
    c->status = status;
    snprintf(c->sentence, sizeof c->sentence, "%s", hotrow_last_error());
    atomic_store_explicit(&c->has_failed, true, memory_order_relaxed);
  }
  return c->status;
}

/* What is said of a file names it. */
static hotrow_status take_in_hand(hr_save_copy *c, size_t table)
{
  return hr_path_format(&c->path, "%s/%s.rows", c->options.part, c->options.entries[table].desc.name);
}

static hotrow_status begin_file(hr_save_copy *c, size_t table)
{
  copied_file *file = &c->files[table];
  HOTROW_TRY(take_in_hand(c, table));
  hr_rows_header header =
      hr_rows_header_of(&c->options.entries[table].desc, file->record_size, c->options.header->token);
  HOTROW_TRY(hr_output_begin(&file->out, c->path.text, c->buffer));
  file->is_open = true;
  return hr_output_write(&file->out, &header, sizeof header);
}

static hotrow_status begin_files(hr_save_copy *c)
{
  void *buffer;
  HOTROW_TRY(hr_alloc(HR_SAVE_BUFFER_BYTES, 1, "checkpoint buffer", &buffer));
  c->buffer = buffer;
  HOTROW_TRY(hr_make_directory(c->options.dir, true));
  HOTROW_TRY(hr_make_directory(c->options.part, false));
  for (size_t i = 0; i < c->options.header->table_count; i++)
    HOTROW_TRY(begin_file(c, i));
  return HOTROW_OK;
}

static hotrow_status write_block(hr_save_copy *c, const block *b)
{
  if (!c->buffer)
    HOTROW_TRY(begin_files(c));
  for (size_t at = 0; at < b->used;) {
    run_head run;
    memcpy(&run, b->bytes + at, sizeof run);
    HOTROW_ASSERT(run.table < c->options.header->table_count && run.size <= b->used - at - sizeof run);
    HOTROW_TRY(take_in_hand(c, run.table));
    HOTROW_TRY(hr_output_write(&c->files[run.table].out, b->bytes + at + sizeof run, run.size));
    at += sizeof run + run.size;
  }
  return HOTROW_OK;
}

/* The next block, which has been handed over. False: it is the end. */
static bool write_next(hr_save_copy *c)
{
  size_t count = atomic_load_explicit(&c->written_count, memory_order_relaxed);
  while (sem_wait(&c->handed) != 0)
    ;
  const block *b = c->ring[count % RING_BLOCKS];
  if (b && c->status == HOTROW_OK)
    note_failure(c, write_block(c, b));
  if (!b)
    return false;
  atomic_store_explicit(&c->written_count, count + 1, memory_order_release);
  sem_post(&c->room);
  return true;
}

static hotrow_status write_buckets(hr_output *out, const hr_admission_bucket *image)
{
  for (uint64_t number = 0; image && number < (uint64_t)1 << HR_ADMISSION_BITS; number++)
    if (hr_admission_says_something(&image[number])) {
      HOTROW_TRY(hr_output_append(out, &number, sizeof number));
      HOTROW_TRY(hr_output_append(out, &image[number], sizeof image[number]));
    }
  return hr_output_flush(out);
}

static hotrow_status check_rows(const copied_file *file, const hr_manifest_table *entry)
{
  uint64_t size = sizeof(hr_rows_header) + entry->desc.row_count * file->record_size;
  if (file->out.size != size)
    return hr_fail(HOTROW_ERR_INTERNAL, "%s: %llu bytes of rows, %llu rows are %llu", file->out.path,
                   (unsigned long long)file->out.size, (unsigned long long)entry->desc.row_count,
                   (unsigned long long)size);
  return HOTROW_OK;
}

static hotrow_status end_file(hr_save_copy *c, size_t table)
{
  copied_file *file = &c->files[table];
  hr_manifest_table *entry = &c->options.entries[table];
  HOTROW_TRY(take_in_hand(c, table));
  hotrow_status status = check_rows(file, entry);
  if (status == HOTROW_OK)
    status = write_buckets(&file->out, file->image);
  entry->file_size = file->out.size;
  entry->file_hash = XXH3_64bits_digest(&file->out.hash);
  file->is_open = false;
  return hr_output_end(&file->out, status);
}

static hotrow_status write_manifest(const hr_save_copy *c)
{
  hr_path path;
  hr_output out;
  HOTROW_TRY(hr_path_format(&path, "%s/" HR_MANIFEST_FILE, c->options.part));
  HOTROW_TRY(hr_output_begin(&out, path.text, c->buffer));
  hotrow_status status = hr_manifest_append(&out, c->options.header, c->options.entries);
  if (status == HOTROW_OK)
    status = hr_output_append_hash(&out);
  return hr_output_end(&out, status);
}

static hotrow_status end_files(hr_save_copy *c)
{
  if (c->end_status != HOTROW_OK)
    return hr_fail_text(c->end_status, c->end_sentence, strlen(c->end_sentence));
  if (!c->buffer)
    HOTROW_TRY(begin_files(c));
  for (size_t i = 0; i < c->options.header->table_count; i++)
    HOTROW_TRY(end_file(c, i));
  HOTROW_TRY(write_manifest(c));
  return hr_sync_directory(c->options.part);
}

static void free_memory(hr_save_copy *c)
{
  for (; c->reclaimed_count < c->handed_count; c->reclaimed_count++)
    free(c->ring[c->reclaimed_count % RING_BLOCKS]);
  free(c->filling);
  c->filling = NULL;
  for (size_t i = 0; i < c->options.header->table_count; i++) {
    copied_file *file = &c->files[i];
    hr_unmap(file->image, IMAGE_BYTES);
    file->image = NULL;
    if (file->is_open)
      hr_output_end(&file->out, c->status);
    file->is_open = false;
  }
  free(c->buffer);
  c->buffer = NULL;
}

hotrow_status hr_save_copy_write(hr_save_copy *c)
{
  while (write_next(c))
    ;
  if (c->status == HOTROW_OK)
    note_failure(c, end_files(c));
  free_memory(c);
  return c->status == HOTROW_OK ? HOTROW_OK : hr_fail_text(c->status, c->sentence, strlen(c->sentence));
}

/* ---- the shard's thread ---- */

static size_t waiting_count(const hr_save_copy *c)
{
  return c->handed_count - atomic_load_explicit(&c->written_count, memory_order_acquire);
}

static void hand_over(hr_save_copy *c, block *b)
{
  c->ring[c->handed_count++ % RING_BLOCKS] = b;
  sem_post(&c->handed);
}

/* Waits for the writer if too much is on its way. */
static void hand_over_filled(hr_save_copy *c)
{
  if (!c->filling)
    return;
  while (sem_wait(&c->room) != 0)
    ;
  hand_over(c, c->filling);
  c->filling = NULL;
  c->run = NULL;
  if (c->writes_along)
    write_next(c);
}

static block *take_block(hr_save_copy *c)
{
  if (c->reclaimed_count < atomic_load_explicit(&c->written_count, memory_order_acquire))
    return c->ring[c->reclaimed_count++ % RING_BLOCKS];
  block *b = malloc(sizeof *b);
  if (!b)
    hr_fail(HOTROW_ERR_NO_MEMORY, "no memory for %zu blocks of a checkpoint", c->block_count + 1);
  c->block_count += b != NULL;
  return b;
}

/* Room for so many bytes more of a table's file. */
static uint8_t *take(hr_save_copy *c, uint32_t table, size_t size)
{
  HOTROW_ASSERT(table < c->options.header->table_count);
  if (c->filling && sizeof(run_head) + size > sizeof c->filling->bytes - c->filling->used)
    hand_over_filled(c);
  if (!c->filling) {
    c->filling = take_block(c);
    if (!c->filling)
      return NULL;
    c->filling->used = 0;
  }
  block *b = c->filling;
  if (!c->run || c->run->table != table) {
    c->run = (run_head *)(void *)(b->bytes + b->used);
    *c->run = (run_head){.table = table};
    b->used += sizeof *c->run;
  }
  uint8_t *memory = b->bytes + b->used;
  b->used += size;
  c->run->size += (uint32_t)size;
  return memory;
}

static hotrow_status put_row(void *context, const hr_table_desc *desc, uint64_t key, uint32_t clock,
                             const float *record, size_t float_count)
{
  hr_save_copy *c = context;
  const size_t size = HR_ROW_HEAD_BYTES + float_count * sizeof *record;
  HOTROW_ASSERT(size == c->files[desc->id].record_size);
  uint8_t *bytes = take(c, desc->id, size);
  if (!bytes)
    return HOTROW_ERR_NO_MEMORY;
  memcpy(bytes, &key, sizeof key);
  memcpy(bytes + sizeof key, &clock, sizeof clock);
  memcpy(bytes + HR_ROW_HEAD_BYTES, record, size - HR_ROW_HEAD_BYTES);
  return HOTROW_OK;
}

static hotrow_status put_bucket(void *context, const hr_table_desc *desc, uint64_t number, const void *bytes,
                                size_t size_bytes)
{
  hr_save_copy *c = context;
  copied_file *file = &c->files[desc->id];
  void *memory;
  HOTROW_ASSERT(number < (uint64_t)1 << HR_ADMISSION_BITS && size_bytes == sizeof *file->image);
  if (!hr_admission_says_something(bytes))
    return HOTROW_OK;
  if (!file->image) {
    HOTROW_TRY(hr_map(IMAGE_BYTES, "keys without a row, for a checkpoint", &memory));
    file->image = memory;
    c->image_count++;
  }
  memcpy(&file->image[number], bytes, size_bytes);
  return HOTROW_OK;
}

hotrow_status hr_save_copy_create(const hr_save_copy_options *options, hr_save_copy **copy_p)
{
  const size_t table_count = options->header->table_count;
  void *memory, *files;
  HOTROW_TRY(hr_alloc(1, sizeof(hr_save_copy), "checkpoint", &memory));
  hr_save_copy *c = memory;
  hotrow_status status = hr_alloc(table_count, sizeof *c->files, "files of a checkpoint", &files);
  if (status != HOTROW_OK) {
    free(c);
    return status;
  }
  c->options = *options;
  c->files = files;
  for (size_t i = 0; i < table_count; i++)
    c->files[i].record_size = hr_save_record_size(&options->entries[i].desc, hr_table_get_layout(options->tables[i]));
  size_t blocks_max = options->bytes_max / HR_COPY_BLOCK_BYTES;
  c->blocks_max = blocks_max < BLOCKS_MIN ? BLOCKS_MIN : blocks_max < BLOCKS_MAX ? blocks_max : BLOCKS_MAX;
  c->calls = (hr_storage){.context = c, .put_row = put_row, .put_bucket = put_bucket};
  sem_init(&c->handed, 0, 0);
  sem_init(&c->room, 0, (unsigned)c->blocks_max);
  *copy_p = c;
  return HOTROW_OK;
}

void hr_save_copy_destroy(hr_save_copy *c)
{
  if (!c)
    return;
  free_memory(c);
  sem_destroy(&c->handed);
  sem_destroy(&c->room);
  free(c->files);
  free(c);
}

const hr_storage *hr_save_copy_calls(const hr_save_copy *c)
{
  return &c->calls;
}

bool hr_save_copy_has_room(const hr_save_copy *c)
{
  return waiting_count(c) < c->blocks_max / 2;
}

bool hr_save_copy_is_full(const hr_save_copy *c)
{
  return waiting_count(c) >= c->blocks_max;
}

bool hr_save_copy_has_failed(const hr_save_copy *c)
{
  return atomic_load_explicit(&c->has_failed, memory_order_relaxed);
}

size_t hr_save_copy_bytes(const hr_save_copy *c)
{
  return c->block_count * sizeof(block) + c->image_count * (IMAGE_BYTES / c->options.header->shard_count);
}

void hr_save_copy_write_along(hr_save_copy *c)
{
  c->writes_along = true;
}

void hr_save_copy_end(hr_save_copy *c, hotrow_status status)
{
  c->end_status = status;
  if (status != HOTROW_OK)
    snprintf(c->end_sentence, sizeof c->end_sentence, "%s", hotrow_last_error());
  hand_over_filled(c);
  hand_over(c, NULL);
}
