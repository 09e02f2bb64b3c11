// SPDX-License-Identifier: MIT
// swiglu and its gradients of words of two elements: the bits of the exact formulas, nearly always found
// without them. As in map/approximation.h, with tighter bounds for bf16 and one reciprocal for two elements.
#include "kernels/map/approximation.h"

template <class Type> struct Decide {
  // A word of two elements each from a value and its error; false where that does not decide the bits.
  DEVICE bool decide(const Rough& first, const Rough& second, u32& word) {
    const float low[2] = {lowest_if_nan(first.value - first.error),
                          lowest_if_nan(second.value - second.error)};
    const float high[2] = {first.value + first.error, second.value + second.error};
    word = Type::pack(low);
    return word == Type::pack(high);
  }

  // Of two bf16: all of |x| in [2^-28, 16) or in [2^-60, 2^68).
  DEVICE bool are_moderate(u32 word) { return (((word & 0x7fff7fffu) - 0x31803180u) & 0xf000f000u) == 0; }
  DEVICE bool are_normal(u32 word) { return (((word & 0x7fff7fffu) - 0x21802180u) & 0xc000c000u) == 0; }
  // Whether floats that are off by less than 15 units of their last place still round to the same bf16: the
  // half that is rounded away is not that near to its middle. A carry between the two costs one unit.
  DEVICE bool round_surely(float first, float second) {
    const u32 halves = (bits_(first) & 0xffffu) | bits_(second) << 16, distance = halves + 0x80108010u;
    return (distance & 0xffe0u) != 0 && (distance & 0xffe00000u) != 0;
  }

  // For bf16 |x| < 16, which other than rough_sigmoid's are off by no more than they would be for small x;
  // others decide nothing. Errors are in units of u = 2^-24.
  //   E = e^-x  5.05 u: x times the upper 16 bits of 1 / ln 2 is exact, 2^ of that is off by 4 u, the factor
  //             for the lower bits by 2^-28, and the product rounds once;
  //   s         (5 + 5.05 (1 - s)) u: 1 + E, and two quotients from one reciprocal, which is off by 2 u.
  DEVICE void rough_sigmoids(const float* x, float* s) {
    float d[2];
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
      const float e = rough_exp2(x[i] * -1.44268799f);
      d[i] = 1.0f + fma_(e, x[i] * -4.88849515e-6f, e);
    }
    const float inverse = rough_reciprocal(d[0] * d[1]);
    s[0] = inverse * d[1];
    s[1] = inverse * d[0];
  }

  // silu(x) * b of bf16: where x is moderate and the result normal it is off by one rounding more than s, and
  // the exact one by two, 13.1 u in all, which is less than 14 units of a float's last place.
  DEVICE bool decide_silu(const float* x, const float* b, const float* s, u32& word) {
    const float y[2] = {x[0] * b[0] * s[0], x[1] * b[1] * s[1]};
    word = Type::pack(y);
    return round_surely(y[0], y[1]) && are_normal(word);
  }

  // silu'(x) * dy = s r dy, r = 1 + x (1 - s). The error of s counts |1 + x (1 - 2 s)| times, as r falls
  // where s rises; with the roundings of 1 - s, r and the products, and two of the exact one's, that is at
  // most 15.3 u max(1, |x|) s dy. A result that is not finite, or of an s dy near 0, is a NaN here or differs
  // in its sign.
  DEVICE bool decide_silu_derivative(const float* x, const float* dy, const float* s, u32& word) {
    float low[2], high[2];
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
      const float scale = dy[i] * s[i], y = scale * fma_(x[i], 1.0f - s[i], 1.0f);
      const float error = fabsf(scale * fmaxf(fabsf(x[i]), 1.0f)) + rough_floor;
      low[i] = fma_(error, -9.53674316e-7f, y);  // 16 u
      high[i] = fma_(error, 9.53674316e-7f, y);
    }
    word = Type::pack(low);
    return word == Type::pack(high);
  }

  DEVICE bool swiglu(u32 gate, u32 up, u32& word) {
    float g[2], u[2];
    Type::unpack(gate, g);
    Type::unpack(up, u);
    if constexpr (is_bf16<Type>) {
      float s[2];
      rough_sigmoids(g, s);
      const bool decided = decide_silu(g, u, s, word);
      return decided && are_moderate(gate);
    }
    return decide(rough_silu(g[0], u[0], rough_sigmoid(g[0])), rough_silu(g[1], u[1], rough_sigmoid(g[1])),
                  word);
  }

  DEVICE bool gradients(u32 gate, u32 up, u32 dy, u32& dgate, u32& dup) {
    float g[2], u[2], d[2];
    Type::unpack(gate, g);
    Type::unpack(up, u);
    Type::unpack(dy, d);
    const float of_y[2] = {d[0] * u[0], d[1] * u[1]};
    if constexpr (is_bf16<Type>) {
      float s[2];
      rough_sigmoids(g, s);
      const bool decided = decide_silu(g, d, s, dup);
      return decide_silu_derivative(g, of_y, s, dgate) && decided && are_moderate(gate);
    }
    const RoughSigmoid s[2] = {rough_sigmoid(g[0]), rough_sigmoid(g[1])};
    const bool decided = decide(rough_silu(g[0], d[0], s[0]), rough_silu(g[1], d[1], s[1]), dup);
    return decide(rough_silu_derivative(g[0], of_y[0], s[0]), rough_silu_derivative(g[1], of_y[1], s[1]),
                  dgate) &&
           decided;
  }

  DEVICE u32 exact_swiglu(u32 gate, u32 up) {
    float g[2], u[2];
    Type::unpack(gate, g);
    Type::unpack(up, u);
    const float y[2] = {silu(g[0]) * u[0], silu(g[1]) * u[1]};
    return Type::pack(y);
  }

  DEVICE void exact_gradients(u32 gate, u32 up, u32 dy, u32& dgate, u32& dup) {
    float g[2], u[2], d[2];
    Type::unpack(gate, g);
    Type::unpack(up, u);
    Type::unpack(dy, d);
    const float of_gate[2] = {d[0] * u[0] * silu_derivative(g[0]), d[1] * u[1] * silu_derivative(g[1])};
    const float of_up[2] = {d[0] * silu(g[0]), d[1] * silu(g[1])};
    dgate = Type::pack(of_gate);
    dup = Type::pack(of_up);
  }
};
