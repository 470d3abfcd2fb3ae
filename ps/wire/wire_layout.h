/* What encoder and decoder share, so that they cannot disagree: which arrays a section has, and what makes a message
 * sound. The decoder refuses what these functions refuse; the encoder takes it for a bug of the caller. */
#ifndef WIRE_LAYOUT_H
#define WIRE_LAYOUT_H

#include <hr/wire.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structs are copied to and from the wire as they are");
_Static_assert(offsetof(hr_section, keys) == HR_WIRE_SECTION_BYTES, "a section begins with its bytes on the wire");

/* One array of a section: one frame. */
typedef struct hr_wire_array {
  size_t pointer_offset; /* of its pointer in hr_section */
  uint64_t size_bytes;
} hr_wire_array;

/* The arrays that a section's fields call for, in the order of the frames. An array of no bytes is a frame too. */
static inline size_t hr_wire_arrays(const hr_section *s, hr_wire_array arrays[HR_WIRE_ARRAYS_MAX])
{
  size_t count = 0;
#define ARRAY(field, element_count)                                                                                    \
  arrays[count++] = (hr_wire_array)                                                                                    \
  {                                                                                                                    \
    offsetof(hr_section, field), (uint64_t)(element_count) * sizeof *s->field                                          \
  }
  switch (s->kind) {
  case HR_SECTION_PULL:
    ARRAY(keys, s->key_count);
    ARRAY(seen, s->held_count);
    break;
  case HR_SECTION_PUSH:
    ARRAY(keys, s->key_count);
    ARRAY(grads, (uint64_t)s->key_count * s->dim);
    if (s->flags & HR_SECTION_STEPS) {
      ARRAY(steps, s->key_count);
      if (s->extra_dim > 0)
        ARRAY(squares, (uint64_t)s->key_count * s->extra_dim);
    }
    break;
  case HR_SECTION_PULL_REPLY:
    ARRAY(index, s->held_count);
    ARRAY(clocks, s->row_count);
    ARRAY(values, (uint64_t)s->row_count * s->dim);
    if (s->extra_dim > 0)
      ARRAY(states, (uint64_t)s->row_count * s->extra_dim);
    if (s->flags & HR_SECTION_FOUND)
      ARRAY(found, ((uint64_t)s->key_count - s->bound + 7) / 8);
    break;
  default:
    break;
  }
#undef ARRAY
  return count;
}

/* Does a message of this header have a section table, and not a body? */
static inline bool hr_wire_has_sections(const hr_header *h)
{
  bool is_data = h->op == HR_OP_PULL || h->op == HR_OP_PUSH || h->op == HR_OP_PUSH_PULL;
  return is_data && !(h->flags & HR_FLAG_ERROR);
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
