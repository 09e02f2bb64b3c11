// SPDX-License-Identifier: MIT
// Elementwise kernels on the CPU: load, compute in f32, round once to the output's dtype.
#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

namespace silica::kernels::SILICA_ISA {

namespace {

#include "kernels/dtypes.h"

#include "kernels/ordinary.h"

#include "kernels/halves.h"

#include "kernels/stream.h"

constexpr std::uint32_t tile =
    4096;  // elements a group: some microseconds of work, and 16 KiB of each operand

struct Range {
  std::uint64_t begin, end;
};
Range elements(Groups groups, std::uint64_t n) {
  const std::uint64_t end = groups.end * tile;
  return {groups.begin * tile, end < n ? end : n};
}

// One struct per kernel: what it makes of its operands and the scalar s. The first operand is a float or, if
// every formula has an overload for that, Ordinary.
#define SILICA_MAP(name, count, first, second, third, ...)                                                   \
  struct name##_map {                                                                                        \
    static constexpr int inputs = count;                                                                     \
    template <class X>                                                                                       \
    static auto apply([[maybe_unused]] X first, [[maybe_unused]] float second, [[maybe_unused]] float third, \
                      [[maybe_unused]] float s) -> decltype(std::array{__VA_ARGS__}) {                       \
      return {__VA_ARGS__};                                                                                  \
    }                                                                                                        \
    static constexpr int outputs = decltype(apply(0.0f, 0.0f, 0.0f, 0.0f))().size();                         \
  };
#define SILICA_UNARY_LINEAR(op, y) SILICA_MAP(op, 1, x, unused1, unused2, y)
#define SILICA_UNARY_SCALAR(op, y, derivative) SILICA_UNARY_LINEAR(op, y)
#define SILICA_UNARY(op, y, derivative) \
  SILICA_UNARY_LINEAR(op, y)            \
  SILICA_MAP(op##_backward, 2, x, dy, unused, dy*(derivative))
#define SILICA_BINARY(op, c, da, db) \
  SILICA_MAP(op, 2, a, b, unused, c) \
  SILICA_MAP(op##_backward, 3, a, b, dc, da, db)
#define SILICA_BINARY_LINEAR(op, c, da, db) \
  SILICA_MAP(op, 2, a, b, unused, c)        \
  SILICA_MAP(op##_backward, 1, dc, unused1, unused2, da, db)
#define SILICA_BINARY_SCALAR(op, c, da, db) SILICA_BINARY_LINEAR(op, c, da, db)
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
#undef SILICA_MAP

template <class Op, class T> struct MapArguments {
  const typename T::Element* in[Op::inputs];
  typename T::Element* out[Op::outputs];
  std::uint64_t n;
  float s;
};

template <class Op, class First>
void map_element(const MapArguments<Op, F32>& a, std::uint64_t i, First first, float s) {
  float in[3] = {};
  for (int j = 1; j < Op::inputs; ++j) in[j] = a.in[j][i];
  const auto out = Op::apply(first, in[1], in[2], s);
  for (std::size_t j = 0; j < out.size(); ++j) a.out[j][i] = out[j];
}

template <class Op> [[gnu::noinline]] void map_any(const MapArguments<Op, F32> a, Range range) {
  SILICA_INDEPENDENT
  for (std::uint64_t i = range.begin; i < range.end; ++i) map_element(a, i, a.in[0][i], a.s);
}

// Elements between whose two stages few enough bytes lie to stay in the first-level cache.
constexpr std::uint32_t block = 128;
constexpr std::uint32_t line = 16;  // floats in a line of it

// A block, if all of it is ordinary; else nothing happens.
template <class Op> bool map_ordinary(const MapArguments<Op, F32>& a, std::uint64_t begin) {
  alignas(64) float f[block], f_lo[block], scale[block];
  if constexpr (Op::inputs == 1) {  // with more streams it gains nothing (docs/decisions.md)
    for (std::uint32_t i = 0; i < block; i += line) __builtin_prefetch(a.in[0] + begin + 4 * block + i);
  }
  int largest = 0;
  for (std::uint32_t i = 0; i < block; ++i) {
    const Ordinary o = ordinary(a.in[0][begin + i]);
    f[i] = o.f, f_lo[i] = o.f_lo, scale[i] = o.scale;
    largest = std::max(largest, static_cast<int>(bits_(abs_(o.x))));
  }
  if (largest > ordinary_limit) return false;
  // The second stage reads the other operands in bursts, of which the hardware does not look far enough
  // ahead.
  for (int j = 1; j < Op::inputs; ++j) {
    for (std::uint32_t i = 0; i < block; i += line) {
      __builtin_prefetch(a.in[j] + begin + block + i);
    }
  }
  SILICA_INDEPENDENT
  for (std::uint32_t i = 0; i < block; ++i) {
    map_element(a, begin + i, Ordinary{a.in[0][begin + i], f[i], f_lo[i], scale[i]}, a.s);
  }
  return true;
}

template <class Op>
concept HasOrdinary = requires(Ordinary x) {
  { Op::apply(x, 0.0f, 0.0f, 0.0f) } -> std::same_as<std::array<float, Op::outputs>>;
};

// Not inlined: one copy of the loops, which are long, serves both ways below.
template <class Op> [[gnu::noinline]] void map_range(const MapArguments<Op, F32> a, Range range) {
  if constexpr (HasOrdinary<Op>) {
    for (; range.end - range.begin >= block; range.begin += block) {
      if (!map_ordinary(a, range.begin)) map_any(a, {range.begin, range.begin + block});
    }
  }
  map_any(a, range);
}

// 16 bits by way of floats in the first-level cache.
template <class Op, class T> void map_range(const MapArguments<Op, T>& a, Range range) {
  constexpr std::uint64_t piece = 512;
  alignas(64) float in[Op::inputs][piece], out[Op::outputs][piece];
  MapArguments<Op, F32> part{{}, {}, piece, a.s};
  for (int j = 0; j < Op::inputs; ++j) part.in[j] = in[j];
  for (int j = 0; j < Op::outputs; ++j) part.out[j] = out[j];
  for (std::uint64_t begin = range.begin; begin < range.end; begin += piece) {
    const std::uint64_t count = std::min(piece, range.end - begin);
    for (int j = 0; j < Op::inputs; ++j) widen<T>(a.in[j] + begin, in[j], count);
    map_range(part, {0, count});
    for (int j = 0; j < Op::outputs; ++j) narrow<T>(out[j], a.out[j] + begin, count);
  }
}

// Through the first-level cache, and so little at a time that the stores are under way while the next
// elements are computed.
template <class Op, class T> void map_streamed(const MapArguments<Op, T>& a, Range range) {
  using Element = typename T::Element;
  constexpr std::uint64_t piece = 1024;
  alignas(64) Element results[Op::outputs][piece];
  for (std::uint64_t begin = range.begin; begin < range.end; begin += piece) {
    const std::uint64_t count = std::min(piece, range.end - begin);
    MapArguments<Op, T> part = a;
    for (int j = 0; j < Op::inputs; ++j) part.in[j] = a.in[j] + begin;
    for (int j = 0; j < Op::outputs; ++j) part.out[j] = results[j];
    map_range(part, {0, count});
    for (int j = 0; j < Op::outputs; ++j) stream(a.out[j] + begin, results[j], count * sizeof(Element));
  }
  end_stream();
}

template <class Op, class T> void map(const void* arguments, Groups groups) {
  const MapArguments<Op, T>& a = *static_cast<const MapArguments<Op, T>*>(arguments);
  const Range range = elements(groups, a.n);
  const bool is_large = a.n * (Op::inputs + Op::outputs) * sizeof(typename T::Element) >= streamed_bytes;
  is_large ? map_streamed(a, range) : map_range(a, range);
}

template <class From, class To> void cast(const void* arguments, Groups groups) {
  struct Arguments {
    const typename From::Element* x;
    typename To::Element* y;
    std::uint64_t n;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const Range range = elements(groups, a.n);
  if constexpr (std::is_same_v<From, F32>) {
    narrow<To>(a.x + range.begin, a.y + range.begin, range.end - range.begin);
  } else {
    SILICA_INDEPENDENT
    for (std::uint64_t i = range.begin; i < range.end; ++i) a.y[i] = To::store(From::load(a.x[i]));
  }
}

template <class T> void fill(const void* arguments, Groups groups) {
  struct Arguments {
    typename T::Element* y;
    std::uint64_t n;
    float value;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const Range range = elements(groups, a.n);
  const auto value = T::store(a.value);
  for (std::uint64_t i = range.begin; i < range.end; ++i) a.y[i] = value;
}

// Copies and clears bytes, whatever their dtype.
void copy(const void* arguments, Groups groups) {
  struct Arguments {
    const unsigned char* x;
    unsigned char* y;
    std::uint64_t n;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const Range range = elements(groups, a.n);
  if (a.x == a.y) return;
  if (2 * a.n < streamed_bytes) {
    std::memcpy(a.y + range.begin, a.x + range.begin, range.end - range.begin);
    return;
  }
  stream(a.y + range.begin, a.x + range.begin, range.end - range.begin);
  end_stream();
}

void zero(const void* arguments, Groups groups) {
  struct Arguments {
    unsigned char* y;
    std::uint64_t n;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const Range range = elements(groups, a.n);
  std::memset(a.y + range.begin, 0, range.end - range.begin);
}

}  // namespace

void map_kernels(Sink& sink) {
  constexpr Tile covers{tile};
#define SILICA_ADD(name, op)                                \
  sink.add("map." name ".f32", map<op##_map, F32>, covers); \
  sink.add("map." name ".f16", map<op##_map, F16>, covers); \
  sink.add("map." name ".bf16", map<op##_map, BF16>, covers);
#define SILICA_UNARY(op, ...) SILICA_ADD(#op, op) SILICA_ADD(#op "_backward", op##_backward)
#define SILICA_UNARY_LINEAR(op, ...) SILICA_ADD(#op, op)
#define SILICA_UNARY_SCALAR(op, ...) SILICA_ADD(#op, op)
#define SILICA_BINARY(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_LINEAR(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_SCALAR(op, ...) SILICA_UNARY(op)
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
#undef SILICA_ADD
  sink.add("map.cast.f32.f16", cast<F32, F16>, covers);
  sink.add("map.cast.f32.bf16", cast<F32, BF16>, covers);
  sink.add("map.cast.f16.f32", cast<F16, F32>, covers);
  sink.add("map.cast.f16.bf16", cast<F16, BF16>, covers);
  sink.add("map.cast.bf16.f32", cast<BF16, F32>, covers);
  sink.add("map.cast.bf16.f16", cast<BF16, F16>, covers);
  sink.add("map.fill.f32", fill<F32>, covers);
  sink.add("map.fill.f16", fill<F16>, covers);
  sink.add("map.fill.bf16", fill<BF16>, covers);
  sink.add("map.copy", copy, covers);
  sink.add("map.zero", zero, covers);
}

}  // namespace silica::kernels::SILICA_ISA
