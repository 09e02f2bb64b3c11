// SPDX-License-Identifier: MIT
// Every op on Vulkan against the CPU, to the bit.
#include <bit>
#include <cstdint>
#include <cstdlib>

#include "op_cases.h"
#include "vulkan_support.h"

namespace silica::test {
namespace {

using Sizes = std::vector<std::size_t>;

constexpr DType float_dtypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr std::size_t sizes[] = {1, 2, 7, 63, 64, 65, 255, 256, 257, 1000, 1023, 1024, 1025, 4097, 70001};

// t: three inputs, then outputs for everything.
void all_maps(CommandEncoder& e, const std::vector<Tensor>& t) {
  auto next = t.begin() + 3;
  for (const ElementwiseOp& op : elementwise_ops()) {
    op.encode(e, {t[0], t[1], t[2]}, {next, next + static_cast<std::ptrdiff_t>(op.outputs)});
    next += static_cast<std::ptrdiff_t>(op.outputs);
  }
  fill(e, 0.1f, *next++);
  copy(e, t[0], *next++);
}

// Of all ops, fill and copy.
std::size_t outputs_of_maps() {
  std::size_t outputs = 2;
  for (const ElementwiseOp& op : elementwise_ops()) outputs += op.outputs;
  return outputs;
}

TEST(VulkanEquality, ElementwiseOps) {
  std::mt19937 random(1);
  for (const DType dtype : float_dtypes) {
    for (const std::size_t n : sizes) {
      // A kernel may have a way of its own for first operands that are neither tiny nor huge.
      for (const bool ordinary_first : {false, true}) {
        Twins twins;
        for (int i = 0; i < 3; ++i) {
          twins.add(dtype, {n},
                    ordinary_first && i == 0 ? rounded(dtype, ordinary(n, random, 10.0f))
                                             : any_bytes(n * size_of(dtype), random));
        }
        for (std::size_t i = 0; i < outputs_of_maps(); ++i) twins.add(dtype, {n});
        twins.run(std::string(to_string(dtype)) + " " + std::to_string(n), all_maps);
      }
    }
  }
}

TEST(VulkanEquality, CastsAndMisalignedViews) {
  std::mt19937 random(2);
  for (const DType from : float_dtypes) {
    for (const DType to : float_dtypes) {
      Twins twins;
      twins.add(from, {4099}, any_bytes(4099 * size_of(from), random));
      twins.add(to, {4099});
      twins.run("cast", [](CommandEncoder& e, const std::vector<Tensor>& t) {
        cast(e, t[0].rows(0, 1000), t[1].rows(1, 1000));
        cast(e, t[0].rows(1001, 3097), t[1].rows(1002, 3097));
      });
    }
  }
  // Words of 16 bytes, several to a thread, where every operand allows it; what lies outside a view stays.
  for (const DType dtype : float_dtypes) {
    for (const std::size_t shift : Sizes{0, 1, 4, 8}) {
      Twins twins;
      for (int i = 0; i < 5; ++i) twins.add(dtype, {5000}, any_bytes(5000 * size_of(dtype), random));
      twins.run(std::string("shifted by ") + std::to_string(shift), [shift](CommandEncoder& e,
                                                                            const std::vector<Tensor>& t) {
        const auto view = [](const Tensor& whole, std::size_t first) { return whole.rows(first, 4321); };
        swiglu_backward(e, view(t[0], shift), view(t[1], 8), view(t[2], 0), view(t[3], 16),
                        view(t[4], shift));
        silu(e, view(t[4], shift), view(t[0], 16));
      });
    }
  }
  for (const std::size_t n : sizes) {
    Twins twins;
    twins.add(DType::u8, {n + 7}, any_bytes(n + 7, random));
    twins.add(DType::u8, {n + 7});
    twins.run("copy", [n](CommandEncoder& e, const std::vector<Tensor>& t) {
      copy(e, t[0].rows(n % 5, n), t[1].rows(n % 3, n));
    });
  }
}

// A part of all 2^32 inputs of each function of one variable: SILICA_SAMPLE=1 takes all of them, the default
// every 191st.
TEST(VulkanEquality, SampledInputs) {
  const char* text = std::getenv("SILICA_SAMPLE");
  const std::uint64_t stride = text == nullptr ? 191 : std::strtoull(text, nullptr, 10);
  ASSERT_GT(stride, 0u);
  constexpr std::size_t batch = std::size_t{1} << 20;
  std::uint64_t next = stride / 3;
  while (next < (std::uint64_t{1} << 32)) {
    std::vector<std::uint32_t> bits;
    for (; bits.size() < batch && next < (std::uint64_t{1} << 32); next += stride) {
      bits.push_back(static_cast<std::uint32_t>(next));
    }
    const auto bytes = std::as_bytes(std::span(bits));
    const std::vector<float> ones(bits.size(), 1.0f);
    Twins twins;
    twins.add(DType::f32, {bits.size()}, {bytes.begin(), bytes.end()});
    twins.add({bits.size()}, ones);
    twins.add({bits.size()}, ones);
    for (std::size_t i = 0; i < outputs_of_maps(); ++i) twins.add(DType::f32, {bits.size()});
    twins.run("from " + std::to_string(bits.front()), all_maps);
  }
}

TEST(VulkanEquality, Matmul) {
  std::mt19937 random(3);
  struct Case {
    std::size_t m, n, k;
  };
  for (const auto [m, n, k] :
       {Case{1, 1, 1}, Case{2, 3, 7}, Case{64, 64, 16}, Case{65, 63, 17}, Case{1, 300, 257},
        Case{300, 1, 512}, Case{70, 130, 255}, Case{33, 65, 769}, Case{5, 129, 1025}}) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        Twins twins;
        const Shape a = ta ? Shape{k, m} : Shape{m, k}, b = tb ? Shape{n, k} : Shape{k, n};
        twins.add(a, ordinary(m * k, random));
        twins.add(b, ordinary(n * k, random, 1e-3f));
        twins.add({m, n}, ordinary(m * n, random));
        twins.add(DType::f32, {m, n});
        twins.add(DType::f32, a);
        twins.add(DType::f32, b);
        twins.run("matmul", [=](CommandEncoder& e, const std::vector<Tensor>& t) {
          matmul(e, t[0], t[1], t[3], {.transpose_a = ta, .transpose_b = tb});
          matmul_backward(e, t[0], t[1], t[2], t[4], t[5], {.transpose_a = ta, .transpose_b = tb});
        });
      }
    }
  }
}

// Products that underflow to -0, infinities and NaN: where padding with zeros would show.
TEST(VulkanEquality, MatmulOfExtremes) {
  std::mt19937 random(4);
  for (const std::size_t k : Sizes{1, 15, 17, 255, 257}) {
    Twins twins;
    const std::size_t m = 35, n = 67;
    twins.add({m, k}, std::vector<float>(m * k, -1e-30f));
    twins.add({k, n}, std::vector<float>(k * n, 1e-30f));
    twins.add(DType::f32, {m, k}, any_bytes(m * k * 4, random));
    twins.add(DType::f32, {k, n}, any_bytes(k * n * 4, random));
    twins.add(DType::f32, {m, n});
    twins.add(DType::f32, {m, n});
    twins.run("extremes", [](CommandEncoder& e, const std::vector<Tensor>& t) {
      matmul(e, t[0], t[1], t[4]);
      matmul(e, t[2], t[3], t[5]);
    });
  }
}

// What the first tile sums up ends at 2^-126; then an element of this, the next or the third takes sums
// below.
TEST(VulkanEquality, MatmulBecomesTiny) {
  constexpr std::size_t m = 35, n = 67, k = 64;
  for (const float tiny : {0x1p-40f, std::nextafter(0x1p-40f, 0.0f), 0x1p-80f, 0x1p-149f}) {
    for (const std::size_t at : Sizes{3, 20, 40}) {
      std::vector<float> a(m * k), b(k * n, 0x1p-40f);
      for (std::size_t i = 0; i < m * k; ++i) {
        const std::size_t p = i % k;
        const float unit = std::ldexp(1.0f + static_cast<float>(p / 2 + i / k) * 0x1p-23f, -40);
        a[i] = p == at ? tiny : p < 16 ? (p % 2 == 0 ? unit : -unit) : static_cast<float>(p) - 30.5f;
      }
      for (std::size_t i = 0; i < k * n; i += 5) b[i] = 0x1p-40f + 0x1p-63f;
      Twins twins;
      twins.add({m, k}, a);
      twins.add({k, n}, b);
      twins.add(DType::f32, {m, n});
      twins.run("tiny", [](CommandEncoder& e, const std::vector<Tensor>& t) { matmul(e, t[0], t[1], t[2]); });
    }
  }
}

TEST(VulkanEquality, RowOps) {
  std::mt19937 random(5);
  for (const std::size_t cols : Sizes{1, 2, 7, 63, 64, 65, 255, 256, 257, 1000, 4097}) {
    for (const std::size_t rows : Sizes{1, 3, 300}) {
      if (rows * cols > 400000) continue;
      std::vector<std::uint32_t> targets(rows);
      for (auto& target : targets)
        target = static_cast<std::uint32_t>(random() % (cols + cols / 8 + 1));  // or NaN
      for (const bool extreme : {false, true}) {
        Twins twins;
        const Shape shape{rows, cols};
        const auto values = [&](std::size_t n) {
          const auto some = ordinary(n, random, 10.0f);
          const auto bytes = std::as_bytes(std::span(some));
          return extreme ? any_bytes(n * 4, random) : std::vector<std::byte>(bytes.begin(), bytes.end());
        };
        twins.add(DType::f32, shape, values(rows * cols));
        twins.add(DType::f32, {cols}, values(cols));
        twins.add(DType::f32, shape, values(rows * cols));
        twins.add({rows}, targets);
        twins.add({1}, std::vector{0.7f});
        for (int i = 0; i < 3; ++i) twins.add(DType::f32, shape);
        twins.add(DType::f32, {cols});
        twins.add(DType::f32, {1});
        twins.run("rows " + std::to_string(rows) + " x " + std::to_string(cols),
                  [](CommandEncoder& e, const std::vector<Tensor>& t) {
                    rms_norm(e, t[0], t[1], t[5]);
                    rms_norm_backward(e, t[0], t[1], t[2], t[6], t[8]);
                    cross_entropy(e, t[0], t[3], t[9]);
                    cross_entropy_backward(e, t[0], t[3], t[4], t[7]);
                    cross_entropy_backward(e, t[0], t[3], t[4], t[0]);
                  });
      }
    }
  }
}

TEST(VulkanEquality, TallSumsOverRows) {
  std::mt19937 random(6);
  for (const std::size_t rows : Sizes{255, 256, 257, 2048, 2049, 5000}) {
    Twins twins;
    twins.add({rows, 37}, ordinary(rows * 37, random));
    twins.add({37}, ordinary(37, random));
    twins.add({rows, 37}, ordinary(rows * 37, random));
    twins.add(DType::f32, {37});
    twins.run("rows " + std::to_string(rows), [](CommandEncoder& e, const std::vector<Tensor>& t) {
      rms_norm_backward(e, t[0], t[1], t[2], Tensor(), t[3]);
    });
  }
}

TEST(VulkanEquality, Embedding) {
  std::mt19937 random(7);
  for (const std::size_t n : Sizes{1, 2, 255, 256, 257, 1000}) {
    for (const std::size_t cols : Sizes{1, 15, 16, 17, 300}) {
      const std::size_t rows = 19;
      std::vector<std::uint32_t> ids(n);
      for (auto& id : ids)
        id = static_cast<std::uint32_t>(random() % (rows + 2));  // two of them out of range
      Twins twins;
      twins.add(DType::f32, {rows, cols}, any_bytes(rows * cols * 4, random));
      twins.add({n}, ids);
      twins.add({n, cols}, ordinary(n * cols, random));
      twins.add(DType::f32, {n, cols});
      twins.add(DType::f32, {rows, cols});
      twins.run("embedding", [](CommandEncoder& e, const std::vector<Tensor>& t) {
        embedding(e, t[0], t[1], t[3]);
        embedding_backward(e, t[1], t[2], t[4]);
      });
    }
  }
}

TEST(VulkanEquality, TrainingRun) {
  const Training a = train(cpu(), 40), b = train(gpu(), 40);
  EXPECT_EQ(a.weights, b.weights);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(a.last_loss), std::bit_cast<std::uint32_t>(b.last_loss));
  EXPECT_LT(a.last_loss, 0.5f * a.first_loss);
}

}  // namespace
}  // namespace silica::test
