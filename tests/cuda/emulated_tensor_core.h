// SPDX-License-Identifier: MIT
// kernels/tensor_core, compiled for the host.
#pragma once

#include <cstdint>

#include "emulated_kernels.h"

namespace silica::test {

// By the function that the backend chooses; they run as blocks of block_emulation.h.
const EmulatedKernels& emulated_tensor_core();

// Of words of two elements: see swiglu.h.
struct EmulatedSwiglu {
  unsigned (*value)(unsigned gate, unsigned up);
  void (*gradients)(unsigned gate, unsigned up, unsigned dy, unsigned& dgate, unsigned& dup);
  float (*widen)(unsigned short element);
  unsigned short (*round)(float x);
};
EmulatedSwiglu emulated_swiglu(bool of_bf16);

}  // namespace silica::test
