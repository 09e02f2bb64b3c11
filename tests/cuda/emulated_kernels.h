// SPDX-License-Identifier: MIT
// The kernels of kernels/*/*.cu, compiled for the host, by what the catalogue calls them.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "emulation.h"

namespace silica::test {

using EmulatedKernel = std::function<void(const void* arguments)>;
using EmulatedKernels = std::map<std::string, EmulatedKernel>;  // by defines and function

template <class Arguments> EmulatedKernel emulated(void (*function)(const Arguments&)) {
  return [function](const void* arguments) { function(*static_cast<const Arguments*>(arguments)); };
}

void add_emulated_map(EmulatedKernels& kernels);
void add_emulated_row(EmulatedKernels& kernels);
void add_emulated_matmul(EmulatedKernels& kernels);
void add_emulated_transposed_matmul(EmulatedKernels& kernels);
void add_emulated_few_rows(EmulatedKernels& kernels);
void add_emulated_panels(EmulatedKernels& kernels);
void add_emulated_tables(EmulatedKernels& kernels);

}  // namespace silica::test
