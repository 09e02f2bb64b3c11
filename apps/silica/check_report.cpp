// SPDX-License-Identifier: MIT
#include "check_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "errors.h"

namespace silica::app {
namespace {

using check::Difference;
using check::Outcome;
using Json = nlohmann::ordered_json;  // fields in the order written

// Results of one op and dtype whose outcomes are the same, as they are where bits are.
struct Group {
  const CheckResult* first;
  std::vector<const CheckResult*> members;
};

std::vector<Group> groups_of(const CheckReport& report) {
  std::vector<Group> groups;
  for (const CheckResult& result : report.results) {
    const auto same = [&](const Group& group) {
      const CheckResult& other = *group.first;
      return other.op == result.op && other.dtype == result.dtype && other.passed == result.passed &&
             other.outcome == result.outcome;
    };
    const auto found = std::ranges::find_if(groups, same);
    if (found == groups.end()) {
      groups.push_back({&result, {&result}});
    } else {
      found->members.push_back(&result);
    }
  }
  return groups;
}

// "cpu vulkan:0", or "cpu (avx2, 1 thread)" where a device's other configurations gave something else.
std::string devices_of(const Group& group, const CheckReport& report) {
  std::string text;
  for (const CheckedDevice& device : report.devices) {
    std::string configurations;
    std::size_t count = 0;
    for (const CheckResult* result : group.members) {
      if (result->device != device.info.name) continue;
      configurations += (count++ == 0 ? "" : "; ") + result->configuration;
    }
    if (count == 0) continue;
    text += (text.empty() ? "" : " ") + device.info.name;
    if (count < device.configurations.size()) text += " (" + configurations + ")";
  }
  return text;
}

std::string bits_text(float value, const std::string& dtype) {
  if (dtype == "f16") return fmt::format("0x{:04x}", f16::from(value).bits);
  if (dtype == "bf16") return fmt::format("0x{:04x}", bf16::from(value).bits);
  return fmt::format("0x{:08x}", std::bit_cast<std::uint32_t>(value));
}

std::string explain(const CheckResult& result, const std::string& devices) {
  const Outcome& outcome = result.outcome;
  std::string text = fmt::format("{} {} on {}:", result.op, result.dtype, devices);
  if (!outcome.error.empty()) return text + " " + printable(outcome.error) + "\n";
  if (outcome.first) {
    const Difference& d = *outcome.first;
    const bool input = d.data == check::Data::every;
    text += fmt::format(
        "\n  {} of {} elements differ; the first: {} data, output {}, {} {}: got {} ({:.9g}), expected {} "
        "({:.9g})",
        outcome.differing, outcome.elements, to_string(d.data), d.output, input ? "input" : "element",
        input ? fmt::format("{:#x}", d.element) : std::to_string(d.element), bits_text(d.got, result.dtype),
        d.got, bits_text(d.want, result.dtype), d.want);
  }
  if (!outcome.accurate()) {
    text += fmt::format("\n  worst error {:.4g} ulp, at most {:.4g}", outcome.ulp.value_or(0.0),
                        outcome.ulp_bound);
    if (outcome.gradient) {
      text +=
          fmt::format("; gradient off by {:.2g}, at most {:.2g}", *outcome.gradient, outcome.gradient_bound);
    }
  }
  return text + "\n";
}

std::string optional_text(const std::optional<double>& value, const char* format) {
  return value ? fmt::format(fmt::runtime(format), *value) : "-";
}

std::string device_lines(const CheckReport& report) {
  std::string text;
  for (const CheckedDevice& device : report.devices) {
    const char* state = !device.info.usable ? "not usable"
                        : !device.checked   ? "not asked for"
                        : device.info.exact ? "exact"
                                            : "not exact";
    text += fmt::format("{:<10} {:<14} {}\n", device.info.name, state, device.info.description);
    if (!device.info.note.empty()) text += fmt::format("{:<10} {:<14} {}\n", "", "", device.info.note);
  }
  return text;
}

std::string closing_line(const CheckReport& report) {
  const auto count = [](const auto& range, auto which) {
    return static_cast<std::size_t>(std::ranges::count_if(range, which));
  };
  const std::size_t devices = count(report.devices, [](const CheckedDevice& d) { return d.checked; });
  std::string text =
      fmt::format("{} checks on {} device{}: ", report.results.size(), devices, devices == 1 ? "" : "s");
  if (report.passed()) return text + "all passed\n";
  const std::size_t failed = count(report.results, [](const CheckResult& r) { return !r.passed; });
  std::vector<std::string> parts;
  if (failed > 0) parts.push_back(fmt::format("{} failed", failed));
  for (const CheckedDevice& device : report.devices) {
    if (device.failed) parts.push_back(fmt::format("{} cannot be used", device.info.name));
  }
  return text + fmt::format("{}\n", fmt::join(parts, "; "));
}

// JSON has no infinity; no error of f32 is larger than this many ulp.
double finite(double value) { return std::min(value, 0x1p32); }

Json to_json(const std::optional<double>& value) { return value ? Json(finite(*value)) : Json(); }

Json to_json(const CheckResult& result) {
  const Outcome& outcome = result.outcome;
  Json first;
  if (outcome.first) {
    first = {{"data", to_string(outcome.first->data)},
             {"output", outcome.first->output},
             {"element", outcome.first->element},
             {"got", bits_text(outcome.first->got, result.dtype)},
             {"expected", bits_text(outcome.first->want, result.dtype)}};
  }
  return {{"op", result.op},
          {"dtype", result.dtype},
          {"device", result.device},
          {"configuration", result.configuration},
          {"elements", outcome.elements},
          {"differing", outcome.differing},
          {"first_difference", first},
          {"worst_ulp", to_json(outcome.ulp)},
          {"ulp_bound", outcome.ulp_bound},
          {"gradient_error", to_json(outcome.gradient)},
          {"gradient_bound", outcome.gradient_bound},
          {"error", outcome.error.empty() ? Json() : Json(outcome.error)},
          {"passed", result.passed}};
}

}  // namespace

bool CheckReport::passed() const {
  return std::ranges::all_of(results, &CheckResult::passed) &&
         std::ranges::none_of(devices, &CheckedDevice::failed);
}

std::string check_table(const CheckReport& report) {
  const std::vector<Group> groups = groups_of(report);
  std::vector<std::string> devices;
  std::size_t op_width = 2, device_width = 6;
  for (const Group& group : groups) {
    devices.push_back(devices_of(group, report));
    op_width = std::max(op_width, group.first->op.size());
    device_width = std::max(device_width, devices.back().size());
  }
  std::string text = device_lines(report) + "\n", failures;
  if (groups.empty()) return text + closing_line(report);
  text += fmt::format("{:<{}}  {:<5}  {:<{}}  {:>12}  {:>9}  {:>9}  {}\n", "op", op_width, "dtype", "device",
                      device_width, "bits", "worst ulp", "gradient", "result");
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const CheckResult& result = *groups[i].first;
    const Outcome& outcome = result.outcome;
    const std::string bits = !outcome.error.empty() ? "-"
                             : outcome.same_bits()  ? "same"
                                                    : fmt::format("{} differ", outcome.differing);
    const char* verdict = !result.passed ? "FAILED" : outcome.same_bits() ? "passed" : "not exact";
    text += fmt::format("{:<{}}  {:<5}  {:<{}}  {:>12}  {:>9}  {:>9}  {}\n", result.op, op_width,
                        result.dtype, devices[i], device_width, bits, optional_text(outcome.ulp, "{:.3f}"),
                        optional_text(outcome.gradient, "{:.1e}"), verdict);
    if (!result.passed || !outcome.same_bits()) failures += explain(result, devices[i]);
  }
  if (!failures.empty()) text += "\n" + failures;
  return text + "\n" + closing_line(report);
}

std::string check_json(const CheckReport& report) {
  Json devices = Json::array(), checks = Json::array();
  for (const CheckedDevice& device : report.devices) {
    devices.push_back({{"name", device.info.name},
                       {"description", device.info.description},
                       {"note", device.info.note},
                       {"usable", device.info.usable},
                       {"exact", device.info.exact},
                       {"checked", device.checked},
                       {"configurations", device.configurations}});
  }
  for (const CheckResult& result : report.results) checks.push_back(to_json(result));
  const auto failed = std::ranges::count(report.results, false, &CheckResult::passed);
  const Json document = {{"passed", report.passed()},     {"checks_failed", failed},
                         {"seconds", report.seconds},     {"exhaustive", report.exhaustive},
                         {"devices", std::move(devices)}, {"checks", std::move(checks)}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace silica::app
