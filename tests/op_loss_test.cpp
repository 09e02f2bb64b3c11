// SPDX-License-Identifier: MIT
#include <cstdint>

#include "support.h"

namespace silica::test {
namespace {

class CrossEntropy : public DeviceTest {
 protected:
  float loss_of(const Shape& shape, const std::vector<float>& logits,
                const std::vector<std::uint32_t>& targets) {
    const Guarded loss(device(), DType::f32, {1});
    run(device(), [&](CommandEncoder& e) {
      cross_entropy(e, make(device(), DType::f32, shape, logits), Tensor(device(), {targets.size()}, targets),
                    loss.tensor);
    });
    EXPECT_TRUE(loss.intact());
    return get(loss.tensor)[0];
  }
  std::vector<float> gradient_of(const Shape& shape, const std::vector<float>& logits,
                                 const std::vector<std::uint32_t>& targets, float dloss) {
    const Guarded dlogits(device(), DType::f32, shape);
    run(device(), [&](CommandEncoder& e) {
      cross_entropy_backward(e, make(device(), DType::f32, shape, logits),
                             Tensor(device(), {targets.size()}, targets), make(device(), {dloss}),
                             dlogits.tensor);
    });
    EXPECT_TRUE(dlogits.intact());
    return get(dlogits.tensor);
  }
};

// The loss of one row, and its softmax.
double exact_row(const float* x, std::size_t cols, std::size_t target,
                 std::vector<double>* softmax = nullptr) {
  const double most = *std::max_element(x, x + cols);
  double sum = 0.0;
  for (std::size_t j = 0; j < cols; ++j) sum += std::exp(x[j] - most);
  if (softmax) {
    for (std::size_t j = 0; j < cols; ++j) softmax->push_back(std::exp(x[j] - most) / sum);
  }
  return std::log(sum) - (x[target] - most);
}

TEST_P(CrossEntropy, ForwardAgreesWithF64) {
  Random random(1);
  for (const std::size_t cols : {1u, 2u, 31u, 255u, 256u, 257u, 1000u, 5003u}) {
    const std::size_t rows = random.between(1, 30);
    const std::vector<float> logits = random.floats(rows * cols, -8.0f, 8.0f);
    const std::vector<std::uint32_t> targets = random.ids(rows, cols);
    double want = 0.0;
    for (std::size_t r = 0; r < rows; ++r) want += exact_row(&logits[r * cols], cols, targets[r]);
    want /= static_cast<double>(rows);
    EXPECT_NEAR(loss_of({rows, cols}, logits, targets), want, 2e-6 * want + 1e-7) << rows << " " << cols;
  }
}

TEST_P(CrossEntropy, BackwardAgreesWithF64) {
  Random random(2);
  for (const std::size_t cols : {1u, 2u, 31u, 256u, 257u, 1000u}) {
    const std::size_t rows = random.between(1, 30);
    const std::vector<float> logits = random.floats(rows * cols, -8.0f, 8.0f);
    const std::vector<std::uint32_t> targets = random.ids(rows, cols);
    const std::vector<float> got = gradient_of({rows, cols}, logits, targets, 1.7f);
    for (std::size_t r = 0; r < rows; ++r) {
      std::vector<double> softmax;
      exact_row(&logits[r * cols], cols, targets[r], &softmax);
      for (std::size_t j = 0; j < cols; ++j) {
        const double hit = j == targets[r] ? 1.0 : 0.0;
        const double want = 1.7f / static_cast<double>(rows) * (softmax[j] - hit);
        const double magnitude = 1.7f / static_cast<double>(rows) * (softmax[j] + hit);
        ASSERT_TRUE(near(got[r * cols + j], want, magnitude, 32 * 0x1p-24)) << r << " " << j;
      }
    }
  }
}

// The mean has the order of a row's sum: lanes of 256, folded in halves.
TEST_P(CrossEntropy, MeanIsTheWrittenOrderBitForBit) {
  Random random(3);
  for (const std::size_t rows : {1u, 7u, 256u, 300u, 1111u}) {
    constexpr std::size_t cols = 19;
    const std::vector<float> logits = random.floats(rows * cols, -8.0f, 8.0f);
    const std::vector<std::uint32_t> targets = random.ids(rows, cols);
    const Tensor all = make(device(), DType::f32, {rows, cols}, logits), ids(device(), {rows}, targets);
    const Tensor each(device(), DType::f32, {rows});
    run(device(), [&](CommandEncoder& e) {
      for (std::size_t r = 0; r < rows; ++r)
        cross_entropy(e, all.rows(r, 1), ids.rows(r, 1), each.rows(r, 1));
    });
    const std::vector<float> losses = get(each);
    float lanes[256] = {};
    for (std::size_t r = 0; r < rows; ++r) lanes[r % 256] += losses[r];
    for (std::size_t half = 128; half > 0; half /= 2) {
      for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    }
    EXPECT_TRUE(same_bits(loss_of({rows, cols}, logits, targets), lanes[0] / static_cast<float>(rows)))
        << rows;
  }
}

TEST_P(CrossEntropy, LargeLogitsDoNotOverflow) {
  for (const float big : {1e4f, 1e30f, largest / 2}) {
    const std::vector<float> logits = {big, -big, 0.0f, -big, big, big};
    EXPECT_TRUE(same_bits(loss_of({1, 3}, {big, -big, 0.0f}, {0}), 0.0f));
    EXPECT_EQ(loss_of({1, 3}, {big, -big, 0.0f}, {1}), 2 * big);
    EXPECT_NEAR(loss_of({1, 3}, {-big, big, big}, {1}), std::log(2.0), 1e-7);
    const std::vector<float> d = gradient_of({2, 3}, logits, {1, 2}, 2.0f);
    EXPECT_EQ(d, std::vector<float>({1.0f, -1.0f, 0.0f, 0.0f, 0.5f, -0.5f}));
  }
}

TEST_P(CrossEntropy, AConstantAddedToARowChangesNothing) {
  const std::vector<float> low = {1.0f, 2.0f, -3.0f, 0.5f};
  std::vector<float> high = low;
  for (float& value : high) value += 4096.0f;  // exact
  EXPECT_TRUE(same_bits(loss_of({1, 4}, low, {2}), loss_of({1, 4}, high, {2})));
  EXPECT_TRUE(same_bits(gradient_of({1, 4}, low, {2}, 1.0f), gradient_of({1, 4}, high, {2}, 1.0f)));
}

TEST_P(CrossEntropy, GradientsOfARowAddUpToNothing) {
  Random random(4);
  const std::vector<float> d =
      gradient_of({5, 700}, random.floats(3500, -9.0f, 9.0f), random.ids(5, 700), 1.0f);
  for (std::size_t r = 0; r < 5; ++r) {
    double sum = 0.0;
    for (std::size_t j = 0; j < 700; ++j) sum += d[r * 700 + j];
    EXPECT_NEAR(sum, 0.0, 1e-6);
  }
}

TEST_P(CrossEntropy, MaskedLogitsAreMinusInfinity) {
  EXPECT_TRUE(same_bits(loss_of({1, 2}, {3.0f, -infinity}, {0}), 0.0f));
  EXPECT_EQ(loss_of({1, 2}, {3.0f, -infinity}, {1}), infinity);
  EXPECT_TRUE(same_bits(gradient_of({1, 3}, {3.0f, -infinity, 3.0f}, {0}, 1.0f), {-0.5f, 0.0f, 0.5f}));
}

TEST_P(CrossEntropy, TargetsOutOfRangeMakeTheirRowNan) {
  const std::vector<float> logits = Random(5).floats(4 * 9);
  EXPECT_TRUE(std::isnan(loss_of({4, 9}, logits, {0, 9, 2, 3})));
  EXPECT_TRUE(std::isnan(loss_of({4, 9}, logits, {0, 1, 2, 0xffffffffu})));
  const std::vector<float> good = gradient_of({4, 9}, logits, {0, 1, 2, 3}, 1.0f);
  const std::vector<float> bad = gradient_of({4, 9}, logits, {0, 1, 0xffffffffu, 3}, 1.0f);
  for (std::size_t i = 0; i < bad.size(); ++i) {
    if (i / 9 == 2) {
      EXPECT_TRUE(std::isnan(bad[i]));
    }
    if (i / 9 != 2) {
      EXPECT_TRUE(same_bits(bad[i], good[i]));
    }
  }
}

TEST_P(CrossEntropy, NanLogitsMakeTheLossNan) {
  for (std::size_t at = 0; at < 5; ++at) {
    std::vector<float> logits = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f};
    logits[at] = quiet_nan;
    EXPECT_TRUE(std::isnan(loss_of({1, 5}, logits, {1}))) << at;
    for (const float d : gradient_of({1, 5}, logits, {1}, 1.0f)) EXPECT_TRUE(std::isnan(d)) << at;
  }
}

TEST_P(CrossEntropy, BackwardInPlaceGivesTheSameBits) {
  Random random(6);
  const std::vector<float> logits = random.floats(60 * 333, -9.0f, 9.0f);
  const std::vector<std::uint32_t> targets = random.ids(60, 333);
  const Tensor in_place = make(device(), DType::f32, {60, 333}, logits);
  run(device(), [&](CommandEncoder& e) {
    cross_entropy_backward(e, in_place, Tensor(device(), {60}, targets), make(device(), {0.5f}), in_place);
  });
  EXPECT_TRUE(same_bits(get(in_place), gradient_of({60, 333}, logits, targets, 0.5f)));
}

TEST_P(CrossEntropy, Refusals) {
  const auto t = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor(device(), dtype, shape); };
  const Tensor logits = t({3, 4}), targets = t({3}, DType::u32), loss = t({1});
  CommandEncoder e(device());
  EXPECT_TRUE(refuses_op(e, {"cross_entropy", "targets has 4", "expected 3", "row"},
                         [&] { cross_entropy(e, logits, t({4}, DType::u32), loss); }));
  EXPECT_TRUE(refuses_op(e, {"cross_entropy", "targets is i32", "u32"},
                         [&] { cross_entropy(e, logits, t({3}, DType::i32), loss); }));
  EXPECT_TRUE(refuses_op(e, {"cross_entropy", "logits is bf16", "f32"},
                         [&] { cross_entropy(e, t({3, 4}, DType::bf16), targets, loss); }));
  EXPECT_TRUE(refuses_op(e, {"cross_entropy", "loss has 2", "1"},
                         [&] { cross_entropy(e, logits, targets, t({2})); }));
  EXPECT_TRUE(refuses_op(e, {"cross_entropy", "loss is no tensor"},
                         [&] { cross_entropy(e, logits, targets, Tensor()); }));
  EXPECT_TRUE(refuses_op(e, {"cross_entropy_backward", "dloss has 3", "1"},
                         [&] { cross_entropy_backward(e, logits, targets, t({3}), t({3, 4})); }));
  EXPECT_TRUE(refuses_op(e, {"cross_entropy_backward", "dlogits has 13", "12"},
                         [&] { cross_entropy_backward(e, logits, targets, loss, t({13})); }));
  EXPECT_TRUE(refuses_op(e, {"cross_entropy_backward", "overlaps"}, [&] {
    const Tensor both = t({4, 4});
    cross_entropy_backward(e, both.rows(0, 3), targets, loss, both.rows(1, 3));
  }));
}

SILICA_ON_EVERY_DEVICE(CrossEntropy);

}  // namespace
}  // namespace silica::test
