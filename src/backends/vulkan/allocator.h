// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <map>
#include <optional>

namespace silica::vulkan {

// Places allocations in the bytes [0, size) of a block: first fit by offset; neighbours merge when they are
// freed. Knows offsets only, no memory.
class FreeList {
 public:
  explicit FreeList(std::size_t size) : size_(size) { free_.emplace(0, size); }

  // `bytes` > 0. Offsets are multiples of the granule.
  std::optional<std::size_t> allocate(std::size_t bytes);
  void free(std::size_t offset, std::size_t bytes);  // with the bytes that were asked for
  bool empty() const { return free_.size() == 1 && free_.begin()->second == size_; }
  std::size_t largest_free() const;

  static constexpr std::size_t granule = 256;  // no device asks for a larger alignment of addresses
  static std::size_t round_up(std::size_t bytes) { return (bytes + granule - 1) / granule * granule; }

 private:
  std::size_t size_;
  std::map<std::size_t, std::size_t> free_;  // offset -> bytes
};

}  // namespace silica::vulkan
