// SPDX-License-Identifier: MIT
// The tape's own behaviour: handles, errors, what it keeps. Its rules: tape_gradients_test.cpp.
#include <cstdint>
#include <functional>
#include <optional>

#include "core/program.h"
#include "support.h"

namespace silica::test {
namespace {

class TapeTest : public DeviceTest {
 protected:
  Tensor tensor(const Shape& shape, std::uint64_t seed = 1) {
    return make(device(), DType::f32, shape, Random(seed).floats(shape.size()));
  }
  Tensor ones(const Shape& shape) {
    return make(device(), DType::f32, shape, std::vector<float>(shape.size(), 1.0f));
  }
  void submit(CommandEncoder& encoder) { device().submit(encoder.finish()).wait(); }
};

TEST_P(TapeTest, GradientOfAScalarNeedsNoSeed) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(make(device(), {3.0f}));
  tape.backward(mul(x, x));
  submit(encoder);
  EXPECT_EQ(get(tape.gradient(x)), std::vector<float>{6.0f});
}

TEST_P(TapeTest, MoreThanOneElementNeedsASeed) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(tensor({2, 3})), y = silu(x);
  EXPECT_TRUE(refuses_op(encoder, {"backward", "6 elements", "1", "seed"}, [&] { tape.backward(y); }));
  EXPECT_TRUE(refuses_op(encoder, {"seed", "5", "6"}, [&] { tape.backward(y, tensor({5})); }));
  EXPECT_TRUE(refuses_op(encoder, {"seed", "f16", "f32"},
                         [&] { tape.backward(y, Tensor(device(), DType::f16, {2, 3})); }));
  EXPECT_TRUE(refuses_op(encoder, {"seed", "no tensor"}, [&] { tape.backward(y, Tensor()); }));
  tape.backward(y, tensor({2, 3}));  // none of the refusals used it up
}

TEST_P(TapeTest, SeedIsReadOnlyAndMayHaveAnotherShape) {
  const Tensor seed = tensor({6}, 9), a = tensor({2, 4}), b = tensor({4, 3}, 2);
  const std::vector<float> before = get(seed);
  std::vector<std::vector<float>> gradients;
  for (const Tensor& shaped : {seed, seed.reshape({2, 3}), seed.reshape({3, 2})}) {
    CommandEncoder encoder(device());
    Tape tape(encoder);
    const Variable x = tape.variable(a), w = tape.variable(b), product = matmul(x, w);
    const Variable y = add(product, reshape(copy(product), {2, 3}));
    tape.backward(y, shaped);
    EXPECT_EQ(tape.gradient(y).shape(), Shape({2, 3}));
    submit(encoder);
    gradients.push_back(get(tape.gradient(x)));
    EXPECT_EQ(get(seed), before);
  }
  EXPECT_EQ(gradients[0], gradients[1]);
  EXPECT_EQ(gradients[0], gradients[2]);
}

TEST_P(TapeTest, ConstantsHaveNoGradientAndCostNothing) {
  const Tensor a = tensor({4, 5}), b = tensor({5, 6}, 2), seed = ones({4, 6});
  std::size_t commands[2] = {};
  for (const bool constant : {false, true}) {
    CommandEncoder encoder(device());
    Tape tape(encoder);
    const Variable x = constant ? tape.constant(a) : tape.variable(a), w = tape.variable(b);
    tape.backward(matmul(x, w), seed);
    commands[constant] = encoder.commands();
    if (constant) {
      EXPECT_TRUE(refuses({"gradient", "constant"}, [&] { tape.gradient(x); }));
    }
    EXPECT_TRUE(tape.gradient(w));
  }
  EXPECT_EQ(commands[false], 3u);
  EXPECT_EQ(commands[true], 2u);
}

TEST_P(TapeTest, ConstantsBesideVariablesOfElementwiseOps) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Tensor values = make(device(), {2.0f, 3.0f});
  const Variable x = tape.variable(values), c = tape.constant(make(device(), {5.0f, 7.0f}));
  const Variable y = add(sub(mul(c, x), c), mul(c, c));
  tape.backward(y, ones({2}));
  submit(encoder);
  EXPECT_EQ(get(tape.gradient(x)), std::vector<float>({5.0f, 7.0f}));
  EXPECT_TRUE(refuses({"constant"}, [&] { tape.gradient(c); }));
}

TEST_P(TapeTest, NothingToDifferentiateIsRefused) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable c = tape.constant(ones({1})), x = tape.variable(ones({1}));
  EXPECT_TRUE(refuses_op(encoder, {"backward", "depend"}, [&] { tape.backward(c); }));
  EXPECT_TRUE(refuses_op(encoder, {"backward", "variable itself"}, [&] { tape.backward(x); }));
  const Variable y = silu(c);
  EXPECT_TRUE(refuses_op(encoder, {"backward", "depend"}, [&] { tape.backward(y); }));
}

TEST_P(TapeTest, ALeafThatIsNotUsedHasAGradientOfZeros) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(ones({1})), unused = tape.variable(tensor({3, 4})), branch = silu(unused);
  tape.backward(silu(x));
  EXPECT_TRUE(refuses({"gradient", "depend"}, [&] { tape.gradient(branch); }));
  submit(encoder);
  EXPECT_EQ(tape.gradient(unused).shape(), Shape({3, 4}));
  EXPECT_EQ(get(tape.gradient(unused)), std::vector<float>(12));
}

TEST_P(TapeTest, GradientsOfIntermediateValuesCanBeUsedInTheList) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(make(device(), {2.0f})), h = mul(x, x), y = mul(h, h);  // x^4
  tape.backward(y);
  const Tensor dh(device(), DType::f32, {1}), dy(device(), DType::f32, {1});
  copy(encoder, tape.gradient(h), dh);
  copy(encoder, tape.gradient(y), dy);
  submit(encoder);
  EXPECT_EQ(get(dh), std::vector<float>{8.0f});
  EXPECT_EQ(get(dy), std::vector<float>{1.0f});
  EXPECT_EQ(get(tape.gradient(x)), std::vector<float>{32.0f});
}

TEST_P(TapeTest, ValuesStayGoodWhenTheTapeGrows) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(tensor({4}));
  const Tensor& value = x.value();
  Variable y = x;
  for (int i = 0; i < 1000; ++i) y = silu(y);
  EXPECT_EQ(value.size(), 4u);
  EXPECT_EQ(value.storage(), x.value().storage());
}

// ---- handles

// Every op on variables, on the handle x and a good partner.
std::vector<std::pair<std::string, std::function<void(const Variable&, const Variable&)>>> every_op(
    const Device& device) {
  const Tensor ids(device, {2}, std::vector<std::uint32_t>{0, 0});
  return {
#define SILICA_UNARY(op, ...) {#op, [](const Variable& x, const Variable&) { op(x); }},
#define SILICA_UNARY_LINEAR(op, ...) SILICA_UNARY(op)
#define SILICA_UNARY_SCALAR(op, ...) {#op, [](const Variable& x, const Variable&) { op(x, 2.0f); }},
#define SILICA_BINARY(op, ...)                                           \
  {#op, [](const Variable& x, const Variable& other) { op(x, other); }}, \
      {#op, [](const Variable& x, const Variable& other) { op(other, x); }},
#define SILICA_BINARY_LINEAR(op, ...) SILICA_BINARY(op)
#define SILICA_BINARY_SCALAR(op, ...)                                          \
  {#op, [](const Variable& x, const Variable& other) { op(2.0f, x, other); }}, \
      {#op, [](const Variable& x, const Variable& other) { op(2.0f, other, x); }},
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
      {"copy", [](const Variable& x, const Variable&) { copy(x); }},
      {"cast", [](const Variable& x, const Variable&) { cast(x, DType::f16); }},
      {"value", [](const Variable& x, const Variable&) { reshape(x, {2, 2}); }},
      {"value", [](const Variable& x, const Variable&) { x.value(); }},
      {"matmul", [](const Variable& x, const Variable& other) { matmul(x, other); }},
      {"matmul", [](const Variable& x, const Variable& other) { matmul(other, x); }},
      {"batched_matmul", [](const Variable& x, const Variable& other) { batched_matmul(x, other); }},
      {"batched_matmul", [](const Variable& x, const Variable& other) { batched_matmul(other, x); }},
      {"transpose", [](const Variable& x, const Variable&) { transpose(x); }},
      {"slice", [](const Variable& x, const Variable&) { slice(x, {.row_end = 1}); }},
      {"concat", [](const Variable& x, const Variable& other) { concat({other, x}, Axis::rows); }},
      {"broadcast_row", [](const Variable& x, const Variable&) { broadcast_row(x, 3); }},
      {"rms_norm", [](const Variable& x, const Variable& other) { rms_norm(x, other); }},
      {"rms_norm", [](const Variable& x, const Variable& other) { rms_norm(other, x); }},
      {"embedding", [ids](const Variable& x, const Variable&) { embedding(x, ids); }},
      {"sum", [](const Variable& x, const Variable&) { sum(x); }},
      {"mean", [](const Variable& x, const Variable&) { mean(x); }},
      {"softmax", [](const Variable& x, const Variable&) { softmax(x); }},
      {"log_softmax", [](const Variable& x, const Variable&) { log_softmax(x); }},
      {"l2_norm", [](const Variable& x, const Variable&) { l2_norm(x); }},
      {"layer_norm", [](const Variable& x, const Variable&) { layer_norm(x, {}, {}); }},
      {"kl_divergence", [](const Variable& x, const Variable& other) { kl_divergence(x, other); }},
      {"kl_divergence", [](const Variable& x, const Variable& other) { kl_divergence(other, x); }},
      {"cross_entropy", [ids](const Variable& x, const Variable&) { cross_entropy(x, ids); }},
  };
}

TEST_P(TapeTest, BadHandlesAreRefusedByEveryOp) {
  CommandEncoder encoder(device());
  Tape tape(encoder), resetted(encoder);
  const Variable good = tape.variable(ones({2, 2})), stale = resetted.variable(ones({2, 2})), none;
  resetted.reset();
  std::optional<Tape> short_lived(std::in_place, encoder);
  const Variable orphan = short_lived->variable(ones({2, 2}));
  short_lived.reset();
  for (const auto& [name, op] : every_op(device())) {
    EXPECT_TRUE(refuses_op(encoder, {name, "no tape"}, [&] { op(none, good); })) << name;
    EXPECT_TRUE(refuses_op(encoder, {name, "reset"}, [&] { op(stale, good); })) << name;
    EXPECT_TRUE(refuses_op(encoder, {name, "destroyed"}, [&] { op(orphan, good); })) << name;
    EXPECT_TRUE(refuses_op(encoder, {name}, [&] { op(none, none); })) << name;
  }
  for (const Variable& bad : {none, stale, orphan}) {
    EXPECT_TRUE(refuses_op(encoder, {"backward"}, [&] { tape.backward(bad); }));
    EXPECT_TRUE(refuses_op(encoder, {"backward"}, [&] { tape.backward(bad, ones({1})); }));
    EXPECT_TRUE(refuses_op(encoder, {"gradient"}, [&] { tape.gradient(bad); }));
  }
}

TEST_P(TapeTest, VariablesOfAnotherTapeAreRefused) {
  CommandEncoder encoder(device());
  Tape mine(encoder), other(encoder);
  const Variable x = mine.variable(ones({1})), foreign = other.variable(ones({1})), y = silu(foreign);
  EXPECT_TRUE(refuses_op(encoder, {"add", "different tapes"}, [&] { add(x, foreign); }));
  EXPECT_TRUE(refuses_op(encoder, {"matmul", "different tapes"}, [&] { matmul(foreign, x); }));
  EXPECT_TRUE(refuses_op(encoder, {"backward", "another tape"}, [&] { mine.backward(y); }));
  EXPECT_TRUE(refuses_op(encoder, {"backward", "another tape"}, [&] { mine.backward(y, ones({1})); }));
  other.backward(y);
  EXPECT_TRUE(refuses({"gradient", "another tape"}, [&] { mine.gradient(foreign); }));
}

TEST_P(TapeTest, LeavesMustBeFloats) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  EXPECT_TRUE(refuses({"variable", "u32"}, [&] { tape.variable(Tensor(device(), DType::u32, {3})); }));
  EXPECT_TRUE(refuses({"variable", "no tensor"}, [&] { tape.variable(Tensor()); }));
  EXPECT_TRUE(refuses({"constant", "no tensor"}, [&] { tape.constant(Tensor()); }));
}

// ---- once per tape, and errors on the way

TEST_P(TapeTest, BackwardIsOncePerTape) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(make(device(), {3.0f})), y = mul(x, x);
  EXPECT_TRUE(refuses({"gradient", "backward"}, [&] { tape.gradient(x); }));
  tape.backward(y);
  EXPECT_TRUE(refuses_op(encoder, {"backward", "already", "reset"}, [&] { tape.backward(y); }));
  EXPECT_TRUE(refuses_op(encoder, {"backward", "already"}, [&] { tape.backward(y, ones({1})); }));
  submit(encoder);
  EXPECT_EQ(get(tape.gradient(x)), std::vector<float>{6.0f});
}

TEST_P(TapeTest, AResetTapeIsAsGoodAsNew) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  for (const float value : {3.0f, 4.0f}) {
    const Variable x = tape.variable(make(device(), {value}));
    tape.backward(mul(x, x));
    const Tensor gradient = tape.gradient(x);
    submit(encoder);
    EXPECT_EQ(get(gradient), std::vector<float>{2 * value});
    tape.reset();
    EXPECT_TRUE(refuses({"gradient", "reset"}, [&] { tape.gradient(x); }));
    EXPECT_EQ(get(gradient), std::vector<float>{2 * value}) << "the tensor is its own";
  }
}

TEST_P(TapeTest, ARefusedOpLeavesTheTapeUsable) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(make(device(), {3.0f})), wide = tape.variable(tensor({2, 3}));
  EXPECT_TRUE(refuses_op(encoder, {"mul", "6", "1"}, [&] { mul(x, wide); }));
  EXPECT_TRUE(refuses_op(encoder, {"matmul", "inner"}, [&] { matmul(wide, wide); }));
  EXPECT_TRUE(refuses_op(encoder, {"reshape", "5", "6"}, [&] { reshape(wide, {5}); }));
  EXPECT_TRUE(refuses_op(encoder, {"cast", "u8"}, [&] { cast(x, DType::u8); }));
  EXPECT_TRUE(refuses_op(encoder, {"embedding", "ids"}, [&] { embedding(wide, Tensor()); }));
  EXPECT_TRUE(refuses_op(encoder, {"cross_entropy", "targets"}, [&] { cross_entropy(wide, Tensor()); }));
  tape.backward(mul(x, x));
  submit(encoder);
  EXPECT_EQ(get(tape.gradient(x)), std::vector<float>{6.0f});
}

// The rule of the first op fails when those after it have encoded already: what it needs is of a finished
// list.
TEST_P(TapeTest, AFailingBackwardChangesNothing) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Tensor start = make(device(), {3.0f});
  const Variable x = tape.variable(start), h = mul(x, x);
  const Variable squared =
      scale(mul(h, h), 2.0f);  // the rule of scale succeeds, that of mul needs h, a temporary
  encoder.finish();
  const Variable late = tape.variable(ones({1}));
  const Tensor mine(device(), DType::f32, {1});
  fill(encoder, 4.0f, mine);
  EXPECT_TRUE(refuses_op(encoder, {"mul_backward", "finished"}, [&] { tape.backward(squared); }));
  EXPECT_TRUE(refuses_op(encoder, {"mul_backward", "finished"}, [&] { tape.backward(squared, ones({1})); }));
  EXPECT_TRUE(refuses({"gradient", "backward"}, [&] { tape.gradient(x); }));
  tape.backward(scale(late, 2.0f));  // and can still differentiate what is sound
  submit(encoder);
  EXPECT_EQ(get(tape.gradient(late)), std::vector<float>{2.0f});
  EXPECT_EQ(get(tape.gradient(x)), std::vector<float>{0.0f});
  EXPECT_EQ(get(mine), std::vector<float>{4.0f});
}

// ---- a training step is one list

TEST_P(TapeTest, AStepIsEncodedOnceAndSubmittedOften) {
  const Tensor weight = tensor({3, 4}), x = tensor({5, 4}, 2),
               targets(device(), {5}, std::vector<std::uint32_t>{0, 1, 2, 0, 1}),
               m(device(), DType::f32, {3, 4}), v(device(), DType::f32, {3, 4}),
               loss(device(), DType::f32, {1}), state = make(device(), {0.05f, 1.0f, 1.0f});
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable w = tape.variable(weight);
  const Variable mean = cross_entropy(matmul(tape.constant(x), w, {.transpose_b = true}), targets);
  tape.backward(mean);
  copy(encoder, mean.value(), loss);
  adamw_step(encoder, state);
  adamw(encoder, tape.gradient(w), state, weight, m, v);
  const CommandList step = encoder.finish();
  float first = 0.0f, last = 0.0f;
  for (int i = 0; i < 60; ++i) {
    device().submit(step).wait();
    last = get(loss)[0];
    if (i == 0) first = last;
  }
  EXPECT_LT(last, 0.5f * first);
}

// ---- what the tape keeps

// The kernel of the last command that touches a tensor's memory.
std::string last_use(const CommandList& list, const Tensor& tensor) {
  std::string kernel = "none";
  for (const Command& command : list.program()->commands) {
    for (const MemoryRange& range : command.operands) {
      if (range.storage == tensor.storage()) kernel = command.kernel;
    }
  }
  return kernel;
}

TEST_P(TapeTest, SwigluKeepsGateAndUpNotTheirProduct) {
  CommandEncoder encoder(device());
  Tape tape(encoder);
  const Variable x = tape.variable(tensor({64, 16})), gate = scale(x, 2.0f), up = scale(x, 3.0f);
  const Variable product = swiglu(gate, up), y = scale(product, 0.5f);
  tape.backward(y, ones({64, 16}));
  const Tensor g = gate.value(), u = up.value(), p = product.value(), out = y.value();
  const CommandList list = encoder.finish();
  EXPECT_EQ(last_use(list, g), "map.swiglu_backward.f32");
  EXPECT_EQ(last_use(list, u), "map.swiglu_backward.f32");
  EXPECT_EQ(last_use(list, p), "map.scale.f32");
  // The last use of the product is in the forward pass: nothing of the reverse pass comes before it.
  bool reverse = false;
  for (const Command& command : list.program()->commands) {
    reverse = reverse || command.kernel == "map.swiglu_backward.f32";
    for (const MemoryRange& range : command.operands) EXPECT_FALSE(reverse && range.storage == p.storage());
  }
  EXPECT_LT(list.temporary_bytes(), list.temporary_bytes_unpacked());
}

TEST_P(TapeTest, LinearOpsKeepNothing) {
  // Eight scales in the memory of three: two of the forward pass, and the first gradient, which waits for
  // none.
  constexpr std::size_t n = 4096;
  CommandEncoder encoder(device());
  Tape tape(encoder);
  Variable y = tape.variable(tensor({n}));
  for (int i = 0; i < 8; ++i) y = scale(y, 1.1f);
  tape.backward(y, ones({n}));
  const CommandList list = encoder.finish();
  EXPECT_LE(list.temporary_bytes(), 3 * n * sizeof(float));
  EXPECT_GE(list.temporary_bytes_unpacked(), 14 * n * sizeof(float));
}

SILICA_ON_EVERY_DEVICE(TapeTest);

}  // namespace
}  // namespace silica::test
