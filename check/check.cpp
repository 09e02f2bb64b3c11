// SPDX-License-Identifier: MIT
#include "check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "oracle.h"

namespace silica::check {

namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

oracle::Format format_of(DType dtype) {
  return dtype == DType::f16 ? oracle::kF16 : dtype == DType::bf16 ? oracle::kBf16 : oracle::kF32;
}

double magnitude_of(const Exact& exact, std::size_t i) {
  return std::max(std::abs(exact.values[i]), exact.magnitudes.empty() ? 0.0 : exact.magnitudes[i]);
}

// Differences of fourth order: (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12 h.
constexpr int moves[] = {1, -1, 2, -2};
constexpr double weights[] = {8.0, -8.0, -1.0, 1.0};

using Moved = std::array<std::vector<Exact>, 4>;  // an op's outputs after each of the moves

double step_at(double x) { return 0x1p-12 * std::max(std::abs(x), 0x1p-9); }

// What element `j` of output `s` adds to a difference.
template <class Gradient>
void accumulate(Gradient& to, const Moved& moved, std::size_t s, std::size_t j, double seed,
                bool elementwise) {
  double sum = 0.0, magnitude = 0.0;
  bool any = false;
  for (std::size_t m = 0; m < moved.size(); ++m) {
    const double value = moved[m][s].values[j];
    any = any || value != moved[0][s].values[j];
    sum += weights[m] * value;
    magnitude += std::abs(weights[m] * value);
  }
  if (!any || (!elementwise && !std::isfinite(seed * sum))) return;  // a row may be NaN whatever the input is
  to.value += seed * sum;
  to.noise += 0x1p-50 * std::abs(seed) * magnitude;
}

}  // namespace

double ulp_error(float got, double want, double magnitude, DType dtype) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0.0 : infinite;
  const oracle::Format format = format_of(dtype);
  const double above = std::ldexp(1.0, format.max_exponent + 1);
  const double rounds_up = above - std::ldexp(1.0, format.max_exponent - format.mantissa_bits - 1);
  if (std::abs(want) >= rounds_up) {
    if (std::isinf(got)) return std::signbit(got) == std::signbit(want) ? 0.0 : infinite;
    want = std::copysign(above, want);
  }
  const double value = std::isinf(got) ? std::copysign(above, got) : double{got};
  const int exponent = magnitude > 0.0 ? std::ilogb(std::min(magnitude, rounds_up)) : format.min_exponent;
  return std::ldexp(std::abs(value - want), format.mantissa_bits - std::max(exponent, format.min_exponent));
}

double ulp_bound(double bound, DType dtype) {
  return dtype == DType::f32 ? bound : 0.5 + std::ldexp(bound, format_of(dtype).mantissa_bits - 23);
}

bool Outcome::accurate() const {
  constexpr double slack = 1e-6;  // an f64 oracle cannot tell a tie from its neighbours
  return error.empty() && ulp.value_or(0.0) <= ulp_bound + slack && gradient.value_or(0.0) <= gradient_bound;
}

const OpCase* forward_of(const OpCase& op, const std::vector<OpCase>& all) {
  if (!op.backward() || op.takes_results) return nullptr;
  std::string name = op.name;
  for (const std::string_view part : {"_backward", ".in_place"}) {
    if (const std::size_t at = name.find(part); at != name.npos) name.erase(at, part.size());
  }
  const auto found = std::ranges::find(all, name, &OpCase::name);
  return found == all.end() ? nullptr : &*found;
}

Checker::Checker(const OpCase& op, const OpCase* forward) : op_(op) {
  const Device cpu = Device::open("cpu", {.threads = 1, .max_isa = "baseline"});
  for (const Data data : {Data::ordinary, Data::special, Data::wide}) {
    CaseRun run = run_case(cpu, op, data);
    dtype_ = run.dtype;
    if (op.reference) {
      run.outputs = op.reference(run.inputs);
      for (auto& output : run.outputs) output = rounded(std::move(output), dtype_);
    }
    expected_.push_back({data, run.outputs});
    if (data != Data::ordinary) continue;
    if (op.exact) exact_ = op.exact(run.inputs);
    if (forward != nullptr && forward->exact && op.exact) differentiate(*forward, run.inputs, cpu);
  }
  judge(expected_[0].outputs, of_reference_);
}

// Output k of a backward op is the gradient of the forward op's k-th input of floats.
void Checker::differentiate(const OpCase& forward, const Inputs& inputs, const Device& cpu) {
  CaseEncoder encoder(cpu);
  forward.encode(encoder);
  Inputs x = encoder.inputs;
  std::vector<const std::vector<double>*> seeds;
  for (const auto& [number, input] : inputs) {
    if (!x.contains(number)) seeds.push_back(&input.values);
    if (x.contains(number)) x[number] = input;
  }
  const bool elementwise = op_.elementwise.has_value();
  std::size_t output = 0;
  for (auto& [number, input] : x) {
    if (!is_float(input.dtype) || output == exact_.size()) continue;
    const std::vector<double> at = input.values;
    if (at.size() != exact_[output].values.size()) {
      throw Error(ErrorCode::invalid_argument, op_.name + ": output " + std::to_string(output) +
                                                   " is no gradient of " + forward.name + "'s input " +
                                                   std::to_string(number));
    }
    // Of the elements [first, first + count), each by itself where the op is elementwise.
    const auto add = [&](std::size_t first, std::size_t count) {
      std::vector<double> steps;
      for (std::size_t i = first; i < first + count; ++i) steps.push_back(step_at(at[i]));
      Moved moved;
      for (std::size_t m = 0; m < moved.size(); ++m) {
        for (std::size_t i = 0; i < count; ++i) input.values[first + i] = at[first + i] + moves[m] * steps[i];
        moved[m] = forward.exact(x);
      }
      input.values = at;
      std::vector<Gradient> found(count, Gradient{output, first, 0.0, 0.0});
      for (std::size_t s = 0; s < seeds.size(); ++s) {
        for (std::size_t j = 0; j < seeds[s]->size(); ++j) {
          accumulate(found[elementwise ? j : 0], moved, s, j, (*seeds[s])[j], elementwise);
        }
      }
      for (std::size_t i = 0; i < count; ++i) {
        found[i].element = first + i;
        found[i].value /= 12.0 * steps[i];
        found[i].noise /= 12.0 * steps[i];
      }
      gradients_.insert(gradients_.end(), found.begin(), found.end());
    };
    constexpr std::size_t samples = 6;
    Random random(number);
    if (elementwise) add(0, at.size());
    for (std::size_t i = 0; !elementwise && i < samples; ++i) add(random.below(at.size()), 1);
    ++output;
  }
}

void Checker::judge(const std::vector<std::vector<float>>& outputs, Outcome& outcome) const {
  if (exact_.empty()) return;
  outcome.ulp = 0.0;
  outcome.ulp_bound = check::ulp_bound(op_.bound, dtype_);
  for (std::size_t k = 0; k < exact_.size(); ++k) {
    for (std::size_t i = 0; i < exact_[k].values.size(); ++i) {
      const double error = ulp_error(outputs[k][i], exact_[k].values[i], magnitude_of(exact_[k], i), dtype_);
      outcome.ulp = std::max(*outcome.ulp, error);
    }
  }
  if (gradients_.empty()) return;
  const oracle::Format format = format_of(dtype_);
  outcome.gradient = 0.0;
  outcome.gradient_bound = 1e-5 + std::ldexp(outcome.ulp_bound, -format.mantissa_bits);
  for (const Gradient& g : gradients_) {
    const double want = exact_[g.output].values[g.element];
    const bool fits = std::abs(want) < std::ldexp(1.0, format.max_exponent);  // and is no NaN
    if (!fits || std::isnan(g.value)) continue;  // log has no value where it still has a formula's derivative
    const double least = std::ldexp(1.0, format.min_exponent);
    const double magnitude = std::max(magnitude_of(exact_[g.output], g.element), least);
    const double distance = std::abs(double{outputs[g.output][g.element]} - g.value) - g.noise;
    const double error = std::isnan(distance) ? infinite : std::max(0.0, distance) / magnitude;
    outcome.gradient = std::max(*outcome.gradient, error);
  }
}

Outcome Checker::run(const Device& device) const {
  Outcome outcome = of_reference_;
  try {
    for (const Expected& expected : expected_) {
      const std::vector<std::vector<float>> got = run_case(device, op_, expected.data).outputs;
      const std::uint64_t before = outcome.differing;
      for (std::size_t k = 0; k < expected.outputs.size(); ++k) {
        outcome.elements += expected.outputs[k].size();
        for (std::size_t i = 0; i < expected.outputs[k].size(); ++i) {
          const float want = expected.outputs[k][i];
          if (same_bits(got[k][i], want)) continue;
          if (outcome.differing++ == 0) outcome.first = {expected.data, k, i, got[k][i], want};
        }
      }
      if (expected.data == Data::ordinary && outcome.differing != before) judge(got, outcome);
    }
  } catch (const Error& error) {
    outcome = {};
    outcome.error = error.what();
  }
  return outcome;
}

}  // namespace silica::check
