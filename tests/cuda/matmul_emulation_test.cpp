// SPDX-License-Identifier: MIT
// Products by the kernels of kernels/matmul, run on the host, give the bits of the CPU's.
#include <cstdint>
#include <cstring>

#include "core/program.h"
#include "emulated_runs.h"
#include "kernels/matmul/matmul.h"
#include "support.h"

namespace silica::test {

namespace {

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

// Numbers of rows and of warps, wide and not, with columns and k that fill blocks and do not.
constexpr MatmulCase few_rows_cases[] = {{1, 9, 8, 0, 2},       {1, 7, 2051, 0, 2},  {2, 17, 264, 0, 2},
                                         {3, 8, 1032, 1, 2},    {4, 33, 520, 0, 2},  {4, 5, 3000, 0, 2e-6f},
                                         {1, 3, 100, 0, 3e-6f}, {1, 72, 9000, 0, 2}, {4, 136, 2320, 0, 2},
                                         {2, 64, 1304, 0, 2},   {3, 200, 24, 0, 2},  {1, 64, 4117, 0, 2},
                                         {3, 40, 1304, 0, 2},   {2, 13, 4096, 0, 2}};

TEST(Emulation, MatmulOfFewRows) {
  for (const MatmulCase& c : few_rows_cases) {
    for (const bool tb : {false, true}) expect_same_matmul(c, false, tb, h100, orders);
  }
}

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

}  // namespace

}  // namespace silica::test
