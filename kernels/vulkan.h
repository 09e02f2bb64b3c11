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
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Float { float value; };

float load(uint64_t address, uint64_t i) { return Float(address + i * 4ul).value; }
uint load_word(uint64_t address, uint64_t i) { return Word(address + i * 4ul).value; }
void store(uint64_t address, uint64_t i, float value) { Float(address + i * 4ul).value = value; }
void store_word(uint64_t address, uint64_t i, uint value) { Word(address + i * 4ul).value = value; }

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
