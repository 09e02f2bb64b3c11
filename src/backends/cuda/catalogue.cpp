// SPDX-License-Identifier: MIT
#include "backends/cuda/catalogue.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "core/format.h"
#include "kernels/matmul/matmul.h"

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

// ---- map: in large ones a thread has more loads in flight, as many as its registers allow

constexpr std::uint64_t large_map = std::uint64_t{1} << 22;       // elements
constexpr std::uint64_t large_wide_map = std::uint64_t{1} << 20;  // in f32, five operands

Choice choose_map(const CatalogueRow& row, const Request& request) {
  const std::size_t width = row.offset;  // of a vector, in elements
  const bool has_many = row.operands > 3;
  const bool is_large = request.grid.x >= (has_many && width == 4 ? large_wide_map : large_map);
  const std::size_t vectors = !is_large ? 1 : has_many ? 2 : 4;
  Choice choice = row.base;
  choice.defines = message("#define SILICA_VECTORS ", vectors, "\n");
  choice.threads = vectors == 1 ? 128 : 64;
  const std::size_t group = choice.threads * vectors * width;
  choice.blocks = ceil_div(request.grid.x, group);
  // Behind the operands, n and s comes how many groups move 16 bytes at a time.
  const std::size_t whole_at = (row.operands + 1) * sizeof(std::uint64_t) + sizeof(float);
  choice.block.assign(request.arguments, request.arguments + whole_at + sizeof(std::uint32_t));
  std::uint64_t places = 0;
  for (std::size_t i = 0; i < row.operands; ++i) places |= word_at(request, i * sizeof places);
  const auto whole = static_cast<std::uint32_t>(places % 16 == 0 ? request.grid.x / group : 0);
  std::memcpy(choice.block.data() + whole_at, &whole, sizeof whole);
  return choice;
}

CatalogueRow map_row(std::string_view name, std::string_view op, std::string_view types, std::size_t width,
                     std::size_t operands) {
  const std::string map = message("Map<", op, ", ", types, ">");
  return {message("map.", name),
          choose_map,
          {"map", map + "::run", map + "::Arguments", "", 0, 0},
          width,
          operands};
}

void add_map(std::vector<CatalogueRow>& rows, std::string_view name, std::string_view op,
             std::size_t operands) {
  rows.push_back(map_row(message(name, ".f32"), op, "F32", 4, operands));
  rows.push_back(map_row(message(name, ".f16"), op, "F16", 8, operands));
  rows.push_back(map_row(message(name, ".bf16"), op, "BF16", 8, operands));
}

Choice choose_tiles(const CatalogueRow& row, const Request& request) {
  Choice choice = row.base;
  choice.blocks = ceil_div(request.grid.x, row.offset);  // offset: elements of a group
  return choice;
}

void add_map_family(std::vector<CatalogueRow>& rows) {
#define SILICA_FORWARD(op, operands) add_map(rows, #op, #op "_map", operands);
#define SILICA_BACKWARD(op, operands) add_map(rows, #op "_backward", #op "_backward_map", operands);
#define SILICA_UNARY(op, ...) SILICA_FORWARD(op, 2) SILICA_BACKWARD(op, 3)
#define SILICA_UNARY_LINEAR(op, ...) SILICA_FORWARD(op, 2)
#define SILICA_UNARY_SCALAR(op, ...) SILICA_FORWARD(op, 2)
#define SILICA_BINARY(op, ...) SILICA_FORWARD(op, 3) SILICA_BACKWARD(op, 5)
#define SILICA_BINARY_LINEAR(op, ...) SILICA_FORWARD(op, 3) SILICA_BACKWARD(op, 3)
#define SILICA_BINARY_SCALAR(op, ...) SILICA_BINARY_LINEAR(op)
#include "kernels/ops.inc"
#undef SILICA_FORWARD
#undef SILICA_BACKWARD
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
  add_map(rows, "fill", "fill_map", 1);
  rows.push_back(map_row("cast.f32.f16", "cast_map", "F32, F16", 8, 2));
  rows.push_back(map_row("cast.f32.bf16", "cast_map", "F32, BF16", 8, 2));
  rows.push_back(map_row("cast.f16.f32", "cast_map", "F16, F32", 8, 2));
  rows.push_back(map_row("cast.f16.bf16", "cast_map", "F16, BF16", 8, 2));
  rows.push_back(map_row("cast.bf16.f32", "cast_map", "BF16, F32", 8, 2));
  rows.push_back(map_row("cast.bf16.f16", "cast_map", "BF16, F16", 8, 2));
  constexpr std::size_t bytes_threads = 64, bytes_tile = bytes_threads * 64;
  rows.push_back(
      {"map.copy", choose_tiles, {"map", "copy_bytes", "CopyArguments", "", bytes_threads, 0}, bytes_tile});
  rows.push_back(
      {"map.zero", choose_tiles, {"map", "zero_bytes", "ZeroArguments", "", bytes_threads, 0}, bytes_tile});
}

// ---- row: a warp for a short row, a block for a long one, which keeps what it reads several times

constexpr std::uint64_t short_row = 4096;  // bytes

// The bytes that a block may keep. The 228 KiB of some multiprocessors are for two blocks that keep a row, or
// one that keeps two, which are read more often.
std::uint64_t most_kept(int architecture, std::size_t rows) {
  constexpr std::uint64_t kib = 1024;
  const bool is_large = architecture == 90 || architecture == 100 || architecture == 103;
  if (is_large) return rows == 1 ? 110 * kib : 160 * kib;
  return architecture < 80 ? 40 * kib : 96 * kib;  // of 48 and 99
}

// The function's text says Team where it wants one; `operands` is how many rows are kept.
Choice choose_row(const CatalogueRow& row, const Request& request) {
  const std::uint64_t cols = word_at(request, row.offset), size = row.name.ends_with(".f32") ? 4 : 2;
  const std::uint64_t most = most_kept(request.architecture, row.operands);
  const std::uint64_t kept =
      std::min(cols, most) * size * row.operands + 2 * 16;  // rows are whole runs of 16 bytes
  const bool is_short = cols <= short_row / size;
  const bool keeps = !is_short && row.operands > 0 && kept <= most;
  Choice choice = row.base;
  choice.function.insert(choice.function.find("Team"), is_short ? "Warp" : keeps ? "Keeping" : "Block");
  choice.threads = is_short ? 32 : 256;
  choice.blocks = request.grid.x;
  choice.shared_bytes = keeps ? static_cast<unsigned>(kept) : 0;
  return choice;
}

// Sums over rows: a thread for each partial sum of a column, and narrow groups where there are few columns.
Choice choose_columns(const CatalogueRow& row, const Request& request) {
  const std::uint64_t rows = word_at(request, row.offset), cols = word_at(request, row.offset + 8);
  unsigned columns = cols < 768 ? 8 : cols < 2048 ? 16 : 32, threads = 256;
  while (threads < 1024 && threads < columns * ceil_div(rows, 256)) threads *= 2;
  Choice choice = row.base;
  choice.function.insert(choice.function.find('>'), message(", ", columns, ", ", threads / columns));
  choice.threads = threads;
  choice.blocks = ceil_div(cols, columns);
  return choice;
}

// `cols` is the offset of that parameter; `kept` says how many rows are kept.
void add_rows(std::vector<CatalogueRow>& rows, std::string_view type, std::string_view dtype) {
  const auto add = [&](std::string_view name, std::string_view function, std::string_view flag,
                       std::string_view arguments, std::size_t cols, unsigned kept) {
    const bool is_norm = arguments == "NormArguments";  // whose layout depends on the flag
    rows.push_back({message("row.", name, ".", dtype),
                    choose_row,
                    {"row", message(function, "<Team<", type, ">", flag, ">"),
                     message(arguments, "<", type, is_norm ? flag : "", ">"), "", 0, 0},
                    cols});
    rows.back().operands = kept;
  };
  const auto add_columns = [&](std::string_view name, std::string_view function, std::string_view flag,
                               std::string_view arguments, std::size_t extents) {
    rows.push_back({message("row.", name, ".", dtype),
                    choose_columns,
                    {"row", message(function, "<ColumnTeam<", type, ">", flag, ">"),
                     message(arguments, "<", type, ">"), "", 0, 0},
                    extents});
  };
  for (const std::string name : {"sum", "mean"}) {
    add(name, "sum", "", "SumArguments", 16, 0);
    add(name + "_backward", "sum_backward", "", "SumBackwardArguments", 16, 0);
  }
  for (const std::string name : {"rms_norm", "l2_norm", "layer_norm"}) {
    const bool centered = name == "layer_norm";
    const std::string_view flag = centered ? ", true" : ", false";
    add(name, "norm", flag, "NormArguments", centered ? 32 : 24, 1);
    add(name + "_backward", "norm_backward", flag, "NormBackwardArguments", 40, 2);
    if (name == "l2_norm") continue;  // which has no weight
    add(name + "_backward_statistics", "norm_statistics", flag, "StatisticsArguments", 16, centered ? 1 : 0);
    add_columns(name + "_backward_weight", "norm_backward_weight", flag, "NormWeightArguments", 32);
  }
  add_columns("layer_norm_backward_bias", "norm_backward_bias", "", "NormBiasArguments", 16);
  for (const std::string name : {"softmax", "log_softmax"}) {
    add(name, name, "", "SoftmaxArguments", 16, 1);
    add(name + "_backward", name + "_backward", "", "SoftmaxBackwardArguments", 24, 2);
  }
  add("cross_entropy", "cross_entropy", "", "LossArguments", 24, 1);
  add("cross_entropy_backward", "cross_entropy_backward", "", "LossBackwardArguments", 40, 1);
  add("kl_divergence", "kl_divergence", "", "DivergenceArguments", 24, 2);
  add("kl_divergence_backward_p", "kl_divergence_backward", ", true", "DivergenceBackwardArguments", 40, 2);
  add("kl_divergence_backward_q", "kl_divergence_backward", ", false", "DivergenceBackwardArguments", 40, 2);
}

void add_row_family(std::vector<CatalogueRow>& rows) {
  add_rows(rows, "F32", "f32");
  add_rows(rows, "F16", "f16");
  add_rows(rows, "BF16", "bf16");
}

// ---- matmul: see matmul.cu

constexpr std::uint64_t k_block = 256;  // of the contract

struct MatmulSizes {
  std::uint64_t a, b, c, m, n, k;
  std::uint32_t transpose_a, transpose_b;
};

// Whether runs of 4 elements of every operand are aligned, and whole in each of its lines.
bool is_wide(const MatmulSizes& s) {
  const std::uint64_t lines = (s.transpose_a ? s.m : s.k) | (s.transpose_b ? s.k : s.n) | s.n;
  return (s.a | s.b | s.c) % 16 == 0 && lines % 4 == 0;
}

template <class T> std::vector<std::byte> bytes_of(const T& value) {
  const auto* first = reinterpret_cast<const std::byte*>(&value);
  return {first, first + sizeof value};
}

// The large kernel of panels.h, which wants both operands k by rows.
struct Panels {
  static constexpr std::uint64_t side = 128, worth_transposing = 1024, alignment = 256;
  static constexpr unsigned shared_bytes = (4 * 2 * 8 * (side + 4) + side * side) * sizeof(float);

  explicit Panels(const MatmulSizes& sizes) : s(sizes) {}

  bool fits(const Request& request) const {
    const std::uint64_t tiles = ceil_div(s.m, side) * ceil_div(s.n, side);
    const bool a_fits = s.transpose_a ? s.m % 4 == 0 && s.a % 16 == 0 : s.n >= worth_transposing;
    const bool b_fits = !s.transpose_b ? s.b % 16 == 0 : s.m >= worth_transposing;
    const bool needs_scratch = !s.transpose_a || s.transpose_b;
    return request.architecture >= 80 && request.grid.z == 1 && std::min(s.m, s.n) > side / 2 &&
           tiles * 2 >= request.multiprocessors * std::uint64_t{3} && s.n % 4 == 0 && s.c % 16 == 0 &&
           a_fits && b_fits && std::max(s.m, s.n) < (1u << 31) && (request.may_use_scratch || !needs_scratch);
  }

  Choice choose(const Choice& base, std::uint64_t scratch) {
    Choice choice = base;
    struct {
      std::uint64_t a, b, c, m, n, k;
      std::uint32_t a_step, b_step;
    } arguments{
        s.a, s.b, s.c, s.m, s.n, s.k, static_cast<std::uint32_t>(s.m), static_cast<std::uint32_t>(s.n)};
    if (!s.transpose_a) arguments.a = transpose(choice, scratch, s.a, s.m, arguments.a_step);
    if (s.transpose_b) arguments.b = transpose(choice, scratch, s.b, s.n, arguments.b_step);
    choice.function = "matmul_panels";
    choice.arguments = "PanelArguments";
    choice.defines = "#define SILICA_BLOCKS 2\n";
    choice.threads = 128;
    choice.blocks = ceil_div(s.m, side) * ceil_div(s.n, side);
    choice.shared_bytes = shared_bytes;
    choice.block = bytes_of(arguments);
    return choice;
  }

  // Of x (rows, k), into the scratch memory; returns where.
  std::uint64_t transpose(Choice& choice, std::uint64_t scratch, std::uint64_t x, std::uint64_t rows,
                          std::uint32_t& step) const {
    step = static_cast<std::uint32_t>(ceil_div(rows, 4) * 4);
    const std::uint64_t y = scratch + choice.scratch;
    choice.scratch += ceil_div(step * s.k * sizeof(float), alignment) * alignment;
    struct {
      std::uint64_t x, y, rows, cols, step;
    } const arguments{x, y, rows, s.k, step};
    Choice& first = choice.before.emplace_back();
    first.family = choice.family;
    first.function = "transpose_to_panel";
    first.arguments = "PanelTransposeArguments";
    first.threads = 256;
    first.blocks = ceil_div(rows, 64) * ceil_div(s.k, 64);
    first.block = bytes_of(arguments);
    return y;
  }

  const MatmulSizes s;
};

// A product of few rows in elements of `type`: of one factor, or of two and swiglu.
struct FewRows {
  const MatmulSizes& s;
  std::string_view type;
  std::uint64_t a, b;  // addresses; those of two factors in one word
  std::uint64_t factors = 1;

  Choice choose(const Choice& base, int architecture) const {
    Choice choice = s.transpose_b ? by_columns(base, architecture) : by_lines(base);
    choice.arguments = message("FewRowsArguments<", type, ", ", factors, ">");
    return choice;
  }

  // few_rows.h
  Choice by_columns(const Choice& base, int architecture) const {
    constexpr std::uint64_t columns = 8, blocks_of_warp = 4, line = 36, kib = 1024;
    const std::uint64_t blocks = ceil_div(s.k, k_block), lines = 32 + blocks_of_warp * s.m;
    const auto shared_bytes = [&](unsigned warps) {
      const std::uint64_t stages = warps == 8 ? 2 : 4;
      return static_cast<unsigned>(sizeof(float) * (warps * stages * lines * line + blocks * s.m * columns));
    };
    const bool has_much = architecture == 80 || architecture == 90 || architecture == 100;
    const std::uint64_t most_shared = (architecture < 80 ? 48 : has_much ? 160 : 96) * kib;
    unsigned warps = 1;
    while (warps < 8 && warps * blocks_of_warp < blocks && shared_bytes(2 * warps) <= most_shared) warps *= 2;
    Choice choice = base;
    choice.function = message("FewRows<", type, ", ", factors, ", ", s.m, ", ", warps, ", ",
                              is_wide(a | b, s.k), ">::run_group");
    choice.threads = warps * 32;
    choice.blocks = ceil_div(s.n, columns / factors);
    choice.shared_bytes = shared_bytes(warps);
    return choice;
  }

  // few_rows_lines.h; see docs/decisions.md for the numbers of warps.
  Choice by_lines(const Choice& base) const {
    const std::uint64_t columns = 8 * run(), tasks = ceil_div(s.k, k_block) * factors;
    const unsigned tasks_of_warp = 4, most = factors == 1 ? 8 : 4;
    unsigned warps = 1;
    while (warps < most && warps * tasks_of_warp < tasks) warps *= 2;
    Choice choice = base;
    choice.function = message("FewRowsLines<", type, ", ", factors, ", ", s.m, ", ", warps, ", ",
                              is_wide(b, s.n), ", ", is_wide(a, s.k), ">::run_group");
    choice.threads = warps * 32;
    choice.blocks = ceil_div(s.n, columns);
    return choice;
  }

  std::uint64_t run() const { return type == "F32" ? 4 : 8; }  // elements of 16 bytes
  // Whether they are whole and aligned in lines of this length.
  int is_wide(std::uint64_t place, std::uint64_t length) const {
    return place % 16 == 0 && length % run() == 0 ? 1 : 0;
  }
};

// Of 16 bits, which has no other kernel.
Choice choose_half_rows(const CatalogueRow& row, const Request& request) {
  MatmulSizes s{};
  std::memcpy(&s, request.arguments, sizeof s);
  return FewRows{s, row.base.arguments, s.a, s.b}.choose(row.base, request.architecture);
}

// Behind x come two factors instead of one.
Choice choose_few_rows_pair(const CatalogueRow& row, const Request& request) {
  MatmulSizes s{};
  std::memcpy(&s, request.arguments + sizeof s.a, sizeof s);
  return FewRows{s, row.base.arguments, word_at(request, 0), s.a | s.b, 2}.choose(row.base,
                                                                                  request.architecture);
}

Choice choose_matmul(const CatalogueRow& row, const Request& request) {
  constexpr std::uint64_t side = 128, split_cols = 64, few_rows = 8;
  MatmulSizes s{};
  std::memcpy(&s, request.arguments, sizeof s);
  if (request.grid.z == 1 && kernels::is_few_rows(s.m, s.k, s.transpose_a != 0, s.transpose_b != 0))
    return FewRows{s, "F32", s.a, s.b}.choose(row.base, request.architecture);
  if (Panels panels(s); panels.fits(request)) return panels.choose(row.base, request.scratch);
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
  rows.push_back({"matmul.few_rows.f16", choose_half_rows, {"matmul", "", "F16", "", 0, 0}});
  rows.push_back({"matmul.few_rows.bf16", choose_half_rows, {"matmul", "", "BF16", "", 0, 0}});
  // In f32 it is no faster than its parts.
  rows.push_back({"feed_forward.few_rows.f16", choose_few_rows_pair, {"matmul", "", "F16", "", 0, 0}});
  rows.push_back({"feed_forward.few_rows.bf16", choose_few_rows_pair, {"matmul", "", "BF16", "", 0, 0}});
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
