// SPDX-License-Identifier: MIT
// Sums and maxima of a row, in C++. The order of a row's sum is part of the API (docs/exactness.md): element
// i goes to lane i mod 256, ascending; the lanes are folded in halves. No include guard: it comes after
// dtypes.h in the namespace of an instruction set.

constexpr std::uint64_t lanes = 256;

// term(i, sum) adds element i to a lane's sum.
template <class Term> float row_sum(std::uint64_t cols, Term term) {
  alignas(64) float lane[lanes] = {};
  std::uint64_t begin = 0;
  for (; begin + lanes <= cols; begin += lanes) {
    SILICA_INDEPENDENT
    for (std::uint64_t l = 0; l < lanes; ++l) lane[l] = term(begin + l, lane[l]);
  }
  SILICA_INDEPENDENT
  for (std::uint64_t l = 0; l < cols - begin; ++l) lane[l] = term(begin + l, lane[l]);
  for (std::uint64_t half = lanes / 2; half > 0; half /= 2) {
    SILICA_INDEPENDENT
    for (std::uint64_t l = 0; l < half; ++l) lane[l] += lane[l + half];
  }
  return lane[0];
}

// Exact in any order, so in lanes too, of which fewer are faster.
template <class T> float row_max(const typename T::Element* x, std::uint64_t cols) {
  constexpr std::uint64_t width = 64;
  alignas(64) float lane[width];
  for (float& most : lane) most = T::load(x[0]);
  const auto take = [&lane](std::uint64_t l, float value) {
    lane[l] = select_(value > lane[l], value, lane[l]);
  };
  std::uint64_t begin = 0;
  for (; begin + width <= cols; begin += width) {
    SILICA_INDEPENDENT
    for (std::uint64_t l = 0; l < width; ++l) take(l, T::load(x[begin + l]));
  }
  for (std::uint64_t l = 0; l < cols - begin; ++l) take(l, T::load(x[begin + l]));
  for (std::uint64_t l = 1; l < width; ++l) take(0, lane[l]);
  return lane[0];
}
