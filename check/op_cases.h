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

const std::vector<OpCase>& op_cases();

}  // namespace silica::check
