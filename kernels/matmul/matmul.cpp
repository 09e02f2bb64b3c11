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

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SILICA_UNROLL  // or compiling takes minutes
#elif defined(__clang__)
#define SILICA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SILICA_UNROLL _Pragma("GCC unroll 16")
#endif

namespace silica::kernels::SILICA_ISA {

namespace {

using std::uint64_t;

// What differs between instruction sets. tile_rows is what the registers hold; area_rows and area_cols bound
// the packed parts of A and B. With AVX-512 a tile of A stays in L1 and B in L2; narrower tiles of B fit L1,
// so there a tile of B stays in L1, A in L2, and B in L3.
#if defined(__AVX512F__)
constexpr int lanes = 16, tile_rows = 12;
constexpr uint64_t area_rows = 12;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int lanes = 8, tile_rows = 6;
constexpr uint64_t area_rows = 96;
#elif defined(__aarch64__)
constexpr int lanes = 4, tile_rows = 8;
constexpr uint64_t area_rows = 96;
#else
constexpr int lanes = 4, tile_rows = 4;
constexpr uint64_t area_rows = 96;
#endif
// Rows of C up to which B is not packed, where its lines run along k or along n. Of the latter a tile takes
// tile_rows elements each, which has to be most of a cache's line: with AVX-512.
constexpr uint64_t most_unpacked_along_k = 96, most_unpacked_along_n = tile_rows < 12 ? 0 : 32;
constexpr uint64_t rows_to_pack = 20;  // packing B takes as long as to multiply so many rows

constexpr int vectors = 2;  // in a row of a tile
constexpr int tile_cols = vectors * lanes;
constexpr uint64_t block = 256;  // of k
constexpr uint64_t area_cols = 512;
constexpr int stream_rows = 8;      // of C: up to here vectors run along B's lines
constexpr uint64_t pack_tiles = 4;  // of B at a time

typedef float Vector __attribute__((vector_size(lanes * sizeof(float))));
typedef float Unaligned __attribute__((vector_size(lanes * sizeof(float)), aligned(4), may_alias));

SILICA_INLINE Vector load(const float* x) { return *reinterpret_cast<const Unaligned*>(x); }
SILICA_INLINE void store(float* x, Vector v) { *reinterpret_cast<Unaligned*>(x) = v; }

#if defined(__AVX512F__)
SILICA_INLINE Vector broadcast(float x) { return _mm512_set1_ps(x); }
SILICA_INLINE Vector fma_vector(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__) && defined(__FMA__)
SILICA_INLINE Vector broadcast(float x) { return _mm256_set1_ps(x); }
SILICA_INLINE Vector fma_vector(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
#elif defined(__aarch64__)
SILICA_INLINE Vector broadcast(float x) { return vdupq_n_f32(x); }
SILICA_INLINE Vector fma_vector(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
#else
SILICA_INLINE Vector broadcast(float x) { return Vector{x, x, x, x}; }
SILICA_INLINE Vector fma_vector(Vector a, Vector b, Vector c) {
  return Vector{fma_(a[0], b[0], c[0]), fma_(a[1], b[1], c[1]), fma_(a[2], b[2], c[2]),
                fma_(a[3], b[3], c[3])};
}
#endif

constexpr uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
constexpr uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// Out of line, since edges are many and rare.
[[gnu::noinline]] void copy_some(float* to, const float* from, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) to[i] = from[i];
}

// The first `count` lanes, or all if there are fewer.
SILICA_INLINE Vector load_some(const float* x, uint64_t count) {
  if (count >= lanes) return load(x);
  float line[lanes] = {};
  copy_some(line, x, count);
  return load(line);
}

SILICA_INLINE void store_some(float* x, Vector v, uint64_t count) {
  if (count >= lanes) return store(x, v);
  float line[lanes];
  store(line, v);
  copy_some(x, line, count);
}

// Adds a block's sum to C; the first block's replaces what is there.
SILICA_INLINE void add_block(float* c, Vector sum, uint64_t count, bool first) {
  store_some(c, first ? sum : load_some(c, count) + sum, count);
}

// An operand, seen as rows (of op(A), or columns of op(B)) by k. One of the steps is 1.
struct Operand {
  const float* data;
  uint64_t rows, row_step, k_step;
  const float* at(uint64_t row, uint64_t p) const { return data + row * row_step + p * k_step; }
};

// Per thread: the packed parts of A and B.
class Workspace {
 public:
  static constexpr std::size_t a_size =
      block * area_rows + lanes;  // packing may write past a tile's last row
  static constexpr std::size_t b_size = block * area_cols;
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    if (data_) ::operator delete(data_, std::align_val_t{4096});
  }
  float* b() {
    if (!data_)
      data_ = static_cast<float*>(::operator new((b_size + a_size) * sizeof(float), std::align_val_t{4096}));
    return data_;
  }
  float* a() { return b() + b_size; }

 private:
  float* data_ = nullptr;
};

thread_local Workspace workspace;

// ---- packing: `count` rows by `depth` of k become (depth, width), missing rows zero ----

// Swaps the off-diagonal blocks of size step: one of the log2(lanes) stages of a transposition.
template <int step, std::size_t... lane>
SILICA_INLINE void exchange(Vector& x, Vector& y, std::index_sequence<lane...>) {
  const Vector low = __builtin_shufflevector(x, y, (lane & step ? lanes + lane - step : lane)...);
  y = __builtin_shufflevector(x, y, (lane & step ? lanes + lane : lane + step)...);
  x = low;
}

template <int step> SILICA_INLINE void transpose(Vector (&x)[lanes]) {
  SILICA_UNROLL
  for (int i = 0; i < lanes; ++i) {
    if (!(i & step)) exchange<step>(x[i], x[i + step], std::make_index_sequence<lanes>());
  }
  if constexpr (step > 1) transpose<step / 2>(x);
}

// `lanes` rows that are contiguous in k; past the operand's last row, the last again.
struct Rows {
  const float* row[lanes];
  Rows(const Operand& x, uint64_t first) {
    for (uint64_t i = 0; i < lanes; ++i) row[i] = x.at(least(first + i, x.rows - 1), 0);
  }
  // x[i] becomes element p + i of every row. Returns how many of them there are before p_end. Many rows are
  // more than hardware prefetching follows.
  [[gnu::always_inline]] uint64_t load_transposed(uint64_t p, uint64_t p_end, Vector (&x)[lanes]) const {
    if (p + lanes <= p_end) {
      SILICA_UNROLL
      for (uint64_t i = 0; i < lanes; ++i) {
        x[i] = load(row[i] + p);
        __builtin_prefetch(row[i] + p + 64, 0, 3);
      }
    } else {
      float part[lanes][lanes] = {};
      for (uint64_t i = 0; i < lanes; ++i) copy_some(part[i], row[i] + p, p_end - p);
      SILICA_UNROLL
      for (uint64_t i = 0; i < lanes; ++i) x[i] = load(part[i]);
    }
    transpose<lanes / 2>(x);
    return least(lanes, p_end - p);
  }
};

// Writes whole vectors: what they spill into the next line of `to` comes before that line.
template <int width>
[[gnu::noinline]] void pack_transposed(const Operand& from, uint64_t row, uint64_t p, uint64_t depth,
                                       float* to) {
  for (uint64_t i = 0; i < width; i += lanes) {
    const Rows rows(from, least(row + i, from.rows - 1));
    for (uint64_t q = 0; q < depth; q += lanes) {
      Vector x[lanes];
      const uint64_t count = rows.load_transposed(p + q, p + depth, x);
      SILICA_UNROLL
      for (uint64_t j = 0; j < lanes; ++j) {
        if (j < count) store(to + (q + j) * width + i, x[j]);
      }
    }
  }
}

// Lines of k are contiguous in the rows. Several tiles at a time, because one tile's share of a line is
// short.
template <int width>
[[gnu::noinline]] void pack_lines(const Operand& from, uint64_t row, uint64_t p, uint64_t depth, float* to,
                                  uint64_t tiles) {
  for (uint64_t q = 0; q < depth; ++q, to += width) {
    const float* const line = from.at(row, p + q);
    for (uint64_t i = 0; i < tiles * width; i += 16) __builtin_prefetch(line + 8 * from.k_step + i);
    for (uint64_t t = 0; t < tiles; ++t) {
      const uint64_t count = from.rows - row - t * width;
      float* const tile = to + t * width * block;
      if (count >= width) {
        __builtin_memcpy(tile, line + t * width, width * sizeof(float));
      } else {
        for (uint64_t i = 0; i < width; ++i) tile[i] = i < count ? line[t * width + i] : 0.0f;
      }
    }
  }
}

template <int width>
void pack(const Operand& from, uint64_t row, uint64_t p, uint64_t depth, float* to, uint64_t tiles) {
  if (from.k_step != 1) return pack_lines<width>(from, row, p, depth, to, tiles);
  for (uint64_t t = 0; t < tiles; ++t)
    pack_transposed<width>(from, row + t * width, p, depth, to + t * width * block);
}

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

template <int across> SILICA_INLINE void put(const Output& c, int row, const Vector (&sum)[across]) {
  float* const to = c.data + static_cast<uint64_t>(row) * c.step;
  SILICA_UNROLL
  for (uint64_t v = 0; v < across; ++v) {
    if (v * lanes < c.cols) add_block(to + v * lanes, sum[v], c.cols - v * lanes, c.first);
  }
}

// What is broadcast to a tile's rows, step by step along k: packed rows of A,
struct Packed {
  static constexpr uint64_t run = block;
  const float* data;
  [[gnu::always_inline]] float row(int i) const { return data[i]; }
  [[gnu::always_inline]] void advance() { data += tile_rows; }
  [[gnu::always_inline]] void prefetch_next_tile() const {}
};
// or, of the transposed product, columns of B where they are: each along k,
struct AlongK {
  static constexpr uint64_t run = 16;  // steps in a cache's line; then that much of the next tile is fetched
  const float* data;
  uint64_t row_step;
  [[gnu::always_inline]] float row(int i) const { return data[static_cast<uint64_t>(i) * row_step]; }
  [[gnu::always_inline]] void advance() { ++data; }
  [[gnu::always_inline]] void prefetch_next_tile() const {
    for (uint64_t i = tile_rows; i < 2 * tile_rows; ++i) __builtin_prefetch(data + i * row_step, 0, 2);
  }
};
// or side by side.
struct AlongRows {
  static constexpr uint64_t run = block;
  const float* data;
  uint64_t k_step;
  [[gnu::always_inline]] float row(int i) const { return data[i]; }
  [[gnu::always_inline]] void advance() {
    __builtin_prefetch(data + 2 * tile_rows, 0, 2);
    data += k_step;
  }
  [[gnu::always_inline]] void prefetch_next_tile() const {}
};

template <int rows, int across, class A>
[[gnu::noinline]] void multiply(A a, const float* b, uint64_t depth, const Output& c) {
  for (int i = 0; i < rows; ++i) prefetch_line(c, i);
  Vector sum[rows][across] = {};
  for (uint64_t p = 0; p < depth;) {
    a.prefetch_next_tile();
    for (const uint64_t end = least(p + A::run, depth); p < end; ++p, a.advance(), b += across * lanes) {
      Vector x[across];
      SILICA_UNROLL
      for (int v = 0; v < across; ++v) x[v] = load(b + v * lanes);
      SILICA_UNROLL
      for (int i = 0; i < rows; ++i) {
        const Vector y = broadcast(a.row(i));
        SILICA_UNROLL
        for (int v = 0; v < across; ++v) sum[i][v] = fma_vector(y, x[v], sum[i][v]);
      }
    }
  }
  SILICA_UNROLL
  for (int i = 0; i < rows; ++i) put(c, i, sum[i]);
}

template <int across, int rows = tile_rows, class A>
SILICA_INLINE void multiply_rows(uint64_t count, A a, const float* b, uint64_t depth, const Output& c) {
  if (count >= rows) {
    multiply<rows, across>(a, b, depth, c);
  } else if constexpr (rows > 1) {
    multiply_rows<across, rows - 1>(count, a, b, depth, c);
  }
}

struct Problem {
  Operand a, b;
  float* c;  // (m, n)
  uint64_t m, n, k;
};

// ---- few rows: B is read once, in the order of memory, and not packed ----

// Adds columns of A times lines of B, [p, p + lines) of k, to sums (rows, step).
template <int rows, int lines>
void add_lines(const Problem& problem, uint64_t p, uint64_t col, uint64_t cols, float* sums, uint64_t step) {
  float a[rows][lines];
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t l = 0; l < lines; ++l) a[i][l] = *problem.a.at(i, p + l);
  }
  for (uint64_t j = 0; j < cols; j += lanes) {
    Vector x[lines];
    SILICA_UNROLL
    for (uint64_t l = 0; l < lines; ++l) x[l] = load_some(problem.b.at(col + j, p + l), cols - j);
    SILICA_UNROLL
    for (uint64_t i = 0; i < rows; ++i) {
      Vector sum = load(sums + i * step + j);
      SILICA_UNROLL
      for (uint64_t l = 0; l < lines; ++l) sum = fma_vector(broadcast(a[i][l]), x[l], sum);
      store(sums + i * step + j, sum);
    }
  }
}

// Columns [begin, end) of C where B's lines run along n. The sums of a block stay in L1.
template <int rows> void stream_lines(const Problem& problem, uint64_t begin, uint64_t end) {
  constexpr uint64_t step = 4096 / rows / lanes * lanes, lines = 4;
  for (; begin < end; begin += step) {
    const uint64_t cols = least(step, end - begin);
    for (uint64_t p = 0; p < problem.k;) {
      alignas(64) float sums[rows * step] = {};
      const bool first = p == 0;
      const uint64_t p_end = least(p + block, problem.k);
      for (; p + lines <= p_end; p += lines) add_lines<rows, lines>(problem, p, begin, cols, sums, step);
      for (; p < p_end; ++p) add_lines<rows, 1>(problem, p, begin, cols, sums, step);
      for (uint64_t i = 0; i < rows; ++i) {
        float* const c = problem.c + i * problem.n + begin;
        for (uint64_t j = 0; j < cols; j += lanes)
          add_block(c + j, load(sums + i * step + j), cols - j, first);
      }
    }
  }
}

template <int rows>
SILICA_INLINE void add_column(const Problem& problem, uint64_t p, Vector x, Vector (&sums)[rows]) {
  SILICA_UNROLL
  for (uint64_t i = 0; i < rows; ++i) sums[i] = fma_vector(broadcast(*problem.a.at(i, p)), x, sums[i]);
}

// The same where they run along k: whole vectors of k are transposed in registers.
template <int rows> void stream_transposed(const Problem& problem, uint64_t begin, uint64_t end) {
  for (; begin < end; begin += lanes) {
    const Rows b(problem.b, begin);
    for (uint64_t p = 0; p < problem.k;) {
      Vector sums[rows] = {};
      const bool first = p == 0;
      for (const uint64_t p_end = least(p + block, problem.k); p < p_end;) {
        Vector x[lanes];
        const uint64_t depth = b.load_transposed(p, p_end, x);
        SILICA_UNROLL
        for (uint64_t l = 0; l < lanes; ++l) {
          if (l < depth) add_column<rows>(problem, p + l, x[l], sums);
        }
        p += depth;
      }
      for (uint64_t i = 0; i < rows; ++i)
        add_block(problem.c + i * problem.n + begin, sums[i], end - begin, first);
    }
  }
}

template <int rows = stream_rows> void stream_rows_of(const Problem& problem, uint64_t begin, uint64_t end) {
  if (problem.m == rows) {
    problem.b.k_step == 1 ? stream_transposed<rows>(problem, begin, end)
                          : stream_lines<rows>(problem, begin, end);
  } else if constexpr (rows > 1) {
    stream_rows_of<rows - 1>(problem, begin, end);
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

// Tiles are numbered strip by strip, along the rows of a strip. The strips are narrower than the matrix is
// tall, so that any contiguous share of the tiles is compact and both packings pay.
void multiply_tiles(const Problem& problem, uint64_t begin, uint64_t end) {
  const uint64_t height = ceil_div(problem.m, tile_rows), width = ceil_div(problem.n, tile_cols);
  constexpr uint64_t widest = area_cols / tile_cols;
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
    const Rows columns(sums, i);
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
  const uint64_t most = (Workspace::b_size / step - block) / tile_rows * tile_rows;
  static_assert(Workspace::b_size / (most_unpacked_along_k + width) > block + tile_rows);
  float* const packed_a = workspace.b();
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
