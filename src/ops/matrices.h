// SPDX-License-Identifier: MIT
// Tensors as ops on matrices see them.
#pragma once

#include <cstddef>
#include <vector>

#include "silica/shape.h"

namespace silica {

struct Matrices {
  std::size_t batch, rows, cols;
  bool operator==(const Matrices& other) const = default;
};

// One matrix: cols is the last extent, rows the product of the others.
inline Matrices as_matrix(const Shape& shape) { return {1, shape.rows(), shape.cols()}; }

// A batch of them: the last two extents, and the product of the others.
inline Matrices as_batch(const Shape& shape) {
  const std::size_t rows = shape.rank() < 2 ? 1 : shape[shape.rank() - 2];
  return {rows == 0 ? 0 : shape.rows() / rows, rows, shape.cols()};
}

inline Matrices transposed(const Matrices& m) { return {m.batch, m.cols, m.rows}; }

// `shape` with other last two extents.
inline Shape with_matrix(const Shape& shape, std::size_t rows, std::size_t cols) {
  std::vector<std::size_t> extents(shape.begin(), shape.end());
  extents.resize(shape.rank() < 2 ? 0 : shape.rank() - 2);
  extents.insert(extents.end(), {rows, cols});
  return Shape(extents);
}

}  // namespace silica
