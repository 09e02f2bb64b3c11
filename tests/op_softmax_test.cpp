// SPDX-License-Identifier: MIT
// softmax and log_softmax at their edges. Within their bounds of f64: op_rows_test.cpp.
#include "support.h"

namespace silica::test {
namespace {

class Softmax : public DeviceTest {
 protected:
  using Op = void (*)(CommandEncoder&, const Tensor&, const Tensor&);
  std::vector<float> apply(Op op, const Shape& shape, const std::vector<float>& x, DType dtype = DType::f32) {
    const Guarded y(device(), dtype, shape);
    run(device(), [&](CommandEncoder& e) { op(e, make(device(), dtype, shape, x), y.tensor); });
    EXPECT_TRUE(y.intact());
    return get(y.tensor);
  }
};

TEST_P(Softmax, OfEqualsAndOfOne) {
  EXPECT_TRUE(same_bits(apply(softmax, {1, 4}, {7.0f, 7.0f, 7.0f, 7.0f}), std::vector<float>(4, 0.25f)));
  EXPECT_TRUE(same_bits(apply(softmax, {3, 1}, {7.0f, -1e30f, 0.0f}), {1.0f, 1.0f, 1.0f}));
  EXPECT_TRUE(same_bits(apply(log_softmax, {3, 1}, {7.0f, -1e30f, 0.0f}), {0.0f, 0.0f, 0.0f}));
}

TEST_P(Softmax, MasksAreMinusInfinity) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::size_t cols : {3u, 700u}) {  // a warp's row, and a block's
      std::vector<float> x(cols, -infinity);
      x[0] = x[cols - 1] = 3.0f;
      std::vector<float> want(cols), logarithms(cols, -infinity);
      want[0] = want[cols - 1] = 0.5f;
      logarithms[0] = logarithms[cols - 1] = rounded({-0.693147182f}, dtype)[0];
      EXPECT_TRUE(same_bits(apply(softmax, {1, cols}, x, dtype), want)) << cols;
      EXPECT_TRUE(same_bits(apply(log_softmax, {1, cols}, x, dtype), logarithms)) << cols;
    }
  }
}

TEST_P(Softmax, ARowWithNothingToChooseIsNan) {
  for (const std::vector<float>& row : {std::vector<float>{-infinity, -infinity, -infinity},
                                        {1.0f, infinity, 2.0f},
                                        {quiet_nan, 1.0f, 2.0f},
                                        {1.0f, -infinity, quiet_nan}}) {
    std::vector<float> x = {1.0f, 2.0f, 3.0f};
    x.insert(x.end(), row.begin(), row.end());
    for (const Op op : {Op{softmax}, Op{log_softmax}}) {
      const std::vector<float> y = apply(op, {2, 3}, x);
      for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(std::isnan(y[i]), i >= 3) << i;
    }
  }
}

TEST_P(Softmax, LargeInputsDoNotOverflow) {
  for (const float big : {1e4f, 1e30f, largest / 2}) {
    EXPECT_TRUE(same_bits(apply(softmax, {1, 3}, {-big, big, big}), {0.0f, 0.5f, 0.5f}));
    EXPECT_EQ(apply(log_softmax, {1, 3}, {-big, big, 0.0f})[0], -2 * big);
  }
}

TEST_P(Softmax, AConstantAddedToARowChangesNothing) {
  const std::vector<float> low = {1.0f, 2.0f, -3.0f, 0.5f};
  std::vector<float> high = low;
  for (float& value : high) value += 4096.0f;  // exact
  for (const Op op : {Op{softmax}, Op{log_softmax}}) {
    EXPECT_TRUE(same_bits(apply(op, {1, 4}, low), apply(op, {1, 4}, high)));
  }
}

// A masked element has no gradient, and gives none to the others.
TEST_P(Softmax, MaskedElementsHaveNoGradient) {
  const Tensor x = make(device(), DType::f32, {1, 3}, {1.0f, -infinity, 2.0f}),
               y(device(), DType::f32, {1, 3}), dy = make(device(), DType::f32, {1, 3}, {1.0f, 100.0f, 3.0f}),
               dx(device(), DType::f32, {1, 3});
  run(device(), [&](CommandEncoder& e) {
    softmax(e, x, y);
    softmax_backward(e, y, dy, dx);
  });
  EXPECT_EQ(get(dx)[1], 0.0f);
  EXPECT_NEAR(get(dx)[0] + get(dx)[2], 0.0, 1e-6);
}

TEST_P(Softmax, InPlaceGivesTheSameBits) {
  Random random(1);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::size_t cols : {300u, 1000u}) {
      const Shape shape{7, cols};
      const std::vector<float> values = random.floats(shape.size(), -9.0f, 9.0f),
                               gradients = random.floats(shape.size());
      using Backward = void (*)(CommandEncoder&, const Tensor&, const Tensor&, const Tensor&);
      const std::pair<Op, Backward> ops[] = {{softmax, softmax_backward},
                                             {log_softmax, log_softmax_backward}};
      for (const auto& [op, backward] : ops) {
        const auto tensor = [&](const std::vector<float>& from) {
          return make(device(), dtype, shape, from);
        };
        const Tensor y(device(), dtype, shape), y2 = tensor(values), dx(device(), dtype, shape),
                                                dx2 = tensor(gradients), dx3(device(), dtype, shape);
        run(device(), [&](CommandEncoder& e) {
          op(e, tensor(values), y);
          op(e, y2, y2);
          backward(e, y, tensor(gradients), dx);
          backward(e, y, dx2, dx2);
          copy(e, y, dx3);
          backward(e, dx3, tensor(gradients), dx3);
        });
        EXPECT_TRUE(same_bits(get(y2), get(y)));
        EXPECT_TRUE(same_bits(get(dx2), get(dx)));
        EXPECT_TRUE(same_bits(get(dx3), get(dx)));
      }
    }
  }
}

TEST_P(Softmax, Refusals) {
  const auto t = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor(device(), dtype, shape); };
  const Tensor x = t({3, 4}), both = t({4, 4});
  CommandEncoder e(device());
  EXPECT_TRUE(refuses_op(e, {"softmax", "y has 8", "x has 12"}, [&] { softmax(e, x, t({2, 4})); }));
  EXPECT_TRUE(refuses_op(e, {"softmax", "x is i32", "f32, f16 or bf16"},
                         [&] { softmax(e, t({3, 4}, DType::i32), x); }));
  EXPECT_TRUE(refuses_op(e, {"softmax", "empty"}, [&] { softmax(e, t({0, 4}), x); }));
  EXPECT_TRUE(
      refuses_op(e, {"softmax", "y overlaps x"}, [&] { softmax(e, both.rows(0, 3), both.rows(1, 3)); }));
  EXPECT_TRUE(refuses_op(e, {"log_softmax", "y is f16", "x is f32"},
                         [&] { log_softmax(e, x, t({3, 4}, DType::f16)); }));
  EXPECT_TRUE(refuses_op(e, {"softmax_backward", "dy has 3", "y has 12"},
                         [&] { softmax_backward(e, x, t({3}), t({3, 4})); }));
  EXPECT_TRUE(refuses_op(e, {"log_softmax_backward", "dx is no tensor"},
                         [&] { log_softmax_backward(e, x, t({3, 4}), Tensor()); }));
}

SILICA_ON_EVERY_DEVICE(Softmax);

}  // namespace
}  // namespace silica::test
