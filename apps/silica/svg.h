// SPDX-License-Identifier: MIT
// The parts that the plots are made of.
#pragma once

#include <string>

namespace silica::app::svg {

// A white page and the classes that all plots share; `style` adds its own.
std::string open(double width, double height, const std::string& style);
std::string line(double x1, double y1, double x2, double y2, const char* name);
// `more` are attributes.
std::string text(double x, double y, const char* anchor, const std::string& content, const char* more = "");
std::string escape(const std::string& text);

// 1, 2 or 5 times a power of ten, so that `extent` holds about `count` of them.
double tick_step(double extent, double count);

}  // namespace silica::app::svg
