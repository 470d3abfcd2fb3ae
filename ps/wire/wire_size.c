#include "wire_layout.h"

/* Values or gradients: one array of floats, or one of packed values and for I8 their scales. */
static size_t add_rows(const hr_section *s, size_t floats_offset, uint64_t row_count, hr_wire_array *arrays)
{
  hotrow_dtype dtype = (hotrow_dtype)s->dtype;
  size_t offset = dtype == HOTROW_F32 ? floats_offset : offsetof(hr_section, packed);
  arrays[0] = (hr_wire_array){offset, row_count * s->dim * hr_dtype_bytes(dtype)};
  if (dtype != HOTROW_I8)
    return 1;
  arrays[1] = (hr_wire_array){offsetof(hr_section, scales), row_count * sizeof *s->scales};
  return 2;
}

#define ADD(field, element_count)                                                                                      \
  arrays[count++] = (hr_wire_array)                                                                                    \
  {                                                                                                                    \
    offsetof(hr_section, field), (uint64_t)(element_count) * sizeof *s->field                                          \
  }
#define ADD_CLOCKS(field, element_count) ADD(field, is_wide ? 2 * (uint64_t)(element_count) : (element_count))
#define ADD_ROWS(field, row_count_) count += add_rows(s, offsetof(hr_section, field), row_count_, arrays + count)

size_t hr_wire_arrays(const hr_section *section, hr_wire_array arrays[HR_WIRE_ARRAYS_MAX])
{
  const hr_section *s = section;
  bool is_wide = s->flags & HR_SECTION_WIDE;
  size_t count = 0;
  switch (s->kind) {
  case HR_SECTION_PULL:
    ADD(keys, s->key_count);
    ADD_CLOCKS(seen, is_wide ? s->key_count : s->held_count);
    break;
  case HR_SECTION_PUSH:
    ADD(keys, s->key_count);
    ADD_ROWS(grads, s->key_count);
    if (s->flags & HR_SECTION_STEPS) {
      ADD_CLOCKS(steps, s->key_count);
      if (s->extra_dim > 0)
        ADD(squares, (uint64_t)s->key_count * s->extra_dim);
    }
    break;
  case HR_SECTION_PULL_REPLY:
    ADD_CLOCKS(index, s->held_count);
    ADD_CLOCKS(clocks, s->row_count);
    ADD_ROWS(values, s->row_count);
    if (s->extra_dim > 0)
      ADD(states, (uint64_t)s->row_count * s->extra_dim);
    if (s->flags & HR_SECTION_FOUND)
      ADD(found, ((uint64_t)s->key_count - s->bound + 7) / 8);
    if (s->flags & HR_SECTION_UNSEEN)
      ADD(unseen_counts, HR_UNSEEN_BUCKETS);
    break;
  case HR_SECTION_ANNOUNCE:
    ADD(keys, s->key_count);
    if (!(s->flags & HR_SECTION_GONE))
      ADD(clocks, s->key_count);
    break;
  default:
    break;
  }
  return count;
}

uint64_t hr_wire_section_bytes(const hr_section *section)
{
  hr_wire_array arrays[HR_WIRE_ARRAYS_MAX];
  size_t array_count = hr_wire_arrays(section, arrays);
  uint64_t size = HR_WIRE_SECTION_BYTES;
  for (size_t i = 0; i < array_count; i++)
    size += arrays[i].size_bytes;
  return size;
}

/* The largest reply: every held row is too old, and the state of the heaviest optimizer comes along. */
static uint64_t reply_bytes_max(const hr_section *pull)
{
  hr_section reply = {.kind = HR_SECTION_PULL_REPLY,
                      .flags = HR_SECTION_FOUND | (pull->flags & (HR_SECTION_WIDE | HR_SECTION_UNSEEN)),
                      .dtype = pull->dtype,
                      .key_count = pull->key_count,
                      .held_count = pull->held_count,
                      .row_count = pull->key_count,
                      .dim = pull->dim,
                      .extra_dim = pull->flags & HR_SECTION_WANT_STATE ? hr_wire_extra_dim_max(pull->dim) : 0,
                      .bound = pull->held_count};
  return hr_wire_section_bytes(&reply);
}

hotrow_status hr_wire_check_size(const hr_message *message)
{
  uint64_t size = HR_WIRE_HEADER_BYTES + message->body_size, announce_size = 0;
  uint64_t reply_size = HR_WIRE_HEADER_BYTES + HR_WIRE_ANNOUNCE_BYTES_MAX;
  for (size_t i = 0; i < message->section_count; i++) {
    const hr_section *s = &message->sections[i];
    size += hr_wire_section_bytes(s);
    if (s->kind == HR_SECTION_PULL)
      reply_size += reply_bytes_max(s);
    if (s->kind == HR_SECTION_ANNOUNCE)
      announce_size += hr_wire_section_bytes(s);
  }
  if (size > HR_WIRE_MESSAGE_BYTES_MAX)
    OVER_LIMIT("message of %llu bytes, limit HR_WIRE_MESSAGE_BYTES_MAX %zu", (unsigned long long)size,
               HR_WIRE_MESSAGE_BYTES_MAX);
  if (reply_size > HR_WIRE_MESSAGE_BYTES_MAX)
    OVER_LIMIT("pull with a reply of up to %llu bytes, limit HR_WIRE_MESSAGE_BYTES_MAX %zu",
               (unsigned long long)reply_size, HR_WIRE_MESSAGE_BYTES_MAX);
  if (announce_size > HR_WIRE_ANNOUNCE_BYTES_MAX)
    OVER_LIMIT("announcements of %llu bytes, limit HR_WIRE_ANNOUNCE_BYTES_MAX %u", (unsigned long long)announce_size,
               HR_WIRE_ANNOUNCE_BYTES_MAX);
  return HOTROW_OK;
}
