// SPDX-License-Identifier: MIT
// Every op, forward and backward, as a row of a table: for `silica check` and for the tests that hold of all
// of them.
#include "op_cases.h"

#include <utility>

#include "definitions.h"
#include "exact.h"
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
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
  };
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
          in.push_back(random_tensor(e, number, {n}, -12.0f, 12.0f, dtype));
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

std::vector<OpCase> row_cases() {
  constexpr std::size_t rows = 301, cols = 603;
  return {{"rms_norm",
           [](CaseEncoder& e) -> Tensors {
             const Tensor y = result(e, {rows, cols});
             rms_norm(e, random_tensor(e, 1, {rows, cols}), random_tensor(e, 2, {cols}), y);
             return {y};
           },
           exact::rms_norm, 6.0, reference::rms_norm},
          {"rms_norm_backward",
           [](CaseEncoder& e) -> Tensors {
             const Tensor dx = result(e, {rows, cols}), dweight = result(e, {cols});
             rms_norm_backward(e, random_tensor(e, 1, {rows, cols}), random_tensor(e, 2, {cols}),
                               random_tensor(e, 3, {rows, cols}), dx, dweight);
             return {dx, dweight};
           },
           exact::rms_norm_backward, 8.0, reference::rms_norm_backward},
          {"cross_entropy",
           [](CaseEncoder& e) -> Tensors {
             const Tensor loss = result(e, {1});
             cross_entropy(e, random_tensor(e, 1, {rows, cols}, -9.0f, 9.0f), random_ids(e, 2, rows, cols),
                           loss);
             return {loss};
           },
           exact::cross_entropy, 1.0, reference::cross_entropy},
          {"cross_entropy_backward",
           [](CaseEncoder& e) -> Tensors {
             const Tensor dlogits = result(e, {rows, cols});
             cross_entropy_backward(e, random_tensor(e, 1, {rows, cols}, -9.0f, 9.0f),
                                    random_ids(e, 2, rows, cols), random_tensor(e, 3, {1}), dlogits);
             return {dlogits};
           },
           exact::cross_entropy_backward, 32.0, reference::cross_entropy_backward}};
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

}  // namespace

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> all = [] {
    std::vector<OpCase> cases;
    for (auto family : {elementwise_cases, movement_cases, matmul_cases, row_cases, table_cases}) {
      for (OpCase& one : family()) cases.push_back(std::move(one));
    }
    return cases;
  }();
  return all;
}

}  // namespace silica::check
