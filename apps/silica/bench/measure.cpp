// SPDX-License-Identifier: MIT
#include "bench/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace silica::bench {
namespace {

using Clock = std::chrono::steady_clock;

double quantile(const std::vector<double>& sorted, double part) {
  const double place = part * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// Prepares as many calls as take about `seconds`; on the way the runner gets warm.
unsigned warm_up(Runner& runner, double seconds) {
  constexpr double most = 1 << 20;
  unsigned calls = runner.prepare(1);
  runner.measure();
  for (int attempt = 0; attempt < 5; ++attempt) {
    const double taken = std::max(runner.measure(), 1e-9);
    if (taken > 0.5 * seconds || calls >= most) break;
    calls = runner.prepare(static_cast<unsigned>(std::clamp(calls * seconds / taken, 1.0, most)));
    runner.measure();
  }
  return calls;
}

// Fewer repeats of what takes long: about three seconds, but five at least.
std::size_t choose_repeats(const Effort& effort, double seconds_of_round) {
  if (effort.repeats > 0) return effort.repeats;
  return static_cast<std::size_t>(std::clamp(3.0 / seconds_of_round, 5.0, 15.0));
}

}  // namespace

ListRunner::ListRunner(const Device& device, const Encode& encode, const Tensors& in, const Tensors& out,
                       const EncoderOptions& options)
    : ListRunner(
          device,
          [device, encode, in, out, options](unsigned calls) {
            CommandEncoder encoder(device, options);
            for (unsigned i = 0; i < calls; ++i) encode(encoder, in, out);
            return encoder.finish();
          },
          out) {}

unsigned ListRunner::prepare(unsigned calls) {
  const unsigned in_list = std::min(calls, most_calls_);
  submits_ = (calls + in_list - 1) / in_list;
  list_.assign(1, record_(in_list));
  return in_list * submits_;
}

double ListRunner::measure() {
  const auto start = Clock::now();
  for (unsigned i = 1; i < submits_; ++i) device_.submit(list_.front());
  device_.submit(list_.front()).wait();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<Sample> ListRunner::results() {
  device_.submit(record_(1)).wait();
  return sample(outputs_);
}

Timing summarise(std::vector<double> seconds) {
  std::ranges::sort(seconds);
  return {quantile(seconds, 0.5), quantile(seconds, 0.25), quantile(seconds, 0.75), 0, seconds.size()};
}

std::vector<Timing> measure_in_turn(std::span<Runner* const> runners, const Effort& effort) {
  std::vector<unsigned> calls;
  for (Runner* runner : runners) calls.push_back(warm_up(*runner, effort.seconds));
  std::vector<std::vector<double>> seconds(runners.size());
  double round = 0;
  for (std::size_t repeat = 0; repeat == 0 || repeat < choose_repeats(effort, round); ++repeat) {
    for (std::size_t turn = 0; turn < runners.size(); ++turn) {
      const std::size_t i = repeat % 2 == 0 ? turn : runners.size() - 1 - turn;
      const double taken = runners[i]->measure();
      if (repeat == 0) round += taken;
      seconds[i].push_back(taken / calls[i]);
    }
  }
  std::vector<Timing> timings;
  for (std::size_t i = 0; i < runners.size(); ++i) {
    timings.push_back(summarise(seconds[i]));
    timings.back().calls = calls[i];
  }
  return timings;
}

}  // namespace silica::bench
