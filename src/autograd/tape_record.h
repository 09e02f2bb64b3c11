// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "silica/tape.h"

namespace silica {

class Reverse;
// Encodes the gradients of a node's inputs; calls public ops only. It holds the tensors it needs, and so says
// what the tape keeps.
using Rule = std::function<void(Reverse&)>;

struct TapeNode {
  Tensor value;
  bool wants_gradient = false;
  bool leaf = false;
  std::vector<std::size_t> inputs;
  Rule rule;
  Tensor gradient;
  bool gradient_is_shared = false;  // another node's gradient too: never written again
};

struct TapeRecord : std::enable_shared_from_this<TapeRecord> {
  CommandEncoder* encoder = nullptr;  // null once the tape is destroyed
  std::size_t generation = 1;
  bool differentiated = false;
  std::vector<TapeNode> nodes;

  Variable push(TapeNode node);
  // A node whose value an op has just encoded.
  static Variable record(const char* op, Tensor value, std::span<const Variable> inputs, Rule rule);
  static Variable record(const char* op, Tensor value, std::initializer_list<Variable> inputs, Rule rule) {
    return record(op, std::move(value), std::span(inputs.begin(), inputs.size()), std::move(rule));
  }

  // The tape that all of them live on. Errors: invalid_argument for a stale handle or another tape's.
  static TapeRecord& of(const char* op, std::span<const Variable> variables);
  static TapeRecord& of(const char* op, std::initializer_list<Variable> variables) {
    return of(op, std::span(variables.begin(), variables.size()));
  }
  TapeNode& node(const Variable& variable) { return nodes[variable.index_]; }

  void backward(std::size_t from, const Tensor& seed);

 private:
  static void check_live(const char* op, const Variable& variable);
};

// The reverse pass at one node, as its rule sees it.
class Reverse {
 public:
  Reverse(TapeRecord& tape, std::size_t index)
      : encoder(*tape.encoder), tape_(tape), node_(tape.nodes[index]) {}

  CommandEncoder& encoder;
  const Tensor& dy() const { return node_.gradient; }
  bool wants(std::size_t input) const { return target(input).wants_gradient; }
  // Where to write input i's gradient, every element of it. Scratch if nobody wants it.
  Tensor slot(std::size_t input);
  // Input i's gradient is `dy` itself.
  void pass(std::size_t input, const Tensor& dy);
  // Adds what went to slots that already had a gradient.
  void finish();

 private:
  TapeNode& target(std::size_t input) const { return tape_.nodes[node_.inputs[input]]; }
  void accumulate(TapeNode& node, const Tensor& contribution);

  TapeRecord& tape_;
  TapeNode& node_;
  std::vector<std::pair<std::size_t, Tensor>> pending_;
};

}  // namespace silica
