// SPDX-License-Identifier: MIT
#include "backends/cuda/tensor_core.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "backends/cuda/driver.h"
#include "backends/cuda/nvrtc.h"
#include "core/format.h"
#include "kernels/matmul/matmul.h"

namespace silica::cuda {

namespace {

using kernels::ProductSizes;
using Places = std::vector<unsigned>;  // of operands in a command

// What a kernel of the family does with its operands; see tensor_core.cu.
struct Kind {
  std::string_view name;
  std::string_view epilogue;
  Places a, b, inputs, outputs;
};
const std::array<Kind, 5> kinds = {{
    {"product", "store", {0}, {1}, {}, {2}},
    {"input_backward", "store", {0, 2}, {1, 3}, {}, {4}},
    {"hidden", "swiglu", {0}, {1, 2}, {}, {3}},
    {"hidden_kept", "swiglu", {0}, {1, 2}, {}, {3, 4, 5}},
    {"hidden_backward", "swiglu_backward", {0}, {1}, {2, 3}, {4, 5}},
}};

constexpr int data_f16 = 6, data_bf16 = 9;  // CUtensorMapDataType
constexpr unsigned box = 64, tile_m = 128, tile_n = 256, tile_k = 64, cluster = 2;

struct Arguments {
  TensorMap a[2] = {}, b[2] = {}, inputs[2] = {}, outputs[3] = {};
  std::uint32_t k_blocks_first = 0, k_blocks = 0, tile_rows = 0, tile_columns = 0;
  std::uint32_t band = 8;  // see docs/decisions.md, and turn_columns in tensor_core.cu
  std::uint32_t keeps_operands = 0;
};
static_assert(sizeof(Arguments) == 1216 && sizeof(TensorMap) == 128);

// A row-major matrix, read and written in boxes of 64 columns.
TensorMap map_of(std::uint64_t address, int data_type, std::uint64_t rows, std::uint64_t cols,
                 std::uint32_t box_rows) {
  constexpr int no_interleave = 0, swizzle_of_128_bytes = 3, fetch_128_bytes = 2, zeros_outside = 0;
  const std::uint64_t extents[] = {cols, rows}, step[] = {cols * 2};
  const std::uint32_t boxes[] = {box, box_rows}, steps[] = {1, 1};
  TensorMap map;
  if (driver().tensor_map == nullptr) return map;  // only the text is wanted
  const Result result =
      driver().tensor_map(&map, data_type, 2, reinterpret_cast<void*>(address), extents, step, boxes, steps,
                          no_interleave, swizzle_of_128_bytes, fetch_128_bytes, zeros_outside);
  if (result != success) {
    fail(ErrorCode::unsupported, "feed_forward: a tensor map of ", rows, " x ", cols, " elements at ",
         address, " fails: ", driver().describe(result));
  }
  return map;
}

std::uint32_t tiles(std::uint64_t extent, std::uint64_t tile) {
  return static_cast<std::uint32_t>((extent + tile - 1) / tile);
}

ProductSizes sizes_of(const Kind& kind, const Request& request) {
  const std::size_t operands = kind.a.size() + kind.b.size() + kind.inputs.size() + kind.outputs.size();
  ProductSizes sizes;
  std::memcpy(&sizes, request.arguments + operands * sizeof(std::uint64_t), sizeof sizes);
  return sizes;
}

Arguments arguments_of(const Kind& kind, const ProductSizes& s, const Request& request, int data_type) {
  const auto maps = [&](const Places& places, TensorMap* to, std::uint64_t rows, std::uint64_t cols,
                        std::uint32_t box_rows) {
    for (const unsigned place : places) {
      std::uint64_t address = 0;
      std::memcpy(&address, request.arguments + place * sizeof address, sizeof address);
      *to++ = map_of(address, data_type, rows, cols, box_rows);
    }
  };
  Arguments arguments;
  // What lies along the rows of C is fetched in boxes of 64 by 64, what lies along k in such of a whole tile,
  // of each matrix.
  if (s.transpose_a != 0)
    maps(kind.a, arguments.a, s.k, s.m, box);
  else
    maps(kind.a, arguments.a, s.m, s.k, tile_m);
  const bool is_pair = kind.epilogue == "swiglu";  // two matrices share a tile's columns
  const std::uint32_t columns = is_pair ? tile_n / 2 : tile_n;
  if (s.transpose_b != 0)
    maps(kind.b, arguments.b, s.n, s.k, columns);
  else
    maps(kind.b, arguments.b, s.k, s.n, box);
  maps(kind.inputs, arguments.inputs, s.m, s.n, box);
  maps(kind.outputs, arguments.outputs, s.m, s.n, box);
  arguments.k_blocks_first = tiles(s.k, tile_k);
  arguments.k_blocks = arguments.k_blocks_first * static_cast<std::uint32_t>(kind.a.size());
  arguments.tile_rows = tiles(s.m, tile_m * cluster);
  arguments.tile_columns = tiles(s.n, columns);
  arguments.keeps_operands = kind.outputs.size() == 3;
  return arguments;
}

Choice choose(const CatalogueRow& row, const Request& request) {
  constexpr unsigned threads = 384, stages = 3;
  constexpr unsigned stage_bytes = (tile_m + tile_n) * tile_k * 2, sums_bytes = tile_m * tile_n * 2;
  constexpr unsigned spare_bytes = 2 * box * box * 2, barriers = 2 * stages + 3, alignment = 1024;
  const Kind& kind = kinds[row.offset];
  const ProductSizes sizes = sizes_of(kind, request);
  const bool is_bf16 = row.name.find(".bf16") != std::string::npos;
  const Arguments arguments = arguments_of(kind, sizes, request, is_bf16 ? data_bf16 : data_f16);
  const auto flag = [](std::uint32_t set) { return set != 0 ? "true" : "false"; };
  Choice choice = row.base;
  choice.function =
      message("TensorCoreProduct<", is_bf16 ? "BF16" : "F16", ", ", flag(sizes.transpose_a), ", ",
              flag(sizes.transpose_b), ", Epilogue::", kind.epilogue, ", ", stages, ">::run");
  choice.threads = threads;
  // Clusters go on to the next tile. As few of them as take no more turns than all that run at once.
  const std::uint64_t all = std::uint64_t{arguments.tile_rows} * arguments.tile_columns;
  const std::uint64_t turns = tiles(all, std::max(1u, request.multiprocessors / cluster));
  choice.blocks = cluster * tiles(all, turns);
  choice.shared_bytes = stages * stage_bytes + sums_bytes + spare_bytes + barriers * 8 + alignment;
  const auto* first = reinterpret_cast<const std::byte*>(&arguments);
  choice.block = {first, first + sizeof arguments};
  return choice;
}

std::vector<CatalogueRow> make_rows() {
  std::vector<CatalogueRow> rows;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    for (const char* dtype : {"bf16", "f16"}) {
      CatalogueRow row{message("feed_forward.", kinds[i].name, ".", dtype, ".fast"), choose, {}, i};
      row.base.family = "tensor_core";
      row.base.arguments = "ProductArguments";
      row.base.is_specific = true;
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

const std::vector<CatalogueRow>& all() {
  static const std::vector<CatalogueRow> rows = make_rows();
  return rows;
}

}  // namespace

std::span<const CatalogueRow> tensor_core_kernels(int architecture) {
  constexpr int hopper = 90, oldest_nvrtc = 12000;
  if (architecture != hopper || driver().tensor_map == nullptr || nvrtc_version() < oldest_nvrtc) return {};
  return all();
}

const CatalogueRow* find_tensor_core_kernel(std::string_view name) {
  const auto found = std::ranges::find(all(), name, &CatalogueRow::name);
  return found != all().end() ? &*found : nullptr;
}

}  // namespace silica::cuda
