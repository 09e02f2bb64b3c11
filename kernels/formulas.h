// SPDX-License-Identifier: MIT
// Every scalar formula, once, in the common subset of C++, CUDA C++ and GLSL; the words in it (FORMULA, fma_,
// select_, bits_, ...) come from the prelude_*.h that the includer includes first. No include guard: C++
// includes this file inside one namespace per instruction set. Each operation rounds once and nothing
// branches, so every device returns the same bits and C++ loops vectorise. Accuracy: tests/formulas_test.cpp,
// tests/exhaustive.cpp.

// ---- exp ----

// e^x = (hi + lo) * scale1 * scale2, with hi = fl(hi + lo) in [0.7, 1.42] and the scales powers of two in
// [2^-127, 2^127]. Two scales, so that results down to the smallest subnormal round only in the last product.
struct ExpParts {
  REAL hi;
  REAL lo;
  REAL scale1;
  REAL scale2;
};

// x in [-174, 174]. Cody and Waite's reduction: x = n ln2 + t, |t| <= ln2/2; e^t = 1 + t + t^2 P(t).
// P: minimax fit of (e^t - 1 - t) / t^2 weighted with t^2 / e^t by Remez exchange (mpmath), then a local
// search over neighbouring floats for the rounded coefficients: relative error 2^-31.9.
FORMULA(ExpParts) exp_parts(REAL x) {
  // Adding 1.5 * 2^23 rounds to an integer n, which then stands in the low bits; 254 more makes it positive.
  REAL shifted = fma_(x, 1.44269502f, 12583166.0f);
  REAL n = shifted - 12583166.0f;
  REAL r = fma_(n, -0.693147182f, x);  // exact: both terms are multiples of 2^-25 (n = 0: r = x)
  REAL r_lo = n * 1.90465421e-9f;      // ln2 = 0.693147182f - 1.90465421e-9f
  REAL t = r + r_lo;
  REAL p = fma_(t, 0.000197902584f, 0.00139447092f);
  p = fma_(t, p, 0.00833347254f);
  p = fma_(t, p, 0.0416663513f);
  p = fma_(t, p, 0.166666657f);
  p = fma_(t, p, 0.5f);
  REAL head = 1.0f + r;
  REAL tail = fma_(t * t, p, (r - (head - 1.0f)) + r_lo);
  ExpParts e;
  e.hi = head + tail;
  e.lo = tail - (e.hi - head);
  // n + 254 = half1 + half2; as exponent fields they are 2^(half - 127). Bits above leave by the shift.
  UINT biased = bits_(shifted);
  UINT half1 = biased >> 1;
  e.scale1 = from_bits_(half1 << 23);
  e.scale2 = from_bits_((biased - half1) << 23);
  return e;
}

FORMULA(REAL) exp_(REAL x) {
  // Beyond these bounds the result is 0 or infinite anyway. NaN passes, as it compares false.
  REAL clamped = select_(-105.0f > x, -105.0f, x);
  clamped = select_(90.0f < clamped, 90.0f, clamped);
  ExpParts e = exp_parts(clamped);
  return e.hi * e.scale1 * e.scale2;
}

// ---- log ----

// x = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)); log x = k ln2 + f - f^2/2 + f^3 P(f), the large terms as
// pairs. P: fitted as for exp, (log1p(f) - f + f^2/2) / f^3 weighted with f^3 / log1p(f): relative error
// 2^-29.9.
FORMULA(REAL) log_(REAL x) {
  // Subnormals are scaled by 2^23 first.
  bool small = x < 1.17549435e-38f;
  REAL scaled = x * select_(small, 8388608.0f, 1.0f);
  UINT from_root = bits_(scaled) - 0x3f3504f3u;  // 0x3f3504f3 is sqrt(1/2)
  UINT mantissa = (from_root & 0x007fffffu) + 0x3f3504f3u;
  // k + 128 in the low bits of 2^23 makes the float 2^23 + 128 + k.
  UINT k_bits = (from_root + 0x40000000u) >> 23;
  REAL k = from_bits_(0x4b000000u | k_bits) - select_(small, 8388759.0f, 8388736.0f);
  REAL f = from_bits_(mantissa) - 1.0f;
  REAL p = fma_(f, 0.0674655214f, -0.116755754f);
  p = fma_(f, p, 0.118881106f);
  p = fma_(f, p, -0.124055661f);
  p = fma_(f, p, 0.142194971f);
  p = fma_(f, p, -0.166679606f);
  p = fma_(f, p, 0.200021133f);
  p = fma_(f, p, -0.250000119f);
  p = fma_(f, p, 0.333333135f);
  REAL half_f = 0.5f * f;
  REAL square = half_f * f;
  REAL square_lo = fma_(half_f, f, -square);
  REAL difference = f - square;
  REAL difference_lo = (f - difference) - square;
  // ln2_hi has 15 bits, so k * ln2_hi is exact.
  REAL head = k * 0.693145752f;
  REAL sum = head + difference;
  REAL sum_lo = difference - (sum - head);
  REAL tail = fma_(k, 1.42860677e-6f, difference_lo - square_lo);
  tail = fma_(square + square, f * p, tail) + sum_lo;
  REAL result = sum + tail;
  result = select_(x <= 3.40282347e38f, result, x + x);  // inf and NaN
  result = select_(x < 0.0f, from_bits_(0x7fc00000u), result);
  return select_(x == 0.0f, from_bits_(0xff800000u), result);
}

// ---- sigmoid, silu ----

// sigmoid(x) = (quotient + correction) * scale1 * scale2, from E = e^-|x| so that nothing overflows or
// cancels: 1 / (1 + E) for x >= 0, E / (1 + E) for x < 0.
struct SigmoidParts {
  REAL quotient;
  REAL correction;
  REAL scale1;
  REAL scale2;
};

// From 130 on, the functions here are at their limits. NaN passes.
FORMULA(REAL) clamped_magnitude(REAL x) {
  REAL a = abs_(x);
  return select_(130.0f < a, 130.0f, a);
}

// The sign bit, so that no floating-point comparison is needed; -0 may count as negative.
FORMULA(bool) is_negative(REAL x) { return int(bits_(x)) < 0; }

FORMULA(SigmoidParts) sigmoid_parts(REAL magnitude, bool negative) {
  SigmoidParts s;
  ExpParts e = exp_parts(-magnitude);
  REAL scale = e.scale1 * e.scale2;
  // 1 + E as a float pair (Fast2Sum: E <= 1).
  REAL exp_hi = e.hi * scale;
  REAL one_plus = 1.0f + exp_hi;
  REAL one_plus_lo = fma_(e.lo, scale, exp_hi - (one_plus - 1.0f));
  REAL numerator = select_(negative, e.hi, 1.0f);
  REAL numerator_lo = select_(negative, e.lo, 0.0f);
  REAL inverse = reciprocal_(one_plus);
  s.quotient = numerator * inverse;
  REAL remainder = fma_(-s.quotient, one_plus, numerator);
  remainder = fma_(-s.quotient, one_plus_lo, remainder) + numerator_lo;
  s.correction = remainder * inverse;
  s.scale1 = select_(negative, e.scale1, 1.0f);
  s.scale2 = select_(negative, e.scale2, 1.0f);
  return s;
}

FORMULA(REAL) sigmoid(REAL x) {
  SigmoidParts s = sigmoid_parts(clamped_magnitude(x), is_negative(x));
  return (s.quotient + s.correction) * s.scale1 * s.scale2;
}

// x * sigmoid(x). silu(-inf) = -0, silu(inf) = inf, silu(+-0) = +-0.
FORMULA(REAL) silu(REAL x) {
  // Clamped as an integer, which is one instruction; NaN is put back by the last line.
  UINT a = bits_(x) & 0x7fffffffu;
  REAL magnitude = from_bits_(select_(int(a) < 0x43020000, a, 0x43020000u));
  SigmoidParts s = sigmoid_parts(magnitude, is_negative(x));
  // The first scale is exact on |x|: where it is not 1, |x| > 0.3.
  REAL scaled = magnitude * s.scale1;
  REAL y = fma_(scaled, s.quotient, scaled * s.correction) * s.scale2;
  y = from_bits_(bits_(y) | (bits_(x) & 0x80000000u));
  return select_(x <= 130.0f, y, x);
}

// sigmoid(x) * (1 - sigmoid(x)) = E / (1 + E)^2, E = e^-|x|.
FORMULA(REAL) sigmoid_derivative(REAL x) {
  REAL a = clamped_magnitude(x);
  ExpParts e = exp_parts(-a);
  REAL scale = e.scale1 * e.scale2;
  REAL exp_hi = e.hi * scale;
  REAL one_plus = 1.0f + exp_hi;
  REAL one_plus_lo = fma_(e.lo, scale, exp_hi - (one_plus - 1.0f));
  REAL square = one_plus * one_plus;
  REAL square_lo = fma_(one_plus + one_plus, one_plus_lo, fma_(one_plus, one_plus, -square));
  REAL inverse = reciprocal_(square);
  REAL quotient = e.hi * inverse;
  REAL remainder = fma_(-quotient, square, e.hi);
  remainder = fma_(-quotient, square_lo, remainder) + e.lo;
  return fma_(remainder, inverse, quotient) * e.scale1 * e.scale2;
}

// s (1 + x (1 - s)) with s = sigmoid(x): (D + x E) / D^2 for x >= 0, E (D + x) / D^2 for x < 0, where E =
// e^-|x|, D = 1 + E. At -inf it is -0, the limit from below; at inf it is 1.
FORMULA(REAL) silu_derivative(REAL x) {
  REAL a = clamped_magnitude(x);
  bool negative = is_negative(x);
  ExpParts e = exp_parts(-a);
  REAL scale = e.scale1 * e.scale2;
  REAL exp_hi = e.hi * scale;
  REAL exp_lo = e.lo * scale;
  REAL d = 1.0f + exp_hi;
  REAL d_lo = (exp_hi - (d - 1.0f)) + exp_lo;
  // D - a by TwoSum, as either may be the larger.
  REAL w = d - a;
  REAL part = w - d;
  REAL w_lo = ((d - (w - part)) - (a + part)) + d_lo;
  // The product is a * E, to which D is added, or (D - a) * (hi + lo of E), which is scaled at the end.
  REAL left = select_(negative, w, a);
  REAL left_lo = select_(negative, w_lo, 0.0f);
  REAL right = select_(negative, e.hi, exp_hi);
  REAL right_lo = select_(negative, e.lo, exp_lo);
  REAL product = left * right;
  REAL product_lo = fma_(left, right_lo, fma_(left_lo, right, fma_(left, right, -product)));
  REAL addend = select_(negative, 0.0f, d);
  REAL addend_lo = select_(negative, 0.0f, d_lo);
  REAL numerator = addend + product;
  REAL numerator_lo = (product - (numerator - addend)) + (product_lo + addend_lo);
  REAL square = d * d;
  REAL square_lo = fma_(d + d, d_lo, fma_(d, d, -square));
  REAL inverse = reciprocal_(square);
  REAL quotient = numerator * inverse;
  REAL remainder = fma_(-quotient, square, numerator);
  remainder = fma_(-quotient, square_lo, remainder) + numerator_lo;
  REAL y = fma_(remainder, inverse, quotient);
  y = y * select_(negative, e.scale1, 1.0f) * select_(negative, e.scale2, 1.0f);
  // D - a cancels near the root -1.2784645427610738, so there: the expansion at the float next to it,
  // whose value is the constant term. The other coefficients: fitted to (f(h) - f(0)) / h as for exp, |h| <=
  // 1/32.
  REAL h = x + 1.27846456f;
  REAL q = fma_(h, -0.0152203161f, 0.0188664366f);
  q = fma_(h, q, 0.146648794f);
  REAL near_root = fma_(h, 0.217811704f, fma_(h, h * q, -2.82703971e-9f));
  return select_(abs_(h) < 0.03125f, near_root, y);
}

// ---- f16 and bf16: storage only; bits in the low half of a word, round to nearest even ----

FORMULA(REAL) f16_to_f32_(UINT h) {
  UINT magnitude = (h & 0x7fffu) << 13;
  UINT exponent = h & 0x7c00u;
  // inf and NaN take the top exponent; a subnormal m * 2^-24 is (2^-14 + m * 2^-24) - 2^-14, exactly.
  UINT normal = magnitude + select_(exponent == 0x7c00u, 0x70000000u, 0x38000000u);
  UINT subnormal = bits_(from_bits_(magnitude + 0x38800000u) - from_bits_(0x38800000u));
  return from_bits_(select_(exponent == 0u, subnormal, normal) | ((h & 0x8000u) << 16));
}

FORMULA(UINT) f32_to_f16_(REAL x) {
  UINT u = bits_(x);
  UINT a = u & 0x7fffffffu;
  // Comparisons as int: vector units of x86 have no unsigned ones.
  int magnitude = int(a);
  UINT normal = (a + 0xc8000fffu + ((a >> 13) & 1u)) >> 13;
  // Below 2^-14: adding 0.5 leaves the multiple of 2^-24 in the low bits, rounded by the addition.
  UINT subnormal = bits_(from_bits_(a) + 0.5f) - 0x3f000000u;
  UINT h = select_(magnitude < 0x38800000, subnormal, normal);
  h = select_(magnitude >= 0x47800000, 0x7c00u, h);
  h = select_(magnitude > 0x7f800000, 0x7e00u, h);
  return h | ((u >> 16) & 0x8000u);
}

// A signalling NaN stays signalling until the first arithmetic.
FORMULA(REAL) bf16_to_f32_(UINT h) { return from_bits_(h << 16); }

FORMULA(UINT) f32_to_bf16_(REAL x) {
  UINT u = bits_(x);
  UINT rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return select_(int(u & 0x7fffffffu) > 0x7f800000, (u >> 16) | 0x0040u, rounded);
}
