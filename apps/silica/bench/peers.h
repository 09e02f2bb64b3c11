// SPDX-License-Identifier: MIT
// Others who can do some of the work.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/measure.h"

namespace silica::bench {

class Peer {
 public:
  virtual ~Peer() = default;
  virtual std::string name() const = 0;
  virtual std::string version() const = 0;
  // The same work on the same data; null if it is nothing that this peer does.
  virtual std::unique_ptr<Runner> take(const Work& work, const Operands& operands) = 0;
};

struct Peers {
  std::vector<std::unique_ptr<Peer>> present = {};
  std::vector<std::string> missing = {};  // "PyTorch: No module named 'torch'"
};
Peers find_peers(const Device& device, unsigned threads);

// Parts of it: each appends what it finds.
void add_onednn(Peers& peers, const Device& device);
void add_openblas(Peers& peers, const Device& device, unsigned threads);
void add_xnnpack(Peers& peers, const Device& device, unsigned threads);
void add_python(Peers& peers, const Device& device, unsigned threads);  // PyTorch, and Triton on CUDA

// The environment that peers on the CPU want before their libraries are loaded: as many threads, none of
// which spins while others have their turn.
std::vector<std::pair<std::string, std::string>> environment_of_peers(unsigned threads);

}  // namespace silica::bench
