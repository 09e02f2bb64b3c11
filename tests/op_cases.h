// SPDX-License-Identifier: MIT
// Every op, forward and backward, as a row of a table: for the tests that hold of all of them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "support.h"

namespace silica::test {

// ---- elementwise ops, from kernels/ops.inc: a new row there is a new row here

using Tensors = std::vector<Tensor>;

struct ElementwiseOp {
  std::string name;
  std::size_t inputs, outputs;
  void (*encode)(CommandEncoder&, const Tensors& in, const Tensors& out);
};

inline constexpr float test_factor = 0.37f;  // of the ops with a scalar

inline const std::vector<ElementwiseOp>& elementwise_ops() {
  using Encoder = CommandEncoder;
  static const std::vector<ElementwiseOp> table = {
#define SILICA_UNARY(op, ...)                                                                   \
  {#op, 1, 1, [](Encoder& e, const Tensors& in, const Tensors& out) { op(e, in[0], out[0]); }}, \
      {#op "_backward", 2, 1,                                                                   \
       [](Encoder& e, const Tensors& in, const Tensors& out) { op##_backward(e, in[0], in[1], out[0]); }},
#define SILICA_UNARY_LINEAR(op, ...)                                                            \
  {#op, 1, 1, [](Encoder& e, const Tensors& in, const Tensors& out) { op(e, in[0], out[0]); }}, \
      {#op "_backward", 1, 1,                                                                   \
       [](Encoder& e, const Tensors& in, const Tensors& out) { op##_backward(e, in[0], out[0]); }},
#define SILICA_UNARY_SCALAR(op, ...)                                                                         \
  {#op, 1, 1, [](Encoder& e, const Tensors& in, const Tensors& out) { op(e, in[0], test_factor, out[0]); }}, \
      {#op "_backward", 1, 1, [](Encoder& e, const Tensors& in, const Tensors& out) {                        \
         op##_backward(e, in[0], test_factor, out[0]);                                                       \
       }},
#define SILICA_BINARY(op, ...)                                                                         \
  {#op, 2, 1, [](Encoder& e, const Tensors& in, const Tensors& out) { op(e, in[0], in[1], out[0]); }}, \
      {#op "_backward", 3, 2, [](Encoder& e, const Tensors& in, const Tensors& out) {                  \
         op##_backward(e, in[0], in[1], in[2], out[0], out[1]);                                        \
       }},
#define SILICA_BINARY_LINEAR(op, ...)                                                                  \
  {#op, 2, 1, [](Encoder& e, const Tensors& in, const Tensors& out) { op(e, in[0], in[1], out[0]); }}, \
      {#op "_backward", 1, 2,                                                                          \
       [](Encoder& e, const Tensors& in, const Tensors& out) { op##_backward(e, in[0], out[0], out[1]); }},
#define SILICA_BINARY_SCALAR(op, ...)                                                                    \
  {#op, 2, 1,                                                                                            \
   [](Encoder& e, const Tensors& in, const Tensors& out) { op(e, test_factor, in[0], in[1], out[0]); }}, \
      {#op "_backward", 1, 2, [](Encoder& e, const Tensors& in, const Tensors& out) {                    \
         op##_backward(e, test_factor, in[0], out[0], out[1]);                                           \
       }},
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
  };
  return table;
}

// ---- all ops

struct OpCase {
  std::string name;
  // Encodes the op on data of its own, always the same; returns the outputs.
  std::function<Tensors(CommandEncoder&)> encode;
};

inline Tensor random_tensor(CommandEncoder& e, std::uint64_t seed, const Shape& shape, float low = -2.0f,
                            float high = 2.0f, DType dtype = DType::f32) {
  return make(e.device(), dtype, shape, Random(seed).floats(shape.size(), low, high));
}

inline Tensor random_ids(CommandEncoder& e, std::uint64_t seed, std::size_t n, std::size_t below) {
  return Tensor(e.device(), {n}, Random(seed).ids(n, below));
}

inline Tensor result(CommandEncoder& e, const Shape& shape, DType dtype = DType::f32) {
  return Tensor(e.device(), dtype, shape);
}

inline std::vector<OpCase> elementwise_cases() {
  constexpr std::size_t n = 9001;  // some groups, and a remainder
  std::vector<OpCase> cases;
  for (const ElementwiseOp& op : elementwise_ops()) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      cases.push_back({op.name + "." + std::string(to_string(dtype)), [&op, dtype](CommandEncoder& e) {
                         Tensors in, out;
                         for (std::size_t i = 0; i < op.inputs; ++i) {
                           in.push_back(random_tensor(e, i + 1, {n}, -12.0f, 12.0f, dtype));
                         }
                         for (std::size_t i = 0; i < op.outputs; ++i) out.push_back(result(e, {n}, dtype));
                         op.encode(e, in, out);
                         return out;
                       }});
    }
  }
  return cases;
}

inline std::vector<OpCase> movement_cases() {
  constexpr std::size_t n = 9001;
  std::vector<OpCase> cases;
  for (const DType from : {DType::f32, DType::f16, DType::bf16}) {
    for (const DType to : {DType::f32, DType::f16, DType::bf16}) {
      const std::string name = std::string(to_string(from)) + "." + std::string(to_string(to));
      const auto encode = [from, to](void (*op)(CommandEncoder&, const Tensor&, const Tensor&)) {
        return [from, to, op](CommandEncoder& e) -> Tensors {
          const Tensor x = random_tensor(e, 1, {n}, -70000.0f, 70000.0f, from), y = result(e, {n}, to);
          op(e, x, y);
          return {y};
        };
      };
      cases.push_back({"cast." + name, encode(cast)});
      cases.push_back({"cast_backward." + name, encode(cast_backward)});
      if (from != to) continue;
      cases.push_back({"copy." + name, encode(copy)});
      cases.push_back({"copy_backward." + name, encode(copy_backward)});
    }
    cases.push_back({"fill." + std::string(to_string(from)), [from](CommandEncoder& e) -> Tensors {
                       const Tensor y = result(e, {n}, from);
                       fill(e, 0.1f, y);
                       return {y};
                     }});
  }
  return cases;
}

inline std::vector<OpCase> matmul_cases() {
  std::vector<OpCase> cases;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      constexpr std::size_t m = 37, n = 71, k = 517;
      const Shape a_shape = ta ? Shape{k, m} : Shape{m, k}, b_shape = tb ? Shape{n, k} : Shape{k, n};
      const std::string suffix = std::string(ta ? ".ta" : "") + (tb ? ".tb" : "");
      cases.push_back({"matmul" + suffix, [=](CommandEncoder& e) -> Tensors {
                         const Tensor c = result(e, {m, n});
                         matmul(e, random_tensor(e, 1, a_shape), random_tensor(e, 2, b_shape), c, {ta, tb});
                         return {c};
                       }});
      cases.push_back({"matmul_backward" + suffix, [=](CommandEncoder& e) -> Tensors {
                         const Tensor da = result(e, a_shape), db = result(e, b_shape);
                         matmul_backward(e, random_tensor(e, 1, a_shape), random_tensor(e, 2, b_shape),
                                         random_tensor(e, 3, {m, n}), da, db, {ta, tb});
                         return {da, db};
                       }});
    }
  }
  return cases;
}

// An op on rows of one dtype: inputs shaped as `in` says, results as `out` says.
struct RowOp {
  enum Extent { matrix, line, column, ids, loss };  // (rows, cols), (cols), (rows) twice, (1)

  std::string name;
  std::vector<Extent> in, out;
  void (*encode)(CommandEncoder&, const Tensors& in, const Tensors& out);
};

inline const std::vector<RowOp>& row_ops() {
  using Encoder = CommandEncoder;
  constexpr auto matrix = RowOp::matrix, line = RowOp::line, column = RowOp::column, ids = RowOp::ids,
                 loss = RowOp::loss;
#define SILICA_ENCODE(...) [](Encoder& e, const Tensors& in, const Tensors& out) { __VA_ARGS__; }
  static const std::vector<RowOp> table = {
      {"sum", {matrix}, {column}, SILICA_ENCODE(sum(e, in[0], out[0]))},
      {"sum_backward", {column}, {matrix}, SILICA_ENCODE(sum_backward(e, in[0], out[0]))},
      {"mean", {matrix}, {column}, SILICA_ENCODE(mean(e, in[0], out[0]))},
      {"mean_backward", {column}, {matrix}, SILICA_ENCODE(mean_backward(e, in[0], out[0]))},
      {"softmax", {matrix}, {matrix}, SILICA_ENCODE(softmax(e, in[0], out[0]))},
      {"softmax_backward",
       {matrix, matrix},
       {matrix},
       SILICA_ENCODE(softmax_backward(e, in[0], in[1], out[0]))},
      {"log_softmax", {matrix}, {matrix}, SILICA_ENCODE(log_softmax(e, in[0], out[0]))},
      {"log_softmax_backward",
       {matrix, matrix},
       {matrix},
       SILICA_ENCODE(log_softmax_backward(e, in[0], in[1], out[0]))},
      {"rms_norm", {matrix, line}, {matrix}, SILICA_ENCODE(rms_norm(e, in[0], in[1], out[0]))},
      {"rms_norm_backward",
       {matrix, line, matrix},
       {matrix, line},
       SILICA_ENCODE(rms_norm_backward(e, in[0], in[1], in[2], out[0], out[1]))},
      {"layer_norm",
       {matrix, line, line},
       {matrix},
       SILICA_ENCODE(layer_norm(e, in[0], in[1], in[2], out[0]))},
      {"layer_norm_backward",
       {matrix, line, matrix},
       {matrix, line, line},
       SILICA_ENCODE(layer_norm_backward(e, in[0], in[1], in[2], out[0], out[1], out[2]))},
      {"l2_norm", {matrix}, {matrix}, SILICA_ENCODE(l2_norm(e, in[0], out[0]))},
      {"l2_norm_backward",
       {matrix, matrix},
       {matrix},
       SILICA_ENCODE(l2_norm_backward(e, in[0], in[1], out[0]))},
      {"cross_entropy", {matrix, ids}, {loss}, SILICA_ENCODE(cross_entropy(e, in[0], in[1], out[0]))},
      {"cross_entropy_backward",
       {matrix, ids, loss},
       {matrix},
       SILICA_ENCODE(cross_entropy_backward(e, in[0], in[1], in[2], out[0]))},
      {"kl_divergence", {matrix, matrix}, {loss}, SILICA_ENCODE(kl_divergence(e, in[0], in[1], out[0]))},
      {"kl_divergence_backward",
       {matrix, matrix, loss},
       {matrix, matrix},
       SILICA_ENCODE(kl_divergence_backward(e, in[0], in[1], in[2], out[0], out[1]))},
  };
#undef SILICA_ENCODE
  return table;
}

inline Shape shape_of(RowOp::Extent extent, std::size_t rows, std::size_t cols) {
  switch (extent) {
    case RowOp::matrix:
      return {rows, cols};
    case RowOp::line:
      return {cols};
    case RowOp::column:
    case RowOp::ids:
      return {rows};
    case RowOp::loss:
      break;
  }
  return {1};
}

inline DType operand_dtype(RowOp::Extent extent, DType dtype) {
  if (extent == RowOp::ids) return DType::u32;
  return extent == RowOp::loss ? DType::f32 : dtype;
}

inline std::vector<OpCase> half_matmul_cases() {
  constexpr std::size_t m = 9, n = 35, k = 300;
  std::vector<OpCase> cases;
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const std::string suffix = "." + std::string(to_string(dtype));
    cases.push_back({"matmul.tb" + suffix, [dtype](CommandEncoder& e) -> Tensors {
                       const Tensor c = result(e, {m, n}, dtype);
                       matmul(e, random_tensor(e, 1, {m, k}, -2.0f, 2.0f, dtype),
                              random_tensor(e, 2, {n, k}, -2.0f, 2.0f, dtype), c, {.transpose_b = true});
                       return {c};
                     }});
    cases.push_back({"matmul_backward.ta" + suffix, [dtype](CommandEncoder& e) -> Tensors {
                       const Tensor da = result(e, {k, m}, dtype), db = result(e, {k, n}, dtype);
                       matmul_backward(e, random_tensor(e, 1, {k, m}, -2.0f, 2.0f, dtype),
                                       random_tensor(e, 2, {k, n}, -2.0f, 2.0f, dtype),
                                       random_tensor(e, 3, {m, n}, -2.0f, 2.0f, dtype), da, db,
                                       {.transpose_a = true});
                       return {da, db};
                     }});
  }
  return cases;
}

inline std::vector<OpCase> row_cases() {
  std::vector<OpCase> cases;
  for (const RowOp& op : row_ops()) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      // Two blocks of rows where those are summed.
      const bool is_tall = op.name.ends_with("norm_backward") && dtype == DType::f32;
      const std::size_t rows = is_tall ? 301 : 19, cols = 603;
      cases.push_back(
          {op.name + "." + std::string(to_string(dtype)), [=, &op](CommandEncoder& e) {
             Tensors in, out;
             for (const auto extent : op.in) {
               const std::uint64_t seed = in.size() + 1;
               in.push_back(extent == RowOp::ids ? random_ids(e, seed, rows, cols)
                                                 : random_tensor(e, seed, shape_of(extent, rows, cols), -5.0f,
                                                                 5.0f, operand_dtype(extent, dtype)));
             }
             for (const auto extent : op.out) {
               out.push_back(result(e, shape_of(extent, rows, cols), operand_dtype(extent, dtype)));
             }
             op.encode(e, in, out);
             return out;
           }});
    }
  }
  return cases;
}

inline std::vector<OpCase> table_cases() {
  constexpr std::size_t n = 700, rows = 53, cols = 67;
  return {{"embedding",
           [](CommandEncoder& e) -> Tensors {
             const Tensor y = result(e, {n, cols});
             embedding(e, random_tensor(e, 1, {rows, cols}), random_ids(e, 2, n, rows + 2), y);
             return {y};
           }},
          {"embedding_backward",
           [](CommandEncoder& e) -> Tensors {
             const Tensor dtable = result(e, {rows, cols});
             embedding_backward(e, random_ids(e, 2, n, rows + 2), random_tensor(e, 1, {n, cols}), dtable);
             return {dtable};
           }},
          {"adamw_step",
           [](CommandEncoder& e) -> Tensors {
             const Tensor state = random_tensor(e, 1, {3}, 0.1f, 1.0f);
             adamw_step(e, state);
             return {state};
           }},
          {"adamw", [](CommandEncoder& e) -> Tensors {
             constexpr std::size_t count = 9001;
             const Tensor state = random_tensor(e, 1, {3}, 0.1f, 0.9f), weight = random_tensor(e, 2, {count}),
                          m = random_tensor(e, 3, {count}), v = random_tensor(e, 4, {count}, 0.0f, 2.0f);
             adamw(e, random_tensor(e, 5, {count}), state, weight, m, v);
             return {weight, m, v};
           }}};
}

// Some tiles and a remainder in each direction, more than a group's share, and more blocks of rows than a
// group has in hand; an even number of columns, so that words of several elements can move, and an odd one.
inline std::vector<OpCase> layout_cases(DType dtype) {
  constexpr std::size_t rows = 2401, cols = 72, part = 37;
  const std::string suffix = "." + std::string(to_string(dtype));
  const auto random = [dtype](CommandEncoder& e, std::uint64_t seed, const Shape& shape) {
    return random_tensor(e, seed, shape, -2.0f, 2.0f, dtype);
  };
  constexpr SliceOptions some{.row_begin = 5, .row_end = 1205, .col_begin = 8, .col_end = 8 + part};
  std::vector<OpCase> cases = {
      {"transpose",
       [=](CommandEncoder& e) -> Tensors {
         const Tensor y = result(e, {3, cols, 101}, dtype);
         transpose(e, random(e, 1, {3, 101, cols}), y);
         return {y};
       }},
      {"transpose_backward",
       [=](CommandEncoder& e) -> Tensors {
         const Tensor dx = result(e, {101, part}, dtype);
         transpose_backward(e, random(e, 1, {part, 101}), dx);
         return {dx};
       }},
      {"slice",
       [=](CommandEncoder& e) -> Tensors {
         const Tensor y = result(e, {1200, part}, dtype), left = result(e, {rows, 64}, dtype),
                      x = random(e, 1, {rows, cols});
         slice(e, x, y, some);
         slice(e, x, left, {.col_begin = 8});
         return {y, left};
       }},
      {"slice_backward",
       [=](CommandEncoder& e) -> Tensors {
         const Tensor dx = random(e, 2, {rows, cols});
         slice_backward(e, random(e, 1, {1200, part}), dx, some);
         return {dx};
       }},
      {"broadcast_row",
       [=](CommandEncoder& e) -> Tensors {
         const Tensor y = result(e, {rows, cols}, dtype);
         broadcast_row(e, random(e, 1, {cols}), y);
         return {y};
       }},
      {"broadcast_row_backward",
       [=](CommandEncoder& e) -> Tensors {
         const Tensor dx = result(e, {cols}, dtype);
         broadcast_row_backward(e, random(e, 1, {rows, cols}), dx);
         return {dx};
       }},
  };
  for (OpCase& one : cases) one.name += suffix;
  return cases;
}

inline std::vector<OpCase> concat_cases(DType dtype) {
  const std::string suffix = "." + std::string(to_string(dtype));
  const auto random = [dtype](CommandEncoder& e, std::uint64_t seed, const Shape& shape) {
    return random_tensor(e, seed, shape, -2.0f, 2.0f, dtype);
  };
  std::vector<OpCase> cases;
  for (const Axis axis : {Axis::rows, Axis::cols}) {
    const Shape first = axis == Axis::rows ? Shape{300, 72} : Shape{300, 37},
                whole = axis == Axis::rows ? Shape{900, 72} : Shape{300, 111};
    const std::string name = axis == Axis::rows ? "rows" : "cols";
    cases.push_back({"concat." + name + suffix, [=](CommandEncoder& e) -> Tensors {
                       const Tensor y = result(e, whole, dtype);
                       concat(e, {random(e, 1, first), random(e, 2, first), random(e, 3, first)}, y, axis);
                       return {y};
                     }});
    cases.push_back({"concat_backward." + name + suffix, [=](CommandEncoder& e) -> Tensors {
                       const Tensors parts = {result(e, first, dtype), result(e, first, dtype),
                                              result(e, first, dtype)};
                       concat_backward(e, random(e, 1, whole), parts, axis);
                       return parts;
                     }});
  }
  return cases;
}

inline std::vector<OpCase> byte_cases() {
  const auto bytes = [](CommandEncoder& e, const Shape& shape) {
    std::vector<std::uint8_t> values(shape.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>(i * 37 % 251);
    return Tensor(e.device(), shape, values);
  };
  return {{"transpose.u8",
           [bytes](CommandEncoder& e) -> Tensors {
             const Tensor y = result(e, {2, 70, 99}, DType::u8);
             transpose(e, bytes(e, {2, 99, 70}), y);
             return {y};
           }},
          {"slice.u8", [bytes](CommandEncoder& e) -> Tensors {
             const Tensor x = bytes(e, {300, 80}), y = result(e, {300, 71}, DType::u8),
                          words = result(e, {300, 64}, DType::u8);
             slice(e, x, y, {.col_begin = 9});
             slice(e, x, words, {.col_begin = 16});
             return {y, words};
           }}};
}

inline std::vector<OpCase> half_table_cases(DType dtype) {
  constexpr std::size_t n = 700, rows = 53, cols = 67;
  const std::string suffix = "." + std::string(to_string(dtype));
  return {{"embedding" + suffix,
           [dtype](CommandEncoder& e) -> Tensors {
             const Tensor y = result(e, {n, cols}, dtype);
             embedding(e, random_tensor(e, 1, {rows, cols}, -2.0f, 2.0f, dtype),
                       random_ids(e, 2, n, rows + 2), y);
             return {y};
           }},
          {"embedding_backward" + suffix, [dtype](CommandEncoder& e) -> Tensors {
             const Tensor dtable = result(e, {rows, cols}, dtype);
             embedding_backward(e, random_ids(e, 2, n, rows + 2),
                                random_tensor(e, 1, {n, cols}, -2.0f, 2.0f, dtype), dtable);
             return {dtable};
           }}};
}

inline std::vector<OpCase> all_layout_cases() {
  std::vector<OpCase> cases = byte_cases();
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (OpCase& one : layout_cases(dtype)) cases.push_back(std::move(one));
    for (OpCase& one : concat_cases(dtype)) cases.push_back(std::move(one));
    if (dtype == DType::f32) continue;
    for (OpCase& one : half_table_cases(dtype)) cases.push_back(std::move(one));
  }
  return cases;
}

inline std::vector<OpCase> batched_matmul_cases() {
  std::vector<OpCase> cases;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      constexpr std::size_t batch = 5, m = 37, n = 71, k = 261;
      const Shape a_shape = ta ? Shape{batch, k, m} : Shape{batch, m, k},
                  b_shape = tb ? Shape{batch, n, k} : Shape{batch, k, n};
      const std::string suffix = std::string(ta ? ".ta" : "") + (tb ? ".tb" : "");
      cases.push_back({"batched_matmul" + suffix, [=](CommandEncoder& e) -> Tensors {
                         const Tensor c = result(e, {batch, m, n});
                         batched_matmul(e, random_tensor(e, 1, a_shape), random_tensor(e, 2, b_shape), c,
                                        {ta, tb});
                         return {c};
                       }});
      cases.push_back({"batched_matmul_backward" + suffix, [=](CommandEncoder& e) -> Tensors {
                         const Tensor da = result(e, a_shape), db = result(e, b_shape);
                         batched_matmul_backward(e, random_tensor(e, 1, a_shape),
                                                 random_tensor(e, 2, b_shape),
                                                 random_tensor(e, 3, {batch, m, n}), da, db, {ta, tb});
                         return {da, db};
                       }});
    }
  }
  return cases;
}

inline const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> all = [] {
    std::vector<OpCase> cases;
    for (auto family : {elementwise_cases, movement_cases, matmul_cases, row_cases, table_cases,
                        all_layout_cases, batched_matmul_cases, half_matmul_cases}) {
      for (OpCase& one : family()) cases.push_back(std::move(one));
    }
    return cases;
  }();
  return all;
}

// The outputs of a case, downloaded.
inline std::vector<std::vector<float>> outputs_of(const Device& device, const OpCase& op) {
  CommandEncoder encoder(device);
  const Tensors outputs = op.encode(encoder);
  device.submit(encoder.finish()).wait();
  std::vector<std::vector<float>> values;
  for (const Tensor& output : outputs) values.push_back(get(output));
  return values;
}

}  // namespace silica::test
