// SPDX-License-Identifier: MIT
// What the Vulkan kernels share, in GLSL. Operands are addresses in the push constants (kernel.h), which
// every kernel reads as 64-bit words: the operands first, then the parameters of its CPU sibling.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

#include "kernels/formulas.h"

layout(push_constant, std430) uniform Arguments { uint64_t word[16]; };

layout(buffer_reference, std430, buffer_reference_align = 1) buffer Byte { uint8_t value; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Half { uint16_t value; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Word { uint value; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Words4 { uvec4 value; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Float { float value; };

float load(uint64_t address, uint64_t i) { return Float(address + i * 4ul).value; }
uint load_word(uint64_t address, uint64_t i) { return Word(address + i * 4ul).value; }
void store(uint64_t address, uint64_t i, float value) { Float(address + i * 4ul).value = value; }
void store_word(uint64_t address, uint64_t i, uint value) { Word(address + i * 4ul).value = value; }

// Elements of 1, 2 or 4 bytes that only move.
uint load_bits(uint size, uint64_t address, uint64_t i) {
  if (size == 1) return uint(Byte(address + i).value);
  if (size == 2) return uint(Half(address + i * 2ul).value);
  return load_word(address, i);
}
void store_bits(uint size, uint64_t address, uint64_t i, uint value) {
  if (size == 1) {
    Byte(address + i).value = uint8_t(value);
  } else if (size == 2) {
    Half(address + i * 2ul).value = uint16_t(value);
  } else {
    store_word(address, i, value);
  }
}

// The floating-point dtypes: 0 f32, 1 f16, 2 bf16, as the backend numbers them (kernels.cpp).
uint64_t bytes_of(uint dtype, uint64_t elements) { return elements * (dtype == 0 ? 4ul : 2ul); }
float load_as(uint dtype, uint64_t address, uint64_t i) {
  if (dtype == 0) return load(address, i);
  uint h = uint(Half(address + i * 2ul).value);
  if (dtype == 1) return f16_to_f32_(h);
  return bf16_to_f32_(h);
}
void store_as(uint dtype, uint64_t address, uint64_t i, float value) {
  if (dtype == 0) {
    store(address, i, value);
  } else if (dtype == 1) {
    Half(address + i * 2ul).value = uint16_t(f32_to_f16_(value));
  } else {
    Half(address + i * 2ul).value = uint16_t(f32_to_bf16_(value));
  }
}

// Two 32-bit parameters share a word.
float low_float(uint64_t bits) { return uintBitsToFloat(uint(bits & 0xfffffffful)); }
float high_float(uint64_t bits) { return uintBitsToFloat(uint(bits >> 32)); }

// The number of this group: dispatches are at most 65535 wide, so a larger grid is folded (queue.cpp).
uint64_t group_number() {
  return gl_WorkGroupID.x + 65535ul * (gl_WorkGroupID.y + 65535ul * gl_WorkGroupID.z);
}

// A count as the nearest float; the device's own conversion need not round to even.
FORMULA(float) float_of(uint64_t n) {
  uint shift = 0u;
  while (n >> shift >= 0x2000000ul) ++shift;  // leaves 25 bits: 24 and the one that is rounded
  uint kept = uint(n >> shift);
  if (kept < 0x1000000u) return float(kept);
  bool rest = (uint64_t(kept) << shift) != n;
  uint rounded = (kept >> 1) + ((kept & 1u) & (uint(rest) | (kept >> 1)));
  return float(rounded) * uintBitsToFloat((shift + 128u) << 23);  // both factors are exact, and the product
}
