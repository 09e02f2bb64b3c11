// SPDX-License-Identifier: MIT
// What the CUDA kernels share. A kernels/<family>/<family>.cu is compiled by NVRTC, with no headers but
// these, after definitions that say which kernel of the family is wanted (src/backends/cuda/catalogue.cpp):
//
//   SILICA_ENTRY       the name of the __global__ function
//   SILICA_KERNEL      the device function it calls, with its template arguments
//   SILICA_ARGUMENTS   the type of its argument block
//   SILICA_THREADS     threads of a block, and optionally SILICA_BLOCKS, the blocks a multiprocessor should
//   hold
//
// Block b computes group b. Tests compile the same text as C++ (tests/cuda/emulation.h), without an entry.
#pragma once

#include "kernels/prelude_cuda.h"

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

#include "kernels/formulas.h"
#include "kernels/ordinary.h"

#define DEVICE static __device__ __forceinline__

constexpr u32 warp_size = 32;
constexpr u32 whole_warp = 0xffffffffu;

// Moved by one instruction.
struct alignas(16) Words4 {
  u32 word[4];
};
struct alignas(16) Floats4 {
  float value[4];
};

DEVICE u64 least(u64 a, u64 b) { return a < b ? a : b; }
DEVICE u64 ceil_div(u64 a, u64 b) { return a / b + (a % b != 0); }
DEVICE bool is_aligned(const void* x) { return reinterpret_cast<u64>(x) % 16 == 0; }
DEVICE u64 group() { return blockIdx.x; }

// The conversions of formulas.h, which the hardware does in one instruction from sm_80 on.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
DEVICE float widen_f16(u32 h) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(u16(h)));
  return x;
}
DEVICE u32 round_f16x2(float low, float high) {
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
DEVICE u32 round_bf16x2(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
#else
DEVICE float widen_f16(u32 h) { return f16_to_f32_(h); }
DEVICE u32 round_f16x2(float low, float high) { return f32_to_f16_(low) | f32_to_f16_(high) << 16; }
DEVICE u32 round_bf16x2(float low, float high) { return f32_to_bf16_(low) | f32_to_bf16_(high) << 16; }
#endif

// ---- shared memory: what the launch gives, and copies into it that do not hold up the thread

#ifdef __CUDA_ARCH__
DEVICE float* dynamic_shared() {
  extern __shared__ __align__(16) float memory[];
  return memory;
}
#if __CUDA_ARCH__ >= 800
// 16 bytes, or 16 zeros.
DEVICE void copy_async(float* to, const float* from, bool inside) {
  asm volatile(
      "cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(u32(__cvta_generic_to_shared(to))),
      "l"(from), "r"(inside ? 16 : 0));
}
DEVICE void end_async_group() { asm volatile("cp.async.commit_group;"); }
// Until no more than the last `count` groups are under way.
template <int count> DEVICE void wait_async_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(count) : "memory");
}
#else
DEVICE void copy_async(float* to, const float* from, bool inside) {
  const Floats4 none{{0.0f, 0.0f, 0.0f, 0.0f}};
  *reinterpret_cast<Floats4*>(to) = inside ? *reinterpret_cast<const Floats4*>(from) : none;
}
DEVICE void end_async_group() {}
template <int count> DEVICE void wait_async_groups() {}
#endif
#endif

// ---- the floating-point dtypes, as types: an element, and what a word of 4 bytes holds

struct F32 {
  using Element = float;
  static constexpr u32 per_word = 1;
  DEVICE float load(float x) { return x; }
  DEVICE float store(float x) { return x; }
  DEVICE void unpack(u32 word, float* x) { x[0] = from_bits_(word); }
  DEVICE u32 pack(const float* x) { return bits_(x[0]); }
};
struct F16 {
  using Element = u16;
  static constexpr u32 per_word = 2;
  DEVICE float load(u16 x) { return widen_f16(x); }
  DEVICE u16 store(float x) { return u16(round_f16x2(x, 0.0f)); }
  DEVICE void unpack(u32 word, float* x) {
    x[0] = widen_f16(word & 0xffffu);
    x[1] = widen_f16(word >> 16);
  }
  DEVICE u32 pack(const float* x) { return round_f16x2(x[0], x[1]); }
};
struct BF16 {
  using Element = u16;
  static constexpr u32 per_word = 2;
  DEVICE float load(u16 x) { return bf16_to_f32_(x); }
  DEVICE u16 store(float x) { return u16(round_bf16x2(x, 0.0f)); }
  DEVICE void unpack(u32 word, float* x) {
    x[0] = from_bits_(word << 16);
    x[1] = from_bits_(word & 0xffff0000u);
  }
  DEVICE u32 pack(const float* x) { return round_bf16x2(x[0], x[1]); }
};

// `width` elements in words of 4 bytes, which move 16 bytes at a time.
template <class T, u32 width> struct Vector {
  static constexpr u32 words = width / T::per_word;
  Words4 part[words / 4];

  __device__ __forceinline__ void load(const typename T::Element* from) {
#pragma unroll
    for (u32 p = 0; p < words / 4; ++p) part[p] = reinterpret_cast<const Words4*>(from)[p];
  }
  __device__ __forceinline__ void store(typename T::Element* to) const {
#pragma unroll
    for (u32 p = 0; p < words / 4; ++p) reinterpret_cast<Words4*>(to)[p] = part[p];
  }
  __device__ __forceinline__ void unpack(float* x) const {
#pragma unroll
    for (u32 w = 0; w < words; ++w) T::unpack(part[w / 4].word[w % 4], x + w * T::per_word);
  }
  __device__ __forceinline__ void pack(const float* x) {
#pragma unroll
    for (u32 w = 0; w < words; ++w) part[w / 4].word[w % 4] = T::pack(x + w * T::per_word);
  }

  // Element e of 16 bits; by selection, as an index that is no constant would put the words into memory.
  __device__ __forceinline__ u16 half(u32 e) const {
    u32 found = 0;
#pragma unroll
    for (u32 w = 0; w < words; ++w) found = e / 2 == w ? part[w / 4].word[w % 4] : found;
    return u16(found >> e % 2 * 16);
  }
  __device__ __forceinline__ void set_half(u32 e, u16 x) {
    const u32 shift = e % 2 * 16;
#pragma unroll
    for (u32 w = 0; w < words; ++w) {
      u32& word = part[w / 4].word[w % 4];
      word = e / 2 == w ? (word & ~(0xffffu << shift)) | u32(x) << shift : word;
    }
  }
};

#ifndef SILICA_BLOCKS
#define SILICA_BLOCKS 1
#endif

// In a graph a block may start before the kernel in front has ended; here it waits for it.
DEVICE void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// By its arguments, a kernel that does so just before it reads or writes.
template <class Arguments> constexpr bool waits_itself = false;

#ifdef SILICA_ENTRY
#define SILICA_DEFINE_ENTRY                                                   \
  extern "C" __global__ void __launch_bounds__(SILICA_THREADS, SILICA_BLOCKS) \
      SILICA_ENTRY(const SILICA_ARGUMENTS a) {                                \
    if constexpr (!waits_itself<SILICA_ARGUMENTS>) wait_for_previous();       \
    SILICA_KERNEL(a);                                                         \
  }
#else
#define SILICA_DEFINE_ENTRY
#endif
