// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace silica::app {

struct SafeTensorsHeader {
  struct Entry {
    std::optional<std::string> dtype;
    std::optional<std::vector<std::uint64_t>> shape;
    std::optional<std::vector<std::uint64_t>> data_offsets;
  };
  std::map<std::string, std::string> metadata;
  std::map<std::string, Entry> entries;
};

// Reads the JSON object strictly: duplicate keys, unknown keys, other types and deeper nesting are refused.
// Every entry comes with its three fields, and two offsets. Errors: io, naming `file`.
SafeTensorsHeader parse_safetensors_header(std::string_view json, const std::string& file);

}  // namespace silica::app
