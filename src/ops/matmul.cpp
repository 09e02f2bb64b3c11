// SPDX-License-Identifier: MIT
#include "kernels/matmul/matmul.h"

#include <cstdint>
#include <string>
#include <vector>

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

void check_operand(const char* op, const Product& product, const Argument& x, const Argument& first,
                   const Matrices& expected) {
  check_same_dtype(op, x, first);
  const Matrices got = product.see(x.tensor.shape());
  if (got == expected) return;
  refuse(op, ": ", x.name, " is ", text_of(product, got), ", expected ", text_of(product, expected));
}

struct Factors {
  Matrices a, b;  // (m, k) and (k, n)
  Matrices product() const { return {a.batch, a.rows, b.cols}; }
};

Factors see_factors(const Product& product, const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  const Matrices left = product.see(a.shape()), right = product.see(b.shape());
  return {options.transpose_a ? transposed(left) : left, options.transpose_b ? transposed(right) : right};
}

Factors check_factors(const char* op, const Product& product, const Tensor& a, const Tensor& b,
                      const MatmulOptions& options) {
  check_float(op, {"a", a});
  check_same_dtype(op, {"b", b}, {"a", a});
  const Factors factors = see_factors(product, a, b, options);
  const auto& [left, right] = factors;
  const char* differ = left.batch != right.batch ? "batch" : left.cols != right.rows ? "inner" : nullptr;
  if (differ != nullptr) {
    refuse(op, ": a is ", text_of(product, left), " and b is ", text_of(product, right),
           " after transposing; the ", differ, " extents differ");
  }
  return factors;
}

// A factor, and what it is in f32 once a kernel has wanted that.
struct Factor {
  explicit Factor(const Tensor& tensor) : given(tensor) {}

  const Tensor& as(CommandEncoder& encoder, DType dtype) {
    if (given.dtype() == dtype) return given;
    if (!wide) {
      wide = encoder.temporary(DType::f32, given.shape());
      cast(encoder, given, wide);
    }
    return wide;
  }

  Tensor given, wide;
};

static_assert(sizeof(kernels::MatmulArguments) == 3 * sizeof(void*) + sizeof(kernels::ProductSizes));

// The kernel for operands of a dtype; empty if they have to be widened.
std::string kernel_of(const CommandEncoder& encoder, const Product& product, DType dtype,
                      const kernels::ProductSizes& p) {
  const auto has = [&](const std::string& name) { return encoder.device().kernels().contains(name); };
  const bool is_f32 = dtype == DType::f32, is_single = &product == &single;
  const std::string fast = message("matmul.matmul.", to_string(dtype), ".fast");
  const std::string few = message("matmul.few_rows.", to_string(dtype));
  const bool is_fast = encoder.math() == Math::fast && is_single && has(fast);
  const bool is_few = !is_f32 && is_single && has(few) &&
                      kernels::is_few_rows(p.m, p.k, p.transpose_a != 0, p.transpose_b != 0);
  if (is_few && (p.transpose_b != 0 || !is_fast)) return few;  // of a transposed b no slower, and exact
  if (is_fast) return fast;
  return is_f32 ? "matmul.matmul.f32" : "";
}

// c = op(a) * op(b) of factors of c's dtype, rounded to it at the end.
void multiply(CommandEncoder& encoder, const Product& product, Factor& a, Factor& b, const Tensor& c,
              const MatmulOptions& options) {
  const auto [left, right] = see_factors(product, a.given, b.given, options);
  const kernels::ProductSizes parameters{left.rows, right.cols, left.cols, options.transpose_a,
                                         options.transpose_b};
  const std::string own = kernel_of(encoder, product, c.dtype(), parameters);
  const DType dtype = own.empty() ? DType::f32 : c.dtype();
  const Tensor sums = own.empty() ? encoder.temporary(dtype, c.shape()) : c;
  const Tensor x = a.as(encoder, dtype), y = b.as(encoder, dtype);
  encoder.dispatch(own.empty() ? "matmul.matmul.f32" : own, {read(x, "a"), read(y, "b"), write(sums, "c")},
                   parameters, Grid{parameters.n, parameters.m, left.batch});
  if (own.empty()) cast(encoder, sums, c);
}

void forward(CommandEncoder& encoder, const Product& product, const Tensor& a, const Tensor& b,
             const Tensor& c, const MatmulOptions& options) {
  const Factors factors = check_factors(product.op, product, a, b, options);
  check_operand(product.op, product, {"c", c}, {"a", a}, factors.product());
  const Operand operands[] = {read(a, "a"), read(b, "b"), write(c, "c")};
  encoder.check(product.op, operands);
  CommandEncoder::Transaction transaction(encoder, product.op);
  Factor left(a), right(b);
  multiply(encoder, product, left, right, c, options);
  transaction.commit();
}

void backward(CommandEncoder& encoder, const Product& product, const Tensor& a, const Tensor& b,
              const Tensor& dc, const Tensor& da, const Tensor& db, const MatmulOptions& options) {
  const char* op = product.backward;
  const Factors factors = check_factors(op, product, a, b, options);
  check_operand(op, product, {"dc", dc}, {"a", a}, factors.product());
  std::vector<Operand> operands = {read(a, "a"), read(b, "b"), read(dc, "dc")};
  if (da) {
    check_operand(op, product, {"da", da}, {"a", a}, product.see(a.shape()));
    operands.push_back(write(da, "da"));
  }
  if (db) {
    check_operand(op, product, {"db", db}, {"a", a}, product.see(b.shape()));
    operands.push_back(write(db, "db"));
  }
  encoder.check(op, operands);
  if (!da && !db) return;
  // With A = op(a), B = op(b): dA = dc B^T and dB = A^T dc; a transposed operand's gradient is the transpose.
  const bool ta = options.transpose_a, tb = options.transpose_b;
  CommandEncoder::Transaction transaction(encoder, op);
  Factor left(a), right(b), seed(dc);
  if (da && ta) multiply(encoder, product, right, seed, da, {.transpose_a = tb, .transpose_b = true});
  if (da && !ta) multiply(encoder, product, seed, right, da, {.transpose_b = !tb});
  if (db && tb) multiply(encoder, product, seed, left, db, {.transpose_a = true, .transpose_b = ta});
  if (db && !tb) multiply(encoder, product, left, seed, db, {.transpose_a = !ta});
  transaction.commit();
}

}  // namespace

void matmul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
            const MatmulOptions& options) {
  forward(encoder, single, a, b, c, options);
}

void matmul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                     const Tensor& da, const Tensor& db, const MatmulOptions& options) {
  backward(encoder, single, a, b, dc, da, db, options);
}

void batched_matmul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
                    const MatmulOptions& options) {
  forward(encoder, batched, a, b, c, options);
}

void batched_matmul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                             const Tensor& da, const Tensor& db, const MatmulOptions& options) {
  backward(encoder, batched, a, b, dc, da, db, options);
}

}  // namespace silica
