// SPDX-License-Identifier: MIT
// Shows what a Vulkan device makes of the primitives that the exactness contract rests on. Arguments: a, b,
// c (n), results (primitives, n), n.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"

layout(local_size_x = 256) in;

void put(uint primitive, uint64_t i, float value) {
  store_word(word[3], primitive * word[4] + i, floatBitsToUint(value));
}

void main() {
  uint64_t i = group_number() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i >= word[4]) return;
  float a = load(word[0], i);
  float b = load(word[1], i);
  float c = load(word[2], i);
  precise float sum = a + b;
  precise float difference = a - b;
  precise float product = a * b;
  precise float separate = a * b + c;
  precise float quotient = a / b;
  put(0, i, sum);
  put(1, i, difference);
  put(2, i, product);
  put(3, i, separate);
  put(4, i, fma_(a, b, c));
  put(5, i, quotient);
  put(6, i, sqrt(a));
  put(7, i, div_rounded_(a, b));
  put(8, i, sqrt_rounded_(a));
  float x = uintBitsToFloat((floatBitsToUint(a) & 0x00ffffffu) | 0x3f800000u);
  put(9, i, reciprocal_rounded_(x));
  precise float negated = -a;
  put(10, i, negated);
  put(11, i, less_(a, b) ? 2.0f : less_equal_(a, b) ? 1.0f : 0.0f);
  put(12, i, fma(a, b, c));
}
