// SPDX-License-Identifier: MIT
// On a machine with an NVIDIA GPU: every op gives the bits of the CPU, launched and replayed as a graph, and
// errors of the device are errors. Elsewhere these tests are skipped, unless SILICA_REQUIRE_CUDA is set.
// compute-sanitizer runs them.
#include <chrono>
#include <cstdint>
#include <cstdlib>

#include "cases.h"

namespace silica::test {

namespace {

class Cuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device() != nullptr) return;
    const std::string why = "no usable CUDA device: " + list_devices()[0].note;
    if (std::getenv("SILICA_REQUIRE_CUDA") != nullptr) FAIL() << why;
    GTEST_SKIP() << why;
  }
};

using Values = std::vector<std::vector<float>>;

Values download(const Tensors& tensors) {
  Values values;
  for (const Tensor& tensor : tensors) values.push_back(get(tensor));
  return values;
}

void expect_same(const std::string& what, const Values& got, const Values& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    EXPECT_TRUE(same_bits(got[i], want[i])) << what << ", output " << i;
}

// The same list, submitted `times` on each device.
void expect_same(const std::string& what, const std::function<Tensors(CaseEncoder&)>& encode, int times) {
  const auto outputs = [&](const Device& device) {
    CaseEncoder encoder(device);
    const Tensors tensors = encode(encoder);
    const CommandList list = encoder.finish();
    for (int i = 0; i < times; ++i) device.submit(list).wait();
    return download(tensors);
  };
  expect_same(what, outputs(*cuda_device()), outputs(Device::open("cpu")));
}

TEST_F(Cuda, IsExact) {
  EXPECT_TRUE(cuda_device()->exact()) << cuda_device()->info().note;
  EXPECT_EQ(Device::open().name(), "cuda:0");
}

TEST_F(Cuda, EveryOp) {
  for (const OpCase& op : op_cases()) expect_same(op.name, op.encode, 1);
}

TEST_F(Cuda, EveryOpReplayed) {
  for (const OpCase& op : op_cases()) expect_same(op.name, op.encode, 3);
}

// As many as have several vectors a thread.
TEST_F(Cuda, LargeElementwise) {
  constexpr std::size_t n = (std::size_t{1} << 22) + 13;
  const Device cpu = Device::open("cpu"), devices[] = {*cuda_device(), cpu};
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    Tensors in[2];
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      const std::vector<float> values = rounded(Random(seed).floats(n, -15.0f, 15.0f), dtype);
      for (std::size_t d = 0; d < 2; ++d) in[d].push_back(make(devices[d], dtype, {n}, values));
    }
    for (const ElementwiseOp& op : elementwise_ops()) {
      Tensors out[2];
      for (std::size_t d = 0; d < 2; ++d) {
        for (std::size_t i = 0; i < op.outputs; ++i) out[d].emplace_back(devices[d], dtype, Shape{n});
        run(devices[d], [&](CommandEncoder& e) { op.encode(e, in[d], out[d]); });
      }
      expect_same(op.name + " " + std::string(to_string(dtype)), download(out[0]), download(out[1]));
    }
  }
}

TEST_F(Cuda, TrainingSteps) { expect_same("training", encode_step, 20); }

TEST_F(Cuda, MatmulSizes) {
  Random random(7);
  for (int i = 0; i < 40; ++i) {
    const std::size_t four = random.below(2) == 0 ? 4 : 1;
    const std::size_t m = random.between(1, 400 / four) * four, n = random.between(1, 400 / four) * four,
                      k = random.between(1, 1200 / four) * four;
    const bool ta = random.below(2) == 0, tb = random.below(2) == 0;
    expect_same(
        std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k),
        [&](CommandEncoder& e) {
          const Tensor c = result(e, {m, n});
          matmul(e, random_tensor(e, 1, ta ? Shape{k, m} : Shape{m, k}),
                 random_tensor(e, 2, tb ? Shape{n, k} : Shape{k, n}), c, {ta, tb});
          return Tensors{c};
        },
        1);
  }
}

// Enough tiles for the kernel of large products, whatever the device.
TEST_F(Cuda, LargeMatmul) {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      for (const std::size_t n : {2048u, 1999u}) {
        constexpr std::size_t m = 2000, k = 520;
        expect_same(
            "large matmul",
            [&](CommandEncoder& e) {
              const Tensor c = result(e, {m, n});
              matmul(e, random_tensor(e, 1, ta ? Shape{k, m} : Shape{m, k}),
                     random_tensor(e, 2, tb ? Shape{n, k} : Shape{k, n}), c, {ta, tb});
              return Tensors{c};
            },
            1);
      }
    }
  }
}

TEST_F(Cuda, RowSizes) {
  for (const std::size_t cols :
       {1u, 3u, 4u, 255u, 256u, 260u, 512u, 513u, 1024u, 5000u, 9000u, 14'000u, 25'000u, 30'000u}) {
    constexpr std::size_t rows = 300;
    expect_same(
        "rows of " + std::to_string(cols),
        [&](CommandEncoder& e) {
          const Tensor x = random_tensor(e, 1, {rows, cols}), y = result(e, {rows, cols}),
                       dx = result(e, {rows, cols}), dweight = result(e, {cols}), loss = result(e, {1}),
                       dlogits = result(e, {rows, cols});
          const Tensor weight = random_tensor(e, 2, {cols}), ids = random_ids(e, 3, rows, cols);
          rms_norm(e, x, weight, y);
          rms_norm_backward(e, x, weight, y, dx, dweight);
          cross_entropy(e, y, ids, loss);
          cross_entropy_backward(e, y, ids, loss, dlogits);
          return Tensors{y, dx, dweight, loss, dlogits};
        },
        1);
  }
}

TEST_F(Cuda, OutOfMemoryLeavesItUsable) {
  const Device& device = *cuda_device();
  EXPECT_TRUE(throws(ErrorCode::out_of_memory, {"bytes were asked for", "free"},
                     [&] { Tensor(device, DType::f32, {std::size_t{1} << 44}); }));
  std::vector<Tensor> held;
  EXPECT_TRUE(throws(ErrorCode::out_of_memory, {"bytes were asked for", "free"}, [&] {
    for (;;) held.emplace_back(Tensor(device, DType::u8, {std::size_t{8} << 30}));
  }));
  held.clear();
  EXPECT_TRUE(same_bits(make(device, {5}).download<float>(), {5}));
}

// Last, as the context is lost: a kernel of the user writes where no memory is.
// Whether the driver lets the process use the device again is the driver's business (580.159 does not).
TEST_F(Cuda, ZzFaultIsAnErrorThatStays) {
  const Device device = Device::open("cuda");
  device.kernels().add("fault",
                       {.cuda = {"struct A { float* y; unsigned long long n; };\n"
                                 "extern \"C\" __global__ void fault(const A a) { *(float*)64 = 1.0f; }",
                                 "fault", Tile{1}, 1}});
  const Tensor y(device, DType::f32, {1});
  CommandEncoder encoder(device);
  encoder.dispatch("fault", {write(y, "y")}, std::uint64_t{1}, Grid{1});
  const Fence fence = device.submit(encoder.finish());
  EXPECT_TRUE(throws(ErrorCode::device_lost, {"cuda:0"}, [&] { fence.wait(); }));
  EXPECT_TRUE(throws(ErrorCode::device_lost, {"opened again"}, [&] { y.download<float>(); }));
  EXPECT_TRUE(throws(ErrorCode::device_lost, {"opened again"}, [&] { Tensor(device, DType::f32, {1}); }));
  try {
    const Device again = Device::open("cuda");
    EXPECT_TRUE(same_bits(make(again, {7}).download<float>(), {7}));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::device_lost) << error.what();
  }
}

}  // namespace

}  // namespace silica::test
