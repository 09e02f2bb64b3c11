// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>

#include "bench/report.h"
#include "svg.h"

namespace silica::bench {
namespace {

using app::svg::line;
using app::svg::text;

constexpr double left = 250, right = 40, top = 104, bottom = 50, area = 570;
constexpr double bar = 12, gap = 10;  // heights

struct Bar {
  std::string who;
  double share;
  std::size_t colour;  // 0 is silica's
};

// The rows that have a limit.
struct Group {
  std::string label;
  std::vector<Bar> bars;
};

std::vector<Group> groups_of(const Report& report) {
  std::vector<Group> groups;
  for (const Row& row : report.rows) {
    const auto share = row.share(row.timing);
    if (!share) continue;
    groups.push_back({fmt::format("{} {} {}", row.op, row.dtype, row.shape), {{"silica", *share, 0}}});
    for (const PeerResult& peer : row.peers) {
      if (!peer.refusal.empty()) continue;
      const auto named = [&](const auto& entry) { return entry.first == peer.name; };
      const auto place = std::ranges::find_if(report.peers, named) - report.peers.begin();
      groups.back().bars.push_back({peer.name, *row.share(peer.timing), static_cast<std::size_t>(place) + 1});
    }
  }
  return groups;
}

std::string rectangle(double x, double y, double width, double height, std::size_t colour) {
  constexpr const char* colours[] = {"#2457b3", "#d1495b", "#3d8b5f", "#c58b1b", "#7b5ea7"};
  return fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"/>\n", x,
                     y, width, height, colours[colour % std::size(colours)]);
}

std::string legend(const Report& report) {
  std::string svg = rectangle(left, 70, 12, 12, 0) + text(left + 18, 81, "start", "silica");
  for (std::size_t i = 0; i < report.peers.size(); ++i) {
    const double x = left + 110 * static_cast<double>(i + 1);
    svg += rectangle(x, 70, 12, 12, i + 1) + text(x + 18, 81, "start", report.peers[i].first);
  }
  return svg;
}

// The whole limit has a line of its own; caches may carry a bar beyond it.
std::string axis(double most, double end) {
  std::string svg;
  const double step = app::svg::tick_step(most, 8);
  for (double i = 0; i * step <= most + 1e-9; ++i) {
    const double x = left + i * step / most * area;
    svg +=
        line(x, top, x, end, "grid") + text(x, end + 20, "middle", fmt::format("{:.3g} %", 100 * i * step));
  }
  return svg + line(left + area / most, top, left + area / most, end, "limit");
}

}  // namespace

std::string to_svg(const Report& report) {
  const std::vector<Group> groups = groups_of(report);
  double end = top, most = 1;
  for (const Group& group : groups) {
    end += gap + bar * static_cast<double>(group.bars.size());
    for (const Bar& one : group.bars) most = std::max(most, one.share);
  }
  end += gap;
  std::string svg =
      app::svg::open(left + area + right, end + bottom, ".limit { stroke: #1d2330; stroke-width: 1.5; }\n");
  svg += text(20, 30, "start", "Share of this machine's limit", " class=\"title\"") +
         text(20, 52, "start", report.description);
  svg += legend(report) + axis(most, end);
  double y = top;
  for (const Group& group : groups) {
    y += gap;
    const double height = bar * static_cast<double>(group.bars.size());
    svg += text(left - 10, y + height / 2 + 4.5, "end", group.label);
    for (const Bar& one : group.bars) {
      svg += rectangle(left, y, std::max(0.0, one.share / most * area), bar - 1, one.colour);
      y += bar;
    }
  }
  return svg + line(left, top, left, end, "axis") + "</svg>\n";
}

}  // namespace silica::bench
