// SPDX-License-Identifier: MIT
// Formulas for where nothing is out of the ordinary: |x| <= 64, so there is nothing to clamp, no NaN,
// and no result so small that it is scaled in two steps. They return the same bits as those of formulas.h
// (`silica check --exhaustive`) in two thirds of the instructions, and in two stages: a CPU's core overlaps
// as many elements as its window of a few hundred instructions holds, which is twice as many of half a
// formula. Every row of ops.inc that asks of its first operand only what is overloaded here is computed so,
// but by Vulkan, as GLSL has no templates. Included after formulas.h, without a guard.

constexpr int ordinary_limit = 0x42800000;  // the bits of 64.0f

// What the first stage leaves: x, and e^-|x|.
struct Ordinary {
  float x;
  Pair e;
};

FORMULA(Ordinary) ordinary(float x) {
  const ExpMantissa m = exp_mantissa(-abs_(x));
  const float scale = from_bits_((m.biased - 127u) << 23);
  return {x, {m.hi * scale, m.lo * scale}};
}

FORMULA(ExpParts) exp_parts(Ordinary a) { return {a.e.hi, a.e.lo, 1.0f, 1.0f}; }

FORMULA(float) sigmoid(Ordinary a) {
  const CdfParts s = sigmoid_parts(exp_parts(a), is_negative(a.x));
  return s.quotient + s.correction;
}

FORMULA(float) silu(Ordinary a) {
  const CdfParts s = sigmoid_parts(exp_parts(a), is_negative(a.x));
  return fma_(a.x, s.quotient, a.x * s.correction);
}

FORMULA(float) silu_derivative(Ordinary a) { return silu_derivative_from(a.x, abs_(a.x), exp_parts(a)); }
