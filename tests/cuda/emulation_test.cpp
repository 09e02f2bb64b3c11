// SPDX-License-Identifier: MIT
// The kernels of kernels/*/*.cu, run on the host, give the bits of the CPU's kernels: every op, through the
// catalogue that the CUDA backend uses, with the threads of a block in several orders.
#include <array>
#include <cstdint>
#include <cstring>

#include "backends/cuda/catalogue.h"
#include "cases.h"
#include "core/program.h"
#include "emulated_kernels.h"
#include "kernels/matmul/matmul.h"
#include "support.h"

namespace silica::test {

namespace {

using emulation::Order;

constexpr Order orders[] = {Order::forward, Order::backward, Order::shuffled};
constexpr unsigned h100 = 132, none = 1,
                   very_many = 1u << 30;  // multiprocessors, which some kernels are chosen by

const EmulatedKernels& emulated_kernels() {
  static const EmulatedKernels all = [] {
    EmulatedKernels kernels;
    add_emulated_map(kernels);
    add_emulated_row(kernels);
    add_emulated_matmul(kernels);
    add_emulated_transposed_matmul(kernels);
    add_emulated_few_rows(kernels);
    add_emulated_panels(kernels);
    add_emulated_tables(kernels);
    return kernels;
  }();
  return all;
}

struct alignas(16) Words16 {
  std::uint32_t word[4];
};

void run_choice(const cuda::Choice& choice, const std::byte* arguments, Order order) {
  for (const cuda::Choice& first : choice.before) run_choice(first, arguments, order);
  const auto kernel = emulated_kernels().find(choice.defines + choice.function);
  ASSERT_NE(kernel, emulated_kernels().end()) << choice.defines << choice.function << " is not emulated";
  const void* block = choice.block.empty() ? arguments : choice.block.data();
  // What a launch asks for has no meaning before it, and what lies behind is not its own.
  const std::span<float> shared(dynamic_shared(), choice.shared_bytes / sizeof(float) + 64);
  std::fill(shared.begin(), shared.end(), std::numeric_limits<float>::quiet_NaN());
  emulation::run(choice.blocks, choice.threads, order, [&] { kernel->second(block); });
  for (const float behind : shared.last(64)) ASSERT_TRUE(std::isnan(behind)) << choice.function;
}

// Runs a list that was encoded for the CPU, whose addresses are the host's.
void run_emulated(const CommandList& list, Order order, unsigned multiprocessors = h100) {
  for (const Command& command : list.program()->commands) {
    const cuda::CatalogueRow* row = cuda::find_in_catalogue(command.kernel);
    ASSERT_NE(row, nullptr) << command.kernel << " is not in the catalogue";
    cuda::Request request{command.grid, command.arguments.data(), multiprocessors};
    std::vector<Words16> scratch(row->choose(*row, request).scratch / sizeof(Words16));
    request.scratch = reinterpret_cast<std::uint64_t>(scratch.data());
    run_choice(row->choose(*row, request), command.arguments.data(), order);
  }
}

using Encode = std::function<Tensors(CaseEncoder&)>;

std::vector<std::vector<float>> outputs(const Encode& encode,
                                        const std::function<void(const CommandList&)>& run_list) {
  const Device device = Device::open("cpu");
  CaseEncoder encoder(device);
  const Tensors tensors = encode(encoder);
  run_list(encoder.finish());
  std::vector<std::vector<float>> values;
  for (const Tensor& tensor : tensors) values.push_back(get(tensor));
  return values;
}

// Encodes twice on the same data; runs one on the CPU and one emulated.
void expect_same(const std::string& what, const Encode& encode, unsigned multiprocessors = h100,
                 std::span<const Order> in_orders = orders) {
  const auto want =
      outputs(encode, [](const CommandList& list) { list.program()->device.submit(list).wait(); });
  for (const Order order : in_orders) {
    const auto got =
        outputs(encode, [&](const CommandList& list) { run_emulated(list, order, multiprocessors); });
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(same_bits(got[i], want[i]))
          << what << ", output " << i << ", order " << static_cast<int>(order);
    }
  }
}

// A view that starts `skip` elements into its storage.
Tensor shifted(CommandEncoder& e, std::uint64_t seed, DType dtype, const Shape& shape, std::size_t skip,
               float low, float high) {
  const Tensor whole = random_tensor(e, seed, {shape.size() + skip}, low, high, dtype);
  return whole.rows(skip, shape.size()).reshape(shape);
}

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

TEST(Emulation, RowsTooLongToKeep) {
  constexpr std::size_t cols = 25'001;
  const auto row = [](CaseEncoder& e, std::uint64_t seed) { return random_tensor(e, seed, {1, cols}); };
  const Encode encode = [&](CaseEncoder& e) {
    const Tensor dx = row(e, 1), dweight = result(e, {cols}), dbias = result(e, {cols}), y = row(e, 5);
    layer_norm_backward(e, dx, random_tensor(e, 2, {cols}), row(e, 3), dx, dweight, dbias);
    softmax(e, y, y);
    return Tensors{dx, dweight, dbias, y};
  };
  expect_same("layer_norm_backward, softmax", encode);
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

struct MatmulCase {
  std::size_t m, n, k, skip;
  float scale;
};

void expect_same_matmul(const MatmulCase& c, bool ta, bool tb, unsigned multiprocessors,
                        std::span<const Order> in) {
  const std::string what = "matmul " + std::to_string(c.m) + " x " + std::to_string(c.n) + " x " +
                           std::to_string(c.k) + (ta ? " ta" : "") + (tb ? " tb" : "") +
                           (multiprocessors == none ? " tiles" : " split");
  expect_same(
      what,
      [&](CommandEncoder& e) {
        const Shape a = ta ? Shape{c.k, c.m} : Shape{c.m, c.k}, b = tb ? Shape{c.n, c.k} : Shape{c.k, c.n};
        const Tensor to = shifted(e, 3, DType::f32, {c.m, c.n}, c.skip, 0, 0);
        matmul(e, shifted(e, 1, DType::f32, a, c.skip, -c.scale, c.scale),
               shifted(e, 2, DType::f32, b, c.skip, -c.scale, c.scale), to, {ta, tb});
        return Tensors{to};
      },
      multiprocessors, in);
}

TEST(Emulation, MatmulSizes) {
  constexpr Order some[] = {Order::forward, Order::shuffled};
  const MatmulCase cases[] = {
      {1, 1, 1, 0, 2},          {1, 130, 300, 0, 2},      {2, 3, 5, 1, 2},         {4, 4, 4, 0, 2},
      {8, 64, 256, 0, 2},       {9, 65, 257, 0, 2},       {5, 200, 2052, 0, 2},    {32, 64, 8, 0, 2},
      {33, 68, 512, 0, 2},      {36, 132, 1028, 0, 2},    {128, 128, 16, 0, 2},    {132, 260, 264, 0, 2},
      {1, 12, 9000, 0, 2},      {3, 9, 1028, 0, 2},       {4, 17, 2048, 1, 2},     {2, 8, 6, 0, 3e-23f},
      {129, 131, 513, 0, 2},    {40, 72, 2560, 0, 2},     {64, 64, 516, 1, 2},     {17, 1, 700, 0, 2},
      {12, 20, 300, 0, 1e-20f}, {136, 8, 772, 0, 3e-23f}, {200, 300, 40, 0, 1e19f}};
  for (const MatmulCase& c : cases) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        for (const unsigned multiprocessors : {none, very_many})
          expect_same_matmul(c, ta, tb, multiprocessors, some);
      }
    }
  }
}

// Large enough for operands to be transposed first; and sums that end as -0 in a last tile of few k.
TEST(Emulation, MatmulOfPanels) {
  constexpr Order one[] = {Order::shuffled};
  for (const MatmulCase& c : {MatmulCase{1030, 1028, 21, 0, 2}, MatmulCase{132, 260, 263, 0, 3e-23f}}) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) expect_same_matmul(c, ta, tb, none, one);
    }
  }
}

TEST(Emulation, MatmulRandomSizes) {
  constexpr Order one[] = {Order::backward};
  Random random(5);
  for (int i = 0; i < 40; ++i) {
    const std::size_t four = random.below(2) == 0 ? 4 : 1;
    const MatmulCase c{random.between(1, 300 / four) * four, random.between(1, 300 / four) * four,
                       random.between(1, 800 / four) * four, random.below(4) == 0 ? 1u : 0u, 2.0f};
    expect_same_matmul(c, random.below(2) == 0, random.below(2) == 0, random.below(2) == 0 ? none : very_many,
                       one);
  }
}

// The CPU widens a and b, multiplies, and rounds c; here one kernel does it all with their addresses.
void run_half_rows(const CommandList& list, const MatmulCase& c, DType dtype, bool transpose_b, Order order) {
  const auto& commands = list.program()->commands;
  ASSERT_EQ(commands.size(), 4u);
  const auto address = [&](std::size_t command, std::size_t operand) {
    float* x = nullptr;
    std::memcpy(&x, commands[command].arguments.data() + operand * sizeof x, sizeof x);
    return x;
  };
  const kernels::MatmulArguments arguments{address(0, 0), address(1, 0), address(3, 1), c.m, c.n, c.k, 0,
                                           transpose_b};
  const auto* bytes = reinterpret_cast<const std::byte*>(&arguments);
  const auto* row = cuda::find_in_catalogue("matmul.few_rows." + std::string(to_string(dtype)));
  run_choice(row->choose(*row, {{c.n, c.m, 1}, bytes, h100}), bytes, order);
}

// Of each number of rows and warps, wide and not, with columns and k that fill blocks and do not.
constexpr MatmulCase few_rows_cases[] = {{1, 9, 8, 0, 2},       {1, 7, 2051, 0, 2},  {2, 17, 264, 0, 2},
                                         {3, 8, 1032, 1, 2},    {4, 33, 520, 0, 2},  {4, 5, 3000, 0, 2e-6f},
                                         {1, 3, 100, 0, 3e-6f}, {1, 72, 9000, 0, 2}, {4, 136, 2320, 0, 2},
                                         {2, 64, 1304, 0, 2},   {3, 200, 24, 0, 2}};

TEST(Emulation, MatmulOfFewHalfRows) {
  for (const auto& [dtype, transpose_b] :
       {std::pair{DType::f16, false}, {DType::f16, true}, {DType::bf16, false}, {DType::bf16, true}}) {
    for (const MatmulCase& c : few_rows_cases) {
      const Encode encode = [&, dtype = dtype, tb = transpose_b](CaseEncoder& e) {
        const Tensor to = shifted(e, 3, dtype, {c.m, c.n}, c.skip, 0, 0);
        matmul(e, shifted(e, 1, dtype, {c.m, c.k}, c.skip, -c.scale, c.scale),
               shifted(e, 2, dtype, tb ? Shape{c.n, c.k} : Shape{c.k, c.n}, c.skip, -c.scale, c.scale), to,
               {.transpose_b = tb});
        return Tensors{to};
      };
      const auto want =
          outputs(encode, [](const CommandList& list) { list.program()->device.submit(list).wait(); });
      for (const Order order : orders) {
        const auto got = outputs(encode, [&, dtype = dtype, tb = transpose_b](const CommandList& list) {
          run_half_rows(list, c, dtype, tb, order);
        });
        EXPECT_TRUE(same_bits(got[0], want[0]))
            << c.m << " x " << c.n << " x " << c.k << (transpose_b ? " tb" : "");
      }
    }
  }
}

// On the CPU's memory, at multiples of 16 bytes or not.
void expect_few_rows_pair(DType dtype, const MatmulCase& c, const MatmulOptions& options) {
  const Device cpu = Device::open("cpu");
  const auto* row = cuda::find_in_catalogue("feed_forward.few_rows." + std::string(to_string(dtype)));
  ASSERT_NE(row, nullptr);
  const auto random = [&](std::uint64_t seed, const Shape& shape) {
    return make(cpu, dtype, shape, rounded(Random(seed).floats(shape.size(), -c.scale, c.scale), dtype));
  };
  const Shape weight = options.transpose_b ? Shape{c.n, c.k} : Shape{c.k, c.n};
  const Tensor x = random(1, {c.m, c.k}), gate = random(2, weight), up = random(3, weight);
  const Tensor g(cpu, dtype, {c.m, c.n}), u(cpu, dtype, {c.m, c.n}), want(cpu, dtype, {c.m, c.n});
  run(cpu, [&](CommandEncoder& e) {
    matmul(e, x, gate, g, options);
    matmul(e, x, up, u, options);
    swiglu(e, g, u, want);
  });
  const std::size_t skip = c.skip * size_of(dtype);
  std::vector<std::byte> memory[4];
  for (const auto& [i, tensor] : {std::pair{0u, x}, {1u, gate}, {2u, up}, {3u, want}}) {
    memory[i].resize(skip);
    const std::vector<std::byte> bytes = bytes_of(tensor);
    if (i < 3) memory[i].insert(memory[i].end(), bytes.begin(), bytes.end());
    memory[i].resize(skip + bytes.size());
  }
  const struct {
    std::byte *x, *gate, *up, *hidden;
    kernels::ProductSizes sizes;
  } arguments{memory[0].data() + skip,
              memory[1].data() + skip,
              memory[2].data() + skip,
              memory[3].data() + skip,
              {c.m, c.n, c.k, 0, options.transpose_b}};
  const auto* block = reinterpret_cast<const std::byte*>(&arguments);
  for (const Order order : orders) {
    std::ranges::fill(memory[3], std::byte{0xa5});
    run_choice(row->choose(*row, {{c.n, c.m, 1}, block, h100}), block, order);
    const std::vector<std::byte> expected = bytes_of(want);
    EXPECT_TRUE(std::ranges::equal(std::span(memory[3]).subspan(skip), expected))
        << to_string(dtype) << " " << c.m << " x " << c.n << " x " << c.k;
  }
}

// matmul, matmul and swiglu in one kernel.
TEST(Emulation, FeedForwardOfFewRows) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    for (const bool in_out : {false, true}) {
      for (const MatmulCase& c : few_rows_cases) expect_few_rows_pair(dtype, c, {.transpose_b = !in_out});
      expect_few_rows_pair(dtype, {1, 3, 100, 0, 30}, {.transpose_b = !in_out});
      expect_few_rows_pair(dtype, {1, 12, 5000, 0, 0.01f}, {.transpose_b = !in_out});
    }
  }
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

TEST(Emulation, BatchedMatmul) {
  constexpr Order some[] = {Order::forward, Order::shuffled};
  const MatmulCase cases[] = {{1, 1, 1, 0, 2},  {3, 5, 7, 0, 2},       {8, 64, 300, 0, 2},
                              {9, 65, 8, 1, 2}, {132, 132, 260, 0, 2}, {129, 130, 20, 0, 2}};
  for (const MatmulCase& c : cases) {
    for (const std::size_t batch : {1u, 2u, 7u}) {
      for (const unsigned multiprocessors : {none, very_many}) {
        expect_same(
            "batched_matmul of " + std::to_string(c.m) + " x " + std::to_string(c.n),
            [&](CommandEncoder& e) {
              const Tensor to = shifted(e, 3, DType::f32, {batch, c.m, c.n}, c.skip, 0, 0);
              batched_matmul(e, shifted(e, 1, DType::f32, {batch, c.m, c.k}, c.skip, -c.scale, c.scale),
                             shifted(e, 2, DType::f32, {batch, c.n, c.k}, c.skip, -c.scale, c.scale), to,
                             {.transpose_b = true});
              return Tensors{to};
            },
            multiprocessors, some);
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
