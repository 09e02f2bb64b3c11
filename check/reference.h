// SPDX-License-Identifier: MIT
// The reference order: plain scalar loops over f32 in the order and with the formulas of docs/exactness.md.
// f16 and bf16 are not rounded here: an output is, once, by who compares it.
#pragma once

#include <string_view>

#include "case.h"

namespace silica::check::reference {

using Outputs = std::vector<std::vector<float>>;

// An elementwise op's row of kernels/ops.inc: element by element, `in` and `out` as in the op's signature.
using Formula = void (*)(const float* in, float* out);
Formula formula(std::string_view op);  // null if there is no such row

Reference elementwise(Formula formula, std::size_t outputs);
Reference constant(float value, std::size_t n);
Reference matmul(bool transpose_a, bool transpose_b);
Reference matmul_backward(bool transpose_a, bool transpose_b);
Outputs rms_norm(const Inputs& in);
Outputs rms_norm_backward(const Inputs& in);
Outputs cross_entropy(const Inputs& in);
Outputs cross_entropy_backward(const Inputs& in);
Outputs embedding(const Inputs& in);
Reference embedding_backward(std::size_t rows);
Outputs adamw_step(const Inputs& in);
Outputs adamw(const Inputs& in);

}  // namespace silica::check::reference
