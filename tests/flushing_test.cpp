// SPDX-License-Identifier: MIT
// A Vulkan device whose fma flushes subnormals uses it all the same where kernels/map/map.comp finds its
// first operand moderate. Here: with such an fma the formulas of ops.inc return the same bits for these
// operands.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <string_view>

#include "../kernels/prelude_cpp.h"

namespace {

namespace exact {
#include "../kernels/formulas.h"
}  // namespace exact

namespace flushing {

float flushed(float x) { return std::fabs(x) <= 0x1p-126f ? std::copysign(0.0f, x) : x; }
float fma_(float a, float b, float c) { return flushed(std::fma(flushed(a), flushed(b), flushed(c))); }
#include "../kernels/formulas.h"

}  // namespace flushing

struct Results {
  float value, derivative, other;
};

struct Row {
  const char* op;
  Results (*exact)(float a, float b, float dc);
  Results (*flushing)(float a, float b, float dc);
};

#define UNARY_IN(space, y, derivative)                            \
  [](float x, [[maybe_unused]] float b, [[maybe_unused]] float) { \
    using namespace space;                                        \
    return Results{y, derivative, 0.0f};                          \
  }
#define BINARY_IN(space, c, da, db) \
  [](float a, float b, float dc) {  \
    using namespace space;          \
    return Results{c, da, db};      \
  }
constexpr Row rows[] = {
#define SILICA_UNARY(op, y, derivative) \
  {#op, UNARY_IN(exact, y, derivative), UNARY_IN(flushing, y, derivative)},
#define SILICA_UNARY_LINEAR(op, y)
#define SILICA_UNARY_SCALAR(op, y, derivative)
#define SILICA_BINARY(op, c, da, db) {#op, BINARY_IN(exact, c, da, db), BINARY_IN(flushing, c, da, db)},
#define SILICA_BINARY_LINEAR(op, c, da, db)
#define SILICA_BINARY_SCALAR(op, c, da, db)
#include "../kernels/ops.inc"
};

bool same(float x, float y) {
  return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y) ||
         (std::isnan(x) && std::isnan(y));
}

// The first difference for each step-th a of [first, last], by bits, and other operands at random; or
// nothing.
std::string find_difference(const Row& row, std::uint32_t first, std::uint32_t last, std::uint32_t step) {
  std::mt19937 random(1);
  const auto any = [&] { return std::bit_cast<float>(static_cast<std::uint32_t>(random())); };
  for (std::uint64_t u = first; u <= last; u += step) {
    const float a = std::bit_cast<float>(static_cast<std::uint32_t>(u)), b = any(), dc = any();
    const Results wanted = row.exact(a, b, dc), got = row.flushing(a, b, dc);
    if (same(wanted.value, got.value) && same(wanted.derivative, got.derivative) &&
        same(wanted.other, got.other)) {
      continue;
    }
    std::ostringstream text;
    text << row.op << " of " << std::hexfloat << a << ", " << b << ", " << dc;
    return text.str();
  }
  return {};
}

constexpr std::uint32_t least = 0x35800000, most = 0x42800000;  // 2^-20 and 64

TEST(Flushing, ModerateIsFromLeastToMost) {
  for (const std::uint32_t sign : {0u, 0x80000000u}) {
    const auto moderate = [sign](std::uint32_t u) {
      return exact::is_moderate(std::bit_cast<float>(u | sign));
    };
    EXPECT_TRUE(moderate(least) && moderate(0x3f800000) && moderate(most));
    EXPECT_FALSE(moderate(0) || moderate(least - 1) || moderate(most + 1) || moderate(0x7fc00000));
  }
}

// SILICA_SAMPLE=1 takes all of them.
TEST(Flushing, ModerateOperandsHideIt) {
  const char* const sample = std::getenv("SILICA_SAMPLE");
  const std::uint32_t step = sample == nullptr ? 10007 : static_cast<std::uint32_t>(std::atoi(sample));
  ASSERT_GT(step, 0u);
  for (const Row& row : rows) {
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      EXPECT_EQ(find_difference(row, sign, sign, 1), "");
      EXPECT_EQ(find_difference(row, least | sign, most | sign, step), "");
      EXPECT_EQ(find_difference(row, most | sign, most | sign, 1), "");
    }
  }
}

// If it hid everywhere, the test above would show nothing.
TEST(Flushing, ShowsBelow) {
  const Row* const silu = std::find_if(std::begin(rows), std::end(rows),
                                       [](const Row& row) { return std::string_view(row.op) == "silu"; });
  ASSERT_NE(silu, std::end(rows));
  EXPECT_NE(find_difference(*silu, 0x00000001, 0x1a000000, 10007), "");
}

}  // namespace
