// SPDX-License-Identifier: MIT
// Sums, means and norms of rows, a module for each kernel (SilicaVulkan.cmake). Arguments as in row.cpp; the flag says
// that a norm is centered.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/row/lanes_glsl.h"

float sum_of(uint64_t x, uint64_t cols) {
  precise float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) sum = sum + get(x, i);
  return fold_sum(sum);
}

void sum(uint64_t row) {
  uint64_t cols = word[2];
  float total = sum_of(row_at(word[0], row, cols), cols);
  if (me == 0) put(word[1], row, div_(total, float_of(word[3])));
}

void sum_backward(uint64_t row) {
  uint64_t cols = word[2];
  uint64_t dx = row_at(word[1], row, cols);
  float value = div_(get(word[0], row), float_of(word[3]));
  for (uint64_t i = me; i < cols; i += lanes) put(dx, i, value);
}

struct Statistics {
  float scale, mean;
};

Statistics statistics(uint64_t x, uint64_t cols, float divisor, float epsilon) {
  Statistics s;
  s.mean = 0.0f;
  if (flag) s.mean = div_(sum_of(x, cols), divisor);
  float squares = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float difference = get(x, i) - s.mean;
    squares = fma_(difference, difference, squares);
  }
  precise float mean_square = div_(fold_sum(squares), divisor) + epsilon;
  s.scale = div_(1.0f, sqrt_(mean_square));
  return s;
}

void norm(uint64_t row) {
  uint at = flag ? 3 : 2;  // of y, after weight and bias
  uint64_t cols = word[at + 1];
  uint64_t x = row_at(word[0], row, cols);
  uint64_t y = row_at(word[at], row, cols);
  Statistics s = statistics(x, cols, float_of(word[at + 2]), low_float(word[at + 3]));
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float normal = (get(x, i) - s.mean) * s.scale;
    precise float value = normal * get(word[1], i);
    if (flag) value = fma_(normal, get(word[1], i), get(word[2], i));
    put(y, i, value);
  }
}

// The statistics of a row, as the sums over rows read them: its scale, followed by its mean if centered.
Statistics statistics_of(uint64_t kept, uint64_t row) {
  Statistics s;
  s.scale = load(kept, flag ? 2 * row : row);
  s.mean = 0.0f;
  if (flag) s.mean = load(kept, 2 * row + 1);
  return s;
}

void keep(Statistics s, uint64_t kept, uint64_t row) {
  if (me != 0) return;
  store(kept, flag ? 2 * row : row, s.scale);
  if (flag) store(kept, 2 * row + 1, s.mean);
}

void norm_statistics(uint64_t row) {
  uint64_t cols = word[2];
  keep(statistics(row_at(word[0], row, cols), cols, float_of(word[3]), low_float(word[4])), word[1], row);
}

void norm_backward(uint64_t row) {
  uint64_t cols = word[5];
  uint64_t x = row_at(word[0], row, cols);
  uint64_t dy = row_at(word[2], row, cols);
  uint64_t dx = row_at(word[4], row, cols);
  float divisor = float_of(word[6]);
  Statistics s = statistics(x, cols, divisor, low_float(word[7]));
  keep(s, word[3], row);
  float dot = 0.0f;
  precise float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float gradient = get(dy, i) * get(word[1], i);
    precise float difference = get(x, i) - s.mean;
    dot = fma_(gradient, difference, dot);
    sum = sum + gradient;
  }
  precise float factor = div_(fold_sum(dot), divisor) * (s.scale * s.scale);
  float shift = 0.0f;
  if (flag) shift = div_(fold_sum(sum), divisor);
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float gradient = get(dy, i) * get(word[1], i);
    precise float difference = get(x, i) - s.mean;
    precise float value = s.scale * (fma_(-factor, difference, gradient) - shift);
    put(dx, i, value);
  }
}

// A group has 32 columns and 8 blocks of rows in hand; the blocks' sums are added in ascending order.
const uint block = 256;  // rows of a partial sum over rows
const uint columns = 32;
const uint slots = lanes / columns;

// Of dy * (x - mean) * scale, or of dy alone.
void column_sums(uint64_t group, bool weighted, uint64_t x, uint64_t dy, uint64_t kept, uint64_t y,
                 uint64_t rows, uint64_t cols) {
  uint64_t column = group * columns + me % columns;
  uint slot = me / columns;
  precise float total = 0.0f;
  for (uint64_t first = 0; first < rows; first += slots * block) {
    uint64_t begin = first + slot * block;
    uint64_t end = min(begin + block, rows);
    precise float sum = 0.0f;
    if (column < cols) {
      for (uint64_t row = begin; row < end; ++row) {
        float gradient = get(dy, row * cols + column);
        if (weighted) {
          Statistics s = statistics_of(kept, row);
          precise float normal = (get(x, row * cols + column) - s.mean) * s.scale;
          sum = fma_(gradient, normal, sum);
        } else {
          sum = sum + gradient;
        }
      }
    }
    lane[me] = sum;
    barrier();
    if (slot == 0) {
      for (uint s = 0; s < slots && first + s * block < rows; ++s) total = total + lane[s * columns + me];
    }
    barrier();
  }
  if (slot == 0 && column < cols) put(y, column, total);
}

void norm_backward_weight(uint64_t group) {
  column_sums(group, true, word[0], word[1], word[2], word[3], word[4], word[5]);
}
void norm_backward_bias(uint64_t group) {
  column_sums(group, false, 0ul, word[0], 0ul, word[1], word[2], word[3]);
}

void main() { SILICA_KERNEL(group_number()); }
