// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>

namespace silica {

// The extent of each dimension, outermost first; elements are contiguous, the last dimension fastest. Rank 0
// is a scalar (one element). Errors: invalid_argument if there are more than max_rank dimensions or the
// element count does not fit 63 bits. Threads: a plain value.
class Shape {
 public:
  static constexpr std::size_t max_rank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::size_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const std::size_t> extents);

  std::size_t rank() const { return rank_; }
  std::size_t operator[](std::size_t dimension) const { return extents_[dimension]; }
  std::size_t size() const { return size_; }  // elements

  // The shape seen as a matrix: cols() is the last extent, rows() the product of the others.
  std::size_t cols() const { return rank_ == 0 ? 1 : extents_[rank_ - 1]; }
  std::size_t rows() const;

  const std::size_t* begin() const { return extents_.data(); }
  const std::size_t* end() const { return extents_.data() + rank_; }
  bool operator==(const Shape& other) const = default;

 private:
  std::array<std::size_t, max_rank> extents_{};
  std::size_t rank_ = 0;
  std::size_t size_ = 1;
};

std::string to_string(const Shape& shape);  // "(32, 576)"

}  // namespace silica
