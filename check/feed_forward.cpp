// SPDX-License-Identifier: MIT
// The oracle and the reference are those of its parts, put together.
#include "feed_forward.h"

#include <cmath>

#include "definitions.h"
#include "exact.h"
#include "reference.h"

namespace silica::check {

namespace {

constexpr std::size_t tokens = 9, width = 37, hidden = 71;
const Shape outer{tokens, width}, inner{tokens, hidden}, in_weight{hidden, width}, out_weight{width, hidden};

enum Number : std::uint64_t { x = 1, gate, up, down, kept_gate, kept_up, kept_hidden, dy };

template <class Values> Input matrix(const Shape& shape, const Values& values) {
  return {shape, DType::f32, {values.begin(), values.end()}};
}

// ---- the reference: every intermediate result is a tensor of f32

using Floats = std::vector<float>;

Floats product(const Input& a, const Input& b, bool transpose_a, bool transpose_b) {
  return reference::matmul(transpose_a, transpose_b)({{1, a}, {2, b}})[0];
}

reference::Outputs forward_reference(const Inputs& in) {
  const Floats g = product(in.at(x), in.at(gate), false, true), u = product(in.at(x), in.at(up), false, true);
  Floats h(g.size());
  for (std::size_t i = 0; i < h.size(); ++i) {
    const float operands[] = {g[i], u[i]};
    reference::formula("swiglu")(operands, &h[i]);
  }
  return {product(matrix(inner, h), in.at(down), false, true), g, u, h};
}

reference::Outputs backward_reference(const Inputs& in) {
  const Floats dhidden = product(in.at(dy), in.at(down), false, false);
  Floats dg(dhidden.size()), du(dhidden.size());
  for (std::size_t i = 0; i < dhidden.size(); ++i) {
    const float operands[] = {static_cast<float>(in.at(kept_gate).values[i]),
                              static_cast<float>(in.at(kept_up).values[i]), dhidden[i]};
    float gradients[2];
    reference::formula("swiglu_backward")(operands, gradients);
    dg[i] = gradients[0], du[i] = gradients[1];
  }
  const Input dgate = matrix(inner, dg), dup = matrix(inner, du);
  Floats dx = product(dgate, in.at(gate), false, false);
  const Floats through_up = product(dup, in.at(up), false, false);
  for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += through_up[i];
  return {dx, product(dgate, in.at(x), true, false), product(dup, in.at(x), true, false),
          product(in.at(dy), in.at(kept_hidden), true, false)};
}

// ---- the oracle: a value's magnitude carries those of what it is computed from

Exact product(const Exact& a, const Shape& a_shape, const Exact& b, const Shape& b_shape, bool transpose_a,
              bool transpose_b) {
  const auto multiply = exact::matmul(transpose_a, transpose_b);
  Exact c = multiply({{1, matrix(a_shape, a.values)}, {2, matrix(b_shape, b.values)}})[0];
  std::vector<double> magnitudes = b.values;
  for (double& value : magnitudes) value = std::abs(value);
  const Exact of_a = multiply({{1, matrix(a_shape, a.magnitudes)}, {2, matrix(b_shape, magnitudes)}})[0];
  for (std::size_t i = 0; i < c.values.size(); ++i) c.magnitudes[i] += of_a.values[i];
  return c;
}

// Without an error, so that nothing is added for it.
Exact given(const Input& input) { return {input.values, std::vector<double>(input.values.size())}; }

// Errors of g and u count by its slopes.
Exact swiglu_of(const Exact& g, const Exact& u) {
  const Definition &value = definitions().at("swiglu"), &slope = definitions().at("swiglu_backward");
  Exact h{std::vector<double>(g.values.size()), std::vector<double>(g.values.size())};
  for (std::size_t i = 0; i < h.values.size(); ++i) {
    const long double operands[] = {g.values[i], u.values[i], 1.0L};
    long double y = 0, slopes[2];
    value.exact(operands, &y);
    slope.exact(operands, slopes);
    h.values[i] = static_cast<double>(y);
    h.magnitudes[i] = static_cast<double>(std::abs(y) + std::abs(slopes[0]) * g.magnitudes[i] +
                                          std::abs(slopes[1]) * u.magnitudes[i]);
  }
  return h;
}

exact::Outputs forward_exact(const Inputs& in) {
  const Exact g = product(given(in.at(x)), outer, given(in.at(gate)), in_weight, false, true);
  const Exact u = product(given(in.at(x)), outer, given(in.at(up)), in_weight, false, true);
  const Exact h = swiglu_of(g, u);
  return {product(h, inner, given(in.at(down)), out_weight, false, true), g, u, h};
}

exact::Outputs backward_exact(const Inputs& in) {
  const Exact dhidden = product(given(in.at(dy)), outer, given(in.at(down)), out_weight, false, false);
  const Definition& slope = definitions().at("swiglu_backward");
  Exact gradients[2] = {dhidden, dhidden};
  for (std::size_t i = 0; i < dhidden.values.size(); ++i) {
    const long double operands[] = {in.at(kept_gate).values[i], in.at(kept_up).values[i], 1.0L};
    long double slopes[2];
    slope.exact(operands, slopes);
    for (std::size_t k = 0; k < 2; ++k) {
      const auto by = static_cast<double>(slopes[k]);
      gradients[k].values[i] *= by;
      gradients[k].magnitudes[i] = std::abs(by) * dhidden.magnitudes[i] + std::abs(gradients[k].values[i]);
    }
  }
  const auto& [dgate, dup] = gradients;
  Exact dx = product(dgate, inner, given(in.at(gate)), in_weight, false, false);
  const Exact through_up = product(dup, inner, given(in.at(up)), in_weight, false, false);
  for (std::size_t i = 0; i < dx.values.size(); ++i) {
    dx.values[i] += through_up.values[i];
    dx.magnitudes[i] += through_up.magnitudes[i];
  }
  return {dx, product(dgate, inner, given(in.at(x)), outer, true, false),
          product(dup, inner, given(in.at(x)), outer, true, false),
          product(given(in.at(dy)), outer, given(in.at(kept_hidden)), inner, true, false)};
}

FeedForwardWeights random_weights(CaseEncoder& e) {
  return {random_tensor(e, gate, in_weight), random_tensor(e, up, in_weight),
          random_tensor(e, down, out_weight)};
}

Tensors encode_forward(CaseEncoder& e) {
  const Tensor y = result(e, outer);
  const FeedForwardKept kept{result(e, inner), result(e, inner), result(e, inner)};
  feed_forward(e, random_tensor(e, x, outer), random_weights(e), y, kept);
  return {y, kept.gate, kept.up, kept.hidden};
}

Tensors encode_backward(CaseEncoder& e) {
  const Tensor dx = result(e, outer);
  const FeedForwardWeights dweights{result(e, in_weight), result(e, in_weight), result(e, out_weight)};
  const FeedForwardKept kept{random_tensor(e, kept_gate, inner), random_tensor(e, kept_up, inner),
                             random_tensor(e, kept_hidden, inner)};
  feed_forward_backward(e, random_tensor(e, x, outer), random_weights(e), kept, random_tensor(e, dy, outer),
                        dx, dweights);
  return {dx, dweights.gate, dweights.up, dweights.down};
}

}  // namespace

std::vector<OpCase> feed_forward_cases() {
  OpCase forward{"feed_forward", encode_forward, forward_exact, 4.0, forward_reference};
  OpCase backward{"feed_forward_backward", encode_backward, backward_exact, 8.0, backward_reference};
  backward.takes_results = true;
  return {std::move(forward), std::move(backward)};
}

}  // namespace silica::check
