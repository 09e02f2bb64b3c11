// SPDX-License-Identifier: MIT
// Reverse-mode differentiation. A tape records variables while the ops encode; backward encodes the reverse
// pass into the same encoder.
//
//   Tape tape(encoder);
//   Variable w = tape.variable(weight);
//   Variable loss = cross_entropy(matmul(tape.constant(x), w), targets);
//   tape.backward(loss);
//   adamw(encoder, tape.gradient(w), state, weight, m, v);
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "silica/encoder.h"
#include "silica/ops.h"

namespace silica {

struct TapeRecord;  // what a Tape and its variables share

// A handle to a value on a tape. Using one after its tape was reset or destroyed, or together with another
// tape's, is an error (invalid_argument). Threads: those of its tape.
class Variable {
 public:
  Variable() = default;  // no variable; only good for being assigned to, or for "not wanted"
  explicit operator bool() const { return tape_ != nullptr; }
  Tensor value() const;  // an encoder's temporary, but for variables and constants

 private:
  friend struct TapeRecord;
  std::shared_ptr<TapeRecord> tape_;
  std::size_t generation_ = 0;
  std::size_t index_ = 0;
};

// Threads: one at a time for a tape, its variables and its encoder together; different tapes may record on
// different threads.
class Tape {
 public:
  explicit Tape(CommandEncoder& encoder);  // the encoder must outlive the tape
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  Variable variable(const Tensor& value);  // a leaf whose gradient is wanted
  Variable constant(const Tensor& value);  // an input without one

  // Encodes the gradients of `y` with respect to every variable, once per tape. Without a seed y must have
  // one element, and its gradient is 1; a seed has y's dtype and element count.
  void backward(const Variable& y);
  void backward(const Variable& y, const Tensor& seed);

  // After backward: dy/dx, shaped like x. For a leaf an ordinary tensor (all zero if y does not depend on
  // it), for others an encoder's temporary. Errors: invalid_argument (before backward; a constant; a value
  // that y does not depend on).
  Tensor gradient(const Variable& x) const;

  void reset();  // forgets everything; earlier handles become invalid

 private:
  std::shared_ptr<TapeRecord> record_;
};

// The ops on variables: values as in ops.h, results in temporaries of the tape's encoder.
Variable silu(const Variable& x);
Variable sigmoid(const Variable& x);
Variable tanh(const Variable& x);
Variable gelu(const Variable& x);
Variable gelu_tanh(const Variable& x);
Variable softplus(const Variable& x);
Variable relu(const Variable& x);
Variable exp(const Variable& x);
Variable log(const Variable& x);
Variable sqrt(const Variable& x);
Variable rsqrt(const Variable& x);
Variable reciprocal(const Variable& x);
Variable square(const Variable& x);
Variable neg(const Variable& x);
Variable scale(const Variable& x, float factor);
Variable add(const Variable& a, const Variable& b);
Variable sub(const Variable& a, const Variable& b);
Variable mul(const Variable& a, const Variable& b);
Variable div(const Variable& a, const Variable& b);
Variable axpy(float factor, const Variable& a, const Variable& b);
Variable swiglu(const Variable& gate, const Variable& up);
Variable geglu(const Variable& gate, const Variable& up);
Variable copy(const Variable& x);
Variable cast(const Variable& x, DType dtype);
Variable reshape(const Variable& x, const Shape& shape);
Variable matmul(const Variable& a, const Variable& b, const MatmulOptions& options = {});
Variable batched_matmul(const Variable& a, const Variable& b, const MatmulOptions& options = {});
// Weights as of FeedForwardWeights.
Variable feed_forward(const Variable& x, const Variable& gate, const Variable& up, const Variable& down,
                      const FeedForwardOptions& options = {});
Variable transpose(const Variable& x);
Variable slice(const Variable& x, const SliceOptions& options);
Variable concat(const std::vector<Variable>& inputs, Axis axis);
Variable broadcast_row(const Variable& x, std::size_t rows);
Variable rms_norm(const Variable& x, const Variable& weight, const NormOptions& options = {});
Variable embedding(const Variable& table, const Tensor& ids);
Variable cross_entropy(const Variable& logits, const Tensor& targets);

// Reductions of rows. The sums and means of (rows, cols) are (rows).
Variable sum(const Variable& x);
Variable mean(const Variable& x);
Variable softmax(const Variable& x);
Variable log_softmax(const Variable& x);
// A default-constructed weight is 1, a default-constructed bias 0.
Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias,
                    const NormOptions& options = {});
Variable l2_norm(const Variable& x, const NormOptions& options = {});
Variable kl_divergence(const Variable& p_logits, const Variable& q_logits);

}  // namespace silica
