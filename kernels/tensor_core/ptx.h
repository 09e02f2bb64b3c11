// SPDX-License-Identifier: MIT
// sm_90a's instructions for products, by what they do: barriers in shared memory, the copy engine, the tensor
// cores. Addresses in shared memory are the 32 bits that the instructions want.
#pragma once

template <class Type> constexpr bool is_bf16 = false;
template <> constexpr bool is_bf16<BF16> = true;

// A tensor map of the driver's: a matrix in global memory and how its boxes lie in shared memory.
struct alignas(64) TensorMap {
  u64 words[16];
};

#ifdef __CUDA_ARCH__

DEVICE u32 shared_start() {
  extern __shared__ __align__(1024) u8 shared_bytes[];
  return (u32(__cvta_generic_to_shared(shared_bytes)) + 1023) & ~1023u;
}

// ---- barriers: a phase ends when `count` arrivals and the expected bytes have come

DEVICE void barrier_init(u32 barrier, u32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count));
}
DEVICE void barriers_are_set() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void barrier_expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
DEVICE void barrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
DEVICE void barrier_wait(u32 barrier, u32 parity) {
  asm volatile(
      "{.reg .pred done;\n"
      "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
DEVICE void sync_warp() { __syncwarp(); }
DEVICE void sync_block() { __syncthreads(); }
DEVICE void barrier_among(u32 id, u32 threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- the copy engine: boxes between a matrix, x along its rows, and shared memory

DEVICE void load_box(u32 to, const TensorMap& map, u32 barrier, u32 x, u32 y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
      "[%2];" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(x), "r"(y)
      : "memory");
}
// Into the second-level cache.
DEVICE void prefetch_box(const TensorMap& map, u32 x, u32 y) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(&map), "r"(x), "r"(y)
               : "memory");
}
DEVICE void store_box(const TensorMap& map, u32 from, u32 x, u32 y) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map),
               "r"(from), "r"(x), "r"(y)
               : "memory");
}
DEVICE void end_store_group() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until no more than the last `count` groups have yet to read shared memory.
template <int count> DEVICE void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(count) : "memory");
}
// What this thread wrote to shared memory is seen by the copy engine and the tensor cores.
DEVICE void publish_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- words, and matrices of 8 x 8

DEVICE void store_matrices(u32 to, const u32* x) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x[0]),
               "r"(x[1]), "r"(x[2]), "r"(x[3])
               : "memory");
}
DEVICE void load_words(u32 from, u32 (&x)[4]) {
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(from)
               : "memory");
}
DEVICE void store_words(u32 to, const u32 (&x)[4]) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x[0]), "r"(x[1]), "r"(x[2]),
               "r"(x[3])
               : "memory");
}

// ---- the tensor cores

DEVICE void begin_multiply() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void end_multiply() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int count> DEVICE void wait_multiply() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(count) : "memory");
}

// One instruction, whose 128 registers have to be named.
#define SILICA_TEN(t) \
  "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define SILICA_FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SILICA_SIXTEEN(i) SILICA_FOUR(i), SILICA_FOUR(i + 4), SILICA_FOUR(i + 8), SILICA_FOUR(i + 12)
#define SILICA_MULTIPLY(type, m_major, n_major) \
  asm volatile("{.reg .pred p; setp.ne.b32 p, %130, 0; wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." \
               type " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " SILICA_TEN(1) SILICA_TEN(2) SILICA_TEN(3)    \
               SILICA_TEN(4) SILICA_TEN(5) SILICA_TEN(6) SILICA_TEN(7) SILICA_TEN(8) SILICA_TEN(9)            \
               SILICA_TEN(10) SILICA_TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127}, %128, %129, "  \
               "p, 1, 1, " m_major ", " n_major ";}"                                                          \
               : SILICA_SIXTEEN(0), SILICA_SIXTEEN(16), SILICA_SIXTEEN(32), SILICA_SIXTEEN(48),               \
                 SILICA_SIXTEEN(64), SILICA_SIXTEEN(80), SILICA_SIXTEEN(96), SILICA_SIXTEEN(112)              \
               : "l"(a), "l"(b), "r"(u32(adds)))
// d, this thread's part of 64 x 256 sums, = a b or, where that adds, += a b, of 64 x 16 and 16 x 256 elements
// in shared memory.
template <class Type, bool m_major, bool n_major>
DEVICE void multiply(float (&d)[128], u64 a, u64 b, bool adds) {
  if constexpr (is_bf16<Type>) {
    if constexpr (m_major && n_major) SILICA_MULTIPLY("bf16", "1", "1");
    if constexpr (m_major && !n_major) SILICA_MULTIPLY("bf16", "1", "0");
    if constexpr (!m_major && n_major) SILICA_MULTIPLY("bf16", "0", "1");
    if constexpr (!m_major && !n_major) SILICA_MULTIPLY("bf16", "0", "0");
  } else {
    if constexpr (m_major && n_major) SILICA_MULTIPLY("f16", "1", "1");
    if constexpr (m_major && !n_major) SILICA_MULTIPLY("f16", "1", "0");
    if constexpr (!m_major && n_major) SILICA_MULTIPLY("f16", "0", "1");
    if constexpr (!m_major && !n_major) SILICA_MULTIPLY("f16", "0", "0");
  }
}
// So that no sum is read before the wait in front of this.
DEVICE void settle(float (&d)[128]) {
#pragma unroll
  for (u32 i = 0; i < 128; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
#endif
