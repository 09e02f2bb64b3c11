// SPDX-License-Identifier: MIT
// What the SiLU module that silica grew from promised, tested as it was tested there: its refusals, agreement
// with a CPU reference, the extremes, and central differences through the device's own kernel.
#include "support.h"

namespace silica::test {
namespace {

class Origin : public DeviceTest {
 protected:
  std::vector<float> forward(const std::vector<float>& x) {
    const Tensor y(device(), DType::f32, {x.size()});
    run(device(), [&](CommandEncoder& e) { silu(e, make(device(), x), y); });
    return get(y);
  }
  std::vector<float> backward(const std::vector<float>& x, const std::vector<float>& dy) {
    const Tensor dx(device(), DType::f32, {x.size()});
    run(device(), [&](CommandEncoder& e) { silu_backward(e, make(device(), x), make(device(), dy), dx); });
    return get(dx);
  }
  Tensor tensor(std::size_t n, DType dtype = DType::f32) { return Tensor(device(), dtype, {n}); }
};

// 256 points over +-6.4.
std::vector<float> sweep() {
  std::vector<float> x(256);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = (static_cast<float>(i) - 128.0f) * 0.05f;
  return x;
}

void expect_close(const std::vector<float>& got, const std::vector<float>& x, const std::vector<float>& dy,
                  long double (*oracle)(long double), double ulp) {
  ASSERT_EQ(got.size(), x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double want = oracle(x[i]) * dy[i];
    ASSERT_LE(std::fabs(got[i] - want), 1e-6L * std::fabs(want) + 1e-7L) << "x = " << x[i];
    // Next to the derivative's root.
    if (std::fabs(got[i] - want) <= 2 * oracle::least_ulp("silu_backward", x[i]) * std::fabs(dy[i])) continue;
    ASSERT_TRUE(within_ulp(got[i], want, ulp)) << "x = " << x[i] << ", dy = " << dy[i];
  }
}

TEST_P(Origin, RefusesEmptyInput) {
  CommandEncoder encoder(device());
  EXPECT_TRUE(
      refuses_op(encoder, {"silu", "x", "empty", "(0)"}, [&] { silu(encoder, tensor(0), tensor(0)); }));
  EXPECT_TRUE(refuses_op(encoder, {"silu_backward", "x", "empty"},
                         [&] { silu_backward(encoder, tensor(0), tensor(0), tensor(0)); }));
}

TEST_P(Origin, RefusesElementCountsThatDiffer) {
  CommandEncoder encoder(device());
  EXPECT_TRUE(
      refuses_op(encoder, {"silu", "y has 12", "x has 16"}, [&] { silu(encoder, tensor(16), tensor(12)); }));
  EXPECT_TRUE(
      refuses_op(encoder, {"silu", "y has 17", "x has 16"}, [&] { silu(encoder, tensor(16), tensor(17)); }));
  EXPECT_TRUE(refuses_op(encoder, {"silu_backward", "dy has 3", "x has 4"},
                         [&] { silu_backward(encoder, tensor(4), tensor(3), tensor(4)); }));
  EXPECT_TRUE(refuses_op(encoder, {"silu_backward", "dx has 5", "x has 4"},
                         [&] { silu_backward(encoder, tensor(4), tensor(4), tensor(5)); }));
}

TEST_P(Origin, RefusesOtherDtypes) {
  CommandEncoder encoder(device());
  EXPECT_TRUE(refuses_op(encoder, {"silu", "x is i32", "expected f32, f16 or bf16"},
                         [&] { silu(encoder, tensor(4, DType::i32), tensor(4)); }));
  EXPECT_TRUE(refuses_op(encoder, {"silu", "y is f16", "x is f32"},
                         [&] { silu(encoder, tensor(4), tensor(4, DType::f16)); }));
  EXPECT_TRUE(refuses_op(encoder, {"silu_backward", "dy is u32", "x is f32"},
                         [&] { silu_backward(encoder, tensor(4), tensor(4, DType::u32), tensor(4)); }));
  EXPECT_TRUE(refuses_op(encoder, {"silu_backward", "dx is bf16", "x is f32"},
                         [&] { silu_backward(encoder, tensor(4), tensor(4), tensor(4, DType::bf16)); }));
}

TEST_P(Origin, RefusedOpLeavesTheEncoderUsable) {
  CommandEncoder encoder(device());
  const Tensor x = make(device(), {1.0f, -1.0f}), y = tensor(2);
  EXPECT_TRUE(refuses_op(encoder, {"silu"}, [&] { silu(encoder, x, tensor(3)); }));
  silu(encoder, x, y);
  EXPECT_TRUE(refuses_op(encoder, {"silu"}, [&] { silu(encoder, x, Tensor()); }));
  EXPECT_TRUE(refuses_op(encoder, {"silu"}, [&] { silu(encoder, Tensor(), y); }));
  const CommandList list = encoder.finish();
  EXPECT_EQ(list.commands(), 1u);
  device().submit(list).wait();
  EXPECT_EQ(get(y), forward({1.0f, -1.0f}));
}

TEST_P(Origin, ForwardAgreesWithTheReference) {
  const std::vector<float> x = sweep(), ones(x.size(), 1.0f);
  expect_close(forward(x), x, ones, oracle::silu<long double>, 2.0);
}

TEST_P(Origin, ForwardAgreesWithTheReferenceOnLargeInputs) {
  const std::vector<float> x = Random(1).floats(100'003, -50.0f, 50.0f), ones(x.size(), 1.0f);
  expect_close(forward(x), x, ones, oracle::silu<long double>, 2.0);
}

TEST_P(Origin, ForwardAtTheExtremes) {
  const std::vector<float> y = forward({-20.0f, -10.0f, -1.0f, 0.0f, 1.0f, 10.0f, 20.0f, -0.0f});
  EXPECT_TRUE(same_bits(y[3], 0.0f));
  EXPECT_TRUE(same_bits(y[7], -0.0f));
  EXPECT_EQ(y[6], 20.0f);  // sigmoid(20) is 1 - 2e-9
  EXPECT_LT(y[0], 0.0f);
  EXPECT_GT(y[0], -1e-7f);
  EXPECT_TRUE(within_ulp(y[0], oracle::silu(-20.0L), 2.0));
}

TEST_P(Origin, BackwardAgreesWithTheReference) {
  const std::vector<float> x = sweep(), ones(x.size(), 1.0f), dy = Random(2).floats(x.size());
  expect_close(backward(x, ones), x, ones, oracle::silu_derivative<long double>, 2.0);
  expect_close(backward(x, dy), x, dy, oracle::silu_derivative<long double>, 4.5);
}

TEST_P(Origin, BackwardAgreesWithTheReferenceOnLargeInputs) {
  const std::vector<float> x = Random(3).floats(100'003, -50.0f, 50.0f), dy = Random(4).floats(x.size());
  expect_close(backward(x, dy), x, dy, oracle::silu_derivative<long double>, 4.5);
}

TEST_P(Origin, BackwardAtTheExtremes) {
  const std::vector<float> dx = backward({-20.0f, 0.0f, 20.0f}, {1.0f, 1.0f, 1.0f});
  EXPECT_NEAR(dx[0], 0.0f, 1e-7f);
  EXPECT_LT(dx[0], 0.0f);
  EXPECT_EQ(dx[1], 0.5f);
  EXPECT_EQ(dx[2], 1.0f);
}

// h = 2^-7 balances the rounding of the forward (2^-24 / h) and the cut off term (h^2 f''' / 6).
TEST_P(Origin, BackwardAgreesWithCentralDifferencesOfTheKernel) {
  const std::vector<float> x = sweep(), ones(x.size(), 1.0f);
  std::vector<float> above = x, below = x;
  for (float& value : above) value += 0x1p-7f;
  for (float& value : below) value -= 0x1p-7f;
  const std::vector<float> high = forward(above), low = forward(below), dx = backward(x, ones);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double width = double{above[i]} - double{below[i]};
    EXPECT_NEAR((double{high[i]} - double{low[i]}) / width, dx[i], 5e-5) << "x = " << x[i];
  }
}

SILICA_ON_EVERY_DEVICE(Origin);

}  // namespace
}  // namespace silica::test
