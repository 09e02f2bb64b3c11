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

inline constexpr float test_factor = 0.37f;  // of scale

inline const std::vector<ElementwiseOp>& elementwise_ops() {
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
  constexpr std::size_t rows = 301, cols = 603;
  return {{"rms_norm",
           [](CommandEncoder& e) -> Tensors {
             const Tensor y = result(e, {rows, cols});
             rms_norm(e, random_tensor(e, 1, {rows, cols}), random_tensor(e, 2, {cols}), y);
             return {y};
           }},
          {"rms_norm_backward",
           [](CommandEncoder& e) -> Tensors {
             const Tensor dx = result(e, {rows, cols}), dweight = result(e, {cols});
             rms_norm_backward(e, random_tensor(e, 1, {rows, cols}), random_tensor(e, 2, {cols}),
                               random_tensor(e, 3, {rows, cols}), dx, dweight);
             return {dx, dweight};
           }},
          {"cross_entropy",
           [](CommandEncoder& e) -> Tensors {
             const Tensor loss = result(e, {1});
             cross_entropy(e, random_tensor(e, 1, {rows, cols}, -9.0f, 9.0f), random_ids(e, 2, rows, cols),
                           loss);
             return {loss};
           }},
          {"cross_entropy_backward", [](CommandEncoder& e) -> Tensors {
             const Tensor dlogits = result(e, {rows, cols});
             cross_entropy_backward(e, random_tensor(e, 1, {rows, cols}, -9.0f, 9.0f),
                                    random_ids(e, 2, rows, cols), random_tensor(e, 3, {1}), dlogits);
             return {dlogits};
           }}};
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

inline const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> all = [] {
    std::vector<OpCase> cases;
    for (auto family :
         {elementwise_cases, movement_cases, matmul_cases, half_matmul_cases, row_cases, table_cases}) {
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
