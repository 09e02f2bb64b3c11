// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "backends/cpu/threads.h"
#include "core/backend.h"

namespace silica::cpu {

std::vector<DeviceInfo> list();
std::unique_ptr<Backend> open(std::optional<unsigned> ordinal, const DeviceOptions& options);

// The instruction sets that kernels are built for, least first.
enum class Isa { baseline, avx2, avx512 };
std::string_view to_string(Isa isa);
std::vector<Isa> supported_isas();  // by this machine and build

class CpuPipeline : public Pipeline {
 public:
  CpuPipeline(CpuFunction run, Tile covers) : Pipeline(covers), function(run) {}
  const CpuFunction function;
};

std::vector<std::pair<std::string, KernelSource>> kernels_for(Isa isa);
std::unique_ptr<Memory> allocate(std::size_t bytes);

// Throws what a kernel threw, when every thread has stopped.
void run(const Program& program, Threads& threads);

}  // namespace silica::cpu
