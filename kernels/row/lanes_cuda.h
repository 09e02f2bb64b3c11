// SPDX-License-Identifier: MIT
// Sums and maxima of a row, in CUDA, in the order of lanes_cpp.h: element i goes to lane i mod 256,
// ascending; the lanes are folded in halves. A group has one row, and a team of threads holds the 256 lanes.
// What is no sum may be computed by any thread.
#pragma once

#include "kernels/cuda.h"

constexpr u32 lanes = 256;

// ---- teams ----

// 256 threads with a lane each, for long rows.
template <class T> struct BlockTeam {
  using Type = T;
  static constexpr u32 threads = 256, width = 1, parts = 1;
  static constexpr bool keeps = false;

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

// The same, which reads a row from memory once: the rows of row_of() are kept in the launch's shared memory.
template <class T> struct KeepingTeam : BlockTeam<T> {
  static constexpr bool keeps = true;
};

// One warp, for short rows. A thread has runs of 16 bytes: of f32, thread t has lanes 4t to 4t + 3 and 128 +
// 4t to 128 + 4t + 3; of a half, lanes 8t to 8t + 7.
template <class T> struct WarpTeam {
  using Type = T;
  static constexpr u32 threads = 32, width = 4 * T::per_word, parts = lanes / (threads * width);
  static constexpr bool keeps = false;

  // Both partners of an exchange add the same two numbers, so they agree on the sum.
  template <class Fold> DEVICE float fold(const float* lane, Fold combine) {
    __syncwarp();  // reads before a fold come before writes after it: operands may share memory
    float part[width];
#pragma unroll
    for (u32 j = 0; j < width; ++j) part[j] = parts == 2 ? combine(lane[j], lane[width + j]) : lane[j];
#pragma unroll
    for (u32 half = 16; half > 0; half /= 2) {
#pragma unroll
      for (u32 j = 0; j < width; ++j) {
        part[j] = combine(part[j], __shfl_xor_sync(whole_warp, part[j], int(half)));
      }
    }
#pragma unroll
    for (u32 half = width / 2; half > 0; half /= 2) {
#pragma unroll
      for (u32 j = 0; j < half; ++j) part[j] = combine(part[j], part[j + half]);
    }
    return part[0];
  }
};

struct Add {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};
struct Larger {
  __device__ __forceinline__ float operator()(float a, float b) const { return select_(b > a, b, a); }
};

// ---- rows, which move 16 bytes at a time where they can: `runs`

template <class Team> using ElementOf = typename Team::Type::Element;
template <class Team> constexpr u32 run_length = 4 * Team::Type::per_word;

// What all operands of a row allow.
template <class Team, class... Pointers> DEVICE bool moves_runs(u64 cols, Pointers... operands) {
  return cols % run_length<Team> == 0 && (is_aligned(operands) && ...);
}

// The group's row of an operand that is read several times, the which-th such; await_rows() comes before it
// is read. Where runs can move, all of it is under way at once.
template <class Team>
DEVICE const ElementOf<Team>* row_of(const ElementOf<Team>* operand, u64 cols, u32 which = 0) {
  const ElementOf<Team>* const row = operand + group() * cols;
  if constexpr (Team::keeps) {
    constexpr u32 run = run_length<Team>;
    auto* const kept =
        reinterpret_cast<ElementOf<Team>*>(dynamic_shared()) + which * ceil_div(cols, run) * run;
    if (moves_runs<Team>(cols, operand)) {
      for (u64 i = threadIdx.x * run; i < cols; i += Team::threads * run)
        copy_async(reinterpret_cast<float*>(kept + i), reinterpret_cast<const float*>(row + i), true);
    } else {
      for (u64 i = threadIdx.x; i < cols; i += Team::threads) kept[i] = row[i];
    }
    return kept;
  } else {
    return row;
  }
}

template <class Team> DEVICE void await_rows() {
  if constexpr (Team::keeps) {
    end_async_group();
    wait_async_groups<0>();
    __syncthreads();
  }
}

// `length` elements.
template <u32 length> struct Run {
  float value[length];
};

template <class Team> DEVICE Run<run_length<Team>> load_run(const ElementOf<Team>* x, u64 i) {
  Vector<typename Team::Type, run_length<Team>> all;
  all.load(x + i);
  Run<run_length<Team>> run;
  all.unpack(run.value);
  return run;
}

// Elements i to i + count, and zeros.
template <class Team> DEVICE Run<Team::width> load(const ElementOf<Team>* x, u64 i, u32 count, bool runs) {
  Run<Team::width> run;
  if constexpr (Team::width == run_length<Team>) {
    if (runs) return load_run<Team>(x, i);
  }
#pragma unroll
  for (u32 j = 0; j < Team::width; ++j) run.value[j] = j < count ? Team::Type::load(x[i + j]) : 0.0f;
  return run;
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

// y[i] = value(i, elements...) of the inputs.
template <class Team, class Value, class... Inputs>
DEVICE void for_each_element(u64 cols, bool runs, ElementOf<Team>* y, Value value, Inputs... inputs) {
  using T = typename Team::Type;
  if (!runs) {
    for (u64 i = threadIdx.x; i < cols; i += Team::threads) y[i] = T::store(value(i, T::load(inputs[i])...));
    return;
  }
  constexpr u32 length = run_length<Team>;
#pragma unroll 2
  for (u64 i = threadIdx.x * length; i < cols; i += Team::threads * length) {
    const auto compute = [&](const auto&... run) {
      float result[length];
#pragma unroll
      for (u32 j = 0; j < length; ++j) result[j] = value(i + j, run.value[j]...);
      Vector<T, length> all;
      all.pack(result);
      all.store(y + i);
    };
    compute(load_run<Team>(inputs, i)...);
  }
}

// term(lane, elements...) adds the inputs' elements to a lane's sum.
template <class Team, class Term, class... Inputs>
DEVICE float row_sum(u64 cols, bool runs, Term term, Inputs... inputs) {
  float lane[Team::width * Team::parts] = {};
  for_each_run<Team>(cols, [&](u64 i, u32 count, u32 part) {
    const auto add = [&](auto... run) {
#pragma unroll
      for (u32 j = 0; j < Team::width; ++j) {
        float& sum = lane[part * Team::width + j];
        if (j < count) sum = term(sum, run.value[j]...);
      }
    };
    add(load<Team>(inputs, i, count, runs)...);
  });
  return Team::fold(lane, Add());
}

// A row with a NaN gives NaN in everything made of it, so the maximum may pass over one.
template <class Team> DEVICE float row_max(const ElementOf<Team>* x, u64 cols, bool runs) {
  float lane[Team::width * Team::parts];
#pragma unroll
  for (u32 j = 0; j < Team::width * Team::parts; ++j) lane[j] = from_bits_(0xff800000u);
  for_each_run<Team>(cols, [&](u64 i, u32 count, u32 part) {
    const auto run = load<Team>(x, i, count, runs);
#pragma unroll
    for (u32 j = 0; j < Team::width; ++j) {
      float& most = lane[part * Team::width + j];
      if (j < count) most = select_(run.value[j] > most, run.value[j], most);
    }
  });
  return Team::fold(lane, Larger());
}
