// SPDX-License-Identifier: MIT
// Every f32 through every elementwise function of one input, and every pair of bf16 through those of two: the
// bits of another device are those of the CPU. Needs the device; minutes.
//
//   exhaustive_cuda [device, "cuda"] [power of two of the count, 32]
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/device_state.h"
#include "op_cases.h"
#include "silica/silica.h"

namespace {

using namespace silica;

std::size_t chunk = std::size_t{1} << 26;  // less if less is asked for
constexpr std::uint32_t tile = 4096;

// Numbers from `first` on, as bits: whole, or their high or low halves.
enum class Part : std::uint32_t { all, high, low };
struct Count {
  std::uint64_t n, first;
  Part part;
  std::uint32_t padding = 0;
};

void count_on_cpu(const void* arguments, Groups groups) {
  struct Arguments {
    void* y;
    Count count;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t i = groups.begin * tile; i < std::min(groups.end * tile, a.count.n); ++i) {
    const auto bits = static_cast<std::uint32_t>(a.count.first + i);
    if (a.count.part == Part::all) {
      static_cast<std::uint32_t*>(a.y)[i] = bits;
    } else {
      static_cast<std::uint16_t*>(a.y)[i] =
          static_cast<std::uint16_t>(a.count.part == Part::high ? bits >> 16 : bits);
    }
  }
}

constexpr const char* count_on_cuda = R"(#include "kernels/cuda.h"
struct Arguments { void* y; u64 n, first; u32 part, padding; };
extern "C" __global__ void count(const Arguments a) {
  for (u32 j = threadIdx.x; j < 4096; j += 256) {
    const u64 i = group() * 4096 + j;
    if (i >= a.n) return;
    const u32 bits = u32(a.first + i);
    if (a.part == 0) ((u32*)a.y)[i] = bits;
    else ((u16*)a.y)[i] = u16(a.part == 1 ? bits >> 16 : bits);
  }
})";

void fill_with_count(CommandEncoder& e, const Tensor& x, std::uint64_t first, Part part) {
  e.dispatch("count", {write(x, "x")}, Count{x.size(), first, part}, Grid{x.size()});
}

using test::Tensors;
struct Function {
  std::string name;
  DType in, out;
  std::size_t inputs, outputs;
  std::function<void(CommandEncoder&, const Tensors& in, const Tensors& out)> encode;
};

float to_float(DType dtype, const std::byte* at) {
  if (dtype == DType::f32) return *reinterpret_cast<const float*>(at);
  const auto bits = *reinterpret_cast<const std::uint16_t*>(at);
  return dtype == DType::f16 ? f16{bits}.to_float() : bf16{bits}.to_float();
}

std::uint64_t count_differences(DType dtype, const std::byte* a, const std::byte* b, std::size_t n) {
  const std::size_t size = size_of(dtype);
  std::uint64_t differences = 0;
  for (std::size_t i = 0; i < n; ++i, a += size, b += size) {
    if (std::memcmp(a, b, size) == 0) continue;
    if (!std::isnan(to_float(dtype, a)) || !std::isnan(to_float(dtype, b))) ++differences;
  }
  return differences;
}

std::uint64_t compare(const Tensor& got, const Tensor& want) {
  static std::vector<std::byte> bytes;  // kept: touching new pages takes longer than comparing
  bytes.resize(got.bytes());
  got.download_bytes(bytes, got.dtype());
  const auto* expected = reinterpret_cast<const std::byte*>(want.storage()->memory().address);
  const std::size_t threads = std::max(1u, std::thread::hardware_concurrency()), size = size_of(got.dtype());
  std::vector<std::uint64_t> found(threads);
  std::vector<std::thread> team;
  for (std::size_t t = 0; t < threads; ++t) {
    team.emplace_back([&, t] {
      const std::size_t begin = got.size() * t / threads, end = got.size() * (t + 1) / threads;
      found[t] =
          count_differences(got.dtype(), bytes.data() + begin * size, expected + begin * size, end - begin);
    });
  }
  std::uint64_t sum = 0;
  for (std::size_t t = 0; t < threads; ++t) {
    team[t].join();
    sum += found[t];
  }
  return sum;
}

struct Side {
  Device device;
  Tensors in, out;

  Side(const Device& on, const Function& f) : device(on) {
    for (std::size_t i = 0; i < f.inputs; ++i) in.push_back(Tensor(device, f.in, {chunk}));
    for (std::size_t i = 0; i < f.outputs; ++i) out.push_back(Tensor(device, f.out, {chunk}));
  }

  Fence run(const Function& f, std::uint64_t first) const {
    CommandEncoder e(device);
    const bool whole = f.in == DType::f32;
    for (std::size_t i = 0; i < in.size(); ++i) {
      // f32: the first input counts, the others are elsewhere on the same walk. 16 bits: the halves of the
      // count.
      fill_with_count(e, in[i], i == 0 ? first : (first ^ 0x9e370000u) + 77777 * i,
                      whole ? Part::all : (i == 0 && in.size() > 1 ? Part::high : Part::low));
    }
    f.encode(e, in, out);
    return device.submit(e.finish());
  }
};

std::vector<Function> functions() {
  std::vector<Function> all;
  for (const DType d : {DType::f32, DType::bf16, DType::f16}) {
    const std::string dtype = "." + std::string(to_string(d));
    for (const test::ElementwiseOp& op : test::elementwise_ops()) {
      all.push_back({op.name + dtype, d, d, op.inputs, op.outputs, op.encode});
      if (d != DType::f32 || op.inputs != 2 || op.outputs != 1 || !op.name.ends_with("_backward")) continue;
      // The derivative itself, with dy = 1.
      all.push_back({op.name + " of 1" + dtype, d, d, 1, 1,
                     [op](CommandEncoder& e, const Tensors& x, const Tensors& y) {
                       const Tensor one = e.temporary(DType::f32, {chunk});
                       fill(e, 1.0f, one);
                       op.encode(e, {x[0], one}, y);
                     }});
    }
    for (const DType to : {DType::f32, DType::bf16, DType::f16}) {
      if (to == d) continue;
      all.push_back({"cast" + dtype + "." + std::string(to_string(to)), d, to, 1, 1,
                     [](CommandEncoder& e, const Tensors& x, const Tensors& y) { cast(e, x[0], y[0]); }});
    }
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "cuda";
  const std::uint64_t count = std::uint64_t{1} << (argc > 2 ? std::stoi(argv[2]) : 32);
  chunk = std::min<std::uint64_t>(chunk, count);
  const Device cpu = Device::open("cpu"), other = Device::open(name);
  cpu.kernels().add("count", {.cpu = {count_on_cpu, Tile{tile}}});
  if (name != "cpu") other.kernels().add("count", {.cuda = {count_on_cuda, "count", Tile{tile}, 256}});
  const Device& other_or_cpu = name == "cpu" ? cpu : other;
  bool same = true;
  for (const Function& f : functions()) {
    // f32: all of it for one input; 16 bits: all inputs, or all pairs. Where there is more, this many of
    // them.
    std::uint64_t inputs = count;
    if (f.in != DType::f32 && f.inputs == 1) inputs = std::min<std::uint64_t>(count, chunk);
    if (f.in == DType::f32 && f.inputs > 1) inputs = std::min<std::uint64_t>(count, std::uint64_t{1} << 29);
    if (f.in == DType::f16 && f.inputs > 1) inputs = std::min<std::uint64_t>(count, std::uint64_t{1} << 29);
    const Side a(other_or_cpu, f), b(cpu, f);
    std::uint64_t differences = 0;
    const std::uint64_t stride = f.in == DType::f32 || f.inputs > 1 ? (std::uint64_t{1} << 32) / inputs : 1;
    for (std::uint64_t done = 0; done < inputs; done += chunk) {
      const std::uint64_t first = f.inputs == 1 && f.in != DType::f32 ? 0 : done * stride;
      const Fence fence = a.run(f, first);
      b.run(f, first).wait();
      fence.wait();
      for (std::size_t i = 0; i < f.outputs; ++i) differences += compare(a.out[i], b.out[i]);
    }
    same = same && differences == 0;
    std::printf("%-24s %11llu inputs, %llu differ\n", f.name.c_str(), static_cast<unsigned long long>(inputs),
                static_cast<unsigned long long>(differences));
    std::fflush(stdout);
  }
  return same ? 0 : 1;
}
