// SPDX-License-Identifier: MIT
#include <cstdint>

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

void forward(CommandEncoder& encoder, const char* op, const Tensor& x, const Tensor& y) {
  check_float(op, {"x", x});
  check_like(op, {"y", y}, {"x", x});
  encoder.dispatch(message("row.", op, ".", to_string(x.dtype())), {read(x, "x"), in_place(y, "y")},
                   std::uint64_t{x.shape().cols()}, Grid{x.shape().rows()});
}

void backward(CommandEncoder& encoder, const char* op, const Tensor& y, const Tensor& dy, const Tensor& dx) {
  check_float(op, {"y", y});
  check_like(op, {"dy", dy}, {"y", y});
  check_like(op, {"dx", dx}, {"y", y});
  encoder.dispatch(message("row.", op, ".", to_string(y.dtype())),
                   {read(y, "y"), read(dy, "dy"), in_place(dx, "dx")}, std::uint64_t{y.shape().cols()},
                   Grid{y.shape().rows()});
}

}  // namespace

void softmax(CommandEncoder& encoder, const Tensor& x, const Tensor& y) { forward(encoder, "softmax", x, y); }

void softmax_backward(CommandEncoder& encoder, const Tensor& y, const Tensor& dy, const Tensor& dx) {
  backward(encoder, "softmax_backward", y, dy, dx);
}

void log_softmax(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {
  forward(encoder, "log_softmax", x, y);
}

void log_softmax_backward(CommandEncoder& encoder, const Tensor& y, const Tensor& dy, const Tensor& dx) {
  backward(encoder, "log_softmax_backward", y, dy, dx);
}

}  // namespace silica
