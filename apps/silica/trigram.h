// SPDX-License-Identifier: MIT
// The baseline that training has to beat: an interpolated Kneser-Ney trigram of symbols, with three discounts
// per order. Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dataset.h"

namespace silica::app {

class Trigram {
 public:
  Trigram(const Text& text, std::size_t vocabulary);

  // Of `symbol` after `before2`, `before1`. Positive, and the sum over all symbols is 1.
  double probability(std::uint8_t before2, std::uint8_t before1, std::uint8_t symbol) const;

  // The mean over the text's positions.
  double bits_per_symbol(const Text& text) const;

 private:
  // Counts of symbols in contexts, one row of `vocabulary` per context.
  struct Order {
    std::vector<std::uint32_t> counts;
    std::array<double, 3> discounts{};  // for counts of 1, of 2, and of more
    std::vector<std::uint64_t> totals;  // per context
    std::vector<double> lower_weights;  // per context: the share that the discounts freed

    void finish(std::size_t vocabulary);
    double smooth(std::size_t context, std::size_t index, double lower) const;
  };

  std::size_t vocabulary_;
  std::array<Order, 3> orders_;  // unigram, bigram, trigram
};

}  // namespace silica::app
