// SPDX-License-Identifier: MIT
// matmul of f16 and bf16: widened, summed in f32 in the order of f32, rounded once. And what Math::fast
// changes on devices that have nothing faster: nothing.
#include "support.h"

namespace silica::test {
namespace {

constexpr DType half_dtypes[] = {DType::f16, DType::bf16};
constexpr MatmulOptions all_options[] = {{false, false}, {false, true}, {true, false}, {true, true}};

// What roundings to a dtype cost, relative to the value.
double unit_roundoff(DType dtype) { return dtype == DType::f16 ? 0x1p-11 : 0x1p-8; }

class MatmulHalf : public DeviceTest {
 protected:
  Tensor random(std::uint64_t seed, DType dtype, std::size_t rows, std::size_t cols,
                bool transposed = false) {
    const Shape shape = transposed ? Shape{cols, rows} : Shape{rows, cols};
    return make(device(), dtype, shape, Random(seed).floats(rows * cols));
  }
  Tensor empty(DType dtype, const Shape& shape) { return Tensor(device(), dtype, shape); }

  Tensor as_f32(CommandEncoder& e, const Tensor& x) {
    const Tensor wide = empty(DType::f32, x.shape());
    cast(e, x, wide);
    return wide;
  }
};

struct Sizes {
  std::size_t m, n, k;
};
// Few rows have kernels of their own, which move 16 bytes at a time where they can.
constexpr Sizes sizes[] = {{9, 21, 1},     {9, 21, 3},    {9, 21, 300},  {9, 21, 700}, {1, 21, 2056},
                           {3, 21, 70},    {4, 21, 1031}, {1, 72, 9000}, {1, 136, 24}, {1, 40, 527},
                           {2, 136, 1304}, {3, 64, 1304}, {4, 136, 2320}};

TEST_P(MatmulHalf, IsTheProductOfF32RoundedOnce) {
  for (const DType dtype : half_dtypes) {
    for (const auto& [ta, tb] : all_options) {
      for (const auto& [m, n, k] : sizes) {
        const Tensor a = random(1, dtype, m, k, ta), b = random(2, dtype, k, n, tb);
        const Tensor want = empty(dtype, {m, n}), wide = empty(DType::f32, {m, n});
        const Guarded c(device(), dtype, {m, n});
        run(device(), [&](CommandEncoder& e) {
          matmul(e, a, b, c.tensor, {ta, tb});
          matmul(e, as_f32(e, a), as_f32(e, b), wide, {ta, tb});
          cast(e, wide, want);
        });
        EXPECT_TRUE(same_bits(get(c.tensor), get(want))) << to_string(dtype) << " " << k << ta << tb;
        EXPECT_TRUE(c.intact());
      }
    }
  }
}

TEST_P(MatmulHalf, AgreesWithF64) {
  for (const DType dtype : half_dtypes) {
    constexpr std::size_t m = 13, n = 17, k = 900;
    const Tensor a = random(3, dtype, m, k), b = random(4, dtype, k, n), c = empty(dtype, {m, n});
    run(device(), [&](CommandEncoder& e) { matmul(e, a, b, c); });
    const std::vector<float> x = get(a), y = get(b), got = get(c);
    for (std::size_t i = 0; i < m * n; ++i) {
      double want = 0.0, magnitude = 0.0;
      for (std::size_t l = 0; l < k; ++l) {
        const double term = double{x[i / n * k + l]} * double{y[l * n + i % n]};
        want += term;
        magnitude += std::abs(term);
      }
      const double sum = 260 * 0x1p-24 * magnitude;  // a chain of 256 and four sums of blocks
      ASSERT_LE(std::abs(got[i] - want), unit_roundoff(dtype) * (std::abs(want) + sum) + sum)
          << to_string(dtype) << " element " << i << ": " << got[i] << ", expected " << want;
    }
  }
}

TEST_P(MatmulHalf, BackwardIsThatOfF32RoundedOnce) {
  for (const DType dtype : half_dtypes) {
    for (const auto& [ta, tb] : all_options) {
      constexpr std::size_t m = 6, n = 270, k = 11;
      const Tensor a = random(5, dtype, m, k, ta), b = random(6, dtype, k, n, tb),
                   dc = random(7, dtype, m, n);
      const Tensor da = empty(dtype, a.shape()), db = empty(dtype, b.shape()),
                   want_a = empty(dtype, a.shape()), want_b = empty(dtype, b.shape()),
                   wide_a = empty(DType::f32, a.shape()), wide_b = empty(DType::f32, b.shape());
      run(device(), [&](CommandEncoder& e) {
        matmul_backward(e, a, b, dc, da, db, {ta, tb});
        matmul_backward(e, as_f32(e, a), as_f32(e, b), as_f32(e, dc), wide_a, wide_b, {ta, tb});
        cast(e, wide_a, want_a);
        cast(e, wide_b, want_b);
      });
      EXPECT_TRUE(same_bits(get(da), get(want_a))) << to_string(dtype) << ta << tb;
      EXPECT_TRUE(same_bits(get(db), get(want_b))) << to_string(dtype) << ta << tb;
    }
  }
}

TEST_P(MatmulHalf, OverflowIsInfinityAndOnlyAtTheEnd) {
  // 300 * 300 is beyond f16, but sums that come back are not.
  const Tensor a = make(device(), DType::f16, {1, 2}, {300, 300}), c = empty(DType::f16, {1, 2});
  const Tensor b = make(device(), DType::f16, {2, 2}, {300, 300, 300, -300});
  run(device(), [&](CommandEncoder& e) { matmul(e, a, b, c); });
  EXPECT_TRUE(same_bits(get(c), {infinity, 0.0f}));
}

TEST_P(MatmulHalf, TheTapeFollowsTheDtype) {
  for (const DType dtype : half_dtypes) {
    const Tensor a = random(8, dtype, 5, 7), b = random(9, dtype, 7, 4), seed = random(10, dtype, 5, 4);
    const Tensor da = empty(dtype, {5, 7}), db = empty(dtype, {7, 4});
    CommandEncoder e(device());
    Tape tape(e);
    const Variable x = tape.variable(a), y = tape.variable(b), z = matmul(x, y);
    EXPECT_EQ(z.value().dtype(), dtype);
    tape.backward(z, seed);
    matmul_backward(e, a, b, seed, da, db);
    device().submit(e.finish()).wait();
    EXPECT_TRUE(same_bits(get(tape.gradient(x)), get(da)));
    EXPECT_TRUE(same_bits(get(tape.gradient(y)), get(db)));
  }
}

// Also a check that the encoder's option reaches nothing but the products.
TEST_P(MatmulHalf, FastIsExactWhereNothingIsFaster) {
  if (device().name().starts_with("cuda")) GTEST_SKIP() << "tested with the library, in tests/cuda";
  const auto outputs = [&](DType dtype, Math math) {
    constexpr std::size_t m = 10, n = 12, k = 400;
    const Tensor a = random(11, dtype, m, k), b = random(12, dtype, n, k), c = empty(dtype, {m, n}),
                 da = empty(dtype, a.shape()), db = empty(dtype, b.shape());
    CommandEncoder e(device(), {.math = math});
    EXPECT_EQ(e.math(), math);
    matmul(e, a, b, c, {.transpose_b = true});
    silu(e, c, c);
    matmul_backward(e, a, b, c, da, db, {.transpose_b = true});
    device().submit(e.finish()).wait();
    return std::vector{get(c), get(da), get(db)};
  };
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const auto exact = outputs(dtype, Math::exact), fast = outputs(dtype, Math::fast);
    for (std::size_t i = 0; i < exact.size(); ++i) EXPECT_TRUE(same_bits(fast[i], exact[i])) << i;
  }
}

TEST_P(MatmulHalf, Refusals) {
  const auto t = [&](std::size_t rows, std::size_t cols, DType dtype = DType::bf16) {
    return empty(dtype, {rows, cols});
  };
  const Tensor a = t(3, 4), b = t(4, 5), c = t(3, 5), square = t(4, 4);
  const Device other = Device::open("cpu");
  CommandEncoder e(device()), elsewhere(device());
  EXPECT_TRUE(
      refuses_op(e, {"matmul", "b is f16", "a is bf16"}, [&] { matmul(e, a, t(4, 5, DType::f16), c); }));
  EXPECT_TRUE(
      refuses_op(e, {"matmul", "c is f32", "a is bf16"}, [&] { matmul(e, a, b, t(3, 5, DType::f32)); }));
  EXPECT_TRUE(refuses_op(e, {"matmul", "a is u32", "bf16"},
                         [&] { matmul(e, t(3, 4, DType::u32), t(4, 5, DType::u32), t(3, 5, DType::u32)); }));
  EXPECT_TRUE(
      refuses_op(e, {"matmul", "c is the same memory as a"}, [&] { matmul(e, square, t(4, 4), square); }));
  EXPECT_TRUE(
      refuses_op(e, {"matmul", "c is the same memory as b"}, [&] { matmul(e, t(4, 4), square, square); }));
  EXPECT_TRUE(refuses_op(e, {"matmul", "b is on another device"},
                         [&] { matmul(e, a, Tensor(other, DType::bf16, {4, 5}), c); }));
  EXPECT_TRUE(refuses_op(e, {"matmul", "c is a temporary of another encoder"},
                         [&] { matmul(e, a, b, elsewhere.temporary(DType::bf16, {3, 5})); }));
  const auto backward = [&](const Tensor& dc, const Tensor& da, const Tensor& db) {
    return [=, &a, &b, &e] { matmul_backward(e, a, b, dc, da, db); };
  };
  EXPECT_TRUE(refuses_op(e, {"matmul_backward", "dc is f16"}, backward(t(3, 5, DType::f16), a, b)));
  EXPECT_TRUE(refuses_op(e, {"matmul_backward", "da is f32"}, backward(c, t(3, 4, DType::f32), t(4, 5))));
  EXPECT_TRUE(refuses_op(e, {"matmul_backward", "db is f32"}, backward(c, t(3, 4), t(4, 5, DType::f32))));
  EXPECT_TRUE(refuses_op(e, {"matmul_backward", "da is the same memory as a"}, backward(c, a, t(4, 5))));
  const Tensor both = t(20, 1);
  EXPECT_TRUE(refuses_op(e, {"matmul_backward", "db overlaps da in part"},
                         backward(c, both.rows(0, 12).reshape({3, 4}), both.reshape({4, 5}))));
  EXPECT_EQ(e.commands(), 0u);
}

SILICA_ON_EVERY_DEVICE(MatmulHalf);

}  // namespace
}  // namespace silica::test
