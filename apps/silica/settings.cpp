// SPDX-License-Identifier: MIT
#include "settings.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "errors.h"

namespace silica::app {
namespace {

template <class T> void check_range(const char* option, T value, T least, T most) {
  if (!(value >= least && value <= most)) {  // so that NaN is refused too
    fail(ErrorCode::invalid_argument, "{}: {} is out of range, expected {} to {}", option, value, least,
         most);
  }
}

// Weights, gradients and both moments; then the activations of a step with their gradients. All factors are
// range-checked, so that the doubles only lose digits that do not matter.
double estimated_bytes(const Settings& settings) {
  const ModelShape& model = settings.model;
  const auto stream = static_cast<double>(model.stream());
  const auto hidden = static_cast<double>(model.hidden);
  const auto blocks = static_cast<double>(model.blocks);
  const auto batch = static_cast<double>(settings.batch);
  const double weights = blocks * 3 * stream * hidden;
  const double activations = batch * (blocks * (3 * stream + 3 * hidden) + 4 * stream + 1024);
  return 4 * (4 * weights + 2 * activations);
}

}  // namespace

void validate(const Settings& settings) {
  const ModelShape& model = settings.model;
  check_range<std::size_t>("--width", model.width, 1, 4096);
  check_range<std::size_t>("--hidden", model.hidden, 1, 1 << 20);
  check_range<std::size_t>("--blocks", model.blocks, 1, 64);
  check_range<std::uint64_t>("--batch", settings.batch, 1, 1 << 20);
  check_range<std::uint64_t>("--steps", settings.steps, 1, 100'000'000);
  check_range("--learning-rate", settings.learning_rate, 1e-9f, 1.0f);
  check_range("--weight-decay", settings.weight_decay, 0.0f, 1.0f);

  const double memory =
      static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  const double needed = estimated_bytes(settings);
  if (memory > 0 && needed > memory) {
    fail(ErrorCode::invalid_argument,
         "--width {} --hidden {} --blocks {} --batch {}: needs about {:.1f} GiB, this machine has {:.1f} GiB",
         model.width, model.hidden, model.blocks, settings.batch, needed / (1 << 30), memory / (1 << 30));
  }
}

float learning_rate_at(const Settings& settings, std::uint64_t step) {
  const std::uint64_t warmup = std::max<std::uint64_t>(1, settings.steps / 20);
  const std::uint64_t rest = std::max<std::uint64_t>(1, settings.steps - warmup);
  const double share = step < warmup ? static_cast<double>(step + 1) / static_cast<double>(warmup)
                                     : static_cast<double>(settings.steps - step) / static_cast<double>(rest);
  return static_cast<float>(static_cast<double>(settings.learning_rate) * share);
}

}  // namespace silica::app
