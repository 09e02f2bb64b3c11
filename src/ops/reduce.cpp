// SPDX-License-Identifier: MIT
#include <cstdint>

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

// kernels/row/row.cpp: a sum is divided by 1, a mean by cols.
struct SumParameters {
  std::uint64_t cols, divisor;
};

void check_rows(const char* op, const Argument& x, const Argument& y) {
  check_float(op, x);
  check_same_dtype(op, y, x);
  check_size(op, y, x.tensor.shape().rows(), message("one for each row of ", x.name).c_str());
}

void reduce(CommandEncoder& encoder, const char* op, const Tensor& x, const Tensor& y,
            std::uint64_t divisor) {
  check_rows(op, {"x", x}, {"y", y});
  encoder.dispatch(message("row.", op, ".", to_string(x.dtype())), {read(x, "x"), write(y, "y")},
                   SumParameters{x.shape().cols(), divisor}, Grid{x.shape().rows()});
}

void spread(CommandEncoder& encoder, const char* op, const Tensor& dy, const Tensor& dx,
            std::uint64_t divisor) {
  check_rows(op, {"dx", dx}, {"dy", dy});
  encoder.dispatch(message("row.", op, ".", to_string(dx.dtype())), {read(dy, "dy"), write(dx, "dx")},
                   SumParameters{dx.shape().cols(), divisor}, Grid{dx.shape().rows()});
}

}  // namespace

void sum(CommandEncoder& encoder, const Tensor& x, const Tensor& y) { reduce(encoder, "sum", x, y, 1); }

void sum_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) {
  spread(encoder, "sum_backward", dy, dx, 1);
}

void mean(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {
  reduce(encoder, "mean", x, y, x.shape().cols());
}

void mean_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) {
  spread(encoder, "mean_backward", dy, dx, dx.shape().cols());
}

}  // namespace silica
