// SPDX-License-Identifier: MIT
// The ops. Each checks its arguments, then records its commands in the encoder; outputs come last. All
// tensors must live on the encoder's device and hold at least one element. A refused op throws silica::Error
// (invalid_argument) and leaves the encoder as it was. Results are the same bits on every device; the order
// of every sum is in docs/exactness.md, the measured accuracy in docs/numerics.md.
#pragma once

#include <cstdint>

#include "silica/encoder.h"
#include "silica/tensor.h"

namespace silica {

// ---- Elementwise: f32, f16 or bf16, one dtype per call, computed in f32 and rounded once to the output.
// Operands have equal element counts. An output may be exactly one of the inputs.

void silu(CommandEncoder& encoder, const Tensor& x, const Tensor& y);                 // y = x / (1 + exp(-x))
void sigmoid(CommandEncoder& encoder, const Tensor& x, const Tensor& y);              // y = 1 / (1 + exp(-x))
void scale(CommandEncoder& encoder, const Tensor& x, float factor, const Tensor& y);  // y = factor * x
void add(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c);  // c = a + b
void sub(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c);  // c = a - b
void mul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c);  // c = a * b
// y = silu(gate) * up: Shazeer, "GLU Variants Improve Transformer", 2020.
void swiglu(CommandEncoder& encoder, const Tensor& gate, const Tensor& up, const Tensor& y);

// dx = dy * f'(x)
void silu_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void sigmoid_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void scale_backward(CommandEncoder& encoder, const Tensor& dy, float factor, const Tensor& dx);
// da = dc * df/da, db = dc * df/db, in one pass. da and db must not overlap each other.
void add_backward(CommandEncoder& encoder, const Tensor& dc, const Tensor& da, const Tensor& db);
void sub_backward(CommandEncoder& encoder, const Tensor& dc, const Tensor& da, const Tensor& db);
void mul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                  const Tensor& da, const Tensor& db);
void swiglu_backward(CommandEncoder& encoder, const Tensor& gate, const Tensor& up, const Tensor& dy,
                     const Tensor& dgate, const Tensor& dup);

// ---- Data movement. Equal element counts.

void fill(CommandEncoder& encoder, float value, const Tensor& y);  // f32, f16, bf16; value is rounded to y
void copy(CommandEncoder& encoder, const Tensor& x, const Tensor& y);  // any dtype, the same for both
void copy_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx);
// Between f32, f16 and bf16; rounds to nearest, ties to even; too large becomes infinity.
void cast(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
void cast_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx);  // a cast back

// ---- matmul: f32, f16 or bf16, one dtype per call, summed in f32 and rounded once to the output.
// c (m, n) = op(a) (m, k) * op(b) (k, n), where op transposes a stored (k, m) or b stored (n, k). More than
// two dimensions are seen as (rows, cols), see Shape. Outputs must not overlap inputs. Products may be
// inexact where the encoder permits it (Math::fast, encoder.h).

struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
};
void matmul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
            const MatmulOptions& options = {});
// da and db, shaped like a and b. A default-constructed Tensor in their place is not computed.
void matmul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                     const Tensor& da, const Tensor& db, const MatmulOptions& options = {});

// ---- Normalisation, f32. x, y (rows, cols), weight (cols).

struct NormOptions {
  float epsilon = 1e-5f;
};
// y = x / sqrt(mean(x^2) + epsilon) * weight: Zhang and Sennrich, "Root Mean Square Layer Normalization",
// 2019. y may be exactly x.
void rms_norm(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& y,
              const NormOptions& options = {});
// dx (rows, cols), which may be exactly dy or x; dweight (cols). A default-constructed Tensor is not
// computed.
void rms_norm_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& dy,
                       const Tensor& dx, const Tensor& dweight, const NormOptions& options = {});

// ---- Tables and losses. ids and targets are u32. An id that is out of range makes its row NaN; no memory
// outside the operands is ever touched.

// y (n, cols) = table (rows, cols)[ids (n)]
void embedding(CommandEncoder& encoder, const Tensor& table, const Tensor& ids, const Tensor& y);
// dtable[r] = the sum of dy[i] over all i with ids[i] == r; rows that are not named become 0. An id out of
// range adds nothing.
void embedding_backward(CommandEncoder& encoder, const Tensor& ids, const Tensor& dy, const Tensor& dtable);

// loss (1 element) = mean over rows of log(sum(exp(logits))) - logits[target]; logits (rows, cols), targets
// (rows).
void cross_entropy(CommandEncoder& encoder, const Tensor& logits, const Tensor& targets, const Tensor& loss);
// dlogits = dloss (1 element) / rows * (softmax(logits) - onehot(target)); it may be exactly logits.
void cross_entropy_backward(CommandEncoder& encoder, const Tensor& logits, const Tensor& targets,
                            const Tensor& dloss, const Tensor& dlogits);

// ---- AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019. f32.

struct AdamWOptions {
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float epsilon = 1e-8f;
  float weight_decay = 0.01f;
};
// What changes from step to step lives in `state` (3 elements): learning rate, beta1^t, beta2^t. Upload
// {rate, 1, 1} to begin; write a new rate into element 0 whenever it changes. Once per step, before the
// step's adamw calls: t becomes t + 1.
void adamw_step(CommandEncoder& encoder, const Tensor& state, const AdamWOptions& options = {});
// m = beta1 m + (1 - beta1) gradient; v = beta2 v + (1 - beta2) gradient^2;
// weight -= rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay * weight).
// Updates weight, m and v in place; equal element counts.
void adamw(CommandEncoder& encoder, const Tensor& gradient, const Tensor& state, const Tensor& weight,
           const Tensor& m, const Tensor& v, const AdamWOptions& options = {});

}  // namespace silica
