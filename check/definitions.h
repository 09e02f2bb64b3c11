// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <string>

namespace silica::check {

inline constexpr float test_factor = 0.37f;  // of the ops with a scalar

// The mathematics of every row of ops.inc, and the error allowed in ulp; 0.5 is rounded correctly.
struct Definition {
  template <class F> Definition(F f, double most) : exact(f), fast(f), bound(most) {}

  void (*exact)(const long double* in, long double* out);
  void (*fast)(const double* in, double* out);  // good but near a root: oracle::needs_long_double
  double bound;
};

const std::map<std::string, Definition>& definitions();

}  // namespace silica::check
