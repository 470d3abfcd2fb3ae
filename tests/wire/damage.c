#include "damage.h"

hr_message sent, received;
packet p;

void is_sound(void)
{
  packet_encode(&p, &sent);
  CHECK_OK(hr_wire_decode(p.frames, p.frame_count, &received));
}

void damaged(size_t frame, size_t offset, size_t size, uint64_t value, hotrow_status status, const char *words)
{
  is_sound();
  packet_poke(&p, frame, offset, size, value);
  packet_reseal(&p);
  REFUSED(status, words);
}

void changed(size_t frame, size_t offset, size_t size, uint64_t value)
{
  is_sound();
  packet_poke(&p, frame, offset, size, value);
  packet_reseal(&p);
  ACCEPTED();
}

void sample(uint8_t op, uint16_t flags)
{
  hr_rng rng = {op};
  do
    sample_message(&rng, op, flags, &sent);
  while ((op == HR_OP_TABLE_LIST && flags && sent.body_size == 0) || sent.header.status == HOTROW_ERR_BUSY);
}

uint64_t float_bits(float value)
{
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
