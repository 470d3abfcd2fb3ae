#include "wire_layout.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/hash.h>

/* The header, into *header_p as soon as it could be answered. */
static hotrow_status read_header(const hr_frame *frames, size_t frame_count, hr_header *header_p)
{
  hr_header header;
  if (frame_count == 0)
    return hr_fail(HOTROW_ERR_PROTOCOL, "message of no frames");
  if (frames[0].size != sizeof header)
    return hr_fail(HOTROW_ERR_PROTOCOL, "header of %zu bytes, not %zu", frames[0].size, sizeof header);
  memcpy(&header, frames[0].data, sizeof header);
  if (header.magic != HR_WIRE_MAGIC)
    return hr_fail(HOTROW_ERR_PROTOCOL, "magic 0x%08x, not 0x%08x", header.magic, HR_WIRE_MAGIC);
  uint64_t hash = hr_hash_bytes(&header, offsetof(hr_header, header_hash));
  if (header.header_hash != hash)
    return hr_fail(HOTROW_ERR_PROTOCOL, "header_hash 0x%016llx, not 0x%016llx", (unsigned long long)header.header_hash,
                   (unsigned long long)hash);
  if (header.op == 0 || header.op >= HR_OP_COUNT)
    return hr_fail(HOTROW_ERR_PROTOCOL, "op %u is none of ours", header.op);
  *header_p = header;
  if (header.version != HR_WIRE_VERSION)
    return hr_fail(HOTROW_ERR_VERSION, "message of version %u, this side has version %u", header.version,
                   HR_WIRE_VERSION);
  return hr_wire_check_header(header_p);
}

static hotrow_status check_payload(const hr_header *h, const hr_frame *frames, size_t frame_count)
{
  if (frame_count > HR_WIRE_FRAMES_MAX)
    return hr_fail(HOTROW_ERR_LIMIT, "%zu frames, limit HR_WIRE_FRAMES_MAX %u", frame_count, HR_WIRE_FRAMES_MAX);
  if (h->frame_count != frame_count)
    return hr_fail(HOTROW_ERR_PROTOCOL, "frame_count %u in a message of %zu", h->frame_count, frame_count);
  size_t size = 0;
  for (size_t i = 1; i < frame_count; i++) {
    if (frames[i].size > 0 && (uintptr_t)frames[i].data % 8 != 0)
      return hr_fail(HOTROW_ERR_PROTOCOL, "frame %zu is not aligned to 8 bytes in memory", i);
    if (frames[i].size > HR_WIRE_MESSAGE_BYTES_MAX - HR_WIRE_HEADER_BYTES - size)
      return hr_fail(HOTROW_ERR_LIMIT, "frames up to %zu are over the limit HR_WIRE_MESSAGE_BYTES_MAX %zu", i,
                     HR_WIRE_MESSAGE_BYTES_MAX);
    size += frames[i].size;
  }
  if (h->payload_size != size)
    return hr_fail(HOTROW_ERR_PROTOCOL, "payload_size %llu, and %zu bytes came", (unsigned long long)h->payload_size,
                   size);
  uint64_t hash = hr_wire_payload_hash(frames, frame_count);
  if (h->payload_hash != hash)
    return hr_fail(HOTROW_ERR_PROTOCOL, "payload_hash 0x%016llx, not 0x%016llx", (unsigned long long)h->payload_hash,
                   (unsigned long long)hash);
  return HOTROW_OK;
}

/* Points the section at its arrays, the next frames from *frame_p on. */
static hotrow_status attach_arrays(hr_section *sections, size_t i, const hr_frame *frames, size_t frame_count,
                                   size_t *frame_p)
{
  static const uint64_t nothing; /* where arrays of no elements are */
  hr_section *s = &sections[i];
  hr_wire_array arrays[HR_WIRE_ARRAYS_MAX];
  size_t array_count = hr_wire_arrays(s, arrays);
  for (size_t k = 0; k < array_count; k++) {
    if (*frame_p >= frame_count)
      return hr_fail(HOTROW_ERR_PROTOCOL, "frame_count %zu ends in the arrays of section %zu", frame_count, i);
    const hr_frame *frame = &frames[(*frame_p)++];
    if (frame->size != arrays[k].size_bytes)
      return hr_fail(HOTROW_ERR_PROTOCOL, "section %zu: array %zu has %zu bytes, not %llu", i, k, frame->size,
                     (unsigned long long)arrays[k].size_bytes);
    const void *data = frame->size ? frame->data : &nothing;
    memcpy((char *)s + arrays[k].pointer_offset, &data, sizeof data);
  }
  return HOTROW_OK;
}

static hotrow_status decode_sections(const hr_frame *frames, size_t frame_count, hr_message *m)
{
  size_t section_count = m->header.section_count, next = 1;
  if (section_count > 0) {
    if (frame_count < 2)
      return hr_fail(HOTROW_ERR_PROTOCOL, "section_count %zu, and no section table", section_count);
    if (frames[1].size != section_count * HR_WIRE_SECTION_BYTES)
      return hr_fail(HOTROW_ERR_PROTOCOL, "section table of %zu bytes, not %zu", frames[1].size,
                     section_count * HR_WIRE_SECTION_BYTES);
    next = 2;
  }
  for (size_t i = 0; i < section_count; i++) {
    m->sections[i] = (hr_section){0};
    memcpy(&m->sections[i], (const char *)frames[1].data + i * HR_WIRE_SECTION_BYTES, HR_WIRE_SECTION_BYTES);
    HOTROW_TRY(hr_wire_check_section(&m->header, m->sections, i));
    HOTROW_TRY(attach_arrays(m->sections, i, frames, frame_count, &next));
    HOTROW_TRY(hr_wire_check_arrays(m->sections, i));
  }
  if (next != frame_count)
    return hr_fail(HOTROW_ERR_PROTOCOL, "frame_count %zu, and the sections call for %zu", frame_count, next);
  return HOTROW_OK;
}

static hotrow_status decode_body(const hr_frame *frames, size_t frame_count, hr_message *m)
{
  if (frame_count > 2)
    return hr_fail(HOTROW_ERR_PROTOCOL, "frame_count %zu in a message without sections", frame_count);
  if (frame_count == 2 && frames[1].size == 0)
    return hr_fail(HOTROW_ERR_PROTOCOL, "a body frame of no bytes");
  hr_frame body = frame_count == 2 ? frames[1] : (hr_frame){NULL, 0};
  HOTROW_TRY(hr_wire_check_body(&m->header, body.data, body.size));
  m->body = body.data;
  m->body_size = body.size;
  return HOTROW_OK;
}

static hotrow_status decode_payload(const hr_frame *frames, size_t frame_count, hr_message *m)
{
  HOTROW_TRY(check_payload(&m->header, frames, frame_count));
  if (!hr_wire_has_sections(&m->header))
    return decode_body(frames, frame_count, m);
  HOTROW_TRY(decode_sections(frames, frame_count, m));
  m->section_count = m->header.section_count;
  return hr_wire_check_size(m);
}

hotrow_status hr_wire_decode(const hr_frame *frames, size_t frame_count, hr_message *message_p)
{
  message_p->header = (hr_header){0};
  message_p->body = NULL;
  message_p->body_size = 0;
  message_p->section_count = 0;
  HOTROW_TRY(read_header(frames, frame_count, &message_p->header));
  hotrow_status status = decode_payload(frames, frame_count, message_p);
  if (status != HOTROW_OK)
    message_p->section_count = 0;
  return status;
}
