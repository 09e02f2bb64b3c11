// SPDX-License-Identifier: MIT
#include "case.h"

#include <utility>

namespace silica::check {

namespace {

// The first inputs of a row walk through all pairs, then come any bits.
std::vector<float> special_values(std::uint64_t number, std::size_t n) {
  static const std::vector<float> special = special_floats();
  const std::size_t stride = number == 1 ? 1 : number == 2 ? special.size() : 7;
  Random random(number);
  std::vector<float> values(n);
  for (std::size_t i = 0; i < n; ++i) {
    const bool in_pairs = i < special.size() * special.size();
    values[i] = in_pairs ? special[i / stride % special.size()] : random.any_float();
  }
  return values;
}

}  // namespace

std::string_view to_string(Data data) {
  switch (data) {
    case Data::ordinary:
      return "ordinary";
    case Data::special:
      return "special";
    case Data::wide:
      return "wide";
    case Data::every:
      return "every";
  }
  return "";
}

std::vector<float> values_for(Data data, std::uint64_t number, std::size_t n, float low, float high) {
  if (data == Data::ordinary) return Random(number).floats(n, low, high);
  if (data == Data::special) return special_values(number, n);
  Random random(number);
  std::vector<float> values(n);
  for (float& value : values) {
    value = std::ldexp(random.uniform(-1.0f, 1.0f), static_cast<int>(random.below(216)) - 149);
  }
  return values;
}

CaseRun run_case(const Device& device, const OpCase& op, Data data) {
  CaseEncoder encoder(device, data);
  const Tensors outputs = op.encode(encoder);
  device.submit(encoder.finish()).wait();
  CaseRun run{std::move(encoder.inputs), {}, outputs.at(0).dtype()};
  for (const Tensor& output : outputs) run.outputs.push_back(get(output));
  return run;
}

}  // namespace silica::check
