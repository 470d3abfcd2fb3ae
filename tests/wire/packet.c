#include "packet.h"

#include <stdlib.h>
#include <string.h>

#include <hr/assert.h>
#include <hr/hash.h>

void packet_fini(packet *p)
{
  for (size_t i = 0; i < p->frame_count; i++)
    free(packet_bytes(p, i));
  p->frame_count = 0;
}

void packet_append(packet *p, const void *bytes, size_t size)
{
  HOTROW_ASSERT(p->frame_count < PACKET_FRAMES_MAX);
  void *copy = malloc(size);
  HOTROW_ASSERT(copy != NULL || size == 0);
  if (size > 0)
    memcpy(copy, bytes, size);
  p->frames[p->frame_count++] = (hr_frame){copy, size};
}

void packet_encode(packet *p, const hr_message *message)
{
  uint8_t header[HR_WIRE_HEADER_BYTES], sections[HR_WIRE_SECTIONS_MAX * HR_WIRE_SECTION_BYTES];
  hr_frame frames[HR_WIRE_FRAMES_MAX];
  size_t frame_count;
  hr_wire_encode(message, header, sections, frames, &frame_count);
  p->frame_count = 0;
  for (size_t i = 0; i < frame_count; i++)
    packet_append(p, frames[i].data, frames[i].size);
}

void packet_remove(packet *p, size_t frame)
{
  free(packet_bytes(p, frame));
  p->frame_count--;
  memmove(&p->frames[frame], &p->frames[frame + 1], (p->frame_count - frame) * sizeof(hr_frame));
}

void packet_resize(packet *p, size_t frame, size_t size)
{
  uint8_t *bytes = calloc(size ? size : 1, 1);
  HOTROW_ASSERT(bytes != NULL);
  size_t kept = size < p->frames[frame].size ? size : p->frames[frame].size;
  if (kept > 0)
    memcpy(bytes, p->frames[frame].data, kept);
  free(packet_bytes(p, frame));
  p->frames[frame] = (hr_frame){bytes, size};
}

void packet_swap(packet *p, size_t a, size_t b)
{
  hr_frame frame = p->frames[a];
  p->frames[a] = p->frames[b];
  p->frames[b] = frame;
}

uint8_t *packet_bytes(packet *p, size_t frame)
{
  HOTROW_ASSERT(frame < p->frame_count);
  return (uint8_t *)(uintptr_t)p->frames[frame].data;
}

void packet_poke(packet *p, size_t frame, size_t offset, size_t size, uint64_t value)
{
  HOTROW_ASSERT(size <= sizeof value && offset + size <= p->frames[frame].size);
  memcpy(packet_bytes(p, frame) + offset, &value, size);
}

void packet_reseal(packet *p)
{
  if (p->frame_count == 0 || p->frames[0].size != HR_WIRE_HEADER_BYTES)
    return;
  size_t size = 0;
  for (size_t i = 1; i < p->frame_count; i++)
    size += p->frames[i].size;
  uint8_t *all = malloc(size ? size : 1);
  HOTROW_ASSERT(all != NULL);
  size_t at = 0;
  for (size_t i = 1; i < p->frame_count; i++) {
    if (p->frames[i].size > 0)
      memcpy(all + at, p->frames[i].data, p->frames[i].size);
    at += p->frames[i].size;
  }
  packet_poke(p, 0, offsetof(hr_header, frame_count), 2, p->frame_count);
  packet_poke(p, 0, offsetof(hr_header, payload_size), 8, size);
  packet_poke(p, 0, offsetof(hr_header, payload_hash), 8, size ? hr_hash_bytes(all, size) : 0);
  packet_poke(p, 0, offsetof(hr_header, header_hash), 8, hr_hash_bytes(p->frames[0].data, 120));
  free(all);
}

void packet_parse(packet *p, const uint8_t *bytes, size_t size)
{
  p->frame_count = 0;
  while (size >= 4 && p->frame_count < PACKET_FRAMES_MAX) {
    uint32_t frame_size;
    memcpy(&frame_size, bytes, 4);
    if (frame_size > size - 4)
      break;
    packet_append(p, bytes + 4, frame_size);
    bytes += 4 + frame_size;
    size -= 4 + frame_size;
  }
}

size_t packet_write(const packet *p, uint8_t *bytes, size_t capacity)
{
  size_t at = 0;
  for (size_t i = 0; i < p->frame_count; i++) {
    uint32_t size = (uint32_t)p->frames[i].size;
    if (capacity - at < 4 || capacity - at - 4 < size)
      return 0;
    memcpy(bytes + at, &size, 4);
    if (size > 0)
      memcpy(bytes + at + 4, p->frames[i].data, size);
    at += 4 + size;
  }
  return at;
}
