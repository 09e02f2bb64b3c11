// SPDX-License-Identifier: MIT
// `silica bench`.
#pragma once

#include "bench/limits.h"
#include "bench/peers.h"
#include "bench/report.h"
#include "commands.h"

namespace silica::bench {

// One work, whose results each peer must agree with before it is measured.
Row measure(const Device& device, const Work& work, const Limits& limits, const Peers& peers,
            const Effort& effort);

// Measures what was chosen. Errors: invalid_argument; those of the ops.
Report run(const app::BenchOptions& options);

}  // namespace silica::bench
