// SPDX-License-Identifier: MIT
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

// What the norms differ in. The three have the same kernels, but for the mean (kernels/row/row.cpp).
struct Norm {
  const char* op;
  const char* backward;
  bool centered;      // subtracts the mean, and adds a bias
  bool over_columns;  // divides the sum of squares by cols
};
constexpr Norm rms{"rms_norm", "rms_norm_backward", false, true};
constexpr Norm layer{"layer_norm", "layer_norm_backward", true, true};
constexpr Norm l2{"l2_norm", "l2_norm_backward", false, false};

std::uint64_t divisor_of(const Norm& norm, const Tensor& x) {
  return norm.over_columns ? x.shape().cols() : 1;
}

std::string kernel(const char* op, const char* part, const Tensor& x) {
  return message("row.", op, part, ".", to_string(x.dtype()));
}

struct NormParameters {
  std::uint64_t cols, divisor;
  float epsilon;
  std::uint32_t padding = 0;
};

NormParameters parameters_of(const Norm& norm, const Tensor& x, const NormOptions& options) {
  return {x.shape().cols(), divisor_of(norm, x), options.epsilon};
}

void check_coefficients(const char* op, const Argument& a, const Argument& x) {
  check_same_dtype(op, a, x);
  check_size(op, a, x.tensor.shape().cols(), "one for each column of x");
}

// A weight that was not given is 1, a bias 0: what a temporary reads as.
Tensor weight_or_ones(CommandEncoder& encoder, const Tensor& weight, const Tensor& x) {
  if (weight) return weight;
  const Tensor ones = encoder.temporary(x.dtype(), {x.shape().cols()});
  fill(encoder, 1.0f, ones);
  return ones;
}

void forward(CommandEncoder& encoder, const Norm& norm, const Tensor& x, const Tensor& weight,
             const Tensor& bias, const Tensor& y, const NormOptions& options) {
  check_float(norm.op, {"x", x});
  if (weight) check_coefficients(norm.op, {"weight", weight}, {"x", x});
  if (bias) check_coefficients(norm.op, {"bias", bias}, {"x", x});
  check_like(norm.op, {"y", y}, {"x", x});
  CommandEncoder::Transaction transaction(encoder, norm.op);
  std::vector<Operand> operands = {read(x, "x"), read(weight_or_ones(encoder, weight, x), "weight")};
  if (norm.centered) {
    operands.push_back(read(bias ? bias : encoder.temporary(x.dtype(), {x.shape().cols()}), "bias"));
  }
  operands.push_back(in_place(y, "y"));
  const NormParameters parameters = parameters_of(norm, x, options);
  encoder.dispatch_bytes(kernel(norm.op, "", x), operands, std::as_bytes(std::span(&parameters, 1)),
                         Grid{x.shape().rows()});
  transaction.commit();
}

struct Gradients {
  Tensor dx, dweight, dbias;  // those that are wanted
};

void check_backward(const Norm& norm, const Tensor& x, const Tensor& weight, const Tensor& dy,
                    const Gradients& wanted) {
  const char* op = norm.backward;
  check_float(op, {"x", x});
  if (weight) check_coefficients(op, {"weight", weight}, {"x", x});
  check_like(op, {"dy", dy}, {"x", x});
  if (wanted.dx) check_like(op, {"dx", wanted.dx}, {"x", x});
  const Argument sums[] = {{"dweight", wanted.dweight}, {"dbias", wanted.dbias}};
  const Argument others[] = {{"x", x}, {"weight", weight}, {"dy", dy}, {"dx", wanted.dx}};
  for (const Argument& sum : sums) {
    if (!sum.tensor) continue;
    check_coefficients(op, sum, {"x", x});
    for (const Argument& other : others) {
      if (other.tensor) check_apart(op, sum, other);
    }
  }
  if (wanted.dweight && wanted.dbias) check_apart(op, sums[1], sums[0]);
}

void backward(CommandEncoder& encoder, const Norm& norm, const Tensor& x, const Tensor& weight,
              const Tensor& dy, const Gradients& wanted, const NormOptions& options) {
  check_backward(norm, x, weight, dy, wanted);
  const std::uint64_t rows = x.shape().rows(), cols = x.shape().cols();
  struct Parameters {
    std::uint64_t first, second;
  };
  CommandEncoder::Transaction transaction(encoder, norm.backward);
  const NormParameters parameters = parameters_of(norm, x, options);
  const Tensor kept = encoder.temporary(DType::f32, {rows, norm.centered ? 2u : 1u});
  const auto gradient_of_x = [&] {
    encoder.dispatch(kernel(norm.backward, "", x),
                     {read(x, "x"), read(weight_or_ones(encoder, weight, x), "weight"), read(dy, "dy"),
                      write(kept, "statistics"), in_place(wanted.dx, "dx")},
                     parameters, Grid{rows});
  };
  // Which leaves the statistics, too. In place it overwrites what the sums over rows read, so they come
  // before it, with statistics of their own.
  const bool is_in_place = wanted.dx && (overlap(wanted.dx, x) || overlap(wanted.dx, dy));
  if (wanted.dx && !is_in_place) gradient_of_x();
  if (wanted.dweight && (!wanted.dx || is_in_place)) {
    encoder.dispatch(kernel(norm.backward, "_statistics", x), {read(x, "x"), write(kept, "statistics")},
                     parameters, Grid{rows});
  }
  if (wanted.dweight) {
    encoder.dispatch(
        kernel(norm.backward, "_weight", x),
        {read(x, "x"), read(dy, "dy"), read(kept, "statistics"), write(wanted.dweight, "dweight")},
        Parameters{rows, cols}, Grid{cols});
  }
  if (wanted.dbias) {
    encoder.dispatch(kernel(norm.backward, "_bias", x), {read(dy, "dy"), write(wanted.dbias, "dbias")},
                     Parameters{rows, cols}, Grid{cols});
  }
  if (is_in_place) gradient_of_x();
  transaction.commit();
}

}  // namespace

void rms_norm(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& y,
              const NormOptions& options) {
  check_given(rms.op, {"weight", weight});
  forward(encoder, rms, x, weight, Tensor(), y, options);
}

void rms_norm_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& dy,
                       const Tensor& dx, const Tensor& dweight, const NormOptions& options) {
  check_given(rms.backward, {"weight", weight});
  backward(encoder, rms, x, weight, dy, {dx, dweight, {}}, options);
}

void layer_norm(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& bias,
                const Tensor& y, const NormOptions& options) {
  forward(encoder, layer, x, weight, bias, y, options);
}

void layer_norm_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& dy,
                         const Tensor& dx, const Tensor& dweight, const Tensor& dbias,
                         const NormOptions& options) {
  backward(encoder, layer, x, weight, dy, {dx, dweight, dbias}, options);
}

void l2_norm(CommandEncoder& encoder, const Tensor& x, const Tensor& y, const NormOptions& options) {
  forward(encoder, l2, x, Tensor(), Tensor(), y, options);
}

void l2_norm_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx,
                      const NormOptions& options) {
  check_given(l2.backward, {"dx", dx});
  backward(encoder, l2, x, Tensor(), dy, {dx, {}, {}}, options);
}

}  // namespace silica
