// SPDX-License-Identifier: MIT
// The pipeline cache on disk: SILICA_CACHE_DIR, or else silica/ in XDG_CACHE_HOME or ~/.cache. A cache is
// never an error: one that is missing, cut short, altered or another driver's is built again; one that cannot
// be written is not.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "backends/vulkan/context.h"

namespace silica::vulkan {

// Empty if there is no place for one.
std::filesystem::path cache_path(const PhysicalDevice& physical);
std::vector<std::byte> read_cache(const std::filesystem::path& path);
// Whole or not at all, also beside other processes: written under another name, then renamed.
void write_cache(const std::filesystem::path& path, std::span<const std::byte> data) noexcept;

}  // namespace silica::vulkan
