// SPDX-License-Identifier: MIT
// A finished recording, as backends see it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device_state.h"
#include "silica/encoder.h"

namespace silica {

// The bytes [begin, end) of a storage that a command touches.
struct MemoryRange {
  std::shared_ptr<Storage> storage;
  std::size_t begin = 0, end = 0;
  bool writes = false;

  bool overlaps(const MemoryRange& other) const {
    return storage == other.storage && begin < other.end && other.begin < end;
  }
  // The two may not run at the same time, nor in the other order.
  bool conflicts(const MemoryRange& other) const { return (writes || other.writes) && overlaps(other); }
};

struct Command {
  std::string kernel;
  std::shared_ptr<const Pipeline> pipeline;
  std::vector<MemoryRange> operands;
  alignas(8) std::array<std::byte, max_argument_bytes> arguments{};  // addresses, then parameters
  std::size_t argument_bytes = 0;
  Grid grid;
  std::uint64_t groups = 0;
};

struct Program {
  Device device;
  std::vector<Command> commands;
  // Where each stage ends. Commands of one stage are independent; each stage waits for the one before.
  std::vector<std::size_t> stage_ends;
  std::shared_ptr<Storage> arena;  // the temporaries' memory; null without any
  std::size_t temporary_bytes_unpacked = 0;
  // What a backend made of the program at its first submit, guarded by the backend. Last, so that it goes
  // first: it may have to wait for work that uses the rest.
  mutable std::shared_ptr<void> prepared = nullptr;
};

// Splits commands at hazards: read after write, write after read, write after write.
std::vector<std::size_t> find_stages(const std::vector<Command>& commands);

// Places temporaries so that two share memory only if no stage uses both.
struct Packing {
  std::vector<std::pair<std::shared_ptr<Storage>, std::size_t>> offsets;
  std::size_t bytes = 0;
  std::size_t bytes_unpacked = 0;
};
Packing pack_temporaries(const std::vector<Command>& commands, const std::vector<std::size_t>& stage_ends);

}  // namespace silica
