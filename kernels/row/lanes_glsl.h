// SPDX-License-Identifier: MIT
// Sums and maxima of a row, in GLSL, in the order of lanes_cpp.h: a group for each row, a thread for each of
// the 256 lanes of its sum.
#include "kernels/vulkan.h"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint dtype = 0;     // of all operands but those that are said to be f32
layout(constant_id = 1) const bool flag = false;  // tells two kernels with one text apart

const uint lanes = 256;
shared float lane[lanes];
uint me = gl_LocalInvocationID.x;

// Elements of the kernel's dtype, and the address of a row of them.
float get(uint64_t address, uint64_t i) { return load_as(dtype, address, i); }
void put(uint64_t address, uint64_t i, float value) { store_as(dtype, address, i, value); }
uint64_t row_at(uint64_t address, uint64_t row, uint64_t cols) {
  return address + bytes_of(dtype, row * cols);
}

// The fold of the lanes' sums, returned to every thread.
float fold_sum(float sum) {
  lane[me] = sum;
  barrier();
  for (uint half_ = lanes / 2; half_ > 0; half_ /= 2) {
    if (me < half_) {
      precise float folded = lane[me] + lane[me + half_];
      lane[me] = folded;
    }
    barrier();
  }
  float result = lane[0];
  barrier();
  return result;
}

// Not max(): a NaN counts only if it comes first, as on the CPU.
float row_max(uint64_t x, uint64_t cols) {
  float most = get(x, 0);
  for (uint64_t i = me; i < cols; i += lanes) {
    float value = get(x, i);
    most = select_(less_(most, value), value, most);
  }
  lane[me] = most;
  barrier();
  for (uint half_ = lanes / 2; half_ > 0; half_ /= 2) {
    if (me < half_) lane[me] = select_(less_(lane[me], lane[me + half_]), lane[me + half_], lane[me]);
    barrier();
  }
  float result = lane[0];
  barrier();
  return result;
}
