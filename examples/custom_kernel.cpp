// SPDX-License-Identifier: MIT
// A kernel of your own takes the path that the library's ops take: a source in the device's registry, then a
// dispatch in an encoder, with hazards, lifetimes and checks like any other.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "silica/silica.h"

namespace {

// The argument block: the operands' addresses in the order of the dispatch, then the parameters.
struct Arguments {
  const float* x;
  float* y;
  std::uint64_t n;
};

constexpr std::uint32_t tile = 1024;

// y = x^2 where x > 0, else 0. One group covers `tile` elements.
void squared_relu(const void* arguments, silica::Groups groups) {
  const Arguments& a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t i = groups.begin * tile; i < groups.end * tile && i < a.n; ++i) {
    a.y[i] = a.x[i] > 0.0f ? a.x[i] * a.x[i] : 0.0f;
  }
}

}  // namespace

int main() try {
  const silica::Device device = silica::Device::open("cpu");
  device.kernels().add("squared_relu", {.cpu = {squared_relu, {tile}}});

  const silica::Tensor x(device, {4}, std::vector{-1.0f, 0.5f, 2.0f, 3.0f});
  const silica::Tensor y(device, silica::DType::f32, x.shape());
  silica::CommandEncoder encoder(device);
  encoder.dispatch("squared_relu", {read(x, "x"), in_place(y, "y")}, std::uint64_t{x.size()},
                   silica::Grid{x.size()});
  silica::silu(encoder, y, y);  // the library's own ops mix freely with it
  device.submit(encoder.finish()).wait();
  for (const float value : y.download<float>()) std::printf("%.9g\n", value);
} catch (const silica::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
