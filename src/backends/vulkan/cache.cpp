// SPDX-License-Identifier: MIT
#include "backends/vulkan/cache.h"

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/format.h"

namespace silica::vulkan {

namespace {

namespace fs = std::filesystem;

struct Header {
  std::array<char, 8> magic = {'s', 'i', 'l', 'i', 'c', 'a', 'v', '1'};
  std::uint64_t bytes = 0;
  std::uint64_t checksum = 0;
};

constexpr std::uint64_t most_bytes = std::uint64_t{1} << 30;

// FNV-1a: finds damage, not malice; whoever can write here can write the program too.
std::uint64_t checksum(std::span<const std::byte> data) {
  std::uint64_t hash = 14695981039346656037u;
  for (const std::byte byte : data) hash = (hash ^ static_cast<std::uint64_t>(byte)) * 1099511628211u;
  return hash;
}

fs::path directory() {
  const auto variable = [](const char* name) {
    const char* text = std::getenv(name);
    return fs::path(text == nullptr ? "" : text);
  };
  if (const fs::path own = variable("SILICA_CACHE_DIR"); !own.empty()) return own;
  if (const fs::path cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "silica";
  if (const fs::path home = variable("HOME"); !home.empty()) return home / ".cache" / "silica";
  return {};
}

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte / 16];
    text += "0123456789abcdef"[byte % 16];
  }
  return text;
}

}  // namespace

fs::path cache_path(const PhysicalDevice& physical) {
  const fs::path place = directory();
  if (place.empty()) return {};
  return place / message("vulkan-", hex(physical.properties11.deviceUUID), "-",
                         hex(physical.properties11.driverUUID), "-",
                         hex(physical.properties.pipelineCacheUUID), ".cache");
}

std::vector<std::byte> read_cache(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  Header header;
  const Header expected;
  if (!file.read(reinterpret_cast<char*>(&header), sizeof header)) return {};
  if (header.magic != expected.magic || header.bytes > most_bytes) return {};
  std::vector<std::byte> data(header.bytes);
  if (!file.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(data.size()))) return {};
  if (checksum(data) != header.checksum || file.peek() != std::ifstream::traits_type::eof()) return {};
  return data;
}

void write_cache(const fs::path& path, std::span<const std::byte> data) noexcept {
  try {
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    std::string name = path.string() + ".XXXXXX";
    const int descriptor = mkstemp(name.data());
    if (descriptor < 0) return;
    close(descriptor);
    Header header;
    header.bytes = data.size();
    header.checksum = checksum(data);
    std::ofstream file(name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&header), sizeof header);
    file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
    file.close();
    if (file) fs::rename(name, path, error);
    if (!file || error) fs::remove(name, error);
  } catch (...) {
    // Without a cache the next start compiles again.
  }
}

}  // namespace silica::vulkan
