// SPDX-License-Identifier: MIT
// `silica check`: every op on every device, against the reference order, the oracles and central differences.
#include <fmt/format.h>
#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <numeric>
#include <set>
#include <string_view>
#include <thread>

#include "check_report.h"
#include "commands.h"
#include "errors.h"
#include "exhaustive.h"
#include "op_cases.h"

namespace silica::app {
namespace {

using check::Checker;
using check::OpCase;
using check::Outcome;

// How many characters to insert, delete or replace to make `b` of `a`: Levenshtein.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

// The names that someone may have meant, or all of them.
std::string near(std::string_view asked, const std::set<std::string>& names) {
  std::string close, all;
  for (const std::string& name : names) {
    const bool like = edits(asked, name) <= 2 || (asked.size() > 2 && name.find(asked) != name.npos);
    if (like) close += (close.empty() ? "" : ", ") + name;
    all += (all.empty() ? "" : ", ") + name;
  }
  return close.empty() ? "there are " + all : "did you mean " + close + "?";
}

// "matmul_backward.ta" is asked for by its op, by its name, and by patterns of either.
bool asked_for(const std::string& name, const std::string& pattern) {
  const std::string op = name.substr(0, name.find('.'));
  return fnmatch(pattern.c_str(), op.c_str(), 0) == 0 || fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

std::vector<const OpCase*> choose_ops(const std::vector<std::string>& patterns,
                                      const std::vector<OpCase>& all) {
  std::set<std::string> names;
  for (const OpCase& op : all) names.insert(op.name.substr(0, op.name.find('.')));
  for (const std::string& pattern : patterns) {
    if (std::ranges::any_of(all, [&](const OpCase& op) { return asked_for(op.name, pattern); })) continue;
    throw UsageError(fmt::format("--op: there is no op {}; {}", quote(pattern), near(pattern, names)));
  }
  std::vector<const OpCase*> chosen;
  for (const OpCase& op : all) {
    const auto fits = [&](const std::string& pattern) { return asked_for(op.name, pattern); };
    if (patterns.empty() || std::ranges::any_of(patterns, fits)) chosen.push_back(&op);
  }
  return chosen;
}

// "cuda" is every device of that family.
bool names_device(const std::string& asked, const std::string& name) {
  return asked == name || asked == name.substr(0, name.find(':'));
}

std::vector<CheckedDevice> choose_devices(const std::vector<std::string>& asked) {
  std::vector<CheckedDevice> devices;
  std::set<std::string> names;
  for (const DeviceInfo& info : list_devices()) {
    names.insert({info.name, info.name.substr(0, info.name.find(':'))});
    const bool named =
        std::ranges::any_of(asked, [&](const auto& one) { return names_device(one, info.name); });
    devices.push_back(
        {.info = info, .checked = info.usable && (named || asked.empty()), .failed = named && !info.usable});
  }
  for (const std::string& one : asked) {
    if (std::ranges::any_of(names, [&](const auto& name) { return names_device(one, name); })) continue;
    throw UsageError(fmt::format("--device: there is no device {}; {}", quote(one), near(one, names)));
  }
  return devices;
}

struct Opened {
  const CheckedDevice* of;
  std::string configuration;
  Device device;
};

// The CPU once for each instruction set that it has, with one thread and with all.
std::vector<Opened> open_cpu(CheckedDevice& checked, bool exhaustive) {
  std::vector<Opened> opened;
  std::set<std::string> seen;  // what it does not have opens as what it has
  for (const std::string_view isa : {"baseline", "avx2", "avx512"}) {
    for (const unsigned threads : {1u, 0u}) {
      const Device device = Device::open("cpu", {.threads = threads, .max_isa = isa});
      if ((exhaustive && threads == 1) || !seen.insert(device.info().description).second) continue;
      checked.configurations.push_back(fmt::format("{}, {}", isa, threads == 1 ? "1 thread" : "all threads"));
      opened.push_back({&checked, checked.configurations.back(), device});
    }
  }
  return opened;
}

std::vector<Opened> open_all(std::vector<CheckedDevice>& devices, bool exhaustive) {
  std::vector<Opened> opened;
  for (CheckedDevice& checked : devices) {
    if (!checked.checked) continue;
    if (checked.info.name == "cpu") {
      for (Opened& one : open_cpu(checked, exhaustive)) opened.push_back(std::move(one));
      continue;
    }
    try {
      opened.push_back({&checked, "", Device::open(checked.info.name)});
      checked.configurations.push_back("");
    } catch (const Error& error) {
      checked.checked = false;
      checked.failed = true;  // it was listed as usable
      checked.info.note = error.what();
    }
  }
  return opened;
}

// What is being checked, on a terminal.
class Line {
 public:
  ~Line() { show(""); }
  void show(const std::string& text) const {
    if (!terminal_) return;
    fmt::print(stderr, "\r{}\x1b[K", text);
    std::fflush(stderr);
  }

 private:
  const bool terminal_ = ::isatty(STDERR_FILENO) == 1;
};

// Adds what every input gave to what the other data gave.
void add(Outcome& to, const Outcome& more) {
  if (to.error.empty()) to.error = more.error;
  if (!to.first) to.first = more.first;
  to.elements += more.elements;
  to.differing += more.differing;
  if (more.ulp) to.ulp = std::max(to.ulp.value_or(0.0), *more.ulp);
}

void add_every_input(const OpCase& op, const std::vector<Opened>& devices, std::vector<Outcome>& outcomes,
                     const Line& line) {
  std::vector<Device> opened;
  for (const Opened& one : devices) opened.push_back(one.device);
  const std::vector<Outcome> more = check::check_every_input(opened, op, [&](double share) {
    line.show(fmt::format("{}, every input: {:.0f}%", op.name, std::floor(100.0 * share)));
  });
  for (std::size_t i = 0; i < outcomes.size(); ++i) add(outcomes[i], more[i]);
}

// The results of one op on all devices.
std::vector<CheckResult> check_op(const OpCase& op, const CheckOptions& options,
                                  const std::vector<OpCase>& all, const std::vector<Opened>& devices,
                                  const Line& line) {
  const Checker checker(op, forward_of(op, all));
  std::vector<Outcome> outcomes;
  for (const Opened& one : devices) outcomes.push_back(checker.run(one.device));
  if (options.exhaustive && op.elementwise) add_every_input(op, devices, outcomes, line);
  const std::string dtype(to_string(checker.dtype()));
  const std::string name =
      op.name.ends_with("." + dtype) ? op.name.substr(0, op.name.size() - dtype.size() - 1) : op.name;
  std::vector<CheckResult> results;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const bool exact = outcomes[i].same_bits() || (options.allow_inexact && !devices[i].device.exact());
    results.push_back({name, dtype, devices[i].of->info.name, devices[i].configuration, outcomes[i],
                       exact && outcomes[i].accurate()});
  }
  return results;
}

}  // namespace

CheckReport run_checks(const CheckOptions& options, const std::vector<OpCase>& all) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<const OpCase*> ops = choose_ops(options.ops, all);
  CheckReport report;
  report.devices = choose_devices(options.devices);
  report.exhaustive = options.exhaustive;
  const std::vector<Opened> devices = open_all(report.devices, options.exhaustive);
  const Line line;
  std::vector<std::vector<CheckResult>> results(ops.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i; (i = next++) < ops.size();) {
      line.show(fmt::format("{:3}% {}", 100 * i / ops.size(), ops[i]->name));
      results[i] = check_op(*ops[i], options, all, devices, line);
    }
  };
  // A driver that compiles kernels on one thread would take most of the time. Walks over every input are
  // parallel in themselves.
  std::vector<std::future<void>> team;
  const unsigned helpers =
      options.exhaustive ? 0 : std::clamp(std::thread::hardware_concurrency(), 1u, 8u) - 1;
  for (unsigned i = 0; i < helpers; ++i) team.push_back(std::async(std::launch::async, work));
  work();
  for (std::future<void>& one : team) one.get();
  for (const auto& of_op : results) report.results.insert(report.results.end(), of_op.begin(), of_op.end());
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

int check(const CheckOptions& options) {
  const CheckReport report = run_checks(options, check::op_cases());
  fmt::print("{}", options.json ? check_json(report) : check_table(report));
  return report.passed() ? 0 : 1;
}

}  // namespace silica::app
