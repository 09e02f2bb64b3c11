// SPDX-License-Identifier: MIT
#include "exact.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "row_oracle.h"

namespace silica::check::exact {

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

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

// One of a batch of stored matrices, seen transposed or not.
struct Matrix {
  const double* stored;
  std::size_t stored_rows, stored_cols;
  bool transposed;

  Matrix(const Input& batch, bool is_transposed, std::size_t index)
      : stored_rows(batch.shape.rows() / batch_of(batch)),
        stored_cols(batch.shape.cols()),
        transposed(is_transposed) {
    stored = &batch.values[index * stored_rows * stored_cols];
  }
  std::size_t rows() const { return transposed ? stored_cols : stored_rows; }
  std::size_t cols() const { return transposed ? stored_rows : stored_cols; }
  double at(std::size_t i, std::size_t j) const {
    return transposed ? stored[j * stored_cols + i] : stored[i * stored_cols + j];
  }
};

// Appends a b, or its transpose.
void append_product(Exact& to, const Matrix& a, const Matrix& b, bool transposed = false) {
  const std::size_t m = a.rows(), n = b.cols(), first = to.values.size();
  to.values.resize(first + m * n);
  to.magnitudes.resize(first + m * n);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      Sum sum;
      for (std::size_t k = 0; k < a.cols(); ++k) sum.add(a.at(i, k) * b.at(k, j));
      put(to, first + (transposed ? j * m + i : i * n + j), sum);
    }
  }
}

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
  return [=](const Inputs& in) {
    Outputs c(1);
    for (std::size_t i = 0; i < batch_of(in.at(1)); ++i) {
      append_product(c[0], {in.at(1), transpose_a, i}, {in.at(2), transpose_b, i});
    }
    return c;
  };
}

// da = dc b^T and db = a^T dc, stored as a and b are.
Oracle matmul_backward(bool transpose_a, bool transpose_b) {
  return [=](const Inputs& in) {
    Outputs d(2);
    for (std::size_t i = 0; i < batch_of(in.at(1)); ++i) {
      append_product(d[0], {in.at(3), false, i}, {in.at(2), !transpose_b, i}, transpose_a);
      append_product(d[1], {in.at(1), !transpose_a, i}, {in.at(3), false, i}, transpose_b);
    }
    return d;
  };
}

// row_oracle.h gives the error allowed to f32: of the magnitude, that is as many roundings as the bound has.
Oracle row(const std::string& op, std::size_t cols) {
  return [oracle = oracle::row_ops().at(op), cols](const Inputs& in) {
    const Input& first = in.begin()->second;
    const bool matrix = first.shape.rank() == 2;
    oracle::RowProblem problem{matrix ? first.shape.rows() : first.shape.size(), cols, {}};
    for (const auto& [number, input] : in) problem.in.push_back(input.values);
    Outputs outputs;
    for (const auto& output : oracle(problem)) {
      outputs.emplace_back();
      for (const oracle::Bounded& element : output) {
        outputs.back().values.push_back(element.value);
        outputs.back().magnitudes.push_back(element.bound / (row_bound * oracle::u));
      }
    }
    return outputs;
  };
}

// ---- movement

Oracle transpose(std::uint64_t number) {
  return [=](const Inputs& in) {
    Exact y;
    for (std::size_t i = 0; i < batch_of(in.at(number)); ++i) {
      const Matrix x(in.at(number), true, i);
      for (std::size_t r = 0; r < x.rows(); ++r) {
        for (std::size_t c = 0; c < x.cols(); ++c) y.values.push_back(x.at(r, c));
      }
    }
    return Outputs{y};
  };
}

Oracle slice(std::vector<SliceOptions> parts) {
  return [parts = std::move(parts)](const Inputs& in) {
    const Matrix x(in.at(1), false, 0);
    Outputs outputs;
    for (const SliceOptions& part : parts) {
      Exact& y = outputs.emplace_back();
      for (std::size_t r = part.row_begin; r < std::min(x.rows(), part.row_end); ++r) {
        for (std::size_t c = part.col_begin; c < std::min(x.cols(), part.col_end); ++c) {
          y.values.push_back(x.at(r, c));
        }
      }
    }
    return outputs;
  };
}

Oracle slice_backward(const SliceOptions& part, const Shape& shape) {
  return [=](const Inputs& in) {
    Exact dx{std::vector<double>(shape.size())};
    auto next = in.at(2).values.begin();
    for (std::size_t r = part.row_begin; r < part.row_end; ++r) {
      for (std::size_t c = part.col_begin; c < part.col_end; ++c) dx.values[r * shape.cols() + c] = *next++;
    }
    return Outputs{dx};
  };
}

Oracle concat(Axis axis) {
  return [=](const Inputs& in) {
    Exact y;
    const std::size_t rows = in.at(1).shape.rows(), cols = in.at(1).shape.cols();
    for (std::size_t i = 0; i < 3 * rows * cols; ++i) {
      const std::size_t part = axis == Axis::rows ? i / (rows * cols) : i / cols % 3;
      const std::size_t row = axis == Axis::rows ? i / cols % rows : i / (3 * cols);
      y.values.push_back(in.at(part + 1).values[row * cols + i % cols]);
    }
    return Outputs{y};
  };
}

Oracle concat_backward(Axis axis) {
  return [=](const Inputs& in) {
    const Input& dy = in.at(4);
    const std::size_t part = axis == Axis::rows ? dy.values.size() / 3 : dy.shape.cols() / 3;
    Outputs gradients(3);
    for (std::size_t i = 0; i < dy.values.size(); ++i) gradients[i / part % 3].values.push_back(dy.values[i]);
    return gradients;
  };
}

Oracle broadcast_row(std::size_t rows) {
  return [=](const Inputs& in) {
    Exact y;
    for (std::size_t r = 0; r < rows; ++r) {
      y.values.insert(y.values.end(), in.at(1).values.begin(), in.at(1).values.end());
    }
    return Outputs{y};
  };
}

Outputs broadcast_row_backward(const Inputs& in) {
  const Input& dy = in.at(2);
  std::vector<Sum> sums(dy.shape.cols());
  for (std::size_t i = 0; i < dy.values.size(); ++i) sums[i % sums.size()].add(dy.values[i]);
  Exact dx = zeros(sums.size());
  for (std::size_t j = 0; j < sums.size(); ++j) put(dx, j, sums[j]);
  return {dx};
}

// ---- tables, and the optimizer

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
