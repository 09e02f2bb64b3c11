// SPDX-License-Identifier: MIT
// What `silica check` found, and how it is shown.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "check.h"

namespace silica::app {

// A device, and the ways in which it was opened: instruction sets and threads of the CPU.
struct CheckedDevice {
  DeviceInfo info;
  bool checked = false;  // found usable, and asked for
  bool failed = false;   // asked for by name, but not usable
  std::vector<std::string> configurations = {};
};

struct CheckResult {
  std::string op, dtype, device, configuration;
  check::Outcome outcome;
  bool passed = false;
};

struct CheckReport {
  std::vector<CheckedDevice> devices;
  std::vector<CheckResult> results;
  double seconds = 0.0;
  bool exhaustive = false;

  bool passed() const;
};

std::string check_table(const CheckReport& report);  // for reading
std::string check_json(const CheckReport& report);   // one document; the fields are in docs/devices.md

}  // namespace silica::app
