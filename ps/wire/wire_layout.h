/* What encoder and decoder share, so that they cannot disagree: which arrays a section has, and what makes a message
 * sound. The decoder refuses what these functions refuse; the encoder takes it for a bug of the caller. */
#ifndef WIRE_LAYOUT_H
#define WIRE_LAYOUT_H

#include <hr/wire.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structs are copied to and from the wire as they are");
_Static_assert(offsetof(hr_section, keys) == HR_WIRE_SECTION_BYTES, "a section begins with its bytes on the wire");

#define REFUSE(...) return hr_fail(HOTROW_ERR_PROTOCOL, __VA_ARGS__)
#define OVER_LIMIT(...) return hr_fail(HOTROW_ERR_LIMIT, __VA_ARGS__)

/* What a body may weigh. */
typedef struct hr_wire_size_range {
  uint32_t min, max;
} hr_wire_size_range;

typedef struct hr_wire_op {
  const char *name;
  uint16_t request_flags;
  hr_wire_size_range request, reply; /* bodies */
} hr_wire_op;

extern const hr_wire_op hr_wire_ops[HR_OP_COUNT];

static inline bool hr_wire_is_reply(const hr_header *h)
{
  return h->flags & HR_FLAG_REPLY;
}

/* For sentences: "pull reply". */
static inline const char *hr_wire_reply_word(const hr_header *h)
{
  return hr_wire_is_reply(h) ? " reply" : "";
}

/* May a request of this op want announcements? */
static inline bool hr_wire_is_data(uint8_t op)
{
  return op == HR_OP_PULL || op == HR_OP_PUSH || op == HR_OP_PUSH_PULL || op == HR_OP_TICK;
}

/* Does a message of this header have a section table, and not a body? */
static inline bool hr_wire_has_sections(const hr_header *h)
{
  return hr_wire_is_data(h->op) && !(h->flags & HR_FLAG_ERROR);
}

/* XXH3-64 of the frames after the header, one after the other; 0 if they have no bytes. */
uint64_t hr_wire_payload_hash(const hr_frame *frames, size_t frame_count);
/* XXH3_64bits_update for a processor with AVX2. */
void hr_wire_hash_update_wide(void *xxh3_state, const void *bytes, size_t size);

/* The fields from flags to section_count; op is known. */
hotrow_status hr_wire_check_header(const hr_header *header);
hotrow_status hr_wire_check_body(const hr_header *header, const void *body, size_t body_size);
/* The 40 bytes of section i, and how it follows the one before. */
hotrow_status hr_wire_check_section(const hr_header *header, const hr_section *sections, size_t i);
/* What the arrays of section i hold, where only some values are legal. */
hotrow_status hr_wire_check_arrays(const hr_section *sections, size_t i);

#endif
