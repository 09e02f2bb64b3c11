// SPDX-License-Identifier: MIT
// Elementwise kernels: load, compute in f32, round once to the output's dtype. Arguments: inputs, outputs, n, s.
#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"

const uint threads = 64;
layout(local_size_x = threads) in;
// Without SILICA_ROW 0 casts and 1 fills; with it 0 is the op of that row of ops.inc, and 1 its backward.
layout(constant_id = 0) const int kernel = 0;
layout(constant_id = 1) const uint inputs = 1;
layout(constant_id = 2) const uint outputs = 1;
layout(constant_id = 3) const uint from = 0;  // dtypes: vulkan.h
layout(constant_id = 4) const uint to = 0;
layout(constant_id = 5) const uint elements = 16;  // of a thread

// What fills 16 bytes of the narrower dtype.
const uint width = from == 0 && to == 0 ? 4 : 8;
const uint vectors = elements / width;

#define UNROLL [[unroll]]
#define NO_UNROLL [[dont_unroll]]  // what is computed is long where fma is emulated

// ---- the op: r0 and r1 from x0, x1, x2 and s

// Whether the row is a SILICA_UNARY or SILICA_BINARY; the others have no fma, but for axpy's one.
#ifndef SILICA_FORMULAS
#define SILICA_FORMULAS false
#endif

#ifdef SILICA_ROW
#define SILICA_UNARY(op, y, derivative) \
  if (kernel == 0) {                    \
    float x = x0;                       \
    r0 = y;                             \
  } else {                              \
    float x = x0;                       \
    float dy = x1;                      \
    r0 = dy * (derivative);             \
  }
#define SILICA_UNARY_LINEAR(op, y) \
  float x = x0;                    \
  r0 = y;
#define SILICA_UNARY_SCALAR(op, y, derivative) SILICA_UNARY_LINEAR(op, y)
#define SILICA_BINARY(op, c, da, db) \
  float a = x0;                      \
  float b = x1;                      \
  if (kernel == 0) {                 \
    r0 = c;                          \
  } else {                           \
    float dc = x2;                   \
    r0 = da;                         \
    r1 = db;                         \
  }
#define SILICA_BINARY_LINEAR(op, c, da, db) \
  if (kernel == 0) {                        \
    float a = x0;                           \
    float b = x1;                           \
    r0 = c;                                 \
  } else {                                  \
    float dc = x0;                          \
    r0 = da;                                \
    r1 = db;                                \
  }
#define SILICA_BINARY_SCALAR(op, c, da, db) SILICA_BINARY_LINEAR(op, c, da, db)
#else
#define SILICA_ROW   \
  if (kernel == 0) { \
    r0 = x0;         \
  } else {           \
    r0 = s;          \
  }
#endif

struct Results {
  float r0, r1;
};

Results compute(float x0, float x1, float x2, float s) {
  precise float r0 = 0.0f;
  precise float r1 = 0.0f;
  SILICA_ROW
  return Results(r0, r1);
}

// ---- a thread whose elements are all there, in words of 16 bytes: its vectors t, t + threads, ... of the group. Every
// index is a constant once the loops are unrolled, so that x[j], its elements of input j, and y[j], a vector of output j, can
// be registers.

float x[3][16];
float y[2][8];

float widened(uint h) { return from == 1 ? f16_to_f32_(h) : bf16_to_f32_(h); }
uint rounded(float value) { return to == 1 ? f32_to_f16_(value) : f32_to_bf16_(value); }

void load_vector(uint j, uint v, uint64_t first) {
  uint64_t address = word[j] + bytes_of(from, first);
  UNROLL for (uint k = 0; k < width; k += from == 0 ? 4 : 8) {
    uvec4 words = Words4(address + k * 4ul).value;
    UNROLL for (uint c = 0; c < 4; ++c) {
      if (from == 0) {
        x[j][v * width + k + c] = uintBitsToFloat(words[c]);
      } else {
        x[j][v * width + 2 * c] = widened(words[c] & 0xffffu);
        x[j][v * width + 2 * c + 1] = widened(words[c] >> 16);
      }
    }
  }
}

void store_vector(uint j, uint64_t first) {
  uint64_t address = word[inputs + j] + bytes_of(to, first);
  UNROLL for (uint k = 0; k < width; k += to == 0 ? 4 : 8) {
    uvec4 words;
    UNROLL for (uint c = 0; c < 4; ++c) {
      words[c] = to == 0 ? floatBitsToUint(y[j][k + c]) : rounded(y[j][2 * c]) | rounded(y[j][2 * c + 1]) << 16;
    }
    Words4(address + k * 4ul).value = words;
  }
}

void compute_whole(uint64_t mine, float s) {
  UNROLL for (uint v = 0; v < vectors; ++v) {
    UNROLL for (uint k = 0; k < width; ++k) {
      uint e = v * width + k;
      Results r = compute(x[0][e], x[1][e], x[2][e], s);
      y[0][k] = r.r0;
      y[1][k] = r.r1;
    }
    UNROLL for (uint j = 0; j < outputs; ++j) store_vector(j, mine + v * (threads * width));
  }
}

bool all_hide_flushing() {
  bool so_far = true;
  UNROLL for (uint e = 0; e < elements; ++e) so_far = so_far && is_moderate(x[0][e]);
  if (so_far) return true;
  so_far = true;  // zeros are asked for only then
  UNROLL for (uint e = 0; e < elements; ++e) so_far = so_far && (is_moderate(x[0][e]) || bits_(x[0][e]) << 1 == 0u);
  return so_far;
}

// ---- any other thread, the same elements one by one: an output may be an input

void compute_each(uint64_t mine, uint64_t n, float s) {
  NO_UNROLL for (uint e = 0; e < elements; ++e) {
    uint64_t i = mine + e / width * (threads * width) + e % width;
    if (i >= n) return;
    float operand[3] = float[3](0.0f, 0.0f, 0.0f);
    UNROLL for (uint j = 0; j < inputs; ++j) operand[j] = load_as(from, word[j], i);
    Results r = compute(operand[0], operand[1], operand[2], s);
    store_as(to, word[inputs], i, r.r0);
    if (outputs > 1) store_as(to, word[inputs + 1], i, r.r1);
  }
}

bool all_aligned() {
  uint64_t places = 0ul;
  UNROLL for (uint j = 0; j < inputs + outputs; ++j) places |= word[j];
  return (places & 15ul) == 0ul;
}

void main() {
  uint64_t n = word[inputs + outputs];
  float s = low_float(word[inputs + outputs + 1]);
  uint64_t begin = group_number() * (threads * elements);
  uint64_t mine = begin + gl_LocalInvocationID.x * width;
  bool is_whole = n - begin >= threads * elements && all_aligned();
  if (is_whole) {
    UNROLL for (uint v = 0; v < vectors; ++v) {
      UNROLL for (uint j = 0; j < inputs; ++j) load_vector(j, v, mine + v * (threads * width));
    }
  }
  if (is_whole && (!SILICA_FORMULAS || fma_serves_(all_hide_flushing()))) {
    flushing_is_harmless_ = SILICA_FORMULAS;
    compute_whole(mine, s);
    flushing_is_harmless_ = false;
  } else {
    compute_each(mine, n, s);
  }
}
