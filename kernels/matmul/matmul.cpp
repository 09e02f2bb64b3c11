// SPDX-License-Identifier: MIT
// Matrix multiplication on the CPU. The order of each element's sum is part of the API (docs/exactness.md):
// blocks of 256 along k, in each one chain of fma from +0, block sums added in ascending order. Vectors run
// along n and tiles along m and n, never along k, so neither the instruction set nor the tiling nor the
// threads change a bit.
//
// A group is the work of one register tile of C; the matrices of a batch have theirs one after the other. Per
// block of k, tiles of B are packed as (k, tile_cols) and tiles of A as (k, tile_rows); a column of packed A
// tiles stays in L2 while each B tile, in L1, meets all of them. With fewer rows than repay packing B, the
// transposed product is computed so, its tiles of rows, which are B's columns, read where they are; with
// fewer still the vectors run along B's lines.
#include "kernels/matmul/matmul.h"

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include <unistd.h>

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace silica::kernels::SILICA_ISA {

namespace {

using std::uint64_t;

// In this order.
#include "kernels/matmul/vectors_cpp.h"

#include "kernels/matmul/packing_cpp.h"

#include "kernels/matmul/streams_cpp.h"

// Rows of C up to which B is not packed, where its lines run along k or along n. Of the latter a tile takes
// tile_rows elements each, which has to be most of a cache's line: with AVX-512.
constexpr uint64_t most_unpacked_along_k = 96, most_unpacked_along_n = tile_rows < 12 ? 0 : 32;
constexpr uint64_t rows_to_pack = 20;  // packing B takes as long as to multiply so many rows
// Floats of packed A and sums where B is not packed, for L2 to hold.
constexpr uint64_t unpacked_scratch = 1 << 17;

// ---- one tile of C ----

struct Output {
  float* data;
  uint64_t step;  // from row to row
  uint64_t cols;  // to write, at most tile_cols
  bool first;     // block of k: replaces what is there
};

SILICA_INLINE void prefetch_line(const Output& c, int row) {
  const float* to = c.data + static_cast<uint64_t>(row) * c.step;
  __builtin_prefetch(to, 1);
  __builtin_prefetch(to + c.cols - 1, 1);
}

// Asked once a tile, not once a vector, what is to be done.
template <int rows, int across> SILICA_INLINE void put(const Output& c, const Vector (&sum)[rows][across]) {
  const auto each = [&](const auto& put_one) __attribute__((always_inline)) {
    SILICA_UNROLL
    for (int i = 0; i < rows; ++i) {
      float* const row = c.data + static_cast<uint64_t>(i) * c.step;
      SILICA_UNROLL
      for (uint64_t v = 0; v < across; ++v) put_one(row, v * lanes, sum[i][v]);
    }
  };
  if (c.cols < across * lanes) {
    each([&](float* row, uint64_t col, Vector one) {
      if (col < c.cols) add_block(row + col, one, c.cols - col, c.first);
    });
  } else if (c.first) {
    each([](float* row, uint64_t col, Vector one) { store(row + col, one); });
  } else {
    each([](float* row, uint64_t col, Vector one) { store(row + col, load(row + col) + one); });
  }
}

// The factors of a tile's rows, step by step along k: packed rows of A,
struct Packed {
  static constexpr uint64_t run = block;
  const float* data;
  [[gnu::always_inline]] auto row(int i) const { return factor(data + i); }
  [[gnu::always_inline]] void advance() { data += tile_rows; }
  [[gnu::always_inline]] void prefetch_next_tile() const {}
  // Where B comes from L2, which hardware fetches too late while the other half of the core is busy.
  template <int width> [[gnu::always_inline]] void prefetch_b(const float* b) const {
    if constexpr (b_is_in_l2) {
      SILICA_UNROLL
      for (int i = 0; i < width; i += lanes) __builtin_prefetch(b + 16 * width + i);
    }
  }
};
// or, of the transposed product, columns of B where they are: each along k,
struct AlongK {
  static constexpr uint64_t run = 16;  // steps in a cache's line; then that much of the next tile is fetched
  const float* data;
  uint64_t row_step;
  [[gnu::always_inline]] Vector row(int i) const {
    return broadcast(data[static_cast<uint64_t>(i) * row_step]);
  }
  [[gnu::always_inline]] void advance() { ++data; }
  [[gnu::always_inline]] void prefetch_next_tile() const {
    for (uint64_t i = tile_rows; i < 2 * tile_rows; ++i) __builtin_prefetch(data + i * row_step, 0, 2);
  }
  template <int> [[gnu::always_inline]] void prefetch_b(const float*) const {}
};
// or side by side.
struct AlongRows {
  static constexpr uint64_t run = block;
  const float* data;
  uint64_t k_step;
  [[gnu::always_inline]] Vector row(int i) const { return broadcast(data[i]); }
  [[gnu::always_inline]] void advance() {
    __builtin_prefetch(data + 2 * tile_rows, 0, 2);
    data += k_step;
  }
  [[gnu::always_inline]] void prefetch_next_tile() const {}
  template <int> [[gnu::always_inline]] void prefetch_b(const float*) const {}
};

template <int rows, int across, class A>
[[gnu::noinline]] void multiply(A a, const float* b, uint64_t depth, const Output& c) {
  for (int i = 0; i < rows; ++i) prefetch_line(c, i);
  Vector sum[rows][across] = {};
  for (uint64_t p = 0; p < depth;) {
    a.prefetch_next_tile();
    for (const uint64_t end = least(p + A::run, depth); p < end; ++p, a.advance(), b += across * lanes) {
      a.template prefetch_b<across * lanes>(b);
      Vector x[across];
      SILICA_UNROLL
      for (int v = 0; v < across; ++v) x[v] = load(b + v * lanes);
      SILICA_UNROLL
      for (int i = 0; i < rows; ++i) {
        const auto y = a.row(i);
        SILICA_UNROLL
        for (int v = 0; v < across; ++v) sum[i][v] = fma_vector(y, x[v], sum[i][v]);
      }
    }
  }
  put(c, sum);
}

template <int across, int rows = tile_rows, class A>
SILICA_INLINE void multiply_rows(uint64_t count, A a, const float* b, uint64_t depth, const Output& c) {
  if (count >= rows) {
    multiply<rows, across>(a, b, depth, c);
  } else if constexpr (rows > 1) {
    multiply_rows<across, rows - 1>(count, a, b, depth, c);
  }
}

// ---- many tiles ----

// Tiles [begin, end) of an area of C with all of its rows, numbered along its rows.
struct Area {
  uint64_t x, width;  // columns of tiles
  uint64_t begin, end;
};

// Tiles of tile rows [y, y_end), which fit the packed part of A.
void multiply_rows_of_area(const Problem& problem, const Area& area, uint64_t y, uint64_t y_end, uint64_t p,
                           bool (&packed)[area_cols / tile_cols]) {
  const uint64_t depth = least(block, problem.k - p);
  float* const a = workspace.a();
  float* const b = workspace.b();
  for (uint64_t i = y; i < y_end; ++i) {
    pack<tile_rows>(problem.a, i * tile_rows, p, depth, a + (i - y) * tile_rows * block, 1);
  }
  for (uint64_t j = 0; j < area.width; ++j) {
    const uint64_t col = (area.x + j) * tile_cols;
    float* const tile = b + j * tile_cols * block;
    for (uint64_t i = y; i < y_end; ++i) {
      const uint64_t number = i * area.width + j, row = i * tile_rows;
      if (number < area.begin || number >= area.end) continue;
      if (!packed[j]) {
        uint64_t t = 0;
        while (t < pack_tiles && j + t < area.width && !packed[j + t]) packed[j + t++] = true;
        pack<tile_cols>(problem.b, col, p, depth, tile, t);
      }
      const Output c{problem.c + row * problem.n + col, problem.n, least(tile_cols, problem.n - col), p == 0};
      multiply_rows<vectors>(problem.m - row, Packed{a + (i - y) * tile_rows * block}, tile, depth, c);
    }
  }
}

void multiply_area(const Problem& problem, const Area& area) {
  const uint64_t y_begin = area.begin / area.width, y_end = ceil_div(area.end, area.width);
  for (uint64_t p = 0; p < problem.k; p += block) {
    bool packed[area_cols / tile_cols] = {};
    for (uint64_t y = y_begin; y < y_end; y += area_rows / tile_rows) {
      multiply_rows_of_area(problem, area, y, least(y_end, y + area_rows / tile_rows), p, packed);
    }
  }
}

// Columns of C: as many as let the packed part of B be half of the second-level cache.
uint64_t widest_area() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const bool is_large = ::sysconf(_SC_LEVEL2_CACHE_SIZE) >= long{8 * block * area_cols};
  if (is_large) return area_cols;
#endif
  return area_cols / 2;
}

// Tiles are numbered strip by strip, along the rows of a strip. The strips are narrower than the matrix is
// tall, so that any contiguous share of the tiles is compact and both packings pay.
void multiply_tiles(const Problem& problem, uint64_t begin, uint64_t end) {
  const uint64_t height = ceil_div(problem.m, tile_rows), width = ceil_div(problem.n, tile_cols);
  const uint64_t widest = widest_area() / tile_cols;
  uint64_t strip = 1;
  while (strip < widest && 4 * strip * tile_cols < problem.m) strip *= 2;
  while (begin < end) {
    const uint64_t x = begin / (strip * height) * strip, start = x * height;
    Area area{x, least(strip, width - x), begin - start, 0};
    if (begin == start) {  // take several whole strips together
      const uint64_t whole = end == width * height ? width - x : (end - start) / (strip * height) * strip;
      if (whole > strip) {
        const uint64_t even = ceil_div(whole, ceil_div(whole, widest));
        area.width = least(ceil_div(even, strip) * strip, width - x);
      }
    }
    area.end = least(end - start, area.width * height);
    multiply_area(problem, area);
    begin = start + area.end;
  }
}

// ---- some rows: the transposed product, whose sums (columns, rows) stay in cache until all of k is added

// Sums of columns of C from `begin` on become lines of it.
void store_transposed(const Operand& sums, const Problem& problem, uint64_t begin) {
  for (uint64_t i = 0; i < sums.rows; i += lanes) {
    const Rows<lanes> columns(sums, i);
    for (uint64_t j = 0; j < problem.m; j += lanes) {
      Vector line[lanes];
      columns.load_transposed(j, sums.row_step, line);
      SILICA_UNROLL
      for (uint64_t l = 0; l < lanes; ++l) {
        if (j + l < problem.m)
          store_some(problem.c + (j + l) * problem.n + begin + i, line[l], sums.rows - i);
      }
    }
  }
}

// Columns [begin, end) of C, `across` vectors of its rows at a time.
template <int across> void multiply_columns(const Problem& problem, uint64_t begin, uint64_t end) {
  constexpr uint64_t width = across * lanes;
  const uint64_t step = ceil_div(problem.m, width) * width;
  const uint64_t most = (unpacked_scratch / step - block) / tile_rows * tile_rows;
  static_assert(unpacked_scratch <= Workspace::b_size &&
                unpacked_scratch / (most_unpacked_along_k + width) > block + tile_rows);
  float* const packed_a = workspace.b();  // as B is not packed
  float* const sums = packed_a + step * block;
  for (; begin < end; begin += most) {
    const uint64_t columns = least(most, end - begin);
    for (uint64_t p = 0; p < problem.k; p += block) {
      const uint64_t depth = least(block, problem.k - p);
      pack<width>(problem.a, 0, p, depth, packed_a, step / width);
      for (uint64_t i = 0; i < columns; i += tile_rows) {
        const float* const b = problem.b.at(begin + i, p);
        for (uint64_t j = 0; j < step; j += width) {
          const Output c{sums + i * step + j, step, width, p == 0};
          if (problem.b.k_step == 1)
            multiply_rows<across>(columns - i, AlongK{b, problem.b.row_step}, packed_a + j * block, depth, c);
          else
            multiply_rows<across>(columns - i, AlongRows{b, problem.b.k_step}, packed_a + j * block, depth,
                                  c);
        }
      }
    }
    store_transposed({sums, columns, step, 1}, problem, begin);
  }
}

// Packing B is worth while where there are many rows, or those that fill up a tile are as many as it costs.
bool repays_packing(const Problem& problem) {
  const uint64_t m = problem.m, padded = m <= lanes ? m : ceil_div(m, tile_cols) * tile_cols;
  return m > (problem.b.k_step == 1 ? most_unpacked_along_k : most_unpacked_along_n) ||
         padded - m > rows_to_pack;
}

void multiply_any(const Problem& problem, uint64_t begin, uint64_t end) {
  // Transposed lines want registers, of which there are as many as lanes or more.
  const bool streams = problem.m <= (problem.b.k_step == 1 ? lanes / 2 : stream_rows);
  if (!streams && repays_packing(problem)) return multiply_tiles(problem, begin, end);
  const uint64_t height = ceil_div(problem.m, tile_rows);
  if (streams) {  // whole columns of tiles are shared out
    stream_rows_of<>(problem, begin / height * tile_cols, least(end / height * tile_cols, problem.n));
    return;
  }
  // Columns are shared out by fours, so that many threads have some where there are few columns of tiles.
  const uint64_t groups = height * ceil_div(problem.n, tile_cols);
  const auto column = [&](uint64_t group) {
    const uint64_t whole = problem.n / groups * group, rest = problem.n % groups * group / groups;
    return group == groups ? problem.n : (whole + rest) / 4 * 4;
  };
  if (problem.m <= lanes)
    multiply_columns<1>(problem, column(begin), column(end));
  else
    multiply_columns<vectors>(problem, column(begin), column(end));
}

MatmulArguments matrix_of(const MatmulArguments& batch, uint64_t matrix) {
  MatmulArguments one = batch;
  one.a += matrix * batch.m * batch.k;
  one.b += matrix * batch.k * batch.n;
  one.c += matrix * batch.m * batch.n;
  return one;
}

// Groups [begin, end) of one matrix.
void multiply_matrix(const MatmulArguments& args, uint64_t begin, uint64_t end) {
  const Operand a{args.a, args.m, args.transpose_a ? 1 : args.k, args.transpose_a ? args.m : 1};
  const Operand b{args.b, args.n, args.transpose_b ? args.k : 1, args.transpose_b ? 1 : args.n};
  const uint64_t m = args.m, n = args.n, k = args.k;
  if (n == 1) {  // C is a line either way, so the vectors can run along its rows
    const uint64_t first = begin * tile_rows, last = least(end * tile_rows, m);
    const Operand rows{a.at(first, 0), last - first, a.row_step, a.k_step};
    multiply_any({b, rows, args.c + first, 1, last - first, k}, 0, ceil_div(last - first, tile_cols));
  } else {
    multiply_any({a, b, args.c, m, n, k}, begin, end);
  }
}

void matmul_f32(const void* arguments, Groups groups) {
  const auto& batch = *static_cast<const MatmulArguments*>(arguments);
  const uint64_t of_matrix = ceil_div(batch.m, tile_rows) * ceil_div(batch.n, tile_cols);
  while (groups.begin < groups.end) {
    const uint64_t matrix = groups.begin / of_matrix, start = matrix * of_matrix;
    const uint64_t end = least(groups.end, start + of_matrix);
    multiply_matrix(matrix_of(batch, matrix), groups.begin - start, end - start);
    groups.begin = end;
  }
}

}  // namespace

void matmul_kernels(Sink& sink) { sink.add("matmul.matmul.f32", matmul_f32, Tile{tile_cols, tile_rows, 1}); }

}  // namespace silica::kernels::SILICA_ISA
