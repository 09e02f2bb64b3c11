// SPDX-License-Identifier: MIT
#include <cstdint>

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

constexpr std::size_t state_size = 3;  // rate, beta1^t, beta2^t

void check_state(const char* op, const Tensor& state) {
  check_dtype(op, {"state", state}, DType::f32);
  check_size(op, {"state", state}, state_size, "learning rate, beta1^t, beta2^t");
}

}  // namespace

void adamw_step(CommandEncoder& encoder, const Tensor& state, const AdamWOptions& options) {
  check_state("adamw_step", state);
  struct Parameters {
    float beta1, beta2;
  };
  encoder.dispatch("adamw.adamw_step.f32", {read_write(state, "state")},
                   Parameters{options.beta1, options.beta2}, Grid{1});
}

void adamw(CommandEncoder& encoder, const Tensor& gradient, const Tensor& state, const Tensor& weight,
           const Tensor& m, const Tensor& v, const AdamWOptions& options) {
  check_dtype("adamw", {"gradient", gradient}, DType::f32);
  check_state("adamw", state);
  for (const Argument& a : {Argument{"weight", weight}, Argument{"m", m}, Argument{"v", v}}) {
    check_dtype("adamw", a, DType::f32);
    check_same_size("adamw", a, {"gradient", gradient});
  }
  struct Parameters {
    std::uint64_t n;
    float beta1, beta2, epsilon, weight_decay;
  };
  encoder.dispatch(
      "adamw.adamw.f32",
      {read(gradient, "gradient"), read(state, "state"), read_write(weight, "weight"), read_write(m, "m"),
       read_write(v, "v")},
      Parameters{gradient.size(), options.beta1, options.beta2, options.epsilon, options.weight_decay},
      Grid{gradient.size()});
}

}  // namespace silica
