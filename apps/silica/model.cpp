// SPDX-License-Identifier: MIT
#include "model.h"

#include <cmath>
#include <cstdint>

#include "errors.h"
#include "random.h"

namespace silica::app {
namespace {

enum BlockWeight : std::size_t { norm, gate, up, down, weights_per_block };

constexpr std::size_t first_block = 1;  // after the embedding

std::vector<Variable> constants(Tape& tape, const Model& model) {
  std::vector<Variable> result;
  for (const Parameter& parameter : model.parameters()) result.push_back(tape.constant(parameter.weight));
  return result;
}

// The bound of a uniform distribution with the variance 1 / inputs; std::sqrt rounds alike everywhere.
float uniform_bound(std::size_t inputs) { return std::sqrt(3.0f / static_cast<float>(inputs)); }

}  // namespace

std::vector<std::pair<std::string, Shape>> weight_shapes(const ModelShape& shape) {
  const std::size_t stream = shape.stream();
  std::vector<std::pair<std::string, Shape>> result;
  result.emplace_back("embedding", Shape{shape.vocabulary, shape.width});
  for (std::size_t block = 0; block < shape.blocks; ++block) {
    const std::string prefix = fmt::format("blocks.{:02}.", block);
    result.emplace_back(prefix + "norm", Shape{stream});
    result.emplace_back(prefix + "gate", Shape{shape.hidden, stream});
    result.emplace_back(prefix + "up", Shape{shape.hidden, stream});
    result.emplace_back(prefix + "down", Shape{stream, shape.hidden});
  }
  result.emplace_back("norm", Shape{stream});
  result.emplace_back("output", Shape{shape.vocabulary, stream});
  return result;
}

Model::Model(const Device& device, const ModelShape& shape) : device_(device), shape_(shape) {
  for (const auto& [name, extents] : weight_shapes(shape)) {
    parameters_.push_back({name, Tensor(device, DType::f32, extents)});
  }
}

void Model::initialise(std::uint64_t seed) {
  std::uint64_t counter = 0;
  for (const Parameter& parameter : parameters_) {
    std::vector<float> values(parameter.weight.size(), 1.0f);  // what a norm starts from
    if (parameter.weight.shape().rank() == 2) {
      float bound = uniform_bound(parameter.name == "embedding" ? 1 : parameter.weight.shape().cols());
      // Blocks start close to the identity, the output close to a uniform distribution.
      if (parameter.name.ends_with("down") || parameter.name == "output") bound *= 0.25f;
      for (float& value : values) {
        value = (2.0f * unit_float(random_bits(seed, Stream::weights, counter++)) - 1.0f) * bound;
      }
    }
    parameter.weight.upload(values);
  }
}

Variable Model::logits(const std::vector<Variable>& weights, const Tensor& ids) const {
  constexpr MatmulOptions out_in{.transpose_b = true};
  const Variable embedded = embedding(weights[0], ids);  // (rows * context_length, width)
  Variable x = reshape(embedded, {ids.size() / context_length, shape_.stream()});
  for (std::size_t block = 0; block < shape_.blocks; ++block) {
    const Variable* w = &weights[first_block + block * weights_per_block];
    const Variable normed = rms_norm(x, w[norm]);
    x = add(x, feed_forward(normed, w[gate], w[up], w[down]));
  }
  const Variable* last = &weights[first_block + shape_.blocks * weights_per_block];
  return matmul(rms_norm(x, last[0]), last[1], out_in);
}

TrainingStep encode_training_step(const Model& model, std::size_t rows, const std::vector<Moments>& moments,
                                  const Tensor& adam_state, float weight_decay) {
  const Device& device = model.device();
  const Tensor ids(device, DType::u32, {rows * context_length});
  const Tensor targets(device, DType::u32, {rows});
  const Tensor loss_out(device, DType::f32, {1});

  CommandEncoder encoder(device);
  Tape tape(encoder);
  std::vector<Variable> weights;
  for (const Parameter& parameter : model.parameters()) weights.push_back(tape.variable(parameter.weight));
  const Variable loss = cross_entropy(model.logits(weights, ids), targets);
  copy(encoder, loss.value(), loss_out);
  tape.backward(loss);

  adamw_step(encoder, adam_state);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Tensor& weight = model.parameters()[i].weight;
    const bool is_matrix = weight.shape().rank() == 2;
    adamw(encoder, tape.gradient(weights[i]), adam_state, weight, moments[i].m, moments[i].v,
          {.weight_decay = is_matrix ? weight_decay : 0.0f});
  }
  return {ids, targets, loss_out, encoder.finish()};
}

Evaluation encode_evaluation(const Model& model, std::size_t rows) {
  const Tensor ids(model.device(), DType::u32, {rows * context_length});
  const Tensor targets(model.device(), DType::u32, {rows});
  const Tensor loss(model.device(), DType::f32, {1});
  CommandEncoder encoder(model.device());
  Tape tape(encoder);
  copy(encoder, cross_entropy(model.logits(constants(tape, model), ids), targets).value(), loss);
  return {ids, targets, loss, encoder.finish()};
}

Prediction encode_prediction(const Model& model, std::size_t rows) {
  const Tensor ids(model.device(), DType::u32, {rows * context_length});
  const Tensor logits(model.device(), DType::f32, {rows, model.shape().vocabulary});
  CommandEncoder encoder(model.device());
  Tape tape(encoder);
  copy(encoder, model.logits(constants(tape, model), ids).value(), logits);
  return {ids, logits, encoder.finish()};
}

}  // namespace silica::app
