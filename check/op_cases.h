// SPDX-License-Identifier: MIT
// Every op, forward and backward, as a row of a table.
#pragma once

#include "case.h"

namespace silica::check {

struct ElementwiseOp {
  std::string name;
  std::size_t inputs, outputs;
  void (*encode)(CommandEncoder&, const Tensors& in, const Tensors& out);
};
const std::vector<ElementwiseOp>& elementwise_ops();

// An op on rows of one dtype: inputs shaped as `in` says, results as `out` says.
struct RowOp {
  enum Extent { matrix, line, column, ids, loss };  // (rows, cols), (cols), (rows) twice, (1)

  std::string name;
  std::vector<Extent> in, out;
  void (*encode)(CommandEncoder&, const Tensors& in, const Tensors& out);
};

const std::vector<RowOp>& row_ops();

inline Shape shape_of(RowOp::Extent extent, std::size_t rows, std::size_t cols) {
  switch (extent) {
    case RowOp::matrix:
      return {rows, cols};
    case RowOp::line:
      return {cols};
    case RowOp::column:
    case RowOp::ids:
      return {rows};
    case RowOp::loss:
      break;
  }
  return {1};
}

inline DType dtype_for(RowOp::Extent extent, DType dtype) {
  if (extent == RowOp::ids) return DType::u32;
  return extent == RowOp::loss ? DType::f32 : dtype;
}

const std::vector<OpCase>& op_cases();

}  // namespace silica::check
