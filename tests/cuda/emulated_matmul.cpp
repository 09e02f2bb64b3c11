// SPDX-License-Identifier: MIT
// Compiled twice, with SILICA_TRANSPOSE_A = 0 and 1.
#include "emulated_kernels.h"

#include "kernels/cuda.h"

// Unnamed: the same names mean something else in the other compilation.
namespace {
#define SILICA_TRANSPOSE_B 0
#define SILICA_WIDE 0
namespace straight_narrow {
#include "kernels/matmul/matmul.cu"
}
#undef SILICA_WIDE
#define SILICA_WIDE 1
namespace straight_wide {
#include "kernels/matmul/matmul.cu"
}
#undef SILICA_TRANSPOSE_B
#define SILICA_TRANSPOSE_B 1
namespace transposed_wide {
#include "kernels/matmul/matmul.cu"
}
#undef SILICA_WIDE
#define SILICA_WIDE 0
namespace transposed_narrow {
#include "kernels/matmul/matmul.cu"
}

}  // namespace

namespace silica::test {

#define ADD_SPLIT(space, warps, height) \
  kernels[defines + "Split<" #warps ", " #height ">::run"] = emulated(&space::Split<warps, height>::run);
#define ADD_MATMUL(space, transpose_b, wide)                                                                \
  {                                                                                                         \
    const std::string defines = "#define SILICA_TRANSPOSE_A " + std::to_string(SILICA_TRANSPOSE_A) +        \
                                "\n#define SILICA_TRANSPOSE_B " #transpose_b "\n#define SILICA_WIDE " #wide \
                                "\n";                                                                       \
    kernels[defines + "#define SILICA_BLOCKS 2\nmatmul_tiles"] = emulated(&space::matmul_tiles);            \
    ADD_SPLIT(space, 1, 2)                                                                                  \
    ADD_SPLIT(space, 2, 2)                                                                                  \
    ADD_SPLIT(space, 4, 2)                                                                                  \
    ADD_SPLIT(space, 8, 2)                                                                                  \
    ADD_SPLIT(space, 1, 8) ADD_SPLIT(space, 2, 8) ADD_SPLIT(space, 4, 8) ADD_SPLIT(space, 8, 8)             \
  }

#define ADD_FEW_ROWS(type, factors, rows, warps, wide)                                       \
  kernels["FewRows<" #type ", " #factors ", " #rows ", " #warps ", " #wide ">::run_group"] = \
      emulated(&straight_wide::FewRows<type, factors, rows, warps, wide>::run_group);
#define ADD_LINES(type, factors, rows, warps, wide, wide_a)                                  \
  kernels["FewRowsLines<" #type ", " #factors ", " #rows ", " #warps ", " #wide ", " #wide_a \
          ">::run_group"] =                                                                  \
      emulated(&straight_wide::FewRowsLines<type, factors, rows, warps, wide, wide_a>::run_group);
#define ADD_FEW_ROWS_OF_FACTORS(type, factors, rows, warps) \
  ADD_FEW_ROWS(type, factors, rows, warps, 0)               \
  ADD_FEW_ROWS(type, factors, rows, warps, 1)
#define ADD_LINES_OF_FACTORS(type, factors, rows, warps) \
  ADD_LINES(type, factors, rows, warps, 0, 0)            \
  ADD_LINES(type, factors, rows, warps, 0, 1)            \
  ADD_LINES(type, factors, rows, warps, 1, 0)            \
  ADD_LINES(type, factors, rows, warps, 1, 1)
#define ADD_FEW_ROWS_OF_WARPS(type, rows, warps) \
  ADD_FEW_ROWS_OF_FACTORS(type, 1, rows, warps)  \
  ADD_FEW_ROWS_OF_FACTORS(type, 2, rows, warps)  \
  ADD_LINES_OF_FACTORS(type, 1, rows, warps)
#define ADD_FEW_ROWS_OF(type, rows)      \
  ADD_FEW_ROWS_OF_WARPS(type, rows, 1)   \
  ADD_FEW_ROWS_OF_WARPS(type, rows, 2)   \
  ADD_FEW_ROWS_OF_WARPS(type, rows, 4)   \
  ADD_FEW_ROWS_OF_WARPS(type, rows, 8)   \
  ADD_LINES_OF_FACTORS(type, 2, rows, 1) \
  ADD_LINES_OF_FACTORS(type, 2, rows, 2) \
  ADD_LINES_OF_FACTORS(type, 2, rows, 4)
#define ADD_FEW_ROWS_OF_TYPE(type) \
  ADD_FEW_ROWS_OF(type, 1)         \
  ADD_FEW_ROWS_OF(type, 2) ADD_FEW_ROWS_OF(type, 3) ADD_FEW_ROWS_OF(type, 4)

#if SILICA_TRANSPOSE_A
void add_emulated_few_rows(EmulatedKernels& kernels) {
  ADD_FEW_ROWS_OF_TYPE(F32)
  ADD_FEW_ROWS_OF_TYPE(F16)
  ADD_FEW_ROWS_OF_TYPE(BF16)
}
void add_emulated_panels(EmulatedKernels& kernels) {
  kernels["#define SILICA_BLOCKS 2\nmatmul_panels"] = emulated(&straight_wide::matmul_panels);
  kernels["transpose_to_panel"] = emulated(&straight_wide::transpose_to_panel);
}
void add_emulated_transposed_matmul(EmulatedKernels& kernels) {
#else
void add_emulated_matmul(EmulatedKernels& kernels) {
#endif
  ADD_MATMUL(straight_narrow, 0, 0)
  ADD_MATMUL(straight_wide, 0, 1)
  ADD_MATMUL(transposed_narrow, 1, 0)
  ADD_MATMUL(transposed_wide, 1, 1)
}

}  // namespace silica::test
