// SPDX-License-Identifier: MIT
// c (m, n) = a (m, k) b (k, n), for each matrix of a batch. A group computes 64 x 64 of one c, a thread 4 x 4;
// tiles of a and b pass through shared memory. The order of an element's sum is the contract's: chains of fma
// over blocks of 256, their sums added in turn. Past the end of k nothing is added, not even zero: it would
// turn -0 into +0.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"

layout(local_size_x = 256) in;

const uint tile = 64;    // rows and columns of c
const uint depth = 16;   // of k in shared memory at a time
const uint block = 256;  // of k in a chain of fma
const uint part = 4;     // rows and columns of a thread
const uint across = tile / part;

shared float a_tile[depth][tile + 1];
shared float b_tile[depth][tile + 1];
shared uint any_tiny;  // of all elements so far

precise float total[part][part];
float chain[part][part];

// Not zero, and less than 2^-40. Other numbers are multiples of 2^-63, so that their products and the sums of these are
// multiples of 2^-126: none is subnormal.
bool is_tiny(float x) { return (bits_(x) << 1) - 1u < 0x56ffffffu; }

void multiply_tiles(uint count, uint ty, uint tx) {
  for (uint q = 0; q < count; ++q) {
    float a_part[part];
    float b_part[part];
    [[unroll]] for (uint e = 0; e < part; ++e) {
      a_part[e] = a_tile[q][ty + e * across];
      b_part[e] = b_tile[q][tx + e * across];
    }
    [[unroll]] for (uint r = 0; r < part; ++r) {
      [[unroll]] for (uint c = 0; c < part; ++c) chain[r][c] = fma_(a_part[r], b_part[c], chain[r][c]);
    }
  }
}

// Loads lines [first, first + 64) from `from` on along k into target[k][line], zero past the end of either.
// `along_k`: a line's elements are adjacent. Neighbouring threads load neighbouring elements in both cases.
#define LOAD_TILE(target, matrix, first, lines, stride, along_k)                     \
  for (uint e = gl_LocalInvocationID.x; e < tile * depth; e += gl_WorkGroupSize.x) { \
    uint line = along_k ? e / depth : e % tile;                                      \
    uint q = along_k ? e % depth : e / tile;                                         \
    uint64_t outer = along_k ? first + line : from + q;                              \
    uint64_t inner = along_k ? from + q : first + line;                              \
    float value = 0.0f;                                                              \
    if (first + line < lines && from + q < k) value = load(matrix, outer * stride + inner); \
    if (fma_only_flushes_ && is_tiny(value)) atomicOr(any_tiny, 1u);                 \
    target[q][line] = value;                                                         \
  }

void main() {
  uint64_t m = word[3];
  uint64_t n = word[4];
  uint64_t k = word[5];
  bool transpose_a = (word[6] & 0xfffffffful) != 0;
  bool transpose_b = (word[6] >> 32) != 0;
  uint64_t tiles = (n + (tile - 1)) / tile;
  uint64_t of_matrix = tiles * ((m + (tile - 1)) / tile);  // groups
  uint64_t matrix = group_number() / of_matrix;            // of a batch
  uint64_t group = group_number() % of_matrix;
  uint64_t a = word[0] + matrix * m * k * 4;
  uint64_t b = word[1] + matrix * k * n * 4;
  uint64_t result = word[2] + matrix * m * n * 4;
  uint64_t row = group / tiles * tile;
  uint64_t column = group % tiles * tile;
  uint tx = gl_LocalInvocationID.x % across;
  uint ty = gl_LocalInvocationID.x / across;

  [[unroll]] for (uint r = 0; r < part; ++r) {
    [[unroll]] for (uint c = 0; c < part; ++c) total[r][c] = chain[r][c] = 0.0f;
  }
  uint64_t a_stride = transpose_a ? m : k;
  uint64_t b_stride = transpose_b ? k : n;
  if (gl_LocalInvocationID.x == 0) any_tiny = 0u;
  barrier();
  for (uint64_t from = 0; from < k; from += depth) {
    LOAD_TILE(a_tile, a, row, m, a_stride, !transpose_a)
    LOAD_TILE(b_tile, b, column, n, b_stride, transpose_b)
    barrier();
    uint count = uint(min(k - from, uint64_t(depth)));
    if (fma_serves_(any_tiny == 0u)) {
      flushing_is_harmless_ = true;
      multiply_tiles(count, ty, tx);
      flushing_is_harmless_ = false;
    } else {
      multiply_tiles(count, ty, tx);
    }
    barrier();
    bool block_ends = (from + depth) % block == 0 || from + depth >= k;
    if (!block_ends) continue;
    [[unroll]] for (uint r = 0; r < part; ++r) {
      [[unroll]] for (uint c = 0; c < part; ++c) {
        total[r][c] = select_(from < block, chain[r][c], total[r][c] + chain[r][c]);
        chain[r][c] = 0.0f;
      }
    }
  }
  [[unroll]] for (uint r = 0; r < part; ++r) {
    [[unroll]] for (uint c = 0; c < part; ++c) {
      uint64_t i = row + ty + r * across;
      uint64_t j = column + tx + c * across;
      if (i < m && j < n) store(result, i * n + j, total[r][c]);
    }
  }
}
