// SPDX-License-Identifier: MIT
#include <cstdint>
#include <cstring>

#include "backends/vulkan/context.h"
#include "backends/vulkan/spirv.h"
#include "core/format.h"

namespace silica::vulkan {

namespace {

// A VkShaderModule for the time of a build.
class Module {
 public:
  Module(const Context& context, const std::vector<std::uint32_t>& words) : context_(context) {
    VkShaderModuleCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
    info.codeSize = words.size() * sizeof(std::uint32_t);
    info.pCode = words.data();
    context.check(context.vk.CreateShaderModule(context.device, &info, nullptr, &handle),
                  "vkCreateShaderModule");
  }
  ~Module() { context_.vk.DestroyShaderModule(context_.device, handle, nullptr); }
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  VkShaderModule handle = VK_NULL_HANDLE;

 private:
  const Context& context_;
};

}  // namespace

DiskCache::Key cache_key(const PhysicalDevice& physical) {
  Sha256 hash;
  hash.add("vulkan pipeline cache");
  hash.add(std::as_bytes(std::span(physical.properties11.deviceUUID)));
  hash.add(std::as_bytes(std::span(physical.properties11.driverUUID)));
  hash.add(std::as_bytes(std::span(physical.properties.pipelineCacheUUID)));
  return hash.finish();
}

PipelineBuilder::PipelineBuilder(const Context& context) : context_(context) {
  const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, max_argument_bytes};
  VkPipelineLayoutCreateInfo layout{};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  context.check(context.vk.CreatePipelineLayout(context.device, &layout, nullptr, &layout_),
                "vkCreatePipelineLayout");
  const std::vector<std::byte> stored =
      disk_.load(cache_key(context.physical)).value_or(std::vector<std::byte>());
  VkPipelineCacheCreateInfo cache{};
  cache.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  cache.initialDataSize = stored.size();
  cache.pInitialData = stored.data();
  loaded_bytes_ = stored.size();
  context.check(context.vk.CreatePipelineCache(context.device, &cache, nullptr, &cache_),
                "vkCreatePipelineCache");
}

PipelineBuilder::~PipelineBuilder() {
  const DeviceFunctions& vk = context_.vk;
  try {
    std::size_t bytes = 0;
    const bool known = vk.GetPipelineCacheData(context_.device, cache_, &bytes, nullptr) == VK_SUCCESS;
    std::vector<std::byte> data(known && bytes > loaded_bytes_ ? bytes : 0);
    if (!data.empty() &&
        vk.GetPipelineCacheData(context_.device, cache_, &bytes, data.data()) == VK_SUCCESS) {
      disk_.store(cache_key(context_.physical), std::span(data).first(bytes));
    }
  } catch (...) {  // out of memory: it is compiled again at the next start
  }
  vk.DestroyPipelineCache(context_.device, cache_, nullptr);
  vk.DestroyPipelineLayout(context_.device, layout_, nullptr);
}

std::shared_ptr<const VulkanPipeline> PipelineBuilder::build(std::string_view name,
                                                             const SpirvSource& source) {
  if (source.words.empty()) fail(ErrorCode::unsupported, name, ": the kernel has no source for Vulkan");
  if (source.words[0] != spirv_magic) {
    fail(ErrorCode::compile_failed, name, ": the Vulkan source is no SPIR-V (it begins with ",
         source.words[0], ")");
  }
  const Module module(context_, exact_module(source.words, context_.physical.properties12));
  std::vector<VkSpecializationMapEntry> entries;
  std::vector<std::uint32_t> values;
  for (const auto& [id, value] : source.constants) {
    entries.push_back({id, static_cast<std::uint32_t>(values.size() * sizeof value), sizeof value});
    values.push_back(value);
  }
  const VkSpecializationInfo constants{static_cast<std::uint32_t>(entries.size()), entries.data(),
                                       values.size() * sizeof(std::uint32_t), values.data()};
  VkComputePipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT;
  info.layout = layout_;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module.handle;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &constants;
  VkPipeline made = VK_NULL_HANDLE;
  const VkResult result =
      context_.vk.CreateComputePipelines(context_.device, cache_, 1, &info, nullptr, &made);
  if (result == VK_ERROR_DEVICE_LOST || result == VK_ERROR_OUT_OF_DEVICE_MEMORY) {
    context_.check(result, "vkCreateComputePipelines");
  }
  if (result != VK_SUCCESS) {
    fail(ErrorCode::compile_failed, name, ": ", context_.name(), " (",
         context_.physical.properties.deviceName, ") did not build the kernel (VkResult ",
         static_cast<int>(result), ")");
  }
  return std::make_shared<VulkanPipeline>(context_, made, layout_, source.tile);
}

}  // namespace silica::vulkan
