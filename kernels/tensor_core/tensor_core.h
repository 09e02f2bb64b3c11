// SPDX-License-Identifier: MIT
// What the tensor_core kernels take.
#pragma once

#include <cstddef>
#include <cstdint>

namespace silica::kernels {

// The copy engine wants rows and addresses in units of 16 bytes; 32 bits hold a coordinate.
constexpr std::uint64_t tensor_core_unit = 8;  // elements
constexpr bool is_for_copy_engine(std::uint64_t rows, std::uint64_t cols, std::size_t offset) {
  return cols % tensor_core_unit == 0 && offset % (2 * tensor_core_unit) == 0 && (rows | cols) >> 31 == 0;
}

// Whether an output occupies most multiprocessors: 64 tiles of 256 x 256.
constexpr bool is_for_tensor_cores(std::uint64_t m, std::uint64_t n) {
  return m >= 256 && n >= 256 && m * n >= std::uint64_t{1} << 22;
}

}  // namespace silica::kernels
