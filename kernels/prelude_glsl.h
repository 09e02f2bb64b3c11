// SPDX-License-Identifier: MIT
// The vocabulary of formulas.h in GLSL 4.6 for Vulkan. `precise` puts NoContraction on the arithmetic.
//
// SILICA_EMULATE_FMA: for a device whose fma() rounds twice or flushes subnormals; needs shaderFloat64. For
// division and square roots that are not correctly rounded (Vulkan allows 2.5 ulp), for conversions between
// float and double or comparisons that flush, and for an fma() that errs only where it flushes there are
// specialisation constants, set when a pipeline is built. Float controls, and NoContraction on fma(), which
// glslang leaves out, are added then too (src/backends/vulkan/spirv.cpp).
layout(constant_id = 100) const bool emulate_div_ = false;
layout(constant_id = 101) const bool emulate_sqrt_ = false;
layout(constant_id = 102) const bool emulate_conversions_ = false;
layout(constant_id = 103) const bool fma_only_flushes_ = false;
layout(constant_id = 104) const bool emulate_less_ = false;

#define REAL float
#define UINT uint
#define FORMULA(type) precise type
#define select_(condition, a, b) ((condition) ? (a) : (b))

FORMULA(uint) bits_(float x) { return floatBitsToUint(x); }
FORMULA(float) from_bits_(uint u) { return uintBitsToFloat(u); }
FORMULA(float) abs_(float x) { return from_bits_(bits_(x) & 0x7fffffffu); }

// Comparisons as integers, which no device flushes; with NaN they are false.
int order_(float x) {
  int magnitude = int(bits_(x) & 0x7fffffffu);
  return int(bits_(x)) < 0 ? -magnitude : magnitude;
}
bool ordered_(float a, float b) { return max(bits_(abs_(a)), bits_(abs_(b))) <= 0x7f800000u; }
bool less_(float a, float b) { return emulate_less_ ? order_(a) < order_(b) && ordered_(a, b) : a < b; }
bool less_equal_(float a, float b) {
  return emulate_less_ ? order_(a) <= order_(b) && ordered_(a, b) : a <= b;
}

// Set where a flushed subnormal is known to change no bit of what a kernel stores.
bool flushing_is_harmless_ = false;

#ifdef SILICA_EMULATE_FMA
// double(x), and its way back, by integers where x is subnormal or the result is.
FORMULA(double) widened_(float x) {
  uint magnitude = bits_(x) & 0x7fffffffu;
  if (!emulate_conversions_ || magnitude >= 0x00800000u) return double(x);
  precise double size = double(magnitude) * packDouble2x32(uvec2(0u, 0x36a00000u));  // 2^-149
  uvec2 bits = unpackDouble2x32(size);
  return packDouble2x32(uvec2(bits.x, bits.y | (bits_(x) & 0x80000000u)));
}
FORMULA(float) narrowed_(double x) {
  uvec2 bits = unpackDouble2x32(x);
  uint high = bits.y & 0x7fffffffu;
  if (!emulate_conversions_ || high >= 0x38100000u) return float(x);  // from 2^-126 on
  // The last place of 2^-97 is worth 2^-149: the sum is rounded there.
  precise double sum = packDouble2x32(uvec2(bits.x, high)) + packDouble2x32(uvec2(0u, 0x39e00000u));
  return from_bits_(unpackDouble2x32(sum).x | (bits.y & 0x80000000u));
}

// As fma_emulated_ of prelude_cpp.h: the sum of the exact product is rounded to odd, then to float.
FORMULA(float) fma_emulated_(float a, float b, float c) {
  precise double product = widened_(a) * widened_(b);
  precise double addend = widened_(c);
  precise double sum = product + addend;
  precise double part = sum - product;
  precise double error = (product - (sum - part)) + (addend - part);
  uvec2 bits = unpackDouble2x32(sum);
  uint inexact = uint(error < 0.0lf || error > 0.0lf);
  uint beyond = ((bits.y ^ unpackDouble2x32(error).y) >> 31) & inexact;
  uint borrow = uint(bits.x < beyond);
  precise double odd = packDouble2x32(uvec2((bits.x - beyond) | inexact, bits.y - borrow));
  return narrowed_(odd);
}

bool is_subnormal_(float x) { return (bits_(x) << 1) - 1u < 0x00ffffffu; }

FORMULA(float) fma_(float a, float b, float c) {
  if (!fma_only_flushes_) return fma_emulated_(a, b, c);
  precise float result = fma(a, b, c);
  if (flushing_is_harmless_) return result;
  bool small_result = (bits_(result) << 1) < 0x01000000u;  // or what it became
  bool exact = !(is_subnormal_(a) || is_subnormal_(b) || is_subnormal_(c) || small_result);
  if (!exact) result = fma_emulated_(a, b, c);
  return result;
}

// Whether the device's own fma serves: always if it is exact, else if it only flushes and that is harmless.
bool fma_serves_(bool harmless) { return fma_only_flushes_ && harmless; }

// For rounding.h, whose remainders are of numbers in [1, 32), so that none is subnormal.
FORMULA(float) fma_of_normals_(float a, float b, float c) {
  if (fma_only_flushes_) return fma(a, b, c);
  return fma_emulated_(a, b, c);
}
#define fma_ fma_of_normals_
#else
FORMULA(float) fma_(float a, float b, float c) { return fma(a, b, c); }
bool fma_serves_(bool harmless) { return true; }
#endif

#define ROUGH_RECIPROCAL_(x) (1.0f / (x))
#define ROUGH_SQRT_(x) sqrt(x)
#include "kernels/rounding.h"
#undef fma_

FORMULA(float) div_(float a, float b) {
  if (emulate_div_) return div_rounded_(a, b);
  return a / b;
}
FORMULA(float) sqrt_(float x) {
  if (emulate_sqrt_) return sqrt_rounded_(x);
  return sqrt(x);
}
FORMULA(float) reciprocal_(float x) {
  if (emulate_div_) return reciprocal_rounded_(x);
  return 1.0f / x;
}
