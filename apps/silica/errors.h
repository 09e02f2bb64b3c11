// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "silica/error.h"

namespace silica::app {

template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// Text that came from a file, safe to print: control bytes as \xNN, and cut short where it is long.
std::string quote(std::string_view text);
std::string printable(std::string_view text);

}  // namespace silica::app
