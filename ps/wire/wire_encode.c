#include "wire_layout.h"

#include <string.h>

#include <hr/assert.h>
#include <hr/hash.h>

/* An unsound message is our bug; the sentence says which. */
static void must(hotrow_status status)
{
  if (status != HOTROW_OK)
    hr_assert_failed(hotrow_last_error(), __FILE__, __LINE__);
}

/* Appends the section table and the arrays; returns the number of frames so far. */
static size_t encode_sections(const hr_message *m, uint8_t *section_bytes, hr_frame *frames)
{
  size_t frame_count = 1;
  if (m->section_count == 0)
    return frame_count;
  frames[frame_count++] = (hr_frame){section_bytes, (size_t)m->section_count * HR_WIRE_SECTION_BYTES};
  for (size_t i = 0; i < m->section_count; i++) {
    const hr_section *s = &m->sections[i];
    must(hr_wire_check_section(&m->header, m->sections, i));
    memcpy(section_bytes + i * HR_WIRE_SECTION_BYTES, s, HR_WIRE_SECTION_BYTES);
    hr_wire_array arrays[HR_WIRE_ARRAYS_MAX];
    size_t array_count = hr_wire_arrays(s, arrays);
    for (size_t k = 0; k < array_count; k++) {
      const void *data;
      memcpy(&data, (const char *)s + arrays[k].pointer_offset, sizeof data);
      HOTROW_ASSERT(data != NULL || arrays[k].size_bytes == 0);
      frames[frame_count++] = (hr_frame){data, (size_t)arrays[k].size_bytes};
    }
    must(hr_wire_check_arrays(m->sections, i));
  }
  HOTROW_ASSERT(frame_count <= HR_WIRE_FRAMES_MAX);
  return frame_count;
}

static size_t encode_body(const hr_message *m, hr_frame *frames)
{
  HOTROW_ASSERT(m->body != NULL || m->body_size == 0);
  must(hr_wire_check_body(&m->header, m->body, m->body_size));
  if (m->body_size == 0)
    return 1;
  frames[1] = (hr_frame){m->body, m->body_size};
  return 2;
}

void hr_wire_encode(const hr_message *message, uint8_t *header_bytes, uint8_t *section_bytes, hr_frame *frames_p,
                    size_t *frame_count_p)
{
  hr_header header = message->header;
  HOTROW_ASSERT(header.op > 0 && header.op < HR_OP_COUNT);
  header.magic = HR_WIRE_MAGIC;
  header.version = HR_WIRE_VERSION;
  header.section_count = message->section_count;
  header.reserved = 0;
  header.reserved2 = 0;
  must(hr_wire_check_header(&header));
  must(hr_wire_check_size(message));

  bool has_sections = hr_wire_has_sections(&header);
  HOTROW_ASSERT(!has_sections || message->body_size == 0);
  size_t frame_count =
      has_sections ? encode_sections(message, section_bytes, frames_p) : encode_body(message, frames_p);
  header.frame_count = (uint16_t)frame_count;
  header.payload_size = 0;
  for (size_t i = 1; i < frame_count; i++)
    header.payload_size += frames_p[i].size;
  header.payload_hash = hr_wire_payload_hash(frames_p, frame_count);
  header.header_hash = hr_hash_bytes(&header, offsetof(hr_header, header_hash));
  memcpy(header_bytes, &header, sizeof header);
  frames_p[0] = (hr_frame){header_bytes, sizeof header};
  *frame_count_p = frame_count;
}

void hr_wire_reply(const hr_header *request, hr_message *reply_p)
{
  HOTROW_ASSERT(request->op > 0 && request->op < HR_OP_COUNT);
  reply_p->header = (hr_header){.op = request->op,
                                .flags = HR_FLAG_REPLY,
                                .request_id = request->request_id,
                                .session = request->session,
                                .push_seq = request->push_seq,
                                .step = request->step,
                                .rank = request->rank};
  reply_p->body = NULL;
  reply_p->body_size = 0;
  reply_p->section_count = 0;
}

void hr_wire_reply_error(const hr_header *request, int32_t status, const char *text,
                         char text_bytes[HR_WIRE_TEXT_BYTES_MAX], hr_message *reply_p)
{
  HOTROW_ASSERT(status == HR_STATUS_GAP || (status != HOTROW_OK && hr_status_is_known(status)));
  hr_wire_reply(request, reply_p);
  reply_p->header.flags |= HR_FLAG_ERROR;
  reply_p->header.status = status;
  size_t size = strnlen(text, HR_WIRE_TEXT_BYTES_MAX);
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)text[i];
    text_bytes[i] = c < 0x20 || c == 0x7f ? '?' : text[i];
  }
  if (size == 0)
    text_bytes[size++] = '?';
  reply_p->body = text_bytes;
  reply_p->body_size = size;
}
