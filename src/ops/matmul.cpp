// SPDX-License-Identifier: MIT
#include <cstdint>

#include "kernels/matmul/matmul.h"

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

struct Matrix {
  std::size_t rows, cols;
};

Matrix view(const Tensor& tensor, bool transposed) {
  const Matrix stored{tensor.shape().rows(), tensor.shape().cols()};
  return transposed ? Matrix{stored.cols, stored.rows} : stored;
}

void check_matrix(const char* op, const Argument& a, const Matrix& expected) {
  const Matrix got = view(a.tensor, false);
  if (got.rows == expected.rows && got.cols == expected.cols) return;
  refuse(op, ": ", a.name, " is (", got.rows, ", ", got.cols, "), expected (", expected.rows, ", ",
         expected.cols, ")");
}

// Returns (m, k) and (k, n).
std::pair<Matrix, Matrix> check_factors(const char* op, const Tensor& a, const Tensor& b,
                                        const MatmulOptions& options) {
  check_dtype(op, {"a", a}, DType::f32);
  check_dtype(op, {"b", b}, DType::f32);
  const Matrix left = view(a, options.transpose_a), right = view(b, options.transpose_b);
  if (left.cols != right.rows) {
    refuse(op, ": a is (", left.rows, ", ", left.cols, ") and b is (", right.rows, ", ", right.cols,
           ") after transposing; the inner extents differ");
  }
  return {left, right};
}

}  // namespace

void matmul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
            const MatmulOptions& options) {
  const auto [left, right] = check_factors("matmul", a, b, options);
  check_dtype("matmul", {"c", c}, DType::f32);
  check_matrix("matmul", {"c", c}, {left.rows, right.cols});
  struct Parameters {
    std::uint64_t m, n, k;
    std::uint32_t transpose_a, transpose_b;
  };
  static_assert(sizeof(kernels::MatmulArguments) == 3 * sizeof(void*) + sizeof(Parameters));
  encoder.dispatch("matmul.matmul.f32", {read(a, "a"), read(b, "b"), write(c, "c")},
                   Parameters{left.rows, right.cols, left.cols, options.transpose_a, options.transpose_b},
                   Grid{right.cols, left.rows});
}

void matmul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                     const Tensor& da, const Tensor& db, const MatmulOptions& options) {
  const char* op = "matmul_backward";
  const auto [left, right] = check_factors(op, a, b, options);
  check_dtype(op, {"dc", dc}, DType::f32);
  check_matrix(op, {"dc", dc}, {left.rows, right.cols});
  if (da) {
    check_dtype(op, {"da", da}, DType::f32);
    check_matrix(op, {"da", da}, view(a, false));
  }
  if (db) {
    check_dtype(op, {"db", db}, DType::f32);
    check_matrix(op, {"db", db}, view(b, false));
  }
  for (const Argument& output : {Argument{"da", da}, Argument{"db", db}}) {
    if (!output.tensor) continue;
    for (const Argument& input : {Argument{"a", a}, Argument{"b", b}, Argument{"dc", dc}}) {
      check_apart(op, output, input);
    }
  }
  if (da && db) check_apart(op, {"db", db}, {"da", da});
  // With A = op(a), B = op(b): dA = dc B^T and dB = A^T dc; a transposed operand's gradient is the transpose.
  const bool ta = options.transpose_a, tb = options.transpose_b;
  CommandEncoder::Transaction transaction(encoder, op);
  if (da && !ta) matmul(encoder, dc, b, da, {.transpose_b = !tb});
  if (da && ta) matmul(encoder, b, dc, da, {.transpose_a = tb, .transpose_b = true});
  if (db && !tb) matmul(encoder, a, dc, db, {.transpose_a = !ta});
  if (db && tb) matmul(encoder, dc, a, db, {.transpose_a = true, .transpose_b = ta});
  transaction.commit();
}

}  // namespace silica
