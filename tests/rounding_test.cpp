// SPDX-License-Identifier: MIT
// kernels/rounding.h against the CPU's own division and square root, with first guesses that are off on
// purpose.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/prelude_cpp.h"

namespace {

int off = 0;  // ulps

float wrong(float value) { return from_bits_(bits_(value) + static_cast<UINT>(off)); }

#define ROUGH_RECIPROCAL_(x) wrong(1.0f / (x))
#define ROUGH_SQRT_(x) wrong(__builtin_sqrtf(x))
#include "kernels/rounding.h"

bool same(float a, float b) { return bits_(a) == bits_(b) || (std::isnan(a) && std::isnan(b)); }

const float specials[] = {0.0f, -0.0f,  1.0f,        -1.0f,           INFINITY,        -INFINITY,
                          NAN,  1e-45f, -1e-45f,     1.17549435e-38f, 1.17549421e-38f, 3.40282347e38f,
                          2.0f, 3.0f,   16777215.0f, 1.99999988f,     1e-40f,          0.25f};

TEST(Rounding, Division) {
  std::mt19937 random(1);
  for (off = -3; off <= 3; ++off) {
    for (const float a : specials) {
      for (const float b : specials) EXPECT_TRUE(same(div_rounded_(a, b), a / b)) << a << " / " << b;
    }
    for (int i = 0; i < 500000; ++i) {
      UINT x = static_cast<UINT>(random()), y = static_cast<UINT>(random());
      if (i % 4 == 1) x &= 0x80ffffff;                                // small by large: subnormal quotients
      if (i % 4 == 2) y &= 0x80ffffff;                                // large by small
      if (i % 4 == 3) y = (y & 0xff800000) | (0x7fffff & -(y & 63));  // close to powers of two
      const float a = from_bits_(x), b = from_bits_(y);
      ASSERT_TRUE(same(div_rounded_(a, b), a / b))
          << std::hexfloat << a << " / " << b << ", " << off << " ulp off";
    }
  }
}

TEST(Rounding, SquareRoot) {
  for (off = -3; off <= 3; ++off) {
    for (const float a : specials) EXPECT_TRUE(same(sqrt_rounded_(a), std::sqrt(a))) << a;
    for (unsigned long long i = 0; i < 1ull << 32; i += 2741) {
      const float a = from_bits_(static_cast<UINT>(i));
      ASSERT_TRUE(same(sqrt_rounded_(a), std::sqrt(a))) << std::hexfloat << a << ", " << off << " ulp off";
    }
  }
}

TEST(Rounding, ReciprocalFromOneToFour) {
  for (off = -3; off <= 3; ++off) {
    for (UINT i = 0x3f800000; i <= 0x40800000; i += off == 0 ? 1 : 13) {
      const float x = from_bits_(i);
      ASSERT_TRUE(same(reciprocal_rounded_(x), 1.0f / x)) << std::hexfloat << x << ", " << off << " ulp off";
    }
  }
}

}  // namespace
