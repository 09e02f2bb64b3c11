// SPDX-License-Identifier: MIT
#include "emulated_kernels.h"

#include "kernels/row/row.cu"

namespace silica::test {

#define ADD(...) kernels[#__VA_ARGS__] = emulated(&__VA_ARGS__);
#define ADD_TEAMS(function, T) \
  ADD(function<WarpTeam<T>>) ADD(function<BlockTeam<T>>) ADD(function<KeepingTeam<T>>)
#define ADD_EITHER_OF(function, Team, T) ADD(function<Team<T>, false>) ADD(function<Team<T>, true>)
#define ADD_EITHER(function, T)        \
  ADD_EITHER_OF(function, WarpTeam, T) \
  ADD_EITHER_OF(function, BlockTeam, T) ADD_EITHER_OF(function, KeepingTeam, T)
#define ADD_COLUMNS(T, columns, strands)                            \
  ADD(norm_backward_weight<ColumnTeam<T, columns, strands>, false>) \
  ADD(norm_backward_weight<ColumnTeam<T, columns, strands>, true>)  \
  ADD(norm_backward_bias<ColumnTeam<T, columns, strands>>)
#define ADD_ALL(T)                     \
  ADD_TEAMS(sum, T)                    \
  ADD_TEAMS(sum_backward, T)           \
  ADD_EITHER(norm, T)                  \
  ADD_EITHER(norm_statistics, T)       \
  ADD_EITHER(norm_backward, T)         \
  ADD_COLUMNS(T, 8, 32)                \
  ADD_COLUMNS(T, 8, 128)               \
  ADD_COLUMNS(T, 16, 16)               \
  ADD_COLUMNS(T, 32, 8)                \
  ADD_TEAMS(softmax, T)                \
  ADD_TEAMS(softmax_backward, T)       \
  ADD_TEAMS(log_softmax, T)            \
  ADD_TEAMS(log_softmax_backward, T)   \
  ADD_TEAMS(cross_entropy, T)          \
  ADD_TEAMS(cross_entropy_backward, T) \
  ADD_TEAMS(kl_divergence, T)          \
  ADD_EITHER(kl_divergence_backward, T)

void add_emulated_row(EmulatedKernels& kernels) {
  ADD_ALL(F32)
  ADD_ALL(F16)
  ADD_ALL(BF16)
}

}  // namespace silica::test
