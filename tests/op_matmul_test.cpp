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
  const std::size_t shapes[][3] = {{1, 1, 20'000}, {1, 5000, 3},   {5000, 1, 3},
                                   {300, 200, 1},  {257, 130, 65}, {96, 1300, 26},
                                   {32, 3900, 5},  {1, 4200, 19},  {3, 4200, 10}};
  for (const auto& [m, n, k] : shapes) {
    const Matrix a = random_matrix(random, m, k), b = random_matrix(random, k, n), want = naive(a, b);
    for (const MatmulOptions& options : all_options) {
      ASSERT_TRUE(same_bits(multiply(a, b, options), want.values)) << m << " x " << n << " x " << k;
    }
  }
}

// Few rows are shared out by their columns, more by tiles; two matrices, so that a share may have of both.
void expect_naive(const DeviceOptions& options, std::size_t m, std::size_t n, std::size_t k) {
  constexpr std::size_t batch = 2;
  Random random(5);
  const Device device = Device::open("cpu", options);
  const Matrix a = random_matrix(random, m, k), b = random_matrix(random, k, n);
  std::vector<float> want = naive(a, b).values;
  want.insert(want.end(), want.begin(), want.begin() + static_cast<std::ptrdiff_t>(m * n));
  for (const auto& [ta, tb] : all_options) {
    const auto twice = [&](const Matrix& x) {
      std::vector<float> values = x.values;
      values.insert(values.end(), x.values.begin(), x.values.end());
      return make(device, DType::f32, {batch, x.rows, x.cols}, values);
    };
    const Tensor left = twice(ta ? transpose(a) : a), right = twice(tb ? transpose(b) : b);
    const Guarded c(device, DType::f32, {batch, m, n});
    run(device, [&](CommandEncoder& e) { batched_matmul(e, left, right, c.tensor, {ta, tb}); });
    const std::string what = std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) +
                             " on " + to_text(options) + (ta ? " ta" : "") + (tb ? " tb" : "");
    EXPECT_TRUE(same_bits(get(c.tensor), want)) << what;
    EXPECT_TRUE(c.intact()) << what;
  }
}

TEST(MatmulThreads, AnyNumberAndInstructionSetGivesTheSameBits) {
  for (const DeviceOptions& options : configurations("cpu")) {
    for (const std::size_t m : {1u, 2u, 3u, 5u, 8u, 16u, 17u, 33u, 64u, 97u})
      expect_naive(options, m, 75, 275);
    expect_naive(options, 75, 1, 275), expect_naive(options, 1, 4100, 19);
    // More columns than there is room for sums at once.
    if (options.threads == 1) expect_naive(options, 96, 1130, 7), expect_naive(options, 32, 3900, 3);
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

// ---- the bound of docs/numerics.md: |c - c*| <= n u / (1 - n u) * |A||B| + k 2^-149

constexpr double u = 0x1p-24;

double roundings(std::size_t k) {
  return static_cast<double>(std::min<std::size_t>(k, 256) + (k + 255) / 256 - 1);
}

// An inner product, whose terms are exact in f64, and the sum of their magnitudes. TwoSum carries what an
// addition loses.
struct Exact {
  double sum = 0.0, lost = 0.0, magnitude = 0.0;
  void add(float a, float b) {
    const double term = double{a} * double{b}, next = sum + term, part = next - sum;
    lost += (sum - (next - part)) + (term - part);
    sum = next;
    magnitude += std::abs(term);
  }
};

::testing::AssertionResult within_bound(const Matrix& a, const Matrix& b, const std::vector<float>& c) {
  const double n = roundings(a.cols), gamma = n * u / (1.0 - n * u);
  for (std::size_t i = 0; i < c.size(); ++i) {
    Exact exact;
    for (std::size_t k = 0; k < a.cols; ++k) exact.add(a.at(i / b.cols, k), b.at(k, i % b.cols));
    const double error = std::abs((double{c[i]} - exact.sum) - exact.lost);
    const double bound = gamma * exact.magnitude + static_cast<double>(a.cols) * 0x1p-149;
    if (error <= bound) continue;
    return ::testing::AssertionFailure() << std::hexfloat << "element " << i << " of k = " << a.cols
                                         << " is off by " << error << ", at most " << bound;
  }
  return ::testing::AssertionSuccess();
}

// Elements of one sign, of both, of very different sizes, or whose products are subnormal.
float element_of_kind(Random& random, std::size_t kind) {
  switch (kind) {
    case 0:
      return random.uniform(1.0f, 2.0f);
    case 1:
      return random.uniform(-1.0f, 1.0f);
    case 2:
      return std::ldexp(random.uniform(-1.0f, 1.0f), static_cast<int>(random.below(60)) - 30);
    default:
      return random.uniform(-1.0f, 1.0f) * 0x1p-72f;
  }
}

Matrix matrix_of_kind(Random& random, std::size_t rows, std::size_t cols, std::size_t kind) {
  Matrix m{rows, cols, std::vector<float>(rows * cols)};
  for (float& x : m.values) x = element_of_kind(random, kind);
  return m;
}

TEST_P(Matmul, ErrorIsWithinTheBoundOfTheOrder) {
  Random random(12);
  const int lists = GetParam() == "cpu" ? 30 : 2, of_list = 80;  // the others give the CPU's bits
  for (int list = 0; list < lists; ++list) {
    std::vector<Matrix> a, b;
    std::vector<Tensor> c;
    CommandEncoder encoder(device());
    for (int i = 0; i < of_list; ++i) {
      const std::size_t kind = random.below(4), m = random.between(1, 4), n = random.between(1, 4);
      const std::size_t k = random.below(3) == 0 ? random.between(1, 1100) : random.between(1, 40);
      Matrix left = matrix_of_kind(random, m, k, kind), right = matrix_of_kind(random, k, n, kind);
      if (i % 5 == 0) {  // the second half of each sum takes the first back
        for (std::size_t p = 0; p < k / 2; ++p) {
          for (std::size_t r = 0; r < m; ++r) left.values[r * k + k - 1 - p] = -left.at(r, p);
          for (std::size_t j = 0; j < n; ++j) right.values[(k - 1 - p) * n + j] = right.at(p, j);
        }
      }
      c.emplace_back(device(), DType::f32, Shape{m, n});
      matmul(encoder, upload(left), upload(right), c.back());
      a.push_back(std::move(left)), b.push_back(std::move(right));
    }
    device().submit(encoder.finish()).wait();
    for (std::size_t i = 0; i < c.size(); ++i) ASSERT_TRUE(within_bound(a[i], b[i], get(c[i])));
  }
}

// 1, then terms of u: each rounding but one loses u, a tie that goes to the even 1. So no smaller number of
// roundings would do, and another order of the same sum would be out of bounds.
TEST_P(Matmul, TheBoundIsAttained) {
  for (const std::size_t k : {1u, 2u, 3u, 100u, 255u, 256u, 257u, 512u, 513u, 1024u, 2560u}) {
    Matrix a{1, k, std::vector<float>(k, 1.0f)}, b{k, 1, std::vector<float>(k)};
    for (std::size_t p = 0; p < k; ++p) b.values[p] = p < 256 || p % 256 == 0 ? 0x1p-24f : 0.0f;
    b.values[0] = 1.0f;
    const std::vector<float> c = multiply(a, b);
    EXPECT_EQ(c, std::vector<float>{1.0f});
    EXPECT_TRUE(within_bound(a, b, c)) << k;
    Exact exact;
    for (std::size_t p = 0; p < k; ++p) exact.add(a.values[p], b.values[p]);
    EXPECT_EQ(exact.sum - 1.0, (roundings(k) - 1.0) * u) << k;
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

// ---- batches

TEST_P(Matmul, ABatchIsAMatmulForEachMatrix) {
  Random random(9);
  const std::size_t sizes[][4] = {{1, 3, 4, 5},    {2, 1, 1, 1},  {7, 1, 33, 300}, {3, 70, 1, 257},
                                  {4, 64, 64, 16}, {65, 2, 3, 4}, {3, 65, 130, 9}, {5, 17, 31, 520},
                                  {2, 100, 7, 30}, {9, 9, 9, 9}};
  for (const auto& [batch, m, n, k] : sizes) {
    const Matrix a = random_matrix(random, batch * m, k), b = random_matrix(random, batch * k, n);
    std::vector<float> want;
    std::vector<float> a_transposed, b_transposed;
    for (std::size_t i = 0; i < batch; ++i) {
      const auto part = [i](const Matrix& of, std::size_t rows) {
        const auto begin = of.values.begin() + static_cast<std::ptrdiff_t>(i * rows * of.cols);
        return Matrix{rows, of.cols, {begin, begin + static_cast<std::ptrdiff_t>(rows * of.cols)}};
      };
      const Matrix left = part(a, m), right = part(b, k), product = naive(left, right);
      want.insert(want.end(), product.values.begin(), product.values.end());
      for (const float x : transpose(left).values) a_transposed.push_back(x);
      for (const float x : transpose(right).values) b_transposed.push_back(x);
    }
    for (const auto& [ta, tb] : all_options) {
      const Guarded c(device(), DType::f32, {batch, m, n});
      const Shape a_shape = ta ? Shape{batch, k, m} : Shape{batch, m, k},
                  b_shape = tb ? Shape{batch, n, k} : Shape{batch, k, n};
      run(device(), [&](CommandEncoder& e) {
        batched_matmul(e, make(device(), DType::f32, a_shape, ta ? a_transposed : a.values),
                       make(device(), DType::f32, b_shape, tb ? b_transposed : b.values), c.tensor, {ta, tb});
      });
      ASSERT_TRUE(same_bits(get(c.tensor), want))
          << batch << " of " << m << " x " << n << " x " << k << ta << tb;
      ASSERT_TRUE(c.intact());
    }
  }
}

TEST_P(Matmul, BackwardOfABatchIsThatOfEachMatrix) {
  Random random(10);
  constexpr std::size_t batch = 5, m = 20, n = 33, k = 7;
  for (const auto& [ta, tb] : all_options) {
    const Shape a_shape = ta ? Shape{batch, k, m} : Shape{batch, m, k},
                b_shape = tb ? Shape{batch, n, k} : Shape{batch, k, n};
    const auto tensor = [&](const Shape& shape) {
      return make(device(), DType::f32, shape, random.floats(shape.size()));
    };
    const Tensor a = tensor(a_shape), b = tensor(b_shape), dc = tensor({batch, m, n});
    const Tensor da(device(), DType::f32, a_shape), db(device(), DType::f32, b_shape),
        da_one(device(), DType::f32, a_shape), db_one(device(), DType::f32, b_shape);
    const auto matrix = [](const Tensor& of, std::size_t i) {
      return of.rows(i, 1).reshape({of.shape()[1], of.shape()[2]});
    };
    run(device(), [&](CommandEncoder& e) {
      batched_matmul_backward(e, a, b, dc, da, db, {ta, tb});
      for (std::size_t i = 0; i < batch; ++i) {
        matmul_backward(e, matrix(a, i), matrix(b, i), matrix(dc, i), matrix(da_one, i), matrix(db_one, i),
                        {ta, tb});
      }
    });
    EXPECT_TRUE(same_bits(get(da), get(da_one))) << ta << tb;
    EXPECT_TRUE(same_bits(get(db), get(db_one))) << ta << tb;
  }
}

TEST_P(Matmul, LeadingExtentsAreABatch) {
  Random random(11);
  const Tensor a = make(device(), DType::f32, {2, 3, 4, 5}, random.floats(120)),
               b = make(device(), DType::f32, {6, 5, 2}, random.floats(60)),
               c(device(), DType::f32, {3, 2, 4, 2}), want(device(), DType::f32, {6, 4, 2});
  run(device(), [&](CommandEncoder& e) {
    batched_matmul(e, a, b, c);
    batched_matmul(e, a.reshape({6, 4, 5}), b, want);
  });
  EXPECT_TRUE(same_bits(get(c), get(want)));
}

TEST_P(Matmul, BatchRefusals) {
  const auto t = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor(device(), dtype, shape); };
  const Tensor a = t({2, 3, 4}), b = t({2, 4, 5}), c = t({2, 3, 5});
  CommandEncoder e(device());
  EXPECT_TRUE(refuses_op(e, {"batched_matmul", "a is (2, 3, 4)", "b is (3, 4, 5)", "batch"},
                         [&] { batched_matmul(e, a, t({3, 4, 5}), c); }));
  EXPECT_TRUE(refuses_op(e, {"batched_matmul", "a is (2, 3, 4)", "b is (1, 4, 5)", "batch"},
                         [&] { batched_matmul(e, a, t({4, 5}), c); }));
  EXPECT_TRUE(refuses_op(e, {"batched_matmul", "b is (2, 5, 4)", "inner"},
                         [&] { batched_matmul(e, a, t({2, 5, 4}), c); }));
  EXPECT_TRUE(refuses_op(e, {"batched_matmul", "c is (2, 5, 3)", "(2, 3, 5)"},
                         [&] { batched_matmul(e, a, b, t({2, 5, 3})); }));
  EXPECT_TRUE(refuses_op(e, {"batched_matmul", "c is (1, 6, 5)", "(2, 3, 5)"},
                         [&] { batched_matmul(e, a, b, t({6, 5})); }));
  EXPECT_TRUE(refuses_op(e, {"batched_matmul", "b is bf16", "f32"},
                         [&] { batched_matmul(e, a, t({2, 4, 5}, DType::bf16), c); }));
  const Tensor square = t({2, 3, 3});
  EXPECT_TRUE(refuses_op(e, {"batched_matmul", "c is the same memory as b"},
                         [&] { batched_matmul(e, t({2, 3, 3}), square, square); }));
  EXPECT_TRUE(refuses_op(e, {"batched_matmul_backward", "da is (2, 4, 3)", "(2, 3, 4)"},
                         [&] { batched_matmul_backward(e, a, b, c, t({2, 4, 3}), Tensor()); }));
  EXPECT_TRUE(refuses_op(e, {"batched_matmul_backward", "db is the same memory as b"},
                         [&] { batched_matmul_backward(e, a, b, c, Tensor(), b); }));
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
