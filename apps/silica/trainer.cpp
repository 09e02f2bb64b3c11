// SPDX-License-Identifier: MIT
#include "trainer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>

#include "errors.h"
#include "random.h"

namespace silica::app {
namespace {

constexpr std::size_t largest_evaluation = 512;     // rows at once
constexpr std::size_t quick_evaluation = 16 * 512;  // positions, for the curve

Settings with_vocabulary(Settings settings, const Dataset& dataset) {
  settings.model.vocabulary = dataset.vocabulary.size();
  return settings;
}

std::vector<Moments> zero_moments(const Model& model) {
  std::vector<Moments> moments;
  for (const Parameter& parameter : model.parameters()) {
    const Shape& shape = parameter.weight.shape();
    moments.push_back({Tensor(model.device(), DType::f32, shape), Tensor(model.device(), DType::f32, shape)});
  }
  return moments;
}

template <std::size_t N>
std::span<std::uint32_t, N> row_of(std::vector<std::uint32_t>& rows, std::size_t row) {
  return std::span<std::uint32_t, N>(rows.data() + row * N, N);
}

float to_bits(float nats) { return nats / std::numbers::ln2_v<float>; }

HostTensor downloaded(const Tensor& tensor) {
  HostTensor result{tensor.dtype(), tensor.shape(), std::vector<std::byte>(tensor.bytes())};
  tensor.download_bytes(result.data, tensor.dtype());
  return result;
}

void restore_tensor(const Checkpoint& checkpoint, const std::string& name, const Tensor& tensor) {
  const HostTensor& stored = checkpoint.tensors.at(name);
  tensor.upload_bytes(stored.data, stored.dtype);
}

}  // namespace

Trainer::Trainer(const Device& device, const Dataset& dataset, const Settings& settings)
    : dataset_(dataset),
      settings_(with_vocabulary(settings, dataset)),
      model_(device, settings_.model),
      moments_(zero_moments(model_)),
      adam_state_(device, Shape{3}, std::array{settings.learning_rate, 1.0f, 1.0f}),
      training_(encode_training_step(model_, settings.batch, moments_, adam_state_, settings.weight_decay)),
      evaluation_rows_(std::min(largest_evaluation, dataset.held_out.positions())),
      evaluation_(encode_evaluation(model_, evaluation_rows_)) {
  model_.initialise(settings.seed);
}

void Trainer::restore(const Checkpoint& checkpoint) {
  if (checkpoint.data_sha256 != dataset_.sha256) {
    fail(ErrorCode::invalid_argument, "the data has the SHA-256 {}, the checkpoint learned from {}",
         dataset_.sha256, quote(checkpoint.data_sha256));
  }
  if (checkpoint.settings != settings_ || checkpoint.vocabulary != dataset_.vocabulary.bytes()) {
    fail(ErrorCode::invalid_argument, "the checkpoint is of a run with other settings");
  }
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    const Parameter& parameter = model_.parameters()[i];
    restore_tensor(checkpoint, parameter.name, parameter.weight);
    restore_tensor(checkpoint, first_moment(parameter.name), moments_[i].m);
    restore_tensor(checkpoint, second_moment(parameter.name), moments_[i].v);
  }
  restore_tensor(checkpoint, "adam.state", adam_state_);
  losses_ = checkpoint.tensors.at("history.loss").floats();
  evaluations_ = checkpoint.tensors.at("history.held_out").floats();
}

std::size_t Trainer::weight_count() const {
  std::size_t count = 0;
  for (const Parameter& parameter : model_.parameters()) count += parameter.weight.size();
  return count;
}

// The batches of all steps are one run of samples, and each epoch of it a permutation of the positions.
void Trainer::upload_batch() const {
  const std::uint64_t positions = dataset_.train.positions();
  std::vector<std::uint32_t> ids(settings_.batch * context_length);
  std::vector<std::uint32_t> targets(settings_.batch);
  for (std::size_t row = 0; row < settings_.batch; ++row) {
    const std::uint64_t sample = steps_done() * settings_.batch + row;
    const Permutation order(positions, random_bits(settings_.seed, Stream::order, sample / positions));
    targets[row] = dataset_.train.sample(order(sample % positions), row_of<context_length>(ids, row));
  }
  training_.ids.upload(ids);
  training_.targets.upload(targets);
}

float Trainer::step() {
  upload_batch();
  adam_state_.rows(0, 1).upload(std::array{learning_rate_at(settings_, steps_done())});
  model_.device().submit(training_.list).wait();
  float loss = 0;
  training_.loss.download(std::span(&loss, 1));
  if (!std::isfinite(loss)) {
    fail(ErrorCode::invalid_argument,
         "the loss of step {} is {}: --learning-rate {} is too high for this model", steps_done() + 1, loss,
         settings_.learning_rate);
  }
  losses_.push_back(to_bits(loss));
  if (evaluations_.size() < evaluations_at(settings_, steps_done())) {
    evaluations_.push_back(static_cast<float>(evaluate(quick_evaluation)));
  }
  return losses_.back();
}

double Trainer::held_out_bits() const { return evaluate(dataset_.held_out.positions()); }

// Looks at the positions in an order that mixes them, so that the first are a fair sample.
double Trainer::evaluate(std::size_t positions) const {
  positions = std::min(positions, dataset_.held_out.positions());
  double sum = 0;
  std::size_t done = 0;
  for (; done + evaluation_rows_ <= positions; done += evaluation_rows_) {
    sum += evaluate_batch(evaluation_, done) * static_cast<double>(evaluation_rows_);
  }
  if (const std::size_t rest = positions - done; rest > 0) {
    sum += evaluate_batch(encode_evaluation(model_, rest), done) * static_cast<double>(rest);
  }
  return sum / static_cast<double>(positions);
}

double Trainer::evaluate_batch(const Evaluation& evaluation, std::size_t first) const {
  const std::size_t rows = evaluation.targets.size();
  const Permutation order(dataset_.held_out.positions(), 0);
  std::vector<std::uint32_t> ids(rows * context_length);
  std::vector<std::uint32_t> targets(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    targets[row] = dataset_.held_out.sample(order(first + row), row_of<context_length>(ids, row));
  }
  evaluation.ids.upload(ids);
  evaluation.targets.upload(targets);
  model_.device().submit(evaluation.list).wait();
  float loss = 0;
  evaluation.loss.download(std::span(&loss, 1));
  return to_bits(loss);
}

std::string Trainer::weights_sha256() const {
  std::map<std::string, HostTensor> weights;
  for (const Parameter& parameter : model_.parameters()) {
    weights[parameter.name] = downloaded(parameter.weight);
  }
  return digest_of(weights);
}

Checkpoint Trainer::checkpoint(const std::string& data_path) const {
  Checkpoint result{settings_, dataset_.vocabulary.bytes(), steps_done(), data_path, dataset_.sha256, {}};
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    const Parameter& parameter = model_.parameters()[i];
    result.tensors[parameter.name] = downloaded(parameter.weight);
    result.tensors[first_moment(parameter.name)] = downloaded(moments_[i].m);
    result.tensors[second_moment(parameter.name)] = downloaded(moments_[i].v);
  }
  result.tensors["adam.state"] = downloaded(adam_state_);
  result.tensors["history.loss"] = HostTensor::from(losses_);
  result.tensors["history.held_out"] = HostTensor::from(evaluations_);
  return result;
}

}  // namespace silica::app
