// SPDX-License-Identifier: MIT
#include "core/program.h"

#include <algorithm>
#include <map>

namespace silica {

namespace {

constexpr std::size_t alignment = 256;

// A temporary's place in the arena and the stages that use it.
struct Lifetime {
  std::shared_ptr<Storage> storage;
  std::size_t first_stage, last_stage;
  std::size_t bytes;
  std::size_t offset = 0;

  bool meets(const Lifetime& other) const {
    return first_stage <= other.last_stage && other.first_stage <= last_stage;
  }
};

std::vector<Lifetime> find_lifetimes(const std::vector<Command>& commands,
                                     const std::vector<std::size_t>& stage_ends) {
  std::vector<Lifetime> lifetimes;
  std::map<const Storage*, std::size_t> index;
  std::size_t stage = 0;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    if (i == stage_ends[stage]) ++stage;
    for (const MemoryRange& range : commands[i].operands) {
      if (!range.storage->temporary()) continue;
      const auto [found, is_new] = index.try_emplace(range.storage.get(), lifetimes.size());
      if (is_new) {
        const std::size_t bytes = (range.storage->bytes() + alignment - 1) / alignment * alignment;
        lifetimes.push_back({range.storage, stage, stage, bytes});
      }
      lifetimes[found->second].last_stage = stage;
    }
  }
  return lifetimes;
}

// The lowest offset where `item` fits beside what is placed already.
std::size_t lowest_offset(const Lifetime& item, const std::vector<const Lifetime*>& by_offset) {
  std::size_t offset = 0;
  for (const Lifetime* placed : by_offset) {
    if (!placed->meets(item)) continue;
    if (offset + item.bytes <= placed->offset) break;
    offset = std::max(offset, placed->offset + placed->bytes);
  }
  return offset;
}

}  // namespace

std::vector<std::size_t> find_stages(const std::vector<Command>& commands) {
  std::vector<std::size_t> ends;
  std::size_t begin = 0;
  const auto conflicts = [](const Command& a, const Command& b) {
    return std::ranges::any_of(a.operands, [&](const MemoryRange& x) {
      return std::ranges::any_of(b.operands, [&](const MemoryRange& y) { return x.conflicts(y); });
    });
  };
  for (std::size_t i = 0; i < commands.size(); ++i) {
    for (std::size_t j = begin; j < i; ++j) {
      if (!conflicts(commands[j], commands[i])) continue;
      ends.push_back(i);
      begin = i;
      break;
    }
  }
  if (!commands.empty()) ends.push_back(commands.size());
  return ends;
}

Packing pack_temporaries(const std::vector<Command>& commands, const std::vector<std::size_t>& stage_ends) {
  Packing packing;
  std::vector<Lifetime> lifetimes = find_lifetimes(commands, stage_ends);
  std::ranges::sort(lifetimes, [](const Lifetime& a, const Lifetime& b) {  // large ones first pack tighter
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.first_stage < b.first_stage;
  });
  std::vector<const Lifetime*> by_offset;
  for (Lifetime& item : lifetimes) {
    item.offset = lowest_offset(item, by_offset);
    by_offset.insert(std::ranges::upper_bound(by_offset, item.offset, {}, &Lifetime::offset), &item);
    packing.offsets.emplace_back(item.storage, item.offset);
    packing.bytes = std::max(packing.bytes, item.offset + item.bytes);
    packing.bytes_unpacked += item.bytes;
  }
  return packing;
}

}  // namespace silica
