// SPDX-License-Identifier: MIT
#include "dataset.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <unordered_set>

#include "digest.h"
#include "errors.h"
#include "file.h"
#include "random.h"

namespace silica::app {
namespace {

constexpr std::uint64_t largest_file = std::uint64_t{1} << 30;

std::uint64_t hash_line(std::uint64_t seed, std::string_view line) {
  std::uint64_t hash = random_bits(seed, Stream::split, line.size());
  for (const char byte : line) hash = mix(hash ^ static_cast<unsigned char>(byte));
  return hash;
}

// Whether each line is held out: those of the lowest hashes are.
std::vector<bool> split(const std::vector<std::string>& lines, std::uint64_t seed) {
  std::vector<std::pair<std::uint64_t, std::size_t>> ranked;
  ranked.reserve(lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) ranked.emplace_back(hash_line(seed, lines[i]), i);

  const std::size_t count = std::max<std::size_t>(1, lines.size() / 10);
  const auto end = ranked.begin() + static_cast<std::ptrdiff_t>(count);
  std::nth_element(ranked.begin(), end, ranked.end());
  std::vector<bool> held_out(lines.size(), false);
  for (auto line = ranked.begin(); line != end; ++line) held_out[line->second] = true;
  return held_out;
}

}  // namespace

Lines read_lines(const std::filesystem::path& path) {
  const std::string content = read_file(path, largest_file);
  if (const std::size_t at = content.find('\0'); at != std::string::npos) {
    fail(ErrorCode::io, "{}: holds a zero byte at offset {}, expected text with one example per line",
         path.string(), at);
  }
  Lines result;
  std::unordered_set<std::string_view> seen;
  std::string_view rest = content;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && seen.insert(line).second) result.lines.emplace_back(line);
  }
  if (result.lines.empty()) {
    fail(ErrorCode::io, "{}: is empty, expected text with one example per line", path.string());
  }
  Sha256 sha256;
  sha256.update(content);
  result.sha256 = sha256.hex();
  return result;
}

Vocabulary::Vocabulary(const std::vector<std::string>& lines) {
  std::array<bool, 256> seen{};
  for (const std::string& line : lines) {
    for (const char byte : line) seen[static_cast<unsigned char>(byte)] = true;
  }
  for (std::size_t byte = 0; byte < seen.size(); ++byte) {
    if (seen[byte]) bytes_ += static_cast<char>(byte);
  }
}

Vocabulary::Vocabulary(std::string bytes) : bytes_(std::move(bytes)) {
  int last = 0;  // no zero byte
  for (const char character : bytes_) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte <= last || byte == '\n') {
      fail(ErrorCode::invalid_argument, "vocabulary: expected distinct bytes in ascending order");
    }
    last = byte;
  }
  if (bytes_.empty()) fail(ErrorCode::invalid_argument, "vocabulary: is empty");
}

std::uint8_t Vocabulary::symbol(char byte) const {
  const auto less = [](char a, char b) {
    return static_cast<unsigned char>(a) < static_cast<unsigned char>(b);
  };
  const auto at = std::lower_bound(bytes_.begin(), bytes_.end(), byte, less);
  if (at == bytes_.end() || *at != byte) {
    fail(ErrorCode::invalid_argument, "the byte {} does not occur in the text that was learned from",
         quote(std::string(1, byte)));
  }
  return static_cast<std::uint8_t>(at - bytes_.begin() + 1);
}

void Text::append(std::string_view line, const Vocabulary& vocabulary) {
  for (const char byte : line) symbols_.push_back(vocabulary.symbol(byte));
  symbols_.push_back(Vocabulary::boundary);
}

std::uint32_t Text::sample(std::size_t position, std::span<std::uint32_t, context_length> context) const {
  const std::size_t target = position + 1;
  bool inside = true;
  for (std::size_t back = 1; back <= context_length; ++back) {
    inside = inside && back <= target && symbols_[target - back] != Vocabulary::boundary;
    context[context_length - back] = inside ? symbols_[target - back] : Vocabulary::boundary;
  }
  return symbols_[target];
}

Dataset::Dataset(const Lines& lines, std::uint64_t seed) : vocabulary(lines.lines), sha256(lines.sha256) {
  if (lines.lines.size() < 2) {
    fail(ErrorCode::invalid_argument, "the data holds one distinct line, expected at least two");
  }
  const std::vector<bool> is_held_out = split(lines.lines, seed);
  for (std::size_t i = 0; i < lines.lines.size(); ++i) {
    (is_held_out[i] ? held_out : train).append(lines.lines[i], vocabulary);
    ++(is_held_out[i] ? held_out_lines : train_lines);
  }
}

}  // namespace silica::app
