// SPDX-License-Identifier: MIT
// The argument block of the matmul kernels, the same bytes on every backend.
#pragma once

#include <cstdint>

namespace silica::kernels {

// What follows the operands of every kernel that multiplies; see MatmulArguments.
struct ProductSizes {
  std::uint64_t m = 0, n = 0, k = 0;
  std::uint32_t transpose_a = 0, transpose_b = 0;
};

// c(m, n) = op(a)(m, k) * op(b)(k, n), all row-major and contiguous. Transposed, a is stored as (k, m), b as
// (n, k). In a batch the matrices of each operand follow each other; how many there are, the grid says.
struct MatmulArguments {
  const float* a;
  const float* b;
  float* c;
  std::uint64_t m, n, k;
  std::uint32_t transpose_a, transpose_b;
};

// Whether matmul.few_rows.<dtype> takes a product. Of a transposed b its sums of all blocks of k have to fit
// shared memory.
constexpr bool is_few_rows(std::uint64_t m, std::uint64_t k, bool transpose_a, bool transpose_b) {
  return m <= 4 && (!transpose_a || m == 1) && k <= (transpose_b ? 65536 : std::uint64_t{1} << 32);
}

}  // namespace silica::kernels
