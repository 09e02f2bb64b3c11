// SPDX-License-Identifier: MIT
// Products of 16-bit matrices on the tensor cores of sm_90a, with the work on their results that would
// otherwise read them again. Not in the order of the contract: for Math::fast.
//
// Two blocks of a cluster compute 256 x 256 elements of C, one above the other. In a block one thread keeps a
// ring of stages full, each 128 rows of A and 256 columns of B by 64 of k; the columns are the same for both
// blocks, so each fetches half of them for both. Two consumers of 128 threads multiply 64 rows each and leave
// their sums, rounded to 16 bits, in boxes of 64 x 64 in shared memory; the tensor cores wait for no more
// than that. 128 threads finish a tile from there, while the consumers are at the next. Clusters take tile
// after tile. TMA reads zeros beyond a matrix and writes nothing there.
#include "kernels/cuda.h"
#include "kernels/map/approximation.h"
#include "kernels/tensor_core/ptx.h"

struct Bf16 : BF16 {
  static constexpr bool is_bf16 = true;
};
struct Fp16 : F16 {
  static constexpr bool is_bf16 = false;
};

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
constexpr u32 box_cells = box_bytes / 16, cells_each = (box_cells + finishers - 1) / finishers;
constexpr u32 cluster = 2;
constexpr u32 chunks = tile_n / box;   // boxes of a consumer
constexpr u32 swizzled = 0x40000000u;  // bit 62 of a descriptor: lines of 128 bytes are

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

// The first row and column of a block's part of a tile.
struct Tile {
  u32 row, column;
};

template <class Type, bool transpose_a, bool transpose_b, Epilogue epilogue, u32 stages, u32 lead>
struct TensorCoreProduct {
  using L = Layout<stages>;
  static constexpr bool m_major = transpose_a, n_major = !transpose_b;
  static constexpr u32 columns = epilogue == Epilogue::swiglu ? tile_n / 2 : tile_n;  // of C in a tile

  DEVICE Tile tile_of(const ProductArguments& a, u32 index, u32 rank) {
    const u32 band_tiles = a.band * a.tile_columns, first = index / band_tiles * a.band;
    const u32 in_band = index % band_tiles,
              rows = a.band < a.tile_rows - first ? a.band : a.tile_rows - first;
    return {((first + in_band % rows) * cluster + rank) * tile_m, in_band / rows * columns};
  }

  // ---- the producer

  DEVICE void fetch_stage(const ProductArguments& a, u32 stage, u32 full, const Tile& tile, u32 k_block,
                          u32 rank) {
    const u32 second = k_block >= a.k_blocks_first ? 1 : 0;
    const u32 k = (k_block - (second != 0 ? a.k_blocks_first : 0)) * tile_k;
    const TensorMap& from_a = a.a[second];
    if constexpr (m_major) {
      load_box(stage, from_a, full, tile.row, k);
      load_box(stage + box_bytes, from_a, full, tile.row + box, k);
    } else {
      load_box(stage, from_a, full, k, tile.row);
    }
    // This block's half of the columns: those of the gate or of the up where they are two matrices.
    const bool pair = epilogue == Epilogue::swiglu;
    const TensorMap& from_b = a.b[pair ? rank : second];
    const u32 to = stage + a_bytes + rank * (b_bytes / 2), n = tile.column + (pair ? 0 : rank * (tile_n / 2));
    if constexpr (n_major) {
      load_box_to_both(to, from_b, full, n, k);
      load_box_to_both(to + box_bytes, from_b, full, n + box, k);
    } else {
      load_box_to_both(to, from_b, full, k, n);
    }
  }

  DEVICE void produce(const ProductArguments& a, u32 shared, u32 rank) {
    Place<stages> place;
    const u32 tiles = a.tile_rows * a.tile_columns;
    for (u32 index = blockIdx.x / cluster; index < tiles; index += gridDim.x / cluster) {
      const Tile tile = tile_of(a, index, rank);
      for (u32 k_block = 0; k_block < a.k_blocks; ++k_block, place.advance()) {
        const u32 full = shared + L::at_full + place.at * 8;
        // Both blocks have to be done with the stage, as half of it goes to the other.
        barrier_wait(shared + L::at_empty + place.at * 8, place.phase ^ 1);
        barrier_expect(full, stage_bytes);
        fetch_stage(a, shared + place.at * stage_bytes, full, tile, k_block, rank);
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

  // Every warp says in both blocks that it has read a stage.
  DEVICE void release(u32 shared, u32 stage) {
    if (threadIdx.x % warp_size < cluster)
      barrier_arrive(shared + L::at_empty + stage * 8, threadIdx.x % warp_size);
  }

  DEVICE void sum_tile(const ProductArguments& a, float (&sum)[128], u32 shared, u32 consumer,
                       Place<stages>& place, bool is_first) {
    // The second consumer stays some stages behind, so that they do not leave the tensor cores at once.
    const u32 least_lead = lead < a.k_blocks ? lead : a.k_blocks;
    if (lead > 0 && is_first && consumer == 1) barrier_among(1, consumers * team);
    u32 before = 0;
    for (u32 k_block = 0; k_block < a.k_blocks; ++k_block) {
      barrier_wait(shared + L::at_full + place.at * 8, place.phase);
      multiply_stage(sum, shared + place.at * stage_bytes, consumer, k_block > 0);
      wait_multiply<1>();  // for the stage before this
      if (k_block > 0) release(shared, before);
      if (lead > 0 && is_first && consumer == 0 && k_block + 1 == least_lead)
        arrive_among(1, consumers * team);
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
    for (u32 i = 0; i < tile_n / 16;
         ++i) {  // 8 x 8 matrices: rows and rows + 8, of these 8 columns and the next
      u32 words[4];
#pragma unroll
      for (u32 w = 0; w < 4; ++w) words[w] = Type::pack(sum + i * 8 + w * 2);
      const u32 at = boxes + i / 4 * box_bytes + row * line_bytes;
      store_matrices(at + ((2 * (i % 4) + lane / 16 ^ row % 8) << 4), words);
    }
  }

  DEVICE void consume(const ProductArguments& a, u32 shared, u32 consumer) {
    Place<stages> place;
    u32 phase = 1;
    const u32 tiles = a.tile_rows * a.tile_columns;
    for (u32 index = blockIdx.x / cluster; index < tiles; index += gridDim.x / cluster, phase ^= 1) {
      float sum[128];
      sum_tile(a, sum, shared, consumer, place, index == blockIdx.x / cluster);
      barrier_wait(shared + L::at_free, phase);
      leave_sums(sum, shared + L::at_sums + consumer * chunks * box_bytes);
      publish_shared();
      sync_warp();
      if (threadIdx.x % warp_size == 0) barrier_arrive_here(shared + L::at_summed);
    }
  }

  // ---- what decides 16 bits without the exact formulas

  // A word of two elements each from a value and its error; false where that does not decide the bits.
  DEVICE bool decide(const Rough& first, const Rough& second, u32& word) {
    const float low[2] = {lowest_if_nan(first.value - first.error),
                          lowest_if_nan(second.value - second.error)};
    const float high[2] = {first.value + first.error, second.value + second.error};
    word = Type::pack(low);
    return word == Type::pack(high);
  }

  // Of two bf16: all of |x| in [2^-28, 16) or in [2^-60, 2^68).
  DEVICE bool are_moderate(u32 word) { return (((word & 0x7fff7fffu) - 0x31803180u) & 0xf000f000u) == 0; }
  DEVICE bool are_normal(u32 word) { return (((word & 0x7fff7fffu) - 0x21802180u) & 0xc000c000u) == 0; }
  // Whether floats that are off by less than 63 units of their last place still round to the same bf16: the
  // half that is rounded away is not that near to its middle. A carry between the two costs one unit.
  DEVICE bool round_surely(float first, float second) {
    const u32 halves = (bits_(first) & 0xffffu) | bits_(second) << 16, distance = halves + 0x80408040u;
    return (distance & 0xff80u) != 0 && (distance & 0xff800000u) != 0;
  }

  // Sigmoids of two numbers with one reciprocal: off by 2^-23 more than rough_sigmoid, which its bound has
  // room for; |x| < 16, or they decide nothing.
  DEVICE void rough_sigmoids(const float* x, RoughSigmoid* s) {
    const float d[2] = {1.0f + rough_exp2(x[0] * -1.44269502f), 1.0f + rough_exp2(x[1] * -1.44269502f)};
    const float inverse = rough_reciprocal(d[0] * d[1]);
    s[0].value = inverse * d[1];
    s[1].value = inverse * d[0];
#pragma unroll
    for (u32 e = 0; e < 2; ++e)
      s[e].error = fma_(s[e].value, fma_(abs_(x[e]), 1.1920929e-7f, 9.53674316e-7f), 7.5231638e-37f);
  }

  // silu(x) * b of bf16: where x is moderate and the result normal, the relative error is at most 2^-18.4
  // (that of rough_silu for |x| = 16), which is 48 units of a float's last place.
  DEVICE bool decide_moderate(const float* x, const float* b, const RoughSigmoid* s, u32& word) {
    const float y[2] = {x[0] * b[0] * s[0].value, x[1] * b[1] * s[1].value};
    word = Type::pack(y);
    return round_surely(y[0], y[1]) && are_normal(word);
  }

  DEVICE bool decide_swiglu(u32 gate, u32 up, u32& word) {
    float g[2], u[2];
    Type::unpack(gate, g);
    Type::unpack(up, u);
    if constexpr (Type::is_bf16) {
      RoughSigmoid s[2];
      rough_sigmoids(g, s);
      const bool decided = decide_moderate(g, u, s, word);
      return decided && are_moderate(gate);
    }
    return decide(rough_silu(g[0], u[0], rough_sigmoid(g[0])), rough_silu(g[1], u[1], rough_sigmoid(g[1])),
                  word);
  }

  DEVICE u32 exact_swiglu(u32 gate, u32 up) {
    float g[2], u[2];
    Type::unpack(gate, g);
    Type::unpack(up, u);
    const float y[2] = {silu(g[0]) * u[0], silu(g[1]) * u[1]};
    return Type::pack(y);
  }

  DEVICE bool decide_gradients(u32 gate, u32 up, u32 dy, u32& dgate, u32& dup) {
    float g[2], u[2], d[2];
    RoughSigmoid s[2];
    Type::unpack(gate, g);
    Type::unpack(up, u);
    Type::unpack(dy, d);
    bool decided;
    if constexpr (Type::is_bf16) {
      rough_sigmoids(g, s);
      decided = decide_moderate(g, d, s, dup);
      decided = decided && are_moderate(gate);
    } else {
      s[0] = rough_sigmoid(g[0]);
      s[1] = rough_sigmoid(g[1]);
      decided = decide(rough_silu(g[0], d[0], s[0]), rough_silu(g[1], d[1], s[1]), dup);
    }
    return decide(rough_silu_derivative(g[0], d[0] * u[0], s[0]),
                  rough_silu_derivative(g[1], d[1] * u[1], s[1]), dgate) &&
           decided;
  }

  DEVICE void exact_gradients(u32 gate, u32 up, u32 dy, u32& dgate, u32& dup) {
    float g[2], u[2], d[2];
    Type::unpack(gate, g);
    Type::unpack(up, u);
    Type::unpack(dy, d);
    const float of_gate[2] = {d[0] * u[0] * silu_derivative(g[0]), d[1] * u[1] * silu_derivative(g[1])};
    const float of_up[2] = {d[0] * silu(g[0]), d[1] * silu(g[1])};
    dgate = Type::pack(of_gate);
    dup = Type::pack(of_up);
  }

  // ---- the finishers. Cells of 16 bytes of a box are dealt out in turn.

  DEVICE bool is_elected() { return threadIdx.x == warp_size; }
  DEVICE void sync_finishers() { barrier_among(2, finishers); }
  DEVICE u32 cell_index(u32 i) { return threadIdx.x - warp_size + i * finishers; }
  DEVICE u32 cell(u32 i) {
    const u32 row = cell_index(i) / 8;
    return row * line_bytes + ((cell_index(i) ^ row) % 8 << 4);
  }

  DEVICE void store_sums(const ProductArguments& a, const TensorMap* to, u32 sums, const Tile& tile) {
    // Of swiglu the first half is of one matrix, the second of the next.
    constexpr u32 half = chunks / 2;
    const bool pair = epilogue == Epilogue::swiglu;
#pragma unroll
    for (u32 i = 0; i < consumers * chunks; ++i) {
      const u32 chunk = i % chunks, second = pair && chunk >= half ? 1 : 0;
      store_box(to[second], sums + i * box_bytes, tile.column + (chunk - second * half) * box,
                tile.row + i / chunks * box);
    }
    end_store_group();
  }

  DEVICE void box_swiglu(u32 gates, u32 ups, u32 to) {
    u32 undecided = 0;  // words, counted over all cells
#pragma unroll 1
    for (u32 i = 0; i < cells_each && cell_index(i) < box_cells; ++i) {
      u32 gate[4], up[4], y[4];
      load_words(gates + cell(i), gate);
      load_words(ups + cell(i), up);
#pragma unroll
      for (u32 w = 0; w < 4; ++w)
        if (!decide_swiglu(gate[w], up[w], y[w])) undecided |= 1u << (4 * i + w);
      store_words(to + cell(i), y);
    }
    for (; undecided != 0; undecided &= undecided - 1) {  // about once in a warp
      const u32 w = u32(__ffs(int(undecided))) - 1, at = cell(w / 4) + w % 4 * 4;
      store_word(to + at, exact_swiglu(load_word(gates + at), load_word(ups + at)));
    }
  }

  DEVICE void finish_swiglu(const ProductArguments& a, u32 shared, const Tile& tile) {
    const u32 sums = shared + L::at_sums;
    if (a.keeps_operands != 0 && is_elected()) store_sums(a, a.c + 1, sums, tile);
#pragma unroll 1
    for (u32 i = 0; i < consumers * chunks / 2; ++i) {
      const u32 gates = sums + (i / 2 * chunks + i % 2) * box_bytes,
                to = shared + L::at_spare + i % 2 * box_bytes;
      if (is_elected()) wait_stores_read<1>();  // all but what left the other spare box
      sync_finishers();
      box_swiglu(gates, gates + chunks / 2 * box_bytes, to);
      publish_shared();
      sync_finishers();
      if (!is_elected()) continue;
      store_box(a.c[0], to, tile.column + i % 2 * box, tile.row + i / 2 * box);
      end_store_group();
    }
    // The sums left before the results, of which the last two may be on their way.
    if (is_elected()) barrier_arrive_here(shared + L::at_free);
  }

  DEVICE void fetch_inputs(const ProductArguments& a, u32 shared, const Tile& tile, u32 i) {
    const u32 barrier = shared + L::at_inputs, x = tile.column + i % chunks * box,
              y = tile.row + i / chunks * box;
    wait_stores_read<0>();
    barrier_expect(barrier, 2 * box_bytes);
    load_box(shared + L::at_spare, a.in[0], barrier, x, y);
    load_box(shared + L::at_spare + box_bytes, a.in[1], barrier, x, y);
  }

  // In place: gate and up become their gradients, but for words that the exact formulas have to decide.
  DEVICE void box_gradients(u32 sums, u32 gates, u32 ups) {
    u32 undecided = 0;
#pragma unroll 1
    for (u32 i = 0; i < cells_each && cell_index(i) < box_cells; ++i) {
      u32 dy[4], gate[4], up[4];
      load_words(sums + cell(i), dy);
      load_words(gates + cell(i), gate);
      load_words(ups + cell(i), up);
#pragma unroll
      for (u32 w = 0; w < 4; ++w) {
        u32 dgate, dup;
        const bool decided = decide_gradients(gate[w], up[w], dy[w], dgate, dup);
        gate[w] = decided ? dgate : gate[w];
        up[w] = decided ? dup : up[w];
        if (!decided) undecided |= 1u << (4 * i + w);
      }
      store_words(gates + cell(i), gate);
      store_words(ups + cell(i), up);
    }
    for (; undecided != 0; undecided &= undecided - 1) {
      const u32 w = u32(__ffs(int(undecided))) - 1, at = cell(w / 4) + w % 4 * 4;
      u32 dgate, dup;
      exact_gradients(load_word(gates + at), load_word(ups + at), load_word(sums + at), dgate, dup);
      store_word(gates + at, dgate);
      store_word(ups + at, dup);
    }
  }

  DEVICE void finish_gradients(const ProductArguments& a, u32 shared, const Tile& tile, u32& phase) {
    const u32 gates = shared + L::at_spare, ups = gates + box_bytes;
#pragma unroll 1
    for (u32 i = 0; i < consumers * chunks; ++i, phase ^= 1) {
      barrier_wait(shared + L::at_inputs, phase);
      box_gradients(shared + L::at_sums + i * box_bytes, gates, ups);
      publish_shared();
      sync_finishers();
      if (!is_elected()) continue;
      const u32 x = tile.column + i % chunks * box, y = tile.row + i / chunks * box;
      store_box(a.c[0], gates, x, y);
      store_box(a.c[1], ups, x, y);
      end_store_group();
      if (i + 1 < consumers * chunks) fetch_inputs(a, shared, tile, i + 1);
    }
    if (is_elected()) barrier_arrive_here(shared + L::at_free);
  }

  DEVICE void finish(const ProductArguments& a, u32 shared, u32 rank) {
    u32 phase = 0, input_phase = 0;
    const u32 tiles = a.tile_rows * a.tile_columns;
    for (u32 index = blockIdx.x / cluster; index < tiles; index += gridDim.x / cluster, phase ^= 1) {
      const Tile tile = tile_of(a, index, rank);
      if (epilogue == Epilogue::swiglu_backward && is_elected()) fetch_inputs(a, shared, tile, 0);
      barrier_wait(shared + L::at_summed, phase);
      if constexpr (epilogue == Epilogue::swiglu) finish_swiglu(a, shared, tile);
      if constexpr (epilogue == Epilogue::swiglu_backward) finish_gradients(a, shared, tile, input_phase);
      if (epilogue == Epilogue::store && is_elected()) {
        store_sums(a, a.c, shared + L::at_sums, tile);
        wait_stores_read<0>();
        barrier_arrive_here(shared + L::at_free);
      }
    }
    if (is_elected()) wait_stores_read<0>();  // before the shared memory goes
  }

  DEVICE void set_barriers(u32 shared) {
    for (u32 s = 0; s < stages; ++s) {
      barrier_init(shared + L::at_full + s * 8, 1);
      barrier_init(shared + L::at_empty + s * 8, cluster * consumers * team / warp_size);
    }
    barrier_init(shared + L::at_summed, consumers * team / warp_size);
    barrier_init(shared + L::at_free, 1);
    barrier_init(shared + L::at_inputs, 1);
    barriers_are_set();
  }

  DEVICE void run(const ProductArguments& a) {
    const u32 shared = shared_start(), rank = cluster_rank();
    if (threadIdx.x == 0) set_barriers(shared);
    cluster_sync();
    wait_for_previous();
    if (threadIdx.x >= team) {
      consume(a, shared, threadIdx.x / team - 1);
    } else if (threadIdx.x >= warp_size) {
      finish(a, shared, rank);
    } else if (threadIdx.x == 0) {
      produce(a, shared, rank);
    }
    sync_warp();
    cluster_sync();  // no block leaves while the other may still write to it
  }
};

#ifdef SILICA_ENTRY
extern "C" __global__ void __cluster_dims__(cluster, 1, 1) __launch_bounds__(SILICA_THREADS, 1)
    SILICA_ENTRY(const __grid_constant__ SILICA_ARGUMENTS a) {
  SILICA_KERNEL(a);
}
#endif
