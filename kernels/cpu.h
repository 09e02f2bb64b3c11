// SPDX-License-Identifier: MIT
// What the CPU kernels share. Every kernels/<family>/<family>.cpp is compiled once per instruction set, with
// SILICA_ISA naming a namespace, so nothing there may have external linkage outside that namespace: the
// linker would take an AVX-512 copy of it for the baseline.
#pragma once

#include "silica/kernel.h"

namespace silica::kernels {

// Receives kernels under their names.
class Sink {
 public:
  virtual void add(const char* name, CpuFunction function, Tile tile) = 0;

 protected:
  ~Sink() = default;
};

// Each family hands over its kernels.
#define SILICA_FAMILIES                 \
  void map_kernels(Sink& sink);         \
  void row_kernels(Sink& sink);         \
  void softmax_kernels(Sink& sink);     \
  void matmul_kernels(Sink& sink);      \
  void embedding_kernels(Sink& sink);   \
  void adamw_kernels(Sink& sink);       \
  void layout_kernels(Sink& sink);      \
  inline void add_kernels(Sink& sink) { \
    map_kernels(sink);                  \
    row_kernels(sink);                  \
    softmax_kernels(sink);              \
    matmul_kernels(sink);               \
    embedding_kernels(sink);            \
    adamw_kernels(sink);                \
    layout_kernels(sink);               \
  }

namespace baseline {
SILICA_FAMILIES
}
namespace avx2 {
SILICA_FAMILIES
}
namespace avx512 {
SILICA_FAMILIES
}

#undef SILICA_FAMILIES

// Asks the vectoriser to take the iterations of the next loop as independent: true of an elementwise loop
// even when the output is one of the inputs.
#if defined(__clang__)
#define SILICA_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define SILICA_INDEPENDENT _Pragma("GCC ivdep")
#endif

}  // namespace silica::kernels
