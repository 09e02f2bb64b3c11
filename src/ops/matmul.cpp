// SPDX-License-Identifier: MIT
#include "kernels/matmul/matmul.h"

#include <cstdint>
#include <string>

#include "ops/check.h"
#include "ops/matrices.h"
#include "silica/ops.h"

namespace silica {

namespace {

// matmul and batched_matmul: their names, and how they see a tensor.
struct Product {
  const char* op;
  const char* backward;
  Matrices (*see)(const Shape& shape);
};
constexpr Product single{"matmul", "matmul_backward", as_matrix};
constexpr Product batched{"batched_matmul", "batched_matmul_backward", as_batch};

std::string text_of(const Product& product, const Matrices& m) {
  return to_string(&product == &batched ? Shape{m.batch, m.rows, m.cols} : Shape{m.rows, m.cols});
}

void check_operand(const char* op, const Product& product, const Argument& a, const Matrices& expected) {
  check_dtype(op, a, DType::f32);
  const Matrices got = product.see(a.tensor.shape());
  if (got == expected) return;
  refuse(op, ": ", a.name, " is ", text_of(product, got), ", expected ", text_of(product, expected));
}

struct Factors {
  Matrices a, b;  // (m, k) and (k, n)
  Matrices product() const { return {a.batch, a.rows, b.cols}; }
};

Factors check_factors(const char* op, const Product& product, const Tensor& a, const Tensor& b,
                      const MatmulOptions& options) {
  check_dtype(op, {"a", a}, DType::f32);
  check_dtype(op, {"b", b}, DType::f32);
  Matrices left = product.see(a.shape()), right = product.see(b.shape());
  if (options.transpose_a) left = transposed(left);
  if (options.transpose_b) right = transposed(right);
  const char* differ = left.batch != right.batch ? "batch" : left.cols != right.rows ? "inner" : nullptr;
  if (differ != nullptr) {
    refuse(op, ": a is ", text_of(product, left), " and b is ", text_of(product, right),
           " after transposing; the ", differ, " extents differ");
  }
  return {left, right};
}

void multiply(CommandEncoder& encoder, const Product& product, const Tensor& a, const Tensor& b,
              const Tensor& c, const MatmulOptions& options) {
  const Factors factors = check_factors(product.op, product, a, b, options);
  check_operand(product.op, product, {"c", c}, factors.product());
  check_apart(product.op, {"c", c}, {"a", a});
  check_apart(product.op, {"c", c}, {"b", b});
  struct Parameters {
    std::uint64_t m, n, k;
    std::uint32_t transpose_a, transpose_b;
  };
  static_assert(sizeof(kernels::MatmulArguments) == 3 * sizeof(void*) + sizeof(Parameters));
  const std::uint64_t m = factors.a.rows, n = factors.b.cols, k = factors.a.cols;
  encoder.dispatch("matmul.matmul.f32", {read(a, "a"), read(b, "b"), write(c, "c")},
                   Parameters{m, n, k, options.transpose_a, options.transpose_b},
                   Grid{n, m, factors.a.batch});
}

void differentiate(CommandEncoder& encoder, const Product& product, const Tensor& a, const Tensor& b,
                   const Tensor& dc, const Tensor& da, const Tensor& db, const MatmulOptions& options) {
  const char* op = product.backward;
  const Factors factors = check_factors(op, product, a, b, options);
  check_operand(op, product, {"dc", dc}, factors.product());
  if (da) check_operand(op, product, {"da", da}, product.see(a.shape()));
  if (db) check_operand(op, product, {"db", db}, product.see(b.shape()));
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
  if (da && !ta) multiply(encoder, product, dc, b, da, {.transpose_b = !tb});
  if (da && ta) multiply(encoder, product, b, dc, da, {.transpose_a = tb, .transpose_b = true});
  if (db && !tb) multiply(encoder, product, a, dc, db, {.transpose_a = !ta});
  if (db && tb) multiply(encoder, product, dc, a, db, {.transpose_a = true, .transpose_b = ta});
  transaction.commit();
}

}  // namespace

void matmul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
            const MatmulOptions& options) {
  multiply(encoder, single, a, b, c, options);
}

void matmul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                     const Tensor& da, const Tensor& db, const MatmulOptions& options) {
  differentiate(encoder, single, a, b, dc, da, db, options);
}

void batched_matmul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
                    const MatmulOptions& options) {
  multiply(encoder, batched, a, b, c, options);
}

void batched_matmul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                             const Tensor& da, const Tensor& db, const MatmulOptions& options) {
  differentiate(encoder, batched, a, b, dc, da, db, options);
}

}  // namespace silica
