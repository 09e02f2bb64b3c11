// SPDX-License-Identifier: MIT
// matmul against the order that is part of the API, bit for bit, and against f64.
#include "support.h"

namespace silica::test {
namespace {

struct Matrix {
  std::size_t rows = 0, cols = 0;
  std::vector<float> values;
  float at(std::size_t i, std::size_t j) const { return values[i * cols + j]; }
};

Matrix random_matrix(Random& random, std::size_t rows, std::size_t cols) {
  return {rows, cols, random.floats(rows * cols)};
}

Matrix transpose(const Matrix& a) {
  Matrix t{a.cols, a.rows, std::vector<float>(a.values.size())};
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < a.cols; ++j) t.values[j * a.rows + i] = a.at(i, j);
  }
  return t;
}

// k in blocks of 256, each one chain of fma from +0 in ascending k; block sums added in ascending order.
Matrix naive(const Matrix& a, const Matrix& b) {
  Matrix c{a.rows, b.cols, std::vector<float>(a.rows * b.cols)};
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < b.cols; ++j) {
      float total = 0.0f;
      for (std::size_t block = 0; block < a.cols; block += 256) {
        float sum = 0.0f;
        for (std::size_t k = block; k < std::min(a.cols, block + 256); ++k)
          sum = std::fma(a.at(i, k), b.at(k, j), sum);
        total += sum;
      }
      c.values[i * c.cols + j] = total;
    }
  }
  return c;
}

class Matmul : public DeviceTest {
 protected:
  Tensor upload(const Matrix& m) { return make(device(), DType::f32, {m.rows, m.cols}, m.values); }

  // op(a) * op(b) on the device; the operands are stored transposed where the options say so.
  std::vector<float> multiply(const Matrix& a, const Matrix& b, const MatmulOptions& options = {}) {
    const Guarded c(device(), DType::f32, {a.rows, b.cols});
    run(device(), [&](CommandEncoder& e) {
      matmul(e, upload(options.transpose_a ? transpose(a) : a),
             upload(options.transpose_b ? transpose(b) : b), c.tensor, options);
    });
    EXPECT_TRUE(c.intact()) << a.rows << " " << b.cols << " " << a.cols;
    return get(c.tensor);
  }
};

constexpr MatmulOptions all_options[] = {{false, false}, {false, true}, {true, false}, {true, true}};

TEST_P(Matmul, IsTheWrittenOrderBitForBit) {
  Random random(1);
  for (int round = 0; round < 60; ++round) {
    const std::size_t m = random.between(1, 70), n = random.between(1, 90), k = random.between(1, 600);
    const Matrix a = random_matrix(random, m, k), b = random_matrix(random, k, n), want = naive(a, b);
    for (const MatmulOptions& options : all_options) {
      ASSERT_TRUE(same_bits(multiply(a, b, options), want.values))
          << m << " x " << n << " x " << k << " " << options.transpose_a << options.transpose_b;
    }
  }
}

TEST_P(Matmul, SizesAroundTilesAndBlocks) {
  Random random(2);
  for (const std::size_t m : {1u, 2u, 7u, 8u, 9u}) {
    for (const std::size_t n : {1u, 15u, 16u, 17u, 33u}) {
      for (const std::size_t k : {1u, 2u, 255u, 256u, 257u, 512u, 513u}) {
        const Matrix a = random_matrix(random, m, k), b = random_matrix(random, k, n), want = naive(a, b);
        for (const MatmulOptions& options : all_options) {
          ASSERT_TRUE(same_bits(multiply(a, b, options), want.values)) << m << " x " << n << " x " << k;
        }
      }
    }
  }
}

TEST_P(Matmul, LongAndThin) {
  Random random(3);
  const std::size_t shapes[][3] = {{1, 1, 20'000}, {1, 5000, 3}, {5000, 1, 3}, {300, 200, 1}, {257, 130, 65}};
  for (const auto& [m, n, k] : shapes) {
    const Matrix a = random_matrix(random, m, k), b = random_matrix(random, k, n), want = naive(a, b);
    for (const MatmulOptions& options : all_options) {
      ASSERT_TRUE(same_bits(multiply(a, b, options), want.values)) << m << " x " << n << " x " << k;
    }
  }
}

// The order shows: the same sum without blocks has other bits.
TEST_P(Matmul, BlocksMatter) {
  Random random(4);
  const Matrix a = random_matrix(random, 16, 2000), b = random_matrix(random, 2000, 16);
  Matrix chain{16, 16, std::vector<float>(256)};
  for (std::size_t i = 0; i < 256; ++i) {
    for (std::size_t k = 0; k < 2000; ++k)
      chain.values[i] = std::fma(a.at(i / 16, k), b.at(k, i % 16), chain.values[i]);
  }
  EXPECT_FALSE(same_bits(multiply(a, b), chain.values));
  EXPECT_TRUE(same_bits(multiply(a, b), naive(a, b).values));
}

TEST_P(Matmul, SpecialValuesFollowIeee) {
  for (const float x : special_floats()) {
    for (const float y : special_floats()) {
      const Matrix a{1, 3, {x, 1.0f, x}}, b{3, 1, {y, 1.0f, 1.0f}};
      ASSERT_TRUE(same_bits(multiply(a, b), naive(a, b).values)) << x << " " << y;
    }
  }
  const Matrix minus_zero{1, 1, {-0.0f}}, one{1, 1, {1.0f}};
  EXPECT_TRUE(same_bits(multiply(minus_zero, one), {0.0f})) << "a chain starts at +0";
}

TEST_P(Matmul, AgreesWithF64) {
  Random random(5);
  const Matrix a = random_matrix(random, 33, 1500), b = random_matrix(random, 1500, 21);
  const std::vector<float> c = multiply(a, b);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < b.cols; ++j) {
      double want = 0.0, magnitude = 0.0;
      for (std::size_t k = 0; k < a.cols; ++k) {
        want += double{a.at(i, k)} * double{b.at(k, j)};
        magnitude += std::abs(double{a.at(i, k)} * double{b.at(k, j)});
      }
      // A chain of 256 and six sums of blocks: at most 262 roundings of 2^-24 each.
      ASSERT_TRUE(near(c[i * b.cols + j], want, magnitude, 262 * 0x1p-24));
    }
  }
}

TEST_P(Matmul, BackwardIsTwoMatmuls) {
  Random random(6);
  for (int round = 0; round < 25; ++round) {
    const std::size_t m = random.between(1, 40), n = random.between(1, 300), k = random.between(1, 40);
    const Matrix a = random_matrix(random, m, k), b = random_matrix(random, k, n),
                 dc = random_matrix(random, m, n);
    const Matrix da = naive(dc, transpose(b)), db = naive(transpose(a), dc);
    for (const MatmulOptions& options : all_options) {
      const bool ta = options.transpose_a, tb = options.transpose_b;
      const Tensor left = upload(ta ? transpose(a) : a), right = upload(tb ? transpose(b) : b),
                   seed = upload(dc);
      const Tensor dleft(device(), DType::f32, left.shape()), dright(device(), DType::f32, right.shape());
      run(device(),
          [&](CommandEncoder& e) { matmul_backward(e, left, right, seed, dleft, dright, options); });
      ASSERT_TRUE(same_bits(get(dleft), (ta ? transpose(da) : da).values)) << ta << tb;
      ASSERT_TRUE(same_bits(get(dright), (tb ? transpose(db) : db).values)) << ta << tb;
    }
  }
}

TEST_P(Matmul, BackwardComputesOnlyWhatIsWanted) {
  Random random(7);
  const Tensor a = upload(random_matrix(random, 3, 5)), b = upload(random_matrix(random, 5, 4)),
               dc = upload(random_matrix(random, 3, 4)), da(device(), DType::f32, {3, 5}),
               db(device(), DType::f32, {5, 4});
  CommandEncoder e(device());
  matmul_backward(e, a, b, dc, da, Tensor());
  EXPECT_EQ(e.commands(), 1u);
  matmul_backward(e, a, b, dc, Tensor(), db);
  EXPECT_EQ(e.commands(), 2u);
  matmul_backward(e, a, b, dc, Tensor(), Tensor());
  EXPECT_EQ(e.commands(), 2u);
}

TEST_P(Matmul, MoreDimensionsAreRows) {
  Random random(8);
  const Matrix a = random_matrix(random, 6, 5), b = random_matrix(random, 5, 4);
  const Tensor c(device(), DType::f32, {2, 3, 4});
  run(device(), [&](CommandEncoder& e) { matmul(e, upload(a).reshape({2, 3, 5}), upload(b), c); });
  EXPECT_TRUE(same_bits(get(c), naive(a, b).values));
}

TEST_P(Matmul, Refusals) {
  const auto t = [&](std::size_t rows, std::size_t cols, DType dtype = DType::f32) {
    return Tensor(device(), dtype, {rows, cols});
  };
  const Tensor a = t(3, 4), b = t(4, 5), c = t(3, 5), square = t(4, 4);
  CommandEncoder e(device());
  EXPECT_TRUE(refuses_op(e, {"matmul", "(3, 4)", "(5, 4)", "inner"}, [&] { matmul(e, a, t(5, 4), c); }));
  EXPECT_TRUE(refuses_op(e, {"matmul", "inner"}, [&] { matmul(e, a, b, c, {.transpose_b = true}); }));
  EXPECT_TRUE(refuses_op(e, {"matmul", "c is (5, 3)", "(3, 5)"}, [&] { matmul(e, a, b, t(5, 3)); }));
  EXPECT_TRUE(refuses_op(e, {"matmul", "b is f16", "f32"}, [&] { matmul(e, a, t(4, 5, DType::f16), c); }));
  EXPECT_TRUE(refuses_op(e, {"matmul", "a is empty"}, [&] { matmul(e, t(3, 0), t(0, 5), c); }));
  EXPECT_TRUE(refuses_op(e, {"matmul", "c is no tensor"}, [&] { matmul(e, a, b, Tensor()); }));
  EXPECT_TRUE(refuses_op(e, {"matmul", "c", "a"}, [&] { matmul(e, square, t(4, 4), square); }));
  EXPECT_TRUE(refuses_op(e, {"matmul_backward", "da is (4, 3)", "(3, 4)"},
                         [&] { matmul_backward(e, a, b, c, t(4, 3), t(4, 5)); }));
  EXPECT_TRUE(refuses_op(e, {"matmul_backward", "db is (5, 4)", "(4, 5)"},
                         [&] { matmul_backward(e, a, b, c, t(3, 4), t(5, 4)); }));
  EXPECT_TRUE(refuses_op(e, {"matmul_backward", "dc is (4, 5)", "(3, 5)"},
                         [&] { matmul_backward(e, a, b, t(4, 5), t(3, 4), t(4, 5)); }));
}

SILICA_ON_EVERY_DEVICE(Matmul);

}  // namespace
}  // namespace silica::test
