// SPDX-License-Identifier: MIT
#include "silica/dtype.h"

#include <array>
#include <cstdint>
#include <utility>

#include "kernels/prelude_cpp.h"

namespace silica {

namespace {

#include "kernels/formulas.h"

constexpr std::array<std::pair<DType, std::string_view>, 6> names = {{{DType::f32, "f32"},
                                                                      {DType::f16, "f16"},
                                                                      {DType::bf16, "bf16"},
                                                                      {DType::i32, "i32"},
                                                                      {DType::u32, "u32"},
                                                                      {DType::u8, "u8"}}};

}  // namespace

std::string_view to_string(DType dtype) {
  for (const auto& [value, name] : names) {
    if (value == dtype) return name;
  }
  return "unknown";
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const auto& [value, known] : names) {
    if (known == name) return value;
  }
  return std::nullopt;
}

f16 f16::from(float value) { return {static_cast<std::uint16_t>(f32_to_f16_(value))}; }
float f16::to_float() const { return f16_to_f32_(bits); }
bf16 bf16::from(float value) { return {static_cast<std::uint16_t>(f32_to_bf16_(value))}; }
float bf16::to_float() const { return bf16_to_f32_(bits); }

}  // namespace silica
