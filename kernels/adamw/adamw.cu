// SPDX-License-Identifier: MIT
// The AdamW optimizer in CUDA.
#include "kernels/cuda.h"

#include "kernels/adamw/adamw.h"

constexpr u32 adamw_threads = 256, adamw_width = 4, adamw_tile = adamw_threads * adamw_width;

struct StepArguments {
  float* state;  // rate, beta1^t, beta2^t
  float beta1, beta2;
};

DEVICE void adamw_step(const StepArguments& a) {
  if (threadIdx.x == 0) a.state[1] = a.state[1] * a.beta1;
  if (threadIdx.x == 1) a.state[2] = a.state[2] * a.beta2;
}

struct AdamwArguments {
  const float* gradient;  // (n)
  const float* state;     // rate, beta1^t, beta2^t
  float* weight;          // (n)
  float* m;               // (n)
  float* v;               // (n)
  u64 n;
  float beta1, beta2, epsilon, weight_decay;
};

DEVICE void adamw_update(const AdamwArguments& a, float gradient, float& weight, float& m, float& v) {
  m = adamw_moment(m, gradient, a.beta1);
  v = adamw_moment(v, gradient * gradient, a.beta2);
  weight = adamw_weight(weight, div_(m, 1.0f - a.state[1]), div_(v, 1.0f - a.state[2]), a.state[0], a.epsilon,
                        a.weight_decay);
}

DEVICE void adamw(const AdamwArguments& a) {
  const u64 first = group() * adamw_tile + threadIdx.x * adamw_width;
  const bool aligned = is_aligned(a.gradient) && is_aligned(a.weight) && is_aligned(a.m) && is_aligned(a.v);
  if (aligned && first + adamw_width <= a.n) {
    const Floats4 gradient = *reinterpret_cast<const Floats4*>(a.gradient + first);
    Floats4 weight = *reinterpret_cast<const Floats4*>(a.weight + first);
    Floats4 m = *reinterpret_cast<const Floats4*>(a.m + first);
    Floats4 v = *reinterpret_cast<const Floats4*>(a.v + first);
#pragma unroll
    for (u32 j = 0; j < adamw_width; ++j) {
      adamw_update(a, gradient.value[j], weight.value[j], m.value[j], v.value[j]);
    }
    *reinterpret_cast<Floats4*>(a.weight + first) = weight;
    *reinterpret_cast<Floats4*>(a.m + first) = m;
    *reinterpret_cast<Floats4*>(a.v + first) = v;
    return;
  }
  for (u64 i = first; i < least(first + adamw_width, a.n); ++i) {
    adamw_update(a, a.gradient[i], a.weight[i], a.m[i], a.v[i]);
  }
}

SILICA_DEFINE_ENTRY
