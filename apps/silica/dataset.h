// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "settings.h"

namespace silica::app {

// The distinct lines of a text file, in its order; no empty ones, and no carriage returns at their ends.
struct Lines {
  std::vector<std::string> lines;
  std::string sha256;  // of the file
};

// Errors: io (as read_file; not text; no line).
Lines read_lines(const std::filesystem::path& path);

// Symbol 0 is the boundary: it ends every line, and fills the context before its start. The others are bytes.
class Vocabulary {
 public:
  static constexpr std::uint8_t boundary = 0;

  explicit Vocabulary(const std::vector<std::string>& lines);
  // The distinct bytes, ascending. Errors: invalid_argument.
  explicit Vocabulary(std::string bytes);

  std::size_t size() const { return bytes_.size() + 1; }
  const std::string& bytes() const { return bytes_; }
  char byte(std::uint8_t symbol) const { return bytes_[symbol - 1]; }
  // Errors: invalid_argument if the byte has no symbol.
  std::uint8_t symbol(char byte) const;

 private:
  std::string bytes_;
};

// Lines as one run of symbols. Each symbol after the first is a position: something to predict.
class Text {
 public:
  Text() : symbols_{Vocabulary::boundary} {}

  void append(std::string_view line, const Vocabulary& vocabulary);
  std::size_t positions() const { return symbols_.size() - 1; }
  std::span<const std::uint8_t> symbols() const { return symbols_; }

  // Writes the symbols before the position, nearest last, and returns the symbol there. Looks back no further
  // than the start of the line.
  std::uint32_t sample(std::size_t position, std::span<std::uint32_t, context_length> context) const;

 private:
  std::vector<std::uint8_t> symbols_;
};

// Lines split by a hash of the seed and the line: a tenth of them, and at least one, is held out.
struct Dataset {
  // Errors: invalid_argument if there are fewer than two lines.
  Dataset(const Lines& lines, std::uint64_t seed);

  Vocabulary vocabulary;
  Text train;
  Text held_out;
  std::size_t train_lines = 0;
  std::size_t held_out_lines = 0;
  std::string sha256;
};

}  // namespace silica::app
