// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace silica::app {

struct LossPlot {
  std::string title = {};
  double steps = 0;                                      // the extent of the x axis
  std::vector<float> losses = {};                        // of each step, from 1 on
  std::vector<std::pair<double, double>> held_out = {};  // step, loss
  double trigram = 0;
};

std::string loss_plot_svg(const LossPlot& plot);

}  // namespace silica::app
