// SPDX-License-Identifier: MIT
// Runs the primitives that the exactness contract rests on; the host compares the results with its own.
#include "kernels/cuda.h"

struct ProbeArguments {
  const float* x;  // (3, n)
  float* y;        // (6, n)
  u64 n;
};

DEVICE void probe(const ProbeArguments& a) {
  for (u64 i = threadIdx.x; i < a.n; i += 256) {
    const float x = a.x[i], y = a.x[a.n + i], z = a.x[2 * a.n + i];
    a.y[i] = x + y;
    a.y[a.n + i] = x * y;
    a.y[2 * a.n + i] = x * y + z;  // rounds twice
    a.y[3 * a.n + i] = fma_(x, y, z);
    a.y[4 * a.n + i] = div_(x, y);
    a.y[5 * a.n + i] = sqrt_(abs_(x));
  }
}

SILICA_DEFINE_ENTRY
