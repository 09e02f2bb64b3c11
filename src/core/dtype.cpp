// SPDX-License-Identifier: MIT
#include "silica/dtype.h"

#include <algorithm>
#include <array>
#include <bit>
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

// Kernels convert with f32_to_f16_ and f16_to_f32_ in a rounding mode of their own. Here the caller's holds,
// so what these round or subtract below 2^-14 is done in integers.
f16 f16::from(float value) {
  constexpr std::uint32_t smallest_normal = 0x38800000;  // 2^-14
  const std::uint32_t magnitude = bits_(value) & 0x7fffffff, exponent = magnitude >> 23;
  if (magnitude >= smallest_normal) return {static_cast<std::uint16_t>(f32_to_f16_(value))};
  // In units of 2^-24 the value is significand * 2^-shift; beyond 25 it rounds to zero, as do subnormals.
  const std::uint32_t shift = std::min(126 - exponent, 25u);
  const std::uint32_t significand = exponent == 0 ? 0 : (magnitude & 0x7fffff) | 0x800000;
  const std::uint32_t kept = significand >> shift, rest = significand - (kept << shift);
  const std::uint32_t middle = 1u << (shift - 1);
  const std::uint32_t rounded = kept + (rest > middle || (rest == middle && kept % 2 == 1) ? 1 : 0);
  return {static_cast<std::uint16_t>((bits_(value) >> 16 & 0x8000) | rounded)};
}

float f16::to_float() const {
  const std::uint32_t magnitude = bits & 0x7fff, sign = (bits & 0x8000u) << 16;
  if (magnitude >= 0x0400) return f16_to_f32_(bits);
  if (magnitude == 0) return from_bits_(sign);
  const auto width = static_cast<std::uint32_t>(std::bit_width(magnitude));  // magnitude * 2^-24, made normal
  return from_bits_(sign | (102 + width) << 23 | ((magnitude << (24 - width)) & 0x7fffff));
}
bf16 bf16::from(float value) { return {static_cast<std::uint16_t>(f32_to_bf16_(value))}; }
float bf16::to_float() const { return bf16_to_f32_(bits); }

}  // namespace silica
