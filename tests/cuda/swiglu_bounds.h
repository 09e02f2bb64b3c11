// SPDX-License-Identifier: MIT
// The bounds of docs/exactness.md for swiglu and its gradients in the kernels of feed_forward, against the
// definitions in double.
#pragma once

#include "support.h"

namespace silica::test {

// Whether `got` is a value of `dtype` that something within `error` of `want` rounds to.
inline bool is_within(float got, double want, double error, DType dtype) {
  if (!std::isfinite(want)) return std::isnan(want) ? std::isnan(got) : double{got} == want;
  const float low = rounded({static_cast<float>(want - error)}, dtype)[0],
              high = rounded({static_cast<float>(want + error)}, dtype)[0];
  return low <= got && got <= high;
}

// factor * y of a y that is known up to `error`. An infinite factor gives what it gives with y, or with a y
// of 0 or the other sign where `error` leaves that open.
inline bool is_multiple(float got, float factor, double y, double error, DType dtype) {
  if (std::isinf(factor) && std::abs(y) <= error) return !std::isfinite(got);
  return is_within(got, y * factor, std::isinf(factor) ? 0.0 : error * std::abs(factor) + 0x1p-149, dtype);
}

// silu(x) * b
inline bool is_fast_silu(float got, float x, float b, DType dtype) {
  const double y = oracle::silu(double{x});
  return is_multiple(got, b, y, std::isinf(y) ? 0.0 : std::abs(y) * 0x1p-17 + 0x1p-118, dtype);
}

// d * u * silu'(x)
inline bool is_fast_silu_gradient(float got, float x, float u, float d, DType dtype) {
  const double terms = std::isinf(x)
                           ? (x > 0 ? 17.0 : 0.0)
                           : (1.0 + std::abs(std::min(double{x}, 16.0))) * oracle::sigmoid(double{x});
  return is_multiple(got, d * u, oracle::silu_derivative(double{x}), terms * 0x1p-17 + 0x1p-118, dtype);
}

inline void expect_fast_silu(const std::string& what, const std::vector<float>& got,
                             const std::vector<float>& x, const std::vector<float>& b, DType dtype) {
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(is_fast_silu(got[i], x[i], b[i], dtype))
        << what << ": element " << i << " of " << x[i] << " and " << b[i] << " is " << got[i];
}

inline void expect_fast_silu_gradient(const std::string& what, const std::vector<float>& got,
                                      const std::vector<float>& x, const std::vector<float>& u,
                                      const std::vector<float>& d, DType dtype) {
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(is_fast_silu_gradient(got[i], x[i], u[i], d[i], dtype))
        << what << ": element " << i << " of " << x[i] << ", " << u[i] << " and " << d[i] << " is " << got[i];
}

}  // namespace silica::test
