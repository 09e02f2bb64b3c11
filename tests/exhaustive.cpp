// SPDX-License-Identifier: MIT
// exhaustive [formula...]: runs formulas on all 2^32 floats, on every core, against the oracle. The checksum
// covers the bits of all results (NaN as one value), so builds for different instruction sets can be
// compared. Exits with 1 when a bound is exceeded.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "../kernels/prelude_cpp.h"
#include "oracle.h"

namespace formulas {
#include "../kernels/formulas.h"
}

namespace {

constexpr std::uint64_t kInputs = std::uint64_t{1} << 32;
constexpr std::size_t kBlock = 4096;

struct Row {
  std::string_view name;
  void (*run)(const float* x, float* y);  // kBlock elements, vectorised
  double (*fast)(double);
  long double (*exact)(long double);
  double bound;
};

constexpr Row kRows[] = {
#define ROW(formula, reference, limit)                                                                \
  {#formula,                                                                                          \
   [](const float* x, float* y) {                                                                     \
     for (std::size_t i = 0; i < kBlock; ++i) y[i] = formulas::formula(x[i]);                         \
   },                                                                                                 \
   [](double x) { return oracle::reference(x); }, [](long double x) { return oracle::reference(x); }, \
   limit},
    SILICA_UNARY_FORMULAS(ROW)
#undef ROW
};

struct Tally {
  double max_ulp = -1.0;
  float at = 0.0f;
  std::uint64_t misrounded = 0;
  std::uint64_t checksum = 0;

  void add(const Tally& other) {
    if (other.max_ulp > max_ulp) {
      max_ulp = other.max_ulp;
      at = other.at;
    }
    misrounded += other.misrounded;
    checksum += other.checksum;
  }
};

// splitmix64's finaliser: a sum of these over (input, result) does not depend on the order.
std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double error_of(const Row& row, float x, float y) {
  if (!oracle::needs_long_double(x)) {
    const double error = oracle::ulp_error(y, row.fast(double{x}));
    // Double cannot judge whether a tie was rounded well.
    if (error < 0.5 - 1e-6 || error > 0.5 + 1e-6) return error;
  }
  return oracle::ulp_error(y, row.exact(x));
}

Tally run_block(const Row& row, std::uint64_t first) {
  std::array<float, kBlock> x;
  std::array<float, kBlock> y;
  for (std::size_t i = 0; i < kBlock; ++i) x[i] = std::bit_cast<float>(static_cast<std::uint32_t>(first + i));
  row.run(x.data(), y.data());
  Tally tally;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const std::uint64_t bits = std::isnan(y[i]) ? 0x7fc00000u : std::bit_cast<std::uint32_t>(y[i]);
    tally.checksum += mix(((first + i) << 32) | bits);
    const double error = error_of(row, x[i], y[i]);
    if (error > 0.5) ++tally.misrounded;
    if (error > tally.max_ulp) {
      tally.max_ulp = error;
      tally.at = x[i];
    }
  }
  return tally;
}

Tally run_all(const Row& row) {
  Tally total;
  std::mutex mutex;
  std::atomic<std::uint64_t> next{0};
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      Tally own;
      for (std::uint64_t first; (first = next.fetch_add(kBlock)) < kInputs;) own.add(run_block(row, first));
      const std::scoped_lock lock(mutex);
      total.add(own);
    });
  }
  threads.clear();
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> wanted(argv + 1, argv + argc);
  for (std::string_view name : wanted) {
    if (std::ranges::none_of(kRows, [&](const Row& row) { return row.name == name; })) {
      std::fprintf(stderr, "exhaustive: no formula is called %s\n", name.data());
      return 2;
    }
  }
  bool good = true;
  std::printf("%-20s %9s %16s %12s %16s %6s\n", "formula", "max ulp", "at", "misrounded", "checksum", "s");
  for (const Row& row : kRows) {
    if (!wanted.empty() && std::ranges::find(wanted, row.name) == wanted.end()) continue;
    const auto start = std::chrono::steady_clock::now();
    const Tally tally = run_all(row);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const bool within = tally.max_ulp <= row.bound;
    good = good && within;
    std::printf("%-20s %9.5f %16.9g %12llu %016llx %6.0f%s\n", row.name.data(), tally.max_ulp,
                double{tally.at}, static_cast<unsigned long long>(tally.misrounded),
                static_cast<unsigned long long>(tally.checksum), seconds.count(),
                within ? "" : "  EXCEEDS ITS BOUND");
    std::fflush(stdout);
  }
  return good ? 0 : 1;
}
