// SPDX-License-Identifier: MIT
#include <cstdint>

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

void check_inputs(const char* op, const Tensor& x, const Tensor& weight) {
  check_dtype(op, {"x", x}, DType::f32);
  check_dtype(op, {"weight", weight}, DType::f32);
  check_size(op, {"weight", weight}, x.shape().cols(), "one for each column of x");
}

void check_like(const char* op, const Argument& a, const Argument& model) {
  check_dtype(op, a, DType::f32);
  check_same_size(op, a, model);
}

struct NormParameters {
  std::uint64_t cols;
  float epsilon;
  std::uint32_t padding = 0;
};

}  // namespace

void rms_norm(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& y,
              const NormOptions& options) {
  check_inputs("rms_norm", x, weight);
  check_like("rms_norm", {"y", y}, {"x", x});
  encoder.dispatch("row.rms_norm.f32", {read(x, "x"), read(weight, "weight"), in_place(y, "y")},
                   NormParameters{x.shape().cols(), options.epsilon}, Grid{x.shape().rows()});
}

void rms_norm_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& dy,
                       const Tensor& dx, const Tensor& dweight, const NormOptions& options) {
  const char* op = "rms_norm_backward";
  check_inputs(op, x, weight);
  check_like(op, {"dy", dy}, {"x", x});
  if (dx) check_like(op, {"dx", dx}, {"x", x});
  if (dweight) check_like(op, {"dweight", dweight}, {"weight", weight});
  if (!dx && !dweight) return;
  if (dweight) {
    for (const Argument& other : {Argument{"x", x}, Argument{"weight", weight}, Argument{"dy", dy}}) {
      check_apart(op, {"dweight", dweight}, other);
    }
    if (dx) check_apart(op, {"dweight", dweight}, {"dx", dx});
  }
  const std::uint64_t rows = x.shape().rows(), cols = x.shape().cols();
  CommandEncoder::Transaction transaction(encoder, op);
  const Tensor scale = encoder.temporary(DType::f32, {rows});
  encoder.dispatch("row.rms_norm_scale.f32", {read(x, "x"), write(scale, "scale")},
                   NormParameters{cols, options.epsilon}, Grid{rows});
  // dweight first: dx may be dy or x.
  if (dweight) {
    struct Parameters {
      std::uint64_t rows, cols;
    };
    encoder.dispatch("row.rms_norm_backward_weight.f32",
                     {read(x, "x"), read(dy, "dy"), read(scale, "scale"), write(dweight, "dweight")},
                     Parameters{rows, cols}, Grid{cols});
  }
  if (dx) {
    encoder.dispatch(
        "row.rms_norm_backward.f32",
        {read(x, "x"), read(weight, "weight"), read(dy, "dy"), read(scale, "scale"), in_place(dx, "dx")},
        cols, Grid{rows});
  }
  transaction.commit();
}

}  // namespace silica
