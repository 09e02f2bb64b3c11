// SPDX-License-Identifier: MIT
// The vocabulary of formulas.h in CUDA C++, for NVRTC without any header. Compile with --fmad=false
// --ftz=false --prec-div=true --prec-sqrt=true, so that + - * round once and keep subnormals.
#define REAL float
typedef unsigned int UINT;
#define FORMULA(type) static __device__ __forceinline__ type
#define select_(condition, a, b) ((condition) ? (a) : (b))
#define less_(a, b) ((a) < (b))
#define less_equal_(a, b) ((a) <= (b))

FORMULA(UINT) bits_(float x) { return __float_as_uint(x); }
FORMULA(float) from_bits_(UINT u) { return __uint_as_float(u); }
FORMULA(float) abs_(float x) { return from_bits_(bits_(x) & 0x7fffffffu); }
FORMULA(float) fma_(float a, float b, float c) { return __fmaf_rn(a, b, c); }
FORMULA(float) sqrt_(float x) { return __fsqrt_rn(x); }
FORMULA(float) div_(float a, float b) { return __fdiv_rn(a, b); }
// reciprocal_ is for x and 1 / x in [2^-100, 2^100], where it is cheaper to emulate than div_.
#ifdef __CUDA_ARCH__
// What __frcp_rn does between its tests for the other magnitudes, which cost more than the rest of it.
FORMULA(float) reciprocal_(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return fma_(y, -fma_(x, y, -1.0f), y);
}
#else
FORMULA(float) reciprocal_(float x) { return __frcp_rn(x); }
#endif
