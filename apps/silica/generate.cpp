// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <unordered_set>

#include "checkpoint.h"
#include "commands.h"
#include "errors.h"

namespace silica::app {
namespace {

Model load_model(const Device& device, const Checkpoint& checkpoint) {
  Model model(device, checkpoint.settings.model);
  for (const Parameter& parameter : model.parameters()) {
    parameter.weight.upload_bytes(checkpoint.tensors.at(parameter.name).data, DType::f32);
  }
  return model;
}

Lines read_known_words(const GenerateOptions& options, const Checkpoint& checkpoint) {
  if (options.data) return read_lines(*options.data);
  try {
    return read_lines(checkpoint.data);
  } catch (const Error& error) {
    fail(error.code(), "{} (the list that {} learned from; --data FILE names another)", error.what(),
         options.model);
  }
}

}  // namespace

int generate(const GenerateOptions& options) {
  constexpr std::uint64_t most_words = 1'000'000;
  if (options.count < 1 || options.count > most_words) {
    fail(ErrorCode::invalid_argument, "-n: {} is out of range, expected 1 to {}", options.count, most_words);
  }
  validate(options.sampling);
  const Checkpoint checkpoint = load_checkpoint(options.model);
  const Lines known = read_known_words(options, checkpoint);
  const Model model = load_model(open_device(options.device), checkpoint);
  WordSampler sampler(model, Vocabulary(checkpoint.vocabulary), options.sampling);

  std::unordered_set<std::string> skip(known.lines.begin(), known.lines.end());
  skip.insert("");
  const bool utf8_only = std::all_of(known.lines.begin(), known.lines.end(), is_utf8);
  const std::uint64_t most_attempts = 200 * options.count + 2000;
  std::uint64_t found = 0;
  for (std::uint64_t attempts = 0; attempts < most_attempts; attempts += WordSampler::rows) {
    for (const std::string& word : sampler.next()) {
      if ((utf8_only && !is_utf8(word)) || !skip.insert(word).second) continue;
      fmt::print("{}\n", printable(word));
      if (++found == options.count) return 0;
    }
  }
  fail(ErrorCode::invalid_argument,
       "found {} of {} new words in {} attempts: a higher --temperature or --top-k, or another --prompt, may "
       "help",
       found, options.count, most_attempts);
}

}  // namespace silica::app
