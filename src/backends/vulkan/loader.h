// SPDX-License-Identifier: MIT
// The Vulkan loader, opened at run time: the library links against nothing of Vulkan and runs without it.
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <memory>
#include <vector>

namespace silica::vulkan {

// clang-format off
#define SILICA_VK_GLOBAL_FUNCTIONS(X) \
  X(CreateInstance) X(EnumerateInstanceExtensionProperties) X(EnumerateInstanceVersion)

#define SILICA_VK_INSTANCE_FUNCTIONS(X) \
  X(DestroyInstance) X(EnumeratePhysicalDevices) X(EnumerateDeviceExtensionProperties) \
  X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceFeatures2) \
  X(GetPhysicalDeviceMemoryProperties2) X(GetPhysicalDeviceQueueFamilyProperties) X(CreateDevice) \
  X(GetDeviceProcAddr)

#define SILICA_VK_DEVICE_FUNCTIONS(X) \
  X(DestroyDevice) X(GetDeviceQueue) X(DeviceWaitIdle) X(QueueSubmit) X(AllocateMemory) \
  X(FreeMemory) X(MapMemory) X(CreateBuffer) X(DestroyBuffer) X(GetBufferMemoryRequirements) \
  X(BindBufferMemory) X(GetBufferDeviceAddress) X(CreateShaderModule) X(DestroyShaderModule) \
  X(CreatePipelineLayout) X(DestroyPipelineLayout) X(CreateComputePipelines) X(DestroyPipeline) \
  X(CreatePipelineCache) X(DestroyPipelineCache) X(GetPipelineCacheData) X(CreateCommandPool) \
  X(DestroyCommandPool) X(AllocateCommandBuffers) X(FreeCommandBuffers) X(BeginCommandBuffer) \
  X(EndCommandBuffer) X(CmdBindPipeline) X(CmdPushConstants) X(CmdDispatchBase) \
  X(CmdPipelineBarrier) X(CmdCopyBuffer) X(CmdFillBuffer) X(CreateSemaphore) X(DestroySemaphore) \
  X(WaitSemaphores) X(GetSemaphoreCounterValue)
// clang-format on

#define SILICA_VK_DECLARE(name) PFN_vk##name name = nullptr;
struct GlobalFunctions {
  SILICA_VK_GLOBAL_FUNCTIONS(SILICA_VK_DECLARE)
};
struct InstanceFunctions {
  SILICA_VK_INSTANCE_FUNCTIONS(SILICA_VK_DECLARE)
};
struct DeviceFunctions {
  SILICA_VK_DEVICE_FUNCTIONS(SILICA_VK_DECLARE)
};
#undef SILICA_VK_DECLARE

// The process's VkInstance, while anyone holds it.
class Instance {
 public:
  // Errors: unsupported, with what to install, if there is no loader or no driver.
  static std::shared_ptr<const Instance> get();

  Instance();
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  DeviceFunctions load_device(VkDevice device) const;

  InstanceFunctions vk;
  VkInstance handle = VK_NULL_HANDLE;
  std::vector<VkPhysicalDevice> devices;

 private:
  void create(const GlobalFunctions& global);
};

}  // namespace silica::vulkan
