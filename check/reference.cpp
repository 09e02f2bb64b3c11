// SPDX-License-Identifier: MIT
#include "reference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <string>

#include "definitions.h"
#include "kernels/prelude_cpp.h"

namespace silica::check::reference {

namespace {

#include "kernels/formulas.h"

// The rows of ops.inc as functions of numbers. A formula that a row does not use leaves its names unused.
#define SILICA_ARGUMENTS(...) [[maybe_unused]] const float __VA_ARGS__
#define SILICA_UNARY(op, y, derivative)                     \
  void op##_formula(const float* in, float* out) {          \
    SILICA_ARGUMENTS(x = in[0]);                            \
    out[0] = y;                                             \
  }                                                         \
  void op##_backward_formula(const float* in, float* out) { \
    SILICA_ARGUMENTS(x = in[0], dy = in[1]);                \
    out[0] = dy * (derivative);                             \
  }
#define SILICA_UNARY_LINEAR(op, y)                 \
  void op##_formula(const float* in, float* out) { \
    SILICA_ARGUMENTS(x = in[0]);                   \
    out[0] = y;                                    \
  }                                                \
  void op##_backward_formula(const float* in, float* out) { op##_formula(in, out); }
#define SILICA_UNARY_SCALAR(op, y, derivative)     \
  void op##_formula(const float* in, float* out) { \
    SILICA_ARGUMENTS(x = in[0], s = test_factor);  \
    out[0] = y;                                    \
  }                                                \
  void op##_backward_formula(const float* in, float* out) { op##_formula(in, out); }
#define SILICA_BINARY(op, c, da, db)                        \
  void op##_formula(const float* in, float* out) {          \
    SILICA_ARGUMENTS(a = in[0], b = in[1]);                 \
    out[0] = c;                                             \
  }                                                         \
  void op##_backward_formula(const float* in, float* out) { \
    SILICA_ARGUMENTS(a = in[0], b = in[1], dc = in[2]);     \
    out[0] = da;                                            \
    out[1] = db;                                            \
  }
#define SILICA_BINARY_LINEAR(op, c, da, db)                 \
  void op##_formula(const float* in, float* out) {          \
    SILICA_ARGUMENTS(a = in[0], b = in[1]);                 \
    out[0] = c;                                             \
  }                                                         \
  void op##_backward_formula(const float* in, float* out) { \
    SILICA_ARGUMENTS(dc = in[0]);                           \
    out[0] = da;                                            \
    out[1] = db;                                            \
  }
#define SILICA_BINARY_SCALAR(op, c, da, db)                  \
  void op##_formula(const float* in, float* out) {           \
    SILICA_ARGUMENTS(a = in[0], b = in[1], s = test_factor); \
    out[0] = c;                                              \
  }                                                          \
  void op##_backward_formula(const float* in, float* out) {  \
    SILICA_ARGUMENTS(dc = in[0], s = test_factor);           \
    out[0] = da;                                             \
    out[1] = db;                                             \
  }
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR

const std::map<std::string, Formula, std::less<>>& formulas() {
  static const std::map<std::string, Formula, std::less<>> table = {
#define SILICA_UNARY(op, ...) {#op, op##_formula}, {#op "_backward", op##_backward_formula},
#define SILICA_UNARY_LINEAR(op, ...) SILICA_UNARY(op)
#define SILICA_UNARY_SCALAR(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_LINEAR(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_SCALAR(op, ...) SILICA_UNARY(op)
#include "kernels/ops.inc"
  };
  return table;
}

std::vector<float> floats(const Input& input) { return {input.values.begin(), input.values.end()}; }

// A row's sum: element i into lane i mod 256, ascending; lanes folded in halves.
template <class Add> float row_sum(std::size_t n, const Add& add) {
  float lanes[256] = {};
  for (std::size_t i = 0; i < n; ++i) lanes[i % 256] = add(i, lanes[i % 256]);
  for (std::size_t half = 128; half > 0; half /= 2) {
    for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

// A matmul's sum over k: blocks of 256, in each one chain from +0, ascending; the sums of the blocks added,
// ascending.
template <class Add> float block_sum(std::size_t n, const Add& add) {
  float total = 0.0f;
  for (std::size_t begin = 0; begin < n; begin += 256) {
    float sum = 0.0f;
    for (std::size_t k = begin; k < std::min(n, begin + 256); ++k) sum = add(k, sum);
    total = begin == 0 ? sum : total + sum;
  }
  return total;
}

struct Matrix {
  std::size_t rows, cols;
  std::vector<float> values;

  // One of a batch of stored matrices, seen transposed or not.
  Matrix(const Input& input, bool transposed, std::size_t index)
      : rows(input.shape.rows() / batch_of(input)), cols(input.shape.cols()) {
    const auto first = input.values.begin() + static_cast<std::ptrdiff_t>(index * rows * cols);
    values.assign(first, first + static_cast<std::ptrdiff_t>(rows * cols));
    if (transposed) *this = transpose();
  }
  Matrix(std::size_t r, std::size_t c) : rows(r), cols(c), values(r * c) {}

  Matrix transpose() const {
    Matrix t(cols, rows);
    for (std::size_t i = 0; i < values.size(); ++i) t.values[i % cols * rows + i / cols] = values[i];
    return t;
  }
};

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.cols);
  for (std::size_t i = 0; i < c.values.size(); ++i) {
    const float *left = &a.values[i / c.cols * a.cols], *right = &b.values[i % c.cols];
    c.values[i] = block_sum(
        a.cols, [&](std::size_t k, float sum) { return std::fma(left[k], right[k * b.cols], sum); });
  }
  return c;
}

void append(std::vector<float>& to, const Matrix& m) {
  to.insert(to.end(), m.values.begin(), m.values.end());
}

float scale_of_row(const float* x, std::size_t cols) {
  const float squares = row_sum(cols, [x](std::size_t i, float sum) { return std::fma(x[i], x[i], sum); });
  return 1.0f / std::sqrt(squares / static_cast<float>(cols) + NormOptions().epsilon);
}

}  // namespace

Formula formula(std::string_view op) {
  const auto found = formulas().find(op);
  return found == formulas().end() ? nullptr : found->second;
}

Reference elementwise(Formula function, std::size_t outputs) {
  return [function, outputs](const Inputs& in) {
    const std::size_t n = in.begin()->second.values.size();
    Outputs out(outputs, std::vector<float>(n));
    for (std::size_t i = 0; i < n; ++i) {
      float x[3] = {}, y[2] = {};
      std::size_t next = 0;
      for (const auto& [number, input] : in) x[next++] = static_cast<float>(input.values[i]);
      function(x, y);
      for (std::size_t k = 0; k < outputs; ++k) out[k][i] = y[k];
    }
    return out;
  };
}

Reference constant(float value, std::size_t n) {
  return [=](const Inputs&) { return Outputs{std::vector<float>(n, value)}; };
}

Reference matmul(bool transpose_a, bool transpose_b) {
  return [=](const Inputs& in) {
    Outputs c(1);
    for (std::size_t i = 0; i < batch_of(in.at(1)); ++i) {
      append(c[0], product({in.at(1), transpose_a, i}, {in.at(2), transpose_b, i}));
    }
    return c;
  };
}

// da = dc b^T and db = a^T dc, stored as a and b are.
Reference matmul_backward(bool transpose_a, bool transpose_b) {
  return [=](const Inputs& in) {
    Outputs d(2);
    for (std::size_t i = 0; i < batch_of(in.at(1)); ++i) {
      const Matrix dc(in.at(3), false, i);
      const Matrix da = product(dc, {in.at(2), !transpose_b, i}),
                   db = product({in.at(1), !transpose_a, i}, dc);
      append(d[0], transpose_a ? da.transpose() : da);
      append(d[1], transpose_b ? db.transpose() : db);
    }
    return d;
  };
}

Outputs rms_norm(const Inputs& in) {
  const std::size_t cols = in.at(1).shape.cols();
  const std::vector<float> x = floats(in.at(1)), weight = floats(in.at(2));
  std::vector<float> y = x;
  for (std::size_t r = 0; r < in.at(1).shape.rows(); ++r) {
    const float scale = scale_of_row(&x[r * cols], cols);
    for (std::size_t j = 0; j < cols; ++j) y[r * cols + j] = x[r * cols + j] * scale * weight[j];
  }
  return {y};
}

Outputs rms_norm_backward(const Inputs& in) {
  const std::size_t rows = in.at(1).shape.rows(), cols = in.at(1).shape.cols();
  const std::vector<float> x = floats(in.at(1)), weight = floats(in.at(2)), dy = floats(in.at(3));
  std::vector<float> scale(rows), dx(x.size()), dweight(cols);
  for (std::size_t r = 0; r < rows; ++r) {
    const float *x_row = &x[r * cols], *dy_row = &dy[r * cols];
    scale[r] = scale_of_row(x_row, cols);
    const float dot = row_sum(
        cols, [&](std::size_t j, float sum) { return std::fma(dy_row[j] * weight[j], x_row[j], sum); });
    const float factor = dot / static_cast<float>(cols) * (scale[r] * scale[r]);
    for (std::size_t j = 0; j < cols; ++j) {
      dx[r * cols + j] = scale[r] * std::fma(-factor, x_row[j], dy_row[j] * weight[j]);
    }
  }
  for (std::size_t j = 0; j < cols; ++j) {
    dweight[j] = 0.0f + block_sum(rows, [&](std::size_t r, float sum) {
                   return std::fma(dy[r * cols + j], x[r * cols + j] * scale[r], sum);
                 });
  }
  return {dx, dweight};
}

Outputs cross_entropy(const Inputs& in) {
  const std::size_t rows = in.at(1).shape.rows(), cols = in.at(1).shape.cols();
  const std::vector<float> logits = floats(in.at(1));
  std::vector<float> losses(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    const float* x = &logits[r * cols];
    const float most = *std::max_element(x, x + cols);
    const float sum = row_sum(cols, [&](std::size_t j, float lane) { return lane + exp_(x[j] - most); });
    losses[r] = log_(sum) - (x[static_cast<std::size_t>(in.at(2).values[r])] - most);
  }
  const float sum = row_sum(rows, [&](std::size_t r, float lane) { return lane + losses[r]; });
  return {{sum / static_cast<float>(rows)}};
}

Outputs cross_entropy_backward(const Inputs& in) {
  const std::size_t rows = in.at(1).shape.rows(), cols = in.at(1).shape.cols();
  const std::vector<float> logits = floats(in.at(1));
  const float weight = static_cast<float>(in.at(3).values[0]) / static_cast<float>(rows);
  std::vector<float> dlogits(logits.size());
  for (std::size_t r = 0; r < rows; ++r) {
    const float* x = &logits[r * cols];
    float* dx = &dlogits[r * cols];
    const float most = *std::max_element(x, x + cols);
    for (std::size_t j = 0; j < cols; ++j) dx[j] = exp_(x[j] - most);
    const float inverse = 1.0f / row_sum(cols, [&](std::size_t j, float lane) { return lane + dx[j]; });
    for (std::size_t j = 0; j < cols; ++j) {
      const float hit = static_cast<double>(j) == in.at(2).values[r] ? 1.0f : 0.0f;
      dx[j] = (dx[j] * inverse - hit) * weight;
    }
  }
  return {dlogits};
}

Outputs embedding(const Inputs& in) {
  const std::vector<float> table = floats(in.at(1));
  const std::size_t rows = in.at(1).shape.rows(), cols = in.at(1).shape.cols();
  std::vector<float> y;
  for (const double id : in.at(2).values) {
    const auto row = static_cast<std::size_t>(id);
    for (std::size_t j = 0; j < cols; ++j) y.push_back(row < rows ? table[row * cols + j] : quiet_nan);
  }
  return {y};
}

Reference embedding_backward(std::size_t rows) {
  return [rows](const Inputs& in) {
    const std::vector<double>& ids = in.at(2).values;
    const std::vector<float> dy = floats(in.at(3));
    const std::size_t cols = in.at(3).shape.cols();
    std::vector<float> dtable(rows * cols);
    for (std::size_t i = 0; i < dtable.size(); ++i) {
      const auto row = static_cast<double>(i / cols);
      dtable[i] = block_sum(ids.size(), [&](std::size_t k, float sum) {
        return ids[k] == row ? sum + dy[k * cols + i % cols] : sum;
      });
    }
    return Outputs{dtable};
  };
}

Outputs adamw_step(const Inputs& in) {
  const std::vector<float> state = floats(in.at(1));
  return {{state[0], state[1] * AdamWOptions().beta1, state[2] * AdamWOptions().beta2}};
}

Outputs adamw(const Inputs& in) {
  const std::vector<float> state = floats(in.at(1)), gradient = floats(in.at(5));
  std::vector<float> weight = floats(in.at(2)), m = floats(in.at(3)), v = floats(in.at(4));
  const AdamWOptions o;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    m[i] = std::fma(o.beta1, m[i], (1.0f - o.beta1) * gradient[i]);
    v[i] = std::fma(o.beta2, v[i], (1.0f - o.beta2) * (gradient[i] * gradient[i]));
    const float mean = m[i] / (1.0f - state[1]), deviation = std::sqrt(v[i] / (1.0f - state[2])) + o.epsilon;
    weight[i] = std::fma(-state[0], std::fma(o.weight_decay, weight[i], mean / deviation), weight[i]);
  }
  return {weight, m, v};
}

}  // namespace silica::check::reference
