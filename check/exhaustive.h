// SPDX-License-Identifier: MIT
// Every input there is, for the elementwise ops.
#pragma once

#include <functional>
#include <vector>

#include "check.h"

namespace silica::check {

// Called with the share that is done, from 0 to 1.
using Report = std::function<void(double share)>;

// All inputs of an op of one operand (2^32, or 2^16 of f16 and bf16; a backward op with dy = 1), with the
// accuracy of one in 64 of them and of all that differ, or 2^26 tuples of any bits for ops of more; one
// outcome per device. A Difference's element is the bits of the input, or the tuple's number. `op` must be
// elementwise.
std::vector<Outcome> check_every_input(const std::vector<Device>& devices, const OpCase& op,
                                       const Report& report);

}  // namespace silica::check
