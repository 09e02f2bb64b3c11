// SPDX-License-Identifier: MIT
// The oracle of the scalar formulas: the mathematical definitions in double or long double through the C++
// standard library. It includes nothing of kernels/ and shares no algorithm with it.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace oracle {

template <typename T> T exp(T x) { return std::exp(x); }

template <typename T> T log(T x) { return std::log(x); }

// An overflowing exp gives 1 / inf = 0, below anything that a float can hold.
template <typename T> T sigmoid(T x) { return 1 / (1 + std::exp(-x)); }

template <typename T> T sigmoid_derivative(T x) { return sigmoid(x) * sigmoid(-x); }

template <typename T> T silu(T x) {
  if (std::isinf(x)) return x > 0 ? x : T{-0.0};
  return x / (1 + std::exp(-x));
}

// s (1 + x (1 - s)), where 1 - s = sigmoid(-x). Its relative error grows near the root: see
// needs_long_double.
template <typename T> T silu_derivative(T x) {
  if (std::isinf(x)) return x > 0 ? T{1} : T{-0.0};
  return sigmoid(x) * (1 + x * sigmoid(-x));
}

inline constexpr double kSiluDerivativeRoot = -1.2784645427610738;

// Double is good to about 1e-15 but near a root of the function, which matters for silu_derivative (and harms
// nothing elsewhere).
inline bool needs_long_double(float x) { return std::fabs(double{x} - kSiluDerivativeRoot) < 0.125; }

// The error of `got` in units of the spacing of floats at `want`; subnormals have the spacing 2^-149. A
// wanted value that rounds to infinity wants infinity. NaN wants NaN; anything else there is infinitely
// wrong.
template <typename T> double ulp_error(float got, T want) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0.0 : kInfinity;
  constexpr T kTwoTo128 = T{0x1p128};
  constexpr T kRoundsToInfinity = T{0x1p128} - T{0x1p103};
  if (std::fabs(want) >= kRoundsToInfinity) {
    if (std::isinf(got)) return std::signbit(got) == std::signbit(want) ? 0.0 : kInfinity;
    want = std::copysign(kTwoTo128, want);
  }
  T value = got;
  if (std::isinf(got)) value = std::copysign(kTwoTo128, value);  // as the next float would be
  // By the exponent's bits, as ilogb and ldexp are slow. A double has them for every want that is not 0 to a
  // float.
  const auto field = (std::bit_cast<std::uint64_t>(static_cast<double>(want)) >> 52) & 0x7ff;
  const int exponent = std::clamp(static_cast<int>(field) - 1023, -126, 127);
  const double per_ulp = std::bit_cast<double>(static_cast<std::uint64_t>(23 - exponent + 1023) << 52);
  return static_cast<double>(std::fabs((value - want) * T{per_ulp}));
}

// One row per unary formula of kernels/formulas.h: its name, its oracle, the largest error allowed in ulp.
#define SILICA_UNARY_FORMULAS(ROW)                  \
  ROW(exp_, exp, 0.80)                              \
  ROW(log_, log, 0.65)                              \
  ROW(sigmoid, sigmoid, 0.80)                       \
  ROW(sigmoid_derivative, sigmoid_derivative, 0.80) \
  ROW(silu, silu, 0.85)                             \
  ROW(silu_derivative, silu_derivative, 0.85)

}  // namespace oracle
