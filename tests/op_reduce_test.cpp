// SPDX-License-Identifier: MIT
// Sums and means of rows, in the order that is part of the API. Within their bounds of f64: op_rows_test.cpp.
#include "support.h"

namespace silica::test {
namespace {

class Reduce : public DeviceTest {};

TEST_P(Reduce, IsTheWrittenOrderBitForBit) {
  Random random(1);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::size_t cols : {1u, 2u, 17u, 255u, 256u, 257u, 513u, 1024u, 4099u}) {
      const std::size_t rows = random.between(1, 5);
      const std::vector<float> x = rounded(random.floats(rows * cols), dtype);
      const Guarded sums(device(), dtype, {rows}), means(device(), dtype, {rows});
      run(device(), [&](CommandEncoder& e) {
        sum(e, make(device(), dtype, {rows, cols}, x), sums.tensor);
        mean(e, make(device(), dtype, {rows, cols}, x), means.tensor);
      });
      std::vector<float> want, want_mean;
      for (std::size_t r = 0; r < rows; ++r) {
        float lanes[256] = {};
        for (std::size_t i = 0; i < cols; ++i) lanes[i % 256] += x[r * cols + i];
        for (std::size_t half = 128; half > 0; half /= 2) {
          for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
        }
        want.push_back(lanes[0]);
        want_mean.push_back(lanes[0] / static_cast<float>(cols));
      }
      EXPECT_TRUE(same_bits(get(sums.tensor), rounded(want, dtype))) << cols;
      EXPECT_TRUE(same_bits(get(means.tensor), rounded(want_mean, dtype))) << cols;
      EXPECT_TRUE(sums.intact() && means.intact());
    }
  }
}

TEST_P(Reduce, BackwardSpreadsTheGradient) {
  const Tensor dy = make(device(), {3.0f, -6.0f});
  const Guarded of_sum(device(), DType::f32, {2, 3}), of_mean(device(), DType::f32, {2, 3});
  run(device(), [&](CommandEncoder& e) {
    sum_backward(e, dy, of_sum.tensor);
    mean_backward(e, dy, of_mean.tensor);
  });
  EXPECT_EQ(get(of_sum.tensor), std::vector<float>({3, 3, 3, -6, -6, -6}));
  EXPECT_EQ(get(of_mean.tensor), std::vector<float>({1, 1, 1, -2, -2, -2}));
  EXPECT_TRUE(of_sum.intact() && of_mean.intact());
}

TEST_P(Reduce, Refusals) {
  const auto t = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor(device(), dtype, shape); };
  const Tensor x = t({3, 4});
  CommandEncoder e(device());
  EXPECT_TRUE(refuses_op(e, {"sum", "y has 4", "expected 3", "row of x"}, [&] { sum(e, x, t({4})); }));
  EXPECT_TRUE(refuses_op(e, {"sum", "y is f16", "x is f32"}, [&] { sum(e, x, t({3}, DType::f16)); }));
  EXPECT_TRUE(refuses_op(e, {"mean", "x is u8"}, [&] { mean(e, t({3, 4}, DType::u8), t({3})); }));
  EXPECT_TRUE(refuses_op(e, {"mean", "x is no tensor"}, [&] { mean(e, Tensor(), t({3})); }));
  const Tensor column = t({3, 1});
  EXPECT_TRUE(refuses_op(e, {"sum", "same memory"}, [&] { sum(e, column, column); }));
  EXPECT_TRUE(refuses_op(e, {"sum_backward", "dy has 2", "expected 3"}, [&] { sum_backward(e, t({2}), x); }));
  EXPECT_TRUE(
      refuses_op(e, {"mean_backward", "dx is no tensor"}, [&] { mean_backward(e, t({3}), Tensor()); }));
}

SILICA_ON_EVERY_DEVICE(Reduce);

}  // namespace
}  // namespace silica::test
