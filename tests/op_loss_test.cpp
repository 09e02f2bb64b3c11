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
  EXPECT_TRUE(refuses_op(e, {"cross_entropy", "logits is u32", "f32, f16 or bf16"},
                         [&] { cross_entropy(e, t({3, 4}, DType::u32), targets, loss); }));
  EXPECT_TRUE(refuses_op(e, {"cross_entropy", "loss is bf16", "f32"},
                         [&] { cross_entropy(e, t({3, 4}, DType::bf16), targets, t({1}, DType::bf16)); }));
  EXPECT_TRUE(refuses_op(e, {"cross_entropy_backward", "dlogits is f32", "logits is bf16"}, [&] {
    cross_entropy_backward(e, t({3, 4}, DType::bf16), targets, loss, t({3, 4}));
  }));
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

// Within its bounds of f64: op_rows_test.cpp.
class KlDivergence : public DeviceTest {
 protected:
  struct Result {
    float loss;
    std::vector<float> dp, dq;
  };
  Result solve(const Shape& shape, const std::vector<float>& p, const std::vector<float>& q) {
    const Tensor p_logits = make(device(), DType::f32, shape, p),
                 q_logits = make(device(), DType::f32, shape, q), dloss = make(device(), {1.0f});
    const Guarded loss(device(), DType::f32, {1}), dp(device(), DType::f32, shape),
        dq(device(), DType::f32, shape);
    run(device(), [&](CommandEncoder& e) {
      kl_divergence(e, p_logits, q_logits, loss.tensor);
      kl_divergence_backward(e, p_logits, q_logits, dloss, dp.tensor, dq.tensor);
    });
    EXPECT_TRUE(loss.intact() && dp.intact() && dq.intact());
    return {get(loss.tensor)[0], get(dp.tensor), get(dq.tensor)};
  }
};

TEST_P(KlDivergence, OfEqualsIsNothing) {
  const std::vector<float> logits = Random(1).floats(3 * 700, -9.0f, 9.0f);
  const Result r = solve({3, 700}, logits, logits);
  EXPECT_EQ(r.loss, 0.0f);
  for (const auto& gradient : {r.dp, r.dq}) {
    for (const float d : gradient) EXPECT_EQ(d, 0.0f);
  }
}

TEST_P(KlDivergence, OfCoins) {
  const float three = std::log(3.0f);  // 3 : 1 against 1 : 1
  const Result r = solve({1, 2}, {three, 0.0f}, {5.0f, 5.0f});
  const double want = 0.75 * std::log(1.5) + 0.25 * std::log(0.5);
  EXPECT_NEAR(r.loss, want, 1e-7);
  EXPECT_NEAR(r.dp[0], 0.75 * (std::log(1.5) - want), 1e-7);
  EXPECT_NEAR(r.dq[0], -0.25, 1e-7);
}

TEST_P(KlDivergence, MaskedWhereBothAreIsIgnored) {
  const Result r = solve({1, 3}, {1.0f, -infinity, 2.0f}, {0.5f, -infinity, 0.0f}),
               without = solve({1, 2}, {1.0f, 2.0f}, {0.5f, 0.0f});
  EXPECT_TRUE(same_bits(r.loss, without.loss));
  EXPECT_TRUE(same_bits(r.dp, {without.dp[0], 0.0f, without.dp[1]}));
  EXPECT_TRUE(same_bits(r.dq, {without.dq[0], 0.0f, without.dq[1]}));
}

TEST_P(KlDivergence, WhereOnlyOneIsMasked) {
  EXPECT_EQ(solve({1, 2}, {1.0f, 2.0f}, {0.5f, -infinity}).loss, infinity);
  EXPECT_TRUE(std::isfinite(solve({1, 2}, {1.0f, -infinity}, {0.5f, 3.0f}).loss));
  for (const float bad : {quiet_nan, infinity}) {
    EXPECT_TRUE(std::isnan(solve({1, 2}, {1.0f, bad}, {0.5f, 3.0f}).loss));
    EXPECT_TRUE(std::isnan(solve({1, 2}, {0.5f, 3.0f}, {bad, 1.0f}).loss));
  }
  EXPECT_TRUE(std::isnan(solve({1, 2}, {-infinity, -infinity}, {0.5f, 3.0f}).loss));
}

TEST_P(KlDivergence, OneSideAloneIsTheSame) {
  Random random(3);
  const std::vector<float> p = random.floats(900), q = random.floats(900);
  const Result both = solve({3, 300}, p, q);
  const Tensor dp(device(), DType::f32, {3, 300}), dq(device(), DType::f32, {3, 300});
  const Tensor p_logits = make(device(), DType::f32, {3, 300}, p),
               q_logits = make(device(), DType::f32, {3, 300}, q), dloss = make(device(), {1.0f});
  run(device(), [&](CommandEncoder& e) {
    kl_divergence_backward(e, p_logits, q_logits, dloss, dp, Tensor());
    kl_divergence_backward(e, p_logits, q_logits, dloss, Tensor(), dq);
    kl_divergence_backward(e, p_logits, q_logits, dloss, Tensor(), Tensor());
  });
  EXPECT_TRUE(same_bits(get(dp), both.dp));
  EXPECT_TRUE(same_bits(get(dq), both.dq));
}

TEST_P(KlDivergence, Refusals) {
  const auto t = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor(device(), dtype, shape); };
  const Tensor p = t({3, 4}), q = t({3, 4}), loss = t({1});
  CommandEncoder e(device());
  EXPECT_TRUE(refuses_op(e, {"kl_divergence", "q_logits has 8", "p_logits has 12"},
                         [&] { kl_divergence(e, p, t({2, 4}), loss); }));
  EXPECT_TRUE(refuses_op(e, {"kl_divergence", "q_logits is f16", "p_logits is f32"},
                         [&] { kl_divergence(e, p, t({3, 4}, DType::f16), loss); }));
  EXPECT_TRUE(refuses_op(e, {"kl_divergence", "p_logits is i32"},
                         [&] { kl_divergence(e, t({3, 4}, DType::i32), q, loss); }));
  EXPECT_TRUE(refuses_op(e, {"kl_divergence", "loss has 3", "1"}, [&] { kl_divergence(e, p, q, t({3})); }));
  EXPECT_TRUE(refuses_op(e, {"kl_divergence", "loss overlaps q_logits"},
                         [&] { kl_divergence(e, p, q, q.reshape({12}).rows(3, 1)); }));
  EXPECT_TRUE(refuses_op(e, {"kl_divergence_backward", "dp_logits", "p_logits"},
                         [&] { kl_divergence_backward(e, p, q, loss, p, t({3, 4})); }));
  EXPECT_TRUE(refuses_op(e, {"kl_divergence_backward", "dq_logits overlaps dp_logits"}, [&] {
    const Tensor both = t({3, 4});
    kl_divergence_backward(e, p, q, loss, both, both);
  }));
  EXPECT_TRUE(refuses_op(e, {"kl_divergence_backward", "dloss has 2", "1"},
                         [&] { kl_divergence_backward(e, p, q, t({2}), t({3, 4}), Tensor()); }));
  EXPECT_TRUE(refuses_op(e, {"kl_divergence_backward", "dq_logits has 3", "12"},
                         [&] { kl_divergence_backward(e, p, q, loss, Tensor(), t({3})); }));
}

SILICA_ON_EVERY_DEVICE(KlDivergence);

}  // namespace
}  // namespace silica::test
