// SPDX-License-Identifier: MIT
#include "exact.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace silica::check::exact {

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// Options that the rows leave as they are.
const double norm_epsilon = NormOptions().epsilon;

// A sum that notes how large its terms were.
struct Sum {
  double value = 0.0, magnitude = 0.0;
  void add(double term) {
    value += term;
    magnitude += std::abs(term);
  }
};

Exact zeros(std::size_t n) { return {std::vector<double>(n), std::vector<double>(n)}; }

void put(Exact& to, std::size_t i, const Sum& sum) {
  to.values[i] = sum.value;
  to.magnitudes[i] = sum.magnitude;
}

// A stored matrix, seen transposed or not.
struct Matrix {
  const Input& stored;
  bool transposed;

  std::size_t rows() const { return transposed ? stored.shape.cols() : stored.shape.rows(); }
  std::size_t cols() const { return transposed ? stored.shape.rows() : stored.shape.cols(); }
  double at(std::size_t i, std::size_t j) const {
    return transposed ? stored.values[j * stored.shape.cols() + i]
                      : stored.values[i * stored.shape.cols() + j];
  }
};

// a b, or its transpose.
Exact product(const Matrix& a, const Matrix& b, bool transposed = false) {
  const std::size_t m = a.rows(), n = b.cols();
  Exact c = zeros(m * n);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      Sum sum;
      for (std::size_t k = 0; k < a.cols(); ++k) sum.add(a.at(i, k) * b.at(k, j));
      put(c, transposed ? j * m + i : i * n + j, sum);
    }
  }
  return c;
}

double scale_of_row(const double* x, std::size_t cols) {
  double squares = 0.0;
  for (std::size_t j = 0; j < cols; ++j) squares += x[j] * x[j];
  return 1.0 / std::sqrt(squares / static_cast<double>(cols) + norm_epsilon);
}

// The largest of a row of logits, and the sum of exp(x - largest).
struct Softmax {
  double most, sum;

  Softmax(const double* x, std::size_t cols) : most(*std::max_element(x, x + cols)), sum(0.0) {
    for (std::size_t j = 0; j < cols; ++j) sum += std::exp(x[j] - most);
  }
};

}  // namespace

Oracle elementwise(const Definition& definition, std::size_t outputs) {
  return [&definition, outputs](const Inputs& in) {
    const std::size_t n = in.begin()->second.values.size();
    Outputs out(outputs, Exact{std::vector<double>(n)});
    for (std::size_t i = 0; i < n; ++i) {
      long double x[3] = {}, y[2] = {};
      std::size_t next = 0;
      for (const auto& [number, input] : in) x[next++] = input.values[i];
      definition.exact(x, y);
      for (std::size_t k = 0; k < outputs; ++k) out[k].values[i] = static_cast<double>(y[k]);
    }
    return out;
  };
}

Oracle constant(double value, std::size_t n) {
  return [=](const Inputs&) { return Outputs{{std::vector<double>(n, value)}}; };
}

Oracle matmul(bool transpose_a, bool transpose_b) {
  return [=](const Inputs& in) { return Outputs{product({in.at(1), transpose_a}, {in.at(2), transpose_b})}; };
}

// da = dc b^T and db = a^T dc, stored as a and b are.
Oracle matmul_backward(bool transpose_a, bool transpose_b) {
  return [=](const Inputs& in) {
    return Outputs{product({in.at(3), false}, {in.at(2), !transpose_b}, transpose_a),
                   product({in.at(1), !transpose_a}, {in.at(3), false}, transpose_b)};
  };
}

Outputs rms_norm(const Inputs& in) {
  const Input &x = in.at(1), &weight = in.at(2);
  const std::size_t cols = x.shape.cols();
  Exact y{x.values};
  for (std::size_t r = 0; r < x.shape.rows(); ++r) {
    const double scale = scale_of_row(&x.values[r * cols], cols);
    for (std::size_t j = 0; j < cols; ++j) y.values[r * cols + j] *= scale * weight.values[j];
  }
  return {y};
}

// With s = 1 / sqrt(mean(x^2) + epsilon): dx = s w dy - s^3 x mean(x w dy), dweight = sum(dy x s).
Outputs rms_norm_backward(const Inputs& in) {
  const Input &x = in.at(1), &weight = in.at(2), &dy = in.at(3);
  const std::size_t rows = x.shape.rows(), cols = x.shape.cols();
  Exact dx = zeros(rows * cols);
  std::vector<Sum> dweight(cols);
  for (std::size_t r = 0; r < rows; ++r) {
    const double *row = &x.values[r * cols], *dy_row = &dy.values[r * cols];
    const double scale = scale_of_row(row, cols);
    Sum dot;
    for (std::size_t j = 0; j < cols; ++j) {
      dot.add(dy_row[j] * weight.values[j] * row[j] / static_cast<double>(cols));
      dweight[j].add(dy_row[j] * row[j] * scale);
    }
    for (std::size_t j = 0; j < cols; ++j) {
      const double direct = scale * dy_row[j] * weight.values[j], factor = scale * scale * scale * row[j];
      dx.values[r * cols + j] = direct - factor * dot.value;
      dx.magnitudes[r * cols + j] = std::abs(direct) + std::abs(factor) * dot.magnitude;
    }
  }
  Exact dw = zeros(cols);
  for (std::size_t j = 0; j < cols; ++j) put(dw, j, dweight[j]);
  return {dx, dw};
}

Outputs cross_entropy(const Inputs& in) {
  const Input &logits = in.at(1), &targets = in.at(2);
  const std::size_t rows = logits.shape.rows(), cols = logits.shape.cols();
  Sum loss;
  for (std::size_t r = 0; r < rows; ++r) {
    const double* x = &logits.values[r * cols];
    const Softmax softmax(x, cols);
    loss.add((std::log(softmax.sum) - (x[static_cast<std::size_t>(targets.values[r])] - softmax.most)) /
             static_cast<double>(rows));
  }
  return {{{loss.value}, {loss.magnitude}}};
}

Outputs cross_entropy_backward(const Inputs& in) {
  const Input &logits = in.at(1), &targets = in.at(2);
  const std::size_t rows = logits.shape.rows(), cols = logits.shape.cols();
  const double factor = in.at(3).values[0] / static_cast<double>(rows);
  Exact dlogits = zeros(rows * cols);
  for (std::size_t r = 0; r < rows; ++r) {
    const double* x = &logits.values[r * cols];
    const Softmax softmax(x, cols);
    for (std::size_t j = 0; j < cols; ++j) {
      Sum sum;
      sum.add(factor * std::exp(x[j] - softmax.most) / softmax.sum);
      if (static_cast<double>(j) == targets.values[r]) sum.add(-factor);
      put(dlogits, r * cols + j, sum);
    }
  }
  return {dlogits};
}

Outputs embedding(const Inputs& in) {
  const Input &table = in.at(1), &ids = in.at(2);
  const std::size_t rows = table.shape.rows(), cols = table.shape.cols();
  Exact y;
  for (const double id : ids.values) {
    const auto row = static_cast<std::size_t>(id);
    for (std::size_t j = 0; j < cols; ++j) {
      y.values.push_back(row < rows ? table.values[row * cols + j] : not_a_number);
    }
  }
  return {y};
}

Oracle embedding_backward(std::size_t rows) {
  return [=](const Inputs& in) {
    const Input &ids = in.at(2), &dy = in.at(3);
    const std::size_t cols = dy.shape.cols();
    std::vector<Sum> sums(rows * cols);
    for (std::size_t i = 0; i < dy.values.size(); ++i) {
      const auto row = static_cast<std::size_t>(ids.values[i / cols]);
      if (row < rows) sums[row * cols + i % cols].add(dy.values[i]);
    }
    Exact dtable = zeros(rows * cols);
    for (std::size_t i = 0; i < sums.size(); ++i) put(dtable, i, sums[i]);
    return Outputs{dtable};
  };
}

Outputs adamw_step(const Inputs& in) {
  const std::vector<double>& state = in.at(1).values;
  const AdamWOptions options;
  return {{{state[0], state[1] * double{options.beta1}, state[2] * double{options.beta2}}}};
}

Outputs adamw(const Inputs& in) {
  const std::vector<double>&state = in.at(1).values, &weight = in.at(2).values, &m = in.at(3).values,
        &v = in.at(4).values, &gradient = in.at(5).values;
  const AdamWOptions options;
  const double b1 = options.beta1, b2 = options.beta2, epsilon = options.epsilon,
               decay = options.weight_decay;
  const std::size_t n = weight.size();
  Exact new_weight = zeros(n), new_m = zeros(n), new_v = zeros(n);
  for (std::size_t i = 0; i < n; ++i) {
    Sum mean, square, sum;
    mean.add(b1 * m[i]), mean.add((1.0 - b1) * gradient[i]);
    square.add(b2 * v[i]), square.add((1.0 - b2) * gradient[i] * gradient[i]);
    const double deviation = std::sqrt(square.value / (1.0 - state[2])) + epsilon;
    sum.add(weight[i]), sum.add(-state[0] * decay * weight[i]);
    sum.add(-state[0] * mean.value / (1.0 - state[1]) / deviation);
    sum.magnitude += state[0] * mean.magnitude / (1.0 - state[1]) / deviation;
    put(new_weight, i, sum), put(new_m, i, mean), put(new_v, i, square);
  }
  return {new_weight, new_m, new_v};
}

}  // namespace silica::check::exact
