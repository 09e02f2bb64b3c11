// SPDX-License-Identifier: MIT
// exhaustive [--threads=N] [--one-in=N] [--update=FILE] [--profile=FILE] [formula...]: measures formulas on
// all of their inputs, or on one in N of the f32 ones, and prints the rows of docs/numerics.md; --update puts
// them into it. --profile writes where the f32 errors are, for docs/accuracy.py. The checksum compares builds
// for different instruction sets. Exits with 1 when an error is larger than its goal.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <mutex>
#include <sstream>
#include <thread>

#include "formula_table.h"

namespace {

using namespace formulas;

struct Options {
  std::uint64_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::uint64_t one_in = 1;
  std::string update;
  std::string profile;
  std::vector<std::string_view> wanted;
};

// The value of `--name=value`, if the argument is that.
bool take(std::string_view argument, std::string_view name, std::string_view& value) {
  if (!argument.starts_with(name)) return false;
  value = argument.substr(name.size());
  return true;
}

bool parse(int argc, char** argv, Options& options) {
  const auto number = [](std::string_view text, std::uint64_t& n) {
    return std::from_chars(text.data(), text.data() + text.size(), n).ec == std::errc() && n > 0;
  };
  for (const std::string_view argument : std::vector<std::string_view>(argv + 1, argv + argc)) {
    std::string_view value;
    bool good = true;
    if (take(argument, "--threads=", value)) {
      good = number(value, options.threads);
    } else if (take(argument, "--one-in=", value)) {
      good =
          number(value, options.one_in) && std::has_single_bit(options.one_in) && options.one_in <= 1u << 20;
    } else if (take(argument, "--update=", value)) {
      options.update = value;
    } else if (take(argument, "--profile=", value)) {
      options.profile = value;
    } else {
      good = std::ranges::any_of(subjects(), [&](const Subject& s) { return s.name() == argument; });
      options.wanted.push_back(argument);
    }
    if (!good) {
      std::fprintf(stderr, "exhaustive: %s is no formula, and no option with a good value\n",
                   argument.data());
      return false;
    }
  }
  return true;
}

// The largest error in ulp of the floats with one sign and exponent, by the bits of the first of them.
// A block of inputs counts where it begins; up to --one-in=2048 it ends there, too.
using Profile = std::map<std::uint32_t, double>;
constexpr std::uint32_t kSignAndExponent = 0xff800000u;

Figures measure_all(const Subject& subject, const Options& options, Profile& profile) {
  const std::uint64_t one_in = subject.from->inputs > 1u << 16 ? options.one_in : 1;
  const std::uint64_t inputs = subject.from->inputs / one_in;
  Figures total;
  std::mutex mutex;
  std::atomic<std::uint64_t> next{0};
  std::vector<std::jthread> threads;
  for (std::uint64_t t = 0; t < options.threads; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t first; (first = next.fetch_add(kBlock)) < inputs;) {
        const Figures block = measure(subject, first, one_in);
        const std::scoped_lock lock(mutex);
        total.add(block);
        double& worst = profile[static_cast<std::uint32_t>(first * one_in) & kSignAndExponent];
        worst = std::max(worst, block.max_ulp);
      }
    });
  }
  threads.clear();
  return total;
}

// Puts the rows in the place of the file's table, in the order of subjects(); rows that were not measured
// stay.
bool update(const std::string& path, const std::map<std::string, std::string>& measured) {
  std::map<std::string, std::string> rows = read_table(path);
  for (const auto& [key, row] : measured) rows[key] = row;
  std::ostringstream text;
  std::ifstream file(path);
  bool found = false, inside = false;
  for (std::string line; std::getline(file, line);) {
    inside = line.starts_with("| formula") || (inside && line.starts_with('|'));
    if (line.starts_with("| formula")) {
      found = true;
      text << kTableHead;
      for (const Subject& subject : subjects()) {
        const auto row = rows.find(subject.key());
        if (row != rows.end()) text << row->second << '\n';
      }
    }
    if (!inside) text << line << '\n';
  }
  file.close();
  std::ofstream(path) << text.str();
  if (!found) std::fprintf(stderr, "exhaustive: %s has no table of formulas\n", path.c_str());
  return found;
}

// Lines of formula, first float, largest error; NaN and the infinities are no place on the number line.
void write(std::ostream& file, const Subject& subject, const Profile& profile) {
  for (const auto& [bits, worst] : profile) {
    const float first = std::bit_cast<float>(bits);
    if (std::isfinite(first)) file << subject.name() << ',' << first << ',' << worst << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) return 2;
  bool good = true;
  std::map<std::string, std::string> rows;
  std::ostringstream profiles;
  profiles.precision(9);
  profiles << "formula,first,ulp\n";
  const auto start = std::chrono::steady_clock::now();
  std::fputs(kTableHead.data(), stdout);
  for (const Subject& subject : subjects()) {
    if (!options.wanted.empty() && std::ranges::find(options.wanted, subject.name()) == options.wanted.end())
      continue;
    Profile profile;
    const Figures figures = measure_all(subject, options, profile);
    if (subject.dtype == &kDTypes[0]) write(profiles, subject, profile);
    rows[subject.key()] = table_row(subject, figures);
    std::puts(rows[subject.key()].c_str());
    std::fflush(stdout);
    if (figures.max_ulp <= subject.goal()) continue;
    good = false;
    std::fprintf(stderr, "exhaustive: %s is above its goal of %g ulp\n", subject.key().c_str(),
                 subject.goal());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::fprintf(stderr, "%.0f s on %llu threads\n", seconds.count(),
               static_cast<unsigned long long>(options.threads));
  if (!options.update.empty()) good = update(options.update, rows) && good;
  if (!options.profile.empty() && !(std::ofstream(options.profile) << profiles.str()).flush()) {
    std::fprintf(stderr, "exhaustive: cannot write %s\n", options.profile.c_str());
    good = false;
  }
  return good ? 0 : 1;
}
