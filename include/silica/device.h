// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "silica/kernel.h"

namespace silica {

class CommandList;

// Of the CPU.
struct DeviceOptions {
  unsigned threads = 0;           // 0: SILICA_THREADS, or else every core this process may use
  std::string_view max_isa = {};  // "baseline", "avx2" or "avx512"; empty: SILICA_MAX_ISA, or the best
};

struct DeviceInfo {
  std::string name;         // what Device::open takes: "cpu", "cuda:0", "vulkan:0"
  std::string description;  // model, threads, instruction sets
  bool usable = false;
  bool exact = false;     // keeps the exactness contract (docs/exactness.md)
  bool software = false;  // a GPU's interface that the CPU runs: never opened unless it is named
  std::string note;       // why not usable or not exact; empty otherwise
};

struct MemoryUse {
  std::size_t bytes = 0;       // held now by tensors and command lists
  std::size_t peak_bytes = 0;  // the most held at once since the device was opened
};

// The outcome of a submit. A copy refers to the same work. Threads: safe to use from several at once.
class Fence {
 public:
  class State {
   public:
    virtual ~State() = default;
    virtual bool done() const = 0;
    virtual void wait() const = 0;  // throws what the work failed with
  };

  explicit Fence(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  bool done() const { return state().done(); }
  // Blocks until the work is done. Errors: device_lost, or whatever a kernel of the list threw.
  void wait() const { state().wait(); }

 private:
  const State& state() const;

  std::shared_ptr<const State> state_;
};

// A handle to an opened device; copies share it, tensors and lists keep it alive. Every upload, download and
// submit on a device takes effect in the order of the calls. A device or fence that was moved from refuses
// all but its destruction and being assigned to. Threads: safe to use from several at once.
class Device {
 public:
  // `name` is "cpu", "cuda:0" or "vulkan:0"; "vulkan" takes SILICA_VULKAN_DEVICE (a number or part of a
  // name), or else the best of its devices; empty opens the best device there is. Errors: invalid_argument
  // (no such device; an option or a SILICA_ variable that makes no sense), unsupported (the machine lacks
  // it).
  static Device open(std::string_view name = {}, const DeviceOptions& options = {});

  const DeviceInfo& info() const;
  const std::string& name() const { return info().name; }
  bool exact() const { return info().exact; }
  MemoryUse memory() const;
  KernelRegistry& kernels() const;

  // Runs a list, as often as wanted. Errors: invalid_argument if the list was encoded for another device.
  Fence submit(const CommandList& list) const;

  bool operator==(const Device& other) const = default;

  struct State;
  explicit Device(std::shared_ptr<State> state) : state_(std::move(state)) {}
  State& state() const;

 private:
  std::shared_ptr<State> state_;
};

// Every device this build knows, usable here or not. Threads: safe to call from several at once.
std::vector<DeviceInfo> list_devices();

}  // namespace silica
