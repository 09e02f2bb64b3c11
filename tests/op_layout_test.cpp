// SPDX-License-Identifier: MIT
// Movement against plain loops over bytes, for every dtype; column sums against the order that is part of the
// API, bit for bit, and against f64. Every tensor is a view that is misaligned, with canaries around it.
#include <cstddef>
#include <cstring>

#include "support.h"

namespace silica::test {
namespace {

class Layout : public DeviceTest {};

constexpr DType every_dtype[] = {DType::f32, DType::f16, DType::bf16, DType::i32, DType::u32, DType::u8};
constexpr DType float_dtypes[] = {DType::f32, DType::f16, DType::bf16};

// A matrix of elements that are only bytes.
struct Elements {
  std::size_t rows, cols, size;
  std::vector<std::byte> bytes;

  Elements(std::size_t r, std::size_t c, DType dtype)
      : rows(r), cols(c), size(size_of(dtype)), bytes(r * c * size) {}
  Elements(Random& random, std::size_t r, std::size_t c, DType dtype) : Elements(r, c, dtype) {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.bits());
  }

  void set(std::size_t row, std::size_t col, const Elements& from, std::size_t from_row,
           std::size_t from_col) {
    std::memcpy(&bytes[(row * cols + col) * size], &from.bytes[(from_row * from.cols + from_col) * size],
                size);
  }
};

struct Placed : Guarded {
  Placed(const Device& device, DType dtype, const Shape& shape, std::size_t before = 3)
      : Guarded(device, dtype, shape, before) {}
  Placed(const Device& device, DType dtype, const Elements& from, std::size_t before = 3)
      : Placed(device, dtype, {from.rows, from.cols}, before) {
    tensor.upload_bytes(from.bytes, dtype);
  }
  ::testing::AssertionResult holds(const Elements& want) const {
    if (!intact()) return intact();
    if (bytes_of(tensor) != want.bytes) return ::testing::AssertionFailure() << "other elements";
    return ::testing::AssertionSuccess();
  }
};

// ---- transpose

TEST_P(Layout, TransposeMovesEveryElement) {
  Random random(1);
  for (const DType dtype : every_dtype) {
    for (const std::size_t rows : {1u, 2u, 31u, 32u, 33u, 70u}) {
      for (const std::size_t cols : {1u, 3u, 31u, 32u, 33u, 65u}) {
        const std::size_t batch = random.between(1, 3);
        const Elements x(random, batch * rows, cols, dtype);
        Elements y(batch * cols, rows, dtype);
        for (std::size_t i = 0; i < batch * rows * cols; ++i) {
          const std::size_t b = i / (rows * cols), row = i / cols % rows, col = i % cols;
          y.set(b * cols + col, row, x, b * rows + row, col);
        }
        const Placed from(device(), dtype, x), to(device(), dtype, {batch, cols, rows}),
            back(device(), dtype, {batch, rows, cols});
        run(device(), [&](CommandEncoder& e) {
          transpose(e, from.tensor.reshape({batch, rows, cols}), to.tensor);
          transpose_backward(e, to.tensor, back.tensor);
        });
        ASSERT_TRUE(to.holds(y)) << to_string(dtype) << " " << batch << " x " << rows << " x " << cols;
        ASSERT_TRUE(back.holds(x)) << to_string(dtype) << " " << batch << " x " << rows << " x " << cols;
      }
    }
  }
}

TEST_P(Layout, TransposeTakesLeadingExtentsAsABatch) {
  const Tensor x = make(device(), DType::f32, {2, 1, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}),
               y(device(), DType::f32, {2, 3, 2});
  run(device(), [&](CommandEncoder& e) { transpose(e, x, y); });
  EXPECT_EQ(get(y), (std::vector<float>{1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12}));
}

// ---- slice

struct SliceCase {
  std::size_t rows, cols, before;
  SliceOptions part;
};

// Random ones, and ones whose lines are whole words of 16 bytes, at aligned and misaligned places.
std::vector<SliceCase> slice_cases(Random& random) {
  std::vector<SliceCase> cases = {{1, 1, 3, {}},
                                  {5, 7, 3, {}},
                                  {40, 96, 16, {3, 30, 16, 80}},
                                  {40, 96, 16, {3, 30, 16, 81}},
                                  {40, 96, 16, {3, 30, 17, 81}},
                                  {40, 96, 3, {3, 30, 16, 80}},
                                  {300, 70, 3, {1, 299, 1, 69}},
                                  {3, 9000, 3, {0, 2, 1, 8999}},
                                  {9000, 3, 3, {1, to_end, 0, 2}}};
  for (int i = 0; i < 12; ++i) {
    const std::size_t rows = random.between(1, 60), cols = random.between(1, 200);
    const std::size_t row = random.below(rows), col = random.below(cols);
    cases.push_back({rows,
                     cols,
                     random.below(5),
                     {row, random.between(row + 1, rows), col, random.between(col + 1, cols)}});
  }
  return cases;
}

TEST_P(Layout, SliceMovesItsPartAndItsBackwardPutsZerosAround) {
  Random random(2);
  for (const SliceCase& c : slice_cases(random)) {
    for (const DType dtype : every_dtype) {
      const std::size_t row_end = std::min(c.part.row_end, c.rows),
                        col_end = std::min(c.part.col_end, c.cols);
      const Elements x(random, c.rows, c.cols, dtype);
      Elements y(row_end - c.part.row_begin, col_end - c.part.col_begin, dtype), dx(c.rows, c.cols, dtype);
      for (std::size_t i = 0; i < y.rows; ++i) {
        for (std::size_t j = 0; j < y.cols; ++j) {
          y.set(i, j, x, c.part.row_begin + i, c.part.col_begin + j);
          dx.set(c.part.row_begin + i, c.part.col_begin + j, y, i, j);
        }
      }
      const Placed from(device(), dtype, x, c.before), to(device(), dtype, {y.rows, y.cols}, c.before),
          gradient(device(), dtype, {c.rows, c.cols}, c.before);
      run(device(), [&](CommandEncoder& e) {
        slice(e, from.tensor, to.tensor, c.part);
        slice_backward(e, to.tensor, gradient.tensor, c.part);
      });
      const std::string what = std::string(to_string(dtype)) + " " + std::to_string(c.rows) + " x " +
                               std::to_string(c.cols) + ", " + std::to_string(c.part.row_begin) + " " +
                               std::to_string(c.part.col_begin);
      ASSERT_TRUE(to.holds(y)) << what;
      ASSERT_TRUE(gradient.holds(dx)) << what;
    }
  }
}

// ---- concat

TEST_P(Layout, ConcatIsItsInputsAndItsBackwardTakesThemApart) {
  Random random(3);
  for (std::size_t round = 0; round < 16; ++round) {
    const DType dtype = every_dtype[round % std::size(every_dtype)];
    const Axis axis = round % 2 == 0 ? Axis::rows : Axis::cols;
    const std::size_t across = random.between(1, 90), count = random.between(1, 5);
    std::vector<Elements> parts;
    std::size_t along = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t n = random.between(1, 70);
      parts.push_back(axis == Axis::rows ? Elements(random, n, across, dtype)
                                         : Elements(random, across, n, dtype));
      along += n;
    }
    Elements whole = axis == Axis::rows ? Elements(along, across, dtype) : Elements(across, along, dtype);
    std::size_t at = 0;
    for (const Elements& part : parts) {
      for (std::size_t i = 0; i < part.rows * part.cols; ++i) {
        const std::size_t row = i / part.cols, col = i % part.cols;
        axis == Axis::rows ? whole.set(at + row, col, part, row, col)
                           : whole.set(row, at + col, part, row, col);
      }
      at += axis == Axis::rows ? part.rows : part.cols;
    }
    std::vector<Placed> from, back;
    std::vector<Tensor> inputs, gradients;
    for (const Elements& part : parts) {
      inputs.push_back(from.emplace_back(device(), dtype, part).tensor);
      gradients.push_back(back.emplace_back(device(), dtype, Shape{part.rows, part.cols}).tensor);
    }
    const Placed y(device(), dtype, {whole.rows, whole.cols});
    run(device(), [&](CommandEncoder& e) {
      concat(e, inputs, y.tensor, axis);
      concat_backward(e, y.tensor, gradients, axis);
    });
    ASSERT_TRUE(y.holds(whole)) << round;
    for (std::size_t i = 0; i < count; ++i) ASSERT_TRUE(back[i].holds(parts[i])) << round << " " << i;
  }
}

TEST_P(Layout, OneTensorMayBeConcatenatedWithItself) {
  const Tensor x = make(device(), DType::f32, {2, 1}, {1, 2}), y(device(), DType::f32, {2, 3});
  run(device(), [&](CommandEncoder& e) { concat(e, {x, x, x}, y, Axis::cols); });
  EXPECT_EQ(get(y), (std::vector<float>{1, 1, 1, 2, 2, 2}));
}

// ---- broadcast_row

TEST_P(Layout, BroadcastRowRepeatsIt) {
  Random random(4);
  for (const DType dtype : every_dtype) {
    for (const std::size_t rows : {1u, 2u, 300u}) {
      for (const std::size_t cols : {1u, 7u, 64u, 257u}) {
        const Elements x(random, 1, cols, dtype);
        Elements y(rows, cols, dtype);
        for (std::size_t i = 0; i < rows * cols; ++i) y.set(i / cols, i % cols, x, 0, i % cols);
        const Placed from(device(), dtype, x), to(device(), dtype, {rows, cols});
        run(device(), [&](CommandEncoder& e) { broadcast_row(e, from.tensor, to.tensor); });
        ASSERT_TRUE(to.holds(y)) << to_string(dtype) << " " << rows << " x " << cols;
      }
    }
  }
}

// Blocks of 256 rows, in each a chain of additions from +0; block sums added to +0, ascending; one rounding.
std::vector<float> column_sums(const std::vector<float>& x, std::size_t rows, std::size_t cols) {
  std::vector<float> total(cols);
  for (std::size_t begin = 0; begin < rows; begin += 256) {
    std::vector<float> sum(cols);
    for (std::size_t i = begin * cols; i < std::min(rows, begin + 256) * cols; ++i) sum[i % cols] += x[i];
    for (std::size_t j = 0; j < cols; ++j) total[j] += sum[j];
  }
  return total;
}

TEST_P(Layout, BroadcastRowBackwardIsTheWrittenOrderBitForBit) {
  Random random(5);
  for (const DType dtype : float_dtypes) {
    for (const std::size_t rows : {1u, 2u, 255u, 256u, 257u, 512u, 2048u, 2049u, 5000u}) {
      for (const std::size_t cols : {1u, 31u, 33u, 65u}) {
        const std::vector<float> values = rounded(random.floats(rows * cols), dtype);
        const Placed dy(device(), dtype, {rows, cols}), dx(device(), dtype, {cols});
        set(dy.tensor, values);
        run(device(), [&](CommandEncoder& e) { broadcast_row_backward(e, dy.tensor, dx.tensor); });
        ASSERT_TRUE(same_bits(get(dx.tensor), rounded(column_sums(values, rows, cols), dtype)))
            << to_string(dtype) << " " << rows << " x " << cols;
        ASSERT_TRUE(dx.intact());
      }
    }
  }
}

TEST_P(Layout, BroadcastRowBackwardAgreesWithF64) {
  constexpr std::size_t rows = 3000, cols = 17;
  Random random(6);
  for (const DType dtype : float_dtypes) {
    const std::vector<float> values = rounded(random.floats(rows * cols), dtype);
    const Tensor dx(device(), dtype, {cols});
    run(device(), [&](CommandEncoder& e) {
      broadcast_row_backward(e, make(device(), dtype, {rows, cols}, values), dx);
    });
    // A chain of 256 and 12 sums of blocks, then half an ulp of the dtype.
    const double half_ulp = dtype == DType::f16 ? 0x1p-11 : dtype == DType::bf16 ? 0x1p-8 : 0.0;
    const std::vector<float> got = get(dx);
    for (std::size_t j = 0; j < cols; ++j) {
      double want = 0.0, magnitude = 0.0;
      for (std::size_t i = j; i < rows * cols; i += cols) {
        want += double{values[i]};
        magnitude += std::abs(double{values[i]});
      }
      ASSERT_NEAR(got[j], want, 268 * 0x1p-24 * magnitude + half_ulp * 1.01 * std::abs(want)) << j;
    }
  }
}

TEST_P(Layout, BroadcastRowBackwardFollowsIeee) {
  const Tensor dy = make(device(), DType::f32, {2, 4},
                         {-0.0f, infinity, infinity, largest,  //
                          -0.0f, 1.0f, -infinity, largest}),
               dx(device(), DType::f32, {4});
  run(device(), [&](CommandEncoder& e) { broadcast_row_backward(e, dy, dx); });
  EXPECT_TRUE(same_bits(get(dx), {0.0f, infinity, quiet_nan, infinity})) << "a sum starts at +0";
}

// ---- refusals

TEST_P(Layout, Refusals) {
  const auto t = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor(device(), dtype, shape); };
  const Tensor x = t({3, 4});
  CommandEncoder e(device());
  EXPECT_TRUE(
      refuses_op(e, {"transpose", "y is (1, 3, 4)", "(1, 4, 3)"}, [&] { transpose(e, x, t({3, 4})); }));
  EXPECT_TRUE(refuses_op(e, {"transpose", "y is (2, 4, 3)"}, [&] { transpose(e, x, t({2, 4, 3})); }));
  EXPECT_TRUE(
      refuses_op(e, {"transpose", "y is f16", "x is f32"}, [&] { transpose(e, x, t({4, 3}, DType::f16)); }));
  EXPECT_TRUE(refuses_op(e, {"transpose", "y overlaps x"}, [&] { transpose(e, x, x.reshape({4, 3})); }));
  EXPECT_TRUE(refuses_op(e, {"transpose", "x is no tensor"}, [&] { transpose(e, Tensor(), x); }));
  EXPECT_TRUE(
      refuses_op(e, {"transpose_backward", "dx is (1, 3, 3)"}, [&] { transpose_backward(e, x, t({3, 3})); }));

  const auto one_row = t({1, 4});
  EXPECT_TRUE(refuses_op(e, {"slice", "rows are [3, 4)", "[0, 3)"},
                         [&] { slice(e, x, one_row, {.row_begin = 3, .row_end = 4}); }));
  EXPECT_TRUE(refuses_op(e, {"slice", "rows are [2, 2)"},
                         [&] { slice(e, x, one_row, {.row_begin = 2, .row_end = 2}); }));
  EXPECT_TRUE(refuses_op(e, {"slice", "columns are [1, 5)", "[0, 4)"},
                         [&] { slice(e, x, x, {.col_begin = 1, .col_end = 5}); }));
  EXPECT_TRUE(
      refuses_op(e, {"slice", "y is (1, 4)", "(2, 4)"}, [&] { slice(e, x, one_row, {.row_begin = 1}); }));
  EXPECT_TRUE(refuses_op(e, {"slice", "y overlaps x"}, [&] { slice(e, x, x.rows(0, 1), {.row_begin = 2}); }));
  EXPECT_TRUE(
      refuses_op(e, {"slice", "y is u32", "x is f32"}, [&] { slice(e, x, t({3, 4}, DType::u32), {}); }));
  EXPECT_TRUE(refuses_op(e, {"slice_backward", "dy is (1, 4)", "(3, 2)"},
                         [&] { slice_backward(e, one_row, x, {.col_end = 2}); }));
  EXPECT_TRUE(
      refuses_op(e, {"slice_backward", "dx is empty"}, [&] { slice_backward(e, one_row, t({0, 4}), {}); }));

  EXPECT_TRUE(
      refuses_op(e, {"concat", "inputs have 0 rows", "y has 3"}, [&] { concat(e, {}, x, Axis::rows); }));
  EXPECT_TRUE(refuses_op(e, {"concat", "inputs[1] has 5 columns", "y has 4"},
                         [&] { concat(e, {one_row, t({2, 5})}, x, Axis::rows); }));
  EXPECT_TRUE(refuses_op(e, {"concat", "inputs have 2 rows", "y has 3"},
                         [&] { concat(e, {one_row, one_row}, x, Axis::rows); }));
  EXPECT_TRUE(refuses_op(e, {"concat", "inputs[0] has 1 rows", "y has 3"},
                         [&] { concat(e, {one_row}, x, Axis::cols); }));
  EXPECT_TRUE(refuses_op(e, {"concat", "inputs[1] is bf16", "y is f32"},
                         [&] { concat(e, {one_row, t({2, 4}, DType::bf16)}, x, Axis::rows); }));
  EXPECT_TRUE(refuses_op(e, {"concat", "inputs[0] overlaps y"},
                         [&] { concat(e, {x.rows(0, 1), t({2, 4})}, x, Axis::rows); }));
  EXPECT_TRUE(refuses_op(e, {"concat", "inputs[1] is no tensor"},
                         [&] { concat(e, {one_row, Tensor()}, x, Axis::rows); }));
  EXPECT_TRUE(refuses_op(e, {"concat_backward", "gradients[1] overlaps gradients[0]"},
                         [&] { concat_backward(e, t({2, 4}), {one_row, one_row}, Axis::rows); }));

  EXPECT_TRUE(
      refuses_op(e, {"broadcast_row", "x has 3", "expected 4"}, [&] { broadcast_row(e, t({3}), x); }));
  EXPECT_TRUE(refuses_op(e, {"broadcast_row_backward", "dx has 3", "expected 4"},
                         [&] { broadcast_row_backward(e, x, t({3})); }));
  EXPECT_TRUE(refuses_op(e, {"broadcast_row_backward", "dy is u32", "f32, f16 or bf16"},
                         [&] { broadcast_row_backward(e, t({3, 4}, DType::u32), t({4}, DType::u32)); }));
}

SILICA_ON_EVERY_DEVICE(Layout);

}  // namespace
}  // namespace silica::test
