// SPDX-License-Identifier: MIT
// NVRTC compiles every kernel that the catalogue can choose, for every architecture there is hardware of, and
// the PTX holds none of the instructions that are not exact. Needs no GPU.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <set>

#include "backends/cuda/catalogue.h"
#include "backends/cuda/nvrtc.h"
#include "backends/cuda/tensor_core.h"
#include "kernels/matmul/matmul.h"

namespace silica::cuda {

namespace {

using Arguments = std::array<std::byte, max_argument_bytes>;

struct Kernel {
  std::string name, text;
};

// What requests the choices can depend on: sizes at every 8 bytes, or those of a matmul.
std::vector<Arguments> argument_blocks(const CatalogueRow& row) {
  std::vector<Arguments> blocks;
  if (row.name.find(".few_rows.") != row.name.npos) {
    const std::size_t skip = row.name.starts_with("feed_forward.") ? 8 : 0;  // a fourth operand
    for (const std::uint32_t transpose_b : {0u, 1u}) {
      for (const std::uint64_t m : {1u, 4u}) {
        for (const std::uint64_t k : {256u, 257u, 4096u, 5000u}) {
          const kernels::MatmulArguments arguments{nullptr, nullptr, nullptr, m, 520, k, 0, transpose_b};
          std::memcpy(blocks.emplace_back(Arguments{}).data() + skip, &arguments, sizeof arguments);
        }
      }
    }
    return blocks;
  }
  if (row.name.starts_with("matmul.")) {
    for (const std::uint32_t transposes : {0u, 1u, 2u, 3u}) {
      for (const std::uint64_t n : {516u, 515u}) {  // wide, and not
        for (const std::uint64_t m : {1u, 4u, 8u, 512u}) {
          for (const std::uint64_t k : {256u, 257u, 512u, 1024u, 2048u, 4096u, 5000u}) {
            const kernels::MatmulArguments arguments{nullptr, nullptr, nullptr,        m,
                                                     n,       k,       transposes & 1, transposes >> 1};
            std::memcpy(blocks.emplace_back(Arguments{}).data(), &arguments, sizeof arguments);
          }
        }
      }
    }
    return blocks;
  }
  for (const std::uint64_t size : {256u, 257u, 4096u, 1u << 24}) {
    std::memset(blocks.emplace_back(Arguments{}).data(), 0, max_argument_bytes);
    for (std::size_t at = 0; at < max_argument_bytes; at += 8)
      std::memcpy(blocks.back().data() + at, &size, 8);
  }
  return blocks;
}

std::vector<Kernel> kernels_of(const std::string& family) {
  std::vector<Kernel> kernels;
  std::set<std::string> seen;  // but for the entry: some kernels have several names
  if (family == "probe")
    kernels = {{"probe", text_of("probe_", {"probe", "probe", "ProbeArguments", "", 256, 1})}};
  for (const CatalogueRow& row : catalogue()) {
    if (row.base.family != family) continue;
    std::set<std::string> texts;
    for (const Arguments& arguments : argument_blocks(row)) {
      for (const std::uint64_t elements : {256u, 1u << 24}) {
        for (const unsigned multiprocessors : {1u, 1u << 30}) {
          const Choice choice = row.choose(row, {{elements, 1, 1}, arguments.data(), multiprocessors});
          if (seen.insert(text_of("", choice)).second) texts.insert(text_of(row.name, choice));
        }
      }
    }
    for (const std::string& text : texts) kernels.push_back({row.name, text});
  }
  return kernels;
}

// Of Math::fast: every kind, dtype and layout, with instructions of sm_90 alone.
TEST(CudaCompile, TensorCoreKernels) {
  if (!missing_nvrtc().empty()) GTEST_SKIP() << missing_nvrtc();
  if (nvrtc_version() < 12000) GTEST_SKIP() << "NVRTC " << nvrtc_version() << " does not know sm_90a";
  std::set<std::string> texts;
  struct Kind {
    std::string name;
    std::size_t operands;
    std::vector<std::uint32_t> transposes;  // of a, and twice that of b
  };
  for (const auto& [kind, operands, all_transposes] :
       {Kind{"product", 3, {0, 1, 2, 3}}, Kind{"input_backward", 5, {0, 2}}, Kind{"hidden", 4, {0, 2}},
        Kind{"hidden_kept", 6, {0, 2}}, Kind{"hidden_backward", 6, {0, 2}}}) {
    for (const std::string dtype : {"bf16", "f16"}) {
      const CatalogueRow* row = find_tensor_core_kernel("feed_forward." + kind + "." + dtype + ".fast");
      ASSERT_NE(row, nullptr) << kind;
      for (const std::uint32_t transposes : all_transposes) {
        const kernels::ProductSizes sizes{512, 512, 512, transposes & 1, transposes >> 1};
        Arguments arguments{};
        std::memcpy(arguments.data() + operands * 8, &sizes, sizeof sizes);
        const Choice choice = row->choose(*row, {{512, 512, 1}, arguments.data(), 132});
        texts.insert(text_of("kernel", choice));
        EXPECT_TRUE(choice.is_specific);
      }
    }
  }
  EXPECT_EQ(texts.size(), 2u * (4 + 2 + 2));  // two kinds are each another's text
  for (const std::string& text : texts)
    EXPECT_NO_THROW(EXPECT_GT(compile("tensor_core", text, {90, true, true}).size(), 0u)) << text;
}

class CudaCompile : public ::testing::TestWithParam<std::tuple<int, const char*>> {
 protected:
  void SetUp() override {
    if (!missing_nvrtc().empty()) GTEST_SKIP() << missing_nvrtc();
    const Target target = target_for(architecture);
    if (!target.binary) GTEST_SKIP() << "NVRTC " << nvrtc_version() << " does not know sm_" << architecture;
  }
  const int architecture = std::get<0>(GetParam());
  const std::vector<Kernel> kernels = kernels_of(std::get<1>(GetParam()));
};

TEST_P(CudaCompile, ToMachineCode) {
  ASSERT_FALSE(kernels.empty());
  // On sm_90 every kernel, elsewhere one in five: each takes a quarter of a second.
  const std::size_t step = architecture == 90 ? 1 : 5;
  for (std::size_t i = 0; i < kernels.size(); i += step) {
    const Kernel& kernel = kernels[i];
    EXPECT_NO_THROW(EXPECT_GT(compile(kernel.name, kernel.text, {architecture, true}).size(), 0u))
        << kernel.text;
  }
}

void remove(std::string& text, std::string_view word) {
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos;) text.erase(at, word.size());
}

// PTX does not depend on the architecture, but for the conversions.
class CudaPtx : public CudaCompile {};

TEST_P(CudaPtx, HoldsNoInexactInstruction) {
  for (const Kernel& kernel : kernels) {
    const std::vector<std::byte> bytes = compile(kernel.name, kernel.text, {architecture, false});
    std::string ptx(reinterpret_cast<const char*>(bytes.data()));
    // The start of reciprocal_, whose magnitudes are normal; and what decides 16 bits (map/approximation.h).
    remove(ptx, "rcp.approx.ftz.f32");
    if (kernel.name.ends_with("f16")) remove(ptx, "ex2.approx.ftz.f32");
    for (const char* word :
         {"div.approx", "div.full", "sqrt.approx", "rsqrt.", "ex2.", "lg2.", "sin.", "cos.", "tanh.",
          "atom.global", "atom.shared", "\tred.", " red.", ".local", "mad.rn.f32"}) {
      EXPECT_EQ(ptx.find(word), std::string::npos) << kernel.name << " holds " << word;
    }
    EXPECT_EQ(ptx.find(".ftz"), std::string::npos) << kernel.name;
    EXPECT_EQ(ptx.find(".approx"), std::string::npos) << kernel.name;
  }
}

constexpr const char* families[] = {"adamw", "embedding", "layout", "map", "matmul", "probe", "row"};

std::string name_of(const ::testing::TestParamInfo<std::tuple<int, const char*>>& of) {
  return "sm_" + std::to_string(std::get<0>(of.param)) + "_" + std::get<1>(of.param);
}

INSTANTIATE_TEST_SUITE_P(Every, CudaCompile,
                         ::testing::Combine(::testing::Values(80, 90, 100), ::testing::ValuesIn(families)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Every, CudaPtx,
                         ::testing::Combine(::testing::Values(90), ::testing::ValuesIn(families)), name_of);

}  // namespace

}  // namespace silica::cuda
