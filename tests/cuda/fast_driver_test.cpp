// SPDX-License-Identifier: MIT
// Math::fast on a driver and a cuBLASLt of our own: what the library is asked for, which of its algorithms is
// taken, how lists with it are replayed, and what is said when it fails. NVRTC is the real one; without it
// these tests are skipped.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "backends/cuda/nvrtc.h"
#include "fake_cublaslt.h"
#include "fake_driver.h"
#include "support.h"

namespace silica::test {

namespace {

// Before the first use of the library.
const bool ready = [] {
  const auto cache =
      std::filesystem::temp_directory_path() / ("silica-fast-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(cache);
  ::setenv("SILICA_CACHE_DIR", cache.c_str(), 1);
  ::setenv("SILICA_LIBCUDA", SILICA_FAKE_DRIVER, 1);
  ::setenv("SILICA_LIBCUBLASLT", SILICA_FAKE_CUBLASLT, 1);
  static const struct Remover {
    std::filesystem::path path;
    ~Remover() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  } remover{cache};
  return true;
}();

constexpr DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr MatmulOptions all_options[] = {{false, false}, {false, true}, {true, false}, {true, true}};

class CudaFast : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::missing_nvrtc().empty()) GTEST_SKIP() << cuda::missing_nvrtc();
    fake_reset();
    fake_lt_reset();
    before_ = fake_counts();
    left_behind_ = fake_lt_counts().objects;
    device_ = Device::open("cuda");
  }
  void TearDown() override {
    if (!device_) return;
    device_.reset();
    fake_reset();
    const FakeCounts after = fake_counts();
    EXPECT_EQ(after.allocations, before_.allocations);
    EXPECT_EQ(after.objects, before_.objects);
    EXPECT_EQ(after.contexts_pushed, before_.contexts_pushed);
    EXPECT_EQ(fake_lt_counts().objects, left_behind_);
  }
  const Device& device() const { return *device_; }
  long left_behind_ = 0;  // of the library's objects

 private:
  FakeCounts before_{};
  std::optional<Device> device_;
};

// Whole numbers, so that every sum is exact in any order and dtype.
std::vector<float> whole(Random& random, std::size_t n) {
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(random.below(7)) - 3.0f;
  return values;
}

struct Matrix {
  std::size_t rows, cols;
  std::vector<float> values;
  float at(std::size_t i, std::size_t j, bool transpose) const {
    return transpose ? values[j * cols + i] : values[i * cols + j];
  }
};

std::vector<float> product(const Matrix& a, bool ta, const Matrix& b, bool tb) {
  const std::size_t m = ta ? a.cols : a.rows, k = ta ? a.rows : a.cols, n = tb ? b.rows : b.cols;
  std::vector<float> c(m * n);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t l = 0; l < k; ++l) c[i * n + j] += a.at(i, l, ta) * b.at(l, j, tb);
    }
  }
  return c;
}

// c = a b on the fast kernel of f32.
CommandList one_product(const Device& device, std::size_t m, std::size_t n, std::size_t k) {
  CommandEncoder e(device, {.math = Math::fast});
  matmul(e, Tensor(device, DType::f32, {m, k}), Tensor(device, DType::f32, {k, n}),
         Tensor(device, DType::f32, {m, n}));
  return e.finish();
}

TEST_F(CudaFast, IsListed) {
  EXPECT_NE(list_devices()[0].description.find("cuBLASLt 12.9"), std::string::npos);
}

TEST_F(CudaFast, EveryTransposeAndDtype) {
  Random random(1);
  constexpr std::size_t m = 5, n = 7, k = 3;
  for (const DType dtype : dtypes) {
    for (const auto& [ta, tb] : all_options) {
      const Matrix a{ta ? k : m, ta ? m : k, whole(random, m * k)},
          b{tb ? n : k, tb ? k : n, whole(random, k * n)};
      const Guarded c(device(), dtype, {m, n});
      CommandEncoder e(device(), {.math = Math::fast});
      matmul(e, make(device(), dtype, {a.rows, a.cols}, a.values),
             make(device(), dtype, {b.rows, b.cols}, b.values), c.tensor, {ta, tb});
      EXPECT_EQ(e.commands(), 1u);
      device().submit(e.finish()).wait();
      EXPECT_TRUE(same_bits(get(c.tensor), product(a, ta, b, tb))) << to_string(dtype) << ta << tb;
      EXPECT_TRUE(c.intact());
    }
  }
}

TEST_F(CudaFast, Backward) {
  Random random(2);
  constexpr std::size_t m = 7, n = 6, k = 5;  // no few rows, which have a kernel of their own
  for (const DType dtype : dtypes) {
    for (const auto& [ta, tb] : all_options) {
      const Matrix a{ta ? k : m, ta ? m : k, whole(random, m * k)},
          b{tb ? n : k, tb ? k : n, whole(random, k * n)}, dc{m, n, whole(random, m * n)};
      const Tensor da(device(), dtype, {a.rows, a.cols}), db(device(), dtype, {b.rows, b.cols});
      CommandEncoder e(device(), {.math = Math::fast});
      matmul_backward(e, make(device(), dtype, da.shape(), a.values),
                      make(device(), dtype, db.shape(), b.values), make(device(), dtype, {m, n}, dc.values),
                      da, db, {ta, tb});
      EXPECT_EQ(e.commands(), 2u);
      device().submit(e.finish()).wait();
      EXPECT_TRUE(same_bits(get(da), ta ? product(b, tb, dc, true) : product(dc, false, b, !tb))) << ta << tb;
      EXPECT_TRUE(same_bits(get(db), tb ? product(dc, true, a, ta) : product(a, !ta, dc, false))) << ta << tb;
    }
  }
}

TEST_F(CudaFast, Batch) {
  Random random(3);
  constexpr std::size_t m = 3, n = 4, k = 2, batch = 3;
  const std::vector<float> a = whole(random, batch * m * k), b = whole(random, batch * k * n);
  const Tensor c(device(), DType::f32, {batch, m, n});
  struct Parameters {
    std::uint64_t m, n, k;
    std::uint32_t transpose_a, transpose_b;
  };
  CommandEncoder e(device(), {.math = Math::fast});
  e.dispatch("matmul.matmul.f32.fast",
             {read(make(device(), DType::f32, {batch, m, k}, a), "a"),
              read(make(device(), DType::f32, {batch, k, n}, b), "b"), write(c, "c")},
             Parameters{m, n, k, 0, 0}, Grid{n, m, batch});
  device().submit(e.finish()).wait();
  std::vector<float> want;
  for (std::size_t i = 0; i < batch; ++i) {
    const auto part = [i](const std::vector<float>& all, std::size_t size) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(i * size);
      return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(size));
    };
    const std::vector<float> one = product({m, k, part(a, m * k)}, false, {k, n, part(b, k * n)}, false);
    want.insert(want.end(), one.begin(), one.end());
  }
  EXPECT_TRUE(same_bits(get(c), want));
}

TEST_F(CudaFast, ExactEncodersDoNotUseIt) {
  one_product(device(), 2, 2, 2);
  CommandEncoder e(device());
  EXPECT_EQ(e.math(), Math::exact);
  const Tensor x = make(device(), DType::f32, {2, 2}, {1, 2, 3, 4}), y(device(), DType::f32, {2, 2});
  matmul(e, x, x, y);
  device().submit(e.finish()).wait();
  EXPECT_EQ(fake_lt_counts().heuristics, 0);
}

TEST_F(CudaFast, AnEncoderStaysFastAfterFinish) {
  CommandEncoder e(device(), {.math = Math::fast});
  e.finish();
  EXPECT_EQ(e.math(), Math::fast);
}

TEST_F(CudaFast, TakesTheFastestAndKeepsIt) {
  const float times[] = {3.0f, 1.0f, 2.0f};
  fake_lt_offer(times, 3);
  device().submit(one_product(device(), 4, 4, 4)).wait();
  EXPECT_EQ(fake_lt_counts().runs[0], 7);
  EXPECT_EQ(fake_lt_counts().runs[1], 7 + 1);
  EXPECT_EQ(fake_lt_counts().runs[2], 7);
  const CommandList list = one_product(device(), 4, 4, 4);
  for (int i = 0; i < 2; ++i) device().submit(list).wait();
  EXPECT_EQ(fake_lt_counts().runs[1], 7 + 3);
  EXPECT_EQ(fake_lt_counts().heuristics, 1);
  device().submit(one_product(device(), 4, 4, 5)).wait();  // another shape
  EXPECT_EQ(fake_lt_counts().heuristics, 2);
}

TEST_F(CudaFast, NoiseDoesNotChangeTheChoice) {
  const float times[] = {1.0f, 0.99f};
  fake_lt_offer(times, 2);
  device().submit(one_product(device(), 4, 4, 4)).wait();
  EXPECT_EQ(fake_lt_counts().runs[0], 7 + 1);
}

TEST_F(CudaFast, MeasuringLeavesTheOutputAlone) {
  const float times[] = {2.0f, 1.0f};
  fake_lt_offer(times, 2);
  // The second product reads what is in c before the list runs.
  const Tensor c = make(device(), DType::f32, {2, 2}, {1, 2, 3, 4}), d(device(), DType::f32, {2, 2}),
               i = make(device(), DType::f32, {2, 2}, {1, 0, 0, 1}), z(device(), DType::f32, {2, 3});
  CommandEncoder e(device(), {.math = Math::fast});
  matmul(e, c, i, d);
  matmul(e, z, z, c, {.transpose_b = true});  // of another shape, so it is measured as well
  device().submit(e.finish()).wait();
  EXPECT_TRUE(same_bits(get(d), {1, 2, 3, 4}));
  EXPECT_TRUE(same_bits(get(c), {0, 0, 0, 0}));
}

TEST_F(CudaFast, WithoutMemoryToMeasureItTakesTheFirst) {
  const float times[] = {2.0f, 1.0f};
  fake_lt_offer(times, 2);
  const CommandList first = one_product(device(), 4, 4, 4), second = one_product(device(), 4, 4, 5);
  device().submit(first).wait();  // takes the workspace
  const long before = fake_lt_counts().runs[0];
  fake_fail_next("cuMemAllocFromPoolAsync", 2);
  device().submit(second).wait();
  EXPECT_EQ(fake_lt_counts().runs[0], before + 1);
}

TEST_F(CudaFast, AnAlgorithmThatDoesNotRunIsNotTaken) {
  const float times[] = {1.0f, 2.0f};
  fake_lt_offer(times, 2);
  fake_lt_fail_next("cublasLtMatmul", 15);  // the first run of the first
  device().submit(one_product(device(), 4, 4, 4)).wait();
  EXPECT_EQ(fake_lt_counts().runs[0], 0);
  EXPECT_EQ(fake_lt_counts().runs[1], 7 + 1);
}

TEST_F(CudaFast, TellsTheAlignment) {
  const Tensor whole_tensor(device(), DType::bf16, {64});
  const auto at = [&](std::size_t offset) { return whole_tensor.rows(offset, 4).reshape({2, 2}); };
  CommandEncoder e(device(), {.math = Math::fast});
  matmul(e, at(1), at(8), at(18));
  device().submit(e.finish()).wait();
  const FakeLtCounts counts = fake_lt_counts();  // its first factor is our second
  EXPECT_GE(counts.align[0], 16u);
  EXPECT_EQ(counts.align[1], 2u);
  EXPECT_EQ(counts.align[2], 4u);
  EXPECT_EQ(counts.align[3], 4u);
}

// Few rows of a transposed b have a kernel that is exact and no slower; of b as it is, without Math::fast.
TEST_F(CudaFast, FewRowsOfATransposedBAreNotTheLibrarys) {
  const Tensor a(device(), DType::bf16, {2, 8}), b(device(), DType::bf16, {8, 8}),
      c(device(), DType::bf16, {2, 8});
  const auto heuristics = [&](Math math, bool transpose_b) {
    const long before = fake_lt_counts().heuristics;
    CommandEncoder e(device(), {.math = math});
    matmul(e, a, b, c, {.transpose_b = transpose_b});
    EXPECT_EQ(e.commands(), 1u);
    device().submit(e.finish()).wait();
    return fake_lt_counts().heuristics - before;
  };
  EXPECT_EQ(heuristics(Math::fast, true), 0);
  EXPECT_EQ(heuristics(Math::fast, false), 1);
  EXPECT_EQ(heuristics(Math::exact, true), 0);
  EXPECT_EQ(heuristics(Math::exact, false), 0);
}

// ---- the library's own kernels, of feed_forward

struct FeedForwardList {
  CommandList list;
  std::size_t forward, all;  // commands
};
FeedForwardList feed_forward_list(const Device& device, std::size_t tokens, std::size_t offset = 0,
                                  bool in_out = false) {
  constexpr std::size_t width = 4096, hidden = 1024;
  constexpr DType dtype = DType::bf16;
  const auto tensor = [&](std::size_t rows, std::size_t cols) { return Tensor(device, dtype, {rows, cols}); };
  const auto weights = [&] {
    const std::size_t rows = in_out ? width : hidden, cols = in_out ? hidden : width;
    return FeedForwardWeights{tensor(rows, cols), tensor(rows, cols), tensor(cols, rows)};
  };
  const Tensor whole_x(device, dtype, {tokens * width + offset});
  const Tensor x = whole_x.rows(offset, tokens * width).reshape({tokens, width}), y = tensor(tokens, width);
  const FeedForwardWeights w = weights(), dw = weights();
  const FeedForwardKept kept{tensor(tokens, hidden), tensor(tokens, hidden), tensor(tokens, hidden)};
  CommandEncoder e(device, {.math = Math::fast});
  feed_forward(e, x, w, y, kept, {in_out});
  const std::size_t forward = e.commands();
  feed_forward_backward(e, x, w, kept, tensor(tokens, width), tensor(tokens, width), dw, {in_out});
  const std::size_t all = e.commands();
  return {e.finish(), forward, all};
}

TEST_F(CudaFast, FeedForwardHasKernelsOfItsOwn) {
  const FeedForwardList own = feed_forward_list(device(), 1024);
  EXPECT_EQ(own.forward, 2u);
  EXPECT_EQ(own.all, 7u);
  const long before = fake_counts().launches;
  device().submit(own.list).wait();
  EXPECT_EQ(fake_calls("cuTensorMapEncodeTiled"), 6 + 3 + 6 + 5 + 3 * 3);  // one for each operand
  EXPECT_EQ(fake_counts().launches, before + 7);
  for (int i = 0; i < 3; ++i) device().submit(own.list).wait();
  // A graph: [hidden], [y and the gradients of hidden], [those of x and of the weights].
  EXPECT_EQ(fake_counts().nodes, 7);
  EXPECT_EQ(fake_counts().edges, 2 + 2 * 4);
  EXPECT_EQ(fake_counts().graph_launches, 3);
  EXPECT_EQ(fake_lt_counts().heuristics, 0);
}

TEST_F(CudaFast, FeedForwardHasThemForWeightsOfInOut) {
  const FeedForwardList own = feed_forward_list(device(), 1024, 0, true);
  EXPECT_EQ(own.forward, 2u);
  EXPECT_EQ(own.all, 7u);
  device().submit(own.list).wait();
  EXPECT_EQ(fake_calls("cuTensorMapEncodeTiled"), 6 + 3 + 6 + 5 + 3 * 3);
}

TEST_F(CudaFast, FeedForwardOfSmallOrMisalignedOperandsIsOfOps) {
  EXPECT_EQ(feed_forward_list(device(), 1024, 8).forward, 2u);  // 16 bytes on
  EXPECT_GT(feed_forward_list(device(), 1024, 4).forward, 2u);
  EXPECT_GT(feed_forward_list(device(), 512).forward, 2u);
}

TEST_F(CudaFast, ATensorMapThatFailsIsAnError) {
  const FeedForwardList own = feed_forward_list(device(), 1024);
  const long before = fake_counts().launches;
  fake_fail_next("cuTensorMapEncodeTiled", 1);
  EXPECT_TRUE(throws(ErrorCode::unsupported, {"feed_forward", "tensor map", "1024 x 4096"},
                     [&] { device().submit(own.list); }));
  EXPECT_EQ(fake_counts().launches, before);
  device().submit(own.list).wait();  // nothing is left of it
  EXPECT_EQ(fake_counts().launches, before + 7);
}

CommandList mixed(const Device& device) {
  CommandEncoder e(device, {.math = Math::fast});
  const Tensor x = make(device, DType::f32, {2, 2}, {1, 2, 3, 4}), y = e.temporary(DType::f32, {2, 2}),
               z(device, DType::f32, {2, 2});
  silu(e, x, y);
  matmul(e, y, x, z);
  scale(e, z, 2.0f, z);
  return e.finish();
}

TEST_F(CudaFast, ReplaysARecording) {
  const CommandList list = mixed(device());
  const long before = fake_counts().launches;
  for (int i = 0; i < 4; ++i) device().submit(list).wait();
  EXPECT_EQ(fake_counts().launches - before, 2);
  EXPECT_EQ(fake_counts().graph_launches, 3);
  EXPECT_EQ(fake_counts().nodes, 2);
  EXPECT_EQ(fake_lt_counts().captured, 1);
  EXPECT_EQ(fake_lt_counts().runs[0], 1);
  EXPECT_EQ(fake_calls("cuStreamBeginCapture"), 1);
  EXPECT_EQ(fake_calls("cuGraphInstantiate"), 1);
}

TEST_F(CudaFast, WhatCannotBeRecordedStillRuns) {
  for (const char* entry :
       {"cuStreamBeginCapture", "cuStreamEndCapture", "cublasLtMatmul", "cuLaunchKernel"}) {
    const CommandList list = mixed(device());
    device().submit(list).wait();
    const long before = fake_lt_counts().runs[0], graphs = fake_counts().graph_launches;
    if (std::string_view(entry).starts_with("cublasLt")) {
      fake_lt_fail_next(entry, 14);
    } else {
      fake_fail_next(entry, 901);
    }
    for (int i = 0; i < 2; ++i) device().submit(list).wait();
    EXPECT_EQ(fake_lt_counts().runs[0] - before, 2) << entry;
    EXPECT_EQ(fake_counts().graph_launches, graphs) << entry;
  }
}

TEST_F(CudaFast, FailuresNameTheProduct) {
  const Words words = {"matmul", "(2, 3, 4)", "f32", "CUBLAS_STATUS_NOT_SUPPORTED (15)"};
  const CommandList list = one_product(device(), 2, 3, 4);
  for (const char* entry :
       {"cublasLtMatmulDescCreate", "cublasLtMatmulDescSetAttribute", "cublasLtMatrixLayoutCreate",
        "cublasLtMatmulPreferenceCreate", "cublasLtMatmulPreferenceSetAttribute",
        "cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"}) {
    fake_lt_fail_next(entry, 15);
    EXPECT_TRUE(throws(ErrorCode::unsupported, words, [&] { device().submit(list); })) << entry;
  }
  fake_lt_fail_next("cublasLtMatmul", 3);
  EXPECT_TRUE(throws(ErrorCode::out_of_memory, {"(2, 3, 4)"}, [&] { device().submit(list); }));
  device().submit(list).wait();
}

TEST_F(CudaFast, ALibraryThatDoesNotStart) {
  const CommandList list = one_product(device(), 2, 3, 4);
  fake_lt_fail_next("cublasLtCreate", 1);
  EXPECT_TRUE(throws(ErrorCode::unsupported, {"cuda:0", "cuBLASLt does not start", "(1)"},
                     [&] { device().submit(list); }));
  device().submit(list).wait();
}

TEST_F(CudaFast, ALostDeviceIsTheReason) {
  const CommandList list = one_product(device(), 2, 3, 4);
  device().submit(list).wait();
  fake_lt_fail_next("cublasLtMatmul", 13);
  fake_fail_next("cuStreamSynchronize", 700);
  EXPECT_TRUE(throws(ErrorCode::device_lost, {"ILLEGAL_ADDRESS"}, [&] { device().submit(list); }));
  Device::open("cuda");  // which makes the context anew
  ++left_behind_;        // the handle: its context was lost
}

}  // namespace

}  // namespace silica::test
