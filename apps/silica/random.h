// SPDX-License-Identifier: MIT
// Integer randomness. Every number is a pure function of a seed and a counter: a resumed run needs no stored
// generator, and no bit depends on a mathematics library.
#pragma once

#include <cstdint>

namespace silica::app {

// What a random number is for; streams of one seed are independent.
enum class Stream : std::uint64_t { split = 1, order, weights, words };

// The finaliser of SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

constexpr std::uint64_t random_bits(std::uint64_t seed, Stream stream, std::uint64_t index) {
  return mix(mix(mix(seed) ^ static_cast<std::uint64_t>(stream)) ^ index);
}

// Uniform in [0, 1), a multiple of 2^-24: exact as a float.
constexpr float unit_float(std::uint64_t bits) { return static_cast<float>(bits >> 40) * 0x1p-24f; }

// A bijection of [0, size): a Feistel network over the next power of four, walked until it lands inside.
class Permutation {
 public:
  constexpr Permutation(std::uint64_t size, std::uint64_t key) : size_(size), key_(key) {
    while (half_ < 31 && (std::uint64_t{1} << (2 * half_)) < size) ++half_;
  }

  constexpr std::uint64_t operator()(std::uint64_t index) const {
    do {
      index = shuffle(index);
    } while (index >= size_);
    return index;
  }

 private:
  constexpr std::uint64_t shuffle(std::uint64_t index) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_) - 1;
    std::uint64_t left = index >> half_;
    std::uint64_t right = index & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (mix(mix(key_ + round) ^ right) & mask);
      left = right;
      right = next;
    }
    return (left << half_) | right;
  }

  std::uint64_t size_;
  std::uint64_t key_;
  unsigned half_ = 1;
};

}  // namespace silica::app
