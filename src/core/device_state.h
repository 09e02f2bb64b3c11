// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "core/backend.h"
#include "silica/device.h"
#include "silica/dtype.h"
#include "silica/shape.h"

namespace silica {

// Bytes held on a device, counted where memory is allocated and freed.
struct MemoryCounter {
  std::atomic<std::size_t> bytes{0};
  std::atomic<std::size_t> peak{0};
  void add(std::size_t count);
  void remove(std::size_t count) { bytes.fetch_sub(count, std::memory_order_relaxed); }
};

struct Device::State {
  explicit State(std::unique_ptr<Backend> opened) : backend(std::move(opened)), registry(*backend) {}

  // Registers the backend's inexact kernels, once: what they need is not loaded before somebody permits them.
  void permit_fast();

  std::unique_ptr<Backend> backend;
  KernelRegistry registry;
  MemoryCounter memory;
  std::once_flag fast_permitted;
};

// Errors: invalid_argument if it does not fit 63 bits.
std::size_t byte_count(DType dtype, const Shape& shape);

// The memory behind tensors and their views. An encoder's temporary has no memory of its own: it is given a
// place in the list's arena when the recording ends.
class Storage {
 public:
  Storage(Device device, std::size_t bytes);                       // allocates, zeroed
  Storage(Device device, std::size_t bytes, std::uint64_t owner);  // a temporary of that recording
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  const Device& device() const { return device_; }
  std::size_t bytes() const { return bytes_; }
  bool temporary() const { return owner_ != 0; }
  std::uint64_t owner() const { return owner_; }  // the recording a temporary belongs to
  Memory& memory() const { return *memory_; }     // not for temporaries

 private:
  Device device_;
  std::size_t bytes_;
  std::uint64_t owner_ = 0;
  std::unique_ptr<Memory> memory_;
};

}  // namespace silica
