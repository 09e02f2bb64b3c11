// SPDX-License-Identifier: MIT
// `silica bench`.
#pragma once

#include <string>

#include "bench/measure.h"
#include "bench/report.h"
#include "bench/work.h"
#include "commands.h"

namespace silica::bench {

// Measures what was chosen. Errors: invalid_argument; those of the ops.
Report run(const app::BenchOptions& options);

}  // namespace silica::bench
