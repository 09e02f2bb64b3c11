// SPDX-License-Identifier: MIT
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "backends/cuda/cuda.h"
#include "core/format.h"

namespace silica::cuda {

namespace {

constexpr const char* primitives[] = {"x + y", "x * y", "x * y + z", "fma", "x / y", "sqrt"};
constexpr std::size_t count = std::size(primitives);

// Triples where rounding, contraction, subnormals or limits show.
std::vector<float> operands() {
  using Limits = std::numeric_limits<float>;
  const float values[] = {0.0f,    -0.0f, 1.0f,        -1.5f,         1.0f + 0x1p-23f,    1.0f - 0x1p-24f,
                          3.0f,    0.1f,  0x1p-126f,   0x1p-149f,     0x1.fffffep-127f,   -0x1.8p-140f,
                          1e-30f,  1e30f, 16777215.0f, Limits::max(), Limits::infinity(), 0.7071068f,
                          6.25e-2f};
  std::vector<float> x, y, z;
  for (const float a : values) {
    for (const float b : values) {
      for (const float c : {0.0f, -a * b, 1.0f, 0x1p-149f}) {
        x.push_back(a);
        y.push_back(b);
        z.push_back(c);
      }
    }
  }
  std::vector<float> all = x;
  all.insert(all.end(), y.begin(), y.end());
  all.insert(all.end(), z.begin(), z.end());
  return all;
}

float expected(std::size_t primitive, float x, float y, float z) {
  switch (primitive) {
    case 0:
      return x + y;
    case 1:
      return x * y;
    case 2:
      return x * y + z;
    case 3:
      return std::fma(x, y, z);
    case 4:
      return x / y;
    default:
      return std::sqrt(std::fabs(x));
  }
}

bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) ||
         std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

void run(const std::shared_ptr<Session>& session, const Memory& x, const Memory& y, std::uint64_t n) {
  const Choice choice{"probe", "probe", "ProbeArguments", "", 256, 1};
  const LoadedKernel& kernel = session->kernel("probe", text_of("probe_", choice), "probe_");
  std::uint64_t arguments[] = {x.address, y.address, n};
  void* parameters[] = {arguments};
  const Turn turn(*session);
  session->check(driver().launch(kernel.function, 1, 1, 1, choice.threads, 1, 1, 0, session->stream,
                                 parameters, nullptr),
                 "the probe");
}

}  // namespace

std::string probe(const std::shared_ptr<Session>& session) {
  const std::vector<float> in = operands();
  const std::size_t n = in.size() / 3;
  std::vector<float> out(count * n);
  const auto x = allocate(session, in.size() * sizeof(float)),
             y = allocate(session, out.size() * sizeof(float));
  upload(*session, x->address, std::as_bytes(std::span(in)));
  run(session, *x, *y, n);
  download(*session, y->address, std::as_writable_bytes(std::span(out)));
  for (std::size_t p = 0; p < count; ++p) {
    for (std::size_t i = 0; i < n; ++i) {
      const float want = expected(p, in[i], in[n + i], in[2 * n + i]), got = out[p * n + i];
      if (!same(got, want)) {
        return message("not exact: ", primitives[p], " of ", in[i], ", ", in[n + i], ", ", in[2 * n + i],
                       " is ", got, ", expected ", want);
      }
    }
  }
  return "";
}

}  // namespace silica::cuda
