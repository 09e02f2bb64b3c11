// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace silica {

// How many elements a dispatch covers in each direction. A kernel's source says how large a tile of them one
// group computes, so the same dispatch serves devices with different tiles.
struct Grid {
  std::uint64_t x = 1, y = 1, z = 1;
};

struct Tile {
  std::uint32_t x = 1, y = 1, z = 1;
};

// A run of groups, numbered x fastest, then y, then z.
struct Groups {
  std::uint64_t begin = 0, end = 0;
};

// A kernel gets its arguments as one plain struct: the operands' addresses in the order of the dispatch, 8
// bytes each, then the parameters. The CPU gets a pointer to it, CUDA gets it as its only parameter, Vulkan
// as push constants. At most this many bytes:
inline constexpr std::size_t max_argument_bytes = 128;

// Computes groups [groups.begin, groups.end). Called by several threads at once with runs that do not
// overlap. An exception thrown here surfaces in Fence::wait().
using CpuFunction = void (*)(const void* arguments, Groups groups);

struct CpuSource {
  CpuFunction function = nullptr;
  Tile tile;
};

// CUDA C++, compiled for the device on first use. `entry` is an extern "C" __global__ function whose only
// parameter is the argument struct, by value; block b of a one-dimensional grid computes group b. The text
// needs no toolkit: it may include "kernels/cuda.h", with the library's formulas, and nothing else.
struct CudaSource {
  std::string text;
  std::string entry;
  Tile tile;
  unsigned threads = 256;  // of a block
};

// A module of SPIR-V 1.4 or 1.5, for Vulkan 1.2, with a compute entry point `main`. Addresses in the
// arguments are physical storage buffer addresses (GL_EXT_buffer_reference). Groups are numbered as in
// Groups, whatever the grid's directions: a group's number is x + 65535 * (y + 65535 * z) of gl_WorkGroupID.
// The backend adds the float controls that the device offers (subnormals, infinities and NaN kept, round to
// nearest even), unless the module has its own.
struct SpirvSource {
  std::span<const std::uint32_t> words = {};  // not copied: must outlive the registry
  Tile tile = {};
  // Specialisation constants, by constant_id.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> constants = {};
};

// One kernel, with what each backend needs to build it. A backend without a source refuses the kernel when it
// is dispatched, not before.
struct KernelSource {
  CpuSource cpu = {};
  CudaSource cuda = {};
  SpirvSource vulkan = {};
};

class Backend;
class Pipeline;

// Names -> sources -> pipelines, one registry per device. A pipeline is built on first use and kept. Names
// read `family.op.dtype`, as in `map.silu.f16`; messages call a kernel by its op. Threads: safe to use from
// several at once; two that want one kernel build it once.
class KernelRegistry {
 public:
  explicit KernelRegistry(Backend& backend);
  ~KernelRegistry();
  KernelRegistry(const KernelRegistry&) = delete;
  KernelRegistry& operator=(const KernelRegistry&) = delete;

  // Errors: invalid_argument if the name is empty or taken.
  void add(std::string name, KernelSource source);
  bool contains(std::string_view name) const;
  std::vector<std::string> names() const;  // sorted; the library's own and the user's

  // Builds the kernel if this is its first use. Errors: invalid_argument (no such name), unsupported (no
  // source for this backend), compile_failed.
  std::shared_ptr<const Pipeline> pipeline(std::string_view name);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace silica
