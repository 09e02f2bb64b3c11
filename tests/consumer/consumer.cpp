// SPDX-License-Identifier: MIT
// silu'(0) = 1/2 and silu(0) = 0, through the installed library.
#include <silica/silica.h>

#include <cstdio>
#include <vector>

int main() try {
  const silica::Device device = silica::Device::open();
  const silica::Tensor x(device, {3}, std::vector<float>{-1.0f, 0.0f, 1.0f});
  const silica::Tensor seed(device, {3}, std::vector<float>{1.0f, 1.0f, 1.0f});
  silica::CommandEncoder encoder(device);
  silica::Tape tape(encoder);
  const silica::Variable v = tape.variable(x);
  tape.backward(silica::silu(v), seed);
  device.submit(encoder.finish()).wait();
  const std::vector<float> gradient = tape.gradient(v).download<float>();
  std::printf("silu'(0) = %g on %s\n", double{gradient[1]}, device.name().c_str());
  return gradient[1] == 0.5f ? 0 : 1;
} catch (const silica::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
