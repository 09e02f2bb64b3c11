// SPDX-License-Identifier: MIT
// Compiled kernels on disk, by a digest of what they were compiled from and for. Safe for several threads and
// processes: files appear whole or not at all, and a file that is not exactly what was stored counts as not
// there.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "core/sha256.h"

namespace silica {

class DiskCache {
 public:
  using Key = Sha256::Digest;

  // In SILICA_CACHE_DIR, or else $XDG_CACHE_HOME/silica, or else ~/.cache/silica; without any of them nothing
  // is kept.
  static DiskCache standard();
  explicit DiskCache(std::filesystem::path directory) : directory_(std::move(directory)) {}

  std::optional<std::vector<std::byte>> load(const Key& key) const noexcept;
  // A directory that cannot be written to is no error: nothing is kept then.
  void store(const Key& key, std::span<const std::byte> content) const noexcept;

  std::filesystem::path path(const Key& key) const { return directory_ / (hex(key) + ".kernel"); }

 private:
  std::filesystem::path directory_;  // empty: keep nothing
};

}  // namespace silica
