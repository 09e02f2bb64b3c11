// SPDX-License-Identifier: MIT
// The ops on variables: encode the value, and record a rule that encodes the gradients. A rule captures what
// the tape must keep, nothing else.
#include <string_view>

#include "autograd/tape_record.h"

namespace silica {

namespace {

Tensor like(TapeRecord& tape, const Tensor& x) { return tape.encoder->temporary(x.dtype(), x.shape()); }

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
#define SILICA_BINARY_LINEAR(op, ...)                                     \
  Variable op(const Variable& left, const Variable& right) {              \
    TapeRecord& tape = TapeRecord::of(#op, {left, right});                \
    const Tensor a = left.value(), c = like(tape, a);                     \
    op(*tape.encoder, a, right.value(), c);                               \
    return TapeRecord::record(#op, c, {left, right}, [](Reverse& r) {     \
      if (std::string_view(#op) == "add") {                               \
        r.pass(0, r.dy()); /* a sum's gradient is both terms' gradient */ \
        r.pass(1, r.dy());                                                \
        return;                                                           \
      }                                                                   \
      const Tensor da = r.slot(0), db = r.slot(1);                        \
      op##_backward(r.encoder, r.dy(), da, db);                           \
    });                                                                   \
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

Variable rms_norm(const Variable& input, const Variable& scale, const NormOptions& options) {
  TapeRecord& tape = TapeRecord::of("rms_norm", {input, scale});
  const Tensor x = input.value(), weight = scale.value(), y = like(tape, x);
  rms_norm(*tape.encoder, x, weight, y, options);
  return TapeRecord::record("rms_norm", y, {input, scale}, [x, weight, options](Reverse& r) {
    const Tensor dx = r.wants(0) ? r.slot(0) : Tensor(), dweight = r.wants(1) ? r.slot(1) : Tensor();
    rms_norm_backward(r.encoder, x, weight, r.dy(), dx, dweight, options);
  });
}

Variable embedding(const Variable& table, const Tensor& ids) {
  TapeRecord& tape = TapeRecord::of("embedding", {table});
  const Tensor y = tape.encoder->temporary(DType::f32, {ids.size(), table.value().shape().cols()});
  embedding(*tape.encoder, table.value(), ids, y);
  return TapeRecord::record("embedding", y, {table},
                            [ids](Reverse& r) { embedding_backward(r.encoder, ids, r.dy(), r.slot(0)); });
}

Variable cross_entropy(const Variable& logits, const Tensor& targets) {
  TapeRecord& tape = TapeRecord::of("cross_entropy", {logits});
  const Tensor x = logits.value(), loss = tape.encoder->temporary(DType::f32, {1});
  cross_entropy(*tape.encoder, x, targets, loss);
  return TapeRecord::record("cross_entropy", loss, {logits}, [x, targets](Reverse& r) {
    cross_entropy_backward(r.encoder, x, targets, r.dy(), r.slot(0));
  });
}

}  // namespace silica
