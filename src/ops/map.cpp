// SPDX-License-Identifier: MIT
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

// An elementwise kernel's parameters: kernels/map/.
struct MapParameters {
  std::uint64_t n;
  float s;
  std::uint32_t padding = 0;  // CUDA puts its whole_groups here
};

// Inputs are read, outputs may be one of them; all agree in dtype and element count with the first.
// `kernel_op` names the kernel of an op that has none of its own.
void map(CommandEncoder& encoder, const char* op, std::initializer_list<Argument> inputs,
         std::initializer_list<Argument> outputs, float s = 0.0f, const char* kernel_op = nullptr) {
  const Argument& first = *inputs.begin();
  check_float(op, first);
  std::vector<Operand> operands;
  const auto take = [&](const Argument& a, Access access) {
    check_same_dtype(op, a, first);
    check_same_size(op, a, first);
    operands.push_back({a.tensor, access, a.name});
  };
  for (const Argument& a : inputs) take(a, Access::read);
  for (const Argument& a : outputs) take(a, Access::in_place);
  const std::string kernel =
      message("map.", kernel_op == nullptr ? op : kernel_op, ".", to_string(first.tensor.dtype()));
  const MapParameters parameters{first.tensor.size(), s};
  CommandEncoder::Transaction transaction(encoder, op);
  encoder.dispatch_bytes(kernel, operands, std::as_bytes(std::span(&parameters, 1)), Grid{parameters.n});
  transaction.commit();
}

// What ops.h calls the operands of a binary op, for messages.
struct BinaryNames {
  const char *a = "a", *b = "b", *c = "c", *dc = "dc", *da = "da", *db = "db";
};
constexpr BinaryNames names_of(std::string_view op) {
  return op.ends_with("glu") ? BinaryNames{"gate", "up", "y", "dy", "dgate", "dup"} : BinaryNames{};
}

}  // namespace

// The functions of ops.inc's rows.
#define SILICA_UNARY(op, ...)                                                                        \
  void op(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {                               \
    map(encoder, #op, {{"x", x}}, {{"y", y}});                                                       \
  }                                                                                                  \
  void op##_backward(CommandEncoder& encoder, const Tensor& x, const Tensor& dy, const Tensor& dx) { \
    map(encoder, #op "_backward", {{"x", x}, {"dy", dy}}, {{"dx", dx}});                             \
  }
#define SILICA_UNARY_LINEAR(op, ...)                                                \
  void op(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {              \
    map(encoder, #op, {{"x", x}}, {{"y", y}});                                      \
  }                                                                                 \
  void op##_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) { \
    map(encoder, #op "_backward", {{"dy", dy}}, {{"dx", dx}}, 0.0f, #op);           \
  }
#define SILICA_UNARY_SCALAR(op, ...)                                                              \
  void op(CommandEncoder& encoder, const Tensor& x, float factor, const Tensor& y) {              \
    map(encoder, #op, {{"x", x}}, {{"y", y}}, factor);                                            \
  }                                                                                               \
  void op##_backward(CommandEncoder& encoder, const Tensor& dy, float factor, const Tensor& dx) { \
    map(encoder, #op "_backward", {{"dy", dy}}, {{"dx", dx}}, factor, #op);                       \
  }
#define SILICA_BINARY(op, ...)                                                                    \
  void op(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c) {           \
    constexpr BinaryNames names = names_of(#op);                                                  \
    map(encoder, #op, {{names.a, a}, {names.b, b}}, {{names.c, c}});                              \
  }                                                                                               \
  void op##_backward(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& dc, \
                     const Tensor& da, const Tensor& db) {                                        \
    constexpr BinaryNames names = names_of(#op);                                                  \
    map(encoder, #op "_backward", {{names.a, a}, {names.b, b}, {names.dc, dc}},                   \
        {{names.da, da}, {names.db, db}});                                                        \
  }
#define SILICA_BINARY_LINEAR(op, ...)                                                                 \
  void op(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c) {               \
    map(encoder, #op, {{"a", a}, {"b", b}}, {{"c", c}});                                              \
  }                                                                                                   \
  void op##_backward(CommandEncoder& encoder, const Tensor& dc, const Tensor& da, const Tensor& db) { \
    map(encoder, #op "_backward", {{"dc", dc}}, {{"da", da}, {"db", db}});                            \
  }
#define SILICA_BINARY_SCALAR(op, ...)                                                                 \
  void op(CommandEncoder& encoder, float factor, const Tensor& a, const Tensor& b, const Tensor& c) { \
    map(encoder, #op, {{"a", a}, {"b", b}}, {{"c", c}}, factor);                                      \
  }                                                                                                   \
  void op##_backward(CommandEncoder& encoder, float factor, const Tensor& dc, const Tensor& da,       \
                     const Tensor& db) {                                                              \
    map(encoder, #op "_backward", {{"dc", dc}}, {{"da", da}, {"db", db}}, factor);                    \
  }
#include "kernels/ops.inc"

void fill(CommandEncoder& encoder, float value, const Tensor& y) {
  check_float("fill", {"y", y});
  encoder.dispatch(message("map.fill.", to_string(y.dtype())), {write(y, "y")},
                   MapParameters{y.size(), value}, Grid{y.size()});
}

namespace {

// A copy's gradient is a copy, and a cast's a cast back: one body for both, which names the op at hand.

void encode_copy(CommandEncoder& encoder, const char* op, const Argument& from, const Argument& to) {
  check_given(op, from);
  check_same_dtype(op, to, from);
  check_same_size(op, to, from);
  const std::uint64_t bytes = from.tensor.bytes();
  CommandEncoder::Transaction transaction(encoder, op);
  encoder.dispatch("map.copy", {read(from.tensor, from.name), in_place(to.tensor, to.name)}, bytes,
                   Grid{bytes});
  transaction.commit();
}

void encode_cast(CommandEncoder& encoder, const char* op, const Argument& from, const Argument& to) {
  check_float(op, from);
  check_float(op, to);
  check_same_size(op, to, from);
  const DType source = from.tensor.dtype(), target = to.tensor.dtype();
  if (source == target) return encode_copy(encoder, op, from, to);
  const std::uint64_t n = from.tensor.size();
  CommandEncoder::Transaction transaction(encoder, op);
  encoder.dispatch(message("map.cast.", to_string(source), ".", to_string(target)),
                   {read(from.tensor, from.name), in_place(to.tensor, to.name)}, n, Grid{n});
  transaction.commit();
}

}  // namespace

void copy(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {
  encode_copy(encoder, "copy", {"x", x}, {"y", y});
}
void copy_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) {
  encode_copy(encoder, "copy_backward", {"dy", dy}, {"dx", dx});
}
void cast(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {
  encode_cast(encoder, "cast", {"x", x}, {"y", y});
}
void cast_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) {
  encode_cast(encoder, "cast_backward", {"dy", dy}, {"dx", dx});
}

}  // namespace silica
