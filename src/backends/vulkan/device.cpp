// SPDX-License-Identifier: MIT
#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "backends/vulkan/context.h"
#include "backends/vulkan/vulkan.h"
#include "core/format.h"

namespace silica::vulkan {

namespace {

DeviceInfo describe(const PhysicalDevice& physical) {
  DeviceInfo info;
  info.name = physical.name;
  info.description = physical.missing.empty() ? physical.description() : physical.properties.deviceName;
  info.software = physical.software();
  info.note = physical.missing;
  return info;
}

std::string emulations(const Primitives& primitives) {
  std::string text;
  const auto name = [&text](bool emulated, const char* what) {
    if (emulated) text = message(text, text.empty() ? ", emulates " : " ", what);
  };
  name(primitives.emulate_fma, "fma");
  name(primitives.emulate_div, "division");
  name(primitives.emulate_sqrt, "sqrt");
  name(primitives.emulate_less, "comparisons");
  name(primitives.emulate_conversions, "subnormals");
  return text;
}

DeviceInfo find_info(const std::shared_ptr<const Instance>& instance, unsigned ordinal) {
  const PhysicalDevice physical(*instance, ordinal);
  if (!physical.missing.empty()) return describe(physical);
  try {
    return VulkanBackend(instance, physical).info();
  } catch (const Error& error) {
    DeviceInfo info = describe(physical);
    info.note = error.what();
    return info;
  }
}

int rank(const PhysicalDevice& physical) {
  if (!physical.missing.empty()) return 3;
  switch (physical.properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return 1;
    default:
      return 2;
  }
}

unsigned choose(const Instance& instance) {
  std::vector<PhysicalDevice> all;
  for (unsigned i = 0; i < instance.devices.size(); ++i) all.emplace_back(instance, i);
  const char* variable = std::getenv("SILICA_VULKAN_DEVICE");
  const std::string_view wanted = variable == nullptr ? "" : variable;
  if (wanted.empty()) return static_cast<unsigned>(std::ranges::min_element(all, {}, rank) - all.begin());
  unsigned number = 0;
  const auto [stop, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), number);
  if (error == std::errc() && stop == wanted.data() + wanted.size() && number < all.size()) return number;
  std::string names;
  for (unsigned i = 0; i < all.size(); ++i) {
    const std::string_view name = all[i].properties.deviceName;
    if (name.find(wanted) != std::string_view::npos) return i;
    names = message(names, names.empty() ? "" : ", ", i, " ", name);
  }
  refuse("SILICA_VULKAN_DEVICE is '", wanted, "', expected a number or part of a name of: ", names);
}

}  // namespace

VulkanBackend::VulkanBackend(std::shared_ptr<const Instance> instance, PhysicalDevice physical)
    : context(std::move(instance), std::move(physical)),
      queue(context),
      heap(context, queue),
      builder(context) {
  primitives_ = probe(context, queue, heap, builder);
  info_ = describe(context.physical);
  info_.description += emulations(primitives_);
  info_.usable = true;
  info_.exact = primitives_.exact;
  info_.note = primitives_.note;
}

std::shared_ptr<const Pipeline> VulkanBackend::build(std::string_view name, const KernelSource& source) {
  context.check_not_lost();
  return builder.build(name, source.vulkan);
}

namespace {

std::vector<DeviceInfo> find_all() {
  std::vector<DeviceInfo> all;
  try {
    const auto instance = Instance::get();
    for (unsigned i = 0; i < instance->devices.size(); ++i) all.push_back(find_info(instance, i));
  } catch (const Error& error) {
    DeviceInfo none;
    none.name = "vulkan";
    none.description = "no Vulkan device";
    none.note = error.what();
    all.push_back(none);
  }
  return all;
}

}  // namespace

std::vector<DeviceInfo> list() {
  static const std::vector<DeviceInfo> found = find_all();  // once: a probe opens the device
  return found;
}

std::unique_ptr<Backend> open(std::optional<unsigned> ordinal, const DeviceOptions&) {
  auto instance = Instance::get();
  const unsigned number = ordinal ? *ordinal : choose(*instance);
  if (number >= instance->devices.size()) {
    refuse("device: there is no 'vulkan:", number, "'; ", instance->devices.size(), " were found");
  }
  PhysicalDevice physical(*instance, number);
  return std::make_unique<VulkanBackend>(std::move(instance), std::move(physical));
}

}  // namespace silica::vulkan
