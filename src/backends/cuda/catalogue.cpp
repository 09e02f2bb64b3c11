// SPDX-License-Identifier: MIT
#include "backends/cuda/catalogue.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "core/format.h"

namespace silica::cuda {

namespace {

std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); }

std::uint64_t word_at(const Request& request, std::size_t offset) {
  std::uint64_t word = 0;
  std::memcpy(&word, request.arguments + offset, sizeof word);
  return word;
}

// The floating-point dtypes, and what kernels/cuda.h calls them.
constexpr std::pair<const char*, const char*> dtypes[] = {{"f32", "F32"}, {"f16", "F16"}, {"bf16", "BF16"}};

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

Choice choose_row(const CatalogueRow& row, const Request& request) {
  const bool is_short = word_at(request, row.offset) <= short_row;  // offset: of cols
  Choice choice = row.base;
  choice.function += is_short ? "<WarpTeam>" : "<BlockTeam>";
  choice.threads = is_short ? 32 : 256;
  choice.blocks = request.grid.x;
  return choice;
}

void add_row_family(std::vector<CatalogueRow>& rows) {
  const auto add = [&](const char* name, const char* arguments, std::size_t cols) {
    rows.push_back({message("row.", name, ".f32"), choose_row, {"row", name, arguments, "", 0, 0}, cols});
  };
  add("rms_norm", "NormArguments", 24);
  add("rms_norm_scale", "NormScaleArguments", 16);
  add("rms_norm_backward", "NormBackwardArguments", 40);
  add("mean", "MeanArguments", 16);
  add("cross_entropy", "LossArguments", 24);
  add("cross_entropy_backward", "LossBackwardArguments", 40);
  rows.push_back({"row.rms_norm_backward_weight.f32",
                  choose_tiles,
                  {"row", "rms_norm_backward_weight", "NormWeightArguments", "", 256, 0},
                  32});
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
  const std::uint64_t matrices = request.grid.z;
  if (s.m > few_rows && tiles * matrices >= request.multiprocessors * 3 / 4) {
    choice.function = "matmul_tiles";
    choice.defines += "#define SILICA_BLOCKS 2\n";
    choice.threads = 256;
    choice.blocks = tiles * matrices;
    return choice;
  }
  const std::uint64_t height = s.m <= few_rows ? 2 : 8;
  unsigned warps = 1;
  while (warps < 8 && warps * k_block < s.k) warps *= 2;
  choice.function = message("Split<", warps, ", ", height, ">::run");
  choice.threads = warps * 32;
  choice.blocks = ceil_div(s.m, 4 * height) * ceil_div(s.n, split_cols) * matrices;
  return choice;
}

// ---- layout

constexpr unsigned layout_threads = 256;

// Moves words of 16 bytes where the block and both of its strides are made of them.
Choice choose_block(const CatalogueRow& row, const Request& request) {
  constexpr std::uint64_t word = 16, words_of_group = 4 * layout_threads;
  const auto is_aligned = [&](std::size_t at, std::uint64_t unit) {
    return word_at(request, at) * unit % word == 0;
  };
  const std::uint64_t size = row.offset;  // bytes of an element
  const bool wide = is_aligned(0, 1) && is_aligned(8, 1) && is_aligned(24, size) && is_aligned(32, size) &&
                    is_aligned(40, size);
  Choice choice = row.base;
  choice.function =
      wide ? message("copy_block<Words4, ", word / size, ">") : message("copy_block<u", 8 * size, ", 1>");
  choice.blocks = ceil_div(request.grid.x, words_of_group * (wide ? word / size : 1));
  return choice;
}

Choice choose_transpose(const CatalogueRow& row, const Request& request) {
  constexpr std::uint64_t side = 32;
  Choice choice = row.base;
  choice.blocks = ceil_div(request.grid.x, side) * ceil_div(request.grid.y, side) * request.grid.z;
  return choice;
}

void add_layout_family(std::vector<CatalogueRow>& rows) {
  for (const std::size_t size : {1u, 2u, 4u}) {
    rows.push_back({message("layout.copy_block.", size),
                    choose_block,
                    {"layout", "", "BlockArguments", "", layout_threads, 0},
                    size});
    rows.push_back(
        {message("layout.transpose.", size),
         choose_transpose,
         {"layout", message("transpose<u", 8 * size, ">"), "TransposeArguments", "", layout_threads, 0}});
  }
  for (const auto& [dtype, type] : dtypes) {
    rows.push_back({message("layout.sum_rows.", dtype),
                    choose_tiles,
                    {"layout", message("SumRows<", type, ">::run"), message("SumArguments<", type, ">"), "",
                     layout_threads, 0},
                    32});
  }
}

// ---- embedding, adamw

Choice choose_embedding_backward(const CatalogueRow& row, const Request& request) {
  Choice choice = row.base;
  choice.blocks = word_at(request, row.offset);  // rows of the table
  return choice;
}

void add_embedding_family(std::vector<CatalogueRow>& rows) {
  for (const auto& [dtype, type] : dtypes) {
    rows.push_back({message("embedding.embedding.", dtype),
                    choose_tiles,
                    {"embedding", message("embedding<", type, ">"), message("EmbeddingArguments<", type, ">"),
                     "", 256, 0},
                    8});
    rows.push_back({message("embedding.embedding_backward.", dtype),
                    choose_embedding_backward,
                    {"embedding", message("embedding_backward<", type, ">"),
                     message("EmbeddingBackwardArguments<", type, ">"), "", 256, 0},
                    32});
  }
}

std::vector<CatalogueRow> make_catalogue() {
  std::vector<CatalogueRow> rows;
  add_map_family(rows);
  add_row_family(rows);
  rows.push_back({"matmul.matmul.f32", choose_matmul, {"matmul", "", "MatmulArguments", "", 0, 0}});
  add_layout_family(rows);
  add_embedding_family(rows);
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
