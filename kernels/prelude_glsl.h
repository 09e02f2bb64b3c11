// SPDX-License-Identifier: MIT
// The vocabulary of formulas.h in GLSL 4.6 for Vulkan. `precise` puts NoContraction on the arithmetic.
//
// SILICA_FLOAT_CONTROLS: keep subnormals, infinities and NaN, round to nearest even (SPV_KHR_float_controls).
//
// SILICA_EMULATE_FMA: for a device whose fma() rounds twice; needs shaderFloat64.
//
// SILICA_EMULATE_RECIPROCAL: for a device whose division is not correctly rounded (Vulkan allows 2.5 ulp).
#ifdef SILICA_FLOAT_CONTROLS
#extension GL_EXT_spirv_intrinsics : require
// DenormPreserve, SignedZeroInfNanPreserve, RoundingModeRTE: capability, mode, width.
spirv_execution_mode(extensions = ["SPV_KHR_float_controls"], capabilities = [4464], 4459, 32);
spirv_execution_mode(extensions = ["SPV_KHR_float_controls"], capabilities = [4466], 4461, 32);
spirv_execution_mode(extensions = ["SPV_KHR_float_controls"], capabilities = [4467], 4462, 32);
#endif

#define REAL float
#define UINT uint
#define FORMULA(type) precise type
#define select_(condition, a, b) ((condition) ? (a) : (b))

FORMULA(uint) bits_(float x) { return floatBitsToUint(x); }
FORMULA(float) from_bits_(uint u) { return uintBitsToFloat(u); }
FORMULA(float) abs_(float x) { return from_bits_(bits_(x) & 0x7fffffffu); }
// sqrt and division are only as good as the device's: see device.exact().
FORMULA(float) sqrt_(float x) { return sqrt(x); }

#ifdef SILICA_EMULATE_FMA
// As fma_emulated_ of prelude_cpp.h: the sum of the exact product is rounded to odd, then to float.
FORMULA(float) fma_(float a, float b, float c) {
  precise double product = double(a) * double(b);
  precise double addend = double(c);
  precise double sum = product + addend;
  precise double part = sum - product;
  precise double error = (product - (sum - part)) + (addend - part);
  uvec2 bits = unpackDouble2x32(sum);
  uint inexact = uint(error < 0.0lf || error > 0.0lf);
  uint beyond = ((bits.y ^ unpackDouble2x32(error).y) >> 31) & inexact;
  uint borrow = uint(bits.x < beyond);
  precise double odd = packDouble2x32(uvec2((bits.x - beyond) | inexact, bits.y - borrow));
  return float(odd);
}
#else
FORMULA(float) fma_(float a, float b, float c) { return fma(a, b, c); }
#endif

#ifdef SILICA_EMULATE_RECIPROCAL
// Two Newton steps; the second rounds correctly (Markstein, "Computation of elementary functions on the IBM
// RISC System/6000 processor", 1990) but for a mantissa of ones, whose reciprocal is the upper neighbour of a
// power of two.
FORMULA(float) reciprocal_(float x) {
  precise float y = 1.0f / x;
  y = fma_(fma_(-x, y, 1.0f), y, y);
  y = fma_(fma_(-x, y, 1.0f), y, y);
  return uintBitsToFloat(floatBitsToUint(y) | uint((floatBitsToUint(x) & 0x007fffffu) == 0x007fffffu));
}
#else
FORMULA(float) reciprocal_(float x) { return 1.0f / x; }
#endif

FORMULA(float) div_(float a, float b) { return a / b; }
