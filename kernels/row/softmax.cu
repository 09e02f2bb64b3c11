// SPDX-License-Identifier: MIT
// Softmax and the losses made of it, in CUDA; a part of row.cu. Arguments as in softmax.cpp. Exponentials are
// computed again where they are needed twice, which is cheaper than keeping them.
#pragma once

#include "kernels/row/lanes_cuda.h"

// ---- softmax and log_softmax ----

template <class Team>
DEVICE float exponential_sum(const ElementOf<Team>* x, u64 cols, float most, bool runs) {
  return row_sum<Team>(cols, runs, [=](float lane, float x) { return lane + exp_falling(x - most); }, x);
}

template <class T> struct SoftmaxArguments {
  const typename T::Element* x;  // (rows, cols)
  typename T::Element* y;        // (rows, cols)
  u64 cols;
};

template <class Team> DEVICE void softmax(const SoftmaxArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.x, a.y);
  const auto* x = row_of<Team>(a.x, a.cols);
  await_rows<Team>();
  const float most = row_max<Team>(x, a.cols, runs);
  const float scale = div_(1.0f, exponential_sum<Team>(x, a.cols, most, runs));
  for_each_element<Team>(
      a.cols, runs, a.y + group() * a.cols, [=](u64, float x) { return exp_falling(x - most) * scale; }, x);
}

template <class Team> DEVICE void log_softmax(const SoftmaxArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.x, a.y);
  const auto* x = row_of<Team>(a.x, a.cols);
  await_rows<Team>();
  const float most = row_max<Team>(x, a.cols, runs);
  const float log_sum = log_(exponential_sum<Team>(x, a.cols, most, runs));
  for_each_element<Team>(
      a.cols, runs, a.y + group() * a.cols, [=](u64, float x) { return (x - most) - log_sum; }, x);
}

template <class T> struct SoftmaxBackwardArguments {
  const typename T::Element* y;   // (rows, cols)
  const typename T::Element* dy;  // (rows, cols)
  typename T::Element* dx;        // (rows, cols)
  u64 cols;
};

template <class Team> DEVICE void softmax_backward(const SoftmaxBackwardArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.y, a.dy, a.dx);
  const auto* y = row_of<Team>(a.y, a.cols);
  const auto* dy = row_of<Team>(a.dy, a.cols, 1);
  await_rows<Team>();
  const float dot =
      row_sum<Team>(a.cols, runs, [](float lane, float y, float dy) { return fma_(y, dy, lane); }, y, dy);
  for_each_element<Team>(
      a.cols, runs, a.dx + group() * a.cols, [=](u64, float y, float dy) { return y * (dy - dot); }, y, dy);
}

template <class Team>
DEVICE void log_softmax_backward(const SoftmaxBackwardArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.y, a.dy, a.dx);
  const auto* y = row_of<Team>(a.y, a.cols);
  const auto* dy = row_of<Team>(a.dy, a.cols, 1);
  await_rows<Team>();
  const float sum = row_sum<Team>(a.cols, runs, [](float lane, float dy) { return lane + dy; }, dy);
  for_each_element<Team>(
      a.cols, runs, a.dx + group() * a.cols, [=](u64, float y, float dy) { return fma_(-exp_(y), sum, dy); },
      y, dy);
}

// ---- cross_entropy ----

template <class T> struct LossArguments {
  const typename T::Element* logits;  // (rows, cols)
  const u32* targets;                 // (rows)
  float* losses;                      // (rows)
  u64 cols;
};

template <class Team> DEVICE void cross_entropy(const LossArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.logits);
  const auto* x = row_of<Team>(a.logits, a.cols);
  await_rows<Team>();
  const float most = row_max<Team>(x, a.cols, runs);
  const float sum = exponential_sum<Team>(x, a.cols, most, runs);
  const u32 target = a.targets[group()];
  if (threadIdx.x != 0) return;
  a.losses[group()] =
      target < a.cols ? log_(sum) - (Team::Type::load(x[target]) - most) : from_bits_(0x7fc00000u);
}

template <class T> struct LossBackwardArguments {
  const typename T::Element* logits;  // (rows, cols)
  const u32* targets;                 // (rows)
  const float* dloss;                 // one element
  typename T::Element* dlogits;       // (rows, cols)
  u64 rows, cols;
};

template <class Team>
DEVICE void cross_entropy_backward(const LossBackwardArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.logits, a.dlogits);
  const auto* x = row_of<Team>(a.logits, a.cols);
  await_rows<Team>();
  // Before dlogits is written: they may share memory.
  const float weight = div_(a.dloss[0], float(a.rows));
  const u32 target = a.targets[group()];
  const float most = row_max<Team>(x, a.cols, runs);
  const float sum = exponential_sum<Team>(x, a.cols, most, runs);
  const float scale = target < a.cols ? div_(1.0f, sum) : from_bits_(0x7fc00000u);
  const auto value = [=](u64 i, float x) {
    return (exp_falling(x - most) * scale - select_(i == target, 1.0f, 0.0f)) * weight;
  };
  for_each_element<Team>(a.cols, runs, a.dlogits + group() * a.cols, value, x);
}

// ---- kl_divergence ----

// softmax(x) of a row, and its logarithm.
struct Distribution {
  float most, scale, log_sum;
  __device__ __forceinline__ float probability(float x) const { return exp_falling(x - most) * scale; }
  __device__ __forceinline__ float log_probability(float x) const { return (x - most) - log_sum; }
};

template <class Team> DEVICE Distribution distribution(const ElementOf<Team>* x, u64 cols, bool runs) {
  const float most = row_max<Team>(x, cols, runs);
  const float sum = exponential_sum<Team>(x, cols, most, runs);
  return {most, div_(1.0f, sum), log_(sum)};
}

// Where p is 0 so is the term, whatever the logarithms are.
template <class Team>
DEVICE float divergence(Distribution p, Distribution q, const ElementOf<Team>* p_logits,
                        const ElementOf<Team>* q_logits, u64 cols, bool runs) {
  const auto add_term = [=](float lane, float x, float z) {
    const float probability = p.probability(x);
    const float ratio = p.log_probability(x) - q.log_probability(z);
    return fma_(probability, select_(probability == 0.0f, 0.0f, ratio), lane);
  };
  return row_sum<Team>(cols, runs, add_term, p_logits, q_logits);
}

template <class T> struct DivergenceArguments {
  const typename T::Element* p_logits;  // (rows, cols)
  const typename T::Element* q_logits;  // (rows, cols)
  float* losses;                        // (rows)
  u64 cols;
};

template <class Team> DEVICE void kl_divergence(const DivergenceArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.p_logits, a.q_logits);
  const auto* x = row_of<Team>(a.p_logits, a.cols);
  const auto* z = row_of<Team>(a.q_logits, a.cols, 1);
  await_rows<Team>();
  const Distribution p = distribution<Team>(x, a.cols, runs), q = distribution<Team>(z, a.cols, runs);
  const float loss = divergence<Team>(p, q, x, z, a.cols, runs);
  if (threadIdx.x == 0) a.losses[group()] = loss;
}

template <class T> struct DivergenceBackwardArguments {
  const typename T::Element* p_logits;  // (rows, cols)
  const typename T::Element* q_logits;  // (rows, cols)
  const float* dloss;                   // one element
  typename T::Element* dlogits;         // (rows, cols), of p or of q
  u64 rows, cols;
};

template <class Team, bool of_p>
DEVICE void kl_divergence_backward(const DivergenceBackwardArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.p_logits, a.q_logits, a.dlogits);
  const auto* x = row_of<Team>(a.p_logits, a.cols);
  const auto* z = row_of<Team>(a.q_logits, a.cols, 1);
  await_rows<Team>();
  const float weight = div_(a.dloss[0], float(a.rows));
  const Distribution p = distribution<Team>(x, a.cols, runs), q = distribution<Team>(z, a.cols, runs);
  float whole = 0.0f;
  if constexpr (of_p) whole = divergence<Team>(p, q, x, z, a.cols, runs);
  const auto value = [=](u64, float x, float z) {
    const float probability = p.probability(x);
    if constexpr (of_p) {
      const float excess = (p.log_probability(x) - q.log_probability(z)) - whole;
      return select_(probability == 0.0f, 0.0f, probability * excess) * weight;
    } else {
      return (q.probability(z) - probability) * weight;
    }
  };
  for_each_element<Team>(a.cols, runs, a.dlogits + group() * a.cols, value, x, z);
}
