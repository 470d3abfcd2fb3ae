/* A message as frames that a test may damage: each frame is a heap block of exactly its size, so that a sanitizer sees
 * a read behind its end. And sound messages of every kind to start from. */
#ifndef PACKET_H
#define PACKET_H

#include <hr/random.h>
#include <hr/wire.h>

#define PACKET_FRAMES_MAX (HR_WIRE_FRAMES_MAX + 2)

typedef struct packet {
  hr_frame frames[PACKET_FRAMES_MAX];
  size_t frame_count;
} packet;

void packet_fini(packet *p);
void packet_encode(packet *p, const hr_message *message); /* hr_wire_encode, copied */
void packet_append(packet *p, const void *bytes, size_t size);
void packet_remove(packet *p, size_t frame);
void packet_resize(packet *p, size_t frame, size_t size); /* new bytes are 0 */
void packet_swap(packet *p, size_t a, size_t b);
uint8_t *packet_bytes(packet *p, size_t frame);
/* Writes the low `size` bytes of value over what is there. */
void packet_poke(packet *p, size_t frame, size_t offset, size_t size, uint64_t value);
/* Makes hashes, payload_size and frame_count right again, if frame 0 is a header. */
void packet_reseal(packet *p);

/* A packet as one run of bytes: per frame its size as u32, then its bytes. Parsing stops at what does not fit. */
void packet_parse(packet *p, const uint8_t *bytes, size_t size);
size_t packet_write(const packet *p, uint8_t *bytes, size_t capacity); /* 0 if it does not fit */

/* A random sound message: flags is 0, HR_FLAG_REPLY or HR_FLAG_REPLY | HR_FLAG_ERROR. Its arrays live until the next
 * call. */
void sample_message(hr_rng *rng, uint8_t op, uint16_t flags, hr_message *m);

/* Random sound messages of one section each, with these section flags; key_count > 0. */
void sample_push(hr_rng *rng, uint8_t flags, hotrow_dtype dtype, hr_message *m);
void sample_pull(hr_rng *rng, uint8_t flags, hotrow_dtype dtype, hr_message *m);
void sample_pull_reply(hr_rng *rng, uint8_t flags, hotrow_dtype dtype, hr_message *m);
void sample_announce(hr_rng *rng, uint8_t op, hr_message *m); /* reply to op */

#endif
