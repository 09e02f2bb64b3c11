// SPDX-License-Identifier: MIT
// Formulas for where nothing is out of the ordinary: |x| <= 16, so there is nothing to clamp, no result so
// small that it is scaled in two steps, and 1 + 2^n is exact. They return the same bits as those of
// formulas.h (`silica check --exhaustive`) in fewer instructions, and in two stages: a CPU's core overlaps as
// many elements as its window of a few hundred instructions holds, which is twice as many of half a formula.
// Every row of ops.inc that asks of its first operand only what is overloaded here is computed so, but by
// Vulkan, as GLSL has no templates. Included after formulas.h, without a guard.

constexpr int ordinary_limit = 0x41800000;  // the bits of 16.0f

// What the first stage leaves: x, and e^-x = (1 + f + f_lo) * scale.
struct Ordinary {
  float x, f, f_lo, scale;
};

FORMULA(Ordinary) ordinary(float x) {
  const ExpMinusOne m = exp_minus_one(x);
  return {x, m.f, m.f_lo, from_bits_(m.biased << 23)};
}

// Nothing is lost: minus zero, which changes no sum.
FORMULA(Logistic) logistic(Ordinary a) { return logistic_of(a.f, a.f_lo, a.scale, -0.0f); }

FORMULA(float) sigmoid(Ordinary a) { return sigmoid_of(logistic(a)); }
FORMULA(float) silu(Ordinary a) { return silu_of(a.x, logistic(a)); }
FORMULA(float) silu_derivative(Ordinary a) { return silu_derivative_of(a.x, logistic(a)); }
