// SPDX-License-Identifier: MIT
#include "silica/tape.h"

#include "autograd/tape_record.h"
#include "core/format.h"

namespace silica {

// ---- handles

void TapeRecord::check_live(const char* op, const Variable& variable) {
  if (!variable.tape_) refuse(op, ": the variable belongs to no tape (it was default-constructed)");
  if (variable.tape_->encoder == nullptr) refuse(op, ": the variable's tape was destroyed");
  if (variable.generation_ != variable.tape_->generation) refuse(op, ": the variable's tape was reset");
}

TapeRecord& TapeRecord::of(const char* op, std::span<const Variable> variables) {
  if (variables.empty()) refuse(op, ": no variables were given");
  TapeRecord* const tape = variables.begin()->tape_.get();
  for (const Variable& variable : variables) {
    check_live(op, variable);
    if (variable.tape_.get() != tape) refuse(op, ": the variables belong to different tapes");
  }
  return *tape;
}

Variable TapeRecord::push(TapeNode node) {
  nodes.push_back(std::move(node));
  Variable variable;
  variable.tape_ = shared_from_this();
  variable.generation_ = generation;
  variable.index_ = nodes.size() - 1;
  return variable;
}

Variable TapeRecord::record(const char* op, Tensor value, std::span<const Variable> inputs, Rule rule) {
  TapeRecord& tape = of(op, inputs);
  TapeNode node;
  node.value = std::move(value);
  for (const Variable& input : inputs) {
    node.inputs.push_back(input.index_);
    node.wants_gradient = node.wants_gradient || tape.nodes[input.index_].wants_gradient;
  }
  if (node.wants_gradient) node.rule = std::move(rule);
  return tape.push(std::move(node));
}

Tensor Variable::value() const { return TapeRecord::of("value", {*this}).node(*this).value; }

// ---- the reverse pass

Tensor Reverse::slot(std::size_t input) {
  TapeNode& node = target(input);
  if (node.wants_gradient && !node.gradient) {
    node.gradient = node.leaf ? Tensor(encoder.device(), node.value.dtype(), node.value.shape())
                              : encoder.temporary(node.value.dtype(), node.value.shape());
    return node.gradient;
  }
  const Tensor scratch = encoder.temporary(node.value.dtype(), node.value.shape());
  if (node.wants_gradient) pending_.emplace_back(node_.inputs[input], scratch);
  return scratch;
}

void Reverse::pass(std::size_t input, const Tensor& dy) {
  TapeNode& node = target(input);
  if (!node.wants_gradient) return;
  if (node.gradient) return accumulate(node, dy);
  if (node.leaf) return copy(encoder, dy, slot(input));
  node.gradient = dy.reshape(node.value.shape());
  node.gradient_is_shared = true;
}

void Reverse::accumulate(TapeNode& node, const Tensor& contribution) {
  const Tensor sum =
      node.gradient_is_shared ? encoder.temporary(node.value.dtype(), node.value.shape()) : node.gradient;
  add(encoder, node.gradient, contribution, sum);
  node.gradient = sum;
  node.gradient_is_shared = false;
}

void Reverse::finish() {
  for (const auto& [index, contribution] : pending_) accumulate(tape_.nodes[index], contribution);
}

void TapeRecord::backward(std::size_t from, const Tensor& seed) {
  CommandEncoder::Transaction transaction(*encoder);
  try {
    nodes[from].gradient = seed.reshape(nodes[from].value.shape());
    nodes[from].gradient_is_shared = true;
    for (std::size_t i = from + 1; i-- > 0;) {
      if (!nodes[i].rule || !nodes[i].gradient) continue;
      Reverse reverse(*this, i);
      nodes[i].rule(reverse);
      reverse.finish();
    }
    for (TapeNode& node : nodes) {
      if (!node.leaf || node.gradient) continue;
      node.gradient = Tensor(encoder->device(), node.value.dtype(), node.value.shape());
    }
  } catch (...) {
    for (TapeNode& node : nodes) node.gradient = Tensor(), node.gradient_is_shared = false;
    throw;
  }
  for (TapeNode& node : nodes) node.rule = nullptr;  // frees what was kept
  differentiated = true;
  transaction.commit();
}

// ---- the tape

Tape::Tape(CommandEncoder& encoder) : record_(std::make_shared<TapeRecord>()) { record_->encoder = &encoder; }

Tape::~Tape() {
  reset();
  record_->encoder = nullptr;
}

void Tape::reset() {
  record_->nodes.clear();
  record_->differentiated = false;
  ++record_->generation;
}

Variable Tape::variable(const Tensor& value) {
  if (!value) refuse("variable: value is no tensor (it was default-constructed)");
  if (!is_float(value.dtype())) {
    refuse("variable: value is ", to_string(value.dtype()), ", expected f32, f16 or bf16");
  }
  TapeNode node;
  node.value = value;
  node.wants_gradient = node.leaf = true;
  return record_->push(std::move(node));
}

Variable Tape::constant(const Tensor& value) {
  if (!value) refuse("constant: value is no tensor (it was default-constructed)");
  TapeNode node;
  node.value = value;
  return record_->push(std::move(node));
}

void Tape::backward(const Variable& y) {
  TapeRecord& tape = TapeRecord::of("backward", {y});
  const Tensor& value = tape.node(y).value;
  if (value.size() != 1) {
    refuse("backward: y has ", value.size(), " elements, expected 1; give a seed gradient for more");
  }
  CommandEncoder::Transaction transaction(*tape.encoder);
  const Tensor one = tape.encoder->temporary(value.dtype(), value.shape());
  fill(*tape.encoder, 1.0f, one);
  backward(y, one);
  transaction.commit();
}

void Tape::backward(const Variable& y, const Tensor& seed) {
  TapeRecord& tape = TapeRecord::of("backward", {y});
  if (&tape != record_.get()) refuse("backward: y belongs to another tape");
  if (tape.differentiated) refuse("backward: the tape was differentiated already; reset it");
  const TapeNode& node = tape.node(y);
  if (!node.wants_gradient) refuse("backward: y does not depend on any variable");
  if (!seed) refuse("backward: seed is no tensor (it was default-constructed)");
  if (seed.dtype() != node.value.dtype() || seed.size() != node.value.size()) {
    refuse("backward: seed is ", to_string(seed.dtype()), " with ", seed.size(), " elements, y is ",
           to_string(node.value.dtype()), " with ", node.value.size());
  }
  if (node.leaf) refuse("backward: y is a variable itself; its gradient is the seed");
  tape.backward(static_cast<std::size_t>(&node - tape.nodes.data()), seed);
}

Tensor Tape::gradient(const Variable& x) const {
  TapeRecord& tape = TapeRecord::of("gradient", {x});
  if (&tape != record_.get()) refuse("gradient: x belongs to another tape");
  if (!tape.differentiated) refuse("gradient: backward has not been called");
  const TapeNode& node = tape.node(x);
  if (!node.gradient) refuse("gradient: x is a constant, or y does not depend on it");
  return node.gradient;
}

}  // namespace silica
