// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint.h"
#include "dataset.h"
#include "model.h"

namespace silica::app {

// A training run. The batch of step t depends on the seed and t only, so that a restored run goes on with the
// same bits. Losses are in bits per character.
class Trainer {
 public:
  // settings.model.vocabulary is taken from the dataset, which must outlive the trainer.
  Trainer(const Device& device, const Dataset& dataset, const Settings& settings);
  // Errors: invalid_argument if the checkpoint is of other settings or other data.
  void restore(const Checkpoint& checkpoint);

  std::uint64_t steps_done() const { return losses_.size(); }
  bool finished() const { return steps_done() == settings_.steps; }
  const Settings& settings() const { return settings_; }
  std::size_t weight_count() const;

  // Returns the loss of the batch before the update; now and then looks at the held-out text too. Errors:
  // invalid_argument if the loss is no longer a number.
  float step();

  double held_out_bits() const;  // over all of the held-out text
  std::string weights_sha256() const;
  // Of every step, and of every evaluation with its step, since the start of the run.
  const std::vector<float>& losses() const { return losses_; }
  const std::vector<float>& evaluations() const { return evaluations_; }

  Checkpoint checkpoint(const std::string& data_path) const;

 private:
  void upload_batch() const;
  double evaluate(std::size_t positions) const;
  double evaluate_batch(const Evaluation& evaluation, std::size_t first) const;

  const Dataset& dataset_;
  Settings settings_;
  Model model_;
  std::vector<Moments> moments_;
  Tensor adam_state_;
  TrainingStep training_;
  std::size_t evaluation_rows_;
  Evaluation evaluation_;
  std::vector<float> losses_;
  std::vector<float> evaluations_;
};

}  // namespace silica::app
