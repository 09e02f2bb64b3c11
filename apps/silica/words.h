// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataset.h"
#include "model.h"

namespace silica::app {

struct SamplingOptions {
  std::uint64_t seed = 1;
  float temperature = 0.8f;
  std::size_t top_k = 0;  // 0 is all
  std::string prompt = {};
};

// Errors: invalid_argument, naming the option.
void validate(const SamplingOptions& options);

// Draws lines from a model, some at a time. The n-th attempt depends on the options and the weights only.
class WordSampler {
 public:
  static constexpr std::size_t rows = 64;           // attempts at a time
  static constexpr std::size_t longest_word = 128;  // attempts that do not end by then are dropped

  // The model must outlive the sampler.
  WordSampler(const Model& model, const Vocabulary& vocabulary, const SamplingOptions& options);

  std::vector<std::string> next();

 private:
  // The odds of each symbol in each row, not normalised, by the device's own arithmetic.
  std::vector<float> odds(const std::vector<std::vector<std::uint8_t>>& words);
  void scale_logits(std::span<float> row) const;

  Vocabulary vocabulary_;
  SamplingOptions options_;
  std::vector<std::uint8_t> prompt_;
  Device device_;
  Prediction prediction_;
  Tensor sigmoids_;
  CommandList sigmoid_list_;
  std::uint64_t attempts_ = 0;
};

bool is_utf8(std::string_view text);

}  // namespace silica::app
