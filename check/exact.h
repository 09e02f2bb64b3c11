// SPDX-License-Identifier: MIT
// The oracles of the ops: plain loops over f64, with nothing of kernels/. Inputs are named by their numbers
// in op_cases.cpp. Those of the elementwise ops are in definitions.h.
#pragma once

#include "case.h"

namespace silica::check::exact {

using Outputs = std::vector<Exact>;

Oracle elementwise(const Definition& definition, std::size_t outputs);
Oracle constant(double value, std::size_t n);
Oracle matmul(bool transpose_a, bool transpose_b);
Oracle matmul_backward(bool transpose_a, bool transpose_b);
inline constexpr double row_bound = 8.0;
Oracle row(const std::string& op, std::size_t cols);
Oracle transpose(std::uint64_t number);
Oracle slice(std::vector<SliceOptions> parts);
Oracle slice_backward(const SliceOptions& part, const Shape& shape);
Oracle concat(Axis axis);  // of inputs 1 to 3
Oracle concat_backward(Axis axis);
Oracle broadcast_row(std::size_t rows);
Outputs broadcast_row_backward(const Inputs& in);
Outputs embedding(const Inputs& in);
Oracle embedding_backward(std::size_t rows);
Outputs adamw_step(const Inputs& in);
Outputs adamw(const Inputs& in);

}  // namespace silica::check::exact
