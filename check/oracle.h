// SPDX-License-Identifier: MIT
// The oracle of the elementwise formulas: the mathematical definitions in double or long double through the
// C++ standard library. It includes nothing of kernels/ and shares no algorithm with it.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

namespace oracle {

// ---- definitions: each unary row of ops.inc, and its derivative

template <typename T> T exp(T x) { return std::exp(x); }
template <typename T> T exp_derivative(T x) { return std::exp(x); }

template <typename T> T log(T x) { return std::log(x); }
template <typename T> T log_derivative(T x) { return 1 / x; }

template <typename T> T sqrt(T x) { return std::sqrt(x); }
template <typename T> T sqrt_derivative(T x) { return 1 / (2 * std::sqrt(x)); }

template <typename T> T rsqrt(T x) { return 1 / std::sqrt(x); }
template <typename T> T rsqrt_derivative(T x) { return -1 / (2 * std::sqrt(x) * x); }

template <typename T> T reciprocal(T x) { return 1 / x; }
template <typename T> T reciprocal_derivative(T x) { return -1 / (x * x); }

template <typename T> T square(T x) { return x * x; }
template <typename T> T square_derivative(T x) { return 2 * x; }

template <typename T> T neg(T x) { return -x; }

template <typename T> T relu(T x) { return x > 0 || std::isnan(x) ? x : T{0}; }
template <typename T> T relu_derivative(T x) { return std::isnan(x) ? x : T(x > 0); }

template <typename T> T tanh(T x) { return std::tanh(x); }
template <typename T> T tanh_derivative(T x) { return 1 / (std::cosh(x) * std::cosh(x)); }

// An overflowing exp gives 1 / inf = 0, below anything that a float can hold.
template <typename T> T sigmoid(T x) { return 1 / (1 + std::exp(-x)); }
template <typename T> T sigmoid_derivative(T x) { return sigmoid(x) * sigmoid(-x); }

template <typename T> T softplus(T x) { return std::max(x, T{0}) + std::log1p(std::exp(-std::fabs(x))); }
template <typename T> T softplus_derivative(T x) { return sigmoid(x); }

// x P(x), and P(x) + x P'(x), for a P that goes from 0 to 1 faster than x grows.
template <typename T> T times_cdf(T x, T p) { return std::isinf(x) ? (x > 0 ? x : T{-0.0}) : x * p; }
template <typename T> T times_cdf_derivative(T x, T p, T density) {
  return std::isinf(x) ? (x > 0 ? T{1} : T{-0.0}) : p + x * density;
}

template <typename T> T silu(T x) { return times_cdf(x, sigmoid(x)); }
template <typename T> T silu_derivative(T x) {
  return times_cdf_derivative(x, sigmoid(x), sigmoid_derivative(x));
}

inline constexpr long double kPi = 3.141592653589793238462643383279502884L;

template <typename T> T gelu(T x) {
  const T root_half = std::sqrt(T{0.5});
  return times_cdf(x, std::erfc(-x * root_half) / 2);
}
template <typename T> T gelu_derivative(T x) {
  const T root_half = std::sqrt(T{0.5}), height = 1 / std::sqrt(2 * static_cast<T>(kPi));
  return times_cdf_derivative(x, std::erfc(-x * root_half) / 2, height * std::exp(-x * x / 2));
}

// (1 + tanh(u)) / 2 = sigmoid(2u), which keeps the left tail.
template <typename T> T gelu_tanh(T x) {
  const T c = 2 * std::sqrt(2 / static_cast<T>(kPi));
  return times_cdf(x, sigmoid(c * (x + static_cast<T>(0.044715L) * x * x * x)));
}
template <typename T> T gelu_tanh_derivative(T x) {
  const T c = 2 * std::sqrt(2 / static_cast<T>(kPi));
  const T w = c * (x + static_cast<T>(0.044715L) * x * x * x),
          slope = c * (1 + 3 * static_cast<T>(0.044715L) * x * x);
  return times_cdf_derivative(x, sigmoid(w), slope * sigmoid_derivative(w));
}

// Double is good to about 1e-14 but where a derivative has a root, which harms nothing elsewhere.
inline bool needs_long_double(float x) {
  return std::fabs(x + 1.2784645f) < 0.125f || std::fabs(x + 0.752f) < 0.125f;
}

// ---- errors

struct Format {
  int mantissa_bits;
  int min_exponent;
  int max_exponent;
};
inline constexpr Format kF32{23, -126, 127}, kF16{10, -14, 15}, kBf16{7, -126, 127};

// 2^e
inline double power_of_two(int e) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(e + 1023) << 52);
}

// The spacing of the format's numbers at x; subnormals have the smallest.
inline int exponent_of_ulp(double x, const Format& format) {
  // By the exponent's bits, as ilogb is slow. A double has them for every x that is not 0 to a float.
  const auto field = (std::bit_cast<std::uint64_t>(x) >> 52) & 0x7ff;
  const int exponent = static_cast<int>(field) - 1023;
  return std::clamp(exponent, format.min_exponent, format.max_exponent) - format.mantissa_bits;
}

// The error of `got` in units of the spacing at `want`. A wanted value that rounds to infinity wants
// infinity. NaN wants NaN; anything else there is infinitely wrong.
template <typename T> double ulp_error(float got, T want, const Format& format = kF32) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0.0 : kInfinity;
  const T next = power_of_two(format.max_exponent + 1);  // as the number after the largest would be
  if (std::fabs(want) >= next - T{power_of_two(format.max_exponent - format.mantissa_bits - 1)}) {
    if (std::isinf(got)) return std::signbit(got) == std::signbit(want) ? 0.0 : kInfinity;
    want = std::copysign(next, want);
  }
  T value = got;
  if (std::isinf(got)) value = std::copysign(next, value);
  return static_cast<double>(
      std::fabs((value - want) * T{power_of_two(-exponent_of_ulp(static_cast<double>(want), format))}));
}

// The spacing that counts at least. silu' is bounded by 2^-32, 2 of them, next to its root, where those of
// its values go to zero. The name is the formula's or the op's.
inline double least_ulp(std::string_view name, float x) {
  const bool has_root = name == "silu_derivative" || name == "silu_backward";
  return has_root && std::fabs(x + 1.2784645f) < 0.03125f ? 0x1p-33 : 0.0;
}

// An error in units of the spacing at `want`, in units of `least` where that is more.
inline double in_least_ulp(double error, double want, const Format& format, double least) {
  const double ulp = power_of_two(exponent_of_ulp(want, format));
  return ulp < least ? error * (ulp / least) : error;
}

// x rounded to the format, to nearest even.
inline double rounded(double x, const Format& format) {
  if (!std::isfinite(x)) return x;
  // The sum has 52 bits from its first to the last that the format keeps.
  const double shift = 1.5 * power_of_two(exponent_of_ulp(x, format) + 52);
  const double y = std::copysign((x + shift) - shift, x);
  const double largest = power_of_two(format.max_exponent + 1);
  return std::fabs(y) >= largest ? std::copysign(HUGE_VAL, y) : y;
}

}  // namespace oracle
