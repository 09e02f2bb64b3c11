// SPDX-License-Identifier: MIT
// Kernels that move blocks of matrices, or sum their columns. Arguments and orders as in layout.cpp.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"

layout(local_size_x = 256) in;
layout(constant_id = 0) const int kernel = 0;  // the constants below
layout(constant_id = 1) const uint size = 4;   // what moves: bytes of an element
layout(constant_id = 2) const uint dtype = 0;  // what is summed

const int kernel_copy_block = 0;
const int kernel_transpose = 1;
const int kernel_sum_rows = 2;

const uint threads = gl_WorkGroupSize.x;
uint me = gl_LocalInvocationID.x;

void copy_block() {
  const uint tile = 1024;  // elements
  uint64_t cols = word[3];
  uint64_t begin = group_number() * tile;
  uint64_t end = min(begin + tile, word[2] * cols);
  for (uint64_t i = begin + me; i < end; i += threads) {
    uint64_t row = i / cols;
    uint64_t col = i % cols;
    store_bits(size, word[1], row * word[5] + col, load_bits(size, word[0], row * word[4] + col));
  }
}

const uint side = 32;
shared uint tile[side][side + 1];

void transpose_tile() {
  uint64_t rows = word[2];
  uint64_t cols = word[3];
  uint64_t width = (cols + (side - 1)) / side;
  uint64_t height = (rows + (side - 1)) / side;
  uint64_t group = group_number();
  uint64_t first = group / (width * height) * rows * cols;
  uint64_t row = group / width % height * side;
  uint64_t col = group % width * side;
  uint at = me % side;
  for (uint i = me / side; i < side; i += threads / side) {
    if (row + i < rows && col + at < cols) {
      tile[i][at] = load_bits(size, word[0], first + (row + i) * cols + col + at);
    }
  }
  barrier();
  for (uint j = me / side; j < side; j += threads / side) {
    if (col + j < cols && row + at < rows) {
      store_bits(size, word[1], first + (col + j) * rows + row + at, tile[at][j]);
    }
  }
}

// A group has 32 columns and 8 blocks of rows in hand; the blocks' sums are added in ascending order.
const uint columns = 32;
const uint slots = 8;
const uint block = 256;  // rows of a partial sum
shared float sums[slots][columns];

void sum_rows() {
  uint64_t rows = word[2];
  uint64_t cols = word[3];
  uint64_t column = group_number() * columns + me % columns;
  uint slot = me / columns;
  precise float total = 0.0f;
  for (uint64_t first = 0; first < rows; first += slots * block) {
    uint64_t begin = first + slot * block;
    uint64_t end = min(begin + block, rows);
    precise float sum = 0.0f;
    if (column < cols) {
      for (uint64_t row = begin; row < end; ++row) sum = sum + load_as(dtype, word[0], row * cols + column);
    }
    sums[slot][me % columns] = sum;
    barrier();
    if (slot == 0) {
      for (uint s = 0; s < slots && first + s * block < rows; ++s) total = total + sums[s][me];
    }
    barrier();
  }
  if (slot == 0 && column < cols) store_as(dtype, word[1], column, total);
}

void main() {
  switch (kernel) {
    case kernel_copy_block: copy_block(); break;
    case kernel_transpose: transpose_tile(); break;
    case kernel_sum_rows: sum_rows(); break;
  }
}
