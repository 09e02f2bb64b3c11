// SPDX-License-Identifier: MIT
// Exact f32 matrix multiplication in CUDA, in the order of matmul.cpp: k in blocks of 256, in each one chain
// of fma from +0, block sums added in ascending order. An element of C belongs to one thread, or, in small
// products, to one thread of each warp that takes a block of k.
#include "kernels/cuda.h"

#ifndef SILICA_TRANSPOSE_A
#define SILICA_TRANSPOSE_A 0
#define SILICA_TRANSPOSE_B 0
#define SILICA_WIDE 0
#endif

struct MatmulArguments {
  const float* a;  // (m, k), or (k, m) transposed
  const float* b;  // (k, n), or (n, k) transposed
  float* c;        // (m, n)
  u64 m, n, k;
  u32 transpose_a, transpose_b;
};

// A batch's matrices follow each other in each operand, and so do their groups, `groups` for each.
struct Matrix {
  MatmulArguments arguments;
  u64 group;
};
DEVICE Matrix matrix_of(const MatmulArguments& batch, u64 groups) {
  if (group() < groups) return {batch, group()};
  const u64 matrix = group() / groups;
  Matrix one{batch, group() % groups};
  one.arguments.a += matrix * batch.m * batch.k;
  one.arguments.b += matrix * batch.k * batch.n;
  one.arguments.c += matrix * batch.m * batch.n;
  return one;
}

constexpr u32 k_block = 256;  // of the contract
// Of k, what a tile in shared memory holds; they divide k_block.
constexpr u32 tiles_depth = 16;

// Added to the rows of a shared tile: so neither filling nor reading them has bank conflicts.
constexpr u32 padding = 4;

// Beyond k a tile holds -0 on the side of A and +0 on that of B. Their product -0 leaves any sum as it is.
constexpr u32 fill_a = 0x80000000u, fill_b = 0;

// ---- from global to shared memory ----

// Moves tiles of `rows` by `depth` of an operand seen as (rows of A, or columns of B) by k, to (depth, rows).
// Along k it is contiguous or not; wide: runs of 4 elements are aligned and lie inside or outside as a whole.
template <u32 rows, u32 depth, u32 threads, bool along_k, bool wide, u32 fill> struct Loader {
  static constexpr u32 runs = rows * depth / 4;
  static constexpr u32 per_thread = (runs + threads - 1) / threads;
  static constexpr u32 step = rows + padding;  // of the shared tile

  const float* data;
  u64 row_count, row_begin, k;
  u32 thread;
  Floats4 held[per_thread];

  __device__ __forceinline__ u32 run_row(u32 r) const {
    return along_k ? r / (depth / 4) : r % (rows / 4) * 4;
  }
  __device__ __forceinline__ u32 run_p(u32 r) const { return along_k ? r % (depth / 4) * 4 : r / (rows / 4); }

  __device__ __forceinline__ float element(u64 row, u64 p) const {
    if (row >= row_count || p >= k) return from_bits_(fill);
    return along_k ? data[row * k + p] : data[p * row_count + row];
  }

  // Reads the tile from p on into registers.
  __device__ __forceinline__ void fetch(u64 p) {
#pragma unroll
    for (u32 j = 0; j < per_thread; ++j) {
      const u32 r = thread + j * threads;
      if (runs % threads != 0 && r >= runs) break;
      const u64 row = row_begin + run_row(r), at = p + run_p(r);
      if constexpr (wide) {
        const float none = from_bits_(fill);
        held[j] = Floats4{{none, none, none, none}};
        const float* from = along_k ? data + (row * k + at) : data + (at * row_count + row);
        if (row < row_count && at < k) held[j] = *reinterpret_cast<const Floats4*>(from);
      } else {
#pragma unroll
        for (u32 e = 0; e < 4; ++e) held[j].value[e] = along_k ? element(row, at + e) : element(row + e, at);
      }
    }
  }

  // Writes them to a shared tile.
  __device__ __forceinline__ void put(float* tile) const {
#pragma unroll
    for (u32 j = 0; j < per_thread; ++j) {
      const u32 r = thread + j * threads;
      if (runs % threads != 0 && r >= runs) break;
      float* to = tile + run_p(r) * step + run_row(r);
      if constexpr (along_k) {
#pragma unroll
        for (u32 e = 0; e < 4; ++e) to[e * step] = held[j].value[e];
      } else {
        *reinterpret_cast<Floats4*>(to) = held[j];
      }
    }
  }
};

template <u32 rows, u32 depth, u32 threads>
using LoaderA = Loader<rows, depth, threads, !SILICA_TRANSPOSE_A, SILICA_WIDE, fill_a>;
template <u32 cols, u32 depth, u32 threads>
using LoaderB = Loader<cols, depth, threads, SILICA_TRANSPOSE_B, SILICA_WIDE, fill_b>;

// ---- a warp's part of C ----

// 4 * height rows by 64 columns: a thread has `height` rows and two runs of 4 columns.
template <u32 height> struct WarpTile {
  static constexpr u32 rows = 4 * height, cols = 64, run = height < 4 ? height : 4;
  float sum[height][8];

  // A quarter of a warp has 2 of the 4 runs of rows and 4 of the 8 runs of columns.
  DEVICE u32 row_of(u32 i) {
    const u32 lane = threadIdx.x % warp_size;
    return i / run * (4 * run) + (lane / 16 * 2 + lane % 2) * run + i % run;
  }
  DEVICE u32 col_of(u32 j) { return j / 4 * 32 + threadIdx.x / 2 % 8 * 4 + j % 4; }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (u32 i = 0; i < height; ++i) {
#pragma unroll
      for (u32 j = 0; j < 8; ++j) sum[i][j] = 0.0f;
    }
  }

  // a and b: the warp's rows and columns of shared tiles.
  template <u32 depth>
  __device__ __forceinline__ void multiply(const float* a, u32 a_step, const float* b, u32 b_step) {
#pragma unroll
    for (u32 p = 0; p < depth; ++p) {
      float x[height];
      Floats4 y[2];
      load_column(a + p * a_step, x);
      y[0] = *reinterpret_cast<const Floats4*>(b + p * b_step + col_of(0));
      y[1] = *reinterpret_cast<const Floats4*>(b + p * b_step + col_of(4));
#pragma unroll
      for (u32 i = 0; i < height; ++i) {
#pragma unroll
        for (u32 j = 0; j < 8; ++j) sum[i][j] = fma_(x[i], y[j / 4].value[j % 4], sum[i][j]);
      }
    }
  }

  DEVICE void load_column(const float* column, float* x) {
    if constexpr (run == 4) {
#pragma unroll
      for (u32 i = 0; i < height; i += 4) {
        const Floats4 four = *reinterpret_cast<const Floats4*>(column + row_of(i));
#pragma unroll
        for (u32 e = 0; e < 4; ++e) x[i + e] = four.value[e];
      }
    } else {
#pragma unroll
      for (u32 i = 0; i < height; ++i) x[i] = column[row_of(i)];
    }
  }
};

// Four elements of a row of C, some of which may lie outside; `first` replaces what is there, otherwise it is
// added to.
DEVICE void add_to(const MatmulArguments& a, u64 row, u64 col, const float* sum, bool first) {
  if (row >= a.m || col >= a.n) return;
  float* c = a.c + (row * a.n + col);
  if constexpr (SILICA_WIDE) {
    Floats4 all = first ? Floats4{{sum[0], sum[1], sum[2], sum[3]}} : *reinterpret_cast<const Floats4*>(c);
    if (!first) {
#pragma unroll
      for (u32 j = 0; j < 4; ++j) all.value[j] = all.value[j] + sum[j];
    }
    *reinterpret_cast<Floats4*>(c) = all;
  } else {
#pragma unroll
    for (u32 j = 0; j < 4; ++j) {
      if (col + j < a.n) c[j] = first ? sum[j] : c[j] + sum[j];
    }
  }
}

// ---- large products: a block of 8 warps, 4 by 2, has 128 by 128 of C ----

constexpr u32 tiles_threads = 256, tiles_side = 128;

struct Place {
  u64 row, col;
};

// Groups go down bands of 8 tiles, so that those that run at the same time share rows and columns.
DEVICE Place tiles_place(u64 m, u64 n, u64 group) {
  const u64 height = ceil_div(m, tiles_side), width = ceil_div(n, tiles_side);
  const u64 band = group / (8 * width), within = group % (8 * width);
  const u64 band_height = least(8, height - band * 8);
  return {(band * 8 + within % band_height) * tiles_side, within / band_height * tiles_side};
}

DEVICE void matmul_tiles(const MatmulArguments& batch) {
  const Matrix matrix = matrix_of(batch, ceil_div(batch.m, tiles_side) * ceil_div(batch.n, tiles_side));
  const MatmulArguments& a = matrix.arguments;
  constexpr u32 depth = tiles_depth;
  using TileA = LoaderA<tiles_side, depth, tiles_threads>;
  using TileB = LoaderB<tiles_side, depth, tiles_threads>;
  __shared__ __align__(16) float shared_a[2][depth * TileA::step], shared_b[2][depth * TileB::step];
  const Place place = tiles_place(a.m, a.n, matrix.group);
  TileA from_a{a.a, a.m, place.row, a.k, threadIdx.x, {}};
  TileB from_b{a.b, a.n, place.col, a.k, threadIdx.x, {}};
  using Part = WarpTile<8>;
  const u32 warp = threadIdx.x / warp_size, row = warp / 2 * Part::rows, col = warp % 2 * Part::cols;
  Part part;
  part.clear();
  from_a.fetch(0);
  from_b.fetch(0);
  from_a.put(shared_a[0]);
  from_b.put(shared_b[0]);
  __syncthreads();
  u32 now = 0;
  for (u64 p = 0; p < a.k; p += depth, now ^= 1) {
    const bool more = p + depth < a.k;
    if (more) {
      from_a.fetch(p + depth);
      from_b.fetch(p + depth);
    }
    part.multiply<depth>(shared_a[now] + row, TileA::step, shared_b[now] + col, TileB::step);
    if (more) {
      from_a.put(shared_a[now ^ 1]);
      from_b.put(shared_b[now ^ 1]);
    }
    if ((p + depth) % k_block == 0 || !more) {
#pragma unroll
      for (u32 i = 0; i < 8; ++i) {
        const u64 y = place.row + row + Part::row_of(i), x = place.col + col;
        add_to(a, y, x + Part::col_of(0), part.sum[i], p < k_block);
        add_to(a, y, x + Part::col_of(4), part.sum[i] + 4, p < k_block);
      }
      part.clear();
    }
    __syncthreads();
  }
}

// ---- small products: every warp of a block has the same tile of C, and its own blocks of k ----

template <u32 warps, u32 height> struct Split {
  using Part = WarpTile<height>;
  static constexpr u32 depth = height == 2 ? 16 : 8;  // few rows: longer runs of B at a time
  using TileA = LoaderA<Part::rows, depth, warp_size>;
  using TileB = LoaderB<Part::cols, depth, warp_size>;
  static constexpr u32 threads = warps * warp_size;

  // One block of k, from `begin` on.
  DEVICE void sum_block(TileA& from_a, TileB& from_b, u64 begin, u64 k, float* a, float* b, Part& part) {
    const u64 end = least(begin + k_block, k);
    from_a.fetch(begin);
    from_b.fetch(begin);
    for (u64 p = begin; p < end; p += depth) {
      __syncwarp();
      from_a.put(a);
      from_b.put(b);
      __syncwarp();
      if (p + depth < end) {
        from_a.fetch(p + depth);
        from_b.fetch(p + depth);
      }
      part.template multiply<depth>(a, TileA::step, b, TileB::step);
    }
  }

  DEVICE void add_part(float (*total)[warp_size], const Part& part, bool first) {
    const u32 lane = threadIdx.x % warp_size;
#pragma unroll
    for (u32 i = 0; i < height; ++i) {
#pragma unroll
      for (u32 j = 0; j < 8; ++j) {
        float& t = total[i * 8 + j][lane];
        t = first ? part.sum[i][j] : t + part.sum[i][j];
      }
    }
  }

  DEVICE void write(const MatmulArguments& a, const Place& place, const float (*total)[warp_size]) {
    const u32 warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
    for (u32 run = warp; run < height * 2; run += warps) {
      const u32 i = run / 2, j = run % 2 * 4;
      const float sum[4] = {total[i * 8 + j][lane], total[i * 8 + j + 1][lane], total[i * 8 + j + 2][lane],
                            total[i * 8 + j + 3][lane]};
      add_to(a, place.row + Part::row_of(i), place.col + Part::col_of(j), sum, true);
    }
  }

  DEVICE void run(const MatmulArguments& batch) {
    const u64 height_in_tiles = ceil_div(batch.m, Part::rows);
    const Matrix matrix = matrix_of(batch, height_in_tiles * ceil_div(batch.n, Part::cols));
    const MatmulArguments& a = matrix.arguments;
    __shared__ __align__(16) float shared_a[warps][depth * TileA::step], shared_b[warps][depth * TileB::step];
    __shared__ float total[height * 8][warp_size];
    const u32 warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
    const Place place{matrix.group % height_in_tiles * Part::rows,
                      matrix.group / height_in_tiles * Part::cols};
    TileA from_a{a.a, a.m, place.row, a.k, lane, {}};
    TileB from_b{a.b, a.n, place.col, a.k, lane, {}};
    const u64 blocks = ceil_div(a.k, k_block);
    for (u64 round = 0; round < blocks; round += warps) {
      Part part;
      part.clear();
      const u64 block = round + warp;
      if (block < blocks) {
        sum_block(from_a, from_b, block * k_block, a.k, shared_a[warp], shared_b[warp], part);
      }
      for (u32 turn = 0; turn < warps; ++turn) {
        if (turn == warp && block < blocks) add_part(total, part, block == 0);
        __syncthreads();
      }
    }
    write(a, place, total);
  }
};

#include "kernels/matmul/few_rows.h"
#include "kernels/matmul/few_rows_lines.h"
#include "kernels/matmul/panels.h"

SILICA_DEFINE_ENTRY
