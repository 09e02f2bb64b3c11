// SPDX-License-Identifier: MIT
// The speller: the last context_length characters are embedded side by side into a residual stream, SwiGLU
// blocks add to it, and a matrix reads the next character off it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "settings.h"
#include "silica/silica.h"

namespace silica::app {

// The name and shape of every weight. Matrices are (out, in).
std::vector<std::pair<std::string, Shape>> weight_shapes(const ModelShape& shape);

struct Parameter {
  std::string name;
  Tensor weight;
};

class Model {
 public:
  Model(const Device& device, const ModelShape& shape);  // all weights zero
  void initialise(std::uint64_t seed);

  const ModelShape& shape() const { return shape_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const Device& device() const { return device_; }

  // `weights` are the parameters on a tape, in their order; ids (rows * context_length). Returns (rows,
  // vocabulary).
  Variable logits(const std::vector<Variable>& weights, const Tensor& ids) const;

 private:
  Device device_;
  ModelShape shape_;
  std::vector<Parameter> parameters_;
};

// Command lists with the tensors that go in and out of them. ids (rows * context_length), targets (rows),
// u32.

struct TrainingStep {
  Tensor ids, targets, loss;
  CommandList list;
};
struct Moments {
  Tensor m, v;  // of one parameter
};
// Forward, backward and optimizer in one list.
TrainingStep encode_training_step(const Model& model, std::size_t rows, const std::vector<Moments>& moments,
                                  const Tensor& adam_state, float weight_decay);

struct Evaluation {
  Tensor ids, targets, loss;
  CommandList list;
};
Evaluation encode_evaluation(const Model& model, std::size_t rows);

struct Prediction {
  Tensor ids, logits;  // logits (rows, vocabulary)
  CommandList list;
};
Prediction encode_prediction(const Model& model, std::size_t rows);

}  // namespace silica::app
