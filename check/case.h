// SPDX-License-Identifier: MIT
// What a row of the table of ops is made of: how to encode an op on data of its own, and what should come
// out.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data.h"
#include "definitions.h"

namespace silica::check {

using Tensors = std::vector<Tensor>;

enum class Data {
  ordinary,  // uniform, in the range that the row asks for: the oracle judges these
  special,   // zeros, subnormals, infinities, NaN, in all pairs; then any bits
  wide,      // finite, of every magnitude: products underflow, sums cancel and overflow
  every,     // every input there is: exhaustive.h
};
std::string_view to_string(Data data);

// An input as an oracle sees it; ids are numbers, too.
struct Input {
  Shape shape;
  DType dtype;
  std::vector<double> values;
};
// By the number that the row gives it. The backward op's row has the same numbers for the same inputs, and
// the next ones for the gradients of the outputs.
using Inputs = std::map<std::uint64_t, Input>;

inline std::size_t batch_of(const Input& matrices) {
  return matrices.shape.rank() < 3 ? 1 : matrices.shape[0];
}

// What an output is, in f64. Where terms cancel, an error is judged by the magnitude of the terms: the sum of
// their absolute values; empty is the value's own.
struct Exact {
  std::vector<double> values;
  std::vector<double> magnitudes = {};
};

// An encoder that notes what it was given.
class CaseEncoder : public CommandEncoder {
 public:
  explicit CaseEncoder(const Device& device, Data of = Data::ordinary) : CommandEncoder(device), data(of) {}

  const Data data;
  Inputs inputs;
};

using Oracle = std::function<std::vector<Exact>(const Inputs&)>;
using Reference = std::function<std::vector<std::vector<float>>(const Inputs&)>;

// An op whose output elements i depend on the elements i of its inputs alone: how to run it on any inputs.
struct Elementwise {
  std::size_t inputs, outputs;
  DType from, to;
  std::function<void(CommandEncoder&, const Tensors& in, const Tensors& out)> encode;
  void (*formula)(const float* in, float* out);  // the reference, of one element
  const Definition* definition;                  // the oracle; null if there is none yet
};

struct OpCase {
  std::string name;
  // Encodes the op on data of its own, always the same; returns the outputs.
  std::function<Tensors(CaseEncoder&)> encode;
  // The outputs by plain loops over f64, sharing no code with the kernels; and the error allowed to f32, in
  // ulp of the magnitude.
  Oracle exact = {};
  double bound = 0.0;
  // The outputs to the bit, by plain loops over f32 in the order that docs/exactness.md states. A row without
  // it is compared with the CPU's baseline kernels on one thread.
  Reference reference = {};
  std::optional<Elementwise> elementwise = {};
  bool takes_results = false;  // a backward op of its op's results: here they are not those of the inputs

  bool backward() const { return name.find("_backward") != name.npos; }
};

// A case, run.
struct CaseRun {
  Inputs inputs;
  std::vector<std::vector<float>> outputs;
  DType dtype;  // of the outputs
};
CaseRun run_case(const Device& device, const OpCase& op, Data data = Data::ordinary);

// ---- what rows use; the number of an input is the seed of its values

std::vector<float> values_for(Data data, std::uint64_t number, std::size_t n, float low, float high);

inline Tensor random_tensor(CommandEncoder& e, std::uint64_t number, const Shape& shape, float low = -2.0f,
                            float high = 2.0f, DType dtype = DType::f32) {
  return make(e.device(), dtype, shape, Random(number).floats(shape.size(), low, high));
}

inline Tensor random_tensor(CaseEncoder& e, std::uint64_t number, const Shape& shape, float low = -2.0f,
                            float high = 2.0f, DType dtype = DType::f32) {
  const std::vector<float> values = rounded(values_for(e.data, number, shape.size(), low, high), dtype);
  e.inputs[number] = {shape, dtype, {values.begin(), values.end()}};
  return make(e.device(), dtype, shape, values);
}

inline Tensor random_ids(CommandEncoder& e, std::uint64_t number, std::size_t n, std::size_t below) {
  return Tensor(e.device(), {n}, Random(number).ids(n, below));
}

inline Tensor random_ids(CaseEncoder& e, std::uint64_t number, std::size_t n, std::size_t below) {
  const std::vector<std::uint32_t> ids = Random(number).ids(n, below);
  e.inputs[number] = {{n}, DType::u32, {ids.begin(), ids.end()}};
  return Tensor(e.device(), {n}, ids);
}

inline Tensor result(CommandEncoder& e, const Shape& shape, DType dtype = DType::f32) {
  return Tensor(e.device(), dtype, shape);
}

}  // namespace silica::check
