// SPDX-License-Identifier: MIT
// The known faults of the lineage and of today's libraries, each as a test that names it.
#include <cfenv>
#include <cstdint>
#include <cstring>
#include <map>
#include <thread>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "core/program.h"
#include "op_cases.h"
#include "support.h"

namespace silica::test {
namespace {

class Faults : public DeviceTest {
 protected:
  bool is_cpu() const { return device().name() == "cpu"; }

  std::vector<float> forward(const std::vector<float>& x, DType dtype = DType::f32) {
    const Tensor y(device(), dtype, {x.size()});
    run(device(), [&](CommandEncoder& e) { silu(e, make(device(), dtype, {x.size()}, x), y); });
    return get(y);
  }
  std::vector<float> backward(const std::vector<float>& x, const std::vector<float>& dy) {
    const Tensor dx(device(), DType::f32, {x.size()});
    run(device(), [&](CommandEncoder& e) { silu_backward(e, make(device(), x), make(device(), dy), dx); });
    return get(dx);
  }
};

// ---- "The element count sits in a caller-filled params buffer that must outlive the commit."

TEST_P(Faults, ParametersAreCopiedWhenRecorded) {
  struct Arguments {
    float* y;
    std::uint64_t n;
    float value;
  };
  const auto write_value = [](const void* arguments, Groups) {
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    for (std::uint64_t i = 0; i < a.n; ++i) a.y[i] = a.value;
  };
  if (!is_cpu()) GTEST_SKIP() << "the kernel has a CPU source only";
  device().kernels().add("user.write.f32", {.cpu = {write_value, {1}}});
  struct Parameters {
    std::uint64_t n;
    float value;
    std::uint32_t padding = 0;
  };
  const Tensor y(device(), DType::f32, {5});
  CommandEncoder encoder(device());
  auto parameters = std::make_unique<Parameters>(Parameters{5, 2.5f});
  encoder.dispatch("user.write.f32", {write(y, "y")}, *parameters, Grid{1});
  std::memset(static_cast<void*>(parameters.get()), 0xff, sizeof *parameters);
  parameters.reset();
  device().submit(encoder.finish()).wait();
  EXPECT_EQ(get(y), std::vector<float>(5, 2.5f));
}

TEST_P(Faults, OptionsAndFactorsAreCopiedWhenRecorded) {
  const Tensor x = make(device(), {3.0f}), y(device(), DType::f32, {1});
  CommandEncoder encoder(device());
  auto factor = std::make_unique<float>(2.0f);
  scale(encoder, x, *factor, y);
  *factor = 99.0f;
  factor.reset();
  device().submit(encoder.finish()).wait();
  EXPECT_EQ(get(y), std::vector<float>{6.0f});
}

// ---- "A wrong value writes part of the output": sizes come from the tensors.

TEST_P(Faults, EverySizeIsWrittenWhollyAndNothingAround) {
  std::vector<std::size_t> sizes = {255, 256, 257, 4095, 4096, 4097, 8192, 65537};
  for (std::size_t n = 1; n <= 70; ++n) sizes.push_back(n);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const std::vector<float> x = rounded(Random(1).floats(65537, -9.0f, 9.0f), dtype);
    const std::vector<float> want = forward(x, dtype);
    for (const std::size_t n : sizes) {
      const std::vector<float> part(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(n));
      const std::size_t before = n % 7 + 1;  // every misalignment
      const Guarded in(device(), dtype, {n}, before), out(device(), dtype, {n}, 8 - before);
      set(in.tensor, part);
      run(device(), [&](CommandEncoder& e) { silu(e, in.tensor, out.tensor); });
      ASSERT_TRUE(out.intact()) << n << " " << to_string(dtype);
      ASSERT_TRUE(in.intact()) << n << " " << to_string(dtype);
      ASSERT_TRUE(same_bits(get(out.tensor), {want.begin(), want.begin() + static_cast<std::ptrdiff_t>(n)}))
          << n << " " << to_string(dtype);
    }
  }
}

TEST_P(Faults, HalvesThatAreMisalignedByOneElement) {
  for (std::size_t n = 1; n < 40; ++n) {
    const std::vector<float> values = rounded(Random(n).floats(n + 1), DType::f16);
    const Tensor x = make(device(), DType::f16, {n + 1}, values), y(device(), DType::f16, {n + 1});
    run(device(), [&](CommandEncoder& e) { silu(e, x.rows(1, n), y.rows(1, n)); });
    std::vector<float> want = forward(values, DType::f16);
    want[0] = 0.0f;
    ASSERT_TRUE(same_bits(get(y), want)) << n;
  }
}

// ---- "Buffer bytes never checked against shape x dtype."

TEST_P(Faults, ByteCountsThatOverflowAreRefused) {
  const std::size_t most = std::size_t(1) << 62;
  EXPECT_TRUE(refuses({"(4611686018427387904)", "f32"}, [&] { Tensor(device(), DType::f32, {most}); }));
  EXPECT_TRUE(
      refuses({"63"}, [&] { Tensor(device(), DType::f32, {std::size_t(1) << 40, std::size_t(1) << 40}); }));
  EXPECT_TRUE(refuses({"f16"}, [&] { CommandEncoder(device()).temporary(DType::f16, {most + 1}); }));
}

TEST_P(Faults, MemoryThatIsNotThereIsAnErrorAndTheDeviceStaysUsable) {
  for (const std::size_t n : {std::size_t(1) << 50, std::size_t(1) << 60}) {
    EXPECT_TRUE(throws(ErrorCode::out_of_memory, {std::to_string(4 * n)},
                       [&] { Tensor(device(), DType::f32, {n}); }));
  }
  EXPECT_TRUE(same_bits(forward({0.0f}), {0.0f}));
}

// ---- "A view of a view has the wrong offset."

TEST_P(Faults, OffsetsOfViewsOfViewsAddUp) {
  std::vector<float> values(6 * 4 * 5);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Tensor whole = make(device(), DType::f32, {6, 4, 5}, values);
  const Tensor view = whole.rows(1, 4).rows(2, 2);  // planes 3 and 4
  const Tensor deep = view.reshape({8, 5}).rows(3, 4).rows(1, 2).reshape({10}).rows(2, 3);
  EXPECT_EQ(view.offset(), 3 * 20 * sizeof(float));
  const std::size_t first = 3 * 20 + 3 * 5 + 1 * 5 + 2;
  EXPECT_EQ(get(deep), std::vector<float>(values.begin() + first, values.begin() + first + 3));
  const Tensor y(device(), DType::f32, {3});
  run(device(), [&](CommandEncoder& e) { copy(e, deep, y); });
  EXPECT_EQ(get(y), get(deep));
  deep.upload(std::vector<float>{-1.0f, -2.0f, -3.0f});
  values[first] = -1.0f, values[first + 1] = -2.0f, values[first + 2] = -3.0f;
  EXPECT_EQ(get(whole), values);
}

// ---- "A pool hands out one block twice": the packing of temporaries is tested in encoder_test.cpp.

TEST_P(Faults, NoTwoTensorsShareMemory) {
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < 200; ++i) {
    tensors.push_back(make(device(), std::vector<float>(i % 17 + 1, static_cast<float>(i))));
    if (i % 3 == 2) tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i % tensors.size()));
  }
  for (const Tensor& tensor : tensors) {
    const std::vector<float> values = get(tensor);
    EXPECT_EQ(std::ranges::count(values, values[0]), std::ranges::ssize(values));
  }
}

// ---- "Kernels read and write overlapping memory without a word."

TEST_P(Faults, PartialOverlapIsRefused) {
  const Tensor x(device(), DType::f32, {10});
  CommandEncoder e(device());
  EXPECT_TRUE(
      refuses_op(e, {"silu", "y", "overlaps x in part"}, [&] { silu(e, x.rows(0, 8), x.rows(1, 8)); }));
  EXPECT_TRUE(refuses_op(e, {"silu", "overlaps"}, [&] { silu(e, x.rows(2, 8), x.rows(0, 8)); }));
  EXPECT_TRUE(
      refuses_op(e, {"add", "c overlaps b"}, [&] { add(e, x.rows(0, 3), x.rows(4, 3), x.rows(6, 3)); }));
  EXPECT_TRUE(refuses_op(e, {"copy", "overlaps"}, [&] { copy(e, x.rows(0, 9), x.rows(1, 9)); }));
  silu(e, x.rows(0, 5), x.rows(5, 5));  // side by side is no overlap
  EXPECT_EQ(e.commands(), 1u);
}

TEST_P(Faults, TwoOutputsInTheSameMemoryAreRefused) {
  const Tensor a(device(), DType::f32, {8}), b(device(), DType::f32, {8}), dc(device(), DType::f32, {8});
  const Tensor out(device(), DType::f32, {12});
  CommandEncoder e(device());
  for (std::size_t shift : {0u, 1u, 4u}) {
    const Tensor first = out.rows(0, 8), second = out.rows(shift, 8);
    EXPECT_TRUE(
        refuses_op(e, {"mul_backward", "db", "da"}, [&] { mul_backward(e, a, b, dc, first, second); }));
    EXPECT_TRUE(refuses_op(e, {"swiglu_backward", "dup", "dgate"},
                           [&] { swiglu_backward(e, a, b, dc, first, second); }));
    EXPECT_TRUE(refuses_op(e, {"add_backward", "db", "da"}, [&] { add_backward(e, dc, first, second); }));
    EXPECT_TRUE(refuses_op(e, {"sub_backward", "db", "da"}, [&] { sub_backward(e, dc, second, first); }));
  }
}

// Where an op is several commands, too.
TEST_P(Faults, OverlapBetweenTheCommandsOfOneOpIsRefused) {
  CommandEncoder e(device());
  const Tensor a(device(), DType::f32, {4, 4}), b(device(), DType::f32, {4, 4}),
      dc(device(), DType::f32, {4, 4}), other(device(), DType::f32, {4, 4}), row(device(), DType::f32, {4});
  EXPECT_TRUE(
      refuses_op(e, {"matmul_backward", "db", "da"}, [&] { matmul_backward(e, a, b, dc, other, other); }));
  EXPECT_TRUE(refuses_op(e, {"matmul_backward", "da", "a"}, [&] { matmul_backward(e, a, b, dc, a, other); }));
  EXPECT_TRUE(
      refuses_op(e, {"matmul_backward", "db", "b"}, [&] { matmul_backward(e, a, b, dc, Tensor(), b); }));
  EXPECT_TRUE(
      refuses_op(e, {"matmul_backward", "db", "dc"}, [&] { matmul_backward(e, a, b, dc, other, dc); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm_backward", "dweight", "weight"},
                         [&] { rms_norm_backward(e, a, row, dc, other, row); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm_backward", "dweight", "dx"},
                         [&] { rms_norm_backward(e, a, row, dc, other, other.rows(1, 1)); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm_backward", "dweight", "dy"},
                         [&] { rms_norm_backward(e, a, row, dc, Tensor(), dc.rows(1, 1)); }));
  EXPECT_TRUE(refuses_op(e, {"slice_backward", "dy", "dx"},
                         [&] { slice_backward(e, a.rows(2, 1), a, {.row_end = 1}); }));
  EXPECT_TRUE(refuses_op(e, {"concat_backward", "gradients[1]", "gradients[0]"},
                         [&] { concat_backward(e, a, {other.rows(0, 2), other.rows(1, 2)}, Axis::rows); }));
  const Tensor halves(device(), DType::f16, {4, 4}), ids(device(), DType::u32, {4});
  EXPECT_TRUE(refuses_op(e, {"embedding_backward", "dtable", "dy"},
                         [&] { embedding_backward(e, ids, halves, halves); }));
  const Tensor targets(device(), DType::u32, {4});
  EXPECT_TRUE(refuses_op(e, {"cross_entropy", "loss", "logits"},
                         [&] { cross_entropy(e, a, targets, a.reshape({16}).rows(3, 1)); }));
}

TEST_P(Faults, ExactInPlaceGivesTheSameBits) {
  constexpr std::size_t n = 5003;
  for (const ElementwiseOp& op : elementwise_ops()) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      std::vector<std::vector<float>> data;
      for (std::size_t i = 0; i < op.inputs; ++i) data.push_back(Random(i + 1).floats(n, -9.0f, 9.0f));
      const auto inputs = [&] {
        Tensors in;
        for (const auto& values : data) in.push_back(make(device(), dtype, {n}, values));
        return in;
      };
      Tensors out;
      for (std::size_t i = 0; i < op.outputs; ++i) out.emplace_back(device(), dtype, Shape{n});
      run(device(), [&](CommandEncoder& e) { op.encode(e, inputs(), out); });
      for (std::size_t o = 0; o < op.outputs; ++o) {
        for (std::size_t i = 0; i < op.inputs; ++i) {
          const Tensors in = inputs();
          Tensors in_place;
          for (std::size_t k = 0; k < op.outputs; ++k) in_place.emplace_back(device(), dtype, Shape{n});
          in_place[o] = in[i];
          run(device(), [&](CommandEncoder& e) { op.encode(e, in, in_place); });
          for (std::size_t k = 0; k < op.outputs; ++k) {
            EXPECT_EQ(bytes_of(in_place[k]), bytes_of(out[k]))
                << op.name << ": output " << o << " in input " << i;
          }
        }
      }
    }
  }
}

// ---- "Barriers placed by hand; 5-15 % of runs gave wrong gradients because one was missing."

struct Chain {
  Tensor x, y;
  CommandList list;
};

Chain encode_chain(const Device& device) {
  constexpr std::size_t n = 96;
  const Tensor x = make(device, DType::f32, {n, n}, Random(1).floats(n * n, -0.2f, 0.2f));
  const Tensor w = make(device, DType::f32, {n, n}, Random(2).floats(n * n, -0.2f, 0.2f));
  const Tensor weight = make(device, Random(3).floats(n, 0.5f, 1.5f)), y(device, DType::f32, {n, n});
  CommandEncoder e(device);
  Tensor last = x;
  for (int layer = 0; layer < 4; ++layer) {
    const Tensor product = e.temporary(DType::f32, {n, n}), norm = e.temporary(DType::f32, {n, n}),
                 next = e.temporary(DType::f32, {n, n});
    matmul(e, last, w, product, {.transpose_b = layer % 2 == 1});
    rms_norm(e, product, weight, norm);
    swiglu(e, norm, product, next);
    last = next;
  }
  matmul(e, last, w, y, {.transpose_a = true});
  return {x, y, e.finish()};
}

TEST_P(Faults, HazardsAreTracked) {
  const Device many = is_cpu() ? Device::open("cpu", {.threads = 4}) : device();
  const Chain chain = encode_chain(many);
  many.submit(chain.list).wait();
  const std::vector<float> want = get(chain.y);
  EXPECT_TRUE(std::ranges::any_of(want, [](float v) { return v != 0.0f; }));
  for (int i = 0; i < 100; ++i) {
    set(chain.y, std::vector<float>(chain.y.size(), quiet_nan));
    many.submit(chain.list).wait();
    ASSERT_TRUE(same_bits(get(chain.y), want)) << "submit " << i;
  }
  if (!is_cpu()) return;
  const Device one = Device::open("cpu", {.threads = 1});
  const Chain alone = encode_chain(one);
  one.submit(alone.list).wait();
  EXPECT_TRUE(same_bits(get(alone.y), want));
}

// The test above means something: without the barriers the same chain goes wrong.
TEST_P(Faults, WithoutHazardTrackingTheChainGoesWrong) {
  if (!is_cpu()) GTEST_SKIP() << "reads and writes outside a race's rules on a device";
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "races on purpose";
#endif
  const Device many = Device::open("cpu", {.threads = 4});
  const Chain chain = encode_chain(many);
  many.submit(chain.list).wait();
  const std::vector<float> want = get(chain.y);
  auto broken = std::make_shared<Program>(*chain.list.program());
  ASSERT_GT(broken->stage_ends.size(), 8u);
  broken->stage_ends = {broken->commands.size()};
  const CommandList without_barriers(broken);
  int wrong = 0;
  for (int i = 0; i < 200 && wrong == 0; ++i) {
    set(chain.y, std::vector<float>(chain.y.size()));
    many.submit(without_barriers).wait();
    wrong += !same_bits(get(chain.y), want);
  }
  EXPECT_GT(wrong, 0);
}

// ---- "Every op commits and waits: N ops, N synchronisations."

TEST_P(Faults, ManyOpsAreOneSubmit) {
  constexpr int ops = 500;
  const Tensor x = make(device(), {1.0f});
  CommandEncoder encoder(device());
  for (int i = 0; i < ops; ++i) add(encoder, x, make(device(), {1.0f}), x);
  EXPECT_EQ(get(x), std::vector<float>{1.0f}) << "nothing runs before submit";
  const CommandList list = encoder.finish();
  EXPECT_EQ(list.commands(), std::size_t{ops});
  device().submit(list).wait();
  EXPECT_EQ(get(x), std::vector<float>{1.0f + ops});
}

// ---- "silu(x) = -0 below x = -88.7 although the true value is a normal number down to -91.8; NaN at -inf."

TEST_P(Faults, DeepTailOfSilu) {
  std::vector<float> x;
  for (float v = -80.0f; v > -110.0f; v -= 0.0371f) x.push_back(v);
  const std::vector<float> y = forward(x), dx = backward(x, std::vector<float>(x.size(), 1.0f));
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_TRUE(within_ulp(y[i], oracle::silu<long double>(x[i]), 1.0)) << x[i];
    ASSERT_TRUE(within_ulp(dx[i], oracle::silu_derivative<long double>(x[i]), 2.0)) << x[i];
  }
  EXPECT_LT(forward({-91.7f})[0], -smallest_normal);
  EXPECT_LT(forward({-103.0f})[0], 0.0f) << "subnormal, not zero";
}

TEST_P(Faults, LimitsOfSilu) {
  const std::vector<float> x = {-infinity, -largest, -200.0f, -0.0f, 0.0f, 200.0f, largest, infinity};
  EXPECT_TRUE(same_bits(forward(x), {-0.0f, -0.0f, -0.0f, -0.0f, 0.0f, 200.0f, largest, infinity}));
  const std::vector<float> dx = backward(x, std::vector<float>(x.size(), 1.0f));
  EXPECT_TRUE(same_bits(dx, {-0.0f, -0.0f, -0.0f, 0.5f, 0.5f, 1.0f, 1.0f, 1.0f}));
}

TEST_P(Faults, NanInIsNanOut) {
  constexpr std::size_t n = 37;  // a NaN in the vector part, and in the remainder
  for (const ElementwiseOp& op : elementwise_ops()) {
    for (std::size_t input = 0; input < op.inputs; ++input) {
      for (const std::size_t at : {std::size_t{5}, n - 1}) {
        Tensors in, out;
        for (std::size_t i = 0; i < op.inputs; ++i) {
          std::vector<float> values(n, 0.75f);
          if (i == input) values[at] = quiet_nan;
          in.push_back(make(device(), values));
        }
        for (std::size_t i = 0; i < op.outputs; ++i) out.emplace_back(device(), DType::f32, Shape{n});
        run(device(), [&](CommandEncoder& e) { op.encode(e, in, out); });
        bool reached = false;
        for (const Tensor& output : out) {
          const std::vector<float> values = get(output);
          for (std::size_t i = 0; i < n; ++i) {
            ASSERT_TRUE(i == at || !std::isnan(values[i])) << op.name << " spreads NaN";
          }
          reached = reached || std::isnan(values[at]);
        }
        EXPECT_TRUE(reached) << op.name << " swallows the NaN of input " << input;
      }
    }
  }
}

// ---- "Sizes that must be multiples of 32": above. "> 2^31 elements wrap": u8 indices past 2^32 bytes.

TEST_P(Faults, BytesBeyond32Bits) {
  if (std::getenv("SILICA_TEST_HUGE") == nullptr) GTEST_SKIP() << "set SILICA_TEST_HUGE to test with 9 GB";
  const std::size_t n = (std::size_t{1} << 32) + 4099;
  const Tensor x(device(), DType::u8, {n}), y(device(), DType::u8, {n});
  const std::vector<std::uint8_t> tail = {1, 2, 3, 4, 5, 6, 7};
  x.rows(n - 7, 7).upload(tail);
  run(device(), [&](CommandEncoder& e) { copy(e, x, y); });
  EXPECT_EQ(y.rows(n - 7, 7).download<std::uint8_t>(), tail);
  EXPECT_EQ(y.rows(4092, 7).download<std::uint8_t>(), std::vector<std::uint8_t>(7));
}

// ---- "Fast-math, TF32 and library calls make CPU and GPU disagree, and each run differ."

TEST_P(Faults, EveryOpGivesTheSameBitsHoweverTheDeviceIsOpened) {
  const std::vector<DeviceOptions> ways = configurations(GetParam());
  if (ways.size() == 1) GTEST_SKIP() << "there is one way to open " << GetParam();
  std::vector<std::vector<std::vector<float>>> want;
  for (const OpCase& op : op_cases()) want.push_back(run_case(device(), op).outputs);
  for (const DeviceOptions& options : ways) {
    const Device opened = Device::open(GetParam(), options);
    for (std::size_t k = 0; k < want.size(); ++k) {
      const OpCase& op = op_cases()[k];
      const auto got = run_case(opened, op).outputs;
      ASSERT_EQ(got.size(), want[k].size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_TRUE(same_bits(got[i], want[k][i])) << op.name << ", output " << i << ", " << to_text(options);
      }
    }
  }
}

// Sets what a program may have done to the floating-point unit, and undoes it.
class Meddled {
 public:
  explicit Meddled(int rounding) {
    std::fegetenv(&before_);
    std::fesetround(rounding);
#if defined(__SSE2__)
    _mm_setcsr(_mm_getcsr() | 0x8040u);  // flush to zero, denormals are zero
#endif
  }
  ~Meddled() { std::fesetenv(&before_); }
  Meddled(const Meddled&) = delete;
  Meddled& operator=(const Meddled&) = delete;

 private:
  std::fenv_t before_;
};

TEST_P(Faults, TheCallersFloatingPointSettingsChangeNoResultAndStay) {
  for (const OpCase& op : op_cases()) {
    const auto want = run_case(device(), op).outputs;
    for (const int rounding : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
      CaseEncoder encoder(device());
      const Tensors outputs = op.encode(encoder);
      const CommandList list = encoder.finish();
      {
        const Meddled meddled(rounding);
        device().submit(list).wait();
        EXPECT_EQ(std::fegetround(), rounding);
#if defined(__SSE2__)
        EXPECT_EQ(_mm_getcsr() & 0x8040u, 0x8040u);
#endif
      }
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        ASSERT_TRUE(same_bits(get(outputs[i]), want[i]))
            << op.name << ", output " << i << ", rounding " << rounding;
      }
    }
  }
}

TEST_P(Faults, FloatingPointTrapsOfTheCallerDoNotGoOff) {
#if defined(__SSE2__)
  const unsigned before = _mm_getcsr();
  const Tensor x = make(device(), {quiet_nan, -infinity, 1e-45f, largest}), y(device(), DType::f32, {4});
  CommandEncoder encoder(device());
  silu(encoder, x, y);
  mul(encoder, y, x, y);
  const CommandList list = encoder.finish();
  _mm_setcsr(before & ~0x0f80u & ~0x3fu);  // everything but "inexact" traps
  const Fence fence = device().submit(list);
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  fence.wait();
  EXPECT_EQ(after & 0x1f80u, before & ~0x0f80u & 0x1f80u);
  EXPECT_TRUE(std::isnan(get(y)[0]));
#else
  GTEST_SKIP() << "traps are set by x86's register";
#endif
}

TEST_P(Faults, SubnormalsAreKept) {
  const std::vector<float> tiny = {smallest_subnormal, -smallest_subnormal, 1e-40f, -1e-39f,
                                   smallest_normal / 2};
  const std::vector<float> ones(tiny.size(), 1.0f), zeros(tiny.size());
  const Tensor x = make(device(), tiny), one = make(device(), ones), zero = make(device(), zeros);
  const auto check = [&](const char* name, auto encode, const std::vector<float>& want) {
    const Tensor y(device(), DType::f32, {tiny.size()});
    run(device(), [&](CommandEncoder& e) { encode(e, y); });
    EXPECT_TRUE(same_bits(get(y), want)) << name;
  };
  std::vector<float> doubled = tiny;
  for (float& v : doubled) v *= 2.0f;
  check("mul", [&](CommandEncoder& e, const Tensor& y) { mul(e, x, one, y); }, tiny);
  check("add", [&](CommandEncoder& e, const Tensor& y) { add(e, x, zero, y); }, tiny);
  check("scale", [&](CommandEncoder& e, const Tensor& y) { scale(e, x, 2.0f, y); }, doubled);
  check(
      "matmul",
      [&](CommandEncoder& e, const Tensor& y) {
        matmul(e, x.reshape({tiny.size(), 1}), one.rows(0, 1).reshape({1, 1}), y.reshape({tiny.size(), 1}));
      },
      tiny);
  check("copy", [&](CommandEncoder& e, const Tensor& y) { copy(e, x, y); }, tiny);
}

// ---- "Unsupported op for backward aborts the process."

TEST_P(Faults, EveryOpHasItsBackward) {
  // An op's backward is a case of the table by its name; these move no gradient.
  const std::vector<std::string> without = {"fill", "adamw", "adamw_step"};
  std::map<std::string, bool> ops;
  const auto base = [](const std::string& name) { return name.substr(0, name.find('.')); };
  for (const OpCase& op : op_cases()) ops[base(op.name)] = true;
  int checked = 0;
  for (const auto& [name, present] : ops) {
    if (name.ends_with("_backward") || std::ranges::find(without, name) != without.end()) continue;
    EXPECT_TRUE(ops.contains(name + "_backward")) << name;
    ++checked;
  }
  EXPECT_GE(checked, 13);
}

// The table above has every kernel of the library, so that a new one cannot be forgotten.
TEST_P(Faults, EveryKernelIsCoveredByTheTableOfOps) {
  std::map<std::string, bool> used;
  for (const OpCase& op : op_cases()) {
    CaseEncoder encoder(device());
    op.encode(encoder);
    const CommandList list = encoder.finish();
    for (const Command& command : list.program()->commands) used[command.kernel] = true;
  }
  for (const std::string& name : device().kernels().names()) {
    if (name == "map.zero") continue;  // clears temporaries: encoder_test.cpp
    // Not exact: tests/cuda. The parts of feed_forward in one: op_feed_forward_test.cpp.
    if (name.ends_with(".fast") || name.starts_with("feed_forward.")) continue;
    EXPECT_TRUE(used.contains(name)) << name;
  }
}

// ---- "Errors are exceptions; nothing aborts."

TEST_P(Faults, AKernelWithoutASourceForTheDeviceIsUnsupported) {
  device().kernels().add("user.nowhere.f32", {});
  CommandEncoder encoder(device());
  const Tensor x(device(), DType::f32, {4});
  const auto dispatch = [&] { encoder.dispatch("user.nowhere.f32", {read_write(x, "x")}, 0, Grid{4}); };
  EXPECT_TRUE(throws(ErrorCode::unsupported, {"nowhere"}, dispatch));
  EXPECT_EQ(encoder.commands(), 0u);
  EXPECT_TRUE(throws(ErrorCode::unsupported, {"nowhere"}, dispatch)) << "and stays so";
  EXPECT_TRUE(same_bits(forward({0.0f}), {0.0f}));
}

// ---- "Pipelines are recompiled at every start; stale caches": once, and shared by threads.

TEST_P(Faults, SixteenThreadsShareARegistry) {
  const std::vector<float> x = Random(1).floats(3000, -9.0f, 9.0f), want = forward(x);
  std::vector<std::jthread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(same_bits(forward(x), want));
    });
  }
}

SILICA_ON_EVERY_DEVICE(Faults);

}  // namespace
}  // namespace silica::test
