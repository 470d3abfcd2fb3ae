/* A sound message, one thing damaged, hashes made right again: the check of that very thing is what must refuse. */
#ifndef DAMAGE_H
#define DAMAGE_H

#include "hr_test.h"
#include "packet.h"

#define AT(type, field) offsetof(type, field), sizeof(((type *)0)->field)

extern hr_message sent, received;
extern packet p; /* what is_sound() made, until REFUSED() or ACCEPTED() */

#define REFUSED(status, words)                                                                                         \
  do {                                                                                                                 \
    CHECK_FAILS(hr_wire_decode(p.frames, p.frame_count, &received), status, words);                                    \
    CHECK_EQ(received.section_count, 0);                                                                               \
    packet_fini(&p);                                                                                                   \
  } while (0)

#define ACCEPTED()                                                                                                     \
  do {                                                                                                                 \
    CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));                                                      \
    packet_fini(&p);                                                                                                   \
  } while (0)

/* Encodes `sent` into `p`; it must be accepted as it is. */
void is_sound(void);
/* `value` written over a field of `frame`: refused with these words. */
void damaged(size_t frame, size_t offset, size_t size, uint64_t value, hotrow_status status, const char *words);
/* The same, and still accepted. */
void changed(size_t frame, size_t offset, size_t size, uint64_t value);
/* Always the same sample of an operation and direction, with a body where it can have one. */
void sample(uint8_t op, uint16_t flags);
/* The bits of a float, to be written over one. */
uint64_t float_bits(float value);

#define HEADER(field, value, status, words) damaged(0, AT(hr_header, field), (uint64_t)(value), status, words)
#define BAD_HEADER(field, value, words) HEADER(field, value, HOTROW_ERR_PROTOCOL, words)
#define GOOD_HEADER(field, value) changed(0, AT(hr_header, field), value)
#define SECTION(field, value, status, words) damaged(1, AT(hr_section, field), (uint64_t)(value), status, words)
#define BAD_SECTION(field, value, words) SECTION(field, value, HOTROW_ERR_PROTOCOL, words)
#define GOOD_SECTION(field, value) changed(1, AT(hr_section, field), value)
#define BODY(type, field, value, status, words) damaged(1, AT(type, field), (uint64_t)(value), status, words)
#define BAD_BODY(type, field, value, words) BODY(type, field, value, HOTROW_ERR_PROTOCOL, words)
#define GOOD_BODY(type, field, value) changed(1, AT(type, field), value)

#endif
