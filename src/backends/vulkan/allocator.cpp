// SPDX-License-Identifier: MIT
#include "backends/vulkan/allocator.h"

#include <algorithm>

namespace silica::vulkan {

std::optional<std::size_t> FreeList::allocate(std::size_t bytes) {
  bytes = round_up(bytes);
  for (auto hole = free_.begin(); hole != free_.end(); ++hole) {
    const auto [offset, available] = *hole;
    if (available < bytes) continue;
    free_.erase(hole);
    if (available > bytes) free_.emplace(offset + bytes, available - bytes);
    return offset;
  }
  return std::nullopt;
}

void FreeList::free(std::size_t offset, std::size_t bytes) {
  bytes = round_up(bytes);
  auto hole = free_.emplace(offset, bytes).first;
  const auto next = std::next(hole);
  if (next != free_.end() && offset + bytes == next->first) {
    hole->second += next->second;
    free_.erase(next);
  }
  if (hole == free_.begin()) return;
  const auto before = std::prev(hole);
  if (before->first + before->second != offset) return;
  before->second += hole->second;
  free_.erase(hole);
}

std::size_t FreeList::largest_free() const {
  std::size_t most = 0;
  for (const auto& [offset, bytes] : free_) most = std::max(most, bytes);
  return most;
}

}  // namespace silica::vulkan
