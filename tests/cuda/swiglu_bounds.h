// SPDX-License-Identifier: MIT
// The bounds of docs/exactness.md for swiglu and its gradients in the kernels of feed_forward, against the
// definitions in double.
#pragma once

#include "support.h"

namespace silica::test {

// Whether `got` is a value of `dtype` that something within `error` of `want` rounds to. What overflows in
// f32 on the way only has to overflow.
inline bool is_within(float got, double want, double error, DType dtype) {
  if (!std::isfinite(want)) return std::isnan(want) ? std::isnan(got) : double{got} == want;
  const float low = rounded({static_cast<float>(want - error)}, dtype)[0],
              high = rounded({static_cast<float>(want + error)}, dtype)[0];
  return low <= got && got <= high;
}

// silu(x) * b
inline bool is_fast_silu(float got, float x, float b, DType dtype) {
  const double want = oracle::silu(double{x}) * b;
  if (std::isinf(b)) return !std::isfinite(got);  // beside a silu that underflows, NaN
  return is_within(got, want, std::abs(want) * 0x1p-16 + std::abs(double{b}) * 0x1p-118, dtype);
}

// d * u * silu'(x)
inline bool is_fast_silu_gradient(float got, float x, float u, float d, DType dtype) {
  const float dy = d * u;
  if (std::isinf(dy)) return !std::isfinite(got);
  const double want = oracle::silu_derivative(double{x}) * dy;
  return is_within(got, want, std::abs(double{dy}) * 0x1p-16 + 0x1p-149, dtype);
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
