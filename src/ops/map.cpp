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
  std::uint32_t padding = 0;
};

// Inputs are read, outputs may be one of them; all agree in dtype and element count with the first.
void map(CommandEncoder& encoder, const char* op, std::initializer_list<Argument> inputs,
         std::initializer_list<Argument> outputs, float s = 0.0f) {
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
  const std::string kernel = message("map.", op, ".", to_string(first.tensor.dtype()));
  const MapParameters parameters{first.tensor.size(), s};
  encoder.dispatch_bytes(kernel, operands, std::as_bytes(std::span(&parameters, 1)), Grid{parameters.n});
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
#define SILICA_UNARY_LINEAR(op, ...)                                   \
  void op(CommandEncoder& encoder, const Tensor& x, const Tensor& y) { \
    map(encoder, #op, {{"x", x}}, {{"y", y}});                         \
  }                                                                    \
  void op##_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) { op(encoder, dy, dx); }
#define SILICA_UNARY_SCALAR(op, ...)                                                              \
  void op(CommandEncoder& encoder, const Tensor& x, float factor, const Tensor& y) {              \
    map(encoder, #op, {{"x", x}}, {{"y", y}}, factor);                                            \
  }                                                                                               \
  void op##_backward(CommandEncoder& encoder, const Tensor& dy, float factor, const Tensor& dx) { \
    op(encoder, dy, factor, dx);                                                                  \
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

void copy(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {
  check_given("copy", {"x", x});
  check_same_dtype("copy", {"y", y}, {"x", x});
  check_same_size("copy", {"y", y}, {"x", x});
  encoder.dispatch("map.copy", {read(x, "x"), in_place(y, "y")}, std::uint64_t{x.bytes()}, Grid{x.bytes()});
}

void copy_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) { copy(encoder, dy, dx); }

void cast(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {
  check_float("cast", {"x", x});
  check_float("cast", {"y", y});
  check_same_size("cast", {"y", y}, {"x", x});
  if (x.dtype() == y.dtype()) return copy(encoder, x, y);
  encoder.dispatch(message("map.cast.", to_string(x.dtype()), ".", to_string(y.dtype())),
                   {read(x, "x"), in_place(y, "y")}, std::uint64_t{x.size()}, Grid{x.size()});
}

void cast_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) { cast(encoder, dy, dx); }

}  // namespace silica
