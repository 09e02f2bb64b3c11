// SPDX-License-Identifier: MIT
// Table look-up and its scatter-add backward. Arguments: table, ids, y, n, rows, cols; or ids, dy, dtable, n,
// rows, cols.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "kernels/prelude_glsl.h"
#include "kernels/vulkan.h"

layout(local_size_x = 256) in;
// 0 forward, a group for each id; 1 backward, one for 16 columns.
layout(constant_id = 0) const int kernel = 0;
layout(constant_id = 1) const uint dtype = 0;  // of what the ids name; dtable is f32

const uint columns = 16;
const uint block = 256;  // ids of a partial sum, one for each thread
shared uint block_ids[block];
uint me = gl_LocalInvocationID.x;

void embedding() {
  uint size = dtype == 0 ? 4 : 2;
  uint64_t rows = word[4];
  uint64_t cols = word[5];
  uint64_t i = group_number();
  uint id = load_word(word[1], i);
  for (uint64_t j = me; j < cols; j += gl_WorkGroupSize.x) {
    uint bits = dtype == 0 ? 0x7fc00000u : dtype == 1 ? 0x7e00u : 0x7fc0u;
    if (id < rows) bits = load_bits(size, word[0], id * cols + j);
    store_bits(size, word[2], i * cols + j, bits);
  }
}

// The thread of an id's first occurrence in the block sums over all of them, and adds the sum to the table.
void add_block(uint64_t begin, uint count, uint64_t cols, uint64_t first, uint width) {
  uint id = block_ids[me];
  for (uint t = 0; t < me; ++t) {
    if (block_ids[t] == id) return;
  }
  precise float sum[columns];
  for (uint j = 0; j < columns; ++j) sum[j] = 0.0f;
  for (uint t = me; t < count; ++t) {
    if (block_ids[t] != id) continue;
    uint64_t place = (begin + t) * cols + first;
    for (uint j = 0; j < width; ++j) sum[j] = sum[j] + load_as(dtype, word[1], place + j);
  }
  for (uint j = 0; j < width; ++j) {
    uint64_t place = id * cols + first + j;
    precise float total = load(word[2], place) + sum[j];
    store(word[2], place, total);
  }
}

void embedding_backward() {
  uint64_t n = word[3];
  uint64_t rows = word[4];
  uint64_t cols = word[5];
  uint64_t first = group_number() * columns;
  uint width = uint(min(cols - first, uint64_t(columns)));
  for (uint64_t e = me; e < rows * width; e += gl_WorkGroupSize.x) {
    store(word[2], e / width * cols + first + e % width, 0.0f);
  }
  for (uint64_t begin = 0; begin < n; begin += block) {
    uint count = uint(min(n - begin, uint64_t(block)));
    if (me < count) block_ids[me] = load_word(word[0], begin + me);
    memoryBarrierBuffer();  // another thread may have added to this thread's row last time
    barrier();
    if (me < count && block_ids[me] < rows) add_block(begin, count, cols, first, width);
    barrier();
  }
}

void main() {
  if (kernel == 0) {
    embedding();
  } else {
    embedding_backward();
  }
}
