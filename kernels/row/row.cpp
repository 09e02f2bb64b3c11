// SPDX-License-Identifier: MIT
// Kernels that reduce rows, on the CPU. The order of a row's sum is part of the API (docs/exactness.md):
// element i goes to lane i mod 256, ascending; the lanes are folded in halves.
#include <cstdint>

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

namespace silica::kernels::SILICA_ISA {

namespace {

#include "kernels/formulas.h"

constexpr std::uint64_t lanes = 256;
constexpr std::uint64_t block = 256;       // rows of a partial sum over rows
constexpr std::uint64_t column_tile = 64;  // columns a group of a sum over rows covers

float quiet_nan() { return from_bits_(0x7fc00000u); }

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

float row_max(const float* x, std::uint64_t cols) {
  float most = x[0];
  for (std::uint64_t i = 1; i < cols; ++i) most = select_(x[i] > most, x[i], most);
  return most;
}

// 1 / sqrt(mean(x^2) + epsilon)
float rms_scale(const float* x, std::uint64_t cols, float epsilon) {
  const float sum = row_sum(cols, [x](std::uint64_t i, float lane) { return fma_(x[i], x[i], lane); });
  return div_(1.0f, sqrt_(div_(sum, static_cast<float>(cols)) + epsilon));
}

void rms_norm(const void* arguments, Groups groups) {
  struct Arguments {
    const float* x;       // (rows, cols)
    const float* weight;  // (cols)
    float* y;             // (rows, cols)
    std::uint64_t cols;
    float epsilon;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const float* x = a.x + row * a.cols;
    float* y = a.y + row * a.cols;
    const float scale = rms_scale(x, a.cols, a.epsilon);
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) y[i] = x[i] * scale * a.weight[i];
  }
}

void rms_norm_scale(const void* arguments, Groups groups) {
  struct Arguments {
    const float* x;  // (rows, cols)
    float* scale;    // (rows)
    std::uint64_t cols;
    float epsilon;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    a.scale[row] = rms_scale(a.x + row * a.cols, a.cols, a.epsilon);
  }
}

void rms_norm_backward(const void* arguments, Groups groups) {
  struct Arguments {
    const float* x;       // (rows, cols)
    const float* weight;  // (cols)
    const float* dy;      // (rows, cols)
    const float* scale;   // (rows)
    float* dx;            // (rows, cols)
    std::uint64_t cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const float* x = a.x + row * a.cols;
    const float* dy = a.dy + row * a.cols;
    const float* weight = a.weight;
    float* dx = a.dx + row * a.cols;
    const float scale = a.scale[row];
    const float dot =
        row_sum(a.cols, [=](std::uint64_t i, float lane) { return fma_(dy[i] * weight[i], x[i], lane); });
    const float factor = div_(dot, static_cast<float>(a.cols)) * (scale * scale);
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) dx[i] = scale * fma_(-factor, x[i], dy[i] * weight[i]);
  }
}

// dweight[j] = the sum over rows of dy * x * scale, in the order of a matmul's k.
void rms_norm_backward_weight(const void* arguments, Groups groups) {
  struct Arguments {
    const float* x;      // (rows, cols)
    const float* dy;     // (rows, cols)
    const float* scale;  // (rows)
    float* dweight;      // (cols)
    std::uint64_t rows, cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t group = groups.begin; group < groups.end; ++group) {
    const std::uint64_t first = group * column_tile;
    const std::uint64_t count = a.cols - first < column_tile ? a.cols - first : column_tile;
    float total[column_tile] = {};
    for (std::uint64_t begin = 0; begin < a.rows; begin += block) {
      const std::uint64_t end = a.rows - begin < block ? a.rows : begin + block;
      float sum[column_tile] = {};
      for (std::uint64_t row = begin; row < end; ++row) {
        const float* x = a.x + row * a.cols + first;
        const float* dy = a.dy + row * a.cols + first;
        SILICA_INDEPENDENT
        for (std::uint64_t j = 0; j < count; ++j) sum[j] = fma_(dy[j], x[j] * a.scale[row], sum[j]);
      }
      for (std::uint64_t j = 0; j < count; ++j) total[j] += sum[j];
    }
    for (std::uint64_t j = 0; j < count; ++j) a.dweight[first + j] = total[j];
  }
}

void mean(const void* arguments, Groups groups) {
  struct Arguments {
    const float* x;  // (rows, cols)
    float* y;        // (rows)
    std::uint64_t cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const float* x = a.x + row * a.cols;
    const float sum = row_sum(a.cols, [x](std::uint64_t i, float lane) { return lane + x[i]; });
    a.y[row] = div_(sum, static_cast<float>(a.cols));
  }
}

void cross_entropy(const void* arguments, Groups groups) {
  struct Arguments {
    const float* logits;           // (rows, cols)
    const std::uint32_t* targets;  // (rows)
    float* losses;                 // (rows)
    std::uint64_t cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const float* x = a.logits + row * a.cols;
    const float most = row_max(x, a.cols);
    const float sum = row_sum(a.cols, [=](std::uint64_t i, float lane) { return lane + exp_(x[i] - most); });
    const std::uint32_t target = a.targets[row];
    a.losses[row] = target < a.cols ? log_(sum) - (x[target] - most) : quiet_nan();
  }
}

void cross_entropy_backward(const void* arguments, Groups groups) {
  struct Arguments {
    const float* logits;           // (rows, cols)
    const std::uint32_t* targets;  // (rows)
    const float* dloss;            // one element
    float* dlogits;                // (rows, cols)
    std::uint64_t rows, cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const float weight = div_(a.dloss[0], static_cast<float>(a.rows));
  for (std::uint64_t row = groups.begin; row < groups.end; ++row) {
    const float* x = a.logits + row * a.cols;
    float* dx = a.dlogits + row * a.cols;
    const std::uint32_t target = a.targets[row];  // before dlogits is written: they may share memory
    const float most = row_max(x, a.cols);
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) dx[i] = exp_(x[i] - most);
    const float sum = row_sum(a.cols, [dx](std::uint64_t i, float lane) { return lane + dx[i]; });
    const float scale = target < a.cols ? div_(1.0f, sum) : quiet_nan();
    SILICA_INDEPENDENT
    for (std::uint64_t i = 0; i < a.cols; ++i) {
      dx[i] = (dx[i] * scale - select_(i == target, 1.0f, 0.0f)) * weight;
    }
  }
}

}  // namespace

void row_kernels(Sink& sink) {
  constexpr Tile one_row{1}, columns{column_tile};
  sink.add("row.rms_norm.f32", rms_norm, one_row);
  sink.add("row.rms_norm_scale.f32", rms_norm_scale, one_row);
  sink.add("row.rms_norm_backward.f32", rms_norm_backward, one_row);
  sink.add("row.rms_norm_backward_weight.f32", rms_norm_backward_weight, columns);
  sink.add("row.mean.f32", mean, one_row);
  sink.add("row.cross_entropy.f32", cross_entropy, one_row);
  sink.add("row.cross_entropy_backward.f32", cross_entropy_backward, one_row);
}

}  // namespace silica::kernels::SILICA_ISA
