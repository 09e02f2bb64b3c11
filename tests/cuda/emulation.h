// SPDX-License-Identifier: MIT
// Just enough of CUDA C++ to compile and run kernels/*/*.cu on the host: the threads of a block are fibers,
// which switch at barriers only. Blocks run one after the other. The order in which fibers run between
// barriers can be turned round or shuffled: a kernel that lacks a barrier then gives other bits.
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

namespace emulation {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

enum class Order { forward, backward, shuffled };

// Runs kernel() by every thread of every block; throws std::runtime_error if the threads of a block do not
// all come to the same barriers.
void run(std::uint64_t blocks, unsigned threads, Order order, const std::function<void()>& kernel);

void block_barrier();
void warp_barrier();
unsigned exchange(unsigned value, unsigned lane);  // what thread `lane` of the warp gave
unsigned ballot(bool predicate);                   // of the warp
bool any_of_block(bool predicate);

}  // namespace emulation

inline emulation::Index threadIdx, blockIdx;

#define __device__
#define __global__
#define __forceinline__ __attribute__((always_inline)) inline
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static

template <class To, class From> To emulated_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline unsigned __float_as_uint(float x) { return emulated_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return emulated_cast<float>(x); }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
// As far off as the hardware's may be, this way and that (0), or always one way; what would be subnormal is
// 0.
struct EmulatedDirections {
  int exp2 = 0, reciprocal = 0;
};
inline EmulatedDirections emulated_directions;
inline float emulated_error(double exact, double relative, int direction) {
  if (__builtin_fabs(exact) < 0x1p-126) return float(__builtin_copysign(0.0, exact));
  const bool up = direction == 0 ? __float_as_uint(float(exact)) % 2 == 0 : direction > 0;
  return float(exact * (up ? 1.0 + relative : 1.0 - relative));
}
inline float rough_exp2(float x) {
  return emulated_error(__builtin_exp2(x), 0x1p-22, emulated_directions.exp2);
}
inline float rough_reciprocal(float x) {
  return emulated_error(1.0 / x, 0x1p-23, emulated_directions.reciprocal);
}
inline int __ffs(int x) { return __builtin_ffs(x); }

// Shared memory of the launch, and copies into it, which are done at once.
inline float* dynamic_shared() {
  alignas(16) static float memory[227 * 256];  // as much as a block can have
  return memory;
}
inline void copy_async(float* to, const float* from, bool inside) {
  for (int i = 0; i < 4; ++i) to[i] = inside ? from[i] : 0.0f;
}
inline void end_async_group() {}
template <int> void wait_async_groups() {}

inline void __syncthreads() { emulation::block_barrier(); }
inline void __syncwarp() { emulation::warp_barrier(); }
inline int __syncthreads_or(int predicate) { return emulation::any_of_block(predicate != 0); }
inline unsigned __ballot_sync(unsigned, int predicate) { return emulation::ballot(predicate != 0); }
inline float __shfl_xor_sync(unsigned, float value, int mask) {
  return __uint_as_float(
      emulation::exchange(__float_as_uint(value), threadIdx.x % 32 ^ static_cast<unsigned>(mask)));
}
