// SPDX-License-Identifier: MIT
// Kernels that reduce rows: a group for each row, a thread for each of the 256 lanes of its sum. Arguments as
// in row.cpp.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"

layout(local_size_x = 256) in;
layout(constant_id = 0) const int kernel = 0;  // the constants below

const int kernel_rms_norm = 0;
const int kernel_rms_norm_scale = 1;
const int kernel_rms_norm_backward = 2;
const int kernel_rms_norm_backward_weight = 3;
const int kernel_mean = 4;
const int kernel_cross_entropy = 5;
const int kernel_cross_entropy_backward = 6;

const uint lanes = 256;
const uint block = 256;  // rows of a partial sum over rows
shared float lane[lanes];
uint me = gl_LocalInvocationID.x;

// The fold of the lanes' sums, returned to every thread.
float fold_sum(float sum) {
  lane[me] = sum;
  barrier();
  for (uint half_ = lanes / 2; half_ > 0; half_ /= 2) {
    if (me < half_) {
      precise float folded = lane[me] + lane[me + half_];
      lane[me] = folded;
    }
    barrier();
  }
  float result = lane[0];
  barrier();
  return result;
}

// Not max(): a NaN counts only if it comes first, as on the CPU.
float row_max(uint64_t x, uint64_t cols) {
  float most = load(x, 0);
  for (uint64_t i = me; i < cols; i += lanes) {
    float value = load(x, i);
    most = select_(value > most, value, most);
  }
  lane[me] = most;
  barrier();
  for (uint half_ = lanes / 2; half_ > 0; half_ /= 2) {
    if (me < half_) lane[me] = select_(lane[me + half_] > lane[me], lane[me + half_], lane[me]);
    barrier();
  }
  float result = lane[0];
  barrier();
  return result;
}

// 1 / sqrt(mean(x^2) + epsilon)
float rms_scale(uint64_t x, uint64_t cols, float epsilon) {
  float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) sum = fma_(load(x, i), load(x, i), sum);
  precise float mean = div_(fold_sum(sum), float_of(cols)) + epsilon;
  return div_(1.0f, sqrt_(mean));
}

void rms_norm(uint64_t row) {
  uint64_t cols = word[3];
  uint64_t x = word[0] + row * cols * 4;
  uint64_t y = word[2] + row * cols * 4;
  float scale = rms_scale(x, cols, low_float(word[4]));
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float value = load(x, i) * scale * load(word[1], i);
    store(y, i, value);
  }
}

void rms_norm_scale(uint64_t row) {
  uint64_t cols = word[2];
  float scale = rms_scale(word[0] + row * cols * 4, cols, low_float(word[3]));
  if (me == 0) store(word[1], row, scale);
}

void rms_norm_backward(uint64_t row) {
  uint64_t cols = word[5];
  uint64_t x = word[0] + row * cols * 4;
  uint64_t weight = word[1];
  uint64_t dy = word[2] + row * cols * 4;
  uint64_t dx = word[4] + row * cols * 4;
  float scale = load(word[3], row);
  float dot = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float product = load(dy, i) * load(weight, i);
    dot = fma_(product, load(x, i), dot);
  }
  precise float factor = div_(fold_sum(dot), float_of(cols)) * (scale * scale);
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float product = load(dy, i) * load(weight, i);
    precise float value = scale * fma_(-factor, load(x, i), product);
    store(dx, i, value);
  }
}

// A group has 32 columns and 8 blocks of rows in hand; the blocks' sums are added in ascending order.
const uint columns = 32;
const uint slots = lanes / columns;

void rms_norm_backward_weight(uint64_t group) {
  uint64_t rows = word[4];
  uint64_t cols = word[5];
  uint64_t column = group * columns + me % columns;
  uint slot = me / columns;
  precise float total = 0.0f;
  for (uint64_t first = 0; first < rows; first += slots * block) {
    uint64_t begin = first + slot * block;
    uint64_t end = min(begin + block, rows);
    float sum = 0.0f;
    if (column < cols) {
      for (uint64_t row = begin; row < end; ++row) {
        precise float scaled = load(word[0], row * cols + column) * load(word[2], row);
        sum = fma_(load(word[1], row * cols + column), scaled, sum);
      }
    }
    lane[me] = sum;
    barrier();
    if (slot == 0) {
      for (uint s = 0; s < slots && first + s * block < rows; ++s) total = total + lane[s * columns + me];
    }
    barrier();
  }
  if (slot == 0 && column < cols) store(word[3], column, total);
}

void mean(uint64_t row) {
  uint64_t cols = word[2];
  uint64_t x = word[0] + row * cols * 4;
  precise float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) sum = sum + load(x, i);
  float total = fold_sum(sum);
  if (me == 0) store(word[1], row, div_(total, float_of(cols)));
}

void cross_entropy(uint64_t row) {
  uint64_t cols = word[3];
  uint64_t x = word[0] + row * cols * 4;
  float most = row_max(x, cols);
  precise float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float difference = load(x, i) - most;
    sum = sum + exp_(difference);
  }
  float total = fold_sum(sum);
  if (me != 0) return;
  uint target = load_word(word[1], row);
  precise float loss = from_bits_(0x7fc00000u);
  if (target < cols) loss = log_(total) - (load(x, target) - most);
  store(word[2], row, loss);
}

void cross_entropy_backward(uint64_t row) {
  uint64_t cols = word[5];
  uint64_t x = word[0] + row * cols * 4;
  uint64_t dx = word[3] + row * cols * 4;
  uint target = load_word(word[1], row);  // before dlogits is written: they may share memory
  precise float weight = div_(load(word[2], 0), float_of(word[4]));
  float most = row_max(x, cols);
  precise float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float difference = load(x, i) - most;
    float e = exp_(difference);
    store(dx, i, e);
    sum = sum + e;
  }
  float total = fold_sum(sum);
  float scale = from_bits_(0x7fc00000u);
  if (target < cols) scale = div_(1.0f, total);
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float value = (load(dx, i) * scale - select_(i == target, 1.0f, 0.0f)) * weight;
    store(dx, i, value);
  }
}

void main() {
  uint64_t group = group_number();
  switch (kernel) {
    case kernel_rms_norm: rms_norm(group); break;
    case kernel_rms_norm_scale: rms_norm_scale(group); break;
    case kernel_rms_norm_backward: rms_norm_backward(group); break;
    case kernel_rms_norm_backward_weight: rms_norm_backward_weight(group); break;
    case kernel_mean: mean(group); break;
    case kernel_cross_entropy: cross_entropy(group); break;
    case kernel_cross_entropy_backward: cross_entropy_backward(group); break;
  }
}
