// SPDX-License-Identifier: MIT
#include "kernels/matmul/matmul.h"
#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"
namespace silica::kernels::SILICA_ISA {
static void matmul_f32(const void* p, Groups groups) {
  const MatmulArguments& a = *static_cast<const MatmulArguments*>(p);
  for (std::uint64_t g = groups.begin; g < groups.end; ++g) {
    std::uint64_t i = g / a.n, j = g % a.n; float total = 0;
    for (std::uint64_t b = 0; b < a.k; b += 256) { float acc = 0;
      for (std::uint64_t q = b; q < a.k && q < b + 256; ++q)
        acc = fma_(a.transpose_a ? a.a[q * a.m + i] : a.a[i * a.k + q], a.transpose_b ? a.b[j * a.k + q] : a.b[q * a.n + j], acc);
      total += acc; }
    a.c[g] = total;
  }
}
void matmul_kernels(Sink& sink) { sink.add("matmul.matmul.f32", matmul_f32, Tile{1, 1}); }
}
