// SPDX-License-Identifier: MIT
// The elementwise ops and data movement, against definitions in long double.
#include <cstdint>
#include <cstdio>
#include <limits>
#include <map>

#include "definitions.h"
#include "op_cases.h"
#include "support.h"

namespace silica::test {
namespace {

class Map : public DeviceTest {
 protected:
  // The outputs of an op for these inputs.
  std::vector<std::vector<float>> apply(const ElementwiseOp& op, DType dtype,
                                        const std::vector<std::vector<float>>& in) {
    return apply(device(), op, dtype, in);
  }
  static std::vector<std::vector<float>> apply(const Device& device, const ElementwiseOp& op, DType dtype,
                                               const std::vector<std::vector<float>>& in) {
    const Shape shape{in[0].size()};
    Tensors inputs, outputs;
    for (const auto& values : in) inputs.push_back(make(device, dtype, shape, values));
    for (std::size_t i = 0; i < op.outputs; ++i) outputs.emplace_back(device, dtype, shape);
    run(device, [&](CommandEncoder& e) { op.encode(e, inputs, outputs); });
    std::vector<std::vector<float>> values;
    for (const Tensor& output : outputs) values.push_back(get(output));
    return values;
  }
};

TEST_P(Map, EveryOpHasADefinition) {
  for (const ElementwiseOp& op : elementwise_ops()) EXPECT_TRUE(definitions().contains(op.name)) << op.name;
  EXPECT_EQ(elementwise_ops().size(), definitions().size());
}

TEST_P(Map, F32AgainstTheDefinition) {
  std::printf("%-18s %8s   at\n", "op", "max ulp");
  for (const ElementwiseOp& op : elementwise_ops()) {
    const Definition& definition = definitions().at(op.name);
    std::vector<std::vector<float>> in;
    // Not further: gelu's left tail becomes subnormal, and its rounding grows with what it is multiplied by.
    for (std::size_t i = 0; i < op.inputs; ++i) in.push_back(Random(i + 1).floats(50'000, -10.0f, 10.0f));
    const auto out = apply(op, DType::f32, in);
    double most = 0.0;
    float at = 0.0f;
    for (std::size_t i = 0; i < in[0].size(); ++i) {
      long double x[3] = {}, want[2] = {};
      for (std::size_t k = 0; k < op.inputs; ++k) x[k] = in[k][i];
      definition.exact(x, want);
      for (std::size_t k = 0; k < op.outputs; ++k) {
        const double error = oracle::ulp_error(out[k][i], want[k]);
        if (error > most) most = error, at = in[0][i];
      }
    }
    std::printf("%-18s %8.3f   %.9g\n", op.name.c_str(), most, double{at});
    EXPECT_LE(most, definition.bound) << op.name << " at " << at;
  }
}

// Every pair of special values, where the op is one rounding of its definition.
TEST_P(Map, F32AtSpecialValues) {
  for (const ElementwiseOp& op : elementwise_ops()) {
    const Definition& definition = definitions().at(op.name);
    if (definition.bound > 1.0 || op.inputs > 2) continue;
    std::vector<std::vector<float>> in(op.inputs);
    for (const float a : special_floats()) {
      for (const float b : special_floats()) {
        in[0].push_back(a);
        if (op.inputs > 1) in[1].push_back(b);
      }
    }
    const auto out = apply(op, DType::f32, in);
    for (std::size_t i = 0; i < in[0].size(); ++i) {
      long double x[2] = {in[0][i], in.back()[i]}, want[2] = {};
      definition.exact(x, want);
      for (std::size_t k = 0; k < op.outputs; ++k) {
        ASSERT_TRUE(within_ulp(out[k][i], want[k], definition.bound))
            << op.name << " " << x[0] << " " << x[1];
        if (want[k] == 0) {
          ASSERT_EQ(std::signbit(out[k][i]), std::signbit(want[k])) << op.name << " " << x[0] << " " << x[1];
        }
      }
    }
  }
}

// A kernel may take a shorter way through elements of which none is extreme.
TEST_P(Map, AnExtremeElementChangesNoOther) {
  for (const DeviceOptions& options : configurations(GetParam())) {
    const Device device = Device::open(GetParam(), options);
    for (const ElementwiseOp& op : elementwise_ops()) {
      std::vector<std::vector<float>> in;
      for (std::size_t i = 0; i < op.inputs; ++i)
        in.push_back(Random(i + 20).floats(10'000, -100.0f, 100.0f));
      for (std::size_t i = 0; i < in[0].size(); ++i) in[0][i] *= 0.1f * static_cast<float>(i / 1000);
      auto plain = apply(device, op, DType::f32, in);
      for (std::size_t i = 0; i < in[0].size(); i += 50) in[0][i] = std::numeric_limits<float>::infinity();
      auto mixed = apply(device, op, DType::f32, in);
      for (std::size_t k = 0; k < op.outputs; ++k) {
        for (std::size_t i = 0; i < in[0].size(); i += 50) plain[k][i] = mixed[k][i];
        EXPECT_TRUE(same_bits(plain[k], mixed[k])) << op.name << ", " << to_text(options);
      }
    }
  }
}

std::vector<float> every_half(DType dtype) {
  std::vector<float> values;
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const auto word = static_cast<std::uint16_t>(bits);
    values.push_back(dtype == DType::f16 ? f16{word}.to_float() : bf16{word}.to_float());
  }
  return values;
}

// f16 and bf16 are storage: the f32 result, rounded once. Every first operand with random others, and extreme
// ones with each other.
TEST_P(Map, HalvesAreTheF32ResultRoundedOnce) {
  for (const ElementwiseOp& op : elementwise_ops()) {
    for (const DType dtype : {DType::f16, DType::bf16}) {
      std::vector<std::vector<float>> in = {every_half(dtype)};
      for (std::size_t i = 1; i < op.inputs; ++i) in.push_back(Random(i).floats(in[0].size(), -15.0f, 15.0f));
      const std::vector<float> special = special_floats();
      for (std::size_t i = 0; i < op.inputs; ++i) {
        for (std::size_t k = 0; k < 2000; ++k)
          in[i].push_back(special[(i == 0 ? k : k / special.size() + (i - 1) * k * 7) % special.size()]);
        in[i] = rounded(std::move(in[i]), dtype);
      }
      const auto narrow = apply(op, dtype, in), wide = apply(op, DType::f32, in);
      for (std::size_t k = 0; k < op.outputs; ++k) {
        EXPECT_TRUE(same_bits(narrow[k], rounded(wide[k], dtype))) << op.name << " " << to_string(dtype);
      }
    }
  }
}

TEST_P(Map, CastOfEveryHalf) {
  for (const DType from : {DType::f16, DType::bf16}) {
    const std::vector<float> values = every_half(from);
    Tensor x(device(), from, {values.size()});
    std::vector<std::uint16_t> words(values.size());
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::uint16_t>(i);
    x.upload_bytes(std::as_bytes(std::span(words)), from);
    for (const DType to : {DType::f32, DType::f16, DType::bf16}) {
      const Tensor y(device(), to, {values.size()});
      run(device(), [&](CommandEncoder& e) { cast(e, x, y); });
      EXPECT_TRUE(same_bits(get(y), rounded(values, to))) << to_string(from) << " " << to_string(to);
      if (to == from) {
        EXPECT_EQ(bytes_of(y), bytes_of(x)) << "a cast to the same dtype is a copy, NaN payloads included";
      }
    }
  }
}

TEST_P(Map, CastOfF32) {
  Random random(5);
  std::vector<float> values = special_floats();
  for (int i = 0; i < 100'000; ++i) values.push_back(random.any_float());
  for (int i = 0; i < 50'000; ++i) values.push_back(random.uniform(-0x1p-13f, 0x1p-13f));
  const Tensor x = make(device(), values);
  for (const DType to : {DType::f16, DType::bf16}) {
    const Tensor y(device(), to, {values.size()}), dx(device(), DType::f32, {values.size()});
    run(device(), [&](CommandEncoder& e) { cast(e, x, y), cast_backward(e, y, dx); });
    EXPECT_TRUE(same_bits(get(y), rounded(values, to))) << to_string(to);
    EXPECT_TRUE(same_bits(get(dx), rounded(values, to))) << to_string(to);
  }
}

TEST_P(Map, CopyOfEveryDtype) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::i32, DType::u32, DType::u8}) {
    for (const std::size_t n : {1u, 3u, 64u, 4099u, 40'000u}) {
      const Guarded x(device(), dtype, {n}, 1), y(device(), dtype, {n}, 5), back(device(), dtype, {n}, 2);
      run(device(),
          [&](CommandEncoder& e) { copy(e, x.tensor, y.tensor), copy_backward(e, y.tensor, back.tensor); });
      EXPECT_EQ(bytes_of(y.tensor), bytes_of(x.tensor));
      EXPECT_EQ(bytes_of(back.tensor), bytes_of(x.tensor));
      EXPECT_TRUE(y.intact() && back.intact()) << to_string(dtype) << " " << n;
    }
  }
  const Tensor x = make(device(), {1.0f, 2.0f});
  run(device(), [&](CommandEncoder& e) { copy(e, x, x); });
  EXPECT_EQ(get(x), std::vector<float>({1.0f, 2.0f}));
}

TEST_P(Map, FillRoundsToTheDtype) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const float value : {0.1f, -0.0f, 1e-7f, 1e30f, infinity, quiet_nan}) {
      const Guarded y(device(), dtype, {5000});
      run(device(), [&](CommandEncoder& e) { fill(e, value, y.tensor); });
      EXPECT_TRUE(same_bits(get(y.tensor), rounded(std::vector<float>(5000, value), dtype)));
      EXPECT_TRUE(y.intact());
    }
  }
}

TEST_P(Map, RefusalsNameTheOpTheArgumentWhatCameAndWhatWasExpected) {
  const auto t = [&](std::size_t n, DType dtype = DType::f32) { return Tensor(device(), dtype, {n}); };
  const Tensor theirs(Device::open("cpu"), DType::f32, {16});
  CommandEncoder e(device());
  for (const ElementwiseOp& op : elementwise_ops()) {
    const std::string op_word = op.name + ": ";
    const std::size_t count = op.inputs + op.outputs;
    for (std::size_t wrong = 0; wrong < count; ++wrong) {
      const auto encode = [&](const Tensor& bad) {
        Tensors in, out;
        for (std::size_t i = 0; i < op.inputs; ++i) in.push_back(i == wrong ? bad : t(16));
        for (std::size_t i = 0; i < op.outputs; ++i) out.push_back(op.inputs + i == wrong ? bad : t(16));
        op.encode(e, in, out);
      };
      EXPECT_TRUE(refuses_op(e, {op_word, "12", "16", "elements"}, [&] { encode(t(12)); }))
          << op.name << wrong;
      EXPECT_TRUE(refuses_op(e, {op_word, "f16", "f32"}, [&] { encode(t(16, DType::f16)); }))
          << op.name << wrong;
      EXPECT_TRUE(refuses_op(e, {op_word, "u8"}, [&] { encode(t(16, DType::u8)); })) << op.name << wrong;
      EXPECT_TRUE(refuses_op(e, {op_word, "empty"}, [&] { encode(t(0)); })) << op.name << wrong;
      EXPECT_TRUE(refuses_op(e, {op_word, "no tensor"}, [&] { encode(Tensor()); })) << op.name << wrong;
      EXPECT_TRUE(refuses_op(e, {op_word, "another device"}, [&] { encode(theirs); })) << op.name << wrong;
    }
  }
  EXPECT_TRUE(refuses_op(e, {"fill", "y", "u32"}, [&] { fill(e, 1.0f, t(4, DType::u32)); }));
  EXPECT_TRUE(refuses_op(e, {"copy", "y", "f16", "f32"}, [&] { copy(e, t(4), t(4, DType::f16)); }));
  EXPECT_TRUE(refuses_op(e, {"copy", "5", "4"}, [&] { copy(e, t(4), t(5)); }));
  EXPECT_TRUE(refuses_op(e, {"cast", "x", "i32"}, [&] { cast(e, t(4, DType::i32), t(4)); }));
  EXPECT_TRUE(refuses_op(e, {"cast", "y", "u8"}, [&] { cast(e, t(4), t(4, DType::u8)); }));
  EXPECT_TRUE(refuses_op(e, {"cast", "5", "4"}, [&] { cast(e, t(4), t(5, DType::f16)); }));
  const Tensor wide = t(8);
  EXPECT_TRUE(refuses_op(e, {"copy", "y", "no tensor"}, [&] { copy(e, wide, Tensor()); }));
  const Tensor other = wide.rows(1, 4);  // overlaps in part: what the encoder refuses names the op too
  EXPECT_TRUE(refuses_op(e, {"copy_backward: dx", "dy"}, [&] { copy_backward(e, wide.rows(0, 4), other); }));
  EXPECT_TRUE(refuses_op(e, {"copy_backward: dx", "5"}, [&] { copy_backward(e, wide, t(5)); }));
  EXPECT_TRUE(refuses_op(e, {"cast_backward: dx", "dy"}, [&] { cast_backward(e, wide.rows(0, 4), other); }));
  EXPECT_TRUE(refuses_op(e, {"cast_backward: dy", "u8"}, [&] { cast_backward(e, t(4, DType::u8), wide); }));
  EXPECT_TRUE(
      refuses_op(e, {"scale_backward: dx", "dy"}, [&] { scale_backward(e, wide.rows(0, 4), 2.0f, other); }));
}

SILICA_ON_EVERY_DEVICE(Map);

}  // namespace
}  // namespace silica::test
