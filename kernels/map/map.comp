// SPDX-License-Identifier: MIT
// Elementwise kernels: load, compute in f32, round once to the output's dtype. Arguments: inputs, outputs, n, s.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"

layout(local_size_x = 256) in;
// Without SILICA_ROW 0 casts and 1 fills; with it 0 is the op of that row of ops.inc, and 1 its backward.
layout(constant_id = 0) const int kernel = 0;
layout(constant_id = 1) const uint inputs = 1;
layout(constant_id = 2) const uint outputs = 1;
layout(constant_id = 3) const uint from = 0;  // dtypes: vulkan.h
layout(constant_id = 4) const uint to = 0;

const uint per_thread = 4;

#define INPUT(j) load_as(from, word[j], i)

#ifdef SILICA_ROW
#define SILICA_UNARY(op, y, derivative) \
  if (kernel == 0) {                    \
    float x = INPUT(0);                 \
    r0 = y;                             \
  } else {                              \
    float x = INPUT(0);                 \
    float dy = INPUT(1);                \
    r0 = dy * (derivative);             \
  }
#define SILICA_UNARY_LINEAR(op, y) \
  float x = INPUT(0);              \
  r0 = y;
#define SILICA_UNARY_SCALAR(op, y, derivative) SILICA_UNARY_LINEAR(op, y)
#define SILICA_BINARY(op, c, da, db) \
  float a = INPUT(0);                \
  float b = INPUT(1);                \
  if (kernel == 0) {                 \
    r0 = c;                          \
  } else {                           \
    float dc = INPUT(2);             \
    r0 = da;                         \
    r1 = db;                         \
  }
#define SILICA_BINARY_LINEAR(op, c, da, db) \
  if (kernel == 0) {                        \
    float a = INPUT(0);                     \
    float b = INPUT(1);                     \
    r0 = c;                                 \
  } else {                                  \
    float dc = INPUT(0);                    \
    r0 = da;                                \
    r1 = db;                                \
  }
#define SILICA_BINARY_SCALAR(op, c, da, db) SILICA_BINARY_LINEAR(op, c, da, db)
#else
#define SILICA_ROW \
  if (kernel == 0) { \
    r0 = INPUT(0);   \
  } else {           \
    r0 = s;          \
  }
#endif

void element(uint64_t i, float s) {
  precise float r0 = 0.0f;
  precise float r1 = 0.0f;
  SILICA_ROW
  store_as(to, word[inputs], i, r0);
  if (outputs > 1) store_as(to, word[inputs + 1], i, r1);
}

void main() {
  uint64_t n = word[inputs + outputs];
  float s = low_float(word[inputs + outputs + 1]);
  uint64_t first = group_number() * (per_thread * gl_WorkGroupSize.x) + gl_LocalInvocationID.x;
  for (uint j = 0; j < per_thread; ++j) {
    uint64_t i = first + j * gl_WorkGroupSize.x;
    if (i < n) element(i, s);
  }
}
