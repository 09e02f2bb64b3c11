// SPDX-License-Identifier: MIT
#include <cstdint>

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

void check_inputs(const char* op, const Tensor& logits, const Tensor& targets) {
  check_dtype(op, {"logits", logits}, DType::f32);
  check_dtype(op, {"targets", targets}, DType::u32);
  check_size(op, {"targets", targets}, logits.shape().rows(), "one for each row of logits");
}

}  // namespace

void cross_entropy(CommandEncoder& encoder, const Tensor& logits, const Tensor& targets, const Tensor& loss) {
  const char* op = "cross_entropy";
  check_inputs(op, logits, targets);
  check_dtype(op, {"loss", loss}, DType::f32);
  check_size(op, {"loss", loss}, 1, "the mean over rows");
  check_apart(op, {"loss", loss}, {"logits", logits});
  check_apart(op, {"loss", loss}, {"targets", targets});
  const std::uint64_t rows = logits.shape().rows(), cols = logits.shape().cols();
  CommandEncoder::Transaction transaction(encoder, op);
  const Tensor losses = encoder.temporary(DType::f32, {rows});
  encoder.dispatch("row.cross_entropy.f32",
                   {read(logits, "logits"), read(targets, "targets"), write(losses, "losses")}, cols,
                   Grid{rows});
  encoder.dispatch("row.mean.f32", {read(losses, "losses"), write(loss, "loss")}, rows, Grid{1});
  transaction.commit();
}

void cross_entropy_backward(CommandEncoder& encoder, const Tensor& logits, const Tensor& targets,
                            const Tensor& dloss, const Tensor& dlogits) {
  const char* op = "cross_entropy_backward";
  check_inputs(op, logits, targets);
  check_dtype(op, {"dloss", dloss}, DType::f32);
  check_size(op, {"dloss", dloss}, 1, "the gradient of the mean");
  check_dtype(op, {"dlogits", dlogits}, DType::f32);
  check_same_size(op, {"dlogits", dlogits}, {"logits", logits});
  struct Parameters {
    std::uint64_t rows, cols;
  };
  const Parameters parameters{logits.shape().rows(), logits.shape().cols()};
  encoder.dispatch(
      "row.cross_entropy_backward.f32",
      {read(logits, "logits"), read(targets, "targets"), read(dloss, "dloss"), in_place(dlogits, "dlogits")},
      parameters, Grid{parameters.rows});
}

}  // namespace silica
