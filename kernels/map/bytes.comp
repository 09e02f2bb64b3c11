// SPDX-License-Identifier: MIT
// Copies bytes, whatever their dtype, or clears them. Arguments: x, y, bytes; or y, bytes.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint inputs = 0;  // 0: clear, 1: copy

const uint tile = 4096;  // bytes a group

void move_words(uint64_t y, uint64_t begin, uint64_t end) {
  for (uint64_t i = begin / 4 + gl_LocalInvocationID.x; i < end / 4; i += gl_WorkGroupSize.x) {
    uint value = 0;
    if (inputs == 1) value = load_word(word[0], i);
    store_word(y, i, value);
  }
}

void move_bytes(uint64_t y, uint64_t begin, uint64_t end) {
  for (uint64_t i = begin + gl_LocalInvocationID.x; i < end; i += gl_WorkGroupSize.x) {
    uint value = 0;
    if (inputs == 1) value = uint(Byte(word[0] + i).value);
    Byte(y + i).value = uint8_t(value);
  }
}

void main() {
  uint64_t y = word[inputs];
  uint64_t n = word[inputs + 1];
  uint64_t begin = group_number() * tile;
  uint64_t end = min(begin + tile, n);
  uint64_t alignment = y;
  if (inputs == 1) alignment |= word[0];
  if ((alignment & 3ul) == 0) {
    move_words(y, begin, end);
    begin = max(begin, end & ~3ul);
  }
  move_bytes(y, begin, end);
}
