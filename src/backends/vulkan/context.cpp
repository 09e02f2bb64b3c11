// SPDX-License-Identifier: MIT
#include "backends/vulkan/context.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/format.h"

namespace silica::vulkan {

namespace {

constexpr std::uint32_t group_threads = 256;  // of every kernel of the library
constexpr const char* portability_subset = "VK_KHR_portability_subset";

template <class T> T chained(VkStructureType type, void* next) {
  T value{};
  value.sType = type;
  value.pNext = next;
  return value;
}

struct Features {
  VkPhysicalDeviceVulkan12Features v12 = chained<VkPhysicalDeviceVulkan12Features>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, nullptr);
  VkPhysicalDeviceVulkan11Features v11 =
      chained<VkPhysicalDeviceVulkan11Features>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &v12);
  VkPhysicalDeviceFeatures2 v10 =
      chained<VkPhysicalDeviceFeatures2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &v11);

  Features() = default;
  Features(const Features&) = delete;  // the chain points into it
  Features& operator=(const Features&) = delete;
};

std::string version_text(std::uint32_t version) {
  return message(VK_API_VERSION_MAJOR(version), ".", VK_API_VERSION_MINOR(version));
}

}  // namespace

PhysicalDevice::PhysicalDevice(const Instance& instance, unsigned ordinal)
    : handle(instance.devices[ordinal]), name(message("vulkan:", ordinal)) {
  auto all = chained<VkPhysicalDeviceProperties2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, nullptr);
  instance.vk.GetPhysicalDeviceProperties2(handle, &all);
  properties = all.properties;
  if (properties.apiVersion < VK_API_VERSION_1_2) {
    missing = message("it has Vulkan ", version_text(properties.apiVersion), ", 1.2 is needed");
    return;
  }
  auto m4 = chained<VkPhysicalDeviceMaintenance4Properties>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES, nullptr);
  const bool has_m4 = properties.apiVersion >= VK_API_VERSION_1_3;
  properties12 = chained<VkPhysicalDeviceVulkan12Properties>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES, has_m4 ? &m4 : nullptr);
  properties11 = chained<VkPhysicalDeviceVulkan11Properties>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, &properties12);
  all.pNext = &properties11;
  instance.vk.GetPhysicalDeviceProperties2(handle, &all);
  properties11.pNext = properties12.pNext = nullptr;
  if (has_m4) max_buffer_bytes = m4.maxBufferSize;

  auto heaps = chained<VkPhysicalDeviceMemoryProperties2>(
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, nullptr);
  instance.vk.GetPhysicalDeviceMemoryProperties2(handle, &heaps);
  memory = heaps.memoryProperties;

  std::uint32_t count = 0;
  instance.vk.EnumerateDeviceExtensionProperties(handle, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  instance.vk.EnumerateDeviceExtensionProperties(handle, nullptr, &count, extensions.data());
  const auto has = [&](const char* wanted) {
    return std::ranges::any_of(extensions,
                               [&](const auto& e) { return std::strcmp(e.extensionName, wanted) == 0; });
  };
  has_portability_subset = has(portability_subset);
  has_memory_budget = has(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  find_missing(instance);
}

void PhysicalDevice::find_missing(const Instance& instance) {
  Features features;
  instance.vk.GetPhysicalDeviceFeatures2(handle, &features.v10);
  has_f64 = features.v10.features.shaderFloat64 != 0;
  const auto need = [this](bool there, const char* what) {
    if (!there) missing = message(missing, missing.empty() ? "it lacks " : ", ", what);
  };
  need(features.v12.bufferDeviceAddress != 0, "bufferDeviceAddress");
  need(features.v12.timelineSemaphore != 0, "timelineSemaphore");
  need(features.v10.features.shaderInt64 != 0, "shaderInt64");
  need(features.v11.storageBuffer16BitAccess != 0, "storageBuffer16BitAccess");
  need(features.v12.storageBuffer8BitAccess != 0, "storageBuffer8BitAccess");
  const VkPhysicalDeviceLimits& limits = properties.limits;
  need(limits.maxComputeWorkGroupInvocations >= group_threads &&
           limits.maxComputeWorkGroupSize[0] >= group_threads,
       "work groups of 256");

  std::uint32_t count = 0;
  instance.vk.GetPhysicalDeviceQueueFamilyProperties(handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  instance.vk.GetPhysicalDeviceQueueFamilyProperties(handle, &count, families.data());
  const auto family = std::ranges::find_if(
      families, [](const auto& f) { return (f.queueFlags & VK_QUEUE_COMPUTE_BIT) != 0; });
  need(family != families.end(), "a compute queue");
  queue_family = static_cast<std::uint32_t>(family - families.begin());
}

std::size_t PhysicalDevice::memory_bytes() const {
  std::size_t most = 0;
  for (std::uint32_t i = 0; i < memory.memoryHeapCount; ++i) {
    if ((memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) == 0) continue;
    most = std::max<std::size_t>(most, memory.memoryHeaps[i].size);
  }
  return most;
}

std::string PhysicalDevice::description() const {
  return message(properties.deviceName, ", ", properties12.driverName, " ", properties12.driverInfo,
                 ", Vulkan ", version_text(properties.apiVersion), ", subgroups of ",
                 properties11.subgroupSize, ", ", memory_bytes() >> 20, " MiB");
}

Context::Context(std::shared_ptr<const Instance> from, PhysicalDevice opened)
    : instance(std::move(from)), physical(std::move(opened)) {
  if (!physical.missing.empty()) {
    fail(ErrorCode::unsupported, name(), " (", physical.properties.deviceName, "): ", physical.missing);
  }
  Features features;
  features.v12.bufferDeviceAddress = features.v12.timelineSemaphore = features.v12.storageBuffer8BitAccess =
      VK_TRUE;
  features.v11.storageBuffer16BitAccess = VK_TRUE;
  features.v10.features.shaderInt64 = VK_TRUE;
  features.v10.features.shaderFloat64 = physical.has_f64;
  std::vector<const char*> extensions;
  if (physical.has_portability_subset) extensions.push_back(portability_subset);
  if (physical.has_memory_budget) extensions.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  const float priority = 1.0f;
  VkDeviceQueueCreateInfo queue{};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = physical.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  auto info = chained<VkDeviceCreateInfo>(VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &features.v10);
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = static_cast<std::uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  check(instance->vk.CreateDevice(physical.handle, &info, nullptr, &device), "vkCreateDevice");
  vk = instance->load_device(device);
}

Context::~Context() { vk.DestroyDevice(device, nullptr); }

void Context::check_not_lost() const {
  if (lost_.load(std::memory_order_relaxed)) check(VK_ERROR_DEVICE_LOST, "an earlier call");
}

void Context::check(VkResult result, const char* what) const {
  if (result >= VK_SUCCESS) return;
  switch (result) {
    case VK_ERROR_DEVICE_LOST:
      lost_.store(true, std::memory_order_relaxed);
      fail(ErrorCode::device_lost, name(), " (", physical.properties.deviceName, ") was lost in ", what,
           "; it must be opened again");
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
      fail(ErrorCode::out_of_memory, name(), ": ", what, " ran out of memory");
    default:
      fail(ErrorCode::unsupported, name(), " (", physical.properties.deviceName, "): ", what,
           " failed (VkResult ", static_cast<int>(result), ")");
  }
}

}  // namespace silica::vulkan
