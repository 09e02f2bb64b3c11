// SPDX-License-Identifier: MIT
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace silica {

enum class ErrorCode {
  invalid_argument,  // the caller's argument is wrong; nothing was changed
  unsupported,       // well formed, but this device or build cannot do it
  out_of_memory,     // the message says how much was asked for
  compile_failed,    // a kernel did not build; the message holds the compiler's log
  device_lost,       // the device failed and must be opened again
  io,                // a file could not be read or written
};

std::string_view to_string(ErrorCode code);

// The one exception type, but for std::bad_alloc where the host has no memory for the library's own records.
// A call that throws either has had no effect and may be made again; only work that fails on a device
// (Fence::wait) may have written a part. Messages read `silu: y has 12 elements, x has 16`: the op or file,
// the argument, what came and what was expected. Threads: a plain value.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace silica
