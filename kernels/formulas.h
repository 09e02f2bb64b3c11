// SPDX-License-Identifier: MIT
// Every scalar formula, once, in the common subset of C++, CUDA C++ and GLSL; the words in it (FORMULA, fma_,
// select_, bits_, ...) come from the prelude_*.h that the includer includes first. No include guard: C++
// includes this file inside one namespace per instruction set. Each operation rounds once and nothing
// branches, so every device returns the same bits and C++ loops vectorise. Comparisons are less_ and
// less_equal_ where subnormals count, which some devices flush. Accuracy: tests/formulas_test.cpp,
// tests/exhaustive.cpp.

// 2^-20 to 64. If its first operand is that or zero, each formula of a SILICA_UNARY or SILICA_BINARY row of
// ops.inc is the same bits where fma flushes subnormals (tests/flushing_test.cpp).
FORMULA(bool) is_moderate(REAL x) { return (bits_(x) << 1) - 0x6b000000u <= 0x1a000000u; }

// ---- exp ----

// e^x = (hi + lo) * scale1 * scale2, with hi = fl(hi + lo) in [0.7, 1.42] and the scales powers of two in
// [2^-127, 2^127]. Two scales, so that results down to the smallest subnormal round only in the last product.
struct ExpParts {
  REAL hi;
  REAL lo;
  REAL scale1;
  REAL scale2;
};

// P in e^t = 1 + t + t^2 P(t), |t| <= ln2/2: minimax fit of (e^t - 1 - t) / t^2 weighted with t^2 / e^t by
// Remez exchange (mpmath), then a local search over neighbouring floats for the rounded coefficients:
// relative error 2^-31.9.
FORMULA(REAL) exp_polynomial(REAL t) {
  REAL p = fma_(t, 0.000197902584f, 0.00139447092f);
  p = fma_(t, p, 0.00833347254f);
  p = fma_(t, p, 0.0416663513f);
  p = fma_(t, p, 0.166666657f);
  return fma_(t, p, 0.5f);
}

// An unevaluated sum.
struct Pair {
  REAL hi;
  REAL lo;
};

// e^x / 2^n. Cody and Waite's reduction: x = n ln2 + t, |t| <= ln2/2.
FORMULA(Pair) exp_mantissa(REAL x, REAL n) {
  REAL r = fma_(n, -0.693147182f, x);  // exact: both terms are multiples of 2^-25 (n = 0: r = x)
  REAL r_lo = n * 1.90465421e-9f;      // ln2 = 0.693147182f - 1.90465421e-9f
  REAL t = r + r_lo;
  REAL p = exp_polynomial(t);
  REAL head = 1.0f + r;
  REAL tail = fma_(t * t, p, (r - (head - 1.0f)) + r_lo);
  Pair e;
  e.hi = head + tail;
  e.lo = tail - (e.hi - head);
  return e;
}

// x in [-174, 174].
FORMULA(ExpParts) exp_parts(REAL x) {
  // Adding 1.5 * 2^23 rounds to an integer n, which then stands in the low bits; 254 more makes it positive.
  REAL shifted = fma_(x, 1.44269502f, 12583166.0f);
  Pair mantissa = exp_mantissa(x, shifted - 12583166.0f);
  ExpParts e;
  e.hi = mantissa.hi;
  e.lo = mantissa.lo;
  // n + 254 = half1 + half2; as exponent fields they are 2^(half - 127). Bits above leave by the shift.
  UINT half1 = bits_(shifted) >> 1;
  e.scale1 = from_bits_(half1 << 23);
  e.scale2 = from_bits_((bits_(shifted) - half1) << 23);
  return e;
}

FORMULA(REAL) exp_(REAL x) {
  // Beyond these bounds the result is 0 or infinite anyway. NaN passes, as it compares false.
  REAL clamped = select_(-105.0f > x, -105.0f, x);
  clamped = select_(90.0f < clamped, 90.0f, clamped);
  ExpParts e = exp_parts(clamped);
  return e.hi * e.scale1 * e.scale2;
}

// The same bits for x <= 0, where 2^n is 2^(n + 63) * 2^-63.
FORMULA(REAL) exp_falling(REAL x) {
  REAL clamped = select_(-105.0f > x, -105.0f, x);
  REAL shifted = fma_(clamped, 1.44269502f, 12583102.0f);  // 1.5 * 2^23 + 127 + 63
  Pair e = exp_mantissa(clamped, shifted - 12583102.0f);
  return e.hi * from_bits_(bits_(shifted) << 23) * 1.08420217e-19f;
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
  result = select_(less_equal_(x, 0.0f), from_bits_(0xff800000u), result);
  return select_(less_(x, 0.0f), from_bits_(0x7fc00000u), result);
}

// ---- cumulative distributions ----

// e^(x + x_lo), for |x_lo| < 2^-15.
FORMULA(ExpParts) exp_parts_of_pair(REAL x, REAL x_lo) {
  ExpParts e = exp_parts(x);
  e.lo = fma_(e.hi, x_lo, e.lo);
  return e;
}

// A probability P(x) = (quotient + correction) * scale1 * scale2: the scales are those of e^-|..| for x < 0,
// so that the left tail keeps its accuracy; they are 1 for x >= 0.
struct CdfParts {
  REAL quotient;
  REAL correction;
  REAL scale1;
  REAL scale2;
};

// |x|, but no more than a limit from which on a function is at its limits. NaN passes.
FORMULA(REAL) clamped_magnitude(REAL x, REAL limit) {
  REAL a = abs_(x);
  return select_(limit < a, limit, a);
}

// The same on the bits, which is one instruction; NaN becomes the limit.
FORMULA(REAL) clamped_magnitude_bits(REAL x, REAL limit) {
  UINT a = bits_(x) & 0x7fffffffu;
  return from_bits_(select_(int(a) < int(bits_(limit)), a, bits_(limit)));
}

// The sign bit, so that no floating-point comparison is needed; -0 may count as negative.
FORMULA(bool) is_negative(REAL x) { return int(bits_(x)) < 0; }

FORMULA(REAL) with_sign_of(REAL magnitude, REAL x) {
  return from_bits_(bits_(magnitude) | (bits_(x) & 0x80000000u));
}

// x P(x), given P(x) for |x| up to a limit; beyond it the result is x or -0. NaN is put back here.
FORMULA(REAL) times_cdf(REAL x, REAL limit, CdfParts p) {
  // The first scale is exact on |x|: where it is not 1, |x| > 0.3.
  REAL scaled = clamped_magnitude_bits(x, limit) * p.scale1;
  REAL y = fma_(scaled, p.quotient, scaled * p.correction) * p.scale2;
  return select_(x <= limit, with_sign_of(y, x), x);
}

// ---- sigmoid, silu ----

// e^-x as (1 + f + f_lo) * 2^n, with n + 127 in the low bits of `biased`; |x| at most 174. f + f_lo is e^t -
// 1 to 2^-31, as exp_parts has it, but 1 is not added yet: silu needs no rounded e^-x.
struct ExpMinusOne {
  REAL f;
  REAL f_lo;
  UINT biased;
};

FORMULA(ExpMinusOne) exp_minus_one(REAL x) {
  REAL shifted = fma_(x, -1.44269502f, 12583039.0f);  // 1.5 * 2^23 + 127
  REAL n = shifted - 12583039.0f;
  REAL r = fma_(n, -0.693147182f, -x);  // exact
  REAL t = fma_(n, 1.90465421e-9f, r);  // r + r_lo
  REAL p = exp_polynomial(t);
  REAL square = t * t;
  ExpMinusOne m;
  m.f = fma_(square, p, t);
  // f is within a factor of two of r, so r - f is exact, and so what t was rounded by comes back.
  m.f_lo = fma_(square, p, fma_(n, 1.90465421e-9f, r - m.f));
  m.biased = bits_(shifted);
  return m;
}

// Of E = e^-x: E = e + e_lo, D = 1 + E = d + d_lo, and sigmoid(x) = 1 / D = inverse * (1 + residual).
struct Logistic {
  REAL e;
  REAL e_lo;
  REAL d;
  REAL d_lo;
  REAL inverse;
  REAL residual;
};

// scale is a power of two in [2^-115, 2^92]. `lost` is what 1 + scale is rounded by, nothing up to 2^23.
FORMULA(Logistic) logistic_of(REAL f, REAL f_lo, REAL scale, REAL lost) {
  Logistic g;
  g.e = fma_(f, scale, scale);
  g.e_lo = fma_(f_lo, scale, fma_(f, scale, scale - g.e));
  g.d = 1.0f + g.e;
  g.d_lo = fma_(f_lo, scale, fma_(f, scale, (1.0f + scale) - g.d)) + lost;
  g.inverse = reciprocal_(g.d);
  g.residual = fma_(-g.inverse, g.d_lo, fma_(-g.inverse, g.d, 1.0f));
  return g;
}

FORMULA(REAL) sigmoid_of(Logistic g) { return fma_(g.inverse, g.residual, g.inverse); }

FORMULA(REAL) silu_of(REAL x, Logistic g) { return fma_(x, g.inverse, x * g.inverse * g.residual); }

// s (1 + x (1 - s)) = (D + x E) / D^2. D + x E is exact to 2^-24 of its own size and 2^-32 of D's, so that
// where it cancels, near the root -1.2784645427610738, the result is off by less than 2^-32.
FORMULA(REAL) silu_derivative_of(REAL x, Logistic g) {
  REAL sum = fma_(x, g.e, g.d);
  REAL sum_lo = fma_(x, g.e_lo, g.d_lo);
  REAL quotient = sum * g.inverse;
  REAL quotient_lo = fma_(sum_lo, g.inverse, fma_(sum, g.inverse, -quotient));
  quotient_lo = fma_(quotient, g.residual + g.residual, quotient_lo);
  return fma_(quotient, g.inverse, quotient_lo * g.inverse);
}

// x clamped to [-130, 80], where all three are at their limits, and E / scale for it: 1 is nothing beside
// 2^92, so a larger E is a smaller result, by a power of two. NaN passes.
struct LogisticParts {
  Logistic g;
  REAL x;
  REAL scale;
};

FORMULA(LogisticParts) logistic_parts(REAL x) {
  LogisticParts parts;
  REAL least = select_(-130.0f > x, -130.0f, x);
  parts.x = select_(80.0f < least, 80.0f, least);
  ExpMinusOne m = exp_minus_one(parts.x);
  int exponent = int(m.biased) - 0x4b400000;
  int limited = select_(exponent < 219, exponent, 219);
  REAL scale = from_bits_(UINT(limited) << 23);
  parts.scale = from_bits_(UINT(127 + limited - exponent) << 23);
  // Fast2Sum of 1 and the scale.
  REAL large = select_(scale > 1.0f, scale, 1.0f);
  REAL small = select_(scale > 1.0f, 1.0f, scale);
  parts.g = logistic_of(m.f, m.f_lo, scale, small - ((1.0f + scale) - large));
  return parts;
}

FORMULA(REAL) sigmoid(REAL x) {
  LogisticParts p = logistic_parts(x);
  return sigmoid_of(p.g) * p.scale;
}

// x * sigmoid(x). silu(-inf) = -0, silu(inf) = inf, silu(+-0) = +-0; the gelus alike. The factor is clamped
// by its bits, as devices take a clamp of floats for a minimum, which may flush a subnormal.
FORMULA(REAL) silu(REAL x) {
  LogisticParts p = logistic_parts(x);
  UINT most = bits_(-130.0f);
  REAL factor = from_bits_(select_(bits_(x) < most, bits_(x), most));
  return select_(x <= 64.0f, silu_of(factor, p.g) * p.scale, x);
}

// At -inf it is -0, the limit from below; at inf it is 1.
FORMULA(REAL) silu_derivative(REAL x) {
  LogisticParts p = logistic_parts(x);
  return silu_derivative_of(p.x, p.g) * p.scale;
}

// factor * E / (1 + E)^2, E = e^-|x|; factor is a power of two.
FORMULA(REAL) logistic_density(REAL x, REAL factor) {
  REAL a = clamped_magnitude(x, 130.0f);
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
  return fma_(remainder, inverse, quotient) * factor * e.scale1 * e.scale2;
}

// sigmoid(x) * (1 - sigmoid(x))
FORMULA(REAL) sigmoid_derivative(REAL x) { return logistic_density(x, 1.0f); }

// ---- gelu, tanh form: x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 = x sigmoid(w) ----

// a (c1 + c2 a^2) for a >= 0, c1 = 2 sqrt(2/pi).
FORMULA(Pair) gelu_tanh_cubic(REAL a, REAL c2, REAL c2_lo) {
  REAL square = a * a;
  REAL square_lo = fma_(a, a, -square);
  REAL m = c2 * square;
  REAL m_lo = fma_(c2, square, -m) + fma_(c2, square_lo, c2_lo * square);
  REAL g = m + 1.59576917f;
  REAL part = g - m;
  REAL g_lo = ((m - (g - part)) + (1.59576917f - part)) + (m_lo - 4.53406805e-8f);
  Pair y;
  y.hi = a * g;
  y.lo = fma_(a, g_lo, fma_(a, g, -y.hi));
  return y;
}

// e^-|w| for a = |x| at most 11.5: there |w| is 126.9, and the functions are at their limits.
FORMULA(ExpParts) gelu_tanh_exp(REAL a) {
  Pair w = gelu_tanh_cubic(a, 0.0713548139f, 2.39883247e-9f);
  return exp_parts_of_pair(-w.hi, -w.lo);
}

// sigmoid(w) from E = e^-|w|: 1 / (1 + E) for w >= 0, E / (1 + E) for w < 0.
FORMULA(CdfParts) sigmoid_parts(ExpParts e, bool negative) {
  CdfParts s;
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

// The derivative of x sigmoid(w(x)) is s + v (1 - s) s, with s = sigmoid(w) and v = x w'. For an odd w of x's
// sign and E = e^-|w|, D = 1 + E it is (D + v E) / D^2 for x >= 0, E (D - v) / D^2 for x < 0.
FORMULA(REAL) sigmoid_gate_derivative(ExpParts e, Pair v, bool negative) {
  REAL scale = e.scale1 * e.scale2;
  REAL exp_hi = e.hi * scale;
  REAL exp_lo = e.lo * scale;
  REAL d = 1.0f + exp_hi;
  REAL d_lo = (exp_hi - (d - 1.0f)) + exp_lo;
  // D - v by TwoSum, as either may be the larger.
  REAL w = d - v.hi;
  REAL part = w - d;
  REAL w_lo = ((d - (w - part)) - (v.hi + part)) + (d_lo - v.lo);
  // The product is v * E, to which D is added, or (D - v) * (hi + lo of E), which is scaled at the end.
  REAL left = select_(negative, w, v.hi);
  REAL left_lo = select_(negative, w_lo, v.lo);
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
  return y * select_(negative, e.scale1, 1.0f) * select_(negative, e.scale2, 1.0f);
}

FORMULA(REAL) gelu_tanh(REAL x) {
  REAL a = clamped_magnitude_bits(x, 11.5f);
  return times_cdf(x, 11.5f, sigmoid_parts(gelu_tanh_exp(a), is_negative(x)));
}

FORMULA(REAL) gelu_tanh_derivative(REAL x) {
  REAL a = clamped_magnitude(x, 11.5f);
  Pair v = gelu_tanh_cubic(a, 0.214064449f, -2.54083421e-10f);
  REAL y = sigmoid_gate_derivative(gelu_tanh_exp(a), v, is_negative(x));
  // As for silu; the root is -0.75246142207101625849, the fit's relative error 2^-25.
  REAL h = x + 0.752461433f;
  REAL q = fma_(h, -0.11390835f, -0.0157990698f);
  q = fma_(h, q, 0.387518436f);
  REAL near_root = fma_(h, 0.430400074f, fma_(h, h * q, -4.88057699e-9f));
  return select_(abs_(h) < 0.03125f, near_root, y);
}

// ---- gelu, erf form: x Phi(x), Phi the normal distribution's cumulative function ----

// M(z) = e^(z^2/2) Phi(-z), Mills' ratio over sqrt(2 pi), for z in [0, 14.75]: with t = 1 / (z + 3) it is t
// W(t - 7/64), and that difference is exact. W: fitted as for exp, weighted with 1 / W: relative error
// 2^-28.3.
FORMULA(Pair) normal_tail_ratio(REAL z) {
  REAL d = z + 3.0f;
  REAL d_lo = z - (d - 3.0f);
  REAL t = reciprocal_(d);
  REAL residual = fma_(-t, d_lo, fma_(-t, d, 1.0f));
  REAL q = t - 0.109375f;
  REAL r = fma_(q, 3293.86597f, -3210.28711f);
  r = fma_(q, r, 757.713379f);
  r = fma_(q, r, 246.774261f);
  r = fma_(q, r, -77.5350266f);
  r = fma_(q, r, -48.6843452f);
  r = fma_(q, r, 2.23361921f);
  r = fma_(q, r, 11.4759531f);
  // The last steps as pairs.
  REAL u = fma_(q, r, 6.36456823f);
  REAL u_lo = fma_(q, r, 6.36456823f - u);
  REAL s = fma_(q, u, 2.21487403f);
  REAL s_lo = fma_(q, u, 2.21487403f - s) + fma_(q, u_lo, 4.88234306e-8f);
  REAL w = fma_(q, s, 0.579149306f);
  REAL w_lo = fma_(q, s_lo, fma_(q, s, 0.579149306f - w) + 1.19203811e-8f);
  Pair m;
  m.hi = t * w;
  // t belongs to a z that is residual * d further on, and M'(z) = z M(z) - 1 / sqrt(2 pi).
  REAL slope = fma_(-z, m.hi, 0.398942292f);
  m.lo = fma_(residual * d, slope, fma_(t, w_lo, fma_(t, w, -m.hi)));
  return m;
}

// For z = |x|: m e^(-z^2/2) for x < 0, 1 minus that for x >= 0.
FORMULA(CdfParts) normal_parts(REAL z, Pair m, bool negative) {
  REAL z_half = 0.5f * z;
  REAL square = z_half * z;
  ExpParts e = exp_parts_of_pair(-square, -fma_(z_half, z, -square));
  REAL product = e.hi * m.hi;
  REAL product_lo = fma_(e.hi, m.hi, -product) + fma_(e.hi, m.lo, e.lo * m.hi);
  REAL scale = e.scale1 * e.scale2;
  REAL rest = product * scale;
  REAL complement = 1.0f - rest;
  CdfParts p;
  p.quotient = select_(negative, product, complement);
  p.correction = select_(negative, product_lo, fma_(-product_lo, scale, (1.0f - complement) - rest));
  p.scale1 = select_(negative, e.scale1, 1.0f);
  p.scale2 = select_(negative, e.scale2, 1.0f);
  return p;
}

FORMULA(REAL) gelu(REAL x) {
  REAL z = clamped_magnitude_bits(x, 14.75f);
  return times_cdf(x, 14.75f, normal_parts(z, normal_tail_ratio(z), is_negative(x)));
}

// Phi(x) + x Phi'(x): as Phi, with M(z) - z / sqrt(2 pi) in the place of M(z).
FORMULA(REAL) gelu_derivative(REAL x) {
  REAL z = clamped_magnitude_bits(x, 14.75f);  // as gelu has it, for geglu_backward
  Pair m = normal_tail_ratio(z);
  REAL slope = z * 0.398942292f;
  REAL slope_lo = fma_(z, 0.398942292f, -slope) - z * 1.13351701e-8f;
  Pair difference;
  difference.hi = m.hi - slope;
  REAL part = difference.hi - m.hi;
  REAL error = (m.hi - (difference.hi - part)) - (slope + part);
  difference.lo = error + (m.lo - slope_lo);
  CdfParts p = normal_parts(z, difference, is_negative(x));
  REAL y = (p.quotient + p.correction) * p.scale1 * p.scale2;
  // As for silu, |h| <= 1/8; the root is -0.75179152469356445746, the fit's relative error 2^-24.7.
  REAL h = x + 0.751791537f;
  REAL q = fma_(h, 0.0193200205f, -0.0146655925f);
  q = fma_(h, q, -0.114006966f);
  q = fma_(h, q, -0.0182002895f);
  q = fma_(h, q, 0.388284981f);
  REAL near_root = fma_(h, 0.431493998f, fma_(h, h * q, -5.2273121e-9f));
  y = select_(abs_(h) < 0.125f, near_root, y);
  return select_(x == x, y, x);
}

// ---- tanh ----

// (1 - E) / (1 + E), E = e^-2|x|; x + x^3 P(x^2) where that cancels. P: fitted as for exp, weighted with x^3
// / tanh x, |x| <= 1/8: relative error 2^-35.8.
FORMULA(REAL) tanh_(REAL x) {
  REAL a = abs_(x);
  ExpParts e = exp_parts(-clamped_magnitude(a + a, 130.0f));
  REAL scale = e.scale1 * e.scale2;
  REAL exp_hi = e.hi * scale;
  REAL exp_lo = e.lo * scale;
  REAL d = 1.0f + exp_hi;
  REAL d_lo = (exp_hi - (d - 1.0f)) + exp_lo;
  REAL numerator = 1.0f - exp_hi;
  REAL numerator_lo = ((1.0f - numerator) - exp_hi) - exp_lo;
  REAL inverse = reciprocal_(d);
  REAL quotient = numerator * inverse;
  REAL remainder = fma_(-quotient, d, numerator);
  remainder = fma_(-quotient, d_lo, remainder) + numerator_lo;
  REAL y = fma_(remainder, inverse, quotient);
  REAL square = a * a;
  REAL p = fma_(square, -0.053255301f, 0.133326277f);
  p = fma_(square, p, -0.333333313f);
  REAL small = fma_(a * square, p, a);
  return with_sign_of(select_(a < 0.125f, small, y), x);
}

// 1 - tanh(x)^2 = 4 E / (1 + E)^2
FORMULA(REAL) tanh_derivative(REAL x) { return logistic_density(x + x, 4.0f); }

// ---- softplus ----

// log(1 + e^x) = log1p(E) for x < 0, x + log1p(E) for x >= 0, E = e^-|x|; log1p(E) = E + E^2 R(E). For |x| <
// 0.7, where the error of E^2 R(E) would show: log 2 + x/2 + x^2 P(x^2). R and P: fitted as for exp, weighted
// with E^2 / log1p(E) and x^2 / softplus(-|x|), E <= 1/2 and |x| <= 3/4: relative errors 2^-31.7 and 2^-30.9.
FORMULA(REAL) softplus(REAL x) {
  ExpParts e = exp_parts(-clamped_magnitude(x, 130.0f));
  REAL scale = e.scale1 * e.scale2;
  REAL exp_hi = e.hi * scale;
  REAL r = fma_(exp_hi, 0.0196014494f, -0.0667565092f);
  r = fma_(exp_hi, r, 0.118793316f);
  r = fma_(exp_hi, r, -0.160397589f);
  r = fma_(exp_hi, r, 0.199007064f);
  r = fma_(exp_hi, r, -0.249910891f);
  r = fma_(exp_hi, r, 0.333329409f);
  r = fma_(exp_hi, r, -0.49999994f);
  // lo / (1 + E) is about lo - lo E.
  REAL tail = fma_(e.hi * exp_hi, r, fma_(-e.lo, exp_hi, e.lo));
  REAL left = (e.hi + tail) * e.scale1 * e.scale2;
  REAL right = x + fma_(tail, scale, exp_hi);
  REAL square = x * x;
  REAL p = fma_(square, -2.35878906e-5f, 0.000345918612f);
  p = fma_(square, p, -0.00520808576f);
  p = fma_(square, p, 0.124999985f);
  REAL x_half = 0.5f * x;
  REAL sum = 0.693147182f + x_half;
  REAL sum_lo = (x_half - (sum - 0.693147182f)) - 1.90465421e-9f;
  REAL middle = sum + fma_(square, p, sum_lo);
  REAL y = select_(is_negative(x), left, right);
  return select_(abs_(x) < 0.7f, middle, y);
}

// ---- powers and relu ----

// Rounds correctly: 1 / sqrt(x) = y + y c, where y = 1 / s, s = sqrt(x), and c comes from the exact x - s^2
// and 1 - s y. Scaled by 2^48 where x - s^2 would be too small to be exact.
FORMULA(REAL) rsqrt_(REAL x) {
  bool small = x < 7.88860905e-31f;
  REAL scaled = x * select_(small, 2.81474977e14f, 1.0f);
  REAL s = sqrt_(scaled);
  REAL y = div_(1.0f, s);
  REAL c = fma_(-s, y, 1.0f) - 0.5f * y * (y * fma_(-s, s, scaled));
  REAL refined = fma_(y, c, y);
  refined = select_(less_(0.0f, x), refined, y);       // 0: y is infinite
  refined = select_(x <= 3.40282347e38f, refined, y);  // inf
  return refined * select_(small, 16777216.0f, 1.0f);
}

// -1 / (2 x sqrt(x)), with one more rounding than rsqrt_; halved first, so that only the result can overflow.
FORMULA(REAL) rsqrt_derivative(REAL x) { return div_(-0.5f * rsqrt_(x), x); }

// -1 / x^2. The square of 1 / x, as x^2 overflows and underflows before 1 / x^2 does.
FORMULA(REAL) reciprocal_derivative(REAL x) {
  REAL y = div_(1.0f, x);
  return -(y * y);
}

// +0 for -0; NaN passes in both.
FORMULA(REAL) relu(REAL x) { return select_(less_equal_(x, 0.0f), 0.0f, x); }
FORMULA(REAL) relu_derivative(REAL x) {
  return select_(less_equal_(x, 0.0f), 0.0f, select_(less_(0.0f, x), 1.0f, x));
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
