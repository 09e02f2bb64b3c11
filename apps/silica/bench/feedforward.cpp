// SPDX-License-Identifier: MIT
#include "bench/work.h"

namespace silica::bench {
namespace {

enum In : std::size_t { x, gate, up, down, dy };
enum Out : std::size_t { y, dx, dgate, dup, ddown };

Tensor like(CommandEncoder& encoder, const Tensor& tensor) {
  return encoder.temporary(tensor.dtype(), tensor.shape());
}

}  // namespace

Feedforward::Hidden Feedforward::encode_forward(CommandEncoder& e, const Tensors& in,
                                                const Tensor& to) const {
  const Shape& weight = in[gate].shape();
  const Shape shape{in[x].shape().rows(), in_out ? weight.cols() : weight.rows()};
  const MatmulOptions product{.transpose_b = !in_out};
  const auto temporary = [&] { return e.temporary(in[x].dtype(), shape); };
  const Hidden hidden{temporary(), temporary(), temporary()};
  matmul(e, in[x], in[gate], hidden.gate, product);
  matmul(e, in[x], in[up], hidden.up, product);
  swiglu(e, hidden.gate, hidden.up, hidden.product);
  matmul(e, hidden.product, in[down], to, product);
  return hidden;
}

void Feedforward::forward(CommandEncoder& e, const Tensors& in, const Tensors& out) const {
  encode_forward(e, in, out[y]);
}

void Feedforward::forward_backward(CommandEncoder& e, const Tensors& in, const Tensors& out) const {
  const Hidden hidden = encode_forward(e, in, out[y]);
  const Tensor dproduct = like(e, hidden.gate), dgates = like(e, hidden.gate), dups = like(e, hidden.gate);
  const MatmulOptions of_input{.transpose_b = in_out};
  const auto of_weight = [&](const Tensor& from, const Tensor& dto, const Tensor& dweight) {
    matmul(e, in_out ? from : dto, in_out ? dto : from, dweight, {.transpose_a = true});
  };
  matmul(e, in[dy], in[down], dproduct, of_input);
  of_weight(hidden.product, in[dy], out[ddown]);
  swiglu_backward(e, hidden.gate, hidden.up, dproduct, dgates, dups);
  const Tensor through_gate = like(e, out[dx]), through_up = like(e, out[dx]);
  matmul(e, dgates, in[gate], through_gate, of_input);
  matmul(e, dups, in[up], through_up, of_input);
  of_weight(in[x], dgates, out[dgate]);
  of_weight(in[x], dups, out[dup]);
  add(e, through_gate, through_up, out[dx]);
}

}  // namespace silica::bench
