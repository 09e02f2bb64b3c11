// SPDX-License-Identifier: MIT
// The subcommands. Each returns the exit status, or throws silica::Error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "check_report.h"
#include "words.h"

namespace silica::app {

struct DeviceChoice {
  std::string name;  // empty is the best
  unsigned threads = 0;
};
Device open_device(const DeviceChoice& choice);

struct TrainOptions {
  // What is not given comes from the checkpoint that is resumed, or else from the defaults in Settings.
  std::optional<std::string> data;
  std::optional<std::uint64_t> steps, batch, seed;
  std::optional<std::size_t> width, hidden, blocks;
  std::optional<float> learning_rate, weight_decay;

  std::string out = "words.safetensors";
  std::string plot;
  DeviceChoice device;
  std::uint64_t checkpoint_every = 1000;  // 0 is only at the end
  bool resume = false;
  bool no_progress = false;
};
int train(const TrainOptions& options);

struct GenerateOptions {
  std::string model = "words.safetensors";
  std::optional<std::string> data;
  std::uint64_t count = 20;
  SamplingOptions sampling;
  DeviceChoice device;
};
int generate(const GenerateOptions& options);

struct BenchOptions {
  std::vector<std::string> ops;  // none: a table that fits the device
  std::vector<std::string> dtypes, sizes, shapes;
  bool transpose_a = false, transpose_b = false, in_out = false;
  bool fast = false;  // Math::fast
  bool peers = false;
  unsigned repeats = 0;   // 0: 15, or fewer of long ones
  double seconds = 0.01;  // of a measurement
  std::string output = "md";
  std::string plot;
  std::string command;  // as it was given, for the report
  DeviceChoice device;
};
int bench(const BenchOptions& options);

int devices();

struct CheckOptions {
  std::vector<std::string> ops;      // names or patterns; empty is all
  std::vector<std::string> devices;  // as `silica devices` lists them, or a family of them; empty is all
  bool exhaustive = false;
  bool allow_inexact = false;  // other bits do not fail a device that is not exact
  bool json = false;
};
// Errors: UsageError (no such op or device).
CheckReport run_checks(const CheckOptions& options, const std::vector<check::OpCase>& all);
int check(const CheckOptions& options);

inline constexpr const char* default_data = "/usr/share/dict/american-english";

}  // namespace silica::app
