// SPDX-License-Identifier: MIT
#include <cstdint>
#include <string>
#include <vector>

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
  check_float(op, {"a", a});
  check_same_dtype(op, {"b", b}, {"a", a});
  const Matrix left = view(a, options.transpose_a), right = view(b, options.transpose_b);
  if (left.cols != right.rows) {
    refuse(op, ": a is (", left.rows, ", ", left.cols, ") and b is (", right.rows, ", ", right.cols,
           ") after transposing; the inner extents differ");
  }
  return {left, right};
}

// The kernel for operands of a dtype; empty if they have to be widened.
std::string kernel_of(const CommandEncoder& encoder, DType dtype) {
  const std::string exact = dtype == DType::f32 ? "matmul.matmul.f32" : "";
  if (encoder.math() == Math::exact) return exact;
  const std::string fast = message("matmul.matmul.", to_string(dtype), ".fast");
  return encoder.device().kernels().contains(fast) ? fast : exact;
}

// x as a kernel takes it.
Tensor as_factor(CommandEncoder& encoder, const Tensor& x) {
  if (!kernel_of(encoder, x.dtype()).empty()) return x;
  const Tensor wide = encoder.temporary(DType::f32, x.shape());
  cast(encoder, x, wide);
  return wide;
}

// c = op(a) * op(b) of two factors, rounded to c's dtype at the end.
void multiply(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
              const MatmulOptions& options) {
  const Matrix left = view(a, options.transpose_a), right = view(b, options.transpose_b);
  const Tensor product = a.dtype() == c.dtype() ? c : encoder.temporary(a.dtype(), c.shape());
  struct Parameters {
    std::uint64_t m, n, k;
    std::uint32_t transpose_a, transpose_b;
  };
  static_assert(sizeof(kernels::MatmulArguments) == 3 * sizeof(void*) + sizeof(Parameters));
  encoder.dispatch(kernel_of(encoder, a.dtype()), {read(a, "a"), read(b, "b"), write(product, "c")},
                   Parameters{left.rows, right.cols, left.cols, options.transpose_a, options.transpose_b},
                   Grid{right.cols, left.rows});
  if (product.dtype() != c.dtype()) cast(encoder, product, c);
}

}  // namespace

void matmul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
            const MatmulOptions& options) {
  const auto [left, right] = check_factors("matmul", a, b, options);
  check_same_dtype("matmul", {"c", c}, {"a", a});
  check_matrix("matmul", {"c", c}, {left.rows, right.cols});
  const Operand operands[] = {read(a, "a"), read(b, "b"), write(c, "c")};
  encoder.check("matmul", operands);
  CommandEncoder::Transaction transaction(encoder);
  const Tensor first = as_factor(encoder, a), second = as_factor(encoder, b);
  multiply(encoder, first, second, c, options);
  transaction.commit();
}

void matmul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                     const Tensor& da, const Tensor& db, const MatmulOptions& options) {
  const char* op = "matmul_backward";
  const auto [left, right] = check_factors(op, a, b, options);
  check_same_dtype(op, {"dc", dc}, {"a", a});
  check_matrix(op, {"dc", dc}, {left.rows, right.cols});
  std::vector<Operand> operands = {read(a, "a"), read(b, "b"), read(dc, "dc")};
  if (da) {
    check_same_dtype(op, {"da", da}, {"a", a});
    check_matrix(op, {"da", da}, view(a, false));
    operands.push_back(write(da, "da"));
  }
  if (db) {
    check_same_dtype(op, {"db", db}, {"a", a});
    check_matrix(op, {"db", db}, view(b, false));
    operands.push_back(write(db, "db"));
  }
  encoder.check(op, operands);
  if (!da && !db) return;
  // With A = op(a), B = op(b): dA = dc B^T and dB = A^T dc; a transposed operand's gradient is the transpose.
  const bool ta = options.transpose_a, tb = options.transpose_b;
  CommandEncoder::Transaction transaction(encoder);
  const Tensor seed = as_factor(encoder, dc);
  if (da) {
    const Tensor factor = as_factor(encoder, b);
    if (ta) multiply(encoder, factor, seed, da, {.transpose_a = tb, .transpose_b = true});
    if (!ta) multiply(encoder, seed, factor, da, {.transpose_b = !tb});
  }
  if (db) {
    const Tensor factor = as_factor(encoder, a);
    if (tb) multiply(encoder, seed, factor, db, {.transpose_a = true, .transpose_b = ta});
    if (!tb) multiply(encoder, factor, seed, db, {.transpose_a = !ta});
  }
  transaction.commit();
}

}  // namespace silica
