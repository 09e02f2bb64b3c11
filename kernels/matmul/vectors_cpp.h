// SPDX-License-Identifier: MIT
// The vectors of an instruction set, in C++, and what else of matmul differs between them. No include guard:
// it comes in the namespace of an instruction set.

#if defined(__SANITIZE_ADDRESS__)
#define SILICA_UNROLL  // or compiling takes minutes
#elif defined(__clang__)
#define SILICA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SILICA_UNROLL _Pragma("GCC unroll 16")
#endif

// What differs between instruction sets. tile_rows is what the registers hold; area_rows bounds the packed
// part of A. With AVX-512 a tile of A stays in L1 and B in L2; narrower tiles of B fit L1, so there a tile of
// B stays in L1, A in L2, and B in L3.
#if defined(__AVX512F__)
constexpr int lanes = 16, tile_rows = 12;
constexpr uint64_t area_rows = 12;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int lanes = 8, tile_rows = 6;
constexpr uint64_t area_rows = 96;
#elif defined(__aarch64__)
constexpr int lanes = 4, tile_rows = 8;
constexpr uint64_t area_rows = 96;
#else
constexpr int lanes = 4, tile_rows = 4;
constexpr uint64_t area_rows = 96;
#endif

constexpr bool b_is_in_l2 = area_rows == tile_rows;

typedef float Vector __attribute__((vector_size(lanes * sizeof(float))));
typedef float Unaligned __attribute__((vector_size(lanes * sizeof(float)), aligned(4), may_alias));

SILICA_INLINE Vector load(const float* x) { return *reinterpret_cast<const Unaligned*>(x); }
SILICA_INLINE void store(float* x, Vector v) { *reinterpret_cast<Unaligned*>(x) = v; }

#if defined(__AVX512F__)
SILICA_INLINE Vector broadcast(float x) { return _mm512_set1_ps(x); }
SILICA_INLINE Vector fma_vector(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__) && defined(__FMA__)
SILICA_INLINE Vector broadcast(float x) { return _mm256_set1_ps(x); }
SILICA_INLINE Vector fma_vector(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
#elif defined(__aarch64__)
SILICA_INLINE Vector broadcast(float x) { return vdupq_n_f32(x); }
SILICA_INLINE Vector fma_vector(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
#else
SILICA_INLINE Vector broadcast(float x) { return Vector{x, x, x, x}; }
SILICA_INLINE Vector fma_vector(Vector a, Vector b, Vector c) {
  return Vector{fma_(a[0], b[0], c[0]), fma_(a[1], b[1], c[1]), fma_(a[2], b[2], c[2]),
                fma_(a[3], b[3], c[3])};
}
#endif

// A number in memory as a factor of several vectors. AVX-512 reads it for each: one instruction less to
// issue, which counts where another thread has the other half of the core. (AddressSanitizer does not see
// it.)
#if defined(__AVX512F__)
struct Factor {
  const float* number;
};
SILICA_INLINE Vector fma_vector(Factor a, Vector b, Vector c) {
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(c) : "v"(b), "m"(*a.number));
  return c;
}
SILICA_INLINE Factor factor(const float* x) { return {x}; }
#else
SILICA_INLINE Vector factor(const float* x) { return broadcast(*x); }
#endif

constexpr uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
constexpr uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// Out of line, since edges are many and rare.
[[gnu::noinline]] void copy_some(float* to, const float* from, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) to[i] = from[i];
}

// The first `count` lanes, or all if there are fewer.
SILICA_INLINE Vector load_some(const float* x, uint64_t count) {
  if (count >= lanes) return load(x);
  float line[lanes] = {};
  copy_some(line, x, count);
  return load(line);
}

SILICA_INLINE void store_some(float* x, Vector v, uint64_t count) {
  if (count >= lanes) return store(x, v);
  float line[lanes];
  store(line, v);
  copy_some(x, line, count);
}

// Adds a block's sum to C; the first block's replaces what is there.
SILICA_INLINE void add_block(float* c, Vector sum, uint64_t count, bool first) {
  store_some(c, first ? sum : load_some(c, count) + sum, count);
}
