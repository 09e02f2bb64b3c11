// SPDX-License-Identifier: MIT
#include "backends/cpu/cpu.h"
#include "core/backend.h"

namespace silica {

std::span<const BackendEntry> backends() {
  static constexpr BackendEntry table[] = {
      {"cpu", cpu::list, cpu::open},
  };
  return table;
}

}  // namespace silica
