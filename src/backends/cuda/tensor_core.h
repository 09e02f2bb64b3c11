// SPDX-License-Identifier: MIT
// The library's own products on the tensor cores of sm_90, with the work on their results in the same kernel:
// for the feed-forward network of encoders that permit them (Math::fast).
#pragma once

#include <span>
#include <string_view>

#include "backends/cuda/catalogue.h"

namespace silica::cuda {

// None where the device is of another architecture, or the driver or NVRTC too old for its instructions.
std::span<const CatalogueRow> tensor_core_kernels(int architecture);
const CatalogueRow* find_tensor_core_kernel(std::string_view name);

}  // namespace silica::cuda
