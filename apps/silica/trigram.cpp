// SPDX-License-Identifier: MIT
#include "trigram.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace silica::app {
namespace {

// Calls use(a, b, c) for each symbol c and the two before it, where a line's start is two boundaries.
template <class Use> void for_each_trigram(const Text& text, const Use& use) {
  std::uint8_t a = Vocabulary::boundary;
  std::uint8_t b = Vocabulary::boundary;
  for (const std::uint8_t c : text.symbols().subspan(1)) {
    use(a, b, c);
    a = c == Vocabulary::boundary ? Vocabulary::boundary : b;
    b = c;
  }
}

// Chen and Goodman's estimates from the numbers of counts of 1, 2, 3 and 4; a small text may lack some.
std::array<double, 3> estimate_discounts(std::span<const std::uint32_t> counts) {
  std::array<double, 5> having{};
  for (const std::uint32_t count : counts) {
    if (count < having.size()) ++having[count];
  }
  std::array<double, 3> discounts{0.5, 0.5, 0.5};
  if (having[1] == 0 || having[2] == 0) return discounts;
  const double y = having[1] / (having[1] + 2 * having[2]);
  for (std::size_t i = 0; i < discounts.size(); ++i) {
    const auto count = static_cast<double>(i + 1);
    const double discount = count - (count + 1) * y * having[i + 2] / std::max(1.0, having[i + 1]);
    discounts[i] = std::clamp(discount, 0.05, 0.95 * count);
  }
  return discounts;
}

}  // namespace

void Trigram::Order::finish(std::size_t vocabulary) {
  discounts = estimate_discounts(counts);
  const std::size_t contexts = counts.size() / vocabulary;
  totals.assign(contexts, 0);
  lower_weights.assign(contexts, 1.0);
  for (std::size_t context = 0; context < contexts; ++context) {
    double freed = 0;
    for (std::size_t symbol = 0; symbol < vocabulary; ++symbol) {
      const std::uint32_t count = counts[context * vocabulary + symbol];
      totals[context] += count;
      if (count > 0) freed += discounts[std::min<std::size_t>(count, 3) - 1];
    }
    if (totals[context] > 0) lower_weights[context] = freed / static_cast<double>(totals[context]);
  }
}

double Trigram::Order::smooth(std::size_t context, std::size_t index, double lower) const {
  const double rest = lower_weights[context] * lower;
  const std::uint32_t count = counts[index];
  if (count == 0) return rest;
  const double kept = count - discounts[std::min<std::size_t>(count, 3) - 1];
  return kept / static_cast<double>(totals[context]) + rest;
}

// Lower orders count the contexts that a symbol follows, not how often it occurs: they are asked where the
// higher one has seen little.
Trigram::Trigram(const Text& text, std::size_t vocabulary) : vocabulary_(vocabulary) {
  std::size_t size = 1;
  for (Order& order : orders_) order.counts.assign(size *= vocabulary, 0);
  auto& [one, two, three] = orders_;
  for_each_trigram(text, [&](std::size_t a, std::size_t b, std::size_t c) {
    const std::size_t bc = b * vocabulary + c;
    if (three.counts[a * vocabulary * vocabulary + bc]++ > 0) return;
    if (two.counts[bc]++ == 0) ++one.counts[c];
  });
  for (Order& order : orders_) order.finish(vocabulary);
}

double Trigram::probability(std::uint8_t before2, std::uint8_t before1, std::uint8_t symbol) const {
  const std::size_t context2 = before2 * vocabulary_ + before1;
  const auto& [one, two, three] = orders_;
  double p = 1.0 / static_cast<double>(vocabulary_);
  p = one.smooth(0, symbol, p);
  p = two.smooth(before1, before1 * vocabulary_ + symbol, p);
  return three.smooth(context2, context2 * vocabulary_ + symbol, p);
}

double Trigram::bits_per_symbol(const Text& text) const {
  double bits = 0;
  for_each_trigram(
      text, [&](std::uint8_t a, std::uint8_t b, std::uint8_t c) { bits -= std::log2(probability(a, b, c)); });
  return bits / static_cast<double>(text.positions());
}

}  // namespace silica::app
