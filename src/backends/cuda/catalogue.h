// SPDX-License-Identifier: MIT
// The library's own kernels: which device function of which family runs a command, and with how many blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "silica/kernel.h"

namespace silica::cuda {

// What a command asks for.
struct Request {
  Grid grid;
  const std::byte* arguments;  // max_argument_bytes with final addresses; zero behind the command's own
  unsigned multiprocessors;
  int architecture = 90;
  bool may_use_scratch = true;
  std::uint64_t scratch = 0;  // the address of what a first choice asked for
};

// One way to run it. Every choice gives the same bits; they differ in speed.
struct Choice {
  std::string family;     // kernels/<family>/<family>.cu
  std::string function;   // the device function: "Map<silu_map, F32>::run"
  std::string arguments;  // the type of its argument block
  std::string defines;    // what else the text depends on
  unsigned threads = 0;   // of a block
  std::uint64_t blocks = 0;
  unsigned shared_bytes = 0;          // beside what the text declares
  bool is_specific = false;           // has instructions of this one architecture: sm_90a
  std::vector<std::byte> block = {};  // the argument block, if it is not the command's
  std::size_t scratch = 0;            // bytes; choose again with their address
  std::vector<Choice> before = {};    // kernels that run first, the one beside the other
};

struct CatalogueRow {
  std::string name;  // "map.silu.f32"
  Choice (*choose)(const CatalogueRow& row, const Request& request);
  Choice base;             // filled in by `choose`
  std::size_t offset = 0;  // in the argument block, of the first extent that `choose` looks at
  std::size_t operands =
      0;  // that it asks about: all of an elementwise op's, those that a row's kernel keeps
};

const std::vector<CatalogueRow>& catalogue();
const CatalogueRow* find_in_catalogue(std::string_view name);

std::string entry_of(std::string_view name);                       // "map_silu_f32"
std::string text_of(std::string_view name, const Choice& choice);  // what NVRTC compiles

// The device text, by the names it is included under; CMake embeds it.
struct EmbeddedFile {
  const char* name;
  const char* text;
};
std::span<const EmbeddedFile> embedded_files();

}  // namespace silica::cuda
