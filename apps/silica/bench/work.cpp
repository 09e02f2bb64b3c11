// SPDX-License-Identifier: MIT
#include "bench/work.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "errors.h"
#include "model.h"

namespace silica::bench {
namespace {

using app::fail;

// ---- elementwise: from the rows of kernels/ops.inc

struct Elementwise {
  const char* op;
  std::size_t inputs, outputs;
  void (*encode)(CommandEncoder&, const Tensors& in, const Tensors& out);
};

constexpr float factor = 0.37f;  // of scale

constexpr Elementwise elementwise[] = {
    {"copy", 1, 1, [](CommandEncoder& e, const Tensors& in, const Tensors& out) { copy(e, in[0], out[0]); }},
#define SILICA_ROW(op, inputs, outputs, ...) \
  {op, inputs, outputs, [](CommandEncoder& e, const Tensors& in, const Tensors& out) { __VA_ARGS__; }},
#define SILICA_UNARY(op, ...)                 \
  SILICA_ROW(#op, 1, 1, op(e, in[0], out[0])) \
  SILICA_ROW(#op "_backward", 2, 1, op##_backward(e, in[0], in[1], out[0]))
#define SILICA_UNARY_LINEAR(op, ...)          \
  SILICA_ROW(#op, 1, 1, op(e, in[0], out[0])) \
  SILICA_ROW(#op "_backward", 1, 1, op##_backward(e, in[0], out[0]))
#define SILICA_UNARY_SCALAR(op, ...)                  \
  SILICA_ROW(#op, 1, 1, op(e, in[0], factor, out[0])) \
  SILICA_ROW(#op "_backward", 1, 1, op##_backward(e, in[0], factor, out[0]))
#define SILICA_BINARY(op, ...)                       \
  SILICA_ROW(#op, 2, 1, op(e, in[0], in[1], out[0])) \
  SILICA_ROW(#op "_backward", 3, 2, op##_backward(e, in[0], in[1], in[2], out[0], out[1]))
#define SILICA_BINARY_LINEAR(op, ...)                \
  SILICA_ROW(#op, 2, 1, op(e, in[0], in[1], out[0])) \
  SILICA_ROW(#op "_backward", 1, 2, op##_backward(e, in[0], out[0], out[1]))
#define SILICA_BINARY_SCALAR(op, ...)                        \
  SILICA_ROW(#op, 2, 1, op(e, factor, in[0], in[1], out[0])) \
  SILICA_ROW(#op "_backward", 1, 2, op##_backward(e, factor, in[0], out[0], out[1]))
#include "kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
#undef SILICA_ROW
};

double operand_bytes(const Work& work) {
  double bytes = 0;
  for (const Input& input : work.inputs) {
    bytes += static_cast<double>(input.shape.size() * size_of(input.below ? DType::u32 : work.dtype));
  }
  for (const Shape& output : work.outputs) bytes += static_cast<double>(output.size() * size_of(work.dtype));
  return bytes;
}

// Work that memory bounds.
Work moving(Work work) {
  work.bytes = operand_bytes(work);
  for (const Shape& output : work.outputs) work.elements = std::max(work.elements, double(output.size()));
  return work;
}

Work elementwise_work(const Elementwise& row, DType dtype, const Extents& extents) {
  const Shape shape(extents);
  return moving({.op = row.op,
                 .dtype = dtype,
                 .extents = extents,
                 .inputs = {row.inputs, Input{shape}},
                 .outputs = {row.outputs, shape},
                 .encode = row.encode});
}

// ---- rows, matrices and what is made of them

Work norm_work(DType dtype, const Extents& extents, const Choice&) {
  const Shape shape(extents), weight{extents[1]};
  return moving({.op = "rms_norm",
                 .dtype = dtype,
                 .extents = extents,
                 .inputs = {{shape}, {weight}},
                 .outputs = {shape},
                 .encode = [](CommandEncoder& e, const Tensors& in, const Tensors& out) {
                   rms_norm(e, in[0], in[1], out[0]);
                 }});
}

Work norm_backward_work(DType dtype, const Extents& extents, const Choice&) {
  const Shape shape(extents), weight{extents[1]};
  return moving({.op = "rms_norm_backward",
                 .dtype = dtype,
                 .extents = extents,
                 .inputs = {{shape}, {weight}, {shape}},
                 .outputs = {shape, weight},
                 .encode = [](CommandEncoder& e, const Tensors& in, const Tensors& out) {
                   rms_norm_backward(e, in[0], in[1], in[2], out[0], out[1]);
                 }});
}

Work loss_work(DType dtype, const Extents& extents, const Choice&) {
  Work work = moving({.op = "cross_entropy",
                      .dtype = dtype,
                      .extents = extents,
                      .inputs = {{Shape(extents)}, {.shape = {extents[0]}, .below = extents[1]}},
                      .encode = [](CommandEncoder& e, const Tensors& in, const Tensors&) {
                        cross_entropy(e, in[0], in[1], Tensor(e.device(), DType::f32, {1}));
                      }});
  work.elements = static_cast<double>(Shape(extents).size());
  return work;
}

Work matmul_work(DType dtype, const Extents& extents, const Choice& choice) {
  const MatmulOptions options = choice.options;
  const std::size_t m = extents[0], n = extents[1], k = extents[2];
  Work work = moving({.op = "matmul",
                      .dtype = dtype,
                      .extents = extents,
                      .options = options,
                      .inputs = {{options.transpose_a ? Shape{k, m} : Shape{m, k}},
                                 {options.transpose_b ? Shape{n, k} : Shape{k, n}}},
                      .outputs = {{m, n}},
                      .encode = [options](CommandEncoder& e, const Tensors& in, const Tensors& out) {
                        matmul(e, in[0], in[1], out[0], options);
                      }});
  work.sums = true;
  if (m == 1 || n == 1) return work;  // a vector: each element of the matrix is used once
  work.bytes = 0;
  work.flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  return work;
}

Work feedforward_work(DType dtype, const Extents& extents, bool in_out, bool backward) {
  const std::size_t tokens = extents[0], width = extents[1], hidden = extents[2];
  const auto unit = [](std::size_t inputs) { return 3.0f / std::sqrt(static_cast<float>(inputs)); };
  const Shape x{tokens, width}, widen{hidden, width}, narrow{width, hidden};
  const Shape in = in_out ? narrow : widen, out = in_out ? widen : narrow;  // gate and up, and down
  Work work{.op = backward ? "ffn_train" : "ffn",
            .dtype = dtype,
            .extents = extents,
            .in_out = in_out,
            .inputs = {{x, 3.0f}, {in, unit(width)}, {in, unit(width)}, {out, unit(hidden)}},
            .outputs = {x}};
  work.sums = true;
  work.elements = static_cast<double>(tokens);
  work.flops = (backward ? 18.0 : 6.0) * static_cast<double>(tokens) * static_cast<double>(width) *
               static_cast<double>(hidden);
  if (tokens == 1 && !backward) {  // each weight is used once
    work.bytes = 3.0 * static_cast<double>(width * hidden * size_of(dtype));
    work.flops = 0;
  }
  if (!backward) {
    work.encode = [in_out](auto& e, const Tensors& i, const Tensors& o) {
      feed_forward(e, i[0], {i[1], i[2], i[3]}, o[0], {}, {in_out});
    };
    return work;
  }
  work.inputs.push_back({x, 3.0f});
  work.outputs = {x, x, in, in, out};
  work.encode = [=](auto& e, const Tensors& i, const Tensors& o) {
    const FeedForwardWeights weights{i[1], i[2], i[3]};
    const auto kept = [&] { return e.temporary(dtype, {tokens, hidden}); };
    const FeedForwardKept all{kept(), kept(), kept()};
    feed_forward(e, i[0], weights, o[0], all, {in_out});
    feed_forward_backward(e, i[0], weights, all, i[4], o[1], {o[2], o[3], o[4]}, {in_out});
  };
  return work;
}

// The training step of `silica train` at its default settings, on ids that are all the boundary.
Work step_work() {
  app::Settings settings;
  settings.model.vocabulary = 71;  // of the default data
  Work work{.op = "step", .extents = {settings.batch}};
  for (const auto& [name, shape] : app::weight_shapes(settings.model)) {
    if (shape.rank() != 2 || name == "embedding") continue;
    work.flops += 6.0 * static_cast<double>(settings.batch) * static_cast<double>(shape.size());
  }
  work.elements = static_cast<double>(settings.batch);
  work.list = [settings](const Device& device) {
    app::Model model(device, settings.model);
    model.initialise(settings.seed);
    std::vector<app::Moments> moments;
    for (const app::Parameter& parameter : model.parameters()) {
      const Shape& shape = parameter.weight.shape();
      moments.push_back({Tensor(device, DType::f32, shape), Tensor(device, DType::f32, shape)});
    }
    // A rate of 0, so that the weights stay as they are however often the step runs.
    const Tensor state(device, {3}, std::vector{0.0f, 1.0f, 1.0f});
    return app::encode_training_step(model, settings.batch, moments, state, settings.weight_decay).list;
  };
  return work;
}

// One element: what a command of a replayed list costs.
Work dispatch_work() {
  Work work{
      .op = "dispatch",
      .extents = {1},
      .inputs = {{Shape{1}}},
      .outputs = {Shape{1}},
      .encode = [](CommandEncoder& e, const Tensors& in, const Tensors& out) { silu(e, in[0], out[0]); }};
  work.elements = 1;
  return work;
}

// ---- the table of all of them

struct Recipe {
  std::string op;
  std::size_t rank;  // of its extents; 0: takes none
  const char* takes;
  std::vector<Extents> usual;
  std::function<std::vector<Work>(DType, const Extents&, const Choice&)> make;
};

std::vector<Recipe> make_recipes() {
  std::vector<Recipe> all;
  for (const Elementwise& row : elementwise) {
    all.push_back({row.op,
                   1,
                   "N",
                   {{1u << 12}, {1u << 16}, {1u << 20}, {1u << 24}},
                   [&row](DType dtype, const Extents& extents, const Choice&) {
                     return std::vector{elementwise_work(row, dtype, extents)};
                   }});
  }
  const auto one = [](Work (*make)(DType, const Extents&, const Choice&)) {
    return [make](DType dtype, const Extents& extents, const Choice& choice) {
      return std::vector{make(dtype, extents, choice)};
    };
  };
  const std::vector<Extents> rows = {{8192, 4096}};
  all.push_back({"rms_norm", 2, "ROWSxCOLS", rows, one(norm_work)});
  all.push_back({"rms_norm_backward", 2, "ROWSxCOLS", rows, one(norm_backward_work)});
  all.push_back({"cross_entropy", 2, "ROWSxCOLS", rows, one(loss_work)});
  all.push_back(
      {"matmul", 3, "MxNxK", {{512, 512, 512}, {1024, 1024, 1024}, {1, 4096, 4096}}, one(matmul_work)});
  all.push_back({"ffn",
                 3,
                 "TOKENSxWIDTHxHIDDEN",
                 {{512, 576, 1536}},
                 [](DType dtype, const Extents& extents, const Choice& choice) {
                   return std::vector{feedforward_work(dtype, extents, choice.in_out, false),
                                      feedforward_work(dtype, extents, choice.in_out, true)};
                 }});
  all.push_back({"step", 0, "", {{}}, [](auto&&...) { return std::vector{step_work()}; }});
  all.push_back({"dispatch", 0, "", {{}}, [](auto&&...) { return std::vector{dispatch_work()}; }});
  return all;
}

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all = make_recipes();
  return all;
}

const Recipe& recipe_of(const std::string& op) {
  const auto found = std::ranges::find(recipes(), op, &Recipe::op);
  if (found != recipes().end()) return *found;
  std::string names;
  for (const Recipe& recipe : recipes()) names += recipe.op + ", ";
  fail(ErrorCode::invalid_argument, "bench: there is no {}; there are {}and first", app::quote(op), names);
}

void check_extents(const Recipe& recipe, const Extents& extents) {
  const char* option = recipe.rank == 1 ? "--size" : "--shape";
  if (extents.size() != recipe.rank) {
    fail(ErrorCode::invalid_argument, "{}: {} is no size of {}, which takes {}", option, to_string(extents),
         recipe.op, recipe.rank == 0 ? "none" : recipe.takes);
  }
  for (const std::size_t extent : extents) {
    if (extent == 0) fail(ErrorCode::invalid_argument, "{}: {} is empty", option, to_string(extents));
  }
}

void append(std::vector<Work>& all, const Choice& choice, const std::string& op) {
  const Recipe& recipe = recipe_of(op);
  const std::vector<Extents>& given = recipe.rank == 1 ? choice.sizes : choice.shapes;
  const bool fixed = recipe.rank == 0;
  if (fixed && !choice.dtypes.empty() && choice.dtypes != std::vector{DType::f32}) {
    fail(ErrorCode::invalid_argument, "--dtype: {} is f32", op);
  }
  const std::vector<DType> dtypes = choice.dtypes.empty() ? std::vector{DType::f32} : choice.dtypes;
  for (const DType dtype : dtypes) {
    for (const Extents& extents : given.empty() || fixed ? recipe.usual : given) {
      check_extents(recipe, extents);
      for (Work& work : recipe.make(dtype, extents, choice)) {
        work.math = choice.math;
        all.push_back(std::move(work));
      }
    }
  }
}

// What is given must be of use to one of the ops at least.
void check_used(const Choice& choice) {
  if (choice.ops.empty() && !choice.dtypes.empty()) {
    fail(ErrorCode::invalid_argument, "--dtype: needs the name of an op");
  }
  const auto takes = [&](auto good) {
    return std::ranges::any_of(choice.ops, [&](const std::string& op) { return good(recipe_of(op).rank); });
  };
  if (!choice.sizes.empty() && !takes([](std::size_t rank) { return rank == 1; })) {
    fail(ErrorCode::invalid_argument, "--size: needs the name of an elementwise op");
  }
  if (!choice.shapes.empty() && !takes([](std::size_t rank) { return rank > 1; })) {
    fail(ErrorCode::invalid_argument, "--shape: needs the name of an op of rows or matrices");
  }
  const auto names = [&](const char* op) { return std::ranges::find(choice.ops, op) != choice.ops.end(); };
  if (choice.options.transpose_a && !names("matmul"))
    fail(ErrorCode::invalid_argument, "--transpose-a: needs matmul");
  if (choice.options.transpose_b && !names("matmul"))
    fail(ErrorCode::invalid_argument, "--transpose-b: needs matmul");
  if (choice.in_out && !names("ffn")) fail(ErrorCode::invalid_argument, "--in-out: needs ffn");
}

constexpr std::size_t power(unsigned exponent) { return std::size_t{1} << exponent; }

std::vector<Choice> usual_choices(const DeviceInfo& device) {
  const std::vector<std::string> activations = {"silu", "silu_backward", "swiglu", "swiglu_backward"};
  const MatmulOptions tb{.transpose_b = true};
  if (device.name.starts_with("cpu") || device.software) {
    return {{.ops = {"dispatch"}},
            {.ops = activations, .dtypes = {DType::f32, DType::bf16}, .sizes = {{power(16)}, {power(24)}}},
            {.ops = {"rms_norm"}, .shapes = {{4096, 1024}}},
            {.ops = {"matmul"}, .shapes = {{1024, 1024, 1024}, {1, 4096, 4096}}, .options = tb},
            {.ops = {"ffn"}, .shapes = {{512, 576, 1536}}},
            {.ops = {"step"}}};
  }
  std::vector<std::string> streams = activations;
  streams.insert(streams.begin(), "copy");
  std::vector<Choice> choices = {
      {.ops = {"dispatch"}},
      {.ops = streams, .dtypes = {DType::f32, DType::bf16}, .sizes = {{power(28)}}},
      {.ops = streams, .sizes = {{power(12)}, {power(16)}, {power(20)}}}};
  for (const MatmulOptions options : {MatmulOptions{}, tb, {.transpose_a = true}, {true, true}}) {
    choices.push_back({.ops = {"matmul"}, .shapes = {{4096, 4096, 4096}}, .options = options});
  }
  choices.push_back({.ops = {"matmul"},
                     .shapes = {{1024, 1024, 1024}, {512, 1536, 576}, {512, 576, 1536}, {1, 14336, 4096}},
                     .options = tb});
  choices.push_back({.ops = {"matmul"}, .shapes = {{1, 14336, 4096}}});
  choices.push_back({.ops = {"rms_norm", "rms_norm_backward", "cross_entropy"}});
  choices.push_back({.ops = {"ffn"}, .shapes = {{512, 576, 1536}}});
  choices.push_back({.ops = {"matmul"},
                     .dtypes = {DType::f32, DType::bf16},
                     .math = Math::fast,
                     .shapes = {{8192, 8192, 8192}},
                     .options = tb});
  choices.push_back(
      {.ops = {"ffn"},
       .dtypes = {DType::bf16},
       .math = Math::fast,
       .shapes = {{512, 576, 1536}, {1, 4096, 14336}, {4096, 4096, 14336}, {16384, 4096, 14336}}});
  choices.push_back({.ops = {"step"}});
  return choices;
}

}  // namespace

std::string to_string(const Extents& extents) {
  if (extents.size() == 1 && extents[0] >= 1024 && std::has_single_bit(extents[0])) {
    return fmt::format("2^{}", std::countr_zero(extents[0]));
  }
  return fmt::format("{}", fmt::join(extents, "x"));
}

std::string shape_text(const Work& work) {
  return to_string(work.extents) + (work.options.transpose_a ? " ta" : "") +
         (work.options.transpose_b ? " tb" : "") + (work.in_out ? " in-out" : "") +
         (work.math == Math::fast ? " fast" : "");
}

std::vector<OpName> op_names() {
  std::vector<OpName> names;
  for (const Recipe& recipe : recipes()) names.push_back({recipe.op, recipe.takes});
  return names;
}

std::vector<Work> works(const Choice& choice, const DeviceInfo& device) {
  std::vector<Work> all;
  check_used(choice);
  if (choice.ops.empty()) {
    for (const Choice& usual : usual_choices(device)) {
      for (const std::string& op : usual.ops) append(all, usual, op);
    }
    return all;
  }
  for (const std::string& op : choice.ops) append(all, choice, op);
  return all;
}

}  // namespace silica::bench
