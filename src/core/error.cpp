// SPDX-License-Identifier: MIT
#include "silica/error.h"

namespace silica {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::compile_failed:
      return "compile_failed";
    case ErrorCode::device_lost:
      return "device_lost";
    case ErrorCode::io:
      return "io";
  }
  return "unknown";
}

}  // namespace silica
