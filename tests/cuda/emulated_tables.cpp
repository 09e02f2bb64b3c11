// SPDX-License-Identifier: MIT
#include "emulated_kernels.h"

#include "kernels/adamw/adamw.cu"
#include "kernels/embedding/embedding.cu"
#include "kernels/layout/layout.cu"

namespace silica::test {

void add_emulated_tables(EmulatedKernels& kernels) {
#define ADD_DTYPE(T)                                                        \
  kernels["embedding<" #T ">"] = emulated(&embedding<T>);                   \
  kernels["embedding_backward<" #T ">"] = emulated(&embedding_backward<T>); \
  kernels["SumRows<" #T ">::run"] = emulated(&SumRows<T>::run);
  ADD_DTYPE(F32)
  ADD_DTYPE(F16)
  ADD_DTYPE(BF16)
#define ADD_SIZE(Word, per_word)                                        \
  kernels["transpose<" #Word ">"] = emulated(&transpose<Word>);         \
  kernels["copy_block<" #Word ", 1>"] = emulated(&copy_block<Word, 1>); \
  kernels["copy_block<Words4, " #per_word ">"] = emulated(&copy_block<Words4, per_word>);
  ADD_SIZE(u8, 16)
  ADD_SIZE(u16, 8)
  ADD_SIZE(u32, 4)
  kernels["adamw_step"] = emulated(&adamw_step);
  kernels["adamw"] = emulated(&adamw);
}

}  // namespace silica::test
