// SPDX-License-Identifier: MIT
// The ops. Each checks its arguments, then records its commands in the encoder; outputs come last. All
// tensors must live on the encoder's device and hold at least one element. A refused op throws silica::Error
// (invalid_argument) and leaves the encoder as it was. Results are the same bits on every device; the order
// of every sum is in docs/exactness.md, the measured accuracy in docs/numerics.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "silica/encoder.h"
#include "silica/tensor.h"

namespace silica {

// ---- Elementwise: f32, f16 or bf16, one dtype per call, computed in f32 and rounded once to the output.
// Operands have equal element counts. An output may be exactly one of the inputs.

void silu(CommandEncoder& encoder, const Tensor& x, const Tensor& y);     // y = x / (1 + exp(-x))
void sigmoid(CommandEncoder& encoder, const Tensor& x, const Tensor& y);  // y = 1 / (1 + exp(-x))
void tanh(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
// y = x * Phi(x) = x / 2 * (1 + erf(x / sqrt(2))); and y = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715
// x^3))): Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
void gelu(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
void gelu_tanh(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
void softplus(CommandEncoder& encoder, const Tensor& x, const Tensor& y);  // y = log(1 + exp(x))
void relu(CommandEncoder& encoder, const Tensor& x, const Tensor& y);      // y = max(x, 0); NaN stays
void exp(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
void log(CommandEncoder& encoder, const Tensor& x, const Tensor& y);  // the natural one; NaN for x < 0
void sqrt(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
void rsqrt(CommandEncoder& encoder, const Tensor& x, const Tensor& y);                 // y = 1 / sqrt(x)
void reciprocal(CommandEncoder& encoder, const Tensor& x, const Tensor& y);            // y = 1 / x
void square(CommandEncoder& encoder, const Tensor& x, const Tensor& y);                // y = x^2
void neg(CommandEncoder& encoder, const Tensor& x, const Tensor& y);                   // y = -x
void scale(CommandEncoder& encoder, const Tensor& x, float factor, const Tensor& y);   // y = factor * x
void add(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c);  // c = a + b
void sub(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c);  // c = a - b
void mul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c);  // c = a * b
void div(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c);  // c = a / b
// c = factor * a + b, rounded once.
void axpy(CommandEncoder& encoder, float factor, const Tensor& a, const Tensor& b, const Tensor& c);
// y = silu(gate) * up, y = gelu(gate) * up: Shazeer, "GLU Variants Improve Transformer", 2020.
void swiglu(CommandEncoder& encoder, const Tensor& gate, const Tensor& up, const Tensor& y);
void geglu(CommandEncoder& encoder, const Tensor& gate, const Tensor& up, const Tensor& y);

// dx = dy * f'(x)
void silu_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void sigmoid_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void tanh_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void gelu_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void gelu_tanh_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void softplus_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void relu_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy,
                   const Tensor& dx);  // 0 at x = 0
void exp_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void log_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void sqrt_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void rsqrt_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void reciprocal_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void square_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx);
void neg_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx);
void scale_backward(CommandEncoder& encoder, const Tensor& dy, float factor, const Tensor& dx);
// da = dc * df/da, db = dc * df/db, in one pass. da and db must not overlap each other.
void add_backward(CommandEncoder& encoder, const Tensor& dc, const Tensor& da, const Tensor& db);
void sub_backward(CommandEncoder& encoder, const Tensor& dc, const Tensor& da, const Tensor& db);
void mul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                  const Tensor& da, const Tensor& db);
void div_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                  const Tensor& da, const Tensor& db);
void axpy_backward(CommandEncoder& encoder, float factor, const Tensor& dc, const Tensor& da,
                   const Tensor& db);
void swiglu_backward(CommandEncoder& encoder, const Tensor& gate, const Tensor& up, const Tensor& dy,
                     const Tensor& dgate, const Tensor& dup);
void geglu_backward(CommandEncoder& encoder, const Tensor& gate, const Tensor& up, const Tensor& dy,
                    const Tensor& dgate, const Tensor& dup);

// ---- Data movement. Equal element counts.

void fill(CommandEncoder& encoder, float value, const Tensor& y);  // f32, f16, bf16; value is rounded to y
void copy(CommandEncoder& encoder, const Tensor& x, const Tensor& y);  // any dtype, the same for both
void copy_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx);
// Between f32, f16 and bf16; rounds to nearest, ties to even; too large becomes infinity.
void cast(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
void cast_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx);  // a cast back

// ---- Layout. Movement is of any dtype, the same for all operands; outputs must not overlap inputs, nor each
// other. More than two dimensions are seen as (rows, cols), see Shape.

// y (batch, cols, rows) = x (batch, rows, cols) with rows and columns exchanged: here the last two extents
// are a matrix, and the product of the others is the batch.
void transpose(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
void transpose_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx);

// Rows [row_begin, row_end) and columns [col_begin, col_end), at least one of each.
inline constexpr std::size_t to_end = static_cast<std::size_t>(-1);  // as many as there are
struct SliceOptions {
  std::size_t row_begin = 0, row_end = to_end;
  std::size_t col_begin = 0, col_end = to_end;
};
// y = x[row_begin:row_end, col_begin:col_end]
void slice(CommandEncoder& encoder, const Tensor& x, const Tensor& y, const SliceOptions& options);
// dx[row_begin:row_end, col_begin:col_end] = dy, and 0 outside.
void slice_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx, const SliceOptions& options);

// The inputs below each other (their cols are equal), or beside each other (their rows are).
enum class Axis { rows, cols };
void concat(CommandEncoder& encoder, const std::vector<Tensor>& inputs, const Tensor& y, Axis axis);
// Each of `gradients` is its part of dy.
void concat_backward(CommandEncoder& encoder, const Tensor& dy, const std::vector<Tensor>& gradients,
                     Axis axis);

// Each row of y (rows, cols) = x (cols)
void broadcast_row(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
// dx = the sum of dy's rows: f32, f16 or bf16, added in f32 and rounded once.
void broadcast_row_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx);

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

// Matrix by matrix: c (batch, m, n) = op(a) (batch, m, k) * op(b) (batch, k, n). The last two extents are a
// matrix, the product of the others is the batch, the same for all three. (For a b that all share there is
// matmul, to which a's leading extents are rows.)
void batched_matmul(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
                    const MatmulOptions& options = {});
void batched_matmul_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc,
                             const Tensor& da, const Tensor& db, const MatmulOptions& options = {});

// ---- The feed-forward network of a transformer with SwiGLU: Shazeer, "GLU Variants Improve Transformer",
// 2020. f32, f16 or bf16, one dtype per call. Tensors of more than two dimensions are seen as (rows, cols).

// Stored (out, in), as by PyTorch's Linear: gate and up (hidden, width), down (width, hidden).
struct FeedForwardWeights {
  Tensor gate, up, down;
};
struct FeedForwardOptions {
  // Weights and their gradients are the transposes instead: gate and up (width, hidden), down (hidden,
  // width). The same bits (Math::fast: within the same bounds); a token is faster so, on the CPU and on CUDA.
  // The backward pass wants what the forward pass had: where width = hidden nothing tells the layouts apart.
  bool in_out = false;
};
// What the backward pass reads of the forward pass, each (tokens, hidden): all three or none.
struct FeedForwardKept {
  Tensor gate, up;  // x gate^T and x up^T
  Tensor hidden;    // swiglu of them
};
// y (tokens, width) = swiglu(x gate^T, x up^T) down^T for x (tokens, width): what matmul, matmul, swiglu and
// matmul give, to the bit, and so are the gradients theirs, with dx = add(dgate gate, dup up). Where the
// encoder permits it (Math::fast), products and swiglu may be inexact, and both products of dx be summed
// before they are rounded. Outputs must not overlap inputs, nor each other.
void feed_forward(CommandEncoder& encoder, const Tensor& x, const FeedForwardWeights& weights,
                  const Tensor& y, const FeedForwardKept& kept = {}, const FeedForwardOptions& options = {});
// dx and dweights, shaped like x and weights. A default-constructed Tensor in their place is not computed.
void feed_forward_backward(CommandEncoder& encoder, const Tensor& x, const FeedForwardWeights& weights,
                           const FeedForwardKept& kept, const Tensor& dy, const Tensor& dx,
                           const FeedForwardWeights& dweights, const FeedForwardOptions& options = {});

// ---- Rows: f32, f16 or bf16, one dtype per call, computed in f32 and rounded once to the output. More than
// two dimensions are seen as (rows, cols), see Shape.

// y (rows) = the sum, or the mean, of each row of x (rows, cols). y must not overlap x.
void sum(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
void mean(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
// dx (rows, cols): every element of a row is dy (rows), or dy / cols.
void sum_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx);
void mean_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx);

// y = exp(x) / sum(exp(x)) over each row; log_softmax is its logarithm. The largest x is subtracted first, so
// nothing overflows. -inf gives 0, or -inf; a row of nothing but -inf, or with +inf or NaN, gives NaN. y may
// be exactly x.
void softmax(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
void log_softmax(CommandEncoder& encoder, const Tensor& x, const Tensor& y);
// From y, not x: dx = y * (dy - sum(y * dy)), and dx = dy - exp(y) * sum(dy). dx may be exactly y or dy.
void softmax_backward(CommandEncoder& encoder, const Tensor& y, const Tensor& dy, const Tensor& dx);
void log_softmax_backward(CommandEncoder& encoder, const Tensor& y, const Tensor& dy, const Tensor& dx);

// ---- Normalisation of rows, with the dtypes of the section above. x, y (rows, cols); weight, bias (cols).
// y may be exactly x, dx exactly dy or x; dweight and dbias must not overlap anything.

struct NormOptions {
  float epsilon = 1e-5f;
};
// y = x / sqrt(mean(x^2) + epsilon) * weight: Zhang and Sennrich, "Root Mean Square Layer Normalization",
// 2019.
void rms_norm(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& y,
              const NormOptions& options = {});
// A default-constructed Tensor in place of a gradient is not computed.
void rms_norm_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& dy,
                       const Tensor& dx, const Tensor& dweight, const NormOptions& options = {});
// y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * weight + bias: Ba, Kiros and Hinton, "Layer
// Normalization", 2016. A default-constructed weight is 1, a default-constructed bias 0.
void layer_norm(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& bias,
                const Tensor& y, const NormOptions& options = {});
void layer_norm_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& weight, const Tensor& dy,
                         const Tensor& dx, const Tensor& dweight, const Tensor& dbias,
                         const NormOptions& options = {});
// y = x / sqrt(sum(x^2) + epsilon)
void l2_norm(CommandEncoder& encoder, const Tensor& x, const Tensor& y, const NormOptions& options = {});
void l2_norm_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx,
                      const NormOptions& options = {});

// ---- Tables and losses. ids and targets are u32. An id that is out of range makes its row NaN; no memory
// outside the operands is ever touched.

// y (n, cols) = table (rows, cols)[ids (n)]; f32, f16 or bf16.
void embedding(CommandEncoder& encoder, const Tensor& table, const Tensor& ids, const Tensor& y);
// dtable[r] = the sum of dy[i] over all i with ids[i] == r; rows that are not named become 0. An id out of
// range adds nothing. The sums are f32, rounded once.
void embedding_backward(CommandEncoder& encoder, const Tensor& ids, const Tensor& dy, const Tensor& dtable);

// Losses: logits (rows, cols) and their gradients are f32, f16 or bf16; loss and dloss are f32, of 1 element.

// loss = mean over rows of log(sum(exp(logits))) - logits[target]; targets (rows).
void cross_entropy(CommandEncoder& encoder, const Tensor& logits, const Tensor& targets, const Tensor& loss);
// dlogits = dloss / rows * (softmax(logits) - onehot(target)); it may be exactly logits.
void cross_entropy_backward(CommandEncoder& encoder, const Tensor& logits, const Tensor& targets,
                            const Tensor& dloss, const Tensor& dlogits);

// loss = mean over rows of sum(p * (log p - log q)), p = softmax(p_logits), q = softmax(q_logits): Kullback
// and Leibler, "On Information and Sufficiency", 1951. Where p is 0 the term is 0; where q alone is, it is
// infinite.
void kl_divergence(CommandEncoder& encoder, const Tensor& p_logits, const Tensor& q_logits,
                   const Tensor& loss);
// dp_logits = dloss / rows * p * (log p - log q - the row's sum); dq_logits = dloss / rows * (q - p). A
// default-constructed Tensor in their place is not computed. They must not overlap anything.
void kl_divergence_backward(CommandEncoder& encoder, const Tensor& p_logits, const Tensor& q_logits,
                            const Tensor& dloss, const Tensor& dp_logits, const Tensor& dq_logits);

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
