// SPDX-License-Identifier: MIT
// Elementwise kernels in CUDA: load, compute in f32, round once to the output's dtype. Operands move in words
// of 16 bytes where all of them are aligned and the group is whole.
#include "kernels/cuda.h"
#include "kernels/map/approximation.h"

// The vectors of each operand that a thread has in flight at once. Threads and blocks a multiprocessor: what
// was fastest on an H100, and of 16 bits on an H200.
#ifndef SILICA_VECTORS
#define SILICA_VECTORS 1
#endif
#undef SILICA_BLOCKS
#define SILICA_BLOCKS map_blocks<SILICA_ARGUMENTS>
constexpr u32 vectors = SILICA_VECTORS;
constexpr u32 map_threads = vectors == 1 ? 128 : 64;

// ---- one struct per kernel: what it computes from `in` to `out`, with the scalar s ----

template <u32 count> struct Results {
  float value[count];
};
DEVICE Results<1> results(float first) { return {{first}}; }
DEVICE Results<2> results(float first, float second) { return {{first, second}}; }

// The first operand is a float or, if every formula has an overload for that, Ordinary.
#define SILICA_MAP(name, ins, outs, first, second, third, ...)                                               \
  struct name##_map {                                                                                        \
    static constexpr int inputs = ins, outputs = outs;                                                       \
    template <class X>                                                                                       \
    DEVICE auto apply([[maybe_unused]] X first, [[maybe_unused]] float second, [[maybe_unused]] float third, \
                      [[maybe_unused]] float s) -> decltype(results(__VA_ARGS__)) {                          \
      return results(__VA_ARGS__);                                                                           \
    }                                                                                                        \
  };
#define SILICA_UNARY_LINEAR(op, y) SILICA_MAP(op, 1, 1, x, unused1, unused2, y)
#define SILICA_UNARY_SCALAR(op, y, derivative) SILICA_UNARY_LINEAR(op, y)
#define SILICA_UNARY(op, y, derivative) \
  SILICA_UNARY_LINEAR(op, y)            \
  SILICA_MAP(op##_backward, 2, 1, x, dy, unused, dy*(derivative))
#define SILICA_BINARY(op, c, da, db)    \
  SILICA_MAP(op, 2, 1, a, b, unused, c) \
  SILICA_MAP(op##_backward, 3, 2, a, b, dc, da, db)
#define SILICA_BINARY_LINEAR(op, c, da, db) \
  SILICA_MAP(op, 2, 1, a, b, unused, c)     \
  SILICA_MAP(op##_backward, 1, 2, dc, unused1, unused2, da, db)
#define SILICA_BINARY_SCALAR(op, c, da, db) SILICA_BINARY_LINEAR(op, c, da, db)
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
SILICA_MAP(cast, 1, 1, x, unused1, unused2, x)
SILICA_MAP(fill, 0, 1, unused1, unused2, unused3, s)

template <class Op, class = void> struct HasOrdinary {
  static constexpr bool value = false;
};
template <class Op> struct HasOrdinary<Op, decltype(void(Op::apply(Ordinary(), 0.0f, 0.0f, 0.0f)))> {
  static constexpr bool value = Op::inputs > 0;
};

SILICA_APPROXIMATION(sigmoid_map, const RoughSigmoid s = rough_sigmoid(in[0]); out[0] = {s.value, s.error};)
SILICA_APPROXIMATION(tanh_map, out[0] = rough_tanh(in[0]);)
SILICA_APPROXIMATION(exp_map, out[0] = rough_exp(in[0]);)
SILICA_APPROXIMATION(sigmoid_backward_map,
                     out[0] = rough_product(in[1], rough_sigmoid_derivative(fabsf(in[0])));)
SILICA_APPROXIMATION(tanh_backward_map,
                     out[0] = rough_product(4.0f * in[1], rough_sigmoid_derivative(2.0f * fabsf(in[0])));)
SILICA_APPROXIMATION(softplus_backward_map, const RoughSigmoid s = rough_sigmoid(in[0]);
                     out[0] = rough_product(in[1], {s.value, s.error});)
SILICA_APPROXIMATION(exp_backward_map, out[0] = rough_product(in[1], rough_exp(in[0]));)
#define SILICA_GATE(op)                                                                \
  SILICA_APPROXIMATION(op##_map, out[0] = rough_gated(in[0], 1.0f, op##_gate(in[0]));) \
  SILICA_APPROXIMATION(op##_backward_map, out[0] = rough_gated_derivative(in[1], op##_gate(in[0]));)
#define SILICA_GATED(op, f)                                                     \
  SILICA_APPROXIMATION(op##_map, out[0] = rough_gated(in[0], in[1], f(in[0]));) \
  SILICA_APPROXIMATION(op##_backward_map, const RoughGate gate = f(in[0]);      \
                       out[0] = rough_gated_derivative(in[2] * in[1], gate);    \
                       out[1] = rough_gated(in[0], in[2], gate);)
SILICA_GATE(silu)
SILICA_GATE(gelu)
SILICA_GATE(gelu_tanh)
SILICA_GATED(swiglu, silu_gate)
SILICA_GATED(geglu, gelu_gate)

// The larger of |a| and |b|, with either sign; a NaN if one is.
DEVICE float larger_magnitude(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  float largest;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(largest) : "f"(fabsf(a)), "f"(fabsf(b)));
  return largest;
#else
  return bits_(abs_(a)) > bits_(abs_(b)) ? a : b;
#endif
}

// ---- the loop ----

// The index of an element of a whole group: a thread has one vector only where there are few elements.
template <u32 of_thread> struct MapIndex {
  using Type = u64;
};
template <> struct MapIndex<1> {
  using Type = u32;
};

template <class From, class To, int inputs, int outputs> struct MapArguments {
  const typename From::Element* in[inputs];
  typename To::Element* out[outputs];
  u64 n;
  float s;
  u32 whole_groups;  // that have all of their elements, and every operand at a multiple of 16 bytes
};
template <class From, class To, int outputs> struct MapArguments<From, To, 0, outputs> {
  static constexpr const typename From::Element* const* in = nullptr;
  typename To::Element* out[outputs];
  u64 n;
  float s;
  u32 whole_groups;
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
constexpr u32 blocks_in_f32 = 16;
#else
constexpr u32 blocks_in_f32 = 8;  // a multiprocessor holds fewer than 2048 threads
#endif
template <class Arguments> constexpr u32 map_blocks = vectors == 1 ? 8 : vectors == 2 ? 16 : 10;
template <int inputs, int outputs>
constexpr u32 map_blocks<MapArguments<F32, F32, inputs, outputs>> = vectors == 1   ? blocks_in_f32
                                                                    : vectors == 2 ? 16
                                                                                   : 12;

template <class Op, class From, class To = From> struct Map {
  static constexpr int inputs = Op::inputs, outputs = Op::outputs;
  // What fills 16 bytes of the narrower dtype.
  static constexpr u32 width = 4 * (From::per_word < To::per_word ? To::per_word : From::per_word);
  static constexpr u32 tile = map_threads * vectors * width;
  static constexpr bool decides = From::per_word == 2 && To::per_word == 2 && Approximation<Op>::exists;
  using Arguments = MapArguments<From, To, inputs, outputs>;
  using Index = MapIndex<vectors>::Type;

  template <bool is_ordinary> DEVICE Results<outputs> apply(const float* x, float s) {
    const float second = inputs > 1 ? x[1] : 0.0f, third = inputs > 2 ? x[2] : 0.0f;
    if constexpr (inputs == 0) return Op::apply(0.0f, second, third, s);
    if constexpr (is_ordinary) return Op::apply(ordinary(x[0]), second, third, s);
    return Op::apply(x[0], second, third, s);
  }

  // Word w of each output from its elements of each input.
  template <bool is_ordinary> DEVICE void compute_word(const float (*in)[width], u32 w, float s, u32* word) {
    constexpr u32 count = To::per_word;
    float out[outputs][count];
#pragma unroll
    for (u32 e = 0; e < count; ++e) {
      float one[inputs + 1];
#pragma unroll
      for (int j = 0; j < inputs; ++j) one[j] = in[j][w * count + e];
      const Results<outputs> result = apply<is_ordinary>(one, s);
#pragma unroll
      for (int j = 0; j < outputs; ++j) out[j][e] = result.value[j];
    }
#pragma unroll
    for (int j = 0; j < outputs; ++j) word[j] = To::pack(out[j]);
  }

  // The same from an approximation: its lowest value, and which bits differ in the highest.
  DEVICE void approximate_word(const float (*in)[width], u32 w, u32* word, u32* differs) {
    constexpr u32 count = To::per_word;
    float low[outputs][count], high[outputs][count];
#pragma unroll
    for (u32 e = 0; e < count; ++e) {
      float one[inputs + 1];
      Rough result[outputs];
#pragma unroll
      for (int j = 0; j < inputs; ++j) one[j] = in[j][w * count + e];
      Approximation<Op>::apply(one, result);
#pragma unroll
      for (int j = 0; j < outputs; ++j) {
        low[j][e] = lowest_if_nan(result[j].value - result[j].error);
        high[j][e] = result[j].value + result[j].error;
      }
    }
    *differs = 0;
#pragma unroll
    for (int j = 0; j < outputs; ++j) {
      word[j] = To::pack(low[j]);
      *differs |= word[j] ^ To::pack(high[j]);
    }
  }

  // The elements whose bits differ, by the formula. Each thread of a warp takes one of its own at a time,
  // whichever that is, so the warp seldom goes through it twice.
  DEVICE void decide(const Vector<From, width>* x, const u32* differs, Vector<To, width>* y, float s) {
    u32 undecided = 0;
#pragma unroll
    for (u32 e = 0; e < width; ++e) {
      if ((differs[e / 2] >> e % 2 * 16 & 0xffffu) != 0) undecided |= 1u << e;
    }
#pragma unroll 1
    while (undecided != 0) {
      const u32 e = u32(__ffs(int(undecided))) - 1;
      undecided &= undecided - 1;
      float one[inputs + 1];
#pragma unroll
      for (int j = 0; j < inputs; ++j) one[j] = From::load(x[j].half(e));
      const Results<outputs> result = apply<false>(one, s);
#pragma unroll
      for (int j = 0; j < outputs; ++j) y[j].set_half(e, To::store(result.value[j]));
    }
  }

  template <bool is_ordinary>
  DEVICE void compute_words(const float (*in)[width], Vector<To, width>* y, float s) {
#pragma unroll
    for (u32 w = 0; w < Vector<To, width>::words; ++w) {
      u32 word[outputs];
      compute_word<is_ordinary>(in, w, s, word);
#pragma unroll
      for (int j = 0; j < outputs; ++j) y[j].part[w / 4].word[w % 4] = word[j];
    }
  }

  // True where that is all.
  DEVICE bool approximate_words(const float (*in)[width], Vector<To, width>* y, u32* differs) {
    u32 any = 0;
#pragma unroll
    for (u32 w = 0; w < Vector<To, width>::words; ++w) {
      u32 word[outputs];
      approximate_word(in, w, word, &differs[w]);
      any |= differs[w];
#pragma unroll
      for (int j = 0; j < outputs; ++j) y[j].part[w / 4].word[w % 4] = word[j];
    }
    return any == 0;
  }

  DEVICE bool all_ordinary(const float* x) {
    float largest = x[0];  // magnitude, or a NaN
#pragma unroll
    for (u32 e = 1; e < width; ++e) largest = larger_magnitude(largest, x[e]);
    return abs_(largest) <= from_bits_(ordinary_limit);
  }

  DEVICE void compute(const Vector<From, width>* x, Vector<To, width>* y, float s) {
    float in[inputs + 1][width];
#pragma unroll
    for (int j = 0; j < inputs; ++j) x[j].unpack(in[j]);
    if constexpr (decides) {
      u32 differs[Vector<To, width>::words];
      if (!approximate_words(in, y, differs)) decide(x, differs, y, s);
    } else {
      if constexpr (HasOrdinary<Op>::value) {
        if (all_ordinary(in[0])) return compute_words<true>(in, y, s);
      }
      compute_words<false>(in, y, s);
    }
  }

  DEVICE void whole_group(const Arguments& a) {
    const Index first = Index(blockIdx.x) * tile + threadIdx.x * width;
    Vector<From, width> x[vectors][inputs + 1];
    wait_for_previous();
#pragma unroll
    for (u32 v = 0; v < vectors; ++v) {
#pragma unroll
      for (int j = 0; j < inputs; ++j) x[v][j].load(a.in[j] + first + v * map_threads * width);
    }
#pragma unroll
    for (u32 v = 0; v < vectors; ++v) {
      Vector<To, width> y[outputs];
      compute(x[v], y, a.s);
#pragma unroll
      for (int j = 0; j < outputs; ++j) y[j].store(a.out[j] + first + v * map_threads * width);
    }
  }

  DEVICE void element(const Arguments& a, u64 i) {
    float one[inputs + 1];
#pragma unroll
    for (int j = 0; j < inputs; ++j) one[j] = From::load(a.in[j][i]);
    const Results<outputs> result = apply<false>(one, a.s);
#pragma unroll
    for (int j = 0; j < outputs; ++j) a.out[j][i] = To::store(result.value[j]);
  }

  DEVICE void run(const Arguments& a) {
    if (blockIdx.x < a.whole_groups) return whole_group(a);
    const u64 begin = group() * tile, end = least(begin + tile, a.n);
    wait_for_previous();
    for (u64 i = begin + threadIdx.x; i < end; i += map_threads) element(a, i);
  }
};

#ifdef SILICA_ENTRY
template <class From, class To, int inputs, int outputs>
constexpr bool waits_itself<MapArguments<From, To, inputs, outputs>> = true;
#endif

// ---- bytes, whatever their dtype ----

struct CopyArguments {
  const u8* x;
  u8* y;
  u64 n;
};

struct ZeroArguments {
  u8* y;
  u64 n;
};

constexpr u32 bytes_threads = 64, words_per_thread = 4;
constexpr u32 bytes_tile = bytes_threads * words_per_thread * 16;

template <class Word> DEVICE void copy_words(const CopyArguments& a, u64 begin, u64 end) {
  const Word* x = reinterpret_cast<const Word*>(a.x);
  Word* y = reinterpret_cast<Word*>(a.y);
  const u64 first = begin / sizeof(Word) + threadIdx.x, last = end / sizeof(Word);
#pragma unroll 4
  for (u64 i = first; i < last; i += bytes_threads) y[i] = x[i];
}

DEVICE void whole_copy(const CopyArguments& a, u64 begin) {
  const Words4* x = reinterpret_cast<const Words4*>(a.x + begin) + threadIdx.x;
  Words4* y = reinterpret_cast<Words4*>(a.y + begin) + threadIdx.x;
  Words4 word[words_per_thread];
#pragma unroll
  for (u32 v = 0; v < words_per_thread; ++v) word[v] = x[v * bytes_threads];
#pragma unroll
  for (u32 v = 0; v < words_per_thread; ++v) y[v * bytes_threads] = word[v];
}

DEVICE void copy_bytes(const CopyArguments& a) {
  const u64 begin = group() * bytes_tile, end = least(begin + bytes_tile, a.n);
  const u64 places = reinterpret_cast<u64>(a.x) | reinterpret_cast<u64>(a.y);
  if (end - begin == bytes_tile && places % 16 == 0) return whole_copy(a, begin);
  if ((places | end) % 4 == 0) return copy_words<u32>(a, begin, end);
  copy_words<u8>(a, begin, end);
}

DEVICE void zero_bytes(const ZeroArguments& a) {
  const u64 begin = group() * bytes_tile, end = least(begin + bytes_tile, a.n);
  if ((reinterpret_cast<u64>(a.y) | end) % 16 == 0) {
    for (u64 i = begin / 16 + threadIdx.x; i < end / 16; i += bytes_threads) {
      reinterpret_cast<Words4*>(a.y)[i] = Words4{{0, 0, 0, 0}};
    }
    return;
  }
  for (u64 i = begin + threadIdx.x; i < end; i += bytes_threads) a.y[i] = 0;
}

SILICA_DEFINE_ENTRY
