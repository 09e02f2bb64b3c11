// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

namespace silica::app {

inline constexpr std::size_t context_length = 16;  // characters the model looks back at

struct ModelShape {
  std::size_t vocabulary = 0;  // symbols
  std::size_t width = 12;    // of one character's embedding; the residual stream is context_length times that
  std::size_t hidden = 192;  // of a SwiGLU block
  std::size_t blocks = 2;

  std::size_t stream() const { return context_length * width; }
  bool operator==(const ModelShape&) const = default;
};

// Everything that the weights of a run depend on, beside the data.
struct Settings {
  ModelShape model = {};
  std::uint64_t steps = 16000;
  std::uint64_t batch = 256;
  std::uint64_t seed = 1;
  float learning_rate = 4e-3f;
  float weight_decay = 0.01f;

  bool operator==(const Settings&) const = default;
};

// Errors: invalid_argument, naming the option, for what makes no sense or does not fit this machine's memory.
void validate(const Settings& settings);

// Rises over the first twentieth of the run, then falls along a line. Step 0 is the first.
float learning_rate_at(const Settings& settings, std::uint64_t step);

}  // namespace silica::app
