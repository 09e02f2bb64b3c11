// SPDX-License-Identifier: MIT
// Table look-up and its scatter-add backward in CUDA.
#include "kernels/cuda.h"

constexpr u32 embedding_threads = 256;
constexpr u32 embedding_warps = embedding_threads / warp_size;  // ids a group of the forward covers
constexpr u32 id_block = 256;                                   // ids of a partial sum

template <class T> struct EmbeddingArguments {
  const typename T::Element* table;  // (rows, cols)
  const u32* ids;                    // (n)
  typename T::Element* y;            // (n, cols)
  u64 n, rows, cols;
};

// One warp for each id.
template <class T> DEVICE void embedding(const EmbeddingArguments<T>& a) {
  constexpr u32 width = 4 * T::per_word;  // of 16 bytes
  const u64 i = group() * embedding_warps + threadIdx.x / warp_size;
  if (i >= a.n) return;
  const u32 lane = threadIdx.x % warp_size, id = a.ids[i];
  const auto* from = a.table + id * a.cols;
  auto* to = a.y + i * a.cols;
  if (id >= a.rows) {
    for (u64 j = lane; j < a.cols; j += warp_size) to[j] = T::store(from_bits_(0x7fc00000u));
  } else if (a.cols % width == 0 && is_aligned(a.table) && is_aligned(a.y)) {
    for (u64 j = lane; j < a.cols / width; j += warp_size) {
      reinterpret_cast<Words4*>(to)[j] = reinterpret_cast<const Words4*>(from)[j];
    }
  } else {
    for (u64 j = lane; j < a.cols; j += warp_size) to[j] = from[j];
  }
}

template <class T> struct EmbeddingBackwardArguments {
  const u32* ids;                 // (n)
  const typename T::Element* dy;  // (n, cols)
  float* dtable;                  // (rows, cols)
  u64 n, rows, cols;
};

// The sum of column j of dy over the ids of a block that are marked, ascending.
template <class T>
DEVICE float sum_marked(const EmbeddingBackwardArguments<T>& a, const u32* marks, u64 begin, u64 j) {
  float sum = 0.0f;
  for (u32 w = 0; w < id_block / warp_size; ++w) {
    for (u32 mark = marks[w]; mark != 0; mark &= mark - 1) {
      const u64 i = begin + w * warp_size + u32(__ffs(int(mark)) - 1);
      sum = sum + T::load(a.dy[i * a.cols + j]);
    }
  }
  return sum;
}

// One block for each row of the table: it looks for its own id in all of them, 256 at a time.
template <class T> DEVICE void embedding_backward(const EmbeddingBackwardArguments<T>& a) {
  __shared__ u32 marks[id_block / warp_size];
  const u64 row = group();
  const u32 thread = threadIdx.x;
  float* to = a.dtable + row * a.cols;
  for (u64 j = thread; j < a.cols; j += embedding_threads) to[j] = 0.0f;
  for (u64 begin = 0; begin < a.n; begin += id_block) {
    const bool mine = begin + thread < a.n && a.ids[begin + thread] == row;
    if (!__syncthreads_or(mine)) continue;
    const u32 mark = __ballot_sync(whole_warp, mine);
    if (thread % warp_size == 0) marks[thread / warp_size] = mark;
    __syncthreads();
    for (u64 j = thread; j < a.cols; j += embedding_threads) to[j] = to[j] + sum_marked(a, marks, begin, j);
    __syncthreads();
  }
}

SILICA_DEFINE_ENTRY
