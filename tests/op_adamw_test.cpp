// SPDX-License-Identifier: MIT
#include "support.h"

namespace silica::test {
namespace {

class AdamW : public DeviceTest {};

// AdamW in f64.
struct Exact {
  std::vector<double> weight, m, v;
  AdamWOptions options;
  int t = 0;

  void step(const std::vector<float>& gradient, double rate) {
    ++t;
    const double b1 = options.beta1, b2 = options.beta2;
    for (std::size_t i = 0; i < weight.size(); ++i) {
      const double g = gradient[i];
      m[i] = b1 * m[i] + (1 - b1) * g;
      v[i] = b2 * v[i] + (1 - b2) * g * g;
      const double mean = m[i] / (1 - std::pow(b1, t)), square = v[i] / (1 - std::pow(b2, t));
      weight[i] -= rate * (mean / (std::sqrt(square) + double{options.epsilon}) +
                           double{options.weight_decay} * weight[i]);
    }
  }
};

TEST_P(AdamW, FiftyStepsAgreeWithF64) {
  for (const AdamWOptions& options : {AdamWOptions{}, AdamWOptions{0.8f, 0.95f, 1e-6f, 0.1f}}) {
    constexpr std::size_t n = 5003;
    Random random(1);
    const std::vector<float> start = random.floats(n);
    Exact exact{{start.begin(), start.end()}, std::vector<double>(n), std::vector<double>(n), options};
    const Guarded weight(device(), DType::f32, {n}), m(device(), DType::f32, {n}),
        v(device(), DType::f32, {n});
    set(weight.tensor, start);
    set(m.tensor, std::vector<float>(n));
    set(v.tensor, std::vector<float>(n));
    const Tensor gradient(device(), DType::f32, {n}), state = make(device(), {0.01f, 1.0f, 1.0f});
    CommandEncoder encoder(device());
    adamw_step(encoder, state, options);
    adamw(encoder, gradient, state, weight.tensor, m.tensor, v.tensor, options);
    const CommandList list = encoder.finish();
    for (int step = 1; step <= 50; ++step) {
      const float rate = step <= 25 ? 0.01f : 0.002f;
      if (step == 26) state.rows(0, 1).upload(std::vector<float>{rate});  // a new rate, without encoding anew
      const std::vector<float> g = random.floats(n, -1.0f, 1.0f);
      set(gradient, g);
      device().submit(list).wait();
      exact.step(g, double{rate});
    }
    const std::vector<float> got = get(weight.tensor), got_m = get(m.tensor), got_v = get(v.tensor);
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_NEAR(got[i], exact.weight[i], 2e-5) << i;
      ASSERT_NEAR(got_m[i], exact.m[i], 1e-6) << i;
      ASSERT_NEAR(got_v[i], exact.v[i], 1e-6) << i;
    }
    EXPECT_TRUE(weight.intact() && m.intact() && v.intact());
    const std::vector<float> s = get(state);
    EXPECT_EQ(s[0], 0.002f);
    EXPECT_NEAR(s[1], std::pow(double{options.beta1}, 50), 1e-6);
    EXPECT_NEAR(s[2], std::pow(double{options.beta2}, 50), 1e-5);
  }
}

TEST_P(AdamW, OneStepAgreesWithF64Closely) {
  constexpr std::size_t n = 1000;
  Random random(2);
  const std::vector<float> start = random.floats(n), g = random.floats(n);
  Exact exact{{start.begin(), start.end()}, std::vector<double>(n), std::vector<double>(n), {}};
  const Tensor weight = make(device(), start), m(device(), DType::f32, {n}), v(device(), DType::f32, {n}),
               state = make(device(), {0.5f, 1.0f, 1.0f});
  run(device(), [&](CommandEncoder& e) {
    adamw_step(e, state);
    adamw(e, make(device(), g), state, weight, m, v);
  });
  exact.step(g, 0.5);
  const std::vector<float> got = get(weight);
  // 1 - beta2 = 0.001 is known to 2^-24 / 0.001 only, whose root is half of that.
  for (std::size_t i = 0; i < n; ++i) ASSERT_NEAR(got[i], exact.weight[i], 5e-5) << i;
}

// The first step moves every weight by the rate, whatever the size of its gradient.
TEST_P(AdamW, FirstStepHasTheSizeOfTheRate) {
  const Tensor weight = make(device(), {1.0f, 1.0f, 1.0f}), m(device(), DType::f32, {3}),
               v(device(), DType::f32, {3}), state = make(device(), {0.125f, 1.0f, 1.0f});
  run(device(), [&](CommandEncoder& e) {
    adamw_step(e, state, {.weight_decay = 0.0f});
    adamw(e, make(device(), {100.0f, -0.001f, 0.0f}), state, weight, m, v, {.weight_decay = 0.0f});
  });
  const std::vector<float> got = get(weight);
  EXPECT_NEAR(got[0], 0.875, 1e-5);
  EXPECT_NEAR(got[1], 1.125, 1e-5);
  EXPECT_EQ(got[2], 1.0f);
}

TEST_P(AdamW, WeightDecayIsDecoupled) {
  const Tensor weight = make(device(), {2.0f}), zero(device(), DType::f32, {1}), m(device(), DType::f32, {1}),
               v(device(), DType::f32, {1}), state = make(device(), {0.5f, 1.0f, 1.0f});
  run(device(), [&](CommandEncoder& e) {
    adamw_step(e, state);
    adamw(e, zero, state, weight, m, v, {.weight_decay = 0.25f});
  });
  EXPECT_EQ(get(weight)[0], 1.75f);  // 2 - 0.5 * 0.25 * 2
}

TEST_P(AdamW, Refusals) {
  const auto t = [&](std::size_t n, DType dtype = DType::f32) { return Tensor(device(), dtype, {n}); };
  const Tensor g = t(8), state = t(3), weight = t(8), m = t(8), v = t(8);
  CommandEncoder e(device());
  EXPECT_TRUE(refuses_op(e, {"adamw_step", "state has 2", "expected 3"}, [&] { adamw_step(e, t(2)); }));
  EXPECT_TRUE(refuses_op(e, {"adamw_step", "state is f16"}, [&] { adamw_step(e, t(3, DType::f16)); }));
  EXPECT_TRUE(refuses_op(e, {"adamw", "state has 4"}, [&] { adamw(e, g, t(4), weight, m, v); }));
  EXPECT_TRUE(
      refuses_op(e, {"adamw", "m has 7", "gradient has 8"}, [&] { adamw(e, g, state, weight, t(7), v); }));
  EXPECT_TRUE(
      refuses_op(e, {"adamw", "v is bf16"}, [&] { adamw(e, g, state, weight, m, t(8, DType::bf16)); }));
  EXPECT_TRUE(refuses_op(e, {"adamw", "weight is no tensor"}, [&] { adamw(e, g, state, Tensor(), m, v); }));
  EXPECT_TRUE(refuses_op(e, {"adamw", "m", "v"}, [&] { adamw(e, g, state, weight, m, m); }));
  EXPECT_TRUE(refuses_op(e, {"adamw", "weight", "gradient"}, [&] { adamw(e, g, state, g, m, v); }));
}

SILICA_ON_EVERY_DEVICE(AdamW);

}  // namespace
}  // namespace silica::test
