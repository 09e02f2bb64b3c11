// SPDX-License-Identifier: MIT
#include <cstdint>
#include <cstdio>

#include "silica/silica.h"

int main() {
  using namespace silica;
  const Device device = Device::open();
  const Tensor x(device, {2, 3}, std::vector{1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f});
  const Tensor w_gate(device, {4, 3}, std::vector<float>(12, 0.1f));
  const Tensor w_up(device, {4, 3}, std::vector<float>(12, 0.2f));
  const Tensor targets(device, {2}, std::vector<std::uint32_t>{0, 3});
  const Tensor loss(device, DType::f32, {1});

  CommandEncoder encoder(device);  // records; nothing runs yet
  Tape tape(encoder);
  const Variable gate = tape.variable(w_gate), up = tape.variable(w_up), input = tape.constant(x);
  const Variable y =
      swiglu(matmul(input, gate, {.transpose_b = true}), matmul(input, up, {.transpose_b = true}));
  const Variable mean = cross_entropy(y, targets);
  tape.backward(mean);
  copy(encoder, mean.value(), loss);
  const CommandList step = encoder.finish();  // immutable: submit it as often as you like

  device.submit(step).wait();
  std::printf("loss %.9g, d loss / d gate[0][0] = %.9g on %s\n", loss.download<float>()[0],
              tape.gradient(gate).download<float>()[0], device.name().c_str());
}
