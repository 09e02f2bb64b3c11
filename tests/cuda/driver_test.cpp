// SPDX-License-Identifier: MIT
// The CUDA backend on a driver that does as it is told: what it calls, what it says when that fails, and that
// nothing is left behind. NVRTC is the real one; without it these tests are skipped.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "backends/cuda/nvrtc.h"
#include "fake_driver.h"
#include "support.h"

namespace silica::test {

namespace {

// Before the first use of the library.
const bool ready = [] {
  const auto cache =
      std::filesystem::temp_directory_path() / ("silica-driver-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(cache);
  ::setenv("SILICA_CACHE_DIR", cache.c_str(), 1);
  ::setenv("SILICA_LIBCUDA", SILICA_FAKE_DRIVER, 1);
  ::setenv("SILICA_LIBCUBLASLT", "none", 1);
  static const struct Remover {
    std::filesystem::path path;
    ~Remover() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  } remover{cache};
  return true;
}();

class CudaDriver : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::missing_nvrtc().empty()) GTEST_SKIP() << cuda::missing_nvrtc();
    fake_reset();
    before_ = fake_counts();
  }
  void TearDown() override {
    fake_reset();
    const FakeCounts after = fake_counts();
    EXPECT_EQ(after.allocations, before_.allocations);
    EXPECT_EQ(after.objects, before_.objects);
    EXPECT_EQ(after.contexts_pushed, before_.contexts_pushed);
  }

 private:
  FakeCounts before_{};
};

CommandList two_stages(const Device& device, Tensor& x, Tensor& y) {
  x = make(device, {1, 2, 3, 4});
  y = Tensor(device, DType::f32, {4});
  CommandEncoder encoder(device);
  silu(encoder, x, y);
  scale(encoder, y, 2.0f, y);
  return encoder.finish();
}

TEST_F(CudaDriver, IsListedAndOpened) {
  const std::vector<DeviceInfo> devices = list_devices();
  ASSERT_GE(devices.size(), 3u);
  EXPECT_EQ(devices[0].name, "cuda:0");
  EXPECT_EQ(devices[1].name, "cuda:1");
  EXPECT_TRUE(devices[0].usable && devices[0].exact) << devices[0].note;
  EXPECT_NE(devices[0].description.find("Fake GPU, sm_90"), std::string::npos) << devices[0].description;
  EXPECT_EQ(Device::open("cuda").name(), "cuda:0");
  EXPECT_EQ(Device::open().name(), "cuda:0");
  EXPECT_TRUE(refuses({"cuda:7", "2 GPUs"}, [] { Device::open("cuda:7"); }));
}

TEST_F(CudaDriver, IsExactAndSaysSoWithoutCublasLt) {
  const std::string description = list_devices()[0].description;
  EXPECT_NE(description.find("matmul of Math::fast is exact: no cuBLASLt (SILICA_LIBCUBLASLT is 'none'"),
            std::string::npos)
      << description;
  const Device device = Device::open("cuda");
  const Tensor x = make(device, DType::f32, {2, 2}, {1, 2, 3, 4}), y(device, DType::f32, {2, 2});
  CommandEncoder encoder(device, {.math = Math::fast});
  matmul(encoder, x, x, y);
  const long before = fake_counts().launches;
  device.submit(encoder.finish()).wait();
  EXPECT_EQ(fake_counts().launches - before, 1);
}

// Both lists launch one kernel, by turns with more shared memory and with less.
TEST_F(CudaDriver, AListKeepsTheSharedMemoryItNeeds) {
  const Device device = Device::open("cuda");
  const auto list = [&](std::size_t cols) {
    CommandEncoder encoder(device);
    softmax(encoder, Tensor(device, DType::f32, {2, cols}), Tensor(device, DType::f32, {2, cols}));
    return encoder.finish();
  };
  const CommandList large = list(20'000), small = list(2000);
  device.submit(large).wait();
  const long modules = fake_calls("cuModuleLoadData");
  device.submit(small).wait();
  EXPECT_EQ(fake_calls("cuModuleLoadData"), modules);
  device.submit(large).wait();
}

TEST_F(CudaDriver, MovesBytesOfEverySize) {
  const Device device = Device::open("cuda");
  for (const std::size_t n :
       {std::size_t{1}, std::size_t{1000}, std::size_t{1} << 20, (std::size_t{5} << 20) + 3}) {
    const std::vector<float> values = Random(n).floats(n);
    EXPECT_TRUE(same_bits(make(device, values).download<float>(), values));
  }
  EXPECT_EQ(Tensor(device, DType::f32, {0}).download<float>().size(), 0u);
  EXPECT_TRUE(same_bits(Tensor(device, DType::f32, {3}).download<float>(), {0, 0, 0}));
}

TEST_F(CudaDriver, LaunchesFirstAndReplaysAGraphAfter) {
  const Device device = Device::open("cuda");
  Tensor x, y;
  const CommandList list = two_stages(device, x, y);
  const long probes = fake_counts().launches;
  device.submit(list).wait();
  EXPECT_EQ(fake_counts().launches - probes, 2);
  EXPECT_EQ(fake_calls("cuGraphCreate"), 0);
  for (int i = 0; i < 3; ++i) device.submit(list).wait();
  EXPECT_EQ(fake_counts().launches - probes, 2);
  EXPECT_EQ(fake_counts().graph_launches, 3);
  EXPECT_EQ(fake_calls("cuGraphInstantiate"), 1);
  EXPECT_EQ(fake_counts().nodes, 2);
  EXPECT_EQ(fake_counts().edges, 1);
  EXPECT_EQ(fake_calls("cuGraphAddDependencies_v2"), 1);  // an early start
}

TEST_F(CudaDriver, CommandsOfAStageAreBranches) {
  const Device device = Device::open("cuda");
  CommandEncoder encoder(device);
  const Tensor x = make(device, {1, 2});
  for (int stage = 0; stage < 2; ++stage) {
    for (int i = 0; i < 6; ++i) silu(encoder, x, Tensor(device, DType::f32, {2}));
    if (stage == 0) silu(encoder, x, x);
  }
  const CommandList list = encoder.finish();
  ASSERT_EQ(list.stages(), 3u);
  device.submit(list).wait();
  device.submit(list).wait();
  EXPECT_EQ(fake_counts().nodes, 13);
  EXPECT_EQ(fake_counts().edges, 6 + 6);
}

TEST_F(CudaDriver, WideStagesMeetInANode) {
  const Device device = Device::open("cuda");
  CommandEncoder encoder(device);
  std::vector<Tensor> middle;
  const Tensor x = make(device, {1, 2});
  for (int i = 0; i < 6; ++i) middle.push_back(Tensor(device, DType::f32, {2}));
  for (const Tensor& y : middle) silu(encoder, x, y);
  for (const Tensor& y : middle) silu(encoder, y, y);
  const CommandList list = encoder.finish();
  ASSERT_EQ(list.stages(), 2u);
  device.submit(list).wait();
  device.submit(list).wait();
  EXPECT_EQ(fake_calls("cuGraphAddEmptyNode"), 1);
  EXPECT_EQ(fake_counts().edges, 6 + 6);
}

TEST_F(CudaDriver, RunsWithoutAGraphWhenThereIsNoMemoryForOne) {
  const Device device = Device::open("cuda");
  Tensor x, y;
  const CommandList list = two_stages(device, x, y);
  device.submit(list).wait();
  fake_fail_next("cuGraphInstantiate", 2);
  const long before = fake_counts().launches;
  for (int i = 0; i < 2; ++i) device.submit(list).wait();
  EXPECT_EQ(fake_counts().launches - before, 4);
  EXPECT_EQ(fake_counts().graph_launches, 0);
}

TEST_F(CudaDriver, OutOfMemorySaysHowMuchAndTheDeviceGoesOn) {
  const Device device = Device::open("cuda");
  const Tensor half(device, DType::u8, {std::size_t{1} << 29});
  const auto too_much = [&] { Tensor(device, DType::u8, {(std::size_t{1} << 29) + (1 << 20)}); };
  EXPECT_TRUE(throws(ErrorCode::out_of_memory, {"537919488 bytes", "of 1073741824 are free"}, too_much));
  EXPECT_GE(fake_calls("cuMemPoolTrimTo"), 1);
  EXPECT_TRUE(throws(ErrorCode::out_of_memory, {"bytes"},
                     [&] { Tensor(device, DType::f32, {std::size_t{1} << 60}); }));
  EXPECT_TRUE(same_bits(make(device, {5}).download<float>(), {5}));
  EXPECT_EQ(device.memory().bytes, half.bytes());
}

TEST_F(CudaDriver, ARetryAfterTrimmingIsNoError) {
  const Device device = Device::open("cuda");
  fake_fail_next("cuMemAllocFromPoolAsync", 2);
  EXPECT_EQ(Tensor(device, DType::f32, {8}).size(), 8u);
  EXPECT_EQ(fake_calls("cuMemPoolTrimTo"), 1);
}

TEST_F(CudaDriver, AfterAStickyErrorEveryCallSaysSo) {
  const Device device = Device::open("cuda");
  Tensor x, y;
  const CommandList list = two_stages(device, x, y);
  const Fence fence = device.submit(list);
  fake_fail_next("cuEventSynchronize", 700);
  EXPECT_TRUE(throws(ErrorCode::device_lost, {"ILLEGAL_ADDRESS"}, [&] { fence.wait(); }));
  const Words words = {"cuda:0", "opened again", "ILLEGAL_ADDRESS"};
  EXPECT_TRUE(throws(ErrorCode::device_lost, words, [&] { fence.wait(); }));
  EXPECT_TRUE(fence.done());
  EXPECT_TRUE(throws(ErrorCode::device_lost, words, [&] { device.submit(list); }));
  EXPECT_TRUE(throws(ErrorCode::device_lost, words, [&] { x.download<float>(); }));
  EXPECT_TRUE(throws(ErrorCode::device_lost, words, [&] { x.upload(std::vector<float>(4)); }));
  EXPECT_TRUE(throws(ErrorCode::device_lost, words, [&] { Tensor(device, DType::f32, {1}); }));
  CommandEncoder encoder(device);
  EXPECT_TRUE(throws(ErrorCode::device_lost, words, [&] { sigmoid(encoder, x, y); }));
  // Another session gets a new context.
  const Device again = Device::open("cuda");
  EXPECT_EQ(fake_calls("cuDevicePrimaryCtxReset"), 1);
  EXPECT_TRUE(same_bits(make(again, {7}).download<float>(), {7}));
}

TEST_F(CudaDriver, AFailedLaunchIsAnErrorOfSubmit) {
  const Device device = Device::open("cuda");
  Tensor x, y;
  const CommandList list = two_stages(device, x, y);
  fake_fail_next("cuLaunchKernel", 701);
  EXPECT_TRUE(throws(ErrorCode::unsupported, {"cuda:0", "submit"}, [&] { device.submit(list); }));
  device.submit(list).wait();
}

// Whichever call fails when a device is opened, what was opened before it is closed.
TEST_F(CudaDriver, AFailedOpeningLeavesNothing) {
  for (const char* entry :
       {"cuDevicePrimaryCtxRetain", "cuStreamCreate", "cuMemPoolCreate", "cuMemPoolSetAttribute",
        "cuModuleLoadData", "cuModuleGetFunction", "cuMemAllocFromPoolAsync", "cuMemHostAlloc",
        "cuEventCreate", "cuLaunchKernel", "cuMemsetD8Async", "cuMemcpyHtoDAsync"}) {
    const FakeCounts before = fake_counts();
    fake_fail_next(entry, 801);
    EXPECT_THROW(Device::open("cuda"), Error) << entry;
    EXPECT_EQ(fake_counts().objects, before.objects) << entry;
    EXPECT_EQ(fake_counts().allocations, before.allocations) << entry;
  }
}

constexpr const char* twice = R"(#include "kernels/cuda.h"
struct Arguments { const float* x; float* y; u64 n; };
extern "C" __global__ void twice(const Arguments a) {
  const u64 i = group() * 128 + threadIdx.x;
  if (i < a.n) a.y[i] = a.x[i] + a.x[i];
})";

TEST_F(CudaDriver, RunsKernelsOfTheUser) {
  const Device device = Device::open("cuda");
  device.kernels().add("twice", {.cuda = {twice, "twice", Tile{128}, 128}});
  device.kernels().add("broken", {.cuda = {"this is no program", "twice", Tile{128}, 128}});
  device.kernels().add("nameless", {.cuda = {twice, "not_there", Tile{128}, 128}});
  device.kernels().add("huge", {.cuda = {twice, "twice", Tile{128}, 4096}});
  device.kernels().add("elsewhere", {.cpu = {[](const void*, Groups) {}, Tile{1}}});
  const Tensor x = make(device, {1, 2, 3}), y(device, DType::f32, {3});
  CommandEncoder encoder(device);
  const auto dispatch = [&](const char* name) {
    encoder.dispatch(name, {read(x, "x"), write(y, "y")}, std::uint64_t{3}, Grid{3});
  };
  dispatch("twice");
  EXPECT_TRUE(throws(ErrorCode::compile_failed, {"broken", "error", "this is no program"},
                     [&] { dispatch("broken"); }));
  EXPECT_TRUE(throws(ErrorCode::compile_failed, {"nameless", "not_there"}, [&] { dispatch("nameless"); }));
  EXPECT_TRUE(refuses({"huge", "4096"}, [&] { dispatch("huge"); }));
  EXPECT_TRUE(throws(ErrorCode::unsupported, {"elsewhere", "CUDA"}, [&] { dispatch("elsewhere"); }));
  device.submit(encoder.finish()).wait();
}

TEST_F(CudaDriver, TakesTheCompiledKernelFromDisk) {
  const std::filesystem::path cache = std::getenv("SILICA_CACHE_DIR");
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(cache), std::filesystem::directory_iterator());
  };
  const auto run_silu = [] {
    const Device device = Device::open("cuda");
    Tensor x, y;
    device.submit(two_stages(device, x, y)).wait();
  };
  run_silu();
  const auto after_first = files();
  run_silu();
  EXPECT_EQ(files(), after_first);
  for (const auto& file : std::filesystem::directory_iterator(cache)) {
    std::filesystem::resize_file(file.path(), std::filesystem::file_size(file.path()) / 2);
  }
  run_silu();  // compiles again
  EXPECT_EQ(files(), after_first);
}

TEST_F(CudaDriver, IsSafeForThreads) {
  const Device device = Device::open("cuda");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&device] {
      for (int i = 0; i < 20; ++i) {
        Tensor x, y;
        const CommandList list = two_stages(device, x, y);
        for (int j = 0; j < 3; ++j) device.submit(list).wait();
        EXPECT_TRUE(same_bits(x.download<float>(), {1, 2, 3, 4}));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(CudaDriver, ADeviceMayGoBeforeItsTensorsAndFences) {
  Tensor x, y;
  std::optional<Fence> fence;
  {
    const Device device = Device::open("cuda");
    fence = device.submit(two_stages(device, x, y));
  }
  fence->wait();
  EXPECT_TRUE(same_bits(x.download<float>(), {1, 2, 3, 4}));
}

}  // namespace

}  // namespace silica::test
