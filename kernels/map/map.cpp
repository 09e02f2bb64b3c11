// SPDX-License-Identifier: MIT
// Elementwise kernels on the CPU: load, compute in f32, round once to the output's dtype.
#include <cstdint>
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

namespace silica::kernels::SILICA_ISA {

namespace {

#include "kernels/dtypes.h"

constexpr std::uint32_t tile =
    4096;  // elements a group: some microseconds of work, and 16 KiB of each operand

struct Range {
  std::uint64_t begin, end;
};
Range elements(Groups groups, std::uint64_t n) {
  const std::uint64_t end = groups.end * tile;
  return {groups.begin * tile, end < n ? end : n};
}

// One struct per kernel: what it computes from `in` to `out`, with the scalar s.
#define SILICA_UNARY(op, y, derivative)                                        \
  struct op##_map {                                                            \
    static constexpr int inputs = 1, outputs = 1;                              \
    static void apply(const float* in, float* out, [[maybe_unused]] float s) { \
      const float x = in[0];                                                   \
      out[0] = y;                                                              \
    }                                                                          \
  };                                                                           \
  struct op##_backward_map {                                                   \
    static constexpr int inputs = 2, outputs = 1;                              \
    static void apply(const float* in, float* out, [[maybe_unused]] float s) { \
      const float x = in[0], dy = in[1];                                       \
      out[0] = dy * (derivative);                                              \
    }                                                                          \
  };
#define SILICA_UNARY_LINEAR(op, y)                                             \
  struct op##_map {                                                            \
    static constexpr int inputs = 1, outputs = 1;                              \
    static void apply(const float* in, float* out, [[maybe_unused]] float s) { \
      const float x = in[0];                                                   \
      out[0] = y;                                                              \
    }                                                                          \
  };
#define SILICA_UNARY_SCALAR(op, y, derivative) SILICA_UNARY_LINEAR(op, y)
#define SILICA_BINARY_FORWARD(op, c)                                           \
  struct op##_map {                                                            \
    static constexpr int inputs = 2, outputs = 1;                              \
    static void apply(const float* in, float* out, [[maybe_unused]] float s) { \
      const float a = in[0], b = in[1];                                        \
      out[0] = c;                                                              \
    }                                                                          \
  };
#define SILICA_BINARY(op, c, da, db)                        \
  SILICA_BINARY_FORWARD(op, c)                              \
  struct op##_backward_map {                                \
    static constexpr int inputs = 3, outputs = 2;           \
    static void apply(const float* in, float* out, float) { \
      const float a = in[0], b = in[1], dc = in[2];         \
      out[0] = da;                                          \
      out[1] = db;                                          \
    }                                                       \
  };
#define SILICA_BINARY_LINEAR(op, c, da, db)                                    \
  SILICA_BINARY_FORWARD(op, c)                                                 \
  struct op##_backward_map {                                                   \
    static constexpr int inputs = 1, outputs = 2;                              \
    static void apply(const float* in, float* out, [[maybe_unused]] float s) { \
      const float dc = in[0];                                                  \
      out[0] = da;                                                             \
      out[1] = db;                                                             \
    }                                                                          \
  };
#define SILICA_BINARY_SCALAR(op, c, da, db) SILICA_BINARY_LINEAR(op, c, da, db)
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
#undef SILICA_BINARY_FORWARD

template <class Op, class T> struct MapArguments {
  const typename T::Element* in[Op::inputs];
  typename T::Element* out[Op::outputs];
  std::uint64_t n;
  float s;
};

template <class Op, class T> void map(const void* arguments, Groups groups) {
  const MapArguments<Op, T> a = *static_cast<const MapArguments<Op, T>*>(arguments);
  const Range range = elements(groups, a.n);
  SILICA_INDEPENDENT
  for (std::uint64_t i = range.begin; i < range.end; ++i) {
    float in[Op::inputs], out[Op::outputs];
    for (int j = 0; j < Op::inputs; ++j) in[j] = T::load(a.in[j][i]);
    Op::apply(in, out, a.s);
    for (int j = 0; j < Op::outputs; ++j) a.out[j][i] = T::store(out[j]);
  }
}

template <class From, class To> void cast(const void* arguments, Groups groups) {
  struct Arguments {
    const typename From::Element* x;
    typename To::Element* y;
    std::uint64_t n;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const Range range = elements(groups, a.n);
  SILICA_INDEPENDENT
  for (std::uint64_t i = range.begin; i < range.end; ++i) a.y[i] = To::store(From::load(a.x[i]));
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
  if (a.x != a.y) std::memcpy(a.y + range.begin, a.x + range.begin, range.end - range.begin);
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
