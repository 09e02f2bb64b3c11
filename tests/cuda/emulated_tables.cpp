// SPDX-License-Identifier: MIT
#include "emulated_kernels.h"

#include "kernels/adamw/adamw.cu"
#include "kernels/embedding/embedding.cu"

namespace silica::test {

void add_emulated_tables(EmulatedKernels& kernels) {
  kernels["embedding"] = emulated(&embedding);
  kernels["embedding_backward"] = emulated(&embedding_backward);
  kernels["adamw_step"] = emulated(&adamw_step);
  kernels["adamw"] = emulated(&adamw);
}

}  // namespace silica::test
