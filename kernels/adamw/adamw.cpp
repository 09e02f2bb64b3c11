// SPDX-License-Identifier: MIT
// The AdamW optimizer, on the CPU.
#include <cstdint>

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

namespace silica::kernels::SILICA_ISA {

namespace {

#include "kernels/formulas.h"

#include "kernels/adamw/adamw.h"

constexpr std::uint32_t tile = 4096;

void adamw_step(const void* arguments, Groups) {
  struct Arguments {
    float* state;  // rate, beta1^t, beta2^t
    float beta1, beta2;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  a.state[1] *= a.beta1;
  a.state[2] *= a.beta2;
}

void adamw(const void* arguments, Groups groups) {
  struct Arguments {
    const float* gradient;  // (n)
    const float* state;     // rate, beta1^t, beta2^t
    float* weight;          // (n)
    float* m;               // (n)
    float* v;               // (n)
    std::uint64_t n;
    float beta1, beta2, epsilon, weight_decay;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const float rate = a.state[0], rest1 = 1.0f - a.state[1], rest2 = 1.0f - a.state[2];
  const std::uint64_t end = groups.end * tile < a.n ? groups.end * tile : a.n;
  SILICA_INDEPENDENT
  for (std::uint64_t i = groups.begin * tile; i < end; ++i) {
    const float m = adamw_moment(a.m[i], a.gradient[i], a.beta1);
    const float v = adamw_moment(a.v[i], a.gradient[i] * a.gradient[i], a.beta2);
    a.m[i] = m;
    a.v[i] = v;
    a.weight[i] = adamw_weight(a.weight[i], div_(m, rest1), div_(v, rest2), rate, a.epsilon, a.weight_decay);
  }
}

}  // namespace

void adamw_kernels(Sink& sink) {
  sink.add("adamw.adamw_step.f32", adamw_step, Tile{1});
  sink.add("adamw.adamw.f32", adamw, Tile{tile});
}

}  // namespace silica::kernels::SILICA_ISA
