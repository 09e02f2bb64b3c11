// SPDX-License-Identifier: MIT
// The names of the library's kernels, each with its module and specialisation constants (kernels/*/*.comp).
#include <cstdint>

#include "backends/vulkan/context.h"
#include "core/format.h"
#include "silica/dtype.h"

// Made at build time from kernels/: for each module the words, with the device's fma and with the emulated
// one.
#include "vulkan_modules.h"

namespace silica::vulkan {

namespace {

struct Module {
  std::span<const std::uint32_t> native, emulated;
};
#define SILICA_MODULE(name) constexpr Module name##_module{name##_native, name##_emulated};
SILICA_VULKAN_MODULES(SILICA_MODULE)
#undef SILICA_MODULE

// Constant ids: prelude_glsl.h.
constexpr std::uint32_t emulate_div_id = 100, emulate_sqrt_id = 101, emulate_conversions_id = 102,
                        fma_only_flushes_id = 103, emulate_less_id = 104;

SpirvSource source_of(const Module& module, Tile tile, const Primitives& primitives) {
  return {primitives.emulate_fma ? module.emulated : module.native,
          tile,
          {{emulate_div_id, primitives.emulate_div},
           {emulate_sqrt_id, primitives.emulate_sqrt},
           {emulate_conversions_id, primitives.emulate_conversions},
           {fma_only_flushes_id, primitives.fma_only_flushes},
           {emulate_less_id, primitives.emulate_less}}};
}

class Table {
 public:
  explicit Table(const Primitives& of_device) : primitives(of_device) {}

  // `values` are the constants 0, 1, ...
  void add(std::string name, const Module& module, Tile tile, std::initializer_list<std::uint32_t> values) {
    SpirvSource source = source_of(module, tile, primitives);
    std::uint32_t id = 0;
    for (const std::uint32_t value : values) source.constants.emplace_back(id++, value);
    kernels.emplace_back(std::move(name), KernelSource{.cpu = {}, .vulkan = std::move(source)});
  }

  const Primitives& primitives;
  std::vector<std::pair<std::string, KernelSource>> kernels;
};

constexpr DType map_dtypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr std::uint32_t kernel_cast = 0, kernel_fill = 1;  // of the module without a row of ops.inc
constexpr Tile byte_tile{4096};
constexpr std::uint32_t map_threads = 64;

// The elements of a thread, all of which it loads at once: few where they take many registers.
std::uint32_t map_elements(std::uint32_t operands) { return operands > 4 ? 8 : 16; }

void add_map(Table& table, std::string_view op, const Module& module, std::uint32_t kernel,
             std::uint32_t inputs, std::uint32_t outputs) {
  const std::uint32_t elements = map_elements(inputs + outputs);
  for (std::uint32_t d = 0; d < std::size(map_dtypes); ++d) {
    table.add(message("map.", op, ".", to_string(map_dtypes[d])), module, Tile{map_threads * elements},
              {kernel, inputs, outputs, d, d, elements});
  }
}

void add_maps(Table& table) {
#define SILICA_FORWARD(op, inputs) add_map(table, #op, map_##op##_module, 0, inputs, 1);
#define SILICA_BACKWARD(op, inputs, outputs) \
  add_map(table, #op "_backward", map_##op##_module, 1, inputs, outputs);
#define SILICA_UNARY(op, ...) SILICA_FORWARD(op, 1) SILICA_BACKWARD(op, 2, 1)
#define SILICA_UNARY_LINEAR(op, ...) SILICA_FORWARD(op, 1)
#define SILICA_UNARY_SCALAR(op, ...) SILICA_FORWARD(op, 1)
#define SILICA_BINARY(op, ...) SILICA_FORWARD(op, 2) SILICA_BACKWARD(op, 3, 2)
#define SILICA_BINARY_LINEAR(op, ...) SILICA_FORWARD(op, 2) SILICA_BACKWARD(op, 1, 2)
#define SILICA_BINARY_SCALAR(op, ...) SILICA_BINARY_LINEAR(op)
#include "kernels/ops.inc"
  add_map(table, "fill", map_module, kernel_fill, 0, 1);
  const std::uint32_t elements = map_elements(2);
  for (std::uint32_t from = 0; from < std::size(map_dtypes); ++from) {
    for (std::uint32_t to = 0; to < std::size(map_dtypes); ++to) {
      if (from == to) continue;
      table.add(message("map.cast.", to_string(map_dtypes[from]), ".", to_string(map_dtypes[to])), map_module,
                Tile{map_threads * elements}, {kernel_cast, 1, 1, from, to, elements});
    }
  }
  table.add("map.zero", bytes_module, byte_tile, {0});
  table.add("map.copy", bytes_module, byte_tile, {1});
}

void add_rows(Table& table) {
  constexpr Tile columns{32};
  for (std::uint32_t d = 0; d < std::size(map_dtypes); ++d) {
    const auto add = [&](std::string_view name, const Module& module, std::uint32_t flag = 0,
                         Tile tile = {}) {
      table.add(message("row.", name, ".", to_string(map_dtypes[d])), module, tile, {d, flag});
    };
    for (const std::string name : {"sum", "mean"}) {
      add(name, row_sum_module);
      add(name + "_backward", row_sum_backward_module);
    }
    for (const std::string name : {"rms_norm", "l2_norm", "layer_norm"}) {
      const std::uint32_t centered = name == "layer_norm";
      add(name, row_norm_module, centered);
      add(name + "_backward", row_norm_backward_module, centered);
      if (name == "l2_norm") continue;  // which has no weight
      add(name + "_backward_statistics", row_norm_statistics_module, centered);
      add(name + "_backward_weight", row_norm_backward_weight_module, centered, columns);
    }
    add("layer_norm_backward_bias", row_norm_backward_bias_module, 0, columns);
    add("softmax", softmax_softmax_module);
    add("softmax_backward", softmax_softmax_backward_module);
    add("log_softmax", softmax_log_softmax_module);
    add("log_softmax_backward", softmax_log_softmax_backward_module);
    add("cross_entropy", softmax_cross_entropy_module);
    add("cross_entropy_backward", softmax_cross_entropy_backward_module);
    add("kl_divergence", softmax_kl_divergence_module);
    add("kl_divergence_backward_p", softmax_kl_divergence_backward_module, 1);
    add("kl_divergence_backward_q", softmax_kl_divergence_backward_module, 0);
  }
}

void add_layout(Table& table) {
  constexpr Tile block{1024}, square{32, 32}, columns{32};
  for (const std::uint32_t size : {1u, 2u, 4u}) {
    table.add(message("layout.copy_block.", size), layout_module, block, {0, size});
    table.add(message("layout.transpose.", size), layout_module, square, {1, size});
  }
  for (std::uint32_t d = 0; d < std::size(map_dtypes); ++d) {
    table.add(message("layout.sum_rows.", to_string(map_dtypes[d])), layout_module, columns, {2, 0, d});
  }
}

}  // namespace

std::vector<std::pair<std::string, KernelSource>> kernels_for(const Primitives& primitives) {
  Table table(primitives);
  add_maps(table);
  constexpr Tile one{1}, table_columns{16}, square{64, 64}, elements{256};
  add_rows(table);
  table.add("matmul.matmul.f32", matmul_module, square, {});
  add_layout(table);
  for (std::uint32_t d = 0; d < std::size(map_dtypes); ++d) {
    const std::string_view dtype = to_string(map_dtypes[d]);
    table.add(message("embedding.embedding.", dtype), embedding_module, one, {0, d});
    table.add(message("embedding.embedding_backward.", dtype), embedding_module, table_columns, {1, d});
  }
  table.add("adamw.adamw_step.f32", adamw_module, one, {0});
  table.add("adamw.adamw.f32", adamw_module, elements, {1});
  return std::move(table.kernels);
}

SpirvSource probe_source(const Primitives& primitives) {
  return source_of(probe_module, Tile{256}, primitives);
}

}  // namespace silica::vulkan
