// SPDX-License-Identifier: MIT
#include "backends/vulkan/loader.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <mutex>

#include "core/format.h"

namespace silica::vulkan {

namespace {

constexpr const char* library_names[] = {
#if defined(__APPLE__)
    "libvulkan.1.dylib",
    "libvulkan.dylib",
    "libMoltenVK.dylib",
#else
    "libvulkan.so.1",
    "libvulkan.so",
#endif
};

constexpr const char* how_to_install =
    "install a Vulkan driver (Debian and Ubuntu: mesa-vulkan-drivers or the maker's; macOS: MoltenVK), see "
    "docs/devices.md";

// Never closed: drivers do not survive being unloaded and loaded again reliably.
PFN_vkGetInstanceProcAddr open_loader() {
  static const PFN_vkGetInstanceProcAddr entry = [] {
    PFN_vkGetInstanceProcAddr found = nullptr;
    for (const char* name : library_names) {
      void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) continue;
      void* symbol = dlsym(library, "vkGetInstanceProcAddr");
      std::memcpy(&found, &symbol, sizeof found);
      if (found != nullptr) break;
    }
    return found;
  }();
  if (entry == nullptr) {
    fail(ErrorCode::unsupported, "vulkan: the loader ", library_names[0], " was not found; ", how_to_install);
  }
  return entry;
}

template <class Function, class Get, class Handle>
void load(Function& function, Get get, Handle handle, const char* name) {
  function = reinterpret_cast<Function>(get(handle, name));
  if (function == nullptr) fail(ErrorCode::unsupported, "vulkan: the driver has no ", name);
}

bool has_extension(const GlobalFunctions& global, const char* name) {
  std::uint32_t count = 0;
  global.EnumerateInstanceExtensionProperties(nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> all(count);
  global.EnumerateInstanceExtensionProperties(nullptr, &count, all.data());
  for (const VkExtensionProperties& one : all) {
    if (std::strcmp(one.extensionName, name) == 0) return true;
  }
  return false;
}

}  // namespace

std::shared_ptr<const Instance> Instance::get() {
  static std::mutex mutex;
  static std::weak_ptr<const Instance> shared;
  std::lock_guard lock(mutex);
  std::shared_ptr<const Instance> instance = shared.lock();
  if (!instance) shared = instance = std::make_shared<const Instance>();
  return instance;
}

Instance::Instance() {
  const PFN_vkGetInstanceProcAddr entry = open_loader();
  GlobalFunctions global;
#define SILICA_VK_LOAD(name) load(global.name, entry, VkInstance{}, "vk" #name);
  SILICA_VK_GLOBAL_FUNCTIONS(SILICA_VK_LOAD)
#undef SILICA_VK_LOAD
  create(global);
#define SILICA_VK_LOAD(name) load(vk.name, entry, handle, "vk" #name);
  SILICA_VK_INSTANCE_FUNCTIONS(SILICA_VK_LOAD)
#undef SILICA_VK_LOAD
  std::uint32_t count = 0;
  vk.EnumeratePhysicalDevices(handle, &count, nullptr);
  devices.resize(count);
  if (count > 0) vk.EnumeratePhysicalDevices(handle, &count, devices.data());
  devices.resize(count);
  if (devices.empty()) {
    vk.DestroyInstance(handle, nullptr);
    fail(ErrorCode::unsupported, "vulkan: the loader found no device; ", how_to_install);
  }
}

void Instance::create(const GlobalFunctions& global) {
  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "silica";
  application.apiVersion = VK_API_VERSION_1_2;
  VkInstanceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  const char* portability = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;  // MoltenVK hides without it
  if (has_extension(global, portability)) {
    info.flags = VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &portability;
  }
  const VkResult result = global.CreateInstance(&info, nullptr, &handle);
  if (result != VK_SUCCESS) {
    fail(ErrorCode::unsupported, "vulkan: no instance could be created (VkResult ", static_cast<int>(result),
         "); ", how_to_install);
  }
}

Instance::~Instance() { vk.DestroyInstance(handle, nullptr); }

DeviceFunctions Instance::load_device(VkDevice device) const {
  DeviceFunctions functions;
#define SILICA_VK_LOAD(name) load(functions.name, vk.GetDeviceProcAddr, device, "vk" #name);
  SILICA_VK_DEVICE_FUNCTIONS(SILICA_VK_LOAD)
#undef SILICA_VK_LOAD
  return functions;
}

}  // namespace silica::vulkan
