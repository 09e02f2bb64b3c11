// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <string>

#include "oracle.h"

namespace silica::check {

inline constexpr float test_factor = 0.37f;  // of scale

// The mathematics of every row of ops.inc, and the error allowed in ulp; 0.5 is rounded correctly.
struct Definition {
  template <class F> Definition(F f, double most) : exact(f), fast(f), bound(most) {}

  void (*exact)(const long double* in, long double* out);
  void (*fast)(const double* in, double* out);  // good but near a root: oracle::needs_long_double
  double bound;
};

inline const std::map<std::string, Definition>& definitions() {
  static const std::map<std::string, Definition> table = {
      {"silu", {[](const auto* in, auto* out) { out[0] = oracle::silu(in[0]); }, 0.85}},
      {"sigmoid", {[](const auto* in, auto* out) { out[0] = oracle::sigmoid(in[0]); }, 0.85}},
      {"scale", {[](const auto* in, auto* out) { out[0] = in[0] * test_factor; }, 0.5}},
      {"add", {[](const auto* in, auto* out) { out[0] = in[0] + in[1]; }, 0.5}},
      {"sub", {[](const auto* in, auto* out) { out[0] = in[0] - in[1]; }, 0.5}},
      {"mul", {[](const auto* in, auto* out) { out[0] = in[0] * in[1]; }, 0.5}},
      {"swiglu", {[](const auto* in, auto* out) { out[0] = oracle::silu(in[0]) * in[1]; }, 2.2}},
      {"silu_backward",
       {[](const auto* in, auto* out) { out[0] = in[1] * oracle::silu_derivative(in[0]); }, 4.5}},
      {"sigmoid_backward",
       {[](const auto* in, auto* out) { out[0] = in[1] * oracle::sigmoid_derivative(in[0]); }, 2.4}},
      {"scale_backward", {[](const auto* in, auto* out) { out[0] = in[0] * test_factor; }, 0.5}},
      {"add_backward", {[](const auto* in, auto* out) { out[0] = out[1] = in[0]; }, 0.0}},
      {"sub_backward", {[](const auto* in, auto* out) { out[0] = in[0], out[1] = -in[0]; }, 0.0}},
      {"mul_backward",
       {[](const auto* in, auto* out) { out[0] = in[2] * in[1], out[1] = in[2] * in[0]; }, 0.5}},
      {"swiglu_backward",
       {[](const auto* in, auto* out) {
          out[0] = in[2] * in[1] * oracle::silu_derivative(in[0]);
          out[1] = in[2] * oracle::silu(in[0]);
        },
        5.5}},
  };
  return table;
}

}  // namespace silica::check
