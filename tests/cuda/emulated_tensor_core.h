// SPDX-License-Identifier: MIT
// kernels/tensor_core, compiled for the host.
#pragma once

#include <cstdint>

#include "emulated_kernels.h"

namespace silica::test {

// By the function that the backend chooses; they run as blocks of block_emulation.h.
const EmulatedKernels& emulated_tensor_core();

// What it decides of words of two elements, and the exact formulas: see decide.h.
struct EmulatedDecide {
  bool (*swiglu)(unsigned gate, unsigned up, unsigned& y);
  unsigned (*exact_swiglu)(unsigned gate, unsigned up);
  bool (*gradients)(unsigned gate, unsigned up, unsigned dy, unsigned& dgate, unsigned& dup);
  void (*exact_gradients)(unsigned gate, unsigned up, unsigned dy, unsigned& dgate, unsigned& dup);
  float (*widen)(unsigned short element);
  unsigned short (*round)(float x);
};
EmulatedDecide emulated_decide(bool of_bf16);

}  // namespace silica::test
