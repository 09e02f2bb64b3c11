// SPDX-License-Identifier: MIT
#include <cstdint>
#include <cstring>

#include "backends/vulkan/context.h"
#include "core/format.h"

namespace silica::vulkan {

namespace {

// The words of SPIR-V that are needed here; from the SPIR-V specification, sections 2.3 and 3.
namespace spirv {
constexpr std::uint32_t magic = 0x07230203, version_1_4 = 0x00010400, header_words = 5;
constexpr std::uint32_t op_entry_point = 15, op_execution_mode = 16, op_capability = 17;
struct Control {
  std::uint32_t capability, mode;
};
constexpr Control denorm_preserve{4464, 4459}, inf_nan_preserve{4466, 4461}, round_to_even{4467, 4462};
constexpr std::uint32_t first_control_mode = 4459, last_control_mode = 4463;
}  // namespace spirv

std::vector<spirv::Control> offered_controls(const VkPhysicalDeviceVulkan12Properties& properties) {
  std::vector<spirv::Control> controls;
  // Where the widths are not independent, a mode for one width alone would not be valid.
  constexpr auto none = VK_SHADER_FLOAT_CONTROLS_INDEPENDENCE_NONE;
  if (properties.shaderDenormPreserveFloat32 != 0 && properties.denormBehaviorIndependence != none) {
    controls.push_back(spirv::denorm_preserve);
  }
  if (properties.shaderSignedZeroInfNanPreserveFloat32 != 0) controls.push_back(spirv::inf_nan_preserve);
  if (properties.shaderRoundingModeRTEFloat32 != 0 && properties.roundingModeIndependence != none) {
    controls.push_back(spirv::round_to_even);
  }
  return controls;
}

// A copy of the module with the controls, for the whole of f32. A module that is not as it should be is
// returned as it is, for the driver to refuse.
std::vector<std::uint32_t> add_controls(std::span<const std::uint32_t> words,
                                        const std::vector<spirv::Control>& controls) {
  const std::vector<std::uint32_t> unchanged(words.begin(), words.end());
  if (words.size() < spirv::header_words || words[1] < spirv::version_1_4) return unchanged;
  std::vector<std::uint32_t> result(words.begin(), words.begin() + spirv::header_words);
  for (const spirv::Control& control : controls) {
    result.insert(result.end(), {2u << 16 | spirv::op_capability, control.capability});
  }
  for (std::size_t at = spirv::header_words; at < words.size();) {
    const std::uint32_t op = words[at] & 0xffff, length = words[at] >> 16;
    if (length == 0 || length > words.size() - at) return unchanged;
    const auto instruction = words.subspan(at, length);
    if (op == spirv::op_execution_mode && length > 2 && instruction[2] >= spirv::first_control_mode &&
        instruction[2] <= spirv::last_control_mode) {
      return unchanged;
    }
    result.insert(result.end(), instruction.begin(), instruction.end());
    at += length;
    if (op != spirv::op_entry_point || length < 3) continue;
    for (const spirv::Control& control : controls) {
      result.insert(result.end(), {4u << 16 | spirv::op_execution_mode, instruction[2], control.mode, 32u});
    }
  }
  return result;
}

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
  if (source.words[0] != spirv::magic) {
    fail(ErrorCode::compile_failed, name, ": the Vulkan source is no SPIR-V (it begins with ",
         source.words[0], ")");
  }
  const Module module(context_, add_controls(source.words, offered_controls(context_.physical.properties12)));
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
