// SPDX-License-Identifier: MIT
#include "silica/shape.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/format.h"

namespace silica {

namespace {

std::string describe(std::span<const std::size_t> extents) {
  std::string text = "(";
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(extents[i]);
  }
  return text + ")";
}

}  // namespace

Shape::Shape(std::span<const std::size_t> extents) : rank_(extents.size()) {
  if (rank_ > max_rank) {
    refuse("shape: ", describe(extents), " has ", rank_, " dimensions, at most ", max_rank, " are supported");
  }
  constexpr auto most = static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max());
  const bool empty = std::ranges::find(extents, std::size_t{0}) != extents.end();
  for (std::size_t i = 0; i < rank_; ++i) {
    extents_[i] = extents[i];
    if (empty) continue;
    if (size_ > most / extents[i])
      refuse("shape: the elements of ", describe(extents), " do not fit 63 bits");
    size_ *= extents[i];
  }
  if (empty) size_ = 0;
}

std::size_t Shape::rows() const {
  std::size_t rows = 1;
  for (std::size_t i = 0; i + 1 < rank_; ++i) rows *= extents_[i];
  return rows;
}

std::string to_string(const Shape& shape) { return describe({shape.begin(), shape.end()}); }

}  // namespace silica
