// SPDX-License-Identifier: MIT
// Kernels that reduce rows, in CUDA, in the order of row.cpp: element i goes to lane i mod 256, ascending;
// the lanes are folded in halves. A group has one row, and a team of threads holds the 256 lanes.
#include "kernels/cuda.h"

constexpr u32 lanes = 256;

// ---- teams ----

// 256 threads with a lane each, for long rows.
struct BlockTeam {
  static constexpr u32 threads = 256, width = 1, parts = 1;

  template <class Fold> DEVICE float fold(const float* lane, Fold combine) {
    __shared__ float all[lanes];
    __syncthreads();  // the previous fold has been read
    all[threadIdx.x] = lane[0];
    __syncthreads();
    float part[8];
#pragma unroll
    for (u32 j = 0; j < 8; ++j) part[j] = all[threadIdx.x % warp_size + j * warp_size];
#pragma unroll
    for (u32 half = 4; half > 0; half /= 2) {
#pragma unroll
      for (u32 j = 0; j < half; ++j) part[j] = combine(part[j], part[j + half]);
    }
#pragma unroll
    for (u32 half = 16; half > 0; half /= 2) {
      part[0] = combine(part[0], __shfl_xor_sync(whole_warp, part[0], int(half)));
    }
    return part[0];
  }
};

// One warp, for short rows. Thread t has lanes 4t to 4t + 3 and 128 + 4t to 128 + 4t + 3.
struct WarpTeam {
  static constexpr u32 threads = 32, width = 4, parts = 2;

  // Both partners of an exchange add the same two numbers, so they agree on the sum.
  template <class Fold> DEVICE float fold(const float* lane, Fold combine) {
    __syncwarp();  // reads before a fold come before writes after it: operands may share memory
    float part[4];
#pragma unroll
    for (u32 j = 0; j < 4; ++j) part[j] = combine(lane[j], lane[4 + j]);
#pragma unroll
    for (u32 half = 16; half > 0; half /= 2) {
#pragma unroll
      for (u32 j = 0; j < 4; ++j) {
        part[j] = combine(part[j], __shfl_xor_sync(whole_warp, part[j], int(half)));
      }
    }
    return combine(combine(part[0], part[2]), combine(part[1], part[3]));
  }
};

struct Add {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};
struct Larger {
  __device__ __forceinline__ float operator()(float a, float b) const { return select_(b > a, b, a); }
};

// ---- a thread's part of a row: runs of `width` elements ----

template <class Team> struct Run {
  float value[Team::width];
};

// What all operands of a row allow: whole runs may move as one.
template <class Team, class... Pointers> DEVICE bool moves_runs(u64 cols, Pointers... operands) {
  return Team::width == 4 && cols % 4 == 0 && (is_aligned(operands) && ...);
}

template <class Team> DEVICE Run<Team> load(const float* x, u64 i, u32 count, bool runs) {
  Run<Team> run;
  if constexpr (Team::width == 4) {
    if (runs) {
      const Floats4 all = *reinterpret_cast<const Floats4*>(x + i);
#pragma unroll
      for (u32 j = 0; j < 4; ++j) run.value[j] = all.value[j];
      return run;
    }
  }
#pragma unroll
  for (u32 j = 0; j < Team::width; ++j) run.value[j] = j < count ? x[i + j] : 0.0f;
  return run;
}

template <class Team> DEVICE void store(float* y, u64 i, u32 count, bool runs, const Run<Team>& run) {
  if constexpr (Team::width == 4) {
    if (runs) {
      *reinterpret_cast<Floats4*>(y + i) = Floats4{{run.value[0], run.value[1], run.value[2], run.value[3]}};
      return;
    }
  }
#pragma unroll
  for (u32 j = 0; j < Team::width; ++j) {
    if (j < count) y[i + j] = run.value[j];
  }
}

// visit(i, count, part): the run of elements [i, i + count), of lanes part * width and on. Ascending.
template <class Team, class Visit> DEVICE void for_each_run(u64 cols, Visit visit) {
  constexpr u32 span = lanes / Team::parts;
  const u32 first = threadIdx.x * Team::width;
  u64 begin = 0;
#pragma unroll 4
  for (; begin + lanes <= cols; begin += lanes) {
#pragma unroll
    for (u32 part = 0; part < Team::parts; ++part) visit(begin + part * span + first, Team::width, part);
  }
#pragma unroll
  for (u32 part = 0; part < Team::parts; ++part) {
    const u64 i = begin + part * span + first;
    if (i < cols) visit(i, u32(least(Team::width, cols - i)), part);
  }
}

// add(i, count, lane) adds elements [i, i + count) to `lane` and the ones after it.
template <class Team, class Term> DEVICE float row_sum(u64 cols, Term add) {
  float lane[Team::width * Team::parts] = {};
  for_each_run<Team>(cols, [&](u64 i, u32 count, u32 part) { add(i, count, lane + part * Team::width); });
  return Team::fold(lane, Add());
}

// A row with a NaN gives NaN in everything made of it, so the maximum may pass over one.
template <class Team> DEVICE float row_max(const float* x, u64 cols, bool runs) {
  float lane[Team::width * Team::parts];
#pragma unroll
  for (u32 j = 0; j < Team::width * Team::parts; ++j) lane[j] = from_bits_(0xff800000u);
  for_each_run<Team>(cols, [&](u64 i, u32 count, u32 part) {
    const Run<Team> run = load<Team>(x, i, count, runs);
#pragma unroll
    for (u32 j = 0; j < Team::width; ++j) {
      float& most = lane[part * Team::width + j];
      if (j < count) most = select_(run.value[j] > most, run.value[j], most);
    }
  });
  return Team::fold(lane, Larger());
}

// ---- rms_norm ----

template <class Team> DEVICE float rms_scale(const float* x, u64 cols, float epsilon, bool runs) {
  const float sum = row_sum<Team>(cols, [=](u64 i, u32 count, float* lane) {
    const Run<Team> run = load<Team>(x, i, count, runs);
#pragma unroll
    for (u32 j = 0; j < Team::width; ++j) {
      if (j < count) lane[j] = fma_(run.value[j], run.value[j], lane[j]);
    }
  });
  return div_(1.0f, sqrt_(div_(sum, float(cols)) + epsilon));
}

struct NormArguments {
  const float* x;       // (rows, cols)
  const float* weight;  // (cols)
  float* y;             // (rows, cols)
  u64 cols;
  float epsilon;
};

template <class Team> DEVICE void rms_norm(const NormArguments& a) {
  const bool runs = moves_runs<Team>(a.cols, a.x, a.weight, a.y);
  const float* x = a.x + group() * a.cols;
  float* y = a.y + group() * a.cols;
  const float scale = rms_scale<Team>(x, a.cols, a.epsilon, runs);
  for_each_run<Team>(a.cols, [&](u64 i, u32 count, u32) {
    Run<Team> run = load<Team>(x, i, count, runs);
    const Run<Team> weight = load<Team>(a.weight, i, count, runs);
#pragma unroll
    for (u32 j = 0; j < Team::width; ++j) run.value[j] = run.value[j] * scale * weight.value[j];
    store<Team>(y, i, count, runs, run);
  });
}

struct NormScaleArguments {
  const float* x;  // (rows, cols)
  float* scale;    // (rows)
  u64 cols;
  float epsilon;
};

template <class Team> DEVICE void rms_norm_scale(const NormScaleArguments& a) {
  const bool runs = moves_runs<Team>(a.cols, a.x);
  const float scale = rms_scale<Team>(a.x + group() * a.cols, a.cols, a.epsilon, runs);
  if (threadIdx.x == 0) a.scale[group()] = scale;
}

struct NormBackwardArguments {
  const float* x;       // (rows, cols)
  const float* weight;  // (cols)
  const float* dy;      // (rows, cols)
  const float* scale;   // (rows)
  float* dx;            // (rows, cols)
  u64 cols;
};

template <class Team> DEVICE void rms_norm_backward(const NormBackwardArguments& a) {
  const bool runs = moves_runs<Team>(a.cols, a.x, a.weight, a.dy, a.dx);
  const float* x = a.x + group() * a.cols;
  const float* dy = a.dy + group() * a.cols;
  float* dx = a.dx + group() * a.cols;
  const float scale = a.scale[group()];  // before dx is written: they may share memory
  const float dot = row_sum<Team>(a.cols, [&](u64 i, u32 count, float* lane) {
    const Run<Team> xs = load<Team>(x, i, count, runs), dys = load<Team>(dy, i, count, runs);
    const Run<Team> weight = load<Team>(a.weight, i, count, runs);
#pragma unroll
    for (u32 j = 0; j < Team::width; ++j) {
      if (j < count) lane[j] = fma_(dys.value[j] * weight.value[j], xs.value[j], lane[j]);
    }
  });
  const float factor = div_(dot, float(a.cols)) * (scale * scale);
  for_each_run<Team>(a.cols, [&](u64 i, u32 count, u32) {
    Run<Team> xs = load<Team>(x, i, count, runs);
    const Run<Team> dys = load<Team>(dy, i, count, runs), weight = load<Team>(a.weight, i, count, runs);
#pragma unroll
    for (u32 j = 0; j < Team::width; ++j) {
      xs.value[j] = scale * fma_(-factor, xs.value[j], dys.value[j] * weight.value[j]);
    }
    store<Team>(dx, i, count, runs, xs);
  });
}

struct NormWeightArguments {
  const float* x;      // (rows, cols)
  const float* dy;     // (rows, cols)
  const float* scale;  // (rows)
  float* dweight;      // (cols)
  u64 rows, cols;
};

constexpr u32 row_block = 256;  // rows of a partial sum over rows
constexpr u32 weight_threads = 256,
              weight_columns = 32;  // a group's; each warp has a block of rows at a time

DEVICE float weight_sum(const NormWeightArguments& a, u64 begin, u64 col) {
  float sum = 0.0f;
  const u64 end = least(begin + row_block, a.rows);
#pragma unroll 8
  for (u64 row = begin; row < end; ++row) {
    sum = fma_(a.dy[row * a.cols + col], a.x[row * a.cols + col] * a.scale[row], sum);
  }
  return sum;
}

// dweight[j] = the sum over rows of dy * x * scale, in the order of a matmul's k.
DEVICE void rms_norm_backward_weight(const NormWeightArguments& a) {
  constexpr u32 warps = weight_threads / warp_size;
  __shared__ float sums[warps][weight_columns];
  const u32 warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const u64 col = group() * weight_columns + lane, blocks = ceil_div(a.rows, row_block);
  float total = 0.0f;
  for (u64 block = 0; block < blocks; block += warps) {
    if (block + warp < blocks && col < a.cols)
      sums[warp][lane] = weight_sum(a, (block + warp) * row_block, col);
    __syncthreads();
    if (warp == 0 && col < a.cols) {
      for (u32 w = 0; w < least(warps, blocks - block); ++w) total = total + sums[w][lane];
    }
    __syncthreads();
  }
  if (warp == 0 && col < a.cols) a.dweight[col] = total;
}

// ---- mean and cross_entropy ----

struct MeanArguments {
  const float* x;  // (rows, cols)
  float* y;        // (rows)
  u64 cols;
};

template <class Team> DEVICE void mean(const MeanArguments& a) {
  const bool runs = moves_runs<Team>(a.cols, a.x);
  const float* x = a.x + group() * a.cols;
  const float sum = row_sum<Team>(a.cols, [=](u64 i, u32 count, float* lane) {
    const Run<Team> run = load<Team>(x, i, count, runs);
#pragma unroll
    for (u32 j = 0; j < Team::width; ++j) {
      if (j < count) lane[j] = lane[j] + run.value[j];
    }
  });
  if (threadIdx.x == 0) a.y[group()] = div_(sum, float(a.cols));
}

template <class Team> DEVICE float exp_sum(const float* x, u64 cols, float most, bool runs) {
  return row_sum<Team>(cols, [=](u64 i, u32 count, float* lane) {
    const Run<Team> run = load<Team>(x, i, count, runs);
#pragma unroll
    for (u32 j = 0; j < Team::width; ++j) {
      if (j < count) lane[j] = lane[j] + exp_(run.value[j] - most);
    }
  });
}

struct LossArguments {
  const float* logits;  // (rows, cols)
  const u32* targets;   // (rows)
  float* losses;        // (rows)
  u64 cols;
};

template <class Team> DEVICE void cross_entropy(const LossArguments& a) {
  const bool runs = moves_runs<Team>(a.cols, a.logits);
  const float* x = a.logits + group() * a.cols;
  const float most = row_max<Team>(x, a.cols, runs);
  const float sum = exp_sum<Team>(x, a.cols, most, runs);
  const u32 target = a.targets[group()];
  if (threadIdx.x != 0) return;
  a.losses[group()] = target < a.cols ? log_(sum) - (x[target] - most) : from_bits_(0x7fc00000u);
}

struct LossBackwardArguments {
  const float* logits;  // (rows, cols)
  const u32* targets;   // (rows)
  const float* dloss;   // one element
  float* dlogits;       // (rows, cols)
  u64 rows, cols;
};

// The exponentials are computed twice, which is cheaper than keeping them.
template <class Team> DEVICE void cross_entropy_backward(const LossBackwardArguments& a) {
  const bool runs = moves_runs<Team>(a.cols, a.logits, a.dlogits);
  const float* x = a.logits + group() * a.cols;
  float* dx = a.dlogits + group() * a.cols;
  // Before dlogits is written: they may share memory.
  const float weight = div_(a.dloss[0], float(a.rows));
  const u32 target = a.targets[group()];
  const float most = row_max<Team>(x, a.cols, runs);
  const float sum = exp_sum<Team>(x, a.cols, most, runs);
  const float scale = target < a.cols ? div_(1.0f, sum) : from_bits_(0x7fc00000u);
  for_each_run<Team>(a.cols, [&](u64 i, u32 count, u32) {
    Run<Team> run = load<Team>(x, i, count, runs);
#pragma unroll
    for (u32 j = 0; j < Team::width; ++j) {
      run.value[j] = (exp_(run.value[j] - most) * scale - select_(i + j == target, 1.0f, 0.0f)) * weight;
    }
    store<Team>(dx, i, count, runs, run);
  });
}

SILICA_DEFINE_ENTRY
