// SPDX-License-Identifier: MIT
// The operands of a work, and how the results of two who did it differ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "bench/work.h"

namespace silica::bench {

// The data of an input: a block of random elements, repeated to its shape's end.
struct HostInput {
  DType dtype;
  Shape shape;
  std::vector<std::byte> block;
};

struct Operands {
  std::uint64_t id = 0;  // no two have the same
  std::vector<HostInput> host = {};
  Tensors in = {};  // the same on the device
};
Operands make_operands(const Device& device, const Work& work);
Tensors make_outputs(const Device& device, const Work& work);  // all zero

// The elements that are compared, as (first, count): all, or a million spread evenly from the first to the
// last.
std::vector<std::pair<std::size_t, std::size_t>> sampled(std::size_t elements);

using Sample = std::vector<float>;  // the sampled elements of an output, widened
std::vector<Sample> sample(const Tensors& outputs);
Sample widen(const std::vector<std::byte>& bytes, DType dtype);

// How far a peer's results are from silica's, at worst.
struct Difference {
  double ulp = 0;       // in units of the last place of silica's value, in the dtype of the work
  double relative = 0;  // to the largest of silica's values in the same output
};
Difference difference(const std::vector<Sample>& silicas, const std::vector<Sample>& peers, DType dtype);
// More than rounding and another order of summation explain. All zeros are.
bool is_wrong(const Difference& difference, DType dtype);

}  // namespace silica::bench
