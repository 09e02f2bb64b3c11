// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/vulkan/loader.h"

namespace silica::vulkan {

constexpr std::uint32_t spirv_magic = 0x07230203;

// A copy of the module that says what GLSL cannot: the float controls that the device offers (subnormals
// kept, infinities and NaN kept, rounding to even) for the whole of f32, unless the module sets some itself;
// and that no fma() is split in two or handled as loosely as a product that may be contracted. A module that
// is not as it should be is returned as it is, for the driver to refuse.
std::vector<std::uint32_t> exact_module(std::span<const std::uint32_t> words,
                                        const VkPhysicalDeviceVulkan12Properties& properties);

}  // namespace silica::vulkan
