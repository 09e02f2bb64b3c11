// SPDX-License-Identifier: MIT
// Sums, means and norms of rows, on the CPU, in the orders of lanes_cpp.h and docs/exactness.md.
#include <cstdint>

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

namespace silica::kernels::SILICA_ISA {

namespace {

#include "kernels/dtypes.h"

#include "kernels/row/lanes_cpp.h"

constexpr std::uint64_t block = 256;       // rows of a partial sum over rows
constexpr std::uint64_t column_tile = 64;  // columns a group of a sum over rows covers

// ---- sums and means: the divisor is 1 or cols

template <class T> void sum(const void* arguments, Groups groups) {
  struct Arguments {
    const typename T::Element* x;  // (rows, cols)
    typename T::Element* y;        // (rows)
    std::uint64_t cols, divisor;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const auto* x = a.x + row * a.cols;
    const float total = row_sum(a.cols, [x](std::uint64_t i, float lane) { return lane + T::load(x[i]); });
    a.y[row] = T::store(div_(total, static_cast<float>(a.divisor)));
  }
}

template <class T> void sum_backward(const void* arguments, Groups groups) {
  struct Arguments {
    const typename T::Element* dy;  // (rows)
    typename T::Element* dx;        // (rows, cols)
    std::uint64_t cols, divisor;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    auto* dx = a.dx + row * a.cols;
    const auto value = T::store(div_(T::load(a.dy[row]), static_cast<float>(a.divisor)));
    for (std::uint64_t i = 0; i < a.cols; ++i) dx[i] = value;
  }
}

// ---- norms: y = (x - mean) * scale * weight + bias, where only a centered one has a mean and a bias. The
// mean of squares has the divisor cols, or 1 for an l2_norm.

struct Statistics {
  float scale, mean;
};

template <class T, bool centered>
Statistics statistics(const typename T::Element* x, std::uint64_t cols, std::uint64_t divisor,
                      float epsilon) {
  Statistics s{0.0f, 0.0f};
  if constexpr (centered) {
    const float total = row_sum(cols, [x](std::uint64_t i, float lane) { return lane + T::load(x[i]); });
    s.mean = div_(total, static_cast<float>(divisor));
  }
  const float squares = row_sum(cols, [x, s](std::uint64_t i, float lane) {
    const float difference = T::load(x[i]) - s.mean;
    return fma_(difference, difference, lane);
  });
  s.scale = div_(1.0f, sqrt_(div_(squares, static_cast<float>(divisor)) + epsilon));
  return s;
}

template <class T, bool centered> void norm(const void* arguments, Groups groups) {
  using Element = typename T::Element;
  struct Arguments {
    const Element* x;                           // (rows, cols)
    const Element* coefficients[1 + centered];  // weight and bias (cols)
    Element* y;                                 // (rows, cols)
    std::uint64_t cols, divisor;
    float epsilon;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const Element* weight = a.coefficients[0];
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const Element* x = a.x + row * a.cols;
    Element* y = a.y + row * a.cols;
    const Statistics s = statistics<T, centered>(x, a.cols, a.divisor, a.epsilon);
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) {
      const float normal = (T::load(x[i]) - s.mean) * s.scale;
      if constexpr (centered) {
        y[i] = T::store(fma_(normal, T::load(weight[i]), T::load(a.coefficients[1][i])));
      } else {
        y[i] = T::store(normal * T::load(weight[i]));
      }
    }
  }
}

// The statistics of a row, as the sums over rows read them: its scale, followed by its mean if centered.
template <bool centered> Statistics statistics_of(const float* kept, std::uint64_t row) {
  if constexpr (centered) return {kept[2 * row], kept[2 * row + 1]};
  return {kept[row], 0.0f};
}
template <bool centered> void keep(const Statistics& s, float* kept, std::uint64_t row) {
  kept[row * (1 + centered)] = s.scale;
  if constexpr (centered) kept[2 * row + 1] = s.mean;
}

template <class T, bool centered> void norm_statistics(const void* arguments, Groups groups) {
  struct Arguments {
    const typename T::Element* x;  // (rows, cols)
    float* kept;                   // (rows, 1 or 2)
    std::uint64_t cols, divisor;
    float epsilon;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const Statistics s = statistics<T, centered>(a.x + row * a.cols, a.cols, a.divisor, a.epsilon);
    keep<centered>(s, a.kept, row);
  }
}

template <class T, bool centered> void norm_backward(const void* arguments, Groups groups) {
  using Element = typename T::Element;
  struct Arguments {
    const Element* x;       // (rows, cols)
    const Element* weight;  // (cols)
    const Element* dy;      // (rows, cols)
    float* kept;            // (rows, 1 or 2)
    Element* dx;            // (rows, cols)
    std::uint64_t cols, divisor;
    float epsilon;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const Element* x = a.x + row * a.cols;
    const Element* dy = a.dy + row * a.cols;
    Element* dx = a.dx + row * a.cols;
    const Statistics s = statistics<T, centered>(x, a.cols, a.divisor, a.epsilon);
    keep<centered>(s, a.kept, row);
    const auto difference = [=](std::uint64_t i) { return T::load(x[i]) - s.mean; };
    const auto gradient = [=, weight = a.weight](std::uint64_t i) {
      return T::load(dy[i]) * T::load(weight[i]);
    };
    const float dot =
        row_sum(a.cols, [=](std::uint64_t i, float lane) { return fma_(gradient(i), difference(i), lane); });
    const float divisor = static_cast<float>(a.divisor);
    const float factor = div_(dot, divisor) * (s.scale * s.scale);
    float shift = 0.0f;
    if constexpr (centered) {
      shift = div_(row_sum(a.cols, [=](std::uint64_t i, float lane) { return lane + gradient(i); }), divisor);
    }
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) {
      dx[i] = T::store(s.scale * (fma_(-factor, difference(i), gradient(i)) - shift));
    }
  }
}

// ---- sums over rows, in the order of a matmul's k

// term(row, column, sum) adds a row's element to a column's sum. As many of the groups at a time as keep
// their sums in the first-level cache, so that long parts of each row are read.
template <class T, class Term>
void column_sums(Groups groups, std::uint64_t rows, std::uint64_t cols, typename T::Element* y, Term term) {
  constexpr std::uint64_t most = 16 * column_tile;
  const std::uint64_t all = groups.end * column_tile < cols ? groups.end * column_tile : cols;
  for (std::uint64_t first = groups.begin * column_tile; first < all; first += most) {
    const std::uint64_t count = all - first < most ? all - first : most;
    float total[most] = {};
    for (std::uint64_t begin = 0; begin < rows; begin += block) {
      const std::uint64_t end = rows - begin < block ? rows : begin + block;
      float sum[most] = {};
      for (std::uint64_t row = begin; row < end; ++row) {
        SILICA_INDEPENDENT
        for (std::uint64_t j = 0; j < count; ++j) sum[j] = term(row, first + j, sum[j]);
      }
      for (std::uint64_t j = 0; j < count; ++j) total[j] += sum[j];
    }
    for (std::uint64_t j = 0; j < count; ++j) y[first + j] = T::store(total[j]);
  }
}

template <class T, bool centered> void norm_backward_weight(const void* arguments, Groups groups) {
  struct Arguments {
    const typename T::Element* x;   // (rows, cols)
    const typename T::Element* dy;  // (rows, cols)
    const float* kept;              // (rows, 1 or 2)
    typename T::Element* dweight;   // (cols)
    std::uint64_t rows, cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  column_sums<T>(groups, a.rows, a.cols, a.dweight, [a](std::uint64_t row, std::uint64_t column, float sum) {
    const Statistics s = statistics_of<centered>(a.kept, row);
    const std::uint64_t i = row * a.cols + column;
    return fma_(T::load(a.dy[i]), (T::load(a.x[i]) - s.mean) * s.scale, sum);
  });
}

template <class T> void norm_backward_bias(const void* arguments, Groups groups) {
  struct Arguments {
    const typename T::Element* dy;  // (rows, cols)
    typename T::Element* dbias;     // (cols)
    std::uint64_t rows, cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  column_sums<T>(groups, a.rows, a.cols, a.dbias, [a](std::uint64_t row, std::uint64_t column, float sum) {
    return sum + T::load(a.dy[row * a.cols + column]);
  });
}

}  // namespace

void row_kernels(Sink& sink) {
  constexpr Tile one_row{1}, columns{column_tile};
#define SILICA_ADD(dtype, T)                                                                 \
  sink.add("row.sum." dtype, sum<T>, one_row);                                               \
  sink.add("row.sum_backward." dtype, sum_backward<T>, one_row);                             \
  sink.add("row.mean." dtype, sum<T>, one_row);                                              \
  sink.add("row.mean_backward." dtype, sum_backward<T>, one_row);                            \
  sink.add("row.rms_norm." dtype, norm<T, false>, one_row);                                  \
  sink.add("row.rms_norm_backward_statistics." dtype, norm_statistics<T, false>, one_row);   \
  sink.add("row.rms_norm_backward." dtype, norm_backward<T, false>, one_row);                \
  sink.add("row.rms_norm_backward_weight." dtype, norm_backward_weight<T, false>, columns);  \
  sink.add("row.l2_norm." dtype, norm<T, false>, one_row);                                   \
  sink.add("row.l2_norm_backward." dtype, norm_backward<T, false>, one_row);                 \
  sink.add("row.layer_norm." dtype, norm<T, true>, one_row);                                 \
  sink.add("row.layer_norm_backward_statistics." dtype, norm_statistics<T, true>, one_row);  \
  sink.add("row.layer_norm_backward." dtype, norm_backward<T, true>, one_row);               \
  sink.add("row.layer_norm_backward_weight." dtype, norm_backward_weight<T, true>, columns); \
  sink.add("row.layer_norm_backward_bias." dtype, norm_backward_bias<T>, columns);
  SILICA_ADD("f32", F32)
  SILICA_ADD("f16", F16)
  SILICA_ADD("bf16", BF16)
#undef SILICA_ADD
}

}  // namespace silica::kernels::SILICA_ISA
