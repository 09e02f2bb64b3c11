// SPDX-License-Identifier: MIT
// What bounds a work on this machine: how fast it copies, how many fused multiply-adds it does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/measure.h"

namespace silica::bench {

// Something that goes as fast as it can, measured in turn with the work.
struct LimitCandidate {
  std::unique_ptr<Runner> runner;
  double amount;  // bytes or floating-point operations of one call
};

class Limits {
 public:
  // `threads` are the CPU device's.
  Limits(const Device& device, unsigned threads, const Effort& effort);

  // Of the CPU, beside every work. Copies touch as much memory as the work does, in the caches or not.
  std::vector<LimitCandidate> beside(const Work& work) const;
  // Of a GPU, once: bytes per second of silica's own copy of a large tensor.
  double copy_rate() const { return copy_rate_; }

 private:
  Device device_;
  unsigned threads_;
  double copy_rate_ = 0;
};

}  // namespace silica::bench
