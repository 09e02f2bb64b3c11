// SPDX-License-Identifier: MIT
// How fast the CUDA backend is: one row for each piece of work, `name microseconds rate unit`. A list of many
// commands is replayed, so that a launch costs what it costs inside a graph. bench/peers_cuda.py prints the
// same names for others.
//
//   bench_cuda          all rows
//   bench_cuda tune     elementwise kernels with 1, 2 and 4 vectors a thread
//   bench_cuda first    milliseconds from the start of main to the first result
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "silica/silica.h"

namespace {

using namespace silica;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Work {
  std::string name;
  double amount;  // bytes moved, or floating-point operations
  const char* unit;
  unsigned commands;  // in a list
  std::function<void(CommandEncoder&)> encode;
  Math math = Math::exact;
};

// The best of several replays, per command.
double measure(const Device& device, const Work& work) {
  CommandEncoder encoder(device, {.math = work.math});
  for (unsigned i = 0; i < work.commands; ++i) work.encode(encoder);
  const CommandList list = encoder.finish();
  for (int i = 0; i < 3; ++i) device.submit(list).wait();
  double best = 1e9;
  for (int i = 0; i < 7; ++i) {
    const auto start = Clock::now();
    device.submit(list).wait();
    best = std::min(best, seconds_since(start));
  }
  return best / work.commands;
}

void print(const Device& device, const Work& work) {
  const double seconds = measure(device, work);
  std::printf("%-28s %11.2f us %9.3f %s\n", work.name.c_str(), seconds * 1e6, work.amount / seconds / 1e12,
              work.unit);
  std::fflush(stdout);
}

Tensor filled(const Device& device, DType dtype, const Shape& shape, float value) {
  Tensor tensor(device, dtype, shape);
  CommandEncoder encoder(device);
  fill(encoder, value, tensor);
  device.submit(encoder.finish()).wait();
  return tensor;
}

void elementwise(const Device& device, DType dtype, std::size_t n, unsigned commands,
                 const std::string& suffix) {
  std::vector<Tensor> t;
  for (int i = 0; i < 5; ++i) t.push_back(filled(device, dtype, {n}, 0.25f * static_cast<float>(i) - 0.6f));
  const double bytes = static_cast<double>(n * size_of(dtype));
  const auto row = [&](const char* op, double operands, auto encode) {
    print(device, {std::string(op) + "." + std::string(to_string(dtype)) + suffix, operands * bytes, "TB/s",
                   commands, encode});
  };
  row("copy", 2, [&](CommandEncoder& e) { copy(e, t[0], t[1]); });
  row("silu", 2, [&](CommandEncoder& e) { silu(e, t[0], t[1]); });
  row("silu_backward", 3, [&](CommandEncoder& e) { silu_backward(e, t[0], t[1], t[2]); });
  row("swiglu", 3, [&](CommandEncoder& e) { swiglu(e, t[0], t[1], t[2]); });
  row("swiglu_backward", 5, [&](CommandEncoder& e) { swiglu_backward(e, t[0], t[1], t[2], t[3], t[4]); });
}

void multiply(const Device& device, std::size_t m, std::size_t n, std::size_t k, bool ta, bool tb,
              unsigned commands) {
  const Tensor a = filled(device, DType::f32, ta ? Shape{k, m} : Shape{m, k}, 0.5f);
  const Tensor b = filled(device, DType::f32, tb ? Shape{n, k} : Shape{k, n}, 0.25f);
  const Tensor c(device, DType::f32, {m, n});
  const std::string name = "matmul." + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) +
                           (ta ? ".ta" : "") + (tb ? ".tb" : "");
  print(device, {name, 2.0 * static_cast<double>(m * n) * static_cast<double>(k), "TFLOP/s", commands,
                 [&](CommandEncoder& e) { matmul(e, a, b, c, {ta, tb}); }});
}

// Tensor cores. Random factors: the clock falls with the power that they take.
void multiply_fast(const Device& device, DType dtype, std::size_t m, std::size_t n, std::size_t k,
                   unsigned commands) {
  const auto random = [&](const Shape& shape) {
    std::vector<float> values(shape.size());
    std::uint32_t state = 1;
    for (float& value : values) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
    }
    const Tensor wide(device, shape, values), tensor(device, dtype, shape);
    CommandEncoder encoder(device);
    cast(encoder, wide, tensor);
    device.submit(encoder.finish()).wait();
    return tensor;
  };
  const Tensor a = random({m, k}), b = random({n, k}), c(device, dtype, {m, n});
  const std::string name = "matmul.fast." + std::string(to_string(dtype)) + "." + std::to_string(m) + "x" +
                           std::to_string(n) + "x" + std::to_string(k) + ".tb";
  print(device, {name, 2.0 * static_cast<double>(m * n) * static_cast<double>(k), "TFLOP/s", commands,
                 [&](CommandEncoder& e) { matmul(e, a, b, c, {.transpose_b = true}); }, Math::fast});
}

void rows(const Device& device) {
  constexpr std::size_t row_count = 8192, cols = 4096;
  const Tensor x = filled(device, DType::f32, {row_count, cols}, 0.5f),
               y(device, DType::f32, {row_count, cols});
  const Tensor weight = filled(device, DType::f32, {cols}, 1.0f), dweight(device, DType::f32, {cols});
  const Tensor targets(device, DType::u32, {row_count}), loss = filled(device, DType::f32, {1}, 1.0f);
  const double bytes = 4.0 * row_count * cols;
  print(device,
        {"rms_norm.8192x4096", 2 * bytes, "TB/s", 10, [&](CommandEncoder& e) { rms_norm(e, x, weight, y); }});
  print(device, {"rms_norm_backward.8192x4096", 3 * bytes, "TB/s", 10,
                 [&](CommandEncoder& e) { rms_norm_backward(e, x, weight, x, y, dweight); }});
  print(device, {"cross_entropy.8192x4096", bytes, "TB/s", 10,
                 [&](CommandEncoder& e) { cross_entropy(e, x, targets, loss); }});
}

void all(const Device& device) {
  constexpr std::size_t large = std::size_t{1} << 28;
  elementwise(device, DType::f32, large, 10, ".2^28");
  elementwise(device, DType::bf16, large, 10, ".2^28");
  for (const unsigned power : {12u, 16u, 20u}) {
    elementwise(device, DType::f32, std::size_t{1} << power, 500, ".2^" + std::to_string(power));
  }
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) multiply(device, 4096, 4096, 4096, ta, tb, 3);
  }
  multiply(device, 1024, 1024, 1024, false, true, 50);
  multiply(device, 512, 1536, 576, false, true, 100);
  multiply(device, 512, 576, 1536, false, true, 100);
  multiply(device, 1, 14336, 4096, false, true, 50);
  multiply(device, 1, 14336, 4096, false, false, 50);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    multiply_fast(device, dtype, 8192, 8192, 8192, 2);
    multiply_fast(device, dtype, 4096, 4096, 4096, 5);
    multiply_fast(device, dtype, 512, 1536, 576, 100);
  }
  rows(device);
}

// The kernel of the catalogue with another number of vectors.
void tune(const Device& device) {
  for (const std::string type : {"F32", "BF16"}) {
    for (const std::string op : {"silu", "silu_backward"}) {
      for (const unsigned vectors : {1u, 2u, 4u}) {
        const DType dtype = type == "F32" ? DType::f32 : DType::bf16;
        const std::string name = "tune_" + op + "_" + type + "_" + std::to_string(vectors);
        const std::string map = "Map<" + op + "_map, " + type + ">";
        device.kernels().add(
            name,
            {.cuda = {"#define SILICA_VECTORS " + std::to_string(vectors) + "\n#define SILICA_ENTRY " + name +
                          "\n#define SILICA_KERNEL " + map + "::run\n#define SILICA_ARGUMENTS " + map +
                          "::Arguments\n#define SILICA_THREADS 256\n#include \"kernels/map/map.cu\"\n",
                      name, Tile{256 * vectors * (type == "F32" ? 4u : 8u)}, 256}});
        constexpr std::size_t n = std::size_t{1} << 28;
        const Tensor x = filled(device, dtype, {n}, 0.3f), dy = filled(device, dtype, {n}, 0.7f),
                     y(device, dtype, {n});
        struct Parameters {
          std::uint64_t count;
          float s;
          std::uint32_t padding;
        };
        const bool backward = op != "silu";
        print(device, {name, (backward ? 3.0 : 2.0) * static_cast<double>(n * size_of(dtype)), "TB/s", 10,
                       [&](CommandEncoder& e) {
                         const Parameters parameters{n, 0.0f, 0};
                         if (backward) {
                           e.dispatch(name, {read(x, "x"), read(dy, "dy"), write(y, "y")}, parameters,
                                      Grid{n});
                         } else {
                           e.dispatch(name, {read(x, "x"), write(y, "y")}, parameters, Grid{n});
                         }
                       }});
      }
    }
  }
}

void first() {
  const auto start = Clock::now();
  list_devices();
  const double listed = seconds_since(start);
  const Device device = Device::open("cuda");
  const double opened = seconds_since(start);
  const Tensor x = filled(device, DType::f32, {1000}, 1.0f), y(device, DType::f32, {1000});
  CommandEncoder encoder(device);
  silu(encoder, x, y);
  device.submit(encoder.finish()).wait();
  std::printf(
      "first result after %.0f ms: driver and NVRTC %.0f, context and probe %.0f, fill and silu %.0f\n",
      seconds_since(start) * 1e3, listed * 1e3, (opened - listed) * 1e3,
      (seconds_since(start) - opened) * 1e3);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  try {
    if (what == "first") {
      first();
      return 0;
    }
    const Device device = Device::open("cuda");
    std::printf("# %s\n", device.info().description.c_str());
    what == "tune" ? tune(device) : all(device);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_cuda: %s\n", error.what());
    return 1;
  }
  return 0;
}
