// SPDX-License-Identifier: MIT
#include <cstdint>
#include <string>

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

struct LossParameters {
  std::uint64_t rows, cols;
};

LossParameters parameters_of(const Tensor& logits) { return {logits.shape().rows(), logits.shape().cols()}; }

std::string kernel(const char* op, const char* part, const Tensor& logits) {
  return message("row.", op, part, ".", to_string(logits.dtype()));
}

void check_targets(const char* op, const Tensor& logits, const Tensor& targets) {
  check_float(op, {"logits", logits});
  check_dtype(op, {"targets", targets}, DType::u32);
  check_size(op, {"targets", targets}, logits.shape().rows(), "one for each row of logits");
}

void check_distributions(const char* op, const Tensor& p_logits, const Tensor& q_logits) {
  check_float(op, {"p_logits", p_logits});
  check_like(op, {"q_logits", q_logits}, {"p_logits", p_logits});
}

void check_loss(const char* op, const Argument& loss, const char* reason) {
  check_dtype(op, loss, DType::f32);
  check_size(op, loss, 1, reason);
}

// The kernel gives a loss for each row; this is their mean.
void mean_loss(CommandEncoder& encoder, const char* op, const Operand& a, const Operand& b,
               const Tensor& loss) {
  check_loss(op, {"loss", loss}, "the mean over rows");
  check_apart(op, {"loss", loss}, {a.name, a.tensor});
  check_apart(op, {"loss", loss}, {b.name, b.tensor});
  const auto [rows, cols] = parameters_of(a.tensor);
  CommandEncoder::Transaction transaction(encoder, op);
  const Tensor losses = encoder.temporary(DType::f32, {rows});
  encoder.dispatch(kernel(op, "", a.tensor), {a, b, write(losses, "losses")}, cols, Grid{rows});
  mean(encoder, losses, loss);
  transaction.commit();
}

}  // namespace

void cross_entropy(CommandEncoder& encoder, const Tensor& logits, const Tensor& targets, const Tensor& loss) {
  check_targets("cross_entropy", logits, targets);
  mean_loss(encoder, "cross_entropy", read(logits, "logits"), read(targets, "targets"), loss);
}

void cross_entropy_backward(CommandEncoder& encoder, const Tensor& logits, const Tensor& targets,
                            const Tensor& dloss, const Tensor& dlogits) {
  const char* op = "cross_entropy_backward";
  check_targets(op, logits, targets);
  check_loss(op, {"dloss", dloss}, "the gradient of the mean");
  check_like(op, {"dlogits", dlogits}, {"logits", logits});
  encoder.dispatch(
      kernel(op, "", logits),
      {read(logits, "logits"), read(targets, "targets"), read(dloss, "dloss"), in_place(dlogits, "dlogits")},
      parameters_of(logits), Grid{logits.shape().rows()});
}

void kl_divergence(CommandEncoder& encoder, const Tensor& p_logits, const Tensor& q_logits,
                   const Tensor& loss) {
  check_distributions("kl_divergence", p_logits, q_logits);
  mean_loss(encoder, "kl_divergence", read(p_logits, "p_logits"), read(q_logits, "q_logits"), loss);
}

void kl_divergence_backward(CommandEncoder& encoder, const Tensor& p_logits, const Tensor& q_logits,
                            const Tensor& dloss, const Tensor& dp_logits, const Tensor& dq_logits) {
  const char* op = "kl_divergence_backward";
  check_distributions(op, p_logits, q_logits);
  check_loss(op, {"dloss", dloss}, "the gradient of the mean");
  const Operand p = read(p_logits, "p_logits"), q = read(q_logits, "q_logits"), d = read(dloss, "dloss");
  if (dp_logits) check_like(op, {"dp_logits", dp_logits}, {"p_logits", p_logits});
  if (dq_logits) check_like(op, {"dq_logits", dq_logits}, {"q_logits", q_logits});
  if (dp_logits && dq_logits) check_apart(op, {"dq_logits", dq_logits}, {"dp_logits", dp_logits});
  const LossParameters parameters = parameters_of(p_logits);
  CommandEncoder::Transaction transaction(encoder, op);
  if (dp_logits) {
    encoder.dispatch(kernel(op, "_p", p_logits), {p, q, d, write(dp_logits, "dp_logits")}, parameters,
                     Grid{parameters.rows});
  }
  if (dq_logits) {
    encoder.dispatch(kernel(op, "_q", p_logits), {p, q, d, write(dq_logits, "dq_logits")}, parameters,
                     Grid{parameters.rows});
  }
  transaction.commit();
}

}  // namespace silica
