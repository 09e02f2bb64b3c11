// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace silica::app {

struct ProgressState {
  std::uint64_t step = 0, steps = 0;
  double loss = 0;                // bits per character
  double samples_per_second = 0;  // 0 while unknown
  double seconds_left = -1;       // negative while unknown
};

std::string format_duration(double seconds);  // "1:05"
std::string format_progress_line(const ProgressState& state);
// As long as `columns` at most, but for the colour codes.
std::string format_progress_bar(const ProgressState& state, std::size_t columns, bool colour);

// Shows how far a run is, on standard error: a bar on a terminal, else a line every few seconds.
class Progress {
 public:
  Progress(bool enabled, std::uint64_t first_step, std::uint64_t steps, std::uint64_t samples_per_step);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::uint64_t step, double loss);
  void pause();  // ends the bar's line, so that something else can be printed

 private:
  using Clock = std::chrono::steady_clock;

  bool enabled_;
  bool terminal_;
  bool colour_;
  bool bar_shown_ = false;
  std::uint64_t first_step_, steps_, samples_per_step_;
  double mean_loss_ = -1;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_;
};

}  // namespace silica::app
