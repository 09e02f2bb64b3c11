// SPDX-License-Identifier: MIT
// The functions of ptx.h by way of the emulated block, then the kernels. The fake driver's tensor maps say
// where a matrix is.
#include "emulated_tensor_core.h"

#include "block_emulation.h"
#include "kernels/cuda.h"
#include "kernels/tensor_core/ptx.h"

namespace em = emulation::block;

// Unnamed: other texts of the device have functions of these names.
namespace {

struct {
  struct {
    operator u32() const { return em::block_count(); }
  } x;
} gridDim;

em::Matrix matrix_of(const TensorMap& map, long box_rows) {
  return {reinterpret_cast<std::uint16_t*>(map.words[0]), long(map.words[2]), long(map.words[1]), box_rows};
}

DEVICE u32 shared_start() { return em::shared_start(); }
DEVICE void sync_warp() { em::meet_warp(); }
DEVICE void sync_block() { em::meet_all(); }
DEVICE void barrier_among(u32 id, u32 threads) { em::meet(id, threads); }
DEVICE void barrier_init(u32 barrier, u32 count) { em::init(barrier, count); }
DEVICE void barriers_are_set() {}
DEVICE void barrier_expect(u32 barrier, u32 bytes) { em::expect(barrier, bytes); }
DEVICE void barrier_arrive(u32 barrier) { em::arrive(barrier); }
DEVICE void barrier_wait(u32 barrier, u32 parity) { em::wait(barrier, parity); }

DEVICE void load_box(u32 to, const TensorMap& map, u32 barrier, u32 x, u32 y) {
  em::load(to, matrix_of(map, long(map.words[3])), barrier, x, y);
}
DEVICE void prefetch_box(const TensorMap&, u32, u32) {}
DEVICE void store_box(const TensorMap& map, u32 from, u32 x, u32 y) {
  em::store(matrix_of(map, long(map.words[3])), from, x, y);
}
DEVICE void end_store_group() { em::end_store_group(); }
template <int count> DEVICE void wait_stores_read() { em::wait_stores_read(count); }
DEVICE void publish_shared() {}

DEVICE void store_matrices(u32 to, const u32* x) { em::store_matrices(to, x); }
DEVICE void load_words(u32 from, u32 (&x)[4]) {
  em::let_others_run();
  std::memcpy(x, em::shared(from), sizeof x);
}
DEVICE void store_words(u32 to, const u32 (&x)[4]) { std::memcpy(em::shared(to), x, sizeof x); }

DEVICE void begin_multiply() {}
DEVICE void end_multiply() { em::end_multiply(); }
template <int count> DEVICE void wait_multiply() { em::wait_multiply(count); }
template <class Type> float widened(std::uint16_t x) { return Type::load(x); }
template <class Type, bool m_major, bool n_major>
DEVICE void multiply(float (&d)[128], u64 a, u64 b, bool adds) {
  em::multiply({d, a, b, m_major, n_major, widened<Type>, adds});
}
DEVICE void settle(float (&)[128]) {}

#include "kernels/tensor_core/tensor_core.cu"

template <class Type> struct Called {
  static float widen(unsigned short x) { return Type::load(x); }
  static unsigned short round(float x) { return Type::store(x); }
  static constexpr silica::test::EmulatedSwiglu all{fast_swiglu<Type>, fast_swiglu_backward<Type>, widen,
                                                    round};
};

}  // namespace

namespace silica::test {

#define ADD(kernels, type, ta, tb, epilogue)                                                   \
  kernels["TensorCoreProduct<" #type ", " #ta ", " #tb ", Epilogue::" #epilogue ", 3>::run"] = \
      emulated(&TensorCoreProduct<type, ta, tb, Epilogue::epilogue, 3>::run);
#define ADD_ALL(kernels, type)                      \
  ADD(kernels, type, false, false, store)           \
  ADD(kernels, type, false, true, store)            \
  ADD(kernels, type, true, false, store)            \
  ADD(kernels, type, true, true, store)             \
  ADD(kernels, type, false, false, swiglu)          \
  ADD(kernels, type, false, true, swiglu)           \
  ADD(kernels, type, false, false, swiglu_backward) \
  ADD(kernels, type, false, true, swiglu_backward)

const EmulatedKernels& emulated_tensor_core() {
  static const EmulatedKernels all = [] {
    EmulatedKernels kernels;
    ADD_ALL(kernels, BF16)
    ADD_ALL(kernels, F16)
    return kernels;
  }();
  return all;
}

EmulatedSwiglu emulated_swiglu(bool of_bf16) { return of_bf16 ? Called<BF16>::all : Called<F16>::all; }

}  // namespace silica::test
