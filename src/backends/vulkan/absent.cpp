// SPDX-License-Identifier: MIT
// Stands in for the backend in a build that has none.
#include "backends/vulkan/vulkan.h"
#include "core/format.h"

namespace silica::vulkan {

namespace {

constexpr const char* reason =
    "this build has no Vulkan backend: vulkan/vulkan.h or glslangValidator was missing when it was "
    "configured "
    "(Debian and Ubuntu: libvulkan-dev, glslang-tools), or SILICA_VULKAN was OFF";

}  // namespace

std::vector<DeviceInfo> list() {
  DeviceInfo info;
  info.name = "vulkan";
  info.description = "not in this build";
  info.note = reason;
  return {info};
}

std::unique_ptr<Backend> open(std::optional<unsigned>, const DeviceOptions&) {
  fail(ErrorCode::unsupported, "vulkan: ", reason);
}

}  // namespace silica::vulkan
