// SPDX-License-Identifier: MIT
#include "plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "svg.h"

namespace silica::app {
namespace {

constexpr double width = 860, height = 500;
constexpr double left = 70, right = 30, top = 64, bottom = 62;

constexpr const char* style = R"(.raw { fill: none; stroke: #9db8e8; stroke-width: 1; }
.train { fill: none; stroke: #2457b3; stroke-width: 2.2; stroke-linejoin: round; }
.held { fill: #ffffff; stroke: #d1495b; stroke-width: 2.2; }
.trigram { stroke: #3d8b5f; stroke-width: 1.8; stroke-dasharray: 7 5; }
)";

using svg::line;
using svg::text;
using svg::tick_step;
using Points = std::vector<std::pair<double, double>>;

struct Axis {
  double low, high;  // values
  double from, to;   // pixels
  double operator()(double value) const {
    return std::clamp(from + (value - low) / (high - low) * (to - from), -9999.0, 9999.0);
  }
};

// Means over about 400 runs of steps.
Points thin(const std::vector<float>& losses) {
  const std::size_t run = std::max<std::size_t>(1, losses.size() / 400);
  Points points;
  for (std::size_t first = 0; first + run <= losses.size(); first += run) {
    double sum = 0;
    for (std::size_t i = first; i < first + run; ++i) sum += static_cast<double>(losses[i]);
    const double x = static_cast<double>(first) + static_cast<double>(run + 1) / 2;
    if (std::isfinite(sum)) points.emplace_back(x, sum / static_cast<double>(run));
  }
  return points;
}

// A centred mean, narrow where the curve is steep: at the start.
Points smooth(const Points& points) {
  Points result;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const std::size_t half = std::min<std::size_t>(i / 4, 10);
    const std::size_t end = std::min(points.size(), i + half + 1);
    double sum = 0;
    for (std::size_t k = i - half; k < end; ++k) sum += points[k].second;
    result.emplace_back(points[i].first, sum / static_cast<double>(end - (i - half)));
  }
  return result;
}

// The first steps, far above the rest, are cut off: what matters happens around the baseline.
Axis loss_axis(const LossPlot& plot, const Points& train) {
  double low = plot.trigram, high = plot.trigram;
  for (const auto& [x, y] : train) {
    low = std::min(low, y);
    high = std::max(high, y);
  }
  for (const auto& [x, y] : plot.held_out) low = std::min(low, y);
  high = std::min(high, std::max(plot.trigram, low) * 1.45);
  const double step = tick_step(std::max(high - low, 0.1), 7);
  return {std::floor(low / step - 0.25) * step, std::ceil(high / step) * step, height - bottom, top};
}

std::string polyline(const Points& points, const Axis& x, const Axis& y, const char* name) {
  std::string path;
  for (const auto& [step, loss] : points) path += fmt::format("{:.1f},{:.1f} ", x(step), y(loss));
  return fmt::format("<polyline class=\"{}\" clip-path=\"url(#area)\" points=\"{}\"/>\n", name, path);
}

std::string axes(const Axis& x, const Axis& y) {
  std::string svg;
  const double y_step = tick_step(y.high - y.low, 8);
  for (double i = std::ceil(y.low / y_step - 1e-6); i * y_step <= y.high + 1e-6 * y_step; ++i) {
    const double at = y(i * y_step);
    svg += line(left, at, width - right, at, "grid");
    svg += text(left - 10, at + 4.5, "end", fmt::format("{:.3g}", i * y_step));
  }
  const double x_step = std::max(1.0, tick_step(x.high, 8));
  for (double i = 0; i * x_step <= x.high; ++i) {
    const double at = x(i * x_step);
    svg += line(at, height - bottom, at, height - bottom + 6, "axis");
    svg += text(at, height - bottom + 22, "middle", fmt::format("{:.10g}", i * x_step));
  }
  svg += line(left, height - bottom, width - right, height - bottom, "axis");
  svg += text((left + width - right) / 2, height - 16, "middle", "training step");
  svg += text(20, (top + height - bottom) / 2, "middle", "loss in bits per character",
              fmt::format(" transform=\"rotate(-90 20 {:.1f})\"", (top + height - bottom) / 2).c_str());
  return svg;
}

std::string legend(const LossPlot& plot) {
  const double x = width - right - 236;
  const auto row = [](double i) { return top + 24 + 23 * i; };
  std::string svg = fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"226\" height=\"82\" rx=\"5\" fill=\"#ffffff\" "
      "stroke=\"#e4e7ee\"/>\n",
      x, top + 8);
  svg += line(x + 12, row(0), x + 40, row(0), "train") +
         text(x + 50, row(0) + 4.5, "start", "training (smoothed)");
  svg += fmt::format("<circle class=\"held\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/>\n", x + 26, row(1));
  const std::string last =
      plot.held_out.empty() ? "" : fmt::format(", last {:.3f}", plot.held_out.back().second);
  svg += text(x + 50, row(1) + 4.5, "start", "held-out lines" + last);
  svg += line(x + 12, row(2), x + 40, row(2), "trigram");
  return svg + text(x + 50, row(2) + 4.5, "start", fmt::format("trigram, held-out, {:.3f}", plot.trigram));
}

}  // namespace

std::string loss_plot_svg(const LossPlot& given) {
  LossPlot plot = given;
  std::erase_if(plot.held_out, [](const auto& point) { return !std::isfinite(point.second); });
  const Points raw = thin(plot.losses);
  const Points train = smooth(raw);
  const Axis x{0, std::max(plot.steps, 1.0), left, width - right};
  const Axis y = loss_axis(plot, train);

  std::string svg = svg::open(width, height, style);
  svg += fmt::format(
      "<defs><clipPath id=\"area\"><rect x=\"{}\" y=\"{}\" width=\"{}\" "
      "height=\"{}\"/></clipPath></defs>\n",
      left, top, width - left - right, height - top - bottom);
  svg += text(left, 36, "start", plot.title, " class=\"title\"");
  svg += axes(x, y);
  svg += polyline(raw, x, y, "raw") + polyline(train, x, y, "train");
  svg += line(left, y(plot.trigram), width - right, y(plot.trigram), "trigram");
  for (const auto& [step, loss] : plot.held_out) {
    if (loss > y.high) continue;
    svg += fmt::format("<circle class=\"held\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/>\n", x(step), y(loss));
  }
  return svg + legend(plot) + "</svg>\n";
}

}  // namespace silica::app
