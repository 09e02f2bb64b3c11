// SPDX-License-Identifier: MIT
#include "svg.h"

#include <fmt/format.h>

#include <cmath>

namespace silica::app::svg {

std::string open(double width, double height, const std::string& style) {
  constexpr const char* shared =
      R"(text { font: 13px Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #4a5160; }
.title { font-size: 18px; font-weight: 600; fill: #1d2330; }
.grid { stroke: #e4e7ee; stroke-width: 1; }
.axis { stroke: #8a92a3; stroke-width: 1; }
)";
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\">\n"
      "<style>\n{2}{3}</style>\n<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n",
      width, height, shared, style);
}

std::string line(double x1, double y1, double x2, double y2, const char* name) {
  return fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", name,
                     x1, y1, x2, y2);
}

std::string text(double x, double y, const char* anchor, const std::string& content, const char* more) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more,
                     escape(content));
}

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

double tick_step(double extent, double count) {
  const double magnitude = std::pow(10.0, std::floor(std::log10(extent / count)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (extent / (factor * magnitude) <= count) return factor * magnitude;
  }
  return 10 * magnitude;
}

}  // namespace silica::app::svg
