// SPDX-License-Identifier: MIT
// The ops on rows, on variables: as in rules.cpp.
#include "autograd/tape_record.h"

namespace silica {

namespace {

using Forward = void (*)(CommandEncoder&, const Tensor&, const Tensor&);
using Backward = void (*)(CommandEncoder&, const Tensor&, const Tensor&, const Tensor&);

Tensor like(TapeRecord& tape, const Tensor& x) { return tape.encoder->temporary(x.dtype(), x.shape()); }

// The gradient is made of y, not of x.
Variable softmax_like(const char* op, Forward forward, Backward backward, const Variable& variable) {
  TapeRecord& tape = TapeRecord::of(op, {variable});
  const Tensor x = variable.value(), y = like(tape, x);
  forward(*tape.encoder, x, y);
  return TapeRecord::record(op, y, {variable},
                            [y, backward](Reverse& r) { backward(r.encoder, y, r.dy(), r.slot(0)); });
}

Variable sum_like(const char* op, Forward forward, Forward backward, const Variable& variable) {
  TapeRecord& tape = TapeRecord::of(op, {variable});
  const Tensor x = variable.value(), y = tape.encoder->temporary(x.dtype(), {x.shape().rows()});
  forward(*tape.encoder, x, y);
  return TapeRecord::record(op, y, {variable},
                            [backward](Reverse& r) { backward(r.encoder, r.dy(), r.slot(0)); });
}

}  // namespace

Variable sum(const Variable& x) { return sum_like("sum", sum, sum_backward, x); }
Variable mean(const Variable& x) { return sum_like("mean", mean, mean_backward, x); }
Variable softmax(const Variable& x) { return softmax_like("softmax", softmax, softmax_backward, x); }
Variable log_softmax(const Variable& x) {
  return softmax_like("log_softmax", log_softmax, log_softmax_backward, x);
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

Variable layer_norm(const Variable& input, const Variable& scale, const Variable& shift,
                    const NormOptions& options) {
  // What was not given has the input in its place, and no gradient.
  const bool has_weight = bool(scale), has_bias = bool(shift);
  const std::initializer_list<Variable> inputs = {input, has_weight ? scale : input,
                                                  has_bias ? shift : input};
  TapeRecord& tape = TapeRecord::of("layer_norm", inputs);
  const Tensor x = input.value(), weight = has_weight ? scale.value() : Tensor();
  const Tensor bias = has_bias ? shift.value() : Tensor(), y = like(tape, x);
  layer_norm(*tape.encoder, x, weight, bias, y, options);
  return TapeRecord::record("layer_norm", y, inputs, [x, weight, has_bias, options](Reverse& r) {
    const Tensor dx = r.wants(0) ? r.slot(0) : Tensor();
    const Tensor dweight = weight && r.wants(1) ? r.slot(1) : Tensor();
    const Tensor dbias = has_bias && r.wants(2) ? r.slot(2) : Tensor();
    layer_norm_backward(r.encoder, x, weight, r.dy(), dx, dweight, dbias, options);
  });
}

Variable l2_norm(const Variable& input, const NormOptions& options) {
  TapeRecord& tape = TapeRecord::of("l2_norm", {input});
  const Tensor x = input.value(), y = like(tape, x);
  l2_norm(*tape.encoder, x, y, options);
  return TapeRecord::record("l2_norm", y, {input}, [x, options](Reverse& r) {
    l2_norm_backward(r.encoder, x, r.dy(), r.slot(0), options);
  });
}

Variable cross_entropy(const Variable& logits, const Tensor& targets) {
  TapeRecord& tape = TapeRecord::of("cross_entropy", {logits});
  const Tensor x = logits.value(), loss = tape.encoder->temporary(DType::f32, {1});
  cross_entropy(*tape.encoder, x, targets, loss);
  return TapeRecord::record("cross_entropy", loss, {logits}, [x, targets](Reverse& r) {
    cross_entropy_backward(r.encoder, x, targets, r.dy(), r.slot(0));
  });
}

Variable kl_divergence(const Variable& p_logits, const Variable& q_logits) {
  TapeRecord& tape = TapeRecord::of("kl_divergence", {p_logits, q_logits});
  const Tensor p = p_logits.value(), q = q_logits.value(), loss = tape.encoder->temporary(DType::f32, {1});
  kl_divergence(*tape.encoder, p, q, loss);
  return TapeRecord::record("kl_divergence", loss, {p_logits, q_logits}, [p, q](Reverse& r) {
    const Tensor dp = r.wants(0) ? r.slot(0) : Tensor(), dq = r.wants(1) ? r.slot(1) : Tensor();
    kl_divergence_backward(r.encoder, p, q, r.dy(), dp, dq);
  });
}

}  // namespace silica
