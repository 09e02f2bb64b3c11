// SPDX-License-Identifier: MIT
// What a backend implements. Core knows backends through this header only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "silica/device.h"
#include "silica/kernel.h"

namespace silica {

struct Program;

// One allocation on a device. Freed by the destructor.
class Memory {
 public:
  virtual ~Memory() = default;
  std::uint64_t address = 0;  // as kernels see it
  std::size_t bytes = 0;
};

// A kernel that is ready to run.
class Pipeline {
 public:
  explicit Pipeline(Tile covers) : tile(covers) {}
  virtual ~Pipeline() = default;
  const Tile tile;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const DeviceInfo& info() const = 0;

  // The library's own kernels.
  virtual std::vector<std::pair<std::string, KernelSource>> kernels() const = 0;
  // Those that are inexact, for encoders that permit them (Math::fast).
  virtual std::vector<std::pair<std::string, KernelSource>> fast_kernels() const { return {}; }
  virtual std::shared_ptr<const Pipeline> build(std::string_view name, const KernelSource& source) = 0;

  // Zeroed. Errors: out_of_memory.
  virtual std::unique_ptr<Memory> allocate(std::size_t bytes) = 0;
  // In the order of the calls, with submits; both return when done.
  virtual void upload(Memory& to, std::size_t offset, std::span<const std::byte> from) = 0;
  virtual void download(const Memory& from, std::size_t offset, std::span<std::byte> to) = 0;
  virtual Fence submit(std::shared_ptr<const Program> program) = 0;
};

// One row per backend of this build; src/backends/backends.cpp holds the table.
struct BackendEntry {
  std::string_view name;  // "cpu"
  std::vector<DeviceInfo> (*list)();
  // `ordinal` is the number after the colon, if there is one.
  std::unique_ptr<Backend> (*open)(std::optional<unsigned> ordinal, const DeviceOptions& options);
  // What Math::fast has there, to follow a usable device's description; may load libraries. Null: nothing.
  std::string (*describe_fast)() = nullptr;
};
std::span<const BackendEntry> backends();  // best first

}  // namespace silica
