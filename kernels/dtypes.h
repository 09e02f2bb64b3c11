// SPDX-License-Identifier: MIT
// The floating-point dtypes of the CPU's kernels, as types: what an element is, how it becomes a float, and
// how a float is rounded to it. No include guard, as formulas.h has none: included in its place.
#include "kernels/formulas.h"

struct F32 {
  using Element = float;
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};
struct F16 {
  using Element = std::uint16_t;
  static float load(std::uint16_t x) { return f16_to_f32_(x); }
  static std::uint16_t store(float x) { return static_cast<std::uint16_t>(f32_to_f16_(x)); }
};
struct BF16 {
  using Element = std::uint16_t;
  static float load(std::uint16_t x) { return bf16_to_f32_(x); }
  static std::uint16_t store(float x) { return static_cast<std::uint16_t>(f32_to_bf16_(x)); }
};
