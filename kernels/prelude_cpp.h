// SPDX-License-Identifier: MIT
// The vocabulary of formulas.h in C++. Include it outside any namespace, then formulas.h inside the namespace
// of an instruction set. Everything is forced inline: no copy built for one instruction set can be linked
// into another.
#pragma once

#if defined(__FAST_MATH__) || __FLT_EVAL_METHOD__ != 0
#error "silica needs IEEE-754 binary32 arithmetic: no -ffast-math, no x87"
#endif

#define REAL float
using UINT = unsigned int;
#define SILICA_INLINE [[maybe_unused, gnu::always_inline]] static inline
#define FORMULA(type) SILICA_INLINE type
#define select_(condition, a, b) ((condition) ? (a) : (b))
#define less_(a, b) ((a) < (b))
#define less_equal_(a, b) ((a) <= (b))

SILICA_INLINE UINT bits_(float x) { return __builtin_bit_cast(UINT, x); }
SILICA_INLINE float from_bits_(UINT u) { return __builtin_bit_cast(float, u); }
SILICA_INLINE float abs_(float x) { return from_bits_(bits_(x) & 0x7fffffffu); }
SILICA_INLINE float sqrt_(float x) { return __builtin_sqrtf(x); }
SILICA_INLINE float div_(float a, float b) { return a / b; }
// reciprocal_ is for x and 1 / x in [2^-100, 2^100], where it is cheaper to emulate than div_.
SILICA_INLINE float reciprocal_(float x) { return 1.0f / x; }

// The product is exact in double; the sum is rounded to odd, which makes the second rounding harmless (Boldo
// and Melquiond, "Emulation of FMA and correctly rounded sums", 2008). The error of the sum is Knuth's
// TwoSum.
SILICA_INLINE float fma_emulated_(float a, float b, float c) {
  using Bits = unsigned long long;
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (addend - part);
  const Bits bits = __builtin_bit_cast(Bits, sum);
  // Truncate towards zero, then set the last bit. An infinite sum has a NaN error and stays.
  const Bits beyond = (bits ^ __builtin_bit_cast(Bits, error)) >> 63;
  const double odd = __builtin_bit_cast(double, (bits - beyond) | 1);
  return static_cast<float>(select_(error < 0.0 || error > 0.0, odd, sum));
}

#if defined(__FMA__) || defined(__aarch64__)
SILICA_INLINE float fma_(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
SILICA_INLINE float fma_(float a, float b, float c) { return fma_emulated_(a, b, c); }
#endif
