// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/backend.h"

namespace silica::vulkan {

// Every physical device, or one entry that says why there is none.
std::vector<DeviceInfo> list();
// Without an ordinal: SILICA_VULKAN_DEVICE (a number or part of a name), or else a discrete GPU before an
// integrated one before the rest.
std::unique_ptr<Backend> open(std::optional<unsigned> ordinal, const DeviceOptions& options);

}  // namespace silica::vulkan
