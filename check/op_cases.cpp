// SPDX-License-Identifier: MIT
// Every op, forward and backward, as a row of a table: for `silica check` and for the tests that hold of all
// of them.
#include "op_cases.h"

#include <utility>

#include "definitions.h"
#include "exact.h"
#include "feed_forward.h"
#include "reference.h"

namespace silica::check {

// ---- elementwise ops, from kernels/ops.inc: a new row there is a new row here

const std::vector<ElementwiseOp>& elementwise_ops() {
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

// ---- ops on rows

const std::vector<RowOp>& row_ops() {
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

// ---- all ops

namespace {

OpCase elementwise_case(std::string name, const Elementwise& op,
                        std::function<Tensors(CaseEncoder&)> encode) {
  const bool defined = op.definition != nullptr;  // a test asks for it
  return {std::move(name),
          std::move(encode),
          defined ? exact::elementwise(*op.definition, op.outputs) : Oracle(),
          defined ? op.definition->bound : 0.0,
          reference::elementwise(op.formula, op.outputs),
          op};
}

std::vector<OpCase> elementwise_cases() {
  constexpr std::size_t n = 9001;  // some groups, and a remainder
  std::vector<OpCase> cases;
  std::uint64_t forward_inputs = 0;
  for (const ElementwiseOp& op : elementwise_ops()) {
    const bool backward = op.name.ends_with("_backward");
    if (!backward) forward_inputs = op.inputs;
    const auto definition = definitions().find(op.name);
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      const auto encode = [=, &op](CaseEncoder& e) {
        Tensors in, out;
        for (std::size_t i = 0; i < op.inputs; ++i) {
          const bool gradient = backward && i + 1 == op.inputs;  // a linear op's backward takes nothing else
          const std::uint64_t number = gradient ? forward_inputs + 1 : i + 1;
          // Not further: gelu's left tail becomes subnormal.
          in.push_back(random_tensor(e, number, {n}, -10.0f, 10.0f, dtype));
        }
        for (std::size_t i = 0; i < op.outputs; ++i) out.push_back(result(e, {n}, dtype));
        op.encode(e, in, out);
        return out;
      };
      const Elementwise elementwise{op.inputs,
                                    op.outputs,
                                    dtype,
                                    dtype,
                                    op.encode,
                                    reference::formula(op.name),
                                    definition == definitions().end() ? nullptr : &definition->second};
      cases.push_back(elementwise_case(op.name + "." + std::string(to_string(dtype)), elementwise, encode));
    }
  }
  return cases;
}

std::vector<OpCase> movement_cases() {
  constexpr std::size_t n = 9001;
  static const Definition same([](const auto* in, auto* out) { out[0] = in[0]; }, 0.5);  // but for rounding
  std::vector<OpCase> cases;
  for (const DType from : {DType::f32, DType::f16, DType::bf16}) {
    for (const DType to : {DType::f32, DType::f16, DType::bf16}) {
      const std::string of = "." + std::string(to_string(from)), both = of + "." + std::string(to_string(to));
      using Encode = void (*)(CommandEncoder&, const Tensor&, const Tensor&);
      const auto add = [&](const std::string& name, Encode encode, std::uint64_t number) {
        const Elementwise op{
            1,
            1,
            from,
            to,
            [=](CommandEncoder& e, const Tensors& x, const Tensors& y) { encode(e, x[0], y[0]); },
            [](const float* in, float* out) { out[0] = in[0]; },
            &same};
        cases.push_back(elementwise_case(name, op, [=](CaseEncoder& e) -> Tensors {
          const Tensor x = random_tensor(e, number, {n}, -60000.0f, 60000.0f, from), y = result(e, {n}, to);
          encode(e, x, y);
          return {y};
        }));
      };
      add("cast" + both, cast, 1);
      add("cast_backward" + both, cast_backward, 2);
      if (from != to) continue;
      add("copy" + of, copy, 1);
      add("copy_backward" + of, copy_backward, 2);
    }
    cases.push_back({"fill." + std::string(to_string(from)),
                     [from](CaseEncoder& e) -> Tensors {
                       const Tensor y = result(e, {n}, from);
                       fill(e, 0.1f, y);
                       return {y};
                     },
                     exact::constant(0.1f, n), 0.5, reference::constant(0.1f, n)});
  }
  return cases;
}

std::vector<OpCase> matmul_cases() {
  std::vector<OpCase> cases;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      constexpr std::size_t m = 37, n = 71, k = 517;
      const Shape a_shape = ta ? Shape{k, m} : Shape{m, k}, b_shape = tb ? Shape{n, k} : Shape{k, n};
      const std::string suffix = std::string(ta ? ".ta" : "") + (tb ? ".tb" : "");
      cases.push_back({"matmul" + suffix,
                       [=](CaseEncoder& e) -> Tensors {
                         const Tensor c = result(e, {m, n});
                         matmul(e, random_tensor(e, 1, a_shape), random_tensor(e, 2, b_shape), c, {ta, tb});
                         return {c};
                       },
                       exact::matmul(ta, tb), 4.0, reference::matmul(ta, tb)});
      cases.push_back({"matmul_backward" + suffix,
                       [=](CaseEncoder& e) -> Tensors {
                         const Tensor da = result(e, a_shape), db = result(e, b_shape);
                         matmul_backward(e, random_tensor(e, 1, a_shape), random_tensor(e, 2, b_shape),
                                         random_tensor(e, 3, {m, n}), da, db, {ta, tb});
                         return {da, db};
                       },
                       exact::matmul_backward(ta, tb), 8.0, reference::matmul_backward(ta, tb)});
    }
  }
  return cases;
}

std::vector<OpCase> half_matmul_cases() {
  constexpr std::size_t m = 9, n = 35, k = 300;
  std::vector<OpCase> cases;
  for (const DType dtype : {DType::f16, DType::bf16}) {
    for (const bool ta : {false, true}) {
      const bool tb = !ta;
      const Shape a_shape = ta ? Shape{k, m} : Shape{m, k}, b_shape = tb ? Shape{n, k} : Shape{k, n};
      const auto random = [dtype](CaseEncoder& e, std::uint64_t number, const Shape& shape) {
        return random_tensor(e, number, shape, -2.0f, 2.0f, dtype);
      };
      const std::string suffix = (ta ? ".ta." : ".tb.") + std::string(to_string(dtype));
      cases.push_back({"matmul" + suffix,
                       [=](CaseEncoder& e) -> Tensors {
                         const Tensor c = result(e, {m, n}, dtype);
                         matmul(e, random(e, 1, a_shape), random(e, 2, b_shape), c, {ta, tb});
                         return {c};
                       },
                       exact::matmul(ta, tb), 4.0, reference::matmul(ta, tb)});
      cases.push_back({"matmul_backward" + suffix,
                       [=](CaseEncoder& e) -> Tensors {
                         const Tensor da = result(e, a_shape, dtype), db = result(e, b_shape, dtype);
                         matmul_backward(e, random(e, 1, a_shape), random(e, 2, b_shape),
                                         random(e, 3, {m, n}), da, db, {ta, tb});
                         return {da, db};
                       },
                       exact::matmul_backward(ta, tb), 8.0, reference::matmul_backward(ta, tb)});
    }
  }
  return cases;
}

// Which have kernels of their own on CUDA.
std::vector<OpCase> few_rows_cases() {
  constexpr std::size_t m = 3, n = 40, k = 520;
  std::vector<OpCase> cases;
  for (const DType dtype : {DType::f16, DType::bf16}) {
    for (const bool tb : {false, true}) {
      const auto random = [dtype](CaseEncoder& e, std::uint64_t number, const Shape& shape) {
        return random_tensor(e, number, shape, -2.0f, 2.0f, dtype);
      };
      cases.push_back({std::string("matmul.few_rows.") + (tb ? "tb." : "") + std::string(to_string(dtype)),
                       [=](CaseEncoder& e) -> Tensors {
                         const Tensor c = result(e, {m, n}, dtype);
                         matmul(e, random(e, 1, {m, k}), random(e, 2, tb ? Shape{n, k} : Shape{k, n}), c,
                                {.transpose_b = tb});
                         return {c};
                       },
                       exact::matmul(false, tb), 4.0, reference::matmul(false, tb)});
    }
  }
  return cases;
}

std::vector<OpCase> row_cases() {
  std::vector<OpCase> cases;
  std::uint64_t forward_inputs = 0;
  for (const RowOp& op : row_ops()) {
    const bool backward = op.name.ends_with("_backward");
    if (!backward) forward_inputs = op.in.size();
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      // Two blocks of rows where those are summed.
      const bool is_tall = op.name.ends_with("norm_backward") && dtype == DType::f32;
      const std::size_t rows = is_tall ? 301 : 19, cols = 603;
      const auto encode_to = [=, &op](CaseEncoder& e, bool in_place) {
        Tensors in, out;
        for (const auto extent : op.in) {
          const bool gradient = backward && in.size() + 1 == op.in.size();
          const std::uint64_t number = gradient ? forward_inputs + 1 : in.size() + 1;
          in.push_back(extent == RowOp::ids ? random_ids(e, number, rows, cols)
                                            : random_tensor(e, number, shape_of(extent, rows, cols), -5.0f,
                                                            5.0f, operand_dtype(extent, dtype)));
        }
        for (const auto extent : op.out) {
          out.push_back(result(e, shape_of(extent, rows, cols), operand_dtype(extent, dtype)));
        }
        if (in_place) {
          copy(e, in.back(), out[0]);
          in.back() = out[0];
        }
        op.encode(e, in, out);
        return out;
      };
      OpCase one{op.name + "." + std::string(to_string(dtype)),
                 [=](CaseEncoder& e) { return encode_to(e, false); }, exact::row(op.name, cols),
                 exact::row_bound};
      if (op.name == "rms_norm") one.reference = reference::rms_norm;
      if (op.name == "rms_norm_backward") one.reference = reference::rms_norm_backward;
      if (op.name == "cross_entropy") one.reference = reference::cross_entropy;
      if (op.name == "cross_entropy_backward") one.reference = reference::cross_entropy_backward;
      one.takes_results = op.name.ends_with("softmax_backward");
      cases.push_back(one);
      if (!op.name.ends_with("norm_backward") || op.out.size() == 1) continue;
      // With dx in the place of dy, before which the sums over rows come.
      one.name = op.name + ".in_place." + std::string(to_string(dtype));
      one.encode = [=](CaseEncoder& e) { return encode_to(e, true); };
      cases.push_back(std::move(one));
    }
  }
  return cases;
}

std::vector<OpCase> table_cases() {
  constexpr std::size_t n = 700, rows = 53, cols = 67;
  return {{"embedding",
           [](CaseEncoder& e) -> Tensors {
             const Tensor y = result(e, {n, cols});
             embedding(e, random_tensor(e, 1, {rows, cols}), random_ids(e, 2, n, rows + 2), y);
             return {y};
           },
           exact::embedding, 0.0, reference::embedding},
          {"embedding_backward",
           [](CaseEncoder& e) -> Tensors {
             const Tensor dtable = result(e, {rows, cols});
             embedding_backward(e, random_ids(e, 2, n, rows + 2), random_tensor(e, 3, {n, cols}), dtable);
             return {dtable};
           },
           exact::embedding_backward(rows), 2.0, reference::embedding_backward(rows)},
          {"adamw_step",
           [](CaseEncoder& e) -> Tensors {
             const Tensor state = random_tensor(e, 1, {3}, 0.1f, 1.0f);
             adamw_step(e, state);
             return {state};
           },
           exact::adamw_step, 0.5, reference::adamw_step},
          {"adamw",
           [](CaseEncoder& e) -> Tensors {
             constexpr std::size_t count = 9001;
             const Tensor state = random_tensor(e, 1, {3}, 0.1f, 0.9f), weight = random_tensor(e, 2, {count}),
                          m = random_tensor(e, 3, {count}), v = random_tensor(e, 4, {count}, 0.0f, 2.0f);
             adamw(e, random_tensor(e, 5, {count}), state, weight, m, v);
             return {weight, m, v};
           },
           exact::adamw, 3.0, reference::adamw}};
}

// Some tiles and a remainder in each direction, more than a group's share, and more blocks of rows than a
// group has in hand; an even number of columns, so that words of several elements can move, and an odd one.
std::vector<OpCase> layout_cases(DType dtype) {
  constexpr std::size_t rows = 2401, cols = 72, part = 37;
  const std::string suffix = "." + std::string(to_string(dtype));
  const auto random = [dtype](CaseEncoder& e, std::uint64_t seed, const Shape& shape) {
    return random_tensor(e, seed, shape, -2.0f, 2.0f, dtype);
  };
  constexpr SliceOptions some{.row_begin = 5, .row_end = 1205, .col_begin = 8, .col_end = 8 + part};
  std::vector<OpCase> cases = {
      {"transpose",
       [=](CaseEncoder& e) -> Tensors {
         const Tensor y = result(e, {3, cols, 101}, dtype);
         transpose(e, random(e, 1, {3, 101, cols}), y);
         return {y};
       },
       exact::transpose(1)},
      {"transpose_backward",
       [=](CaseEncoder& e) -> Tensors {
         const Tensor dx = result(e, {3, 101, cols}, dtype);
         transpose_backward(e, random(e, 2, {3, cols, 101}), dx);
         return {dx};
       },
       exact::transpose(2)},
      {"slice",
       [=](CaseEncoder& e) -> Tensors {
         const Tensor y = result(e, {1200, part}, dtype), left = result(e, {rows, 64}, dtype),
                      x = random(e, 1, {rows, cols});
         slice(e, x, y, some);
         slice(e, x, left, {.col_begin = 8});
         return {y, left};
       },
       exact::slice({some, {.col_begin = 8}})},
      {"slice_backward",
       [=](CaseEncoder& e) -> Tensors {
         CommandEncoder& unnoted = e;  // what dx was
         const Tensor dx = random_tensor(unnoted, 3, {rows, cols}, -2.0f, 2.0f, dtype);
         slice_backward(e, random(e, 2, {1200, part}), dx, some);
         return {dx};
       },
       exact::slice_backward(some, {rows, cols})},
      {"broadcast_row",
       [=](CaseEncoder& e) -> Tensors {
         const Tensor y = result(e, {rows, cols}, dtype);
         broadcast_row(e, random(e, 1, {cols}), y);
         return {y};
       },
       exact::broadcast_row(rows)},
      {"broadcast_row_backward",
       [=](CaseEncoder& e) -> Tensors {
         const Tensor dx = result(e, {cols}, dtype);
         broadcast_row_backward(e, random(e, 2, {rows, cols}), dx);
         return {dx};
       },
       exact::broadcast_row_backward, 8.0},
  };
  for (OpCase& one : cases) one.name += suffix;
  return cases;
}

std::vector<OpCase> concat_cases(DType dtype) {
  const std::string suffix = "." + std::string(to_string(dtype));
  const auto random = [dtype](CaseEncoder& e, std::uint64_t seed, const Shape& shape) {
    return random_tensor(e, seed, shape, -2.0f, 2.0f, dtype);
  };
  std::vector<OpCase> cases;
  for (const Axis axis : {Axis::rows, Axis::cols}) {
    const Shape first = axis == Axis::rows ? Shape{300, 72} : Shape{300, 37},
                whole = axis == Axis::rows ? Shape{900, 72} : Shape{300, 111};
    const std::string name = axis == Axis::rows ? "rows" : "cols";
    cases.push_back({"concat." + name + suffix,
                     [=](CaseEncoder& e) -> Tensors {
                       const Tensor y = result(e, whole, dtype);
                       concat(e, {random(e, 1, first), random(e, 2, first), random(e, 3, first)}, y, axis);
                       return {y};
                     },
                     exact::concat(axis)});
    cases.push_back({"concat_backward." + name + suffix,
                     [=](CaseEncoder& e) -> Tensors {
                       const Tensors parts = {result(e, first, dtype), result(e, first, dtype),
                                              result(e, first, dtype)};
                       concat_backward(e, random(e, 4, whole), parts, axis);
                       return parts;
                     },
                     exact::concat_backward(axis)});
  }
  return cases;
}

std::vector<OpCase> byte_cases() {
  const auto bytes = [](CaseEncoder& e, const Shape& shape) {
    std::vector<std::uint8_t> values(shape.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>(i * 37 % 251);
    e.inputs[1] = {shape, DType::u8, {values.begin(), values.end()}};
    return Tensor(e.device(), shape, values);
  };
  return {{"transpose.u8",
           [bytes](CaseEncoder& e) -> Tensors {
             const Tensor y = result(e, {2, 70, 99}, DType::u8);
             transpose(e, bytes(e, {2, 99, 70}), y);
             return {y};
           },
           exact::transpose(1)},
          {"slice.u8",
           [bytes](CaseEncoder& e) -> Tensors {
             const Tensor x = bytes(e, {300, 80}), y = result(e, {300, 71}, DType::u8),
                          words = result(e, {300, 64}, DType::u8);
             slice(e, x, y, {.col_begin = 9});
             slice(e, x, words, {.col_begin = 16});
             return {y, words};
           },
           exact::slice({{.col_begin = 9}, {.col_begin = 16}})}};
}

std::vector<OpCase> half_table_cases(DType dtype) {
  constexpr std::size_t n = 700, rows = 53, cols = 67;
  const std::string suffix = "." + std::string(to_string(dtype));
  return {{"embedding" + suffix,
           [dtype](CaseEncoder& e) -> Tensors {
             const Tensor y = result(e, {n, cols}, dtype);
             embedding(e, random_tensor(e, 1, {rows, cols}, -2.0f, 2.0f, dtype),
                       random_ids(e, 2, n, rows + 2), y);
             return {y};
           },
           exact::embedding, 0.0, reference::embedding},
          {"embedding_backward" + suffix,
           [dtype](CaseEncoder& e) -> Tensors {
             const Tensor dtable = result(e, {rows, cols}, dtype);
             embedding_backward(e, random_ids(e, 2, n, rows + 2),
                                random_tensor(e, 3, {n, cols}, -2.0f, 2.0f, dtype), dtable);
             return {dtable};
           },
           exact::embedding_backward(rows), 2.0, reference::embedding_backward(rows)}};
}

std::vector<OpCase> all_layout_cases() {
  std::vector<OpCase> cases = byte_cases();
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (OpCase& one : layout_cases(dtype)) cases.push_back(std::move(one));
    for (OpCase& one : concat_cases(dtype)) cases.push_back(std::move(one));
    if (dtype == DType::f32) continue;
    for (OpCase& one : half_table_cases(dtype)) cases.push_back(std::move(one));
  }
  return cases;
}

std::vector<OpCase> batched_matmul_cases() {
  std::vector<OpCase> cases;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      constexpr std::size_t batch = 5, m = 37, n = 71, k = 261;
      const Shape a_shape = ta ? Shape{batch, k, m} : Shape{batch, m, k},
                  b_shape = tb ? Shape{batch, n, k} : Shape{batch, k, n};
      const std::string suffix = std::string(ta ? ".ta" : "") + (tb ? ".tb" : "");
      cases.push_back({"batched_matmul" + suffix,
                       [=](CaseEncoder& e) -> Tensors {
                         const Tensor c = result(e, {batch, m, n});
                         batched_matmul(e, random_tensor(e, 1, a_shape), random_tensor(e, 2, b_shape), c,
                                        {ta, tb});
                         return {c};
                       },
                       exact::matmul(ta, tb), 4.0, reference::matmul(ta, tb)});
      cases.push_back({"batched_matmul_backward" + suffix,
                       [=](CaseEncoder& e) -> Tensors {
                         const Tensor da = result(e, a_shape), db = result(e, b_shape);
                         batched_matmul_backward(e, random_tensor(e, 1, a_shape),
                                                 random_tensor(e, 2, b_shape),
                                                 random_tensor(e, 3, {batch, m, n}), da, db, {ta, tb});
                         return {da, db};
                       },
                       exact::matmul_backward(ta, tb), 8.0, reference::matmul_backward(ta, tb)});
    }
  }
  return cases;
}

}  // namespace

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> all = [] {
    std::vector<OpCase> cases;
    for (auto family :
         {elementwise_cases, movement_cases, matmul_cases, row_cases, table_cases, all_layout_cases,
          batched_matmul_cases, half_matmul_cases, few_rows_cases, feed_forward_cases}) {
      for (OpCase& one : family()) cases.push_back(std::move(one));
    }
    return cases;
  }();
  return all;
}

}  // namespace silica::check
