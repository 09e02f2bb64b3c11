// SPDX-License-Identifier: MIT
// The rules of the tape against central differences in f64 of what the device's own kernels return, and
// against hand-written gradients. The check itself is checked: it must fail when a gradient is wrong.
#include <cstdint>
#include <functional>
#include <set>

#include "support.h"

namespace silica::test {
namespace {

using Variables = std::vector<Variable>;
using Function = std::function<Variable(const Variables&)>;

struct Leaf {
  Shape shape;
  float low = -1.5f, high = 1.5f;
};

struct Problem {
  std::string name;
  std::vector<Leaf> leaves;
  Function function;
};

std::vector<Problem> elementwise_problems() {
  // Clear of the poles of those that have one at 0.
  const std::set<std::string> with_pole = {"div", "log", "reciprocal", "rsqrt", "sqrt"};
  const auto leaf = [&](const char* op) -> Leaf {
    return with_pole.contains(op) ? Leaf{{3, 5}, 0.5f, 1.5f} : Leaf{{3, 5}};
  };
  std::vector<Problem> all = {
#define SILICA_UNARY(op, ...) {#op, {leaf(#op)}, [](const Variables& v) { return op(v[0]); }},
#define SILICA_UNARY_LINEAR(op, ...) SILICA_UNARY(op)
#define SILICA_UNARY_SCALAR(op, ...) {#op, {leaf(#op)}, [](const Variables& v) { return op(v[0], -1.7f); }},
#define SILICA_BINARY(op, ...) \
  {#op, {leaf(#op), leaf(#op)}, [](const Variables& v) { return op(v[0], v[1]); }},
#define SILICA_BINARY_LINEAR(op, ...) SILICA_BINARY(op)
#define SILICA_BINARY_SCALAR(op, ...) \
  {#op, {leaf(#op), leaf(#op)}, [](const Variables& v) { return op(-1.7f, v[0], v[1]); }},
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
  };
  return all;
}

std::vector<Problem> layout_problems() {
  std::vector<Problem> all = {
      {"transpose", {{{4, 3}}}, [](const Variables& v) { return transpose(v[0]); }},
      {"transpose a batch", {{{2, 4, 3}}}, [](const Variables& v) { return transpose(v[0]); }},
      {"slice",
       {{{5, 6}}},
       [](const Variables& v) {
         return slice(v[0], {.row_begin = 1, .row_end = 4, .col_begin = 2, .col_end = 5});
       }},
      {"slices that overlap",
       {{{5, 6}}},
       [](const Variables& v) {
         return add(slice(v[0], {.row_end = 4, .col_begin = 3}), slice(v[0], {.row_begin = 1, .col_end = 3}));
       }},
      {"concat rows",
       {{{1, 3}}, {{2, 3}}},
       [](const Variables& v) { return concat({v[1], v[0]}, Axis::rows); }},
      {"concat columns",
       {{{3, 1}}, {{3, 4}}},
       [](const Variables& v) { return concat({v[0], v[1], v[0]}, Axis::cols); }},
      {"broadcast_row", {{{5}}}, [](const Variables& v) { return broadcast_row(v[0], 4); }},
      {"a bias",
       {{{5, 3}}, {{3}}},
       [](const Variables& v) { return silu(add(v[0], broadcast_row(v[1], 5))); }},
  };
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      all.push_back({std::string("batched_matmul") + (ta ? " a^T" : "") + (tb ? " b^T" : ""),
                     {{ta ? Shape{2, 5, 3} : Shape{2, 3, 5}}, {tb ? Shape{2, 4, 5} : Shape{2, 5, 4}}},
                     [ta, tb](const Variables& v) { return batched_matmul(v[0], v[1], {ta, tb}); }});
    }
  }
  return all;
}

std::vector<Problem> other_problems(const Device& device) {
  const Tensor ids(device, {6}, std::vector<std::uint32_t>{2, 0, 2, 3, 2, 0});
  const Tensor targets(device, {4}, std::vector<std::uint32_t>{1, 6, 0, 6});
  std::vector<Problem> all = {
      {"copy", {{{4, 3}}}, [](const Variables& v) { return copy(v[0]); }},
      {"cast", {{{4, 3}}}, [](const Variables& v) { return cast(v[0], DType::f32); }},
      {"reshape", {{{4, 3}}}, [](const Variables& v) { return reshape(v[0], {2, 6}); }},
      {"rms_norm", {{{3, 7}}, {{7}}}, [](const Variables& v) { return rms_norm(v[0], v[1]); }},
      {"embedding", {{{5, 3}}}, [ids](const Variables& v) { return embedding(v[0], ids); }},
      {"cross_entropy",
       {{{4, 7}, -3.0f, 3.0f}},
       [targets](const Variables& v) { return cross_entropy(v[0], targets); }},
      {"sum", {{{3, 7}}}, [](const Variables& v) { return sum(v[0]); }},
      {"mean", {{{3, 7}}}, [](const Variables& v) { return mean(v[0]); }},
      {"softmax", {{{3, 7}}}, [](const Variables& v) { return softmax(v[0]); }},
      {"log_softmax", {{{3, 7}}}, [](const Variables& v) { return log_softmax(v[0]); }},
      {"l2_norm", {{{3, 7}}}, [](const Variables& v) { return l2_norm(v[0]); }},
      {"layer_norm",
       {{{3, 7}}, {{7}}, {{7}}},
       [](const Variables& v) { return layer_norm(v[0], v[1], v[2]); }},
      {"layer_norm without a bias",
       {{{3, 7}}, {{7}}},
       [](const Variables& v) { return layer_norm(v[0], v[1], {}); }},
      {"layer_norm without a weight",
       {{{3, 7}}, {{7}}},
       [](const Variables& v) { return layer_norm(v[0], {}, v[1]); }},
      {"layer_norm(x), x its own weight",
       {{{1, 7}}},
       [](const Variables& v) { return layer_norm(v[0], reshape(v[0], {7}), {}); }},
      {"kl_divergence",
       {{{4, 7}, -3.0f, 3.0f}, {{4, 7}, -3.0f, 3.0f}},
       [](const Variables& v) { return kl_divergence(v[0], v[1]); }},
      {"attention",
       {{{5, 4}}, {{5, 4}}, {{5, 4}}},
       [](const Variables& v) { return matmul(softmax(matmul(v[0], v[1], {.transpose_b = true})), v[2]); }},
      {"feed_forward",
       {{{3, 5}}, {{8, 5}}, {{8, 5}}, {{5, 8}}},
       [](const Variables& v) { return feed_forward(v[0], v[1], v[2], v[3]); }},
      {"feed_forward of weights (in, out)",
       {{{3, 5}}, {{5, 8}}, {{5, 8}}, {{8, 5}}},
       [](const Variables& v) { return feed_forward(v[0], v[1], v[2], v[3], {.in_out = true}); }},
      // One variable in several places, and gradients that meet.
      {"x * x", {{{7}}}, [](const Variables& v) { return mul(v[0], v[0]); }},
      {"x + x", {{{7}}}, [](const Variables& v) { return add(v[0], v[0]); }},
      {"x - x", {{{7}}}, [](const Variables& v) { return sub(v[0], v[0]); }},
      {"x x^T", {{{3, 3}}}, [](const Variables& v) { return matmul(v[0], v[0], {.transpose_b = true}); }},
      {"x x", {{{4, 4}}}, [](const Variables& v) { return matmul(v[0], v[0]); }},
      {"swiglu(x, x)", {{{6}}}, [](const Variables& v) { return swiglu(v[0], v[0]); }},
      {"x + silu(x) + x^2",
       {{{7}}},
       [](const Variables& v) { return add(add(v[0], silu(v[0])), mul(v[0], v[0])); }},
      {"x^2 + silu(x) + x",
       {{{7}}},
       [](const Variables& v) { return add(mul(v[0], v[0]), add(silu(v[0]), v[0])); }},
      {"h + h through views",
       {{{2, 6}}},
       [](const Variables& v) {
         const Variable h = silu(v[0]);
         return add(reshape(copy(h), {12}), add(reshape(h, {12}), reshape(reshape(h, {3, 4}), {12})));
       }},
      {"(a + b)^2 + a",
       {{{8}}, {{8}}},
       [](const Variables& v) {
         const Variable a = silu(v[0]), sum = add(a, sigmoid(v[1]));
         return add(mul(sum, sum), a);
       }},
      {"residual blocks",
       {{{3, 5}}, {{5}}, {{8, 5}}, {{8, 5}}, {{5, 8}}},
       [](const Variables& v) {
         Variable x = v[0];
         for (int layer = 0; layer < 2; ++layer) {
           const Variable n = rms_norm(x, v[1]);
           const Variable h =
               swiglu(matmul(n, v[2], {.transpose_b = true}), matmul(n, v[3], {.transpose_b = true}));
           x = add(x, matmul(h, v[4], {.transpose_b = true}));
         }
         return x;
       }},
  };
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      all.push_back({std::string("matmul") + (ta ? " a^T" : "") + (tb ? " b^T" : ""),
                     {{ta ? Shape{5, 3} : Shape{3, 5}}, {tb ? Shape{4, 5} : Shape{5, 4}}},
                     [ta, tb](const Variables& v) { return matmul(v[0], v[1], {ta, tb}); }});
    }
  }
  return all;
}

// The gradients of sum(seed * y) for fixed leaves: from the tape, and from differences of the same list's y.
class GradientCheck {
 public:
  GradientCheck(const Device& device, const Problem& problem) : device_(device) {
    Random random(42);
    CommandEncoder encoder(device);
    Tape tape(encoder);
    Variables variables;
    for (const Leaf& leaf : problem.leaves) {
      leaves_.push_back(
          make(device, DType::f32, leaf.shape, random.floats(leaf.shape.size(), leaf.low, leaf.high)));
      variables.push_back(tape.variable(leaves_.back()));
    }
    const Variable y = problem.function(variables);
    y_ = Tensor(device, DType::f32, y.value().shape());
    seed_ = make(device, DType::f32, y_.shape(), random.floats(y_.size(), 0.5f, 1.5f));
    copy(encoder, y.value(), y_);
    tape.backward(y, seed_);
    list_ = encoder.finish();
    device_.submit(list_).wait();
    for (const Variable& v : variables) {
      EXPECT_EQ(tape.gradient(v).shape(), v.value().shape());
      gradients.push_back(get(tape.gradient(v)));
    }
  }

  // Central differences with h = 2^-9: rounding adds 2^-24 y / h, what is cut off is h^2 f''' / 6.
  ::testing::AssertionResult agrees() {
    for (std::size_t l = 0; l < leaves_.size(); ++l) {
      const std::vector<float> values = get(leaves_[l]);
      const ::testing::AssertionResult result = agrees(l, values);
      set(leaves_[l], values);
      if (!result) return result;
    }
    return ::testing::AssertionSuccess();
  }

  std::vector<std::vector<float>> gradients;  // of each leaf

 private:
  ::testing::AssertionResult agrees(std::size_t leaf, const std::vector<float>& values) {
    double scale = 1.0;
    for (const float g : gradients[leaf]) scale = std::max(scale, std::abs(double{g}));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float above = values[i] + 0x1p-9f, below = values[i] - 0x1p-9f;
      const double high = loss_with(leaf, values, i, above), low = loss_with(leaf, values, i, below);
      const double difference = (high - low) / (double{above} - double{below});
      if (std::abs(difference - double{gradients[leaf][i]}) <= 1e-3 * scale) continue;
      return ::testing::AssertionFailure() << "leaf " << leaf << ", element " << i << ": the tape says "
                                           << gradients[leaf][i] << ", differences say " << difference;
    }
    return ::testing::AssertionSuccess();
  }

  double loss_with(std::size_t leaf, std::vector<float> values, std::size_t i, float value) {
    values[i] = value;
    set(leaves_[leaf], values);
    device_.submit(list_).wait();
    const std::vector<float> y = get(y_), seed = get(seed_);
    double sum = 0.0;
    for (std::size_t k = 0; k < y.size(); ++k) sum += double{y[k]} * double{seed[k]};
    return sum;
  }

  Device device_;
  std::vector<Tensor> leaves_;
  Tensor y_, seed_;
  CommandList list_{nullptr};
};

class TapeGradients : public DeviceTest {};

void check(const Device& device, const std::vector<Problem>& problems) {
  for (const Problem& problem : problems) {
    GradientCheck good(device, problem);
    EXPECT_TRUE(good.agrees()) << problem.name;
    // Twins that are wrong by a little in one element, by the sign, and by a missing term.
    for (std::size_t l = 0; l < problem.leaves.size(); ++l) {
      double most = 1.0;
      for (const float g : good.gradients[l]) most = std::max(most, std::abs(double{g}));
      const std::vector<float> right = good.gradients[l];
      good.gradients[l][right.size() / 2] += static_cast<float>(5e-3 * most);
      EXPECT_FALSE(good.agrees()) << problem.name << ": a wrong element of leaf " << l << " is not noticed";
      if (problem.name != "x - x") {
        for (std::size_t i = 0; i < right.size(); ++i) good.gradients[l][i] = -right[i];
        EXPECT_FALSE(good.agrees()) << problem.name << ": a wrong sign of leaf " << l << " is not noticed";
        for (std::size_t i = 0; i < right.size(); ++i) good.gradients[l][i] = right[i] / 2;
        EXPECT_FALSE(good.agrees()) << problem.name << ": half of leaf " << l << " is not noticed";
      }
      good.gradients[l] = right;
    }
    EXPECT_TRUE(good.agrees()) << problem.name;
  }
}

TEST_P(TapeGradients, ElementwiseRulesAgreeWithCentralDifferences) {
  check(device(), elementwise_problems());
}

TEST_P(TapeGradients, LayoutRulesAgreeWithCentralDifferences) { check(device(), layout_problems()); }

TEST_P(TapeGradients, OtherRulesAgreeWithCentralDifferences) { check(device(), other_problems(device())); }

// ---- the network that the origin was for, by hand, in f64

struct FeedForward {
  std::size_t rows, width, hidden;
  std::vector<float> x, gate, up, down,
      seed;  // (rows, width), (hidden, width) twice, (width, hidden), (rows, width)
};

struct FeedForwardGradients {
  std::vector<double> y, x, gate, up, down;
};

FeedForwardGradients by_hand(const FeedForward& p) {
  FeedForwardGradients r;
  r.y.resize(p.rows * p.width), r.x.resize(p.rows * p.width);
  r.gate.resize(p.hidden * p.width), r.up.resize(p.hidden * p.width), r.down.resize(p.width * p.hidden);
  for (std::size_t row = 0; row < p.rows; ++row) {
    for (std::size_t h = 0; h < p.hidden; ++h) {
      double g = 0.0, u = 0.0, dproduct = 0.0;
      for (std::size_t w = 0; w < p.width; ++w) {
        g += double{p.x[row * p.width + w]} * double{p.gate[h * p.width + w]};
        u += double{p.x[row * p.width + w]} * double{p.up[h * p.width + w]};
        dproduct += double{p.seed[row * p.width + w]} * double{p.down[w * p.hidden + h]};
      }
      const double s = 1.0 / (1.0 + std::exp(-g));
      const double dg = dproduct * u * (s * (1.0 + g * (1.0 - s))), du = dproduct * g * s;
      for (std::size_t w = 0; w < p.width; ++w) {
        r.y[row * p.width + w] += g * s * u * double{p.down[w * p.hidden + h]};
        r.down[w * p.hidden + h] += double{p.seed[row * p.width + w]} * g * s * u;
        r.gate[h * p.width + w] += dg * double{p.x[row * p.width + w]};
        r.up[h * p.width + w] += du * double{p.x[row * p.width + w]};
        r.x[row * p.width + w] += dg * double{p.gate[h * p.width + w]} + du * double{p.up[h * p.width + w]};
      }
    }
  }
  return r;
}

void expect_near(const char* name, const std::vector<float>& got, const std::vector<double>& want) {
  double scale = 0.0;
  for (const double value : want) scale = std::max(scale, std::abs(value));
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 3e-6 * scale) << name << " " << i;
}

TEST_P(TapeGradients, SwigluFeedForwardOnRandomOddShapes) {
  Random random(5);
  for (int round = 0; round < 15; ++round) {
    FeedForward p{random.between(1, 33), random.between(1, 45), random.between(1, 75), {}, {}, {}, {}, {}};
    p.x = random.floats(p.rows * p.width), p.seed = random.floats(p.rows * p.width);
    for (auto* weight : {&p.gate, &p.up, &p.down}) *weight = random.floats(p.hidden * p.width, -0.7f, 0.7f);
    const auto tensor = [&](std::size_t rows, std::size_t cols, const std::vector<float>& values) {
      return make(device(), DType::f32, {rows, cols}, values);
    };
    const FeedForwardGradients want = by_hand(p);
    for (const bool fused : {true, false}) {
      CommandEncoder encoder(device());
      Tape tape(encoder);
      const Variable x = tape.variable(tensor(p.rows, p.width, p.x)),
                     gate = tape.variable(tensor(p.hidden, p.width, p.gate)),
                     up = tape.variable(tensor(p.hidden, p.width, p.up)),
                     down = tape.variable(tensor(p.width, p.hidden, p.down));
      const Variable g = matmul(x, gate, {.transpose_b = true}), u = matmul(x, up, {.transpose_b = true});
      const Variable y = matmul(fused ? swiglu(g, u) : mul(silu(g), u), down, {.transpose_b = true});
      const Tensor out(device(), DType::f32, {p.rows, p.width});
      copy(encoder, y.value(), out);
      tape.backward(y, tensor(p.rows, p.width, p.seed));
      device().submit(encoder.finish()).wait();
      expect_near("y", get(out), want.y);
      expect_near("x", get(tape.gradient(x)), want.x);
      expect_near("gate", get(tape.gradient(gate)), want.gate);
      expect_near("up", get(tape.gradient(up)), want.up);
      expect_near("down", get(tape.gradient(down)), want.down);
    }
  }
}

// ---- dtypes

TEST_P(TapeGradients, HalvesAreDifferentiatedInTheirDtype) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const std::vector<float> values = rounded(Random(6).floats(300), dtype);
    CommandEncoder encoder(device());
    Tape tape(encoder);
    const Variable x = tape.variable(make(device(), dtype, {300}, values));
    const Variable y = silu(x);
    EXPECT_EQ(y.value().dtype(), dtype);
    tape.backward(y, make(device(), dtype, {300}, std::vector<float>(300, 1.0f)));
    device().submit(encoder.finish()).wait();
    const std::vector<float> got = get(tape.gradient(x));
    const float epsilon = dtype == DType::f16 ? 0x1p-10f : 0x1p-7f;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double want = oracle::silu_derivative(double{values[i]});
      EXPECT_NEAR(got[i], want, epsilon * std::abs(want) + 1e-6);
    }
  }
}

TEST_P(TapeGradients, CastsCarryGradientsBackInTheDtypeOfTheirInput) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(make(device(), {0.1f, 2.0f, -3.3f}));
  const Variable y = cast(x, DType::bf16);
  tape.backward(y, make(device(), DType::bf16, {3}, {1.0f, 0.5f, 3.0f}));
  device().submit(encoder.finish()).wait();
  EXPECT_EQ(tape.gradient(x).dtype(), DType::f32);
  EXPECT_EQ(get(tape.gradient(x)), std::vector<float>({1.0f, 0.5f, 3.0f}));
}

TEST_P(TapeGradients, HalvesMoveThroughLayoutOpsAndTables) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    CommandEncoder encoder(device());
    Tape tape(encoder);
    const Variable table = tape.variable(make(device(), dtype, {3, 2}, {1, 2, 3, 4, 5, 6})),
                   row = tape.variable(make(device(), dtype, {2}, {7, 8}));
    const Variable gathered = embedding(table, Tensor(device(), {2}, std::vector<std::uint32_t>{2, 2}));
    const Variable both = concat({gathered, broadcast_row(row, 3)}, Axis::rows);
    const Variable y = slice(transpose(both), {.col_begin = 1});
    const Tensor value(device(), dtype, {2, 4});
    copy(encoder, y.value(), value);
    tape.backward(y, make(device(), dtype, {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}));
    device().submit(encoder.finish()).wait();
    EXPECT_EQ(get(value), (std::vector<float>{5, 7, 7, 7, 6, 8, 8, 8}));
    EXPECT_EQ(get(tape.gradient(table)), (std::vector<float>{0, 0, 0, 0, 1, 5}));
    EXPECT_EQ(get(tape.gradient(row)), (std::vector<float>{9, 21}));
  }
}

TEST_P(TapeGradients, BadLayoutIsRefusedByItsOwnName) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(Tensor(device(), DType::f32, {3, 4})),
                 y = tape.variable(Tensor(device(), DType::f32, {2, 5}));
  EXPECT_TRUE(
      refuses_op(encoder, {"slice", "rows are [2, 9)"}, [&] { slice(x, {.row_begin = 2, .row_end = 9}); }));
  EXPECT_TRUE(refuses_op(encoder, {"slice", "columns are [4, 4)"}, [&] { slice(x, {.col_begin = 4}); }));
  EXPECT_TRUE(
      refuses_op(encoder, {"concat", "inputs[0] has 4 columns"}, [&] { concat({x, y}, Axis::rows); }));
  EXPECT_TRUE(refuses_op(encoder, {"concat", "no variables"}, [&] { concat({}, Axis::rows); }));
  EXPECT_TRUE(refuses_op(encoder, {"broadcast_row", "y is empty"}, [&] { broadcast_row(x, 0); }));
  EXPECT_TRUE(refuses_op(encoder, {"batched_matmul", "inner"}, [&] { batched_matmul(x, x); }));
}

SILICA_ON_EVERY_DEVICE(TapeGradients);

}  // namespace
}  // namespace silica::test
