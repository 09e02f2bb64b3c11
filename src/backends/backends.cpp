// SPDX-License-Identifier: MIT
#include "backends/cpu/cpu.h"
#include "backends/cuda/cuda.h"
#include "backends/vulkan/vulkan.h"
#include "core/backend.h"

namespace silica {

std::span<const BackendEntry> backends() {
  static constexpr BackendEntry table[] = {
      {"cuda", cuda::list, cuda::open, cuda::describe_fast},
      {"vulkan", vulkan::list, vulkan::open},
      {"cpu", cpu::list, cpu::open},
  };
  return table;
}

}  // namespace silica
