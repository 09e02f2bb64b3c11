// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "case.h"

namespace silica::check {

// feed_forward and its gradients. The backward row takes what the forward pass keeps as inputs of its own.
std::vector<OpCase> feed_forward_cases();

}  // namespace silica::check
