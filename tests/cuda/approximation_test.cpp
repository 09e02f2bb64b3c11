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

constexpr EmulatedDirections all_directions[] = {{0, 0}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};

// Where the ends of what the approximation allows round to the same, so does the exact result.
template <class Type> bool decides_wrongly(float low, float high, float exact) {
  return Type::store(low) == Type::store(high) && Type::store(exact) != Type::store(low);
}

// How far results are from their approximations, as a share of what those allow: above 1 it is outside.
template <class Op> struct Worst {
  double share = 0;
  std::string where = "nowhere";

  void look(const float* in) {
    const Results<Op::outputs> exact = Op::apply(in[0], in[1], in[2], 0.0f);
    Rough rough[Op::outputs];
    Approximation<Op>::apply(in, rough);
    for (int j = 0; j < Op::outputs; ++j) {
      const float low = lowest_if_nan(rough[j].value - rough[j].error),
                  high = rough[j].value + rough[j].error;
      double found = 0;
      if (std::isfinite(high) && low != lowest_float)
        found = std::abs(double(exact.value[j]) - rough[j].value) / rough[j].error;
      if (decides_wrongly<BF16>(low, high, exact.value[j]) ||
          decides_wrongly<F16>(low, high, exact.value[j]) || std::isnan(found))
        found = HUGE_VAL;
      if (found > share) {
        share = found;
        where = ::testing::PrintToString(std::vector<float>(in, in + 3));
      }
    }
  }
  void look_at_all() {
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
  }
};

int approximations = 0;
template <class Op> void expect_within(const char* name) {
  if constexpr (Approximation<Op>::exists) {
    Worst<Op> worst;
    for (const EmulatedDirections& directions : all_directions) {
      emulated_directions = directions;
      worst.look_at_all();
    }
    emulated_directions = {};
    EXPECT_LE(worst.share, 1) << name << " of " << worst.where;
    EXPECT_GT(worst.share, 0.05) << name << ": a bound that says nothing";
    ::testing::Test::RecordProperty(name, std::to_string(worst.share));
    ++approximations;
  }
}

TEST(Approximations, AreWithinTheirErrors) {
#define EXPECT_WITHIN(op) expect_within<op##_map>(#op);
#define SILICA_UNARY(op, ...) EXPECT_WITHIN(op) EXPECT_WITHIN(op##_backward)
#define SILICA_UNARY_LINEAR(op, ...) EXPECT_WITHIN(op)
#define SILICA_UNARY_SCALAR(op, ...) EXPECT_WITHIN(op)
#define SILICA_BINARY(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_LINEAR(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_SCALAR(op, ...) SILICA_UNARY(op)
#include "kernels/ops.inc"
  EXPECT_EQ(approximations, 17);
}

}  // namespace
