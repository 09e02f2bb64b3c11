// SPDX-License-Identifier: MIT
// The bounds of kernels/map/approximation.h: for every first operand of 16 bits, and some others, the exact
// f32 results lie within them, whichever way the hardware's approximations are off.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "emulation.h"
#include "kernels/cuda.h"

namespace {

#include "kernels/map/map.cu"

// What stands for all second and third operands: of any magnitude, with short and with long significands.
constexpr float others[] = {1.0f, -1.375f, 1.0e-30f, -5.9e-39f, 3.0e38f};

// How far a result is from its approximation, as a share of what that allows: above 1 it is outside.
template <class Op> std::pair<double, std::string> worst_share() {
  std::pair<double, std::string> worst{0, "nowhere"};
  const auto look = [&](const float* in) {
    const Results<Op::outputs> exact = Op::apply(in[0], in[1], in[2], 0.0f);
    Rough rough[Op::outputs];
    Approximation<Op>::apply(in, rough);
    for (int j = 0; j < Op::outputs; ++j) {
      const float low = lowest_if_nan(rough[j].value - rough[j].error),
                  high = rough[j].value + rough[j].error;
      if (std::isnan(high) || low == lowest_float || std::isinf(high)) continue;  // decides nothing
      const double share = std::abs(double(exact.value[j]) - rough[j].value) / rough[j].error;
      if (share > worst.first || std::isnan(share))
        worst = {std::isnan(share) ? HUGE_VAL : share,
                 ::testing::PrintToString(std::vector<float>(in, in + 3))};
    }
  };
  for (u32 bits = 0; bits < 1u << 16; ++bits) {
    for (const float x : {BF16::load(u16(bits)), F16::load(u16(bits))}) {
      for (const float second : others) {
        for (const float third : others) {
          const float in[] = {x, second, third};
          look(in);
          if (Op::inputs < 3) break;
        }
        if (Op::inputs < 2) break;
      }
    }
  }
  return worst;
}

template <class Op> void expect_within(const char* name) {
  if constexpr (Approximation<Op>::exists) {
    const auto [share, where] = worst_share<Op>();
    EXPECT_LE(share, 1) << name << " of " << where;
    EXPECT_GT(share, 0.05) << name << ": a bound that says nothing";
    ::testing::Test::RecordProperty(name, std::to_string(share));
  }
}

TEST(Approximations, AreWithinTheirErrors) {
  for (const EmulatedDirections directions : {EmulatedDirections{0, 0}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}}) {
    SCOPED_TRACE(::testing::Message()
                 << "errors of exp2 " << directions.exp2 << ", reciprocal " << directions.reciprocal);
    emulated_directions = directions;
#define EXPECT_WITHIN(op) expect_within<op##_map>(#op);
#define SILICA_UNARY(op, ...) EXPECT_WITHIN(op) EXPECT_WITHIN(op##_backward)
#define SILICA_UNARY_LINEAR(op, ...) EXPECT_WITHIN(op)
#define SILICA_UNARY_SCALAR(op, ...) EXPECT_WITHIN(op)
#define SILICA_BINARY(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_LINEAR(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_SCALAR(op, ...) SILICA_UNARY(op)
#include "kernels/ops.inc"
  }
  emulated_directions = {};
}

}  // namespace
