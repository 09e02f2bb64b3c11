// SPDX-License-Identifier: MIT
// Elementwise kernels: load, compute in f32, round once to the output's dtype. Operands move in words of 16 bytes where
// all of them are aligned and the group is whole. Arguments: inputs, outputs, n, s.
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
// The loop over what is computed, which is long where fma is emulated.
#ifdef SILICA_EMULATE_FMA
#define UNROLL_SHORT [[dont_unroll]]
#else
#define UNROLL_SHORT [[unroll]]
#endif

// ---- the op: r0 and r1 from x0, x1, x2 and s

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

// ---- moving 16 bytes, or only the first `left` elements in them

uvec4 load_words(uint64_t address, bool whole, uint64_t left) {
  if (whole) return Words4(address).value;
  uvec4 words = uvec4(0);
  UNROLL for (uint c = 0; c < 4; ++c) {
    if (from == 0) {
      if (c < left) words[c] = load_word(address, c);
    } else {
      if (2 * c < left) words[c] = load_bits(2, address, 2 * c);
      if (2 * c + 1 < left) words[c] |= load_bits(2, address, 2 * c + 1) << 16;
    }
  }
  return words;
}

void store_words(uint64_t address, uvec4 words, bool whole, uint64_t left) {
  if (whole) {
    Words4(address).value = words;
    return;
  }
  UNROLL for (uint c = 0; c < 4; ++c) {
    if (to == 0) {
      if (c < left) store_word(address, c, words[c]);
    } else {
      if (2 * c < left) store_bits(2, address, 2 * c, words[c]);
      if (2 * c + 1 < left) store_bits(2, address, 2 * c + 1, words[c] >> 16);
    }
  }
}

// ---- vectors: x[j] are the thread's elements of input j, y[j] a vector of output j. Every index is a constant once the
// loops are unrolled, so that both can be registers: what is computed takes x[j][0], and the others move up.

float x[3][16];
float y[2][8];

float widened(uint h) { return from == 1 ? f16_to_f32_(h) : bf16_to_f32_(h); }
uint rounded(float value) { return to == 1 ? f32_to_f16_(value) : f32_to_bf16_(value); }

void load_vector(uint j, uint v, uint64_t first, bool whole, uint64_t left) {
  uint64_t address = word[j] + bytes_of(from, first);
  if (from == 0) {
    UNROLL for (uint k = 0; k < width; k += 4) {
      uvec4 words = load_words(address + k * 4ul, whole, max(left, k) - k);
      UNROLL for (uint c = 0; c < 4; ++c) x[j][v * width + k + c] = uintBitsToFloat(words[c]);
    }
  } else {
    uvec4 words = load_words(address, whole, left);
    UNROLL for (uint c = 0; c < 4; ++c) {
      x[j][v * width + 2 * c] = widened(words[c] & 0xffffu);
      x[j][v * width + 2 * c + 1] = widened(words[c] >> 16);
    }
  }
}

void store_vector(uint j, uint64_t first, bool whole, uint64_t left) {
  uint64_t address = word[inputs + j] + bytes_of(to, first);
  uvec4 words;
  if (to == 0) {
    UNROLL for (uint k = 0; k < width; k += 4) {
      UNROLL for (uint c = 0; c < 4; ++c) words[c] = floatBitsToUint(y[j][k + c]);
      store_words(address + k * 4ul, words, whole, max(left, k) - k);
    }
  } else {
    UNROLL for (uint c = 0; c < 4; ++c) words[c] = rounded(y[j][2 * c]) | rounded(y[j][2 * c + 1]) << 16;
    store_words(address, words, whole, left);
  }
}

// ---- the loop

void compute_next(float s) {
  Results r = compute(x[0][0], x[1][0], x[2][0], s);
  UNROLL for (uint j = 0; j < inputs; ++j) {
    UNROLL for (uint e = 0; e + 1 < elements; ++e) x[j][e] = x[j][e + 1];
  }
  UNROLL for (uint j = 0; j < outputs; ++j) {
    UNROLL for (uint k = 0; k + 1 < width; ++k) y[j][k] = y[j][k + 1];
  }
  y[0][width - 1] = r.r0;
  y[1][width - 1] = r.r1;
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
  bool whole = n - begin >= threads * elements && all_aligned();
  // Thread t has the vectors t, t + threads, ... of the group.
  uint64_t mine = begin + gl_LocalInvocationID.x * width;
  UNROLL for (uint v = 0; v < vectors; ++v) {
    uint64_t first = mine + v * (threads * width);
    UNROLL for (uint j = 0; j < inputs; ++j) load_vector(j, v, first, whole, max(n, first) - first);
  }
  UNROLL_SHORT for (uint v = 0; v < vectors; ++v) {
    uint64_t first = mine + v * (threads * width);
    if (first >= n) break;
    UNROLL_SHORT for (uint k = 0; k < width; ++k) compute_next(s);
    UNROLL for (uint j = 0; j < outputs; ++j) store_vector(j, first, whole, n - first);
  }
}
