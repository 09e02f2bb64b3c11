// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace silica::kernels {

struct MatmulArguments {
  const float* a;
  const float* b;
  float* c;
  std::uint64_t m, n, k;
  std::uint32_t transpose_a, transpose_b;
};

}  // namespace silica::kernels
