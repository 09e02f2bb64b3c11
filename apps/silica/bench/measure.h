// SPDX-License-Identifier: MIT
// Time: whoever does some work runs in turn with the others, repeat by repeat.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "bench/operands.h"

namespace silica::bench {

// Somebody who does a work: silica, a peer, or what sets the limit.
class Runner {
 public:
  virtual ~Runner() = default;
  // What one measurement is: about so many calls, one after the other. Returns how many.
  virtual unsigned prepare(unsigned calls) = 0;
  virtual double measure() = 0;               // seconds that they took together
  virtual std::vector<Sample> results() = 0;  // of one call
};

// Replays a list with many commands, so that a launch costs what it costs in a program.
class ListRunner : public Runner {
 public:
  using Record = std::function<CommandList(unsigned calls)>;

  ListRunner(const Device& device, Record record, Tensors outputs, unsigned most_calls = 512)
      : device_(device), record_(std::move(record)), outputs_(std::move(outputs)), most_calls_(most_calls) {}
  // Records `encode` as often as called.
  ListRunner(const Device& device, const Encode& encode, const Tensors& in, const Tensors& out,
             const EncoderOptions& options = {});

  unsigned prepare(unsigned calls) override;
  double measure() override;
  std::vector<Sample> results() override;

 private:
  Device device_;
  Record record_;
  Tensors outputs_;
  unsigned most_calls_;  // in one list
  std::vector<CommandList> list_;
  unsigned submits_ = 1;
};

struct Timing {
  double median = 0, lower = 0, upper = 0;  // seconds of one call: the median and the quartiles
  unsigned calls = 0;                       // of one measurement
  std::size_t repeats = 0;
};
Timing summarise(std::vector<double> seconds);

struct Effort {
  double seconds = 0.01;  // a measurement takes about as long, or one call
  unsigned repeats = 0;   // 0: 15, or fewer of long ones
};

// Warms up, then measures the runners in turn, there and back, so that none always follows the same one and
// what that leaves behind: caches, heat.
std::vector<Timing> measure_in_turn(std::span<Runner* const> runners, const Effort& effort);

}  // namespace silica::bench
