// SPDX-License-Identifier: MIT
// swiglu and its gradients of words of two elements, by the device's approximations of 2^x and 1 / x: within
// the bounds of docs/exactness.md.
#include "kernels/map/approximation.h"

// Of x and s = sigmoid(x). -inf times a sigmoid of 0 would be a NaN, and from 16 on 1 + x (1 - s) would be
// the error of s times x instead of 1. A NaN stays one by way of s.
DEVICE float fast_silu(float x, float s) { return fmaxf(x, lowest_float) * s; }
DEVICE float fast_silu_derivative(float x, float s) {
  return s * fma_(fminf(fmaxf(x, lowest_float), 16.0f), 1.0f - s, 1.0f);
}

template <class Type> DEVICE u32 fast_swiglu(u32 gate, u32 up) {
  float g[2], u[2], y[2];
  Type::unpack(gate, g);
  Type::unpack(up, u);
#pragma unroll
  for (u32 i = 0; i < 2; ++i) y[i] = fast_silu(g[i], rough_sigmoid(g[i]).value) * u[i];
  return Type::pack(y);
}

template <class Type> DEVICE void fast_swiglu_backward(u32 gate, u32 up, u32 dy, u32& dgate, u32& dup) {
  float g[2], u[2], d[2], of_gate[2], of_up[2];
  Type::unpack(gate, g);
  Type::unpack(up, u);
  Type::unpack(dy, d);
#pragma unroll
  for (u32 i = 0; i < 2; ++i) {
    const float s = rough_sigmoid(g[i]).value;
    of_gate[i] = d[i] * u[i] * fast_silu_derivative(g[i], s);
    of_up[i] = d[i] * fast_silu(g[i], s);
  }
  dgate = Type::pack(of_gate);
  dup = Type::pack(of_up);
}
