// SPDX-License-Identifier: MIT
// Runs a row of the table on a device and judges it: bits, accuracy, gradient.
#pragma once

#include <optional>

#include "case.h"

namespace silica::check {

// The first element whose bits are not the reference's.
struct Difference {
  Data data;
  std::size_t output, element;
  float got, want;

  bool operator==(const Difference& other) const {
    return data == other.data && output == other.output && element == other.element &&
           same_bits(got, other.got) && same_bits(want, other.want);
  }
};

struct Outcome {
  std::string error;  // why the device could not run the op; nothing else counts then
  std::uint64_t elements = 0, differing = 0;
  std::optional<Difference> first;
  // The largest error against the oracle, in ulp of the magnitude, and what is allowed; none without an
  // oracle.
  std::optional<double> ulp;
  double ulp_bound = 0.0;
  // Of a backward op: the largest difference to the central differences of the forward op's oracle, relative
  // to the magnitude.
  std::optional<double> gradient;
  double gradient_bound = 0.0;

  bool accurate() const;  // ran, and within the bounds
  bool same_bits() const { return error.empty() && differing == 0; }
  bool operator==(const Outcome&) const = default;
};

// The error in units of the spacing of the dtype's numbers at `magnitude`. An overflow is right where the
// exact value rounds to infinity; NaN wants NaN; anything else there is infinitely wrong.
double ulp_error(float got, double want, double magnitude, DType dtype);

// A bound for f32 results, for results rounded to `dtype` in the end.
double ulp_bound(double bound, DType dtype);

// What a case should give; made once, for all devices.
class Checker {
 public:
  // `forward` is the row whose gradient this row is, or null.
  Checker(const OpCase& op, const OpCase* forward);

  Outcome run(const Device& device) const;
  DType dtype() const { return dtype_; }  // of the outputs

 private:
  struct Expected {
    Data data;
    std::vector<std::vector<float>> outputs;
  };
  struct Gradient {
    std::size_t output, element;
    double value;
    double noise;  // how far rounding in f64 may have moved the value
  };

  void differentiate(const OpCase& forward, const Inputs& inputs, const Device& cpu);
  void judge(const std::vector<std::vector<float>>& outputs, Outcome& outcome) const;

  const OpCase& op_;
  DType dtype_ = DType::f32;
  std::vector<Expected> expected_;
  std::vector<Exact> exact_;
  std::vector<Gradient> gradients_;
  Outcome of_reference_;  // accuracy and gradient of the reference's bits
};

// The row whose gradient `op` is, or null.
const OpCase* forward_of(const OpCase& op, const std::vector<OpCase>& all);

}  // namespace silica::check
