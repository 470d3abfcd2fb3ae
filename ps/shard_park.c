#include "shard_park.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/mutant.h>

#include "row_read.h"
#include "shard_memory.h"
#include "shard_sync.h"
#include "shard_visit.h"

#define ROUNDS_MAX 8u /* of reading what is not there yet; then the shard's thread waits for it */
#define ALIGNMENT 64u /* of frames */
#define WANTED_MIN 256u

/* A row that a request needs and that was not in memory. */
typedef struct wanted {
  uint64_t key;
  uint64_t cut; /* is_known: of the last cut begun when the storage was asked */
  uint32_t table;
  bool creates;  /* a pull that makes it if the storage has none */
  bool is_known; /* the storage has none */
} wanted;

struct hr_parked {
  hr_parked *next;
  hr_session *session; /* borrowed; NULL: it is gone */
  uint64_t request_id;
  uint8_t op;
  bool is_exact_push; /* is applied whatever there is room for */
  bool is_hopeless;   /* nothing more is read for it: who serves it finds out why */
  uint32_t rounds;
  size_t size_bytes; /* with its frames, read and rows */
  hr_row_read *read; /* owned, and the storage's as long; NULL: none is on its way */
  uint64_t read_cut; /* the last cut begun when it was asked for */
  size_t read_first; /* in rows, of those that are read */
  wanted *rows;      /* owned; ascending by table and key */
  size_t row_count, row_next;
  size_t frame_count;
  hr_frame *frames; /* behind this struct, and their bytes behind them */
};

/* ---- which rows a request needs ---- */

typedef struct collector {
  hr_shard *shard;
  wanted *rows; /* owned */
  size_t count, capacity;
  size_t array_count; /* sections that they are of */
  bool is_full;       /* no memory for more */
} collector;

static bool reserve(collector *c, size_t count)
{
  size_t capacity = c->capacity ? c->capacity : WANTED_MIN;
  while (capacity - c->count < count)
    capacity *= 2;
  if (capacity == c->capacity)
    return true;
  wanted *rows = realloc(c->rows, capacity * sizeof *rows);
  if (!rows) {
    c->is_full = true;
    return false;
  }
  c->rows = rows;
  c->capacity = capacity;
  return true;
}

static void collect_section(collector *c, const hr_section *section, bool find_only)
{
  hr_shard *shard = c->shard;
  if (section->table >= shard->table_count)
    return; /* will be refused */
  hr_table *table = shard->tables[section->table];
  const hr_table_desc *desc = hr_table_get_desc(table);
  if (section->dim != desc->dim || hr_memory_cold_count(table) == 0)
    return;
  size_t count = hr_memory_find_missing(shard, table, section->keys, section->key_count);
  if (count == 0) {
    hr_memory_note_whole(shard, section->keys);
    return;
  }
  if (!reserve(c, count))
    return;
  bool creates =
      section->kind == HR_SECTION_PULL && !find_only && !hr_table_has_admission(desc) && !hr_table_has_eviction(desc);
  for (size_t i = 0; i < count; i++)
    c->rows[c->count++] = (wanted){.key = shard->memory.missing[i], .table = section->table, .creates = creates};
  c->array_count++;
}

static void collect_sections(void *context, const hr_header *header, const hr_section *sections, size_t section_count)
{
  for (size_t i = 0; i < section_count; i++)
    collect_section(context, &sections[i], header->flags & HR_FLAG_READ_ONLY);
}

static int compare_rows(const void *a, const void *b)
{
  const wanted *x = a, *y = b;
  if (x->table != y->table)
    return x->table < y->table ? -1 : 1;
  return (x->key > y->key) - (x->key < y->key);
}

/* Sections of one table each, in the order of their tables, are. */
static bool is_sorted(const collector *c)
{
  for (size_t i = 1; c->array_count > 1 && i < c->count; i++)
    if (compare_rows(&c->rows[i - 1], &c->rows[i]) > 0)
      return false;
  return true;
}

static void sort_rows(collector *c)
{
  size_t count = 0;
  if (c->count > 1 && !is_sorted(c))
    qsort(c->rows, c->count, sizeof *c->rows, compare_rows);
  for (size_t i = 0; i < c->count; i++) {
    if (count > 0 && compare_rows(&c->rows[count - 1], &c->rows[i]) == 0)
      c->rows[count - 1].creates |= c->rows[i].creates;
    else
      c->rows[count++] = c->rows[i];
  }
  c->count = count;
}

/* Rows that are not in memory and will be asked for while this message is served; as far as it will be. A push of an
 * exact step waits; the last one of its step brings them all. */
static void collect(collector *c, hr_session *session, const hr_message *message)
{
  const hr_header *header = &message->header;
  bool is_push = header->op == HR_OP_PUSH || header->op == HR_OP_PUSH_PULL;
  bool is_new = is_push && header->push_seq == session->received_seq + 1;
  bool find_only = (header->flags & HR_FLAG_READ_ONLY) || session->hello.role == HR_ROLE_READER;
  if ((!is_push && header->op != HR_OP_PULL) || (header->push_seq > session->received_seq && !is_new))
    return;
  bool is_exact = header->flags & HR_FLAG_SYNC;
  bool ends_step = is_new && is_exact && hr_job_visit_waiting(session, header, collect_sections, c);
  for (size_t i = 0; i < message->section_count; i++) {
    const hr_section *section = &message->sections[i];
    if (section->kind == HR_SECTION_PULL || (is_new && (!is_exact || ends_step)))
      collect_section(c, section, find_only);
  }
  sort_rows(c);
}

/* ---- requests that wait ---- */

static void count_bytes(hr_shard *shard, hr_parked *p, size_t size_bytes)
{
  p->size_bytes += size_bytes;
  shard->parking.size_bytes += size_bytes;
}

static void uncount_bytes(hr_shard *shard, hr_parked *p, size_t size_bytes)
{
  HOTROW_ASSERT(p->size_bytes >= size_bytes && shard->parking.size_bytes >= size_bytes);
  p->size_bytes -= size_bytes;
  shard->parking.size_bytes -= size_bytes;
}

static void free_parked(hr_shard *shard, hr_parked *p)
{
  HOTROW_ASSERT(shard->parking.request_count > 0);
  uncount_bytes(shard, p, p->size_bytes);
  shard->parking.request_count--;
  free(p->read);
  free(p->rows);
  free(p);
}

static size_t aligned(size_t size_bytes)
{
  return (size_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static hotrow_status check_limits(const hr_shard *shard, const hr_session *session, size_t size_bytes)
{
  const hr_parking *parking = &shard->parking;
  size_t behind = 0, part = shard->options.memory_bytes >> HR_PARKED_MEMORY_SHIFT;
  size_t max = part < HR_PARKED_BYTES_MAX ? part : HR_PARKED_BYTES_MAX;
  for (const hr_parked *p = session->parked; p; p = p->next)
    behind++;
  if (parking->request_count == HR_PARKED_REQUESTS_MAX || behind == HR_PARKED_BEHIND_MAX)
    return hr_fail(HOTROW_ERR_BUSY, "%zu requests wait for rows to be read, %zu of them of this client",
                   parking->request_count, behind);
  if (parking->request_count > 0 && (parking->size_bytes > max || size_bytes > max - parking->size_bytes))
    return hr_fail(HOTROW_ERR_BUSY, "%zu bytes wait for rows to be read: no room for %zu more", parking->size_bytes,
                   size_bytes);
  return HOTROW_OK;
}

/* A copy of the message in hand, behind what the session has parked. HOTROW_ERR_BUSY */
static hotrow_status add(hr_shard *shard, hr_session *session, const hr_frame *frames, size_t frame_count,
                         hr_parked **p_p)
{
  const hr_header *header = &shard->request.header;
  size_t fixed_bytes = aligned(sizeof(hr_parked) + frame_count * sizeof *frames), size_bytes = fixed_bytes;
  for (size_t i = 0; i < frame_count; i++)
    size_bytes += aligned(frames[i].size);
  HOTROW_TRY(check_limits(shard, session, size_bytes));
  hr_parked *p = aligned_alloc(ALIGNMENT, size_bytes);
  if (!p)
    return hr_fail(HOTROW_ERR_BUSY, "no memory for %zu bytes that wait for rows to be read", size_bytes);
  *p = (hr_parked){.session = session, .request_id = header->request_id, .op = header->op, .frame_count = frame_count};
  p->is_exact_push = (header->flags & HR_FLAG_SYNC) && header->op != HR_OP_PULL;
  p->frames = (hr_frame *)(p + 1);
  uint8_t *at = (uint8_t *)p + fixed_bytes;
  for (size_t i = 0; i < frame_count; i++) {
    p->frames[i] = (hr_frame){at, frames[i].size};
    if (frames[i].size > 0)
      memcpy(at, frames[i].data, frames[i].size);
    at += aligned(frames[i].size);
  }
  count_bytes(shard, p, size_bytes);
  shard->parking.request_count++;
  hr_parked **link = &session->parked;
  while (*link)
    link = &(*link)->next;
  *link = p;
  *p_p = p;
  return HOTROW_OK;
}

static void set_rows(hr_shard *shard, hr_parked *p, collector *c)
{
  uncount_bytes(shard, p, p->row_count * sizeof *p->rows);
  free(p->rows);
  p->rows = c->rows;
  p->row_count = c->count;
  p->row_next = 0;
  count_bytes(shard, p, p->row_count * sizeof *p->rows);
}

/* ---- reading ---- */

/* Has no cut ended that was begun after this one? */
static bool holds_since(const hr_shard *shard, uint64_t cut)
{
  return shard->cut_ended <= cut || HR_MUTANT(STALE_READ);
}

/* The next rows of one table, but for those that came to memory meanwhile. */
static void fill_read(hr_shard *shard, hr_parked *p, hr_row_read *read)
{
  uint32_t id = read->desc->id;
  hr_table *table = shard->tables[id];
  uint64_t keys[HR_READ_KEYS_MAX] = {0};
  uint32_t rows[HR_READ_KEYS_MAX], clocks[HR_READ_KEYS_MAX];
  size_t count = 0, first = p->row_next;
  for (; p->row_next < p->row_count && p->rows[p->row_next].table == id && count < read->key_count_max; p->row_next++)
    keys[count++] = p->rows[p->row_next].key;
  hr_table_find(table, keys, count, rows, clocks);
  for (size_t i = 0; i < count; i++) {
    wanted *row = &p->rows[first + i];
    if (rows[i] == HR_ROW_NONE && !row->is_known && hr_table_is_gone(table, row->key)) {
      row->is_known = true;
      row->cut = shard->cut_number;
    }
    if (rows[i] != HR_ROW_NONE || row->is_known)
      continue;
    read->creates[read->key_count] = row->creates;
    read->keys[read->key_count++] = row->key;
  }
  p->read_first = first;
}

/* False if there is nothing left to ask for, or no memory for the answer. */
static bool ask_next(hr_shard *shard, hr_parked *p)
{
  const hr_storage *storage = shard->options.storage;
  HOTROW_ASSERT(!p->read);
  while (p->row_next < p->row_count && !p->is_hopeless) {
    hr_table *table = shard->tables[p->rows[p->row_next].table];
    hr_row_read *read = hr_row_read_create(hr_table_get_desc(table), hr_table_record_floats(table), HR_READ_KEYS_MAX);
    if (!read) {
      p->is_hopeless = true;
      return false;
    }
    fill_read(shard, p, read);
    if (read->key_count > 0) {
      HOTROW_ASSERT(shard->parking.read_count < HR_PARKED_REQUESTS_MAX);
      read->owner = p;
      p->read = read;
      p->read_cut = shard->cut_number;
      shard->parking.read_count++;
      count_bytes(shard, p, hr_row_read_bytes(read));
      storage->ask_rows(storage->context, read);
      return true;
    }
    free(read);
  }
  return false;
}

/* Of the rows that were read those that are not in memory now are nowhere. */
static void note_absent(const hr_shard *shard, hr_parked *p, const hr_row_read *read)
{
  const hr_table *table = shard->tables[read->desc->id];
  wanted *row = &p->rows[p->read_first];
  for (size_t i = 0; i < read->key_count; i++, row++) {
    while (row->key != read->keys[i])
      row++;
    row->is_known = !hr_table_has_resident(table, row->key);
    row->cut = p->read_cut;
  }
}

static hotrow_status take(hr_shard *shard, hr_parked *p, const hr_row_read *read)
{
  hr_table *table = shard->tables[read->desc->id];
  size_t new_count = 0, found = 0;
  uint64_t fetched = 0;
  HOTROW_TRY(read->status);
  if (!holds_since(shard, p->read_cut))
    return HOTROW_OK; /* they are read again */
  for (size_t i = 0; i < read->key_count; i++) {
    bool is_found = found < read->found_count && read->found[found] == i;
    found += is_found;
    new_count += !is_found && read->creates[i];
  }
  hotrow_status status = new_count > 0 ? hr_memory_check_next_cut(shard) : HOTROW_OK;
  if (status == HOTROW_OK || p->is_exact_push)
    status = hr_memory_make_room(shard, table, read->found_count + new_count, new_count);
  if (status != HOTROW_OK && !p->is_exact_push)
    return status;
  status = hr_table_take_read(table, read, &fetched);
  shard->counters.rows_fetched += fetched;
  if (status == HOTROW_OK)
    note_absent(shard, p, read);
  return status;
}

/* ---- going on ---- */

/* What is known of rows that are nowhere still holds for those that were looked for lately. */
static bool keep_known(const hr_shard *shard, const hr_parked *p, collector *c)
{
  bool is_all_known = true;
  const wanted *old = p->rows, *end = p->rows + p->row_count;
  for (size_t i = 0; i < c->count; i++) {
    wanted *row = &c->rows[i];
    while (old < end && compare_rows(old, row) < 0)
      old++;
    if (old < end && compare_rows(old, row) == 0 && old->is_known && holds_since(shard, old->cut)) {
      row->is_known = true;
      row->cut = old->cut;
    }
    is_all_known = is_all_known && row->is_known;
  }
  return is_all_known;
}

/* While it is served the tables know which of its rows are nowhere, so that nobody looks for them once more. */
static void serve(hr_shard *shard, hr_session *session, hr_parked *p)
{
  hr_route_id from = session->route; /* where its client is now; the session may end */
  uint64_t *absent = malloc((p->row_count + 1) * sizeof *absent);
  size_t count = 0, first = 0;
  for (size_t i = 0; absent && i < p->row_count; i++) {
    if (p->rows[i].is_known && holds_since(shard, p->rows[i].cut))
      absent[count++] = p->rows[i].key;
    if (i + 1 == p->row_count || p->rows[i + 1].table != p->rows[i].table) {
      hr_table_know_absent(shard->tables[p->rows[i].table], absent + first, count - first);
      first = count;
    }
  }
  session->parked = p->next;
  shard->from = &from;
  hr_shard_serve(shard, session, &shard->request);
  shard->from = NULL;
  for (size_t i = 0; i < p->row_count; i++)
    if (i == 0 || p->rows[i].table != p->rows[i - 1].table)
      hr_table_know_absent(shard->tables[p->rows[i].table], NULL, 0);
  free(absent);
  free_parked(shard, p);
}

/* There is no room for its rows: its client asks again, or is told that there will be none. */
static void refuse(hr_shard *shard, hr_session *session, hr_parked *p, hotrow_status status)
{
  hotrow_status decoded = hr_wire_decode(p->frames, p->frame_count, &shard->request);
  HOTROW_ASSERT(decoded == HOTROW_OK);
  session->parked = p->next;
  hr_reply_refuse(shard, session, &shard->request.header, status);
  free_parked(shard, p);
}

/* Serves what the session has parked, up to a request whose rows must be read. */
static void go_on(hr_shard *shard, hr_session *session)
{
  hr_session_id id = session->id;
  for (; session && session->parked; session = hr_session_find(shard, id)) {
    hr_parked *p = session->parked;
    if (ask_next(shard, p))
      return;
    hotrow_status status = hr_wire_decode(p->frames, p->frame_count, &shard->request);
    HOTROW_ASSERT(status == HOTROW_OK); /* it was, when it came */
    shard->memory.whole_count = 0;
    collector c = {.shard = shard};
    collect(&c, session, &shard->request);
    bool is_all_known = keep_known(shard, p, &c);
    set_rows(shard, p, &c);
    if (!is_all_known && p->rounds++ < ROUNDS_MAX && ask_next(shard, p))
      return;
    serve(shard, session, p);
  }
}

static bool may_park(const hr_shard *shard)
{
  const hr_storage *storage = shard->options.storage;
  if (shard->options.memory_bytes == 0 || !storage || !storage->ask_rows)
    return false;
  for (size_t i = 0; i < shard->table_count; i++)
    if (hr_memory_cold_count(shard->tables[i]) > 0)
      return true;
  return false;
}

/* A client that hears nothing asks again; there will be one answer. */
static bool is_there(const hr_session *session, const hr_header *header)
{
  for (const hr_parked *p = session->parked; p; p = p->next)
    if (p->request_id == header->request_id && p->op == header->op)
      return true;
  return false;
}

bool hr_park(hr_shard *shard, hr_session *session, const hr_frame *frames, size_t frame_count)
{
  const hr_header *header = &shard->request.header;
  hr_parked *p = NULL;
  shard->memory.whole_count = 0;
  collector c = {.shard = shard};
  if (session->parked && is_there(session, header))
    return true;
  if (!session->parked) {
    if (!may_park(shard))
      return false;
    collect(&c, session, &shard->request);
    if (c.count == 0)
      return false;
  }
  hotrow_status status = add(shard, session, frames, frame_count, &p);
  if (status != HOTROW_OK) {
    free(c.rows);
    hr_reply_refuse(shard, session, header, status);
    return true;
  }
  shard->counters.requests_parked++;
  set_rows(shard, p, &c);
  if (session->parked == p)
    go_on(shard, session);
  return true;
}

void hr_shard_take_rows(hr_shard *shard, hr_row_read *read, uint64_t now_ns)
{
  hr_parked *p = read->owner;
  shard->now_ns = now_ns;
  shard->op_done = 0;
  if (read->is_visit) {
    hr_visit_take(shard, read);
    return;
  }
  HOTROW_ASSERT(p->read == read && shard->parking.read_count > 0);
  shard->parking.read_count--;
  p->read = NULL;
  uncount_bytes(shard, p, hr_row_read_bytes(read));
  if (!p->session) {
    hr_parked **link = &shard->parking.orphans;
    while (*link != p)
      link = &(*link)->next;
    *link = p->next;
    free_parked(shard, p);
  } else {
    hr_session *session = p->session;
    hotrow_status status = take(shard, p, read);
    p->is_hopeless = status != HOTROW_OK;
    if (status == HOTROW_ERR_BUSY || status == HOTROW_ERR_QUOTA)
      refuse(shard, session, p, status);
    go_on(shard, session);
  }
  free(read);
}

void hr_park_forget(hr_shard *shard, hr_session *session)
{
  hr_parked *p = session->parked;
  session->parked = NULL;
  while (p) {
    hr_parked *next = p->next;
    p->session = NULL;
    if (p->read) {
      p->next = shard->parking.orphans;
      shard->parking.orphans = p;
    } else {
      free_parked(shard, p);
    }
    p = next;
  }
}

void hr_park_end(hr_shard *shard)
{
  while (shard->parking.orphans) {
    hr_parked *p = shard->parking.orphans;
    shard->parking.orphans = p->next;
    free_parked(shard, p);
  }
}
