// SPDX-License-Identifier: MIT
// Products of 16-bit matrices on the tensor cores of sm_90a, with the work on their results that would
// otherwise read them again. Not in the order of the contract: for Math::fast.
//
// A block computes 128 x 256 sums. The two blocks of a cluster, one above the other in C, share nothing; the
// cluster only makes them run side by side, so that columns of B that both ask for at about the same time
// leave the second-level cache once. In a block one thread keeps a ring of stages full, each 128 rows of A
// and 256 columns of B by 64 of k. Two consumers of 128 threads multiply 64 rows each and leave their sums,
// rounded to 16 bits, in boxes of 64 x 64 in shared memory; the tensor cores wait for no more than that.
// Three warps finish a tile from there, while the consumers are at the next; the last tile of a block its
// consumers finish themselves. Clusters take tile after tile. TMA reads zeros beyond a matrix and writes
// nothing there. Which way along k an element's sum runs depends on its column, so that a turn of the clusters
// finds what the one before read last; where these kernels run its bits depend neither on the other rows nor
// on the GPU's size.
#include "kernels/cuda.h"
#include "kernels/tensor_core/ptx.h"
#include "kernels/tensor_core/swiglu.h"

enum class Epilogue {
  store,            // c = sum
  swiglu,           // b[0] are gates, b[1] ups: c[0] = swiglu(gate, up), and gate and up to c[1] and c[2]
  swiglu_backward,  // sums are the gradients of swiglu(in[0], in[1]): c[0] and c[1] are those of gate and up
};

struct ProductArguments {
  // The second of a and b, where there are two, add their product to that of the first.
  TensorMap a[2], b[2], in[2], c[3];
  u32 k_blocks_first, k_blocks;  // those of the first product, and all
  u32 tile_rows, tile_columns;   // C in tiles of a cluster
  u32 band;                      // rows of tiles that are walked together, for the second-level cache
  u32 keeps_operands;            // Epilogue::swiglu: gate and up are wanted
};

constexpr u32 tile_m = 128, tile_n = 256, tile_k = 64;
constexpr u32 line_bytes = tile_k * 2;  // what TMA swizzles, and the row of a box
constexpr u32 a_bytes = tile_m * line_bytes, b_bytes = tile_n * line_bytes, stage_bytes = a_bytes + b_bytes;
constexpr u32 box = 64, box_bytes = box * line_bytes;
constexpr u32 consumers = 2, team = 128;  // a consumer's threads
// In front of the consumers one warp for the producer and three to finish tiles: with more threads than these
// the sums of a consumer, 128 registers of each thread, would not fit.
constexpr u32 finishers = 3 * warp_size, product_threads = warp_size + finishers + consumers * team;
// Threads finish boxes by cells of so many words.
constexpr u32 cell_words = 4, cell_bytes = 4 * cell_words, box_cells = box_bytes / cell_bytes;
constexpr u32 cluster = 2;                                  // to run side by side
constexpr u32 chunks = tile_n / box;                        // boxes of a consumer
constexpr u32 input_pairs = stage_bytes / (2 * box_bytes);  // of boxes of in[0] and in[1] in a stage
constexpr u32 swizzled = 0x40000000u;                       // bit 62 of a descriptor: lines of 128 bytes are

// Shared memory: the stages, the boxes of sums, two spare ones, the barriers.
template <u32 stages> struct Layout {
  static constexpr u32 at_sums = stages * stage_bytes, at_spare = at_sums + consumers * chunks * box_bytes;
  static constexpr u32 at_full = at_spare + 2 * box_bytes, at_empty = at_full + stages * 8;
  static constexpr u32 at_summed = at_empty + stages * 8, at_free = at_summed + 8, at_inputs = at_free + 8;
  static constexpr u32 bytes = at_inputs + 8 + 1024;  // as the start is rounded up
  static_assert(bytes <= 232448);
};

// Where a thread is in a ring, and which phase of the barriers there comes next.
template <u32 size> struct Place {
  u32 at = 0, phase = 0;
  __device__ __forceinline__ void advance() {
    if (++at == size) {
      at = 0;
      phase ^= 1;
    }
  }
};

// The first row and column of a block's part of a tile, or of a consumer's.
struct Tile {
  u32 row, column;
  __device__ __forceinline__ Tile of_consumer(u32 consumer) const { return {row + consumer * box, column}; }
};

// Whole warps that finish boxes together: where this thread is among how many, and the barrier they meet at.
// The cells of a box are dealt out in turn.
struct Crew {
  u32 thread, threads, barrier;
  // Of the last warp, as that has the fewest cells.
  __device__ __forceinline__ bool is_elected() const { return thread == threads - warp_size; }
  __device__ __forceinline__ void sync() const { barrier_among(barrier, threads); }
  __device__ __forceinline__ bool has_cell(u32 i) const { return thread + i * threads < box_cells; }
  __device__ __forceinline__ u32 cell(u32 i) const {
    const u32 at = (thread + i * threads) * cell_bytes, row = at / line_bytes;
    return at ^ row % 8 << 4;
  }
};
DEVICE Crew crew_of_finishers() { return {threadIdx.x - warp_size, finishers, 2}; }
DEVICE Crew crew_of_consumer(u32 consumer) { return {threadIdx.x % team, team, 3 + consumer}; }

template <class Type, bool transpose_a, bool transpose_b, Epilogue epilogue, u32 stages>
struct TensorCoreProduct {
  using L = Layout<stages>;
  static constexpr bool m_major = transpose_a, n_major = !transpose_b;
  static constexpr u32 columns = epilogue == Epilogue::swiglu ? tile_n / 2 : tile_n;  // of C in a tile
  // What 64 clusters take in a turn, in bands of 8 rows of tiles. A constant, as bits depend on it.
  static constexpr u32 turn_columns = 8 * columns;

  DEVICE Tile tile_of(const ProductArguments& a, u32 index) {
    const u32 band_tiles = a.band * a.tile_columns, first = index / band_tiles * a.band;
    const u32 in_band = index % band_tiles,
              rows = a.band < a.tile_rows - first ? a.band : a.tile_rows - first;
    return {((first + in_band % rows) * cluster + blockIdx.x % cluster) * tile_m, in_band / rows * columns};
  }

  DEVICE u32 tiles_of(const ProductArguments& a) { return a.tile_rows * a.tile_columns; }
  DEVICE u32 first_tile() { return blockIdx.x / cluster; }
  DEVICE u32 tile_step() { return gridDim.x / cluster; }

  // ---- the producer

  DEVICE void fetch_stage(const ProductArguments& a, u32 stage, u32 full, const Tile& tile, u32 k_block) {
    if (tile.column / turn_columns % 2 != 0) k_block = a.k_blocks - 1 - k_block;
    const u32 second = k_block >= a.k_blocks_first ? 1 : 0;
    const u32 k = (k_block - (second != 0 ? a.k_blocks_first : 0)) * tile_k;
    const TensorMap& from_a = a.a[second];
    if constexpr (m_major) {
      load_box(stage, from_a, full, tile.row, k);
      load_box(stage + box_bytes, from_a, full, tile.row + box, k);
    } else {
      load_box(stage, from_a, full, k, tile.row);
    }
#pragma unroll
    for (u32 i = 0; i < tile_n / columns; ++i) {  // of swiglu the gate's and the up's
      const TensorMap& from_b = a.b[tile_n / columns == 2 ? i : second];
      const u32 to = stage + a_bytes + i * columns * line_bytes;
      if constexpr (n_major) {
#pragma unroll
        for (u32 n = 0; n < columns; n += box)
          load_box(to + n * line_bytes, from_b, full, tile.column + n, k);
      } else {
        load_box(to, from_b, full, k, tile.column);
      }
    }
  }

  DEVICE void wait_empty(u32 shared, const Place<stages>& place) {
    barrier_wait(shared + L::at_empty + place.at * 8, place.phase ^ 1);
  }

  DEVICE void produce(const ProductArguments& a, u32 shared) {
    Place<stages> place;
    for (u32 index = first_tile(); index < tiles_of(a); index += tile_step()) {
      const Tile tile = tile_of(a, index);
      for (u32 k_block = 0; k_block < a.k_blocks; ++k_block, place.advance()) {
        const u32 full = shared + L::at_full + place.at * 8;
        wait_empty(shared, place);
        barrier_expect(full, stage_bytes);
        fetch_stage(a, shared + place.at * stage_bytes, full, tile, k_block);
      }
      if (epilogue == Epilogue::swiglu_backward && index + tile_step() >= tiles_of(a))
        fetch_last_inputs(a, shared, tile, place);
    }
  }

  // The ring goes on with pairs of boxes, one for each consumer in turn.
  DEVICE void fetch_last_inputs(const ProductArguments& a, u32 shared, const Tile& tile,
                                Place<stages> place) {
    constexpr u32 pairs = consumers * chunks;
    static_assert(pairs <= stages * input_pairs);
#pragma unroll 1
    for (u32 first = 0; first < pairs; first += input_pairs, place.advance()) {
      const u32 full = shared + L::at_full + place.at * 8, left = pairs - first;
      const u32 count = left < input_pairs ? left : input_pairs;
      wait_empty(shared, place);
      barrier_expect(full, count * 2 * box_bytes);
#pragma unroll 1
      for (u32 i = 0; i < count; ++i) {
        const u32 to = shared + place.at * stage_bytes + i * 2 * box_bytes;
        fetch_inputs(a, to, full, tile.of_consumer((first + i) % consumers), (first + i) / consumers);
      }
    }
  }

  // ---- the consumers

  // A descriptor of rows of A or columns of B from `at` on; the upper half says where the next 8 lines are,
  // and for lines along the rows or columns the lower says where the next 64 of them are.
  DEVICE u64 descriptor(u32 at, bool along_rows) {
    // An address has the block's rank in the cluster above these 18 bits.
    const u32 low = ((at & 0x3ffff) >> 4) | ((along_rows ? box_bytes >> 4 : 1u) << 16);
    return u64(swizzled | (8 * line_bytes >> 4)) << 32 | low;
  }

  DEVICE void multiply_stage(float (&sum)[128], u32 stage, u32 consumer, bool adds) {
    constexpr u32 step_a = (m_major ? 16 * line_bytes : 32) >> 4,
                  step_b = (n_major ? 16 * line_bytes : 32) >> 4;
    const u64 a = descriptor(stage + consumer * box_bytes, m_major), b = descriptor(stage + a_bytes, n_major);
    begin_multiply();
#pragma unroll
    for (u32 step = 0; step < tile_k / 16; ++step)
      multiply<Type, m_major, n_major>(sum, a + step * step_a, b + step * step_b, adds || step > 0);
    end_multiply();
  }

  // Every warp says that it has read a stage.
  DEVICE void release(u32 shared, u32 stage) {
    if (threadIdx.x % warp_size == 0) barrier_arrive(shared + L::at_empty + stage * 8);
  }

  DEVICE void sum_tile(const ProductArguments& a, float (&sum)[128], u32 shared, u32 consumer,
                       Place<stages>& place) {
    u32 before = 0;
    for (u32 k_block = 0; k_block < a.k_blocks; ++k_block) {
      barrier_wait(shared + L::at_full + place.at * 8, place.phase);
      multiply_stage(sum, shared + place.at * stage_bytes, consumer, k_block > 0);
      wait_multiply<1>();  // for the stage before this
      if (k_block > 0) release(shared, before);
      before = place.at;
      place.advance();
    }
    wait_multiply<0>();
    settle(sum);
    release(shared, before);
  }

  // Sums go to the consumer's boxes, where 16 bytes of a row of 64 elements lie at their place xor the row.
  DEVICE void leave_sums(const float (&sum)[128], u32 boxes) {
    const u32 lane = threadIdx.x % warp_size, row = threadIdx.x % team / warp_size * 16 + lane % 16;
#pragma unroll
    for (u32 i = 0; i < tile_n / 16; ++i) {
      u32 words[4];  // of 8 x 8 matrices: rows and rows + 8, of these 8 columns and the next
#pragma unroll
      for (u32 w = 0; w < 4; ++w) words[w] = Type::pack(sum + i * 8 + w * 2);
      const u32 at = boxes + i / 4 * box_bytes + row * line_bytes;
      store_matrices(at + ((2 * (i % 4) + lane / 16 ^ row % 8) << 4), words);
    }
  }

  DEVICE void consume(const ProductArguments& a, u32 shared, u32 consumer) {
    Place<stages> place;
    u32 phase = 1, index = first_tile();
    for (; index < tiles_of(a); index += tile_step(), phase ^= 1) {
      float sum[128];
      sum_tile(a, sum, shared, consumer, place);
      barrier_wait(shared + L::at_free, phase);
      leave_sums(sum, shared + L::at_sums + consumer * chunks * box_bytes);
      publish_shared();
      sync_warp();
      if (threadIdx.x % warp_size == 0) barrier_arrive(shared + L::at_summed);
    }
    finish_last(a, shared, consumer, tile_of(a, index - tile_step()).of_consumer(consumer), place);
  }

  // What the consumer left, with the stages for inputs or results, as nothing more is multiplied.
  DEVICE void finish_last(const ProductArguments& a, u32 shared, u32 consumer, const Tile& tile,
                          Place<stages> place) {
    const u32 sums = shared + L::at_sums + consumer * chunks * box_bytes;
    const Crew crew = crew_of_consumer(consumer);
    crew.sync();
    if constexpr (epilogue == Epilogue::store) {
      if (crew.is_elected()) store_sums(a, a.c, sums, tile);
    } else if constexpr (epilogue == Epilogue::swiglu) {
      wait_empty(shared, place);
      finish_swiglu(a, crew, sums, shared + place.at * stage_bytes + consumer * chunks / 2 * box_bytes, tile);
    } else {
#pragma unroll 1
      for (u32 pair = 0; pair < consumers * chunks; ++pair) {
        const u32 part = pair % input_pairs, i = pair / consumers;
        if (part == 0) barrier_wait(shared + L::at_full + place.at * 8, place.phase);
        const u32 gates = shared + place.at * stage_bytes + part * 2 * box_bytes;
        if (pair % consumers == consumer)
          finish_gradients(a, crew, sums + i * box_bytes, gates, gates + box_bytes, tile, i);
        if (part == input_pairs - 1) place.advance();
      }
    }
    if (crew.is_elected()) wait_stores_read<0>();  // before the shared memory goes
  }

  // ---- what finishes boxes

  DEVICE void store_sums(const ProductArguments& a, const TensorMap* to, u32 sums, const Tile& tile) {
    // Of swiglu the first half is of one matrix, the second of the next.
    constexpr u32 each = epilogue == Epilogue::swiglu ? chunks / 2 : chunks;
#pragma unroll
    for (u32 i = 0; i < chunks; ++i)
      store_box(to[i / each], sums + i * box_bytes, tile.column + i % each * box, tile.row);
    end_store_group();
  }

  DEVICE void box_swiglu(const Crew& crew, u32 gates, u32 ups, u32 to) {
#pragma unroll 1
    for (u32 i = 0; crew.has_cell(i); ++i) {
      const u32 cell = crew.cell(i);
      u32 gate[cell_words], up[cell_words], y[cell_words];
      load_words(gates + cell, gate);
      load_words(ups + cell, up);
#pragma unroll
      for (u32 w = 0; w < cell_words; ++w) y[w] = fast_swiglu<Type>(gate[w], up[w]);
      store_words(to + cell, y);
    }
  }

  // The boxes of a consumer, into two others.
  DEVICE void finish_swiglu(const ProductArguments& a, const Crew& crew, u32 sums, u32 to, const Tile& tile) {
    if (a.keeps_operands != 0 && crew.is_elected()) store_sums(a, a.c + 1, sums, tile);
#pragma unroll 1
    for (u32 i = 0; i < chunks / 2; ++i) {
      const u32 gates = sums + i * box_bytes, y = to + i * box_bytes;
      if (crew.is_elected()) wait_stores_read<1>();  // all but what left the other box
      crew.sync();
      box_swiglu(crew, gates, gates + chunks / 2 * box_bytes, y);
      publish_shared();
      crew.sync();
      if (!crew.is_elected()) continue;
      store_box(a.c[0], y, tile.column + i * box, tile.row);
      end_store_group();
    }
  }

  DEVICE void fetch_inputs(const ProductArguments& a, u32 to, u32 barrier, const Tile& tile, u32 i) {
    load_box(to, a.in[0], barrier, tile.column + i * box, tile.row);
    load_box(to + box_bytes, a.in[1], barrier, tile.column + i * box, tile.row);
  }

  DEVICE void prefetch_inputs(const ProductArguments& a, const Tile& tile, u32 i) {
    prefetch_box(a.in[0], tile.column + i * box, tile.row);
    prefetch_box(a.in[1], tile.column + i * box, tile.row);
  }

  // The gradients of gate take the place of the sums, and those of up may take that of up.
  DEVICE void box_gradients(const Crew& crew, u32 sums, u32 gates, u32 ups, u32 of_ups) {
#pragma unroll 1
    for (u32 i = 0; crew.has_cell(i); ++i) {
      const u32 cell = crew.cell(i);
      u32 dy[cell_words], gate[cell_words], up[cell_words], dgate[cell_words], dup[cell_words];
      load_words(sums + cell, dy);
      load_words(gates + cell, gate);
      load_words(ups + cell, up);
#pragma unroll
      for (u32 w = 0; w < cell_words; ++w)
        fast_swiglu_backward<Type>(gate[w], up[w], dy[w], dgate[w], dup[w]);
      store_words(sums + cell, dgate);
      store_words(of_ups + cell, dup);
    }
  }

  // The i-th box of a consumer, with its gates and, behind them, its ups.
  DEVICE void finish_gradients(const ProductArguments& a, const Crew& crew, u32 sums, u32 gates, u32 of_ups,
                               const Tile& tile, u32 i) {
    box_gradients(crew, sums, gates, gates + box_bytes, of_ups);
    publish_shared();
    crew.sync();
    if (!crew.is_elected()) return;
    store_box(a.c[0], sums, tile.column + i * box, tile.row);
    store_box(a.c[1], of_ups, tile.column + i * box, tile.row);
    end_store_group();
  }

  // ---- the finishers

  // Of box i of a tile. Those of the next are to be near when it is their turn.
  DEVICE void fetch_next_inputs(const ProductArguments& a, u32 shared, const Tile& tile, u32 i) {
    if (i == 1) wait_stores_read<0>();  // the ups' place
    fetch_inputs(a, shared + L::at_spare, shared + L::at_inputs, tile.of_consumer(i / chunks), i % chunks);
    if (i + 1 < consumers * chunks) prefetch_inputs(a, tile.of_consumer((i + 1) / chunks), (i + 1) % chunks);
    wait_stores_read<0>();  // where the next box's results may go, once its inputs are there
    barrier_expect(shared + L::at_inputs, 2 * box_bytes);
  }

  DEVICE void finish_tile(const ProductArguments& a, const Crew& crew, u32 shared, const Tile& tile,
                          u32& phase) {
    const u32 sums = shared + L::at_sums, spare = shared + L::at_spare;
    if constexpr (epilogue == Epilogue::swiglu_backward) {
#pragma unroll 1
      for (u32 i = 0; i < consumers * chunks; ++i, phase ^= 1) {
        barrier_wait(shared + L::at_inputs, phase);
        // The gradients of up go to the sums of the box before, so that inputs can be fetched at once.
        const u32 of_ups = i == 0 ? spare + box_bytes : sums + (i - 1) * box_bytes;
        finish_gradients(a, crew, sums + i * box_bytes, spare, of_ups, tile.of_consumer(i / chunks),
                         i % chunks);
        if (crew.is_elected() && i + 1 < consumers * chunks) fetch_next_inputs(a, shared, tile, i + 1);
      }
    } else {
#pragma unroll 1
      for (u32 i = 0; i < consumers; ++i) {
        const u32 boxes = sums + i * chunks * box_bytes;
        if constexpr (epilogue == Epilogue::swiglu) finish_swiglu(a, crew, boxes, spare, tile.of_consumer(i));
        if (epilogue == Epilogue::store && crew.is_elected()) store_sums(a, a.c, boxes, tile.of_consumer(i));
      }
    }
  }

  DEVICE void finish(const ProductArguments& a, u32 shared) {
    const Crew crew = crew_of_finishers();
    // One thread stores. Others, whom nothing keeps in step with it, might miss a phase.
    if (epilogue == Epilogue::store && !crew.is_elected()) return;
    u32 phase = 0, input_phase = 0;
    for (u32 index = first_tile(); index + tile_step() < tiles_of(a); index += tile_step(), phase ^= 1) {
      const Tile tile = tile_of(a, index);
      if (epilogue == Epilogue::swiglu_backward && crew.is_elected()) fetch_next_inputs(a, shared, tile, 0);
      barrier_wait(shared + L::at_summed, phase);
      finish_tile(a, crew, shared, tile, input_phase);
      if (!crew.is_elected()) continue;
      // Sums of swiglu left before the results, of which the last two may be on their way.
      if constexpr (epilogue != Epilogue::swiglu) wait_stores_read<0>();
      barrier_arrive(shared + L::at_free);
    }
    if (crew.is_elected()) wait_stores_read<0>();  // before the shared memory goes
  }

  DEVICE void set_barriers(u32 shared) {
    for (u32 s = 0; s < stages; ++s) {
      barrier_init(shared + L::at_full + s * 8, 1);
      barrier_init(shared + L::at_empty + s * 8, consumers * team / warp_size);
    }
    barrier_init(shared + L::at_summed, consumers * team / warp_size);
    barrier_init(shared + L::at_free, 1);
    barrier_init(shared + L::at_inputs, 1);
    barriers_are_set();
  }

  DEVICE void run(const ProductArguments& a) {
    const u32 shared = shared_start();
    if (threadIdx.x == 0) set_barriers(shared);
    sync_block();
    wait_for_previous();
    if (threadIdx.x >= team) {
      consume(a, shared, threadIdx.x / team - 1);
    } else if (threadIdx.x >= warp_size) {
      finish(a, shared);
    } else if (threadIdx.x == 0) {
      produce(a, shared);
    }
  }
};

#ifdef SILICA_ENTRY
extern "C" __global__ void __cluster_dims__(cluster, 1, 1) __launch_bounds__(SILICA_THREADS, 1)
    SILICA_ENTRY(const __grid_constant__ SILICA_ARGUMENTS a) {
  SILICA_KERNEL(a);
}
#endif
