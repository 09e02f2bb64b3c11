// SPDX-License-Identifier: MIT
// What the emulation and the device are both asked to do, and the device.
#pragma once

#include "op_cases.h"
#include "support.h"

namespace silica::test {

// For tests that need a GPU; null without one.
inline const Device* cuda_device() {
  static const std::optional<Device> device = []() -> std::optional<Device> {
    try {
      return Device::open("cuda");
    } catch (const Error&) {
      return std::nullopt;
    }
  }();
  return device ? &*device : nullptr;
}

// A network with every kind of op, a loss, and a step of the optimizer, in one list with packed temporaries.
inline Tensors encode_step(CommandEncoder& e) {
  constexpr std::size_t vocabulary = 61, dim = 36, hidden = 100, n = 83;
  const Device& device = e.device();
  Tape tape(e);
  std::vector<Tensor> weights = {random_tensor(e, 1, {vocabulary, dim}), random_tensor(e, 2, {dim}),
                                 random_tensor(e, 3, {hidden, dim}), random_tensor(e, 4, {hidden, dim}),
                                 random_tensor(e, 5, {dim, hidden})};
  std::vector<Variable> v;
  for (const Tensor& weight : weights) v.push_back(tape.variable(weight));
  const Tensor ids = random_ids(e, 6, n, vocabulary), targets = random_ids(e, 7, n, vocabulary);
  const Variable x = embedding(v[0], ids), normed = rms_norm(x, v[1]);
  const Variable gate = matmul(normed, v[2], {.transpose_b = true}),
                 up = matmul(normed, v[3], {.transpose_b = true});
  const Variable down = matmul(swiglu(gate, up), v[4], {.transpose_b = true});
  const Variable loss = cross_entropy(matmul(add(x, down), v[0], {.transpose_b = true}), targets);
  tape.backward(loss);
  const Tensor state = make(device, {0.01f, 0.9f, 0.999f});
  adamw_step(e, state);
  Tensors results = {result(e, {1})};
  copy(e, loss.value(), results[0]);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Tensor m(device, DType::f32, weights[i].shape()), second(device, DType::f32, weights[i].shape());
    adamw(e, tape.gradient(v[i]), state, weights[i], m, second);
    results.push_back(weights[i]);
  }
  return results;
}

}  // namespace silica::test
