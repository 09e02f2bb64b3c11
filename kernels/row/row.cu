// SPDX-License-Identifier: MIT
// Sums, means and norms of rows, in CUDA. Arguments as in row.cpp.
#include "kernels/row/lanes_cuda.h"
#include "kernels/row/softmax.cu"

// ---- sums and means: the divisor is 1 or cols ----

template <class T> struct SumArguments {
  const typename T::Element* x;  // (rows, cols)
  typename T::Element* y;        // (rows)
  u64 cols, divisor;
};

template <class Team> DEVICE void sum(const SumArguments<typename Team::Type>& a) {
  const auto* x = a.x + group() * a.cols;
  const float total =
      row_sum<Team>(a.cols, moves_runs<Team>(a.cols, a.x), [](float lane, float x) { return lane + x; }, x);
  if (threadIdx.x == 0) a.y[group()] = Team::Type::store(div_(total, float(a.divisor)));
}

template <class T> struct SumBackwardArguments {
  const typename T::Element* dy;  // (rows)
  typename T::Element* dx;        // (rows, cols)
  u64 cols, divisor;
};

template <class Team> DEVICE void sum_backward(const SumBackwardArguments<typename Team::Type>& a) {
  const float value = div_(Team::Type::load(a.dy[group()]), float(a.divisor));
  for_each_element<Team>(a.cols, moves_runs<Team>(a.cols, a.dx), a.dx + group() * a.cols,
                         [=](u64) { return value; });
}

// ---- norms ----

struct Statistics {
  float scale, mean;
};

template <class Team, bool centered>
DEVICE Statistics statistics(const ElementOf<Team>* x, u64 cols, u64 divisor, float epsilon, bool runs) {
  Statistics s{0.0f, 0.0f};
  if constexpr (centered) {
    const float total = row_sum<Team>(cols, runs, [](float lane, float x) { return lane + x; }, x);
    s.mean = div_(total, float(divisor));
  }
  const auto add_square = [=](float lane, float x) {
    const float difference = x - s.mean;
    return fma_(difference, difference, lane);
  };
  const float squares = row_sum<Team>(cols, runs, add_square, x);
  s.scale = div_(1.0f, sqrt_(div_(squares, float(divisor)) + epsilon));
  return s;
}

template <class T, bool centered> struct NormArguments {
  const typename T::Element* x;                           // (rows, cols)
  const typename T::Element* coefficients[1 + centered];  // weight and bias (cols)
  typename T::Element* y;                                 // (rows, cols)
  u64 cols, divisor;
  float epsilon;
};

template <class Team, bool centered> DEVICE void norm(const NormArguments<typename Team::Type, centered>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.x, a.coefficients[0], a.coefficients[centered ? 1 : 0], a.y);
  const auto* x = row_of<Team>(a.x, a.cols);
  auto* y = a.y + group() * a.cols;
  await_rows<Team>();
  const Statistics s = statistics<Team, centered>(x, a.cols, a.divisor, a.epsilon, runs);
  if constexpr (centered) {
    const auto value = [=](u64, float x, float weight, float bias) {
      return fma_((x - s.mean) * s.scale, weight, bias);
    };
    for_each_element<Team>(a.cols, runs, y, value, x, a.coefficients[0], a.coefficients[1]);
  } else {
    const auto value = [=](u64, float x, float weight) { return x * s.scale * weight; };
    for_each_element<Team>(a.cols, runs, y, value, x, a.coefficients[0]);
  }
}

// The statistics of a row, as the sums over rows read them: its scale, followed by its mean if centered.
template <bool centered> DEVICE Statistics statistics_of(const float* kept, u64 row) {
  if constexpr (centered) return {kept[2 * row], kept[2 * row + 1]};
  return {kept[row], 0.0f};
}
template <bool centered> DEVICE void keep(const Statistics& s, float* kept) {
  if (threadIdx.x != 0) return;
  kept[group() * (1 + centered)] = s.scale;
  if constexpr (centered) kept[2 * group() + 1] = s.mean;
}

template <class T> struct StatisticsArguments {
  const typename T::Element* x;  // (rows, cols)
  float* kept;                   // (rows, 1 or 2)
  u64 cols, divisor;
  float epsilon;
};

template <class Team, bool centered>
DEVICE void norm_statistics(const StatisticsArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.x);
  const auto* x = row_of<Team>(a.x, a.cols);
  await_rows<Team>();
  keep<centered>(statistics<Team, centered>(x, a.cols, a.divisor, a.epsilon, runs), a.kept);
}

template <class T> struct NormBackwardArguments {
  const typename T::Element* x;       // (rows, cols)
  const typename T::Element* weight;  // (cols)
  const typename T::Element* dy;      // (rows, cols)
  float* kept;                        // (rows, 1 or 2)
  typename T::Element* dx;            // (rows, cols)
  u64 cols, divisor;
  float epsilon;
};

template <class Team, bool centered>
DEVICE void norm_backward(const NormBackwardArguments<typename Team::Type>& a) {
  const bool runs = moves_runs<Team>(a.cols, a.x, a.weight, a.dy, a.dx);
  const auto* x = row_of<Team>(a.x, a.cols);
  const auto* dy = row_of<Team>(a.dy, a.cols, 1);
  await_rows<Team>();
  const Statistics s = statistics<Team, centered>(x, a.cols, a.divisor, a.epsilon, runs);
  keep<centered>(s, a.kept);
  const auto add_product = [=](float lane, float x, float dy, float weight) {
    return fma_(dy * weight, x - s.mean, lane);
  };
  const float divisor = float(a.divisor);
  const float dot = row_sum<Team>(a.cols, runs, add_product, x, dy, a.weight);
  const float factor = div_(dot, divisor) * (s.scale * s.scale);
  float shift = 0.0f;
  if constexpr (centered) {
    const auto add_gradient = [](float lane, float dy, float weight) { return lane + dy * weight; };
    shift = div_(row_sum<Team>(a.cols, runs, add_gradient, dy, a.weight), divisor);
  }
  const auto value = [=](u64, float x, float dy, float weight) {
    return s.scale * (fma_(-factor, x - s.mean, dy * weight) - shift);
  };
  for_each_element<Team>(a.cols, runs, a.dx + group() * a.cols, value, x, dy, a.weight);
}

// ---- sums over rows, in the order of a matmul's k ----

constexpr u32 row_block = 256;  // rows of a partial sum

// For a group of columns: each strand, of a thread a column, has a block of rows at a time.
template <class T_, u32 columns_, u32 strands_> struct ColumnTeam {
  using Type = T_;
  static constexpr u32 columns = columns_, strands = strands_;
};

// term(row, column, sum) adds a row's element to a column's sum.
template <class Team, class Term>
DEVICE void column_sums(u64 rows, u64 cols, ElementOf<Team>* y, Term term) {
  constexpr u32 columns = Team::columns, strands = Team::strands;
  __shared__ float sums[strands][columns];
  const u32 strand = threadIdx.x / columns, mine = threadIdx.x % columns;
  const u64 column = group() * columns + mine, blocks = ceil_div(rows, row_block);
  float total = 0.0f;
  for (u64 block = 0; block < blocks; block += strands) {
    if (block + strand < blocks && column < cols) {
      const u64 begin = (block + strand) * row_block, end = least(begin + row_block, rows);
      float sum = 0.0f;
#pragma unroll 8
      for (u64 row = begin; row < end; ++row) sum = term(row, column, sum);
      sums[strand][mine] = sum;
    }
    __syncthreads();
    if (strand == 0 && column < cols) {
      for (u32 s = 0; s < least(strands, blocks - block); ++s) total = total + sums[s][mine];
    }
    __syncthreads();
  }
  if (strand == 0 && column < cols) y[column] = Team::Type::store(total);
}

template <class T> struct NormWeightArguments {
  const typename T::Element* x;   // (rows, cols)
  const typename T::Element* dy;  // (rows, cols)
  const float* kept;              // (rows, 1 or 2)
  typename T::Element* dweight;   // (cols)
  u64 rows, cols;
};

// dweight = the sum of dy * (x - mean) * scale
template <class Team, bool centered>
DEVICE void norm_backward_weight(const NormWeightArguments<typename Team::Type>& a) {
  using T = typename Team::Type;
  column_sums<Team>(a.rows, a.cols, a.dweight, [&](u64 row, u64 column, float sum) {
    const Statistics s = statistics_of<centered>(a.kept, row);
    const u64 i = row * a.cols + column;
    return fma_(T::load(a.dy[i]), (T::load(a.x[i]) - s.mean) * s.scale, sum);
  });
}

template <class T> struct NormBiasArguments {
  const typename T::Element* dy;  // (rows, cols)
  typename T::Element* dbias;     // (cols)
  u64 rows, cols;
};

template <class Team> DEVICE void norm_backward_bias(const NormBiasArguments<typename Team::Type>& a) {
  column_sums<Team>(a.rows, a.cols, a.dbias, [&](u64 row, u64 column, float sum) {
    return sum + Team::Type::load(a.dy[row * a.cols + column]);
  });
}

SILICA_DEFINE_ENTRY
