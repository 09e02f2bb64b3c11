// SPDX-License-Identifier: MIT
// Copies bytes, whatever their dtype, or clears them. Arguments: x, y, bytes; or y, bytes.
#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"

const uint threads = 64;
layout(local_size_x = threads) in;
layout(constant_id = 0) const uint inputs = 0;  // 0: clear, 1: copy

const uint tile = 4096;  // bytes a group
const uint vectors = tile / (threads * 16);

void move_vectors(uint64_t y, uint64_t begin) {
  uint64_t mine = begin + gl_LocalInvocationID.x * 16;
  uvec4 words[vectors];
  [[unroll]] for (uint v = 0; v < vectors; ++v) {
    words[v] = uvec4(0);
    if (inputs == 1) words[v] = Words4(word[0] + mine + v * (threads * 16)).value;
  }
  [[unroll]] for (uint v = 0; v < vectors; ++v) Words4(y + mine + v * (threads * 16)).value = words[v];
}

void move_words(uint64_t y, uint64_t begin, uint64_t end) {
  for (uint64_t i = begin / 4 + gl_LocalInvocationID.x; i < end / 4; i += threads) {
    uint value = 0;
    if (inputs == 1) value = load_word(word[0], i);
    store_word(y, i, value);
  }
}

void move_bytes(uint64_t y, uint64_t begin, uint64_t end) {
  for (uint64_t i = begin + gl_LocalInvocationID.x; i < end; i += threads) {
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
  uint64_t places = y;
  if (inputs == 1) places |= word[0];
  if ((places & 15ul) == 0 && end - begin == tile) {
    move_vectors(y, begin);
    return;
  }
  if ((places & 3ul) == 0) {
    move_words(y, begin, end);
    begin = max(begin, end & ~3ul);
  }
  move_bytes(y, begin, end);
}
