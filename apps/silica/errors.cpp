// SPDX-License-Identifier: MIT
#include "errors.h"

namespace silica::app {

std::string printable(std::string_view text) {
  std::string out;
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += character;
    }
  }
  return out;
}

std::string quote(std::string_view text) {
  constexpr std::size_t longest = 80;
  const bool cut = text.size() > longest;
  return "'" + printable(text.substr(0, longest)) + (cut ? "...'" : "'");
}

}  // namespace silica::app
