// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace silica::app {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  void update(std::uint64_t value);  // as 8 bytes, little-endian
  std::string hex();                 // ends the digest; call once

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace silica::app
