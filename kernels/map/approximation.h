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

constexpr float rough_unit = 1.1920929e-7f;  // 2^-23
// Below it no rounding error of an intermediate result counts. Zeros and what is as small are left to the
// exact formula.
constexpr float rough_floor = 7.88860905e-31f;  // 2^-100
// More than is lost where a sigmoid below 2^-126 becomes 0: at most 237 * 2^-126, of gelu_tanh'.
constexpr float rough_lost = 6.01853108e-36f;  // 2^-117

struct Rough {
  float value, error;
};
// So that a NaN, which an approximation gives where the exact result may be a number, decides nothing.
constexpr float lowest_float = -3.40282347e38f;
DEVICE float lowest_if_nan(float x) { return fmaxf(x, lowest_float); }

// ---- errors below are in units of 2^-23, with what the exact formula and the roundings behind it may add

// e^x: 2, and 0.6 |x| from the reduction x / ln 2. The rest of 8 is for what comes after.
DEVICE Rough rough_exp(float x) {
  const float y = rough_exp2(x * 1.44269502f);
  return {y, fma_(y, fma_(fabsf(x), rough_unit, 8 * rough_unit), rough_floor)};
}

// sigmoid(x), how far at most it is off, and 1 - sigmoid(x): 3.5, and 0.6 |x| from the reduction, in either.
// of_x: that, and what x itself is off, relatively. The rest of 8 is for what comes after.
struct RoughSigmoid {
  float value, error, complement;
};
DEVICE RoughSigmoid rough_sigmoid(float x, float of_x = rough_unit) {
  const float t = rough_exp2(x * -1.44269502f), s = rough_reciprocal(1.0f + t);
  return {s, fma_(s, fma_(fabsf(x), of_x, 8 * rough_unit), rough_lost), t * s};
}

// s (1 - s), for an |x|: where s is at least 1/2.
DEVICE Rough rough_sigmoid_derivative(float x) {
  const RoughSigmoid s = rough_sigmoid(x);
  return {s.value * s.complement, fma_(s.complement, s.error + s.error, rough_lost)};
}

// (1 - t) / (1 + t), where t = e^-2|x|. 2 of 1 is what t's errors make of the difference.
DEVICE Rough rough_tanh(float x) {
  const float t = rough_exp2(fabsf(x) * -2.88539004f), y = (1.0f - t) * rough_reciprocal(1.0f + t);
  return {copysignf(y, x), fma_(y, 6 * rough_unit, 2 * rough_unit)};
}

// ---- x f(x): f and x f'

struct RoughGate {
  Rough value, slope;
};

// f = s = sigmoid(y), x f' = s v, where v = x y' (1 - s), which is off by no more than s is, times 2 |v|.
// x_slope is x y'.
DEVICE RoughGate logistic_gate(float y, float x_slope, float of_y) {
  const RoughSigmoid s = rough_sigmoid(y, of_y);
  const float v = x_slope * s.complement;
  return {{s.value, s.error}, {v * s.value, fabsf(v) * (s.error + s.error)}};
}
DEVICE RoughGate silu_gate(float x) { return logistic_gate(x, x, rough_unit); }
DEVICE RoughGate gelu_tanh_gate(float x) {
  const float q = x * x;
  return logistic_gate(x * fma_(q, 0.0713548139f, 1.59576917f), x * fma_(q, 0.214064449f, 1.59576917f),
                       4 * rough_unit);
}

// The normal distribution: below -|x| e^(-x^2/2) times a polynomial of 1 / (1 + 0.3 |x|), fitted to 2^-24 up
// to 14; computed it is within 5.6 for every x of 16 bits, whose square is exact.
DEVICE RoughGate gelu_gate(float x) {
  const float q = x * x, e = rough_exp2(q * -0.721347511f);
  const float t = rough_reciprocal(fma_(fabsf(x), 0.3f, 1.0f));
  float p = fma_(t, 0.0383784212f, -0.169166699f);
  p = fma_(t, p, 0.228661194f);
  p = fma_(t, p, -0.0765076801f);
  p = fma_(t, p, 0.142536297f);
  p = fma_(t, p, 0.0946832225f);
  p = fma_(t, p, 0.121920414f);
  p = fma_(t, p, 0.119487688f);
  p = fma_(t, p, 7.16933619e-6f);
  const float tail = e * p, y = x < 0.0f ? tail : 1.0f - tail, slope = x * (e * 0.398942292f);
  const float of_e = fma_(q, 0.75f * rough_unit, 10 * rough_unit);
  return {{y, fma_(tail, of_e, fma_(y, 5 * rough_unit, rough_lost))}, {slope, fabsf(slope) * of_e}};
}

// x f(x) * b; the derivative of x f(x), times dy
DEVICE Rough rough_gated(float x, float b, const RoughGate& f) {
  const float w = x * b;
  return {w * f.value.value, fma_(fabsf(w), f.value.error, fma_(fabsf(b), rough_floor, rough_floor))};
}
DEVICE Rough rough_gated_derivative(float dy, const RoughGate& f) {
  return {dy * (f.value.value + f.slope.value), fma_(fabsf(dy), f.value.error + f.slope.error, rough_floor)};
}
DEVICE Rough rough_product(float dy, const Rough& y) {
  return {dy * y.value, fma_(fabsf(dy), y.error, rough_floor)};
}

template <class Op> struct Approximation {
  static constexpr bool exists = false;
};
#define SILICA_APPROXIMATION(name, ...)                            \
  template <> struct Approximation<name> {                         \
    static constexpr bool exists = true;                           \
    DEVICE void apply(const float* in, Rough* out) { __VA_ARGS__ } \
  };
