// SPDX-License-Identifier: MIT
#include "silica/device.h"

#include <charconv>

#include "core/device_state.h"
#include "core/format.h"
#include "core/program.h"
#include "silica/encoder.h"

namespace silica {

namespace {

std::string known_names() {
  std::string names;
  for (const BackendEntry& entry : backends()) {
    for (const DeviceInfo& info : entry.list()) names = message(names, names.empty() ? "" : ", ", info.name);
  }
  return names;
}

// "cuda:1" -> the row "cuda" and 1; "cuda" has no number.
std::pair<const BackendEntry*, std::optional<unsigned>> parse_name(std::string_view name) {
  const std::string_view kind = name.substr(0, name.find(':'));
  for (const BackendEntry& entry : backends()) {
    if (entry.name != kind) continue;
    if (kind.size() == name.size()) return {&entry, std::nullopt};
    unsigned ordinal = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + kind.size() + 1, end, ordinal);
    if (error == std::errc() && stop == end) return {&entry, ordinal};
  }
  refuse("device: no device is called '", name, "'; there is ", known_names());
}

}  // namespace

void MemoryCounter::add(std::size_t count) {
  const std::size_t now = bytes.fetch_add(count, std::memory_order_relaxed) + count;
  std::size_t most = peak.load(std::memory_order_relaxed);
  while (most < now && !peak.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
  }
}

void Device::State::permit_fast() {
  std::call_once(fast_permitted, [this] {
    for (auto& [name, source] : backend->fast_kernels()) registry.add(std::move(name), std::move(source));
  });
}

Device Device::open(std::string_view name, const DeviceOptions& options) {
  if (!name.empty()) {
    const auto [entry, ordinal] = parse_name(name);
    return Device(std::make_shared<State>(entry->open(ordinal, options)));
  }
  for (const BackendEntry& entry : backends()) {
    for (const DeviceInfo& info : entry.list()) {
      if (!info.usable || !info.exact || info.software) continue;
      const Device device = open(info.name, options);
      if (device.exact()) return device;  // it has been probed now
    }
  }
  fail(ErrorCode::unsupported, "device: none of ", known_names(), " is usable here");
}

Device::State& Device::state() const {
  if (!state_) refuse("device: there is none (it was moved from, or made of nullptr)");
  return *state_;
}

const Fence::State& Fence::state() const {
  if (!state_) refuse("fence: there is none (it was moved from, or made of nullptr)");
  return *state_;
}

const DeviceInfo& Device::info() const { return state().backend->info(); }

MemoryUse Device::memory() const { return {state().memory.bytes.load(), state().memory.peak.load()}; }

KernelRegistry& Device::kernels() const { return state().registry; }

Fence Device::submit(const CommandList& list) const {
  if (!(list.program()->device == *this)) {
    refuse("submit: the list was encoded for another device than this '", name(), "'");
  }
  return state().backend->submit(list.program());
}

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> all;
  for (const BackendEntry& entry : backends()) {
    for (DeviceInfo& info : entry.list()) {
      if (info.usable && entry.describe_fast != nullptr) info.description += entry.describe_fast();
      all.push_back(std::move(info));
    }
  }
  return all;
}

}  // namespace silica
