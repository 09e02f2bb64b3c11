// SPDX-License-Identifier: MIT
#pragma once

extern "C" {

// The algorithms it offers, by the milliseconds that each takes.
void fake_lt_offer(const float* milliseconds, int count);
void fake_lt_fail_next(const char* entry, int status);

struct FakeLtCounts {
  long runs[8];       // of each algorithm, those that were captured not among them
  long captured;      // runs
  long heuristics;    // calls
  long objects;       // handles, descriptors, layouts, preferences, now
  unsigned align[4];  // of a, b, c, d, as the last heuristic was told
};
FakeLtCounts fake_lt_counts();
void fake_lt_reset();  // forgets runs, calls and failures; one algorithm
}
