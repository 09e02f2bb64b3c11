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
  const Shape shape{in[x].shape().rows(), in[gate].shape().rows()};
  const auto temporary = [&] { return e.temporary(in[x].dtype(), shape); };
  const Hidden hidden{temporary(), temporary(), temporary()};
  matmul(e, in[x], in[gate], hidden.gate, {.transpose_b = true});
  matmul(e, in[x], in[up], hidden.up, {.transpose_b = true});
  swiglu(e, hidden.gate, hidden.up, hidden.product);
  matmul(e, hidden.product, in[down], to, {.transpose_b = true});
  return hidden;
}

void Feedforward::forward(CommandEncoder& e, const Tensors& in, const Tensors& out) const {
  encode_forward(e, in, out[y]);
}

void Feedforward::forward_backward(CommandEncoder& e, const Tensors& in, const Tensors& out) const {
  const Hidden hidden = encode_forward(e, in, out[y]);
  const Tensor dproduct = like(e, hidden.gate), dgates = like(e, hidden.gate), dups = like(e, hidden.gate);
  matmul(e, in[dy], in[down], dproduct, {});
  matmul(e, in[dy], hidden.product, out[ddown], {.transpose_a = true});
  swiglu_backward(e, hidden.gate, hidden.up, dproduct, dgates, dups);
  const Tensor through_gate = like(e, out[dx]), through_up = like(e, out[dx]);
  matmul(e, dgates, in[gate], through_gate, {});
  matmul(e, dups, in[up], through_up, {});
  matmul(e, dgates, in[x], out[dgate], {.transpose_a = true});
  matmul(e, dups, in[x], out[dup], {.transpose_a = true});
  add(e, through_gate, through_up, out[dx]);
}

}  // namespace silica::bench
