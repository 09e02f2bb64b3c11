// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "safetensors.h"
#include "settings.h"

namespace silica::app {

// All that a run needs to go on, or to be used. The tensors are, for every weight NAME: NAME, adam.m.NAME and
// adam.v.NAME; adam.state; and what was measured so far, history.loss and history.held_out.
struct Checkpoint {
  Settings settings;
  std::string vocabulary;  // Vocabulary::bytes
  std::uint64_t step = 0;  // steps done
  std::string data;        // the path that was learned from
  std::string data_sha256;
  std::map<std::string, HostTensor> tensors;
};

std::string first_moment(const std::string& weight);
std::string second_moment(const std::string& weight);

// How many times a run has looked at the held-out text after `step` steps.
std::uint64_t evaluations_at(const Settings& settings, std::uint64_t step);

void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& path);

// Errors: io for a file that is not such a checkpoint, or whose parts do not belong together.
Checkpoint load_checkpoint(const std::filesystem::path& path);

}  // namespace silica::app
