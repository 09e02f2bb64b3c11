// SPDX-License-Identifier: MIT
// What kernels/tensor_core asks of sm_90a, on the host: a block with a fiber for each thread.
// Copies and products are carried out late and in any order that the waits allow, so where a wait is missing
// the results are others. What the hardware would not take, or a deadlock, ends the run with a
// std::runtime_error.
#pragma once

#include <cstdint>
#include <functional>

namespace emulation::block {

using Address = std::uint32_t;  // in shared memory; above bit 24 the block's rank in a cluster of two

// Runs kernel() by every thread of `blocks` blocks, one after the other.
struct Launch {
  unsigned blocks, threads, shared_bytes;
};
void run(const Launch& launch, unsigned seed, const std::function<void()>& kernel);

unsigned block_count();
Address shared_start();
void* shared(Address at);
void let_others_run();  // sometimes

// ---- places to meet: of all threads, of a warp, of those that name one
void meet_all();
void meet_warp();
void meet(unsigned id, unsigned threads);

// ---- barriers in shared memory: a phase ends when all arrivals and the expected bytes have come
void init(Address barrier, unsigned arrivals);
void arrive(Address barrier);
void expect(Address barrier, unsigned bytes);  // and arrives
void wait(Address barrier, unsigned parity);

// ---- the copy engine: boxes of 64 columns, whose lines are swizzled in shared memory
struct Matrix {
  std::uint16_t* data;
  long rows, cols, box_rows;
};
void load(Address to, const Matrix& from, Address barrier, unsigned x, unsigned y);
void store(const Matrix& to, Address from, unsigned x, unsigned y);
void end_store_group();
void wait_stores_read(unsigned but);  // all groups but the last ones

// ---- the tensor cores: 64 x 256 sums, of which a thread has 128, and 16 of k
struct Multiply {
  float* sums;
  std::uint64_t a, b;  // descriptors
  bool m_major, n_major;
  float (*widen)(std::uint16_t);
  bool adds;
};
void multiply(const Multiply& product);
void end_multiply();
void wait_multiply(unsigned but);

// Each thread of a warp gives an address of 16 bytes and has 2 elements of 4 matrices of 8 x 8.
void store_matrices(Address to, const std::uint32_t* words);

}  // namespace emulation::block
