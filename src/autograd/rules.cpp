// SPDX-License-Identifier: MIT
// The ops on variables: encode the value, and record a rule that encodes the gradients. A rule captures what
// the tape must keep, nothing else.
#include <algorithm>
#include <string_view>
#include <vector>

#include "autograd/tape_record.h"
#include "ops/matrices.h"

namespace silica {

namespace {

Tensor like(TapeRecord& tape, const Tensor& x) { return tape.encoder->temporary(x.dtype(), x.shape()); }

// Whether both gradients are dc itself by their formulas, so that nothing has to be computed.
constexpr bool is_sum(std::string_view da, std::string_view db) { return da == "dc" && db == "dc"; }

}  // namespace

// The elementwise ops, from the rows of ops.inc.
#define SILICA_UNARY(op, ...)                                                                       \
  Variable op(const Variable& variable) {                                                           \
    TapeRecord& tape = TapeRecord::of(#op, {variable});                                             \
    const Tensor x = variable.value(), y = like(tape, x);                                           \
    op(*tape.encoder, x, y);                                                                        \
    return TapeRecord::record(#op, y, {variable},                                                   \
                              [x](Reverse& r) { op##_backward(r.encoder, x, r.dy(), r.slot(0)); }); \
  }
#define SILICA_UNARY_LINEAR(op, ...)                                                            \
  Variable op(const Variable& variable) {                                                       \
    TapeRecord& tape = TapeRecord::of(#op, {variable});                                         \
    const Tensor x = variable.value(), y = like(tape, x);                                       \
    op(*tape.encoder, x, y);                                                                    \
    return TapeRecord::record(#op, y, {variable},                                               \
                              [](Reverse& r) { op##_backward(r.encoder, r.dy(), r.slot(0)); }); \
  }
#define SILICA_UNARY_SCALAR(op, ...)                                                                \
  Variable op(const Variable& variable, float s) {                                                  \
    TapeRecord& tape = TapeRecord::of(#op, {variable});                                             \
    const Tensor x = variable.value(), y = like(tape, x);                                           \
    op(*tape.encoder, x, s, y);                                                                     \
    return TapeRecord::record(#op, y, {variable},                                                   \
                              [s](Reverse& r) { op##_backward(r.encoder, r.dy(), s, r.slot(0)); }); \
  }
#define SILICA_BINARY(op, ...)                                            \
  Variable op(const Variable& left, const Variable& right) {              \
    TapeRecord& tape = TapeRecord::of(#op, {left, right});                \
    const Tensor a = left.value(), b = right.value(), c = like(tape, a);  \
    op(*tape.encoder, a, b, c);                                           \
    return TapeRecord::record(#op, c, {left, right}, [a, b](Reverse& r) { \
      const Tensor da = r.slot(0), db = r.slot(1);                        \
      op##_backward(r.encoder, a, b, r.dy(), da, db);                     \
    });                                                                   \
  }
#define SILICA_BINARY_LINEAR(op, c_formula, da_formula, db_formula)   \
  Variable op(const Variable& left, const Variable& right) {          \
    TapeRecord& tape = TapeRecord::of(#op, {left, right});            \
    const Tensor a = left.value(), c = like(tape, a);                 \
    op(*tape.encoder, a, right.value(), c);                           \
    return TapeRecord::record(#op, c, {left, right}, [](Reverse& r) { \
      if constexpr (is_sum(#da_formula, #db_formula)) {               \
        r.pass(0, r.dy());                                            \
        r.pass(1, r.dy());                                            \
        return;                                                       \
      }                                                               \
      const Tensor da = r.slot(0), db = r.slot(1);                    \
      op##_backward(r.encoder, r.dy(), da, db);                       \
    });                                                               \
  }
#define SILICA_BINARY_SCALAR(op, ...)                                  \
  Variable op(float s, const Variable& left, const Variable& right) {  \
    TapeRecord& tape = TapeRecord::of(#op, {left, right});             \
    const Tensor a = left.value(), c = like(tape, a);                  \
    op(*tape.encoder, s, a, right.value(), c);                         \
    return TapeRecord::record(#op, c, {left, right}, [s](Reverse& r) { \
      const Tensor da = r.slot(0), db = r.slot(1);                     \
      op##_backward(r.encoder, s, r.dy(), da, db);                     \
    });                                                                \
  }
#include "kernels/ops.inc"

Variable copy(const Variable& variable) {
  TapeRecord& tape = TapeRecord::of("copy", {variable});
  const Tensor x = variable.value(), y = like(tape, x);
  copy(*tape.encoder, x, y);
  return TapeRecord::record("copy", y, {variable}, [](Reverse& r) { r.pass(0, r.dy()); });
}

Variable cast(const Variable& variable, DType dtype) {
  TapeRecord& tape = TapeRecord::of("cast", {variable});
  const Tensor x = variable.value(), y = tape.encoder->temporary(dtype, x.shape());
  cast(*tape.encoder, x, y);
  return TapeRecord::record("cast", y, {variable},
                            [](Reverse& r) { cast_backward(r.encoder, r.dy(), r.slot(0)); });
}

Variable reshape(const Variable& variable, const Shape& shape) {
  return TapeRecord::record("reshape", variable.value().reshape(shape), {variable},
                            [](Reverse& r) { r.pass(0, r.dy()); });
}

Variable matmul(const Variable& left, const Variable& right, const MatmulOptions& options) {
  TapeRecord& tape = TapeRecord::of("matmul", {left, right});
  const Tensor a = left.value(), b = right.value();
  const std::size_t m = options.transpose_a ? a.shape().cols() : a.shape().rows();
  const std::size_t n = options.transpose_b ? b.shape().rows() : b.shape().cols();
  const Tensor c = tape.encoder->temporary(a.dtype(), {m, n});
  matmul(*tape.encoder, a, b, c, options);
  return TapeRecord::record("matmul", c, {left, right}, [a, b, options](Reverse& r) {
    const Tensor da = r.wants(0) ? r.slot(0) : Tensor(), db = r.wants(1) ? r.slot(1) : Tensor();
    matmul_backward(r.encoder, a, b, r.dy(), da, db, options);
  });
}

Variable batched_matmul(const Variable& left, const Variable& right, const MatmulOptions& options) {
  TapeRecord& tape = TapeRecord::of("batched_matmul", {left, right});
  const Tensor a = left.value(), b = right.value();
  const Matrices x = as_batch(a.shape()), y = as_batch(b.shape());
  const std::size_t m = options.transpose_a ? x.cols : x.rows, n = options.transpose_b ? y.rows : y.cols;
  const Tensor c = tape.encoder->temporary(a.dtype(), with_matrix(a.shape(), m, n));
  batched_matmul(*tape.encoder, a, b, c, options);
  return TapeRecord::record("batched_matmul", c, {left, right}, [a, b, options](Reverse& r) {
    const Tensor da = r.wants(0) ? r.slot(0) : Tensor(), db = r.wants(1) ? r.slot(1) : Tensor();
    batched_matmul_backward(r.encoder, a, b, r.dy(), da, db, options);
  });
}

Variable feed_forward(const Variable& input, const Variable& gate, const Variable& up, const Variable& down,
                      const FeedForwardOptions& options) {
  TapeRecord& tape = TapeRecord::of("feed_forward", {input, gate, up, down});
  const Tensor x = input.value(), y = like(tape, x);
  const FeedForwardWeights weights{gate.value(), up.value(), down.value()};
  const auto hidden = [&] {
    const Shape& shape = weights.gate.shape();
    return tape.encoder->temporary(x.dtype(),
                                   {x.shape().rows(), options.in_out ? shape.cols() : shape.rows()});
  };
  const FeedForwardKept kept{hidden(), hidden(), hidden()};
  feed_forward(*tape.encoder, x, weights, y, kept, options);
  return TapeRecord::record("feed_forward", y, {input, gate, up, down}, [=](Reverse& r) {
    const auto wanted = [&r](std::size_t i) { return r.wants(i) ? r.slot(i) : Tensor(); };
    const Tensor dx = wanted(0);
    const FeedForwardWeights dweights{wanted(1), wanted(2), wanted(3)};
    feed_forward_backward(r.encoder, x, weights, kept, r.dy(), dx, dweights, options);
  });
}

Variable transpose(const Variable& variable) {
  TapeRecord& tape = TapeRecord::of("transpose", {variable});
  const Tensor x = variable.value();
  const Matrices m = as_batch(x.shape());
  const Tensor y = tape.encoder->temporary(x.dtype(), with_matrix(x.shape(), m.cols, m.rows));
  transpose(*tape.encoder, x, y);
  return TapeRecord::record("transpose", y, {variable},
                            [](Reverse& r) { transpose_backward(r.encoder, r.dy(), r.slot(0)); });
}

Variable slice(const Variable& variable, const SliceOptions& options) {
  TapeRecord& tape = TapeRecord::of("slice", {variable});
  const Tensor x = variable.value();
  const auto count = [](std::size_t begin, std::size_t end, std::size_t all) {
    end = std::min(end, all);
    return end - std::min(begin, end);
  };
  const Tensor y =
      tape.encoder->temporary(x.dtype(), {count(options.row_begin, options.row_end, x.shape().rows()),
                                          count(options.col_begin, options.col_end, x.shape().cols())});
  slice(*tape.encoder, x, y, options);
  return TapeRecord::record("slice", y, {variable},
                            [options](Reverse& r) { slice_backward(r.encoder, r.dy(), r.slot(0), options); });
}

Variable concat(const std::vector<Variable>& variables, Axis axis) {
  TapeRecord& tape = TapeRecord::of("concat", variables);
  std::vector<Tensor> inputs;
  std::size_t rows = 0, cols = 0;
  for (const Variable& variable : variables) {
    inputs.push_back(variable.value());
    const Shape& shape = inputs.back().shape();
    rows = axis == Axis::rows ? rows + shape.rows() : shape.rows();
    cols = axis == Axis::cols ? cols + shape.cols() : shape.cols();
  }
  const Tensor y = tape.encoder->temporary(inputs[0].dtype(), {rows, cols});
  concat(*tape.encoder, inputs, y, axis);
  return TapeRecord::record("concat", y, variables, [count = inputs.size(), axis](Reverse& r) {
    std::vector<Tensor> gradients;
    for (std::size_t i = 0; i < count; ++i) gradients.push_back(r.slot(i));
    concat_backward(r.encoder, r.dy(), gradients, axis);
  });
}

Variable broadcast_row(const Variable& variable, std::size_t rows) {
  TapeRecord& tape = TapeRecord::of("broadcast_row", {variable});
  const Tensor x = variable.value(), y = tape.encoder->temporary(x.dtype(), {rows, x.size()});
  broadcast_row(*tape.encoder, x, y);
  return TapeRecord::record("broadcast_row", y, {variable},
                            [](Reverse& r) { broadcast_row_backward(r.encoder, r.dy(), r.slot(0)); });
}

Variable embedding(const Variable& table, const Tensor& ids) {
  TapeRecord& tape = TapeRecord::of("embedding", {table});
  const Tensor values = table.value();
  const Tensor y = tape.encoder->temporary(values.dtype(), {ids.size(), values.shape().cols()});
  embedding(*tape.encoder, values, ids, y);
  return TapeRecord::record("embedding", y, {table},
                            [ids](Reverse& r) { embedding_backward(r.encoder, ids, r.dy(), r.slot(0)); });
}

}  // namespace silica
