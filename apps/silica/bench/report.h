// SPDX-License-Identifier: MIT
// What was measured, and how it is written down.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/measure.h"

namespace silica::bench {

// What bounds a work: the rate that this machine reaches when it does nothing else.
struct Limit {
  std::string what;  // "copy", "fma", or the peer that is fastest where neither is known
  double rate = 0;   // bytes or floating-point operations per second
};

struct PeerResult {
  std::string name;
  Timing timing = {};
  Difference difference = {};
  std::string refusal = {};  // why it was not measured; otherwise empty
};

struct Row {
  std::string op, dtype, shape;
  double elements = 0, bytes = 0, flops = 0;
  bool sums = false;
  Timing timing = {};
  std::optional<Limit> limit = {};
  std::vector<PeerResult> peers = {};

  double amount() const { return flops > 0 ? flops : bytes; }
  double rate(const Timing& of) const { return amount() / of.median; }
  std::optional<double> share(const Timing& of) const;  // of the limit
};

struct Report {
  std::string version, date, machine, device, description, command;
  unsigned threads = 0;
  bool exact = false;
  std::vector<std::pair<std::string, std::string>> peers = {};  // name, version
  std::vector<std::string> missing = {};
  std::vector<Row> rows = {};
};

std::string to_markdown(const Report& report);
std::string to_csv(const Report& report);   // a line for each row and each of its peers
std::string to_json(const Report& report);  // seconds, bytes and operations per second
std::string to_svg(const Report& report);   // the share of the limit, a bar each

}  // namespace silica::bench
