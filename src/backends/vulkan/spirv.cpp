// SPDX-License-Identifier: MIT
#include "backends/vulkan/spirv.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace silica::vulkan {

namespace {

// The words of SPIR-V that are needed here; from the SPIR-V specification, sections 2.3 and 3, and that of
// GLSL.std.450.
constexpr std::uint32_t version_1_4 = 0x00010400, header_words = 5;
constexpr std::uint32_t op_import = 11, op_extended = 12, op_entry_point = 15, op_execution_mode = 16,
                        op_capability = 17, op_first_type = 19, op_last_type = 39, op_decorate = 71,
                        op_member_decorate = 72;
constexpr std::uint32_t glsl_fma = 50, no_contraction = 42;
constexpr std::uint32_t first_control_mode = 4459, last_control_mode = 4463;
struct Control {
  std::uint32_t capability, mode;
};
constexpr Control denorm_preserve{4464, 4459}, inf_nan_preserve{4466, 4461}, round_to_even{4467, 4462};

std::vector<Control> offered_controls(const VkPhysicalDeviceVulkan12Properties& properties) {
  std::vector<Control> controls;
  // Where the widths are not independent, a mode for one width alone would not be valid.
  constexpr auto none = VK_SHADER_FLOAT_CONTROLS_INDEPENDENCE_NONE;
  if (properties.shaderDenormPreserveFloat32 != 0 && properties.denormBehaviorIndependence != none) {
    controls.push_back(denorm_preserve);
  }
  if (properties.shaderSignedZeroInfNanPreserveFloat32 != 0) controls.push_back(inf_nan_preserve);
  if (properties.shaderRoundingModeRTEFloat32 != 0 && properties.roundingModeIndependence != none) {
    controls.push_back(round_to_even);
  }
  return controls;
}

using Instruction = std::span<const std::uint32_t>;

std::uint32_t op_of(Instruction instruction) { return instruction[0] & 0xffff; }

// Empty if the words are no sequence of instructions.
std::vector<Instruction> instructions_of(std::span<const std::uint32_t> words) {
  std::vector<Instruction> all;
  for (std::size_t at = header_words; at < words.size();) {
    const std::uint32_t length = words[at] >> 16;
    if (length == 0 || length > words.size() - at) return {};
    all.push_back(words.subspan(at, length));
    at += length;
  }
  return all;
}

bool sets_controls(Instruction instruction) {
  return op_of(instruction) == op_execution_mode && instruction.size() > 2 &&
         instruction[2] >= first_control_mode && instruction[2] <= last_control_mode;
}

bool is_glsl_import(Instruction instruction) {
  constexpr std::string_view name = "GLSL.std.450";
  return op_of(instruction) == op_import && instruction.size() * sizeof(std::uint32_t) > 8 + name.size() &&
         std::memcmp(instruction.data() + 2, name.data(), name.size() + 1) == 0;
}

// The results of fma() that may be contracted.
std::vector<std::uint32_t> loose_fma(const std::vector<Instruction>& instructions) {
  std::vector<std::uint32_t> ids;
  std::uint32_t set = 0;
  for (const Instruction i : instructions) {
    if (is_glsl_import(i)) set = i[1];
    if (op_of(i) == op_extended && i.size() > 4 && i[3] == set && i[4] == glsl_fma) ids.push_back(i[2]);
  }
  for (const Instruction i : instructions) {
    if (op_of(i) == op_decorate && i.size() > 2 && i[2] == no_contraction) std::erase(ids, i[1]);
  }
  return ids;
}

// Where decorations may stand.
bool ends_preamble(Instruction instruction) {
  const std::uint32_t op = op_of(instruction);
  return op == op_decorate || op == op_member_decorate || (op >= op_first_type && op <= op_last_type);
}

}  // namespace

std::vector<std::uint32_t> exact_module(std::span<const std::uint32_t> words,
                                        const VkPhysicalDeviceVulkan12Properties& properties) {
  if (words.size() < header_words) return {words.begin(), words.end()};
  const std::vector<Instruction> instructions = instructions_of(words);
  if (instructions.empty()) return {words.begin(), words.end()};
  std::vector<Control> controls;
  if (words[1] >= version_1_4 && std::ranges::none_of(instructions, sets_controls)) {
    controls = offered_controls(properties);
  }
  std::vector<std::uint32_t> loose = loose_fma(instructions);
  std::vector<std::uint32_t> result(words.begin(), words.begin() + header_words);
  for (const Control& control : controls) {
    result.insert(result.end(), {2u << 16 | op_capability, control.capability});
  }
  for (const Instruction instruction : instructions) {
    if (ends_preamble(instruction)) {
      for (const std::uint32_t id : loose) {
        result.insert(result.end(), {3u << 16 | op_decorate, id, no_contraction});
      }
      loose.clear();
    }
    result.insert(result.end(), instruction.begin(), instruction.end());
    if (op_of(instruction) != op_entry_point || instruction.size() < 3) continue;
    for (const Control& control : controls) {
      result.insert(result.end(), {4u << 16 | op_execution_mode, instruction[2], control.mode, 32u});
    }
  }
  return result;
}

}  // namespace silica::vulkan
