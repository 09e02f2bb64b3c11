// SPDX-License-Identifier: MIT
#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace silica::bench {
namespace {

using nlohmann::ordered_json;

// ---- Markdown

std::string seconds_text(double seconds) {
  if (seconds < 1e-6) return fmt::format("{:.3g} ns", seconds * 1e9);
  if (seconds < 1e-3) return fmt::format("{:.3g} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3g} ms", seconds * 1e3);
  return fmt::format("{:.3g} s", seconds);
}

std::string rate_text(const Row& row, double rate) {
  const char* unit = row.flops > 0 ? "FLOP/s" : "B/s";
  if (rate >= 1e12) return fmt::format("{:.3g} T{}", rate / 1e12, unit);
  return fmt::format("{:.{}f} G{}", rate / 1e9, rate < 1e10 ? 2 : rate < 1e11 ? 1 : 0, unit);
}

std::string percent(const std::optional<double>& share) {
  return share ? fmt::format("{:.0f} %", *share * 100) : "";
}

std::string limit_text(const Row& row) {
  return row.limit ? rate_text(row, row.limit->rate) + " " + row.limit->what : "";
}

// Above 1: silica is faster. The error is the peer's distance from silica's result.
std::string peer_text(const Row& row, const PeerResult& peer) {
  if (!peer.refusal.empty()) return "no";
  const std::string error = row.sums ? fmt::format("{:.0e}", peer.difference.relative)
                                     : fmt::format("{:.3g} ulp", peer.difference.ulp);
  return fmt::format("{:.2f} ({})", peer.timing.median / row.timing.median, error);
}

using Cells = std::vector<std::string>;

std::vector<Cells> cells_of(const Report& report) {
  std::vector<Cells> table = {{"op", "dtype", "shape", "time", "ns/element", "rate", "limit", "of it"}};
  for (const auto& [name, version] : report.peers) table[0].push_back("x " + name);
  for (const Row& row : report.rows) {
    const bool has_rate = row.amount() > 0;
    Cells cells = {row.op,
                   row.dtype,
                   row.shape,
                   seconds_text(row.timing.median),
                   row.elements > 0 ? fmt::format("{:.3g}", row.timing.median / row.elements * 1e9) : "",
                   has_rate ? rate_text(row, row.rate(row.timing)) : "",
                   limit_text(row),
                   percent(row.share(row.timing))};
    for (const auto& [name, version] : report.peers) {
      const auto found = std::ranges::find(row.peers, name, &PeerResult::name);
      cells.push_back(found == row.peers.end() ? "" : peer_text(row, *found));
    }
    table.push_back(std::move(cells));
  }
  return table;
}

std::string aligned(const std::vector<Cells>& table) {
  std::vector<std::size_t> widths(table[0].size(), 3);
  for (const Cells& cells : table) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
  }
  std::string text;
  for (std::size_t line = 0; line < table.size(); ++line) {
    text += "|";
    for (std::size_t i = 0; i < widths.size(); ++i)
      text += fmt::format(" {:<{}} |", table[line][i], widths[i]);
    text += "\n";
    if (line > 0) continue;
    text += "|";
    for (const std::size_t width : widths) text += fmt::format(" {:-<{}} |", "", width);
    text += "\n";
  }
  return text;
}

// ---- JSON

ordered_json to_json(const Timing& timing) {
  return {{"median", timing.median},
          {"lower_quartile", timing.lower},
          {"upper_quartile", timing.upper},
          {"repeats", timing.repeats},
          {"calls", timing.calls}};
}

// The figures that a row and each of its peers have.
ordered_json figures(const Row& row, const Timing& timing) {
  ordered_json json = {{"seconds", to_json(timing)}};
  if (row.elements > 0) json["ns_per_element"] = timing.median / row.elements * 1e9;
  if (row.bytes > 0) json["bytes_per_second"] = row.bytes / timing.median;
  if (row.flops > 0) json["flops_per_second"] = row.flops / timing.median;
  if (const auto share = row.share(timing)) json["share_of_limit"] = *share;
  return json;
}

ordered_json to_json(const Row& row) {
  ordered_json json = {{"op", row.op}, {"dtype", row.dtype}, {"shape", row.shape}};
  if (row.elements > 0) json["elements"] = row.elements;
  if (row.bytes > 0) json["bytes"] = row.bytes;
  if (row.flops > 0) json["flops"] = row.flops;
  json.update(figures(row, row.timing));
  if (row.limit) json["limit"] = {{"what", row.limit->what}, {"rate", row.limit->rate}};
  json["peers"] = ordered_json::array();
  for (const PeerResult& peer : row.peers) {
    ordered_json entry = {{"name", peer.name}};
    if (peer.refusal.empty()) {
      entry.update(figures(row, peer.timing));
      entry["ratio"] = peer.timing.median / row.timing.median;
      entry["worst_ulp"] = peer.difference.ulp;
      entry["worst_relative"] = peer.difference.relative;
    } else {
      entry["refusal"] = peer.refusal;
    }
    json["peers"].push_back(entry);
  }
  return json;
}

// ---- CSV

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

constexpr const char* csv_head =
    "op,dtype,shape,who,seconds,lower_quartile,upper_quartile,repeats,ns_per_element,bytes_per_second,"
    "flops_per_second,limit,limit_rate,share_of_limit,ratio,worst_ulp,worst_relative,refusal\n";

// Fields that do not apply are empty.
std::string csv_line(const Row& row, const std::string& who, const Timing& timing, const PeerResult* peer) {
  const auto number = [](bool applies, double value) { return applies ? fmt::format("{:.6g}", value) : ""; };
  const bool done = timing.repeats > 0, compared = done && peer != nullptr;
  const Cells cells = {row.op,
                       row.dtype,
                       row.shape,
                       who,
                       number(done, timing.median),
                       number(done, timing.lower),
                       number(done, timing.upper),
                       number(done, static_cast<double>(timing.repeats)),
                       number(done && row.elements > 0, timing.median / row.elements * 1e9),
                       number(done && row.bytes > 0, row.bytes / timing.median),
                       number(done && row.flops > 0, row.flops / timing.median),
                       row.limit ? row.limit->what : "",
                       number(row.limit.has_value(), row.limit ? row.limit->rate : 0),
                       number(done && row.share(timing), row.share(timing).value_or(0)),
                       number(compared, timing.median / row.timing.median),
                       number(compared, peer ? peer->difference.ulp : 0),
                       number(compared, peer ? peer->difference.relative : 0),
                       peer ? peer->refusal : ""};
  std::string line;
  for (const std::string& cell : cells) line += (line.empty() ? "" : ",") + quoted(cell);
  return line + "\n";
}

}  // namespace

std::optional<double> Row::share(const Timing& of) const {
  if (!limit || amount() <= 0) return std::nullopt;
  return rate(of) / limit->rate;
}

std::string to_markdown(const Report& report) {
  std::string text = fmt::format("silica {} on {}: {}\n", report.version, report.device, report.description);
  for (const auto& [name, version] : report.peers) text += fmt::format("{} {}\n", name, version);
  for (const std::string& missing : report.missing) text += fmt::format("not measured: {}\n", missing);
  text += "\n" + aligned(cells_of(report));
  for (const Row& row : report.rows) {
    for (const PeerResult& peer : row.peers) {
      if (peer.refusal.empty()) continue;
      text += fmt::format("\n{}, {} {} {}: {}", peer.name, row.op, row.dtype, row.shape, peer.refusal);
    }
  }
  if (!report.peers.empty()) {
    text +=
        "\nx: the peer's time as a multiple of silica's, and how far its results are from silica's at "
        "worst\n";
  }
  return text;
}

std::string to_csv(const Report& report) {
  std::string text = csv_head;
  for (const Row& row : report.rows) {
    text += csv_line(row, "silica", row.timing, nullptr);
    for (const PeerResult& peer : row.peers) text += csv_line(row, peer.name, peer.timing, &peer);
  }
  return text;
}

std::string to_json(const Report& report) {
  ordered_json json = {
      {"silica", report.version},  {"date", report.date},       {"command", report.command},
      {"machine", report.machine}, {"device", report.device},   {"description", report.description},
      {"exact", report.exact},     {"threads", report.threads}, {"missing", report.missing}};
  json["peers"] = ordered_json::array();
  for (const auto& [name, version] : report.peers) {
    json["peers"].push_back({{"name", name}, {"version", version}});
  }
  json["rows"] = ordered_json::array();
  for (const Row& row : report.rows) json["rows"].push_back(to_json(row));
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace silica::bench
