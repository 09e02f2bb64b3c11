// SPDX-License-Identifier: MIT
#include "core/disk_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/format.h"

namespace silica {

namespace {

constexpr char magic[16] = "silica kernel 1";

struct Header {
  char magic[16];
  DiskCache::Key key;
  std::uint64_t bytes;
  Sha256::Digest checksum;  // of all the rest
};
static_assert(sizeof(Header) == 16 + 32 + 8 + 32);

Header make_header(const DiskCache::Key& key, std::span<const std::byte> content) {
  Header header{};
  std::memcpy(header.magic, magic, sizeof magic);
  header.key = key;
  header.bytes = content.size();
  Sha256 hash;
  hash.add(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, checksum)));
  hash.add(content);
  header.checksum = hash.finish();
  return header;
}

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

bool write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file, bytes.data(), bytes.size());
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

// A name that no other thread or process uses.
std::filesystem::path temporary_for(const std::filesystem::path& path) {
  static std::atomic<unsigned> count{0};
  return message(path.string(), ".", ::getpid(), ".", ++count, ".new");
}

}  // namespace

DiskCache DiskCache::standard() {
  if (const std::string chosen = variable("SILICA_CACHE_DIR"); !chosen.empty()) return DiskCache(chosen);
  if (const std::string base = variable("XDG_CACHE_HOME"); !base.empty()) {
    return DiskCache(std::filesystem::path(base) / "silica");
  }
  if (const std::string home = variable("HOME"); !home.empty()) {
    return DiskCache(std::filesystem::path(home) / ".cache" / "silica");
  }
  return DiskCache(std::filesystem::path());
}

std::optional<std::vector<std::byte>> DiskCache::load(const Key& key) const noexcept {
  if (directory_.empty()) return std::nullopt;
  try {
    const std::filesystem::path file_path = path(key);
    std::ifstream file(file_path, std::ios::binary);
    const std::uintmax_t size = std::filesystem::file_size(file_path);
    Header header{};
    if (size < sizeof header || !file.read(reinterpret_cast<char*>(&header), sizeof header))
      return std::nullopt;
    if (header.bytes != size - sizeof header) return std::nullopt;
    std::vector<std::byte> content(header.bytes);
    if (!file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(content.size()))) {
      return std::nullopt;
    }
    const Header expected = make_header(key, content);
    if (std::memcmp(&header, &expected, sizeof header) != 0) return std::nullopt;
    return content;
  } catch (...) {
    return std::nullopt;
  }
}

void DiskCache::store(const Key& key, std::span<const std::byte> content) const noexcept {
  if (directory_.empty()) return;
  try {
    std::error_code ignored;
    std::filesystem::create_directories(directory_, ignored);
    const std::filesystem::path to = path(key), temporary = temporary_for(to);
    const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) return;
    const Header header = make_header(key, content);
    const bool written = write_all(file, std::as_bytes(std::span(&header, 1))) && write_all(file, content);
    const bool closed = ::close(file) == 0;
    if (!written || !closed || ::rename(temporary.c_str(), to.c_str()) != 0) ::unlink(temporary.c_str());
  } catch (...) {  // out of memory: the file is not kept
  }
}

}  // namespace silica
