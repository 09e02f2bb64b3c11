// SPDX-License-Identifier: MIT
// Softmax and the losses made of it, a module for each kernel (SilicaVulkan.cmake). Arguments as in softmax.cpp; the
// flag says that the gradient is that of p.
// Exponentials are computed again where they are needed twice: a half could not keep them.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/row/lanes_glsl.h"

float exponential(uint64_t x, uint64_t i, float most) {
  precise float difference = get(x, i) - most;
  return exp_falling(difference);
}

// softmax(x) of a row, and its logarithm.
struct Distribution {
  float most, scale, log_sum;
};

Distribution distribution(uint64_t x, uint64_t cols) {
  Distribution d;
  d.most = row_max(x, cols);
  precise float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) sum = sum + exponential(x, i, d.most);
  float total = fold_sum(sum);
  d.scale = div_(1.0f, total);
  d.log_sum = log_(total);
  return d;
}

FORMULA(float) probability(Distribution d, uint64_t x, uint64_t i) {
  precise float value = exponential(x, i, d.most) * d.scale;
  return value;
}

FORMULA(float) log_probability(Distribution d, uint64_t x, uint64_t i) {
  precise float value = (get(x, i) - d.most) - d.log_sum;
  return value;
}

void distribution_of(uint64_t row, bool logarithm) {
  uint64_t cols = word[2];
  uint64_t x = row_at(word[0], row, cols);
  uint64_t y = row_at(word[1], row, cols);
  Distribution d = distribution(x, cols);
  for (uint64_t i = me; i < cols; i += lanes) {
    if (logarithm) {
      put(y, i, log_probability(d, x, i));
    } else {
      put(y, i, probability(d, x, i));
    }
  }
}

void softmax(uint64_t row) { distribution_of(row, false); }
void log_softmax(uint64_t row) { distribution_of(row, true); }

void softmax_backward(uint64_t row) {
  uint64_t cols = word[3];
  uint64_t y = row_at(word[0], row, cols);
  uint64_t dy = row_at(word[1], row, cols);
  uint64_t dx = row_at(word[2], row, cols);
  float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) sum = fma_(get(y, i), get(dy, i), sum);
  float dot = fold_sum(sum);
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float value = get(y, i) * (get(dy, i) - dot);
    put(dx, i, value);
  }
}

void log_softmax_backward(uint64_t row) {
  uint64_t cols = word[3];
  uint64_t y = row_at(word[0], row, cols);
  uint64_t dy = row_at(word[1], row, cols);
  uint64_t dx = row_at(word[2], row, cols);
  precise float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) sum = sum + get(dy, i);
  float total = fold_sum(sum);
  for (uint64_t i = me; i < cols; i += lanes) put(dx, i, fma_(-exp_(get(y, i)), total, get(dy, i)));
}

void cross_entropy(uint64_t row) {
  uint64_t cols = word[3];
  uint64_t x = row_at(word[0], row, cols);
  Distribution d = distribution(x, cols);
  if (me != 0) return;
  uint target = load_word(word[1], row);
  precise float loss = from_bits_(0x7fc00000u);
  if (target < cols) loss = d.log_sum - (get(x, target) - d.most);
  store(word[2], row, loss);
}

void cross_entropy_backward(uint64_t row) {
  uint64_t cols = word[5];
  uint64_t x = row_at(word[0], row, cols);
  uint64_t dx = row_at(word[3], row, cols);
  uint target = load_word(word[1], row);  // before dlogits is written: they may share memory
  precise float weight = div_(load(word[2], 0), float_of(word[4]));
  Distribution d = distribution(x, cols);
  if (target >= cols) d.scale = from_bits_(0x7fc00000u);
  for (uint64_t i = me; i < cols; i += lanes) {
    precise float value = (probability(d, x, i) - select_(i == target, 1.0f, 0.0f)) * weight;
    put(dx, i, value);
  }
}

// Where p is 0 so is the term, whatever the logarithms are.
float divergence(Distribution p, Distribution q, uint64_t x, uint64_t z, uint64_t cols) {
  float sum = 0.0f;
  for (uint64_t i = me; i < cols; i += lanes) {
    float of_p = probability(p, x, i);
    precise float ratio = log_probability(p, x, i) - log_probability(q, z, i);
    sum = fma_(of_p, select_(less_equal_(of_p, 0.0f), 0.0f, ratio), sum);
  }
  return fold_sum(sum);
}

void kl_divergence(uint64_t row) {
  uint64_t cols = word[3];
  uint64_t x = row_at(word[0], row, cols);
  uint64_t z = row_at(word[1], row, cols);
  Distribution p = distribution(x, cols);
  Distribution q = distribution(z, cols);
  float loss = divergence(p, q, x, z, cols);
  if (me == 0) store(word[2], row, loss);
}

void kl_divergence_backward(uint64_t row) {
  uint64_t cols = word[5];
  uint64_t x = row_at(word[0], row, cols);
  uint64_t z = row_at(word[1], row, cols);
  uint64_t dx = row_at(word[3], row, cols);
  float weight = div_(load(word[2], 0), float_of(word[4]));
  Distribution p = distribution(x, cols);
  Distribution q = distribution(z, cols);
  float whole = 0.0f;
  if (flag) whole = divergence(p, q, x, z, cols);
  for (uint64_t i = me; i < cols; i += lanes) {
    float of_p = probability(p, x, i);
    precise float value = (probability(q, z, i) - of_p) * weight;
    if (flag) {
      precise float excess = (log_probability(p, x, i) - log_probability(q, z, i)) - whole;
      value = select_(less_equal_(of_p, 0.0f), 0.0f, of_p * excess) * weight;
    }
    put(dx, i, value);
  }
}

void main() { SILICA_KERNEL(group_number()); }
