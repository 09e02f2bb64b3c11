// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include "commands.h"
#include "errors.h"

namespace silica::app {

Device open_device(const DeviceChoice& choice) {
  constexpr unsigned most_threads = 1024;
  if (choice.threads > most_threads) {
    fail(ErrorCode::invalid_argument, "--threads: {} is out of range, expected 0 (all) to {}", choice.threads,
         most_threads);
  }
  return Device::open(choice.name, {.threads = choice.threads});
}

int devices() {
  for (const DeviceInfo& device : list_devices()) {
    const char* state = !device.usable ? "not usable" : device.exact ? "exact" : "usable, not exact";
    fmt::print("{:<10} {:<18} {}\n", device.name, state, device.description);
    if (!device.note.empty()) fmt::print("{:<10} {}\n", "", device.note);
  }
  return 0;
}

}  // namespace silica::app
