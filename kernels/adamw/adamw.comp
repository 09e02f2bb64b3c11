// SPDX-License-Identifier: MIT
// The AdamW optimizer. Arguments as in adamw.cpp.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"
#include "kernels/adamw/adamw.h"

layout(local_size_x = 256) in;
layout(constant_id = 0) const int kernel = 0;  // 0 adamw_step, 1 adamw

void adamw_step() {
  if (gl_LocalInvocationID.x != 0) return;
  precise float power1 = load(word[0], 1) * low_float(word[1]);
  precise float power2 = load(word[0], 2) * high_float(word[1]);
  store(word[0], 1, power1);
  store(word[0], 2, power2);
}

void adamw(uint64_t i) {
  float gradient = load(word[0], i);
  float rate = load(word[1], 0);
  precise float rest1 = 1.0f - load(word[1], 1);
  precise float rest2 = 1.0f - load(word[1], 2);
  precise float square = gradient * gradient;
  float m = adamw_moment(load(word[3], i), gradient, low_float(word[6]));
  float v = adamw_moment(load(word[4], i), square, high_float(word[6]));
  store(word[3], i, m);
  store(word[4], i, v);
  float weight = adamw_weight(load(word[2], i), div_(m, rest1), div_(v, rest2), rate, low_float(word[7]),
                              high_float(word[7]));
  store(word[2], i, weight);
}

void main() {
  if (kernel == 0) {
    adamw_step();
  } else {
    uint64_t i = group_number() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (i < word[5]) adamw(i);
  }
}
