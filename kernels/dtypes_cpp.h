// SPDX-License-Identifier: MIT
// What a kernel stores and what it computes with, in C++: a half is widened when it is loaded and rounded
// once when it is stored. No include guard, as with formulas.h, which comes first.

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
