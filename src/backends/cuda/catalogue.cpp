// SPDX-License-Identifier: MIT
#include "backends/cuda/catalogue.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/format.h"

namespace silica::cuda {

namespace {

std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); }

std::uint64_t word_at(const Request& request, std::size_t offset) {
  std::uint64_t word = 0;
  std::memcpy(&word, request.arguments + offset, sizeof word);
  return word;
}

// ---- map: large ones have more loads in flight in a thread

constexpr unsigned map_threads = 256;
constexpr std::uint64_t large_map = std::uint64_t{1} << 22;  // elements

Choice choose_map(const CatalogueRow& row, const Request& request) {
  const unsigned vectors = request.grid.x >= large_map ? 2 : 1;
  Choice choice = row.base;
  choice.defines = message("#define SILICA_VECTORS ", vectors, "\n");
  choice.blocks =
      ceil_div(request.grid.x, map_threads * vectors * row.offset);  // offset: elements of a vector
  return choice;
}

CatalogueRow map_row(std::string_view name, std::string_view op, std::string_view types, std::size_t width) {
  const std::string map = message("Map<", op, ", ", types, ">");
  return {message("map.", name),
          choose_map,
          {"map", map + "::run", map + "::Arguments", "", map_threads, 0},
          width};
}

void add_map(std::vector<CatalogueRow>& rows, std::string_view name, std::string_view op) {
  rows.push_back(map_row(message(name, ".f32"), op, "F32", 4));
  rows.push_back(map_row(message(name, ".f16"), op, "F16", 8));
  rows.push_back(map_row(message(name, ".bf16"), op, "BF16", 8));
}

Choice choose_tiles(const CatalogueRow& row, const Request& request) {
  Choice choice = row.base;
  choice.blocks = ceil_div(request.grid.x, row.offset);  // offset: elements of a group
  return choice;
}

void add_map_family(std::vector<CatalogueRow>& rows) {
#define SILICA_FORWARD(op) add_map(rows, #op, #op "_map");
#define SILICA_UNARY(op, ...) SILICA_FORWARD(op) add_map(rows, #op "_backward", #op "_backward_map");
#define SILICA_UNARY_SCALAR(op, ...) SILICA_FORWARD(op)
#define SILICA_BINARY(op, ...) SILICA_UNARY(op)
#define SILICA_BINARY_LINEAR(op, ...) SILICA_UNARY(op)
#include "kernels/ops.inc"
#undef SILICA_FORWARD
#undef SILICA_UNARY
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
  add_map(rows, "fill", "fill_map");
  rows.push_back(map_row("cast.f32.f16", "cast_map", "F32, F16", 8));
  rows.push_back(map_row("cast.f32.bf16", "cast_map", "F32, BF16", 8));
  rows.push_back(map_row("cast.f16.f32", "cast_map", "F16, F32", 8));
  rows.push_back(map_row("cast.f16.bf16", "cast_map", "F16, BF16", 8));
  rows.push_back(map_row("cast.bf16.f32", "cast_map", "BF16, F32", 8));
  rows.push_back(map_row("cast.bf16.f16", "cast_map", "BF16, F16", 8));
  constexpr std::size_t bytes_tile = 16384;
  rows.push_back(
      {"map.copy", choose_tiles, {"map", "copy_bytes", "CopyArguments", "", map_threads, 0}, bytes_tile});
  rows.push_back(
      {"map.zero", choose_tiles, {"map", "zero_bytes", "ZeroArguments", "", map_threads, 0}, bytes_tile});
}

// ---- row: a warp for a short row, a block for a long one

constexpr std::uint64_t short_row = 512;

// The function's text says Team where it wants one.
Choice choose_row(const CatalogueRow& row, const Request& request) {
  const bool is_short = word_at(request, row.offset) <= short_row;  // offset: of cols
  Choice choice = row.base;
  choice.function.insert(choice.function.find("Team"), is_short ? "Warp" : "Block");
  choice.threads = is_short ? 32 : 256;
  choice.blocks = request.grid.x;
  return choice;
}

// `cols` is the offset of that parameter.
void add_rows(std::vector<CatalogueRow>& rows, std::string_view type, std::string_view dtype) {
  const auto add = [&](std::string_view name, std::string_view function, std::string_view flag,
                       std::string_view arguments, std::size_t cols) {
    const bool is_norm = arguments == "NormArguments";  // whose layout depends on the flag
    rows.push_back({message("row.", name, ".", dtype),
                    choose_row,
                    {"row", message(function, "<Team<", type, ">", flag, ">"),
                     message(arguments, "<", type, is_norm ? flag : "", ">"), "", 0, 0},
                    cols});
  };
  const auto add_columns = [&](std::string_view name, std::string_view function, std::string_view flag,
                               std::string_view arguments) {
    constexpr std::size_t columns = 32;  // of a group
    rows.push_back(
        {message("row.", name, ".", dtype),
         choose_tiles,
         {"row", message(function, "<", type, flag, ">"), message(arguments, "<", type, ">"), "", 256, 0},
         columns});
  };
  for (const std::string name : {"sum", "mean"}) {
    add(name, "sum", "", "SumArguments", 16);
    add(name + "_backward", "sum_backward", "", "SumBackwardArguments", 16);
  }
  for (const std::string name : {"rms_norm", "l2_norm", "layer_norm"}) {
    const bool centered = name == "layer_norm";
    const std::string_view flag = centered ? ", true" : ", false";
    add(name, "norm", flag, "NormArguments", centered ? 32 : 24);
    add(name + "_backward_statistics", "norm_statistics", flag, "StatisticsArguments", 16);
    add(name + "_backward", "norm_backward", flag, "NormBackwardArguments", 40);
    if (name == "l2_norm") continue;
    add_columns(name + "_backward_weight", "norm_backward_weight", flag, "NormWeightArguments");
  }
  add_columns("layer_norm_backward_bias", "norm_backward_bias", "", "NormBiasArguments");
  for (const std::string name : {"softmax", "log_softmax"}) {
    add(name, name, "", "SoftmaxArguments", 16);
    add(name + "_backward", name + "_backward", "", "SoftmaxBackwardArguments", 24);
  }
  add("cross_entropy", "cross_entropy", "", "LossArguments", 24);
  add("cross_entropy_backward", "cross_entropy_backward", "", "LossBackwardArguments", 40);
  add("kl_divergence", "kl_divergence", "", "DivergenceArguments", 24);
  add("kl_divergence_backward_p", "kl_divergence_backward", ", true", "DivergenceBackwardArguments", 40);
  add("kl_divergence_backward_q", "kl_divergence_backward", ", false", "DivergenceBackwardArguments", 40);
}

void add_row_family(std::vector<CatalogueRow>& rows) {
  add_rows(rows, "F32", "f32");
  add_rows(rows, "F16", "f16");
  add_rows(rows, "BF16", "bf16");
}

// ---- matmul: see matmul.cu

struct MatmulSizes {
  std::uint64_t a, b, c, m, n, k;
  std::uint32_t transpose_a, transpose_b;
};

// Whether runs of 4 elements of every operand are aligned, and whole in each of its lines.
bool is_wide(const MatmulSizes& s) {
  const std::uint64_t lines = (s.transpose_a ? s.m : s.k) | (s.transpose_b ? s.k : s.n) | s.n;
  return (s.a | s.b | s.c) % 16 == 0 && lines % 4 == 0;
}

Choice choose_matmul(const CatalogueRow& row, const Request& request) {
  constexpr std::uint64_t side = 128, split_cols = 64, k_block = 256, few_rows = 8;
  MatmulSizes s{};
  std::memcpy(&s, request.arguments, sizeof s);
  Choice choice = row.base;
  choice.defines = message("#define SILICA_TRANSPOSE_A ", s.transpose_a, "\n#define SILICA_TRANSPOSE_B ",
                           s.transpose_b, "\n#define SILICA_WIDE ", is_wide(s), "\n");
  const std::uint64_t tiles = ceil_div(s.m, side) * ceil_div(s.n, side);
  if (s.m > few_rows && tiles >= request.multiprocessors * 3 / 4) {
    choice.function = "matmul_tiles";
    choice.defines += "#define SILICA_BLOCKS 2\n";
    choice.threads = 256;
    choice.blocks = tiles;
    return choice;
  }
  const std::uint64_t height = s.m <= few_rows ? 2 : 8;
  unsigned warps = 1;
  while (warps < 8 && warps * k_block < s.k) warps *= 2;
  choice.function = message("Split<", warps, ", ", height, ">::run");
  choice.threads = warps * 32;
  choice.blocks = ceil_div(s.m, 4 * height) * ceil_div(s.n, split_cols);
  return choice;
}

// ---- embedding, adamw

Choice choose_embedding_backward(const CatalogueRow& row, const Request& request) {
  Choice choice = row.base;
  choice.blocks = word_at(request, row.offset);  // rows of the table
  return choice;
}

std::vector<CatalogueRow> make_catalogue() {
  std::vector<CatalogueRow> rows;
  add_map_family(rows);
  add_row_family(rows);
  rows.push_back({"matmul.matmul.f32", choose_matmul, {"matmul", "", "MatmulArguments", "", 0, 0}});
  rows.push_back({"embedding.embedding.f32",
                  choose_tiles,
                  {"embedding", "embedding", "EmbeddingArguments", "", 256, 0},
                  8});
  rows.push_back({"embedding.embedding_backward.f32",
                  choose_embedding_backward,
                  {"embedding", "embedding_backward", "EmbeddingBackwardArguments", "", 256, 0},
                  32});
  rows.push_back(
      {"adamw.adamw_step.f32", choose_tiles, {"adamw", "adamw_step", "StepArguments", "", 32, 0}, 1});
  rows.push_back({"adamw.adamw.f32", choose_tiles, {"adamw", "adamw", "AdamwArguments", "", 256, 0}, 1024});
  std::ranges::sort(rows, {}, &CatalogueRow::name);
  return rows;
}

}  // namespace

const std::vector<CatalogueRow>& catalogue() {
  static const std::vector<CatalogueRow> rows = make_catalogue();
  return rows;
}

const CatalogueRow* find_in_catalogue(std::string_view name) {
  const auto& rows = catalogue();
  const auto found = std::ranges::lower_bound(rows, name, {}, &CatalogueRow::name);
  return found != rows.end() && found->name == name ? &*found : nullptr;
}

std::string entry_of(std::string_view name) {
  std::string entry(name);
  std::ranges::replace(entry, '.', '_');
  return entry;
}

std::string text_of(std::string_view name, const Choice& choice) {
  return message(choice.defines, "#define SILICA_ENTRY ", entry_of(name), "\n#define SILICA_KERNEL ",
                 choice.function, "\n#define SILICA_ARGUMENTS ", choice.arguments,
                 "\n#define SILICA_THREADS ", choice.threads, "\n#include \"kernels/", choice.family, "/",
                 choice.family, ".cu\"\n");
}

}  // namespace silica::cuda
