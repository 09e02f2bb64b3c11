// SPDX-License-Identifier: MIT
// What is measured of kernels/formulas.h: each unary row of ops.inc and the casts, against the oracle, as the
// rows of docs/numerics.md. For exhaustive.cpp, which writes that table, and formulas_test.cpp, which holds
// the code to it.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "../kernels/prelude_cpp.h"
#include "oracle.h"

namespace formulas {

#include "../kernels/formulas.h"

inline constexpr std::size_t kBlock = 4096;
using Block = std::array<float, kBlock>;

struct Formula {
  std::string_view name;
  void (*run)(const Block& x, Block& y);
  double (*fast)(double);
  long double (*exact)(long double);
  double goal;  // the error allowed in f32, ulp
};

inline constexpr Formula kFormulas[] = {
#define ROW(name, formula, reference, goal)     \
  {name,                                        \
   [](const Block& in, Block& out) {            \
     for (std::size_t i = 0; i < kBlock; ++i) { \
       const float x = in[i];                   \
       out[i] = formula;                        \
     }                                          \
   },                                           \
   [](double v) { return oracle::reference(v); }, [](long double v) { return oracle::reference(v); }, goal},
#define SILICA_UNARY(op, y, derivative) \
  ROW(#op, y, op, 1.0) ROW(#op "_derivative", derivative, op##_derivative, 2.0)
#define SILICA_UNARY_LINEAR(op, y) ROW(#op, y, op, 0.5)
#define SILICA_UNARY_SCALAR(op, ...)
#define SILICA_BINARY(op, ...)
#define SILICA_BINARY_LINEAR(op, ...)
#define SILICA_BINARY_SCALAR(op, ...)
#include "../kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
#undef ROW
};

// A dtype of results; it is also the inputs', but for a cast's.
struct DType {
  std::string_view name;
  oracle::Format format;
  float (*store)(float);  // rounds, and widens again
  float (*load)(std::uint32_t);
  std::uint64_t inputs;
};

inline constexpr DType kDTypes[] = {
    {"f32", oracle::kF32, [](float x) { return x; }, [](std::uint32_t u) { return from_bits_(u); },
     1ull << 32},
    {"f16", oracle::kF16, [](float x) { return f16_to_f32_(f32_to_f16_(x)); },
     [](std::uint32_t u) { return f16_to_f32_(u); }, 1ull << 16},
    {"bf16", oracle::kBf16, [](float x) { return bf16_to_f32_(f32_to_bf16_(x)); },
     [](std::uint32_t u) { return bf16_to_f32_(u); }, 1ull << 16}};

// A row of the table: a formula in a dtype, or a cast from f32 to it.
struct Subject {
  const Formula* formula;  // null for a cast
  const DType* dtype;
  const DType* from;

  std::string name() const { return formula != nullptr ? std::string(formula->name) : "cast from f32"; }
  std::string key() const { return name() + " " + std::string(dtype->name); }
  double goal() const { return formula == nullptr ? 0.5 : dtype == &kDTypes[0] ? formula->goal : 1.0; }
};

inline std::vector<Subject> subjects() {
  std::vector<Subject> all;
  for (const DType& dtype : kDTypes) {
    for (const Formula& formula : kFormulas) all.push_back({&formula, &dtype, &dtype});
    if (&dtype != &kDTypes[0]) all.push_back({nullptr, &dtype, &kDTypes[0]});
  }
  return all;
}

// ---- figures

struct Figures {
  std::uint64_t inputs = 0;
  double max_ulp = -1.0;
  float at = 0.0f;
  std::uint64_t misrounded = 0;
  std::uint64_t checksum = 0;  // of all results, NaN as one value; it does not depend on the order

  void add(const Figures& other) {
    inputs += other.inputs;
    // Of several places the first, whatever the order of the threads.
    const bool earlier = std::bit_cast<std::uint32_t>(other.at) < std::bit_cast<std::uint32_t>(at);
    if (other.max_ulp > max_ulp || (other.max_ulp == max_ulp && earlier)) {
      max_ulp = other.max_ulp;
      at = other.at;
    }
    misrounded += other.misrounded;
    checksum += other.checksum;
  }
};

// splitmix64's finaliser.
inline std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

inline void judge(const Subject& of, float x, float y, Figures& figures) {
  const oracle::Format& format = of.dtype->format;
  double want = double{x};
  double error = 0.0;
  if (of.formula == nullptr) {
    error = oracle::ulp_error(y, want, format);
  } else {
    want = of.formula->fast(double{x});
    error = oracle::ulp_error(y, want, format);
    // Double cannot judge whether a tie was rounded well.
    if (std::fabs(error - 0.5) < 1e-6 || oracle::needs_long_double(x)) {
      error = oracle::ulp_error(y, of.formula->exact(static_cast<long double>(x)), format);
    }
  }
  const bool wrong_tie = error == 0.5 && double{y} != oracle::rounded(want, format);
  if (error > 0.5 || wrong_tie) ++figures.misrounded;
  if (of.formula != nullptr) {
    error = oracle::in_least_ulp(error, want, format, oracle::least_ulp(of.formula->name, x));
  }
  if (error > figures.max_ulp) figures.max_ulp = error, figures.at = x;
}

inline Figures measure(const Subject& of, const Block& x, std::size_t count = kBlock) {
  Block y = x;
  if (of.formula != nullptr) of.formula->run(x, y);
  Figures figures;
  figures.inputs = count;
  for (std::size_t i = 0; i < count; ++i) {
    const float result = of.dtype->store(y[i]);
    const std::uint64_t bits = std::isnan(result) ? 0x7fc00000u : std::bit_cast<std::uint32_t>(result);
    figures.checksum += mix((std::uint64_t{std::bit_cast<std::uint32_t>(x[i])} << 32) | bits);
    judge(of, x[i], result, figures);
  }
  return figures;
}

// Inputs first, first + 1, ...: of each one_in successive ones that at a place that varies.
inline Figures measure(const Subject& of, std::uint64_t first, std::uint64_t one_in) {
  Block x;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const std::uint64_t group = first + i;
    x[i] = of.from->load(static_cast<std::uint32_t>(group * one_in + (group * 2654435761u >> 7) % one_in));
  }
  return measure(of, x);
}

// ---- the table of docs/numerics.md

inline std::string with_commas(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3;) digits.insert(i -= 3, 1, ',');
  return digits;
}

inline constexpr std::string_view kTableHead =
    "| formula | dtype | inputs | largest error, ulp | at x | not correctly rounded | checksum of all "
    "results |\n"
    "|---|---|---|---|---|---|---|\n";

// The error is rounded up, so that it stays a bound.
inline std::string table_row(const Subject& of, const Figures& figures) {
  char numbers[64];
  std::snprintf(numbers, sizeof numbers, "%.3f | %.9g", std::ceil(figures.max_ulp * 1000) / 1000,
                double{figures.at});
  char checksum[24];
  std::snprintf(checksum, sizeof checksum, "%016llx", static_cast<unsigned long long>(figures.checksum));
  return "| " + of.name() + " | " + std::string(of.dtype->name) + " | " + with_commas(figures.inputs) +
         " | " + numbers + " | " + with_commas(figures.misrounded) + " | `" + checksum + "` |";
}

inline std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> all;
  for (std::size_t at = 1, end; (end = line.find('|', at)) != std::string::npos; at = end + 1) {
    all.push_back(line.substr(at + 1, end - at - 2));
  }
  return all;
}

// What a row says.
struct Claim {
  double max_ulp;
  std::uint64_t misrounded;
};

inline Claim claim_of(const std::string& row) {
  const std::vector<std::string> all = cells(row);
  std::string digits = all[5];
  std::erase(digits, ',');
  return {std::stod(all[3]), std::stoull(digits)};
}

// The committed rows, by Subject::key.
inline std::map<std::string, std::string> read_table(const std::string& path) {
  std::map<std::string, std::string> rows;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| ") || line.starts_with("| formula")) continue;
    const std::vector<std::string> row = cells(line);
    if (row.size() == 7) rows[row[0] + " " + row[1]] = line;
  }
  return rows;
}

}  // namespace formulas
