// SPDX-License-Identifier: MIT
#include "progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace silica::app {
namespace {

constexpr std::size_t bar_width = 30;

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::size_t terminal_columns() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

double share_of(const ProgressState& state) {
  return state.steps == 0 ? 0
                          : std::min(1.0, static_cast<double>(state.step) / static_cast<double>(state.steps));
}

std::string numbers(const ProgressState& state) {
  std::string text = fmt::format("step {}/{}  {:.3f} bits/char", state.step, state.steps, state.loss);
  if (state.samples_per_second > 0) text += fmt::format("  {:.0f} samples/s", state.samples_per_second);
  if (state.seconds_left >= 0) text += fmt::format("  {} left", format_duration(state.seconds_left));
  return text;
}

}  // namespace

std::string format_duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::clamp(seconds + 0.5, 0.0, 1e9));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string format_progress_line(const ProgressState& state) {
  return fmt::format("{:3.0f}%  {}", std::floor(100 * share_of(state)), numbers(state));
}

std::string format_progress_bar(const ProgressState& state, std::size_t columns, bool colour) {
  const auto filled = static_cast<std::size_t>(share_of(state) * bar_width);
  const std::string text = fmt::format("{:3.0f}% {}", std::floor(100 * share_of(state)), numbers(state));
  if (columns < bar_width + 1 + text.size()) return text.substr(0, columns);
  std::string full, empty;
  for (std::size_t i = 0; i < bar_width; ++i) (i < filled ? full : empty) += "━";
  if (!colour) return full + std::string(bar_width - filled, ' ') + " " + text;
  return "\x1b[36m" + full + "\x1b[90m" + empty + "\x1b[0m " + text;
}

Progress::Progress(bool enabled, std::uint64_t first_step, std::uint64_t steps,
                   std::uint64_t samples_per_step)
    : enabled_(enabled),
      terminal_(::isatty(STDERR_FILENO) == 1 && environment("TERM") != "dumb"),
      colour_(terminal_ && environment("NO_COLOR").empty()),
      first_step_(first_step),
      steps_(steps),
      samples_per_step_(samples_per_step) {}

Progress::~Progress() { pause(); }

void Progress::update(std::uint64_t step, double loss) {
  mean_loss_ = mean_loss_ < 0 ? loss : mean_loss_ + 0.05 * (loss - mean_loss_);
  const Clock::time_point now = Clock::now();
  if (!enabled_ || (now < next_ && step != steps_)) return;
  next_ = now + (terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000));

  ProgressState state{.step = step, .steps = steps_, .loss = mean_loss_};
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const auto done = static_cast<double>(step - first_step_);
  if (elapsed > 0.5 && done > 0) {
    state.samples_per_second = done * static_cast<double>(samples_per_step_) / elapsed;
    state.seconds_left = elapsed / done * static_cast<double>(steps_ - step);
  }
  if (terminal_) {
    fmt::print(stderr, "\r{}\x1b[K", format_progress_bar(state, terminal_columns(), colour_));
    bar_shown_ = true;
  } else {
    fmt::print(stderr, "{}\n", format_progress_line(state));
  }
  std::fflush(stderr);
}

void Progress::pause() {
  if (std::exchange(bar_shown_, false)) std::fputc('\n', stderr);
}

}  // namespace silica::app
