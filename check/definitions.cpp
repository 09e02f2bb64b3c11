// SPDX-License-Identifier: MIT
#include "definitions.h"

#include "oracle.h"

namespace silica::check {

namespace {

// The sum of axpy is rounded to long double first, which can hide on which side of a tie it was.
constexpr double rounded_once = 0.5, rounded_twice = 0.5000001;

}  // namespace

const std::map<std::string, Definition>& definitions() {
  static const std::map<std::string, Definition> table = {
#define SILICA_UNARY(op, ...)                                                  \
  {#op, {[](const auto* in, auto* out) { out[0] = oracle::op(in[0]); }, 1.0}}, \
      {#op "_backward",                                                        \
       {[](const auto* in, auto* out) { out[0] = in[1] * oracle::op##_derivative(in[0]); }, 4.5}},
#define SILICA_UNARY_LINEAR(op, ...)                                                    \
  {#op, {[](const auto* in, auto* out) { out[0] = oracle::op(in[0]); }, rounded_once}}, \
      {#op "_backward", {[](const auto* in, auto* out) { out[0] = oracle::op(in[0]); }, rounded_once}},
#define SILICA_UNARY_SCALAR(op, ...)
#define SILICA_BINARY(op, ...)
#define SILICA_BINARY_LINEAR(op, ...)
#define SILICA_BINARY_SCALAR(op, ...)
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
      {"scale", {[](const auto* in, auto* out) { out[0] = in[0] * test_factor; }, rounded_once}},
      {"scale_backward", {[](const auto* in, auto* out) { out[0] = in[0] * test_factor; }, rounded_once}},
      {"add", {[](const auto* in, auto* out) { out[0] = in[0] + in[1]; }, rounded_once}},
      {"add_backward", {[](const auto* in, auto* out) { out[0] = out[1] = in[0]; }, 0.0}},
      {"sub", {[](const auto* in, auto* out) { out[0] = in[0] - in[1]; }, rounded_once}},
      {"sub_backward", {[](const auto* in, auto* out) { out[0] = in[0], out[1] = -in[0]; }, 0.0}},
      {"mul", {[](const auto* in, auto* out) { out[0] = in[0] * in[1]; }, rounded_once}},
      {"mul_backward",
       {[](const auto* in, auto* out) { out[0] = in[2] * in[1], out[1] = in[2] * in[0]; }, rounded_once}},
      {"div", {[](const auto* in, auto* out) { out[0] = in[0] / in[1]; }, rounded_twice}},
      {"div_backward",
       {[](const auto* in, auto* out) {
          out[0] = in[2] / in[1];
          out[1] = -in[2] * in[0] / (in[1] * in[1]);
        },
        2.5}},
      {"swiglu", {[](const auto* in, auto* out) { out[0] = oracle::silu(in[0]) * in[1]; }, 2.2}},
      {"swiglu_backward",
       {[](const auto* in, auto* out) {
          out[0] = in[2] * in[1] * oracle::silu_derivative(in[0]);
          out[1] = in[2] * oracle::silu(in[0]);
        },
        5.5}},
      {"geglu", {[](const auto* in, auto* out) { out[0] = oracle::gelu(in[0]) * in[1]; }, 2.5}},
      {"geglu_backward",
       {[](const auto* in, auto* out) {
          out[0] = in[2] * in[1] * oracle::gelu_derivative(in[0]);
          out[1] = in[2] * oracle::gelu(in[0]);
        },
        5.5}},
      {"axpy", {[](const auto* in, auto* out) { out[0] = in[0] * test_factor + in[1]; }, rounded_twice}},
      {"axpy_backward",
       {[](const auto* in, auto* out) { out[0] = in[0] * test_factor, out[1] = in[0]; }, rounded_once}},
  };
  return table;
}

}  // namespace silica::check
