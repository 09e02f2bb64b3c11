// SPDX-License-Identifier: MIT
#include "backends/cpu/cpu.h"
#include "kernels/cpu.h"

namespace silica::cpu {

namespace {

class Collector : public kernels::Sink {
 public:
  void add(const char* name, CpuFunction function, Tile tile) override {
    all.emplace_back(name, KernelSource{.cpu = {function, tile}});
  }
  std::vector<std::pair<std::string, KernelSource>> all;
};

}  // namespace

std::string_view to_string(Isa isa) {
  switch (isa) {
    case Isa::baseline:
      return "baseline";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "unknown";
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas = {Isa::baseline};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    isas.push_back(Isa::avx2);
  }
  if (isas.size() == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    isas.push_back(Isa::avx512);
  }
#endif
  return isas;
}

std::vector<std::pair<std::string, KernelSource>> kernels_for(Isa isa) {
  Collector collector;
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx512:
      kernels::avx512::add_kernels(collector);
      break;
    case Isa::avx2:
      kernels::avx2::add_kernels(collector);
      break;
#endif
    default:
      kernels::baseline::add_kernels(collector);
  }
  return std::move(collector.all);
}

}  // namespace silica::cpu
