// SPDX-License-Identifier: MIT
// Kernels that move blocks of matrices, or sum their columns, in CUDA. Arguments and orders as in layout.cpp.
#include "kernels/cuda.h"

constexpr u32 layout_threads = 256;
constexpr u32 block_words = 4 * layout_threads;  // a group of copy_block moves
constexpr u32 side = 32;                         // of a tile of a transpose
constexpr u32 sum_columns = warp_size;           // a group of a sum over rows covers
constexpr u32 row_block = 256;                   // rows of a partial sum

// ---- copy_block: by elements, or by words that hold several of them ----

struct BlockArguments {
  const void* x;
  void* y;
  u64 rows, cols, x_step, y_step;  // in elements
};

template <class Word, u32 elements> DEVICE void copy_block(const BlockArguments& a) {
  const u64 cols = a.cols / elements, x_step = a.x_step / elements, y_step = a.y_step / elements;
  const u64 begin = group() * block_words, end = least(begin + block_words, a.rows * cols);
#pragma unroll 4
  for (u64 i = begin + threadIdx.x; i < end; i += layout_threads) {
    const u64 row = i / cols, col = i % cols;
    static_cast<Word*>(a.y)[row * y_step + col] = static_cast<const Word*>(a.x)[row * x_step + col];
  }
}

// ---- transpose ----

struct TransposeArguments {
  const void* x;  // (batch, rows, cols)
  void* y;        // (batch, cols, rows)
  u64 rows, cols;
};

template <class Word> DEVICE void transpose(const TransposeArguments& a) {
  __shared__ Word tile[side][side + 1];
  const u64 width = ceil_div(a.cols, side), height = ceil_div(a.rows, side);
  const u64 first = group() / (width * height) * a.rows * a.cols;
  const u64 row = group() / width % height * side, col = group() % width * side;
  const Word* x = static_cast<const Word*>(a.x) + first;
  Word* y = static_cast<Word*>(a.y) + first;
  const u32 line = threadIdx.x / side, at = threadIdx.x % side;
#pragma unroll
  for (u32 i = line; i < side; i += layout_threads / side) {
    if (row + i < a.rows && col + at < a.cols) tile[i][at] = x[(row + i) * a.cols + col + at];
  }
  __syncthreads();
#pragma unroll
  for (u32 j = line; j < side; j += layout_threads / side) {
    if (col + j < a.cols && row + at < a.rows) y[(col + j) * a.rows + row + at] = tile[at][j];
  }
}

// ---- sum_rows: each warp of a group has blocks of rows of its own ----

template <class T> struct SumArguments {
  const typename T::Element* x;  // (rows, cols)
  typename T::Element* y;        // (cols)
  u64 rows, cols;
};

template <class T> struct SumRows {
  DEVICE float sum_block(const SumArguments<T>& a, u64 begin, u64 col) {
    float sum = 0.0f;
    const u64 end = least(begin + row_block, a.rows);
#pragma unroll 8
    for (u64 row = begin; row < end; ++row) sum = sum + T::load(a.x[row * a.cols + col]);
    return sum;
  }

  DEVICE void run(const SumArguments<T>& a) {
    constexpr u32 warps = layout_threads / warp_size;
    __shared__ float sums[warps][sum_columns];
    const u32 warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
    const u64 col = group() * sum_columns + lane, blocks = ceil_div(a.rows, row_block);
    float total = 0.0f;
    for (u64 block = 0; block < blocks; block += warps) {
      if (block + warp < blocks && col < a.cols)
        sums[warp][lane] = sum_block(a, (block + warp) * row_block, col);
      __syncthreads();
      if (warp == 0 && col < a.cols) {
        for (u32 w = 0; w < least(warps, blocks - block); ++w) total = total + sums[w][lane];
      }
      __syncthreads();
    }
    if (warp == 0 && col < a.cols) a.y[col] = T::store(total);
  }
};

SILICA_DEFINE_ENTRY
