// SPDX-License-Identifier: MIT
// The largest products, in the order of matmul.cu: a block of 4 warps has 128 by 128 of C and a thread 16 by
// 8, so that a fma needs fewer reads of shared memory. Both operands are panels: k by rows of A, k by columns
// of B, in steps of a multiple of 4; the queue transposes an operand that is not. Tiles of 8 k are copied
// while the ones before are multiplied. Sums of earlier blocks of k wait in shared memory.

struct PanelArguments {
  const float* a;  // (k, a_step), of which m count
  const float* b;  // (k, b_step), of which n count
  float* c;        // (m, n)
  u64 m, n, k;
  u32 a_step, b_step;
};

DEVICE void store_run(float* c, const float* sums) {
  *reinterpret_cast<Floats4*>(c) = *reinterpret_cast<const Floats4*>(sums);
}

constexpr u32 panels_threads = 128, panels_depth = 8, panels_stages = 4;

// Copies tiles of a panel one after the other; a thread has the same 4 columns of every fourth line.
struct PanelTiles {
  static constexpr u32 step = tiles_side + padding, floats = panels_depth * step;
  static constexpr u32 runs = tiles_side / 4, lines = panels_threads / runs;  // a copy of all threads

  const float* from;
  u64 from_step, line, k;
  bool inside;
  u32 place;

  DEVICE PanelTiles of(const float* panel, u64 panel_step, u64 begin, u64 k) {
    const u32 line = threadIdx.x / runs, run = threadIdx.x % runs * 4;
    const bool inside = begin + run < panel_step;
    return {panel + (inside ? line * panel_step + begin + run : 0),
            panel_step,
            line,
            k,
            inside,
            line * step + run};
  }
  // What lies outside becomes 0 and is never used.
  __device__ __forceinline__ void copy_next(float* tile) {
#pragma unroll
    for (u32 j = 0; j < panels_depth; j += lines) {
      const bool copies = inside && line < k;
      copy_async(tile + (place + j * step), from, copies);
      from += lines * from_step;
      line += lines;
    }
  }
};

DEVICE void matmul_panels(const PanelArguments& a) {
  using Part = WarpTile<16>;
  constexpr u32 step = PanelTiles::step, floats = PanelTiles::floats, stage = 2 * floats;
  constexpr u32 tiles_per_block = k_block / panels_depth;
  float* const ring = dynamic_shared();
  float* const totals = ring + panels_stages * stage + threadIdx.x * 4;
  const Place place = tiles_place(a.m, a.n, group());
  const u32 warp = threadIdx.x / warp_size, row = warp / 2 * Part::rows, col = warp % 2 * Part::cols;
  const u64 tiles = ceil_div(a.k, panels_depth);
  PanelTiles from_a = PanelTiles::of(a.a, a.a_step, place.row, a.k);
  PanelTiles from_b = PanelTiles::of(a.b, a.b_step, place.col, a.k);
  const auto fetch = [&](u64 t) {
    float* const to = ring + t % panels_stages * stage;
    from_a.copy_next(to);
    from_b.copy_next(to + floats);
    end_async_group();
  };
  for (u32 t = 0; t < panels_stages - 1; ++t) fetch(t);
  for (u64 first = 0; first < tiles; first += tiles_per_block) {
    Part part;
    part.clear();
    const u64 end = least(first + tiles_per_block, tiles);
#pragma unroll 1
    for (u64 t = first; t < end; ++t) {
      wait_async_groups<panels_stages - 2>();
      __syncthreads();
      fetch(t + panels_stages - 1);
      const float* x = ring + t % panels_stages * stage + row;
      const float* y = ring + t % panels_stages * stage + floats + col;
      const u64 left = a.k - t * panels_depth;
      if (left >= panels_depth) {
        part.multiply<panels_depth>(x, step, y, step);
      } else {
#pragma unroll 1
        for (u32 p = 0; p < left; ++p) part.multiply<1>(x + p * step, step, y + p * step, step);
      }
    }
#pragma unroll
    for (u32 i = 0; i < 16; ++i) {
#pragma unroll
      for (u32 half = 0; half < 2; ++half) {
        Floats4& total = *reinterpret_cast<Floats4*>(totals + (2 * i + half) * panels_threads * 4);
        Floats4 sum;
#pragma unroll
        for (u32 j = 0; j < 4; ++j) {
          sum.value[j] = part.sum[i][half * 4 + j];
          if (first != 0) sum.value[j] = total.value[j] + sum.value[j];
        }
        total = sum;
      }
    }
  }
#pragma unroll 1
  for (u32 i = 0; i < 16; ++i) {
    const u64 y = place.row + row + Part::row_of(i), x = place.col + col;
    const float* const sums = totals + 2 * i * panels_threads * 4;
    if (y < a.m && x + Part::col_of(0) < a.n) store_run(a.c + (y * a.n + x + Part::col_of(0)), sums);
    if (y < a.m && x + Part::col_of(4) < a.n) {
      store_run(a.c + (y * a.n + x + Part::col_of(4)), sums + panels_threads * 4);
    }
  }
}

// ---- an operand's panel: y (cols, step) = the transpose of x (rows, cols)

struct PanelTransposeArguments {
  const float* x;
  float* y;
  u64 rows, cols, step;
};

DEVICE void transpose_to_panel(const PanelTransposeArguments& a) {
  constexpr u32 side = 64, lines = 4;  // lines of a tile that the block's 256 threads move at once
  __shared__ float tile[side][side + 1];
  const u64 width = ceil_div(a.cols, side);
  const u64 row = group() / width * side, col = group() % width * side;
  const u32 x = threadIdx.x % side, y = threadIdx.x / side;
#pragma unroll
  for (u32 i = 0; i < side; i += lines) {
    if (row + y + i < a.rows && col + x < a.cols) tile[y + i][x] = a.x[(row + y + i) * a.cols + col + x];
  }
  __syncthreads();
#pragma unroll
  for (u32 i = 0; i < side; i += lines) {
    if (row + x < a.rows && col + y + i < a.cols) a.y[(col + y + i) * a.step + row + x] = tile[x][y + i];
  }
}
