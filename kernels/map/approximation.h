// SPDX-License-Identifier: MIT
// For outputs of 16 bits: values near the exact f32 results, and how far at most they are from them. Where
// value - error and value + error round to the same 16 bits, so does the exact result, and its formula, which
// takes three times as long, is not computed. Kernels without an approximation always compute it; those of
// tensor_core take the value as it is. No include guard: the host's emulation includes kernels' texts in
// namespaces.

// Relative errors of at most 2^-22 and 2^-23 (PTX ISA); results below 2^-126 become 0.
#ifdef __CUDA_ARCH__
DEVICE float rough_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEVICE float rough_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#endif

// Below it no rounding error of an intermediate result counts. Zeros and what is as small are left to the
// exact formula.
constexpr float rough_floor = 7.88860905e-31f;  // 2^-100

// sigmoid(x): 3.5 * 2^-23 and |x| 2^-23.7 of relative error, from the reduction x / ln 2. The rest of 8 *
// 2^-23 is what the exact formulas and the roundings of a product with it may add.
struct RoughSigmoid {
  float value, error;
};
DEVICE RoughSigmoid rough_sigmoid(float x) {
  const float s = rough_reciprocal(1.0f + rough_exp2(x * -1.44269502f));
  return {s, fma_(s, fma_(abs_(x), 1.1920929e-7f, 9.53674316e-7f), 7.5231638e-37f)};  // 2^-23, 2^-20, 2^-120
}

struct Rough {
  float value, error;
};
// So that a NaN, which an approximation gives where the exact result may be a number, decides nothing.
constexpr float lowest_float = -3.40282347e38f;
DEVICE float lowest_if_nan(float x) { return fmaxf(x, lowest_float); }

// silu(x) * b
DEVICE Rough rough_silu(float x, float b, const RoughSigmoid& s) {
  const float w = x * b;
  return {w * s.value, fma_(abs_(w), s.error, fma_(abs_(b), rough_floor, rough_floor))};
}
// silu'(x) * dy; s (1 + x (1 - s)) has at most twice the error of s, times 1 + |x|
DEVICE Rough rough_silu_derivative(float x, float dy, const RoughSigmoid& s) {
  const float slope = s.value * fma_(x, 1.0f - s.value, 1.0f);
  const float error = fma_(abs_(x), s.error, s.error);
  return {dy * slope, fma_(abs_(dy), error + error, rough_floor)};
}

template <class Op> struct Approximation {
  static constexpr bool exists = false;
};
#define SILICA_APPROXIMATION(name, ...)              \
  template <> struct Approximation<name> {           \
    static constexpr bool exists = true;             \
    DEVICE void apply(const float* in, Rough* out) { \
      const RoughSigmoid s = rough_sigmoid(in[0]);   \
      __VA_ARGS__                                    \
    }                                                \
  };
