// SPDX-License-Identifier: MIT
// The row ops by their definitions in f64, each value with the error that docs/numerics.md allows it.
// Includes nothing of kernels/ and adds up in the order that comes first to hand.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace oracle {

struct Bounded {
  double value = 0.0, bound = 0.0;
};
using Values = std::vector<double>;
using Results = std::vector<std::vector<Bounded>>;  // of each output

struct RowProblem {
  std::size_t rows, cols;
  std::vector<Values> in;
  double epsilon = double{1e-5f};

  const double* row(std::size_t input, std::size_t r) const { return &in[input][r * cols]; }
};

inline constexpr double u = 0x1p-24;
// Below this, results round by an absolute amount.
inline constexpr double tiny = 0x1p-126;

// The most roundings that an element of a row's sum goes through, and of a sum over rows.
inline double depth(std::size_t n) { return std::ceil(static_cast<double>(n) / 256.0) + 8.0; }
inline double chain(std::size_t n) {
  return std::min(static_cast<double>(n), 256.0) + std::ceil(static_cast<double>(n) / 256.0);
}

template <class Term> double add_up(std::size_t n, Term term) {
  double total = 0.0;
  for (std::size_t i = 0; i < n; ++i) total += term(i);
  return total;
}

// ---- sums and means

inline Results sums(const RowProblem& p, double divisor, double roundings) {
  std::vector<Bounded> y;
  for (std::size_t r = 0; r < p.rows; ++r) {
    const double* x = p.row(0, r);
    const double magnitude = add_up(p.cols, [=](std::size_t i) { return std::abs(x[i]); });
    y.push_back({add_up(p.cols, [=](std::size_t i) { return x[i]; }) / divisor,
                 (depth(p.cols) + roundings) * u * magnitude / divisor});
  }
  return {y};
}

inline Results spread(const RowProblem& p, double divisor, double roundings) {
  std::vector<Bounded> dx;
  for (std::size_t i = 0; i < p.rows * p.cols; ++i) {
    const double value = p.in[0][i / p.cols] / divisor;
    dx.push_back({value, roundings * u * std::abs(value)});
  }
  return {dx};
}

// ---- softmax

// Of one row: probabilities and their logarithms, and the errors of the computed ones.
struct Distribution {
  Values p, log_p, p_error, log_error;

  Distribution(const double* x, std::size_t n) {
    const double most = *std::max_element(x, x + n);
    const double sum = add_up(n, [=](std::size_t i) { return std::exp(x[i] - most); });
    double spread = 0.0;  // the mean distance from the largest
    for (std::size_t i = 0; i < n; ++i) {
      p.push_back(std::exp(x[i] - most) / sum);
      log_p.push_back(x[i] - most - std::log(sum));
      spread += p[i] * (most - x[i]);
    }
    const double common = spread + depth(n);
    for (std::size_t i = 0; i < n; ++i) {
      p_error.push_back(u * p[i] * ((most - x[i]) + common + 7.0) + tiny);
      log_error.push_back(u * ((most - x[i]) + common + 2.0 + 2.0 * std::log(sum) + std::abs(log_p[i])));
    }
  }
};

inline Results softmax(const RowProblem& p, bool logarithm) {
  std::vector<Bounded> y;
  for (std::size_t r = 0; r < p.rows; ++r) {
    const Distribution d(p.row(0, r), p.cols);
    for (std::size_t i = 0; i < p.cols; ++i) {
      y.push_back(logarithm ? Bounded{d.log_p[i], d.log_error[i]} : Bounded{d.p[i], d.p_error[i]});
    }
  }
  return {y};
}

// y, dy
inline Results softmax_backward(const RowProblem& p) {
  std::vector<Bounded> dx;
  for (std::size_t r = 0; r < p.rows; ++r) {
    const double *y = p.row(0, r), *dy = p.row(1, r);
    const double dot = add_up(p.cols, [=](std::size_t i) { return y[i] * dy[i]; });
    const double magnitude = add_up(p.cols, [=](std::size_t i) { return std::abs(y[i] * dy[i]); });
    for (std::size_t i = 0; i < p.cols; ++i) {
      const double error = (depth(p.cols) + 2.0) * magnitude + 2.0 * std::abs(dy[i]);
      dx.push_back({y[i] * (dy[i] - dot), u * std::abs(y[i]) * error});
    }
  }
  return {dx};
}

inline Results log_softmax_backward(const RowProblem& p) {
  std::vector<Bounded> dx;
  for (std::size_t r = 0; r < p.rows; ++r) {
    const double *y = p.row(0, r), *dy = p.row(1, r);
    const double sum = add_up(p.cols, [=](std::size_t i) { return dy[i]; });
    const double magnitude = add_up(p.cols, [=](std::size_t i) { return std::abs(dy[i]); });
    for (std::size_t i = 0; i < p.cols; ++i) {
      dx.push_back({dy[i] - std::exp(y[i]) * sum,
                    u * ((depth(p.cols) + 3.0) * std::exp(y[i]) * magnitude + std::abs(dy[i]))});
    }
  }
  return {dx};
}

// ---- losses

// The mean over rows of losses that have errors themselves.
inline Results mean_loss(const std::vector<Bounded>& losses) {
  Bounded mean;
  for (const Bounded& loss : losses) {
    mean.value += loss.value / static_cast<double>(losses.size());
    mean.bound += (loss.bound + (depth(losses.size()) + 1.0) * u * std::abs(loss.value)) /
                  static_cast<double>(losses.size());
  }
  return {{mean}};
}

// logits, targets
inline Results cross_entropy(const RowProblem& p) {
  std::vector<Bounded> losses;
  for (std::size_t r = 0; r < p.rows; ++r) {
    const Distribution d(p.row(0, r), p.cols);
    const auto target = static_cast<std::size_t>(p.in[1][r]);
    losses.push_back({-d.log_p[target], d.log_error[target]});
  }
  return mean_loss(losses);
}

// logits, targets, dloss
inline Results cross_entropy_backward(const RowProblem& p) {
  std::vector<Bounded> dx;
  const double weight = p.in[2][0] / static_cast<double>(p.rows);
  for (std::size_t r = 0; r < p.rows; ++r) {
    const Distribution d(p.row(0, r), p.cols);
    for (std::size_t i = 0; i < p.cols; ++i) {
      const double difference = d.p[i] - (static_cast<double>(i) == p.in[1][r] ? 1.0 : 0.0);
      dx.push_back({weight * difference, std::abs(weight) * (d.p_error[i] + 3.0 * u * std::abs(difference))});
    }
  }
  return {dx};
}

// A row's divergence, its terms' logarithms, and their errors.
struct Divergence {
  Distribution p, q;
  Values ratio, ratio_error;
  Bounded whole;

  Divergence(const double* x, const double* z, std::size_t n) : p(x, n), q(z, n) {
    for (std::size_t i = 0; i < n; ++i) {
      ratio.push_back(p.log_p[i] - q.log_p[i]);
      ratio_error.push_back(p.log_error[i] + q.log_error[i] + u * std::abs(ratio[i]));
      if (p.p[i] == 0.0) continue;
      const double term = std::abs(p.p[i] * ratio[i]);
      whole.value += p.p[i] * ratio[i];
      whole.bound += p.p[i] * ratio_error[i] + p.p_error[i] * std::abs(ratio[i]) + depth(n) * u * term;
    }
  }
};

// p_logits, q_logits
inline Results kl_divergence(const RowProblem& p) {
  std::vector<Bounded> losses;
  for (std::size_t r = 0; r < p.rows; ++r) {
    losses.push_back(Divergence(p.row(0, r), p.row(1, r), p.cols).whole);
  }
  return mean_loss(losses);
}

// p_logits, q_logits, dloss
inline Results kl_divergence_backward(const RowProblem& p) {
  std::vector<Bounded> dp, dq;
  const double weight = p.in[2][0] / static_cast<double>(p.rows), scale = std::abs(weight);
  for (std::size_t r = 0; r < p.rows; ++r) {
    const Divergence d(p.row(0, r), p.row(1, r), p.cols);
    for (std::size_t i = 0; i < p.cols; ++i) {
      const double excess = d.ratio[i] - d.whole.value, difference = d.q.p[i] - d.p.p[i];
      const double error = d.p.p[i] * (d.ratio_error[i] + d.whole.bound) +
                           (d.p.p_error[i] + 4.0 * u * d.p.p[i]) * std::abs(excess);
      dp.push_back({weight * d.p.p[i] * excess, scale * error});
      dq.push_back(
          {weight * difference, scale * (d.p.p_error[i] + d.q.p_error[i] + 3.0 * u * std::abs(difference))});
    }
  }
  return {dp, dq};
}

// ---- norms

// Of one row. `mean_error` is 0 unless the norm is centered; `scale_error` is relative.
struct Statistics {
  double mean = 0.0, scale, mean_error = 0.0, scale_error;

  Statistics(const RowProblem& p, std::size_t r, bool centered, double divisor) {
    const double* x = p.row(0, r);
    if (centered) {
      mean = add_up(p.cols, [=](std::size_t i) { return x[i]; }) / divisor;
      mean_error =
          (depth(p.cols) + 2.0) * u * add_up(p.cols, [=](std::size_t i) { return std::abs(x[i]); }) / divisor;
    }
    const double squares =
        add_up(p.cols, [=, m = mean](std::size_t i) { return (x[i] - m) * (x[i] - m); }) / divisor;
    scale = 1.0 / std::sqrt(squares + p.epsilon);
    const double shift = mean_error * scale;  // a mean that is off by e adds e^2 to the variance
    scale_error = shift * shift / 2.0 + (depth(p.cols) / 2.0 + (centered ? 5.0 : 3.0)) * u;
  }
  // Of (x - mean) * scale.
  double normal_error(double x) const {
    return scale * (1.01 * mean_error + std::abs(x - mean) * (scale_error + 3.0 * u));
  }
};

inline double weight_of(const RowProblem& p, std::size_t input, std::size_t i, double otherwise) {
  return input < p.in.size() ? p.in[input][i] : otherwise;
}

// x, and weight and bias if the op has them
inline Results norm(const RowProblem& p, bool centered, double divisor) {
  std::vector<Bounded> y;
  for (std::size_t r = 0; r < p.rows; ++r) {
    const Statistics s(p, r, centered, divisor);
    for (std::size_t i = 0; i < p.cols; ++i) {
      const double x = p.row(0, r)[i], weight = weight_of(p, 1, i, 1.0);
      const double value = (x - s.mean) * s.scale * weight + weight_of(p, 2, i, 0.0);
      y.push_back({value, std::abs(weight) * s.normal_error(x) + u * std::abs(value) + tiny});
    }
  }
  return {y};
}

// The gradient of a row's input: g = dy * weight; scale * (g - scale^2 mean(g c) c - mean(g)), c = x - mean.
struct NormBackward {
  double divisor, n;
  bool centered;
  Values g;
  double dot = 0.0, dots = 0.0, gradient = 0.0, gradients = 0.0;  // sums of g c, |g c|, g, |g|

  NormBackward(const Statistics& s, const double* x, const Values& gs, bool is_centered, double by)
      : divisor(by), n(static_cast<double>(gs.size())), centered(is_centered), g(gs) {
    for (std::size_t i = 0; i < g.size(); ++i) {
      dot += g[i] * (x[i] - s.mean), dots += std::abs(g[i] * (x[i] - s.mean));
      if (centered) gradient += g[i];
      gradients += std::abs(g[i]);
    }
  }
  Bounded at(const Statistics& s, const double* x, std::size_t i) const {
    const double c = x[i] - s.mean, d = depth(g.size()), square = s.scale * s.scale / divisor;
    const double shift = centered ? gradients / divisor : 0.0;
    const double value = s.scale * (g[i] - square * dot * c - gradient / divisor);
    const double factor_error =
        square * (1.01 * s.mean_error * gradients + dots * ((d + 6.0) * u + 2.0 * s.scale_error));
    const double direct = std::abs(g[i]) + square * dots * std::abs(c) + shift;
    const double error = factor_error * (std::abs(c) + s.mean_error) +
                         square * dots * (s.mean_error + u * std::abs(c)) + (d + 2.0) * u * shift +
                         direct * (4.0 * u + s.scale_error);
    return {value, 1.05 * s.scale * error + tiny};
  }
};

// x, weight, dy; gives dx, dweight and, for a centered norm, dbias
inline Results norm_backward(const RowProblem& p, bool centered, double divisor) {
  std::vector<Bounded> dx, dweight(p.cols), dbias(p.cols);
  const double steps = chain(p.rows);
  for (std::size_t r = 0; r < p.rows; ++r) {
    const Statistics s(p, r, centered, divisor);
    const double *x = p.row(0, r), *dy = p.row(2, r);
    Values g;
    for (std::size_t i = 0; i < p.cols; ++i) g.push_back(dy[i] * p.in[1][i]);
    const NormBackward backward(s, x, g, centered, divisor);
    for (std::size_t i = 0; i < p.cols; ++i) {
      dx.push_back(backward.at(s, x, i));
      const double normal = (x[i] - s.mean) * s.scale, error = s.normal_error(x[i]);
      dweight[i].value += dy[i] * normal;
      dweight[i].bound += std::abs(dy[i]) * (1.01 * error + (steps + 1.0) * u * (std::abs(normal) + error));
      dbias[i].value += dy[i];
      dbias[i].bound += steps * u * std::abs(dy[i]);
    }
  }
  if (centered) return {dx, dweight, dbias};
  return {dx, dweight};
}

// x, dy
inline Results l2_norm_backward(const RowProblem& p) {
  const RowProblem weighted{p.rows, p.cols, {p.in[0], Values(p.cols, 1.0), p.in[1]}, p.epsilon};
  return {norm_backward(weighted, false, 1.0)[0]};
}

// ---- all of them, by the name of the op

inline const std::map<std::string, std::function<Results(const RowProblem&)>>& row_ops() {
  const auto cols = [](const RowProblem& p) { return static_cast<double>(p.cols); };
  static const std::map<std::string, std::function<Results(const RowProblem&)>> table = {
      {"sum", [](const RowProblem& p) { return sums(p, 1.0, 0.0); }},
      {"sum_backward", [](const RowProblem& p) { return spread(p, 1.0, 0.0); }},
      {"mean", [cols](const RowProblem& p) { return sums(p, cols(p), 1.0); }},
      {"mean_backward", [cols](const RowProblem& p) { return spread(p, cols(p), 1.0); }},
      {"softmax", [](const RowProblem& p) { return softmax(p, false); }},
      {"softmax_backward", softmax_backward},
      {"log_softmax", [](const RowProblem& p) { return softmax(p, true); }},
      {"log_softmax_backward", log_softmax_backward},
      {"rms_norm", [cols](const RowProblem& p) { return norm(p, false, cols(p)); }},
      {"rms_norm_backward", [cols](const RowProblem& p) { return norm_backward(p, false, cols(p)); }},
      {"layer_norm", [cols](const RowProblem& p) { return norm(p, true, cols(p)); }},
      {"layer_norm_backward", [cols](const RowProblem& p) { return norm_backward(p, true, cols(p)); }},
      {"l2_norm", [](const RowProblem& p) { return norm(p, false, 1.0); }},
      {"l2_norm_backward", l2_norm_backward},
      {"cross_entropy", cross_entropy},
      {"cross_entropy_backward", cross_entropy_backward},
      {"kl_divergence", kl_divergence},
      {"kl_divergence_backward", kl_divergence_backward}};
  return table;
}

}  // namespace oracle
