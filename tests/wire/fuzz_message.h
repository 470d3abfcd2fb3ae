/* What the fuzzer and its replay share: the oracle and the mutator. An input is a packet as packet_parse reads it. */
#ifndef FUZZ_MESSAGE_H
#define FUZZ_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the input and aborts if the outcome breaks a promise of hr_wire_decode. Was it accepted? */
bool fuzz_message(const uint8_t *input, size_t size);

/* Changes an input in place: fields, arrays and frames, and mostly makes lengths and hashes right again, without which
 * hardly anything would come past the first checks. Returns the new size. */
size_t fuzz_mutate(uint8_t *input, size_t size, size_t capacity, uint64_t seed);

#endif
