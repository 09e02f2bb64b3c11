// SPDX-License-Identifier: MIT
// What ops ask of their arguments, with one grammar for the refusals: `silu: y has 12 elements, x has 16`.
// That operands are on the encoder's device, not empty, and do not overlap is asked by the encoder.
#pragma once

#include "core/format.h"
#include "silica/encoder.h"

namespace silica {

struct Argument {
  const char* name;
  const Tensor& tensor;
};

// Before anything else is asked of it.
inline void check_given(const char* op, const Argument& a) {
  if (!a.tensor) refuse(op, ": ", a.name, " is no tensor (it was default-constructed)");
  if (a.tensor.size() == 0) refuse(op, ": ", a.name, " is empty, its shape is ", to_string(a.tensor.shape()));
}

inline void check_dtype(const char* op, const Argument& a, DType expected) {
  check_given(op, a);
  if (a.tensor.dtype() == expected) return;
  refuse(op, ": ", a.name, " is ", to_string(a.tensor.dtype()), ", expected ", to_string(expected));
}

inline void check_float(const char* op, const Argument& a) {
  check_given(op, a);
  if (is_float(a.tensor.dtype())) return;
  refuse(op, ": ", a.name, " is ", to_string(a.tensor.dtype()), ", expected f32, f16 or bf16");
}

inline void check_same_dtype(const char* op, const Argument& a, const Argument& b) {
  check_given(op, a);
  if (a.tensor.dtype() == b.tensor.dtype()) return;
  refuse(op, ": ", a.name, " is ", to_string(a.tensor.dtype()), ", ", b.name, " is ",
         to_string(b.tensor.dtype()));
}

inline void check_size(const char* op, const Argument& a, std::size_t expected, const char* reason) {
  check_given(op, a);
  if (a.tensor.size() == expected) return;
  refuse(op, ": ", a.name, " has ", a.tensor.size(), " elements, expected ", expected, " (", reason, ")");
}

inline bool overlap(const Tensor& a, const Tensor& b) {
  return a.storage() == b.storage() && a.offset() < b.offset() + b.bytes() &&
         b.offset() < a.offset() + a.bytes();
}

// For operands of different commands of one op; the encoder looks at those of one command.
inline void check_apart(const char* op, const Argument& a, const Argument& b) {
  if (overlap(a.tensor, b.tensor)) refuse(op, ": ", a.name, " overlaps ", b.name);
}

inline void check_same_size(const char* op, const Argument& a, const Argument& b) {
  check_given(op, a);
  if (a.tensor.size() == b.tensor.size()) return;
  refuse(op, ": ", a.name, " has ", a.tensor.size(), " elements, ", b.name, " has ", b.tensor.size());
}

inline void check_like(const char* op, const Argument& a, const Argument& model) {
  check_same_dtype(op, a, model);
  check_same_size(op, a, model);
}

}  // namespace silica
