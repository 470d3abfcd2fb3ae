/* libFuzzer's entry points over hr_wire_decode: fuzz_wire tests/wire/corpus */
#include "fuzz_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  fuzz_message(data, size);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed)
{
  return fuzz_mutate(data, size, capacity, seed);
}
