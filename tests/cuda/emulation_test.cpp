// SPDX-License-Identifier: MIT
// The kernels of kernels/*/*.cu, run on the host, give the bits of the CPU's kernels: every op, through the
// catalogue that the CUDA backend uses, with the threads of a block in several orders. (Products have a file
// of their own.)
#include <array>
#include <cstdint>
#include <cstring>

#include "core/program.h"
#include "emulated_runs.h"
#include "support.h"

namespace silica::test {

namespace {

TEST(Emulation, HasEveryKernelOfTheCpu) {
  const Device device = Device::open("cpu");
  for (const std::string& name : device.kernels().names()) {
    EXPECT_NE(cuda::find_in_catalogue(name), nullptr) << name;
  }
  const std::size_t few_rows = 2 + 2;  // of matmul and feed_forward, which the CPU does with other kernels
  EXPECT_EQ(cuda::catalogue().size(), device.kernels().names().size() + few_rows);
}

// Groups that move 16 bytes at a time: all whole ones, however many, or none.
TEST(Emulation, WholeGroups) {
  constexpr std::uint64_t n = (std::uint64_t{1} << 33) + 1;
  for (const bool aligned : {true, false}) {
    alignas(8) std::array<std::byte, max_argument_bytes> arguments{};
    if (!aligned) arguments[0] = std::byte{4};
    const auto whole_of = [&](const char* kernel, std::size_t operands) {
      const cuda::CatalogueRow* row = cuda::find_in_catalogue(kernel);
      const cuda::Choice choice = row->choose(*row, {{n, 1, 1}, arguments.data(), h100});
      std::uint32_t whole = 0;
      std::memcpy(&whole, choice.block.data() + operands * 8 + 12, sizeof whole);
      EXPECT_EQ(choice.block.size(), operands * 8 + 16);
      return std::uint64_t{whole};
    };
    // In blocks of 64 threads, of as many vectors of 16 bytes.
    EXPECT_EQ(whole_of("map.swiglu_backward.bf16", 5), aligned ? n / (64 * 2 * 8) : 0);
    EXPECT_EQ(whole_of("map.silu.bf16", 2), aligned ? n / (64 * 4 * 8) : 0);
    EXPECT_EQ(whole_of("map.silu.f32", 2), aligned ? n / (64 * 4 * 4) : 0);
  }
}

// What a block may have: 48 KiB by default, 99 on sm_86, 227 of 228 on sm_90, where two keep one row each;
// the text of rows declares 2 more, and each block costs 1.
TEST(Emulation, KeptRowsFitABlock) {
  for (const cuda::CatalogueRow& row : cuda::catalogue()) {
    if (!row.name.starts_with("row.")) continue;
    for (const auto& [architecture, most] : {std::pair{75, 46u << 10},
                                             {86, 97u << 10},
                                             {90, row.operands == 1 ? 111u << 10 : 225u << 10},
                                             {120, 97u << 10}}) {
      for (const std::uint64_t cols :
           {1ull, 1025ull, 2049ull, 10'235ull, 12'280ull, 12'281ull, 20'472ull, 20'480ull, 24'568ull,
            28'152ull, 40'952ull, 49'136ull, 49'137ull, 56'312ull, 1ull << 40, ~0ull}) {
        std::array<std::uint64_t, max_argument_bytes / 8> arguments{};
        arguments.fill(cols);
        const cuda::Request request{
            {300, 1, 1}, std::as_bytes(std::span(arguments)).data(), h100, architecture};
        EXPECT_LE(row.choose(row, request).shared_bytes, most) << row.name << " of " << cols;
      }
    }
  }
}

class EmulatedOp : public ::testing::TestWithParam<OpCase> {};

TEST_P(EmulatedOp, GivesTheBitsOfTheCpu) { expect_same(GetParam().name, GetParam().encode); }

INSTANTIATE_TEST_SUITE_P(All, EmulatedOp, ::testing::ValuesIn(op_cases()), [](const auto& of) {
  std::string name = of.param.name;
  for (char& c : name) c = c == '.' ? '_' : c;
  return name;
});

constexpr std::size_t map_sizes[] = {1,    2,    3,    4,    5,    7,    8,    9,    63,
                                     64,   255,  256,  257,  1023, 1024, 1025, 1027, 2047,
                                     2048, 2049, 2056, 4095, 4096, 4097, 8192};

TEST(Emulation, ElementwiseSizesAndAlignments) {
  constexpr Order one[] = {Order::forward};
  for (const ElementwiseOp& op : elementwise_ops()) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      for (const std::size_t n : map_sizes) {
        const std::size_t skip = n % 3;
        expect_same(
            op.name + " of " + std::to_string(n),
            [&](CommandEncoder& e) {
              Tensors in, out;
              for (std::size_t i = 0; i < op.inputs; ++i)
                in.push_back(shifted(e, i, dtype, {n}, skip * i, -20, 20));
              for (std::size_t i = 0; i < op.outputs; ++i)
                out.push_back(shifted(e, 9, dtype, {n}, skip, 0, 0));
              op.encode(e, in, out);
              return out;
            },
            h100, one);
      }
    }
  }
}

TEST(Emulation, ElementwiseSpecialValuesAndInPlace) {
  std::vector<float> values;
  for (int i = 0; i < 60; ++i) {
    for (const float value : special_floats()) values.push_back(value);
  }
  for (const ElementwiseOp& op : elementwise_ops()) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      expect_same(op.name, [&](CommandEncoder& e) {
        Tensors in;
        for (std::size_t i = 0; i < op.inputs; ++i) {
          std::vector<float> turned = values;
          std::ranges::rotate(turned, turned.begin() + static_cast<std::ptrdiff_t>(11 * i));
          in.push_back(make(e.device(), dtype, {values.size()}, turned));
        }
        Tensors out = {in[0]};
        if (op.outputs == 2) out.push_back(in.size() > 1 ? in[1] : result(e, {values.size()}, dtype));
        op.encode(e, in, out);
        return out;
      });
    }
  }
}

TEST(Emulation, LargeElementwise) {
  constexpr std::size_t n = (std::size_t{1} << 22) + 5;
  constexpr Order one[] = {Order::forward};
  const std::pair<std::string, DType> cases[] = {{"silu", DType::f32},
                                                 {"swiglu_backward", DType::f32},
                                                 {"silu_backward", DType::f16},
                                                 {"swiglu_backward", DType::bf16}};
  for (const auto& [name, dtype] : cases) {
    const auto op = std::ranges::find(elementwise_ops(), name, &ElementwiseOp::name);
    ASSERT_NE(op, elementwise_ops().end());
    expect_same(
        name,
        [&](CommandEncoder& e) {
          Tensors in;
          for (std::size_t i = 0; i < op->inputs; ++i)
            in.push_back(
                make(e.device(), dtype, {n}, rounded(Random(i + 1).floats(n, -30.0f, 30.0f), dtype)));
          const Tensors out(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(op->outputs));  // in place
          op->encode(e, in, out);
          return out;
        },
        h100, one);
  }
}

TEST(Emulation, BytesOfEveryAlignment) {
  for (const std::size_t n : {1u, 3u, 16u, 1000u, 16384u, 16388u, 40001u}) {
    for (const std::size_t skip : {0u, 1u, 4u, 16u}) {
      expect_same("copy", [&](CommandEncoder& e) {
        const Tensor x = shifted(e, 1, DType::bf16, {n}, skip, -9, 9),
                     y = shifted(e, 2, DType::bf16, {n}, 2 * skip, 0, 0);
        copy(e, x, y);
        return Tensors{y};
      });
    }
  }
}

constexpr std::size_t row_sizes[] = {1,   2,   3,   4,   5,   31,  127, 128, 129,  132,  255,  256,  257,
                                     260, 384, 500, 511, 512, 513, 516, 768, 1000, 1024, 1025, 2052, 5000};

TEST(Emulation, RowSizes) {
  for (const std::size_t cols : row_sizes) {
    for (const std::size_t rows : {1u, 3u}) {
      const std::string what = std::to_string(rows) + " rows of " + std::to_string(cols);
      const std::size_t skip = cols % 2;
      const auto matrix = [=](CommandEncoder& e, std::uint64_t seed) {
        return shifted(e, seed, DType::f32, {rows, cols}, skip, -9, 9);
      };
      expect_same("rms_norm, " + what, [&](CommandEncoder& e) {
        const Tensor y = matrix(e, 3);
        rms_norm(e, matrix(e, 1), random_tensor(e, 2, {cols}), y);
        return Tensors{y};
      });
      expect_same("rms_norm_backward, " + what, [&](CommandEncoder& e) {
        const Tensor dy = matrix(e, 3), dweight = result(e, {cols});
        rms_norm_backward(e, matrix(e, 1), random_tensor(e, 2, {cols}), dy, dy, dweight);
        return Tensors{dy, dweight};
      });
      expect_same("cross_entropy, " + what, [&](CommandEncoder& e) {
        const Tensor loss = result(e, {1});
        cross_entropy(e, matrix(e, 1), random_ids(e, 2, rows, cols + 1), loss);
        return Tensors{loss};
      });
      expect_same("cross_entropy_backward, " + what, [&](CommandEncoder& e) {
        const Tensor logits = matrix(e, 1);
        cross_entropy_backward(e, logits, random_ids(e, 2, rows, cols + 1), random_tensor(e, 3, {1}), logits);
        return Tensors{logits};
      });
    }
  }
}

// Every op on rows, the dtypes in turn; of even sizes in place where that is allowed.
TEST(Emulation, RowOpsOfEverySizeAndDtype) {
  constexpr DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
  constexpr std::size_t rows = 2;
  std::size_t turn = 0;
  for (const RowOp& op : row_ops()) {
    for (const std::size_t cols : row_sizes) {
      const DType dtype = dtypes[turn++ % 3];
      const auto encode = [&](CommandEncoder& e) {
        Tensors in, out;
        for (const auto extent : op.in) {
          const std::uint64_t seed = in.size() + 1;
          in.push_back(extent == RowOp::ids ? random_ids(e, seed, rows, cols + 1)
                                            : shifted(e, seed, operand_dtype(extent, dtype),
                                                      shape_of(extent, rows, cols), cols % 2, -9, 9));
        }
        for (const auto extent : op.out) {
          out.push_back(
              shifted(e, 9, operand_dtype(extent, dtype), shape_of(extent, rows, cols), cols % 2, 0, 0));
        }
        const bool may_share = op.in[0] == RowOp::matrix && op.out[0] == RowOp::matrix;
        if (may_share && cols % 2 == 0 && !op.name.starts_with("kl_divergence")) out[0] = in[0];
        op.encode(e, in, out);
        return out;
      };
      expect_same(op.name + " " + std::string(to_string(dtype)) + " of " + std::to_string(cols), encode);
    }
  }
}

// Of f32: two that are kept, one that is where two are not, and one that is not.
TEST(Emulation, LongRows) {
  for (const std::size_t cols : {14'000u, 28'000u, 28'201u}) {
    const auto row = [cols](CaseEncoder& e, std::uint64_t seed) { return random_tensor(e, seed, {1, cols}); };
    const Encode encode = [&](CaseEncoder& e) {
      const Tensor dx = row(e, 1), dweight = result(e, {cols}), dbias = result(e, {cols}), y = row(e, 5);
      layer_norm_backward(e, dx, random_tensor(e, 2, {cols}), row(e, 3), dx, dweight, dbias);
      softmax(e, y, y);
      return Tensors{dx, dweight, dbias, y};
    };
    expect_same("layer_norm_backward, softmax of " + std::to_string(cols), encode);
  }
}

// The same choices, by their team.
TEST(Emulation, RowsAreKeptWhereTheyFit) {
  const auto team_of = [](const char* kernel, std::uint64_t cols, int architecture) {
    std::array<std::uint64_t, max_argument_bytes / 8> arguments{};
    arguments.fill(cols);
    const cuda::CatalogueRow* row = cuda::find_in_catalogue(kernel);
    const cuda::Request request{{300, 1, 1}, std::as_bytes(std::span(arguments)).data(), h100, architecture};
    const std::string function = row->choose(*row, request).function;
    return function.substr(function.find('<') + 1, function.find("Team") - function.find('<') - 1);
  };
  for (const int architecture : {90, 100, 103}) {
    EXPECT_EQ(team_of("row.layer_norm_backward.f32", 1024, architecture), "Warp");
    EXPECT_EQ(team_of("row.layer_norm_backward.f32", 20'000, architecture), "Keeping");
    EXPECT_EQ(team_of("row.layer_norm_backward.f32", 20'500, architecture), "Block");
    EXPECT_EQ(team_of("row.softmax.f32", 28'000, architecture), "Keeping");
    EXPECT_EQ(team_of("row.softmax.f32", 28'201, architecture), "Block");
  }
  EXPECT_EQ(team_of("row.softmax.f32", 24'000, 86), "Keeping");
  EXPECT_EQ(team_of("row.softmax.f32", 25'000, 86), "Block");
}

TEST(Emulation, SumOverManyRows) {
  constexpr Order one[] = {Order::shuffled};
  for (const std::size_t rows : {255u, 257u, 600u}) {
    expect_same(
        "rms_norm_backward",
        [&](CommandEncoder& e) {
          const Tensor dweight = result(e, {35}), dx = result(e, {rows, 35});
          rms_norm_backward(e, random_tensor(e, 1, {rows, 35}), random_tensor(e, 2, {35}),
                            random_tensor(e, 3, {rows, 35}), dx, dweight);
          return Tensors{dweight};
        },
        h100, one);
  }
}

// A strand has a second block. Only that kernel is emulated: the list's others leave what it reads.
TEST(Emulation, SumOverMoreRowsThanAGroupHasStrandsFor) {
  constexpr std::size_t rows = 33'000, cols = 3;
  const Device device = Device::open("cpu");
  CaseEncoder e(device);
  const Tensor dweight = result(e, {cols});
  rms_norm_backward(e, random_tensor(e, 1, {rows, cols}), random_tensor(e, 2, {cols}),
                    random_tensor(e, 3, {rows, cols}), result(e, {rows, cols}), dweight);
  const CommandList list = e.finish();
  device.submit(list).wait();
  const std::vector<float> want = get(dweight);
  dweight.upload(std::span<const float>(std::vector<float>(cols)));
  for (const Command& command : list.program()->commands) {
    if (command.kernel.find("_weight") == command.kernel.npos) continue;
    const cuda::CatalogueRow* row = cuda::find_in_catalogue(command.kernel);
    run_choice(row->choose(*row, {command.grid, command.arguments.data(), h100}), command.arguments.data(),
               Order::shuffled);
  }
  EXPECT_TRUE(same_bits(get(dweight), want));
}

TEST(Emulation, Embedding) {
  for (const std::size_t n : {1u, 5u, 256u, 257u, 1500u}) {
    for (const std::size_t cols : {1u, 4u, 33u, 300u}) {
      for (const std::size_t rows : {1u, 7u, 60u}) {
        expect_same("embedding", [&](CommandEncoder& e) {
          const Tensor y = result(e, {n, cols});
          embedding(e, random_tensor(e, 1, {rows, cols}), random_ids(e, 2, n, rows + 1), y);
          return Tensors{y};
        });
        expect_same("embedding_backward", [&](CommandEncoder& e) {
          const Tensor dtable = shifted(e, 3, DType::f32, {rows, cols}, 1, -5, 5);
          embedding_backward(e, random_ids(e, 2, n, rows + 1), random_tensor(e, 1, {n, cols}), dtable);
          return Tensors{dtable};
        });
      }
    }
  }
}

TEST(Emulation, BlocksOfEveryAlignment) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::size_t skip : {0u, 1u, 8u}) {
      for (const std::size_t begin : {0u, 8u, 3u}) {
        for (const std::size_t cols : {1u, 8u, 40u, 43u}) {
          expect_same("slice and concat", [&](CommandEncoder& e) {
            const Tensor x = shifted(e, 1, dtype, {70, 64}, skip, -9, 9),
                         part = shifted(e, 2, dtype, {70, cols}, skip, 0, 0),
                         both = shifted(e, 3, dtype, {70, 64 + cols}, skip, 0, 0);
            slice(e, x, part, {.col_begin = begin, .col_end = begin + cols});
            concat(e, {part, x}, both, Axis::cols);
            return Tensors{part, both};
          });
        }
      }
    }
  }
}

TEST(Emulation, TransposeSizes) {
  for (const std::size_t rows : {2u, 31u, 32u, 33u, 100u}) {
    for (const std::size_t cols : {2u, 32u, 65u}) {
      for (const std::size_t batch : {1u, 3u}) {
        expect_same("transpose", [&](CommandEncoder& e) {
          const Tensor y = result(e, {batch, cols, rows});
          transpose(e, random_tensor(e, 1, {batch, rows, cols}), y);
          return Tensors{y};
        });
      }
    }
  }
}

TEST(Emulation, TrainingStep) {
  for (const unsigned multiprocessors : {none, h100})
    expect_same("a training step", encode_step, multiprocessors);
}

}  // namespace

}  // namespace silica::test
