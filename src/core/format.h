// SPDX-License-Identifier: MIT
#pragma once

#include <sstream>
#include <string>

#include "silica/error.h"

namespace silica {

// Everything streamed into one string: message("silica: ", n, " elements").
template <class... Parts> std::string message(const Parts&... parts) {
  std::ostringstream out;
  out.exceptions(
      std::ios_base::badbit);  // or a stream that runs out of memory cuts the text short in silence
  (out << ... << parts);
  return out.str();
}

template <class... Parts> [[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
  throw Error(code, message(parts...));
}

// The most frequent kind.
template <class... Parts> [[noreturn]] void refuse(const Parts&... parts) {
  throw Error(ErrorCode::invalid_argument, message(parts...));
}

}  // namespace silica
