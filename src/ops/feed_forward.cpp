// SPDX-License-Identifier: MIT
// The ops that it is made of, one after the other; or, where the encoder permits it and the device has them,
// the kernels of tensor cores that do an elementwise op's work with the product in front of it.
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/matmul/matmul.h"
#include "kernels/tensor_core/tensor_core.h"
#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

struct Extents {
  std::uint64_t tokens, width, hidden;
  bool in_out;  // how weights are stored

  // Of a layer's product with its weight.
  MatmulOptions product() const { return {.transpose_b = !in_out}; }
};

void check_matrix(const char* op, const Argument& a, const Argument& x, std::uint64_t rows,
                  std::uint64_t cols) {
  check_same_dtype(op, a, x);
  const Shape& shape = a.tensor.shape();
  if (shape.rows() == rows && shape.cols() == cols) return;
  refuse(op, ": ", a.name, " is ", to_string(Shape{shape.rows(), shape.cols()}), ", expected ",
         to_string(Shape{rows, cols}));
}

void check_weight(const char* op, const Argument& a, const Argument& x, const Extents& e, std::uint64_t in,
                  std::uint64_t out) {
  check_matrix(op, a, x, e.in_out ? in : out, e.in_out ? out : in);
}

Extents check_inputs(const char* op, const Tensor& x, const FeedForwardWeights& weights,
                     const FeedForwardOptions& options) {
  check_float(op, {"x", x});
  check_same_dtype(op, {"gate", weights.gate}, {"x", x});
  const Shape& gate = weights.gate.shape();
  const std::size_t in = options.in_out ? gate.rows() : gate.cols();
  if (in != x.shape().cols()) {
    refuse(op, ": gate is ", to_string(Shape{gate.rows(), gate.cols()}), ", x has ", x.shape().cols(),
           " columns; ", options.in_out ? "with" : "without", " in_out weights are ",
           options.in_out ? "(in, out)" : "(out, in)");
  }
  const Extents e{x.shape().rows(), in, options.in_out ? gate.cols() : gate.rows(), options.in_out};
  check_weight(op, {"up", weights.up}, {"x", x}, e, e.width, e.hidden);
  check_weight(op, {"down", weights.down}, {"x", x}, e, e.hidden, e.width);
  return e;
}

void check_kept(const char* op, const FeedForwardKept& kept, const Tensor& x, const Extents& e) {
  check_matrix(op, {"kept.gate", kept.gate}, {"x", x}, e.tokens, e.hidden);
  check_matrix(op, {"kept.up", kept.up}, {"x", x}, e.tokens, e.hidden);
  check_matrix(op, {"kept.hidden", kept.hidden}, {"x", x}, e.tokens, e.hidden);
}

// ---- on tensor cores

// Whether the device has the kernels, and they take operands of these sizes at these places.
bool is_for_tensor_cores(const CommandEncoder& encoder, const Extents& e,
                         const std::vector<Operand>& operands) {
  const DType dtype = operands[0].tensor.dtype();
  if (encoder.math() != Math::fast || dtype == DType::f32) return false;
  if (!kernels::is_for_tensor_cores(e.tokens, e.width) || !kernels::is_for_tensor_cores(e.hidden, e.width))
    return false;
  for (const Operand& operand : operands) {
    const Tensor& tensor = operand.tensor;
    if (!kernels::is_for_copy_engine(tensor.shape().rows(), tensor.shape().cols(), tensor.offset()))
      return false;
  }
  return encoder.device().kernels().contains(message("feed_forward.product.", to_string(dtype), ".fast"));
}

// A kernel of the family: its operands in the order of the table in backends/cuda/tensor_core.cpp.
void dispatch(CommandEncoder& encoder, const char* kernel, std::initializer_list<Operand> operands,
              const kernels::ProductSizes& sizes) {
  const DType dtype = operands.begin()->tensor.dtype();
  encoder.dispatch(message("feed_forward.", kernel, ".", to_string(dtype), ".fast"), operands, sizes,
                   Grid{sizes.n, sizes.m});
}

void forward_on_tensor_cores(CommandEncoder& encoder, const Tensor& x, const FeedForwardWeights& w,
                             const Tensor& y, const FeedForwardKept& kept, const Extents& e) {
  const Tensor hidden = kept.hidden ? kept.hidden : encoder.temporary(x.dtype(), {e.tokens, e.hidden});
  const Operand in[] = {read(x, "x"), read(w.gate, "gate"), read(w.up, "up"), write(hidden, "hidden")};
  const std::uint32_t transpose = e.product().transpose_b;
  const kernels::ProductSizes sizes{e.tokens, e.hidden, e.width, 0, transpose};
  if (kept.hidden) {
    dispatch(encoder, "hidden_kept",
             {in[0], in[1], in[2], in[3], write(kept.gate, "kept.gate"), write(kept.up, "kept.up")}, sizes);
  } else {
    dispatch(encoder, "hidden", {in[0], in[1], in[2], in[3]}, sizes);
  }
  dispatch(encoder, "product", {read(hidden, "hidden"), read(w.down, "down"), write(y, "y")},
           {e.tokens, e.width, e.hidden, 0, transpose});
}

void backward_on_tensor_cores(CommandEncoder& encoder, const Tensor& x, const FeedForwardWeights& w,
                              const FeedForwardKept& kept, const Tensor& dy, const Tensor& dx,
                              const FeedForwardWeights& dw, const Extents& e) {
  const std::uint32_t transpose = e.in_out;
  const auto of_weight = [&](const Tensor& dout, const Tensor& in, const Tensor& dweight) {
    const Operand rows = e.in_out ? read(in, "x") : read(dout, "dy");
    const Operand cols = e.in_out ? read(dout, "dy") : read(in, "x");
    dispatch(encoder, "product", {rows, cols, write(dweight, "dweight")},
             {rows.tensor.shape().cols(), cols.tensor.shape().cols(), e.tokens, 1, 0});
  };
  if (dx || dw.gate || dw.up) {
    const Tensor dgate = encoder.temporary(x.dtype(), kept.gate.shape());
    const Tensor dup = encoder.temporary(x.dtype(), kept.up.shape());
    dispatch(encoder, "hidden_backward",
             {read(dy, "dy"), read(w.down, "down"), read(kept.gate, "kept.gate"), read(kept.up, "kept.up"),
              write(dgate, "dgate"), write(dup, "dup")},
             {e.tokens, e.hidden, e.width, 0, transpose});
    if (dx) {
      dispatch(
          encoder, "input_backward",
          {read(dgate, "dgate"), read(w.gate, "gate"), read(dup, "dup"), read(w.up, "up"), write(dx, "dx")},
          {e.tokens, e.width, e.hidden, 0, transpose});
    }
    if (dw.gate) of_weight(dgate, x, dw.gate);
    if (dw.up) of_weight(dup, x, dw.up);
  }
  if (dw.down) of_weight(dy, kept.hidden, dw.down);
}

// ---- of other ops

void forward_of_ops(CommandEncoder& encoder, const Tensor& x, const FeedForwardWeights& w, const Tensor& y,
                    const FeedForwardKept& kept, const Extents& e) {
  const auto kept_or_temporary = [&](const Tensor& given) {
    return given ? given : encoder.temporary(x.dtype(), {e.tokens, e.hidden});
  };
  const Tensor hidden = kept_or_temporary(kept.hidden);
  const std::string few_rows = message("feed_forward.few_rows.", to_string(x.dtype()));
  if (!kept.hidden && kernels::is_few_rows(e.tokens, e.width, false, !e.in_out) &&
      encoder.device().kernels().contains(few_rows)) {
    encoder.dispatch(few_rows,
                     {read(x, "x"), read(w.gate, "gate"), read(w.up, "up"), write(hidden, "hidden")},
                     kernels::ProductSizes{e.tokens, e.hidden, e.width, 0, e.product().transpose_b},
                     Grid{e.hidden, e.tokens});
  } else {
    const Tensor gate = kept_or_temporary(kept.gate), up = kept_or_temporary(kept.up);
    matmul(encoder, x, w.gate, gate, e.product());
    matmul(encoder, x, w.up, up, e.product());
    swiglu(encoder, gate, up, hidden);
  }
  matmul(encoder, hidden, w.down, y, e.product());
}

void backward_of_ops(CommandEncoder& encoder, const Tensor& x, const FeedForwardWeights& w,
                     const FeedForwardKept& kept, const Tensor& dy, const Tensor& dx,
                     const FeedForwardWeights& dw, const MatmulOptions& product) {
  const auto like = [&](const Tensor& model) { return encoder.temporary(model.dtype(), model.shape()); };
  const bool needs_hidden = dx || dw.gate || dw.up;
  const Tensor dhidden = needs_hidden ? like(kept.hidden) : Tensor();
  matmul_backward(encoder, kept.hidden, w.down, dy, dhidden, dw.down, product);
  if (!needs_hidden) return;
  const Tensor dgate = like(kept.gate), dup = like(kept.up);
  swiglu_backward(encoder, kept.gate, kept.up, dhidden, dgate, dup);
  const Tensor through_gate = dx ? like(dx) : Tensor(), through_up = dx ? like(dx) : Tensor();
  matmul_backward(encoder, x, w.gate, dgate, through_gate, dw.gate, product);
  matmul_backward(encoder, x, w.up, dup, through_up, dw.up, product);
  if (dx) add(encoder, through_gate, through_up, dx);
}

}  // namespace

void feed_forward(CommandEncoder& encoder, const Tensor& x, const FeedForwardWeights& weights,
                  const Tensor& y, const FeedForwardKept& kept, const FeedForwardOptions& options) {
  const char* op = "feed_forward";
  const Extents e = check_inputs(op, x, weights, options);
  check_matrix(op, {"y", y}, {"x", x}, e.tokens, e.width);
  std::vector<Operand> operands = {read(x, "x"), read(weights.gate, "gate"), read(weights.up, "up"),
                                   read(weights.down, "down"), write(y, "y")};
  if (kept.gate || kept.up || kept.hidden) {
    check_kept(op, kept, x, e);
    operands.insert(operands.end(), {write(kept.gate, "kept.gate"), write(kept.up, "kept.up"),
                                     write(kept.hidden, "kept.hidden")});
  }
  encoder.check(op, operands);
  CommandEncoder::Transaction transaction(encoder, op);
  if (is_for_tensor_cores(encoder, e, operands)) {
    forward_on_tensor_cores(encoder, x, weights, y, kept, e);
  } else {
    forward_of_ops(encoder, x, weights, y, kept, e);
  }
  transaction.commit();
}

void feed_forward_backward(CommandEncoder& encoder, const Tensor& x, const FeedForwardWeights& weights,
                           const FeedForwardKept& kept, const Tensor& dy, const Tensor& dx,
                           const FeedForwardWeights& dweights, const FeedForwardOptions& options) {
  const char* op = "feed_forward_backward";
  const Extents e = check_inputs(op, x, weights, options);
  check_kept(op, kept, x, e);
  check_matrix(op, {"dy", dy}, {"x", x}, e.tokens, e.width);
  std::vector<Operand> operands = {read(x, "x"),
                                   read(weights.gate, "gate"),
                                   read(weights.up, "up"),
                                   read(weights.down, "down"),
                                   read(kept.gate, "kept.gate"),
                                   read(kept.up, "kept.up"),
                                   read(kept.hidden, "kept.hidden"),
                                   read(dy, "dy")};
  const auto take = [&](const Argument& gradient, const Tensor& model) {
    if (!gradient.tensor) return;
    check_matrix(op, gradient, {"x", x}, model.shape().rows(), model.shape().cols());
    operands.push_back(write(gradient.tensor, gradient.name));
  };
  take({"dx", dx}, x);
  take({"dgate", dweights.gate}, weights.gate);
  take({"dup", dweights.up}, weights.up);
  take({"ddown", dweights.down}, weights.down);
  encoder.check(op, operands);
  CommandEncoder::Transaction transaction(encoder, op);
  if (is_for_tensor_cores(encoder, e, operands)) {
    backward_on_tensor_cores(encoder, x, weights, kept, dy, dx, dweights, e);
  } else {
    backward_of_ops(encoder, x, weights, kept, dy, dx, dweights, e.product());
  }
  transaction.commit();
}

}  // namespace silica
