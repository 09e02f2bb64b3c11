// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace silica {

enum class DType : std::uint8_t { f32, f16, bf16, i32, u32, u8 };

// Bytes of one element.
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

std::string_view to_string(DType dtype);  // "f32", "bf16", ...
std::optional<DType> parse_dtype(std::string_view name);

// IEEE binary16 and bfloat16 as storage. Conversion from f32 rounds to nearest, ties to even; conversion to
// f32 is exact. NaN stays NaN.
struct f16 {
  std::uint16_t bits = 0;
  static f16 from(float value);
  float to_float() const;
};
struct bf16 {
  std::uint16_t bits = 0;
  static bf16 from(float value);
  float to_float() const;
};

// The dtype of a C++ element type; other types do not compile.
template <class T> struct DTypeOf;
template <> struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <> struct DTypeOf<f16> {
  static constexpr DType value = DType::f16;
};
template <> struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <> struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <> struct DTypeOf<std::uint32_t> {
  static constexpr DType value = DType::u32;
};
template <> struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};
template <class T> inline constexpr DType dtype_of = DTypeOf<T>::value;

}  // namespace silica
