// SPDX-License-Identifier: MIT
// A product's operands and tiles, and their packing, in C++. No include guard: it comes after vectors_cpp.h
// in the namespace of an instruction set.

constexpr int vectors = 2;  // in a row of a tile
constexpr int tile_cols = vectors * lanes;
constexpr uint64_t block = 256;       // of k
constexpr uint64_t area_cols = 1024;  // bounds the packed part of B
constexpr uint64_t pack_tiles = 4;    // of B at a time

// An operand, seen as rows (of op(A), or columns of op(B)) by k. One of the steps is 1.
struct Operand {
  const float* data;
  uint64_t rows, row_step, k_step;
  const float* at(uint64_t row, uint64_t p) const { return data + row * row_step + p * k_step; }
};

struct Problem {
  Operand a, b;
  float* c;  // (m, n)
  uint64_t m, n, k;
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

// ---- packing: `width` rows by `depth` of k become (depth, width), with anything past the last row ----

// Of the units of (x, y) within each span of lanes the even ones, and the odd ones; a unit has `size` lanes.
template <int size, int span, std::size_t... lane>
SILICA_INLINE void deal(Vector& x, Vector& y, std::index_sequence<lane...>) {
  constexpr auto from = [](std::size_t to, std::size_t odd) {
    constexpr std::size_t units = span / size;
    const std::size_t unit = to % span / size * 2 + odd;
    return static_cast<int>(unit / units * lanes + to / span * span + unit % units * size + to % size);
  };
  const Vector even = __builtin_shufflevector(x, y, from(lane, 0)...);
  y = __builtin_shufflevector(x, y, from(lane, 1)...);
  x = even;
}

// Vectors x[0], x[step], ..., as many as a span has units: their units are transposed.
template <int size, int span, int step> SILICA_INLINE void transpose_units(Vector* x) {
  constexpr auto all = std::make_index_sequence<lanes>();
  deal<size, span>(x[0], x[step], all);
  if constexpr (span / size == 4) {
    deal<size, span>(x[2 * step], x[3 * step], all);
    deal<size, span>(x[0], x[2 * step], all);
    deal<size, span>(x[step], x[3 * step], all);
  }
}

// First within 128 bits, then units of 128 bits: one instruction each.
SILICA_INLINE void transpose(Vector (&x)[lanes]) {
  SILICA_UNROLL
  for (int i = 0; i < lanes; i += 4) transpose_units<1, 4, 1>(x + i);
  if constexpr (lanes > 4) {
    SILICA_UNROLL
    for (int i = 0; i < 4; ++i) transpose_units<4, lanes, 4>(x + i);
  }
}

// `count` rows that are contiguous in k; past the operand's last row, the last again.
template <int count> struct Rows {
  const float* row[count];
  Rows(const Operand& x, uint64_t first) {
    for (uint64_t i = 0; i < count; ++i) row[i] = x.at(least(first + i, x.rows - 1), 0);
  }
  // x[i] becomes element p + i of every row. Returns how many of them there are before p_end. Many rows are
  // more than some hardware follows.
  [[gnu::always_inline]] uint64_t load_transposed(uint64_t p, uint64_t p_end, Vector (&x)[lanes]) const {
    SILICA_UNROLL
    for (uint64_t i = count; i < lanes; ++i) x[i] = Vector{};
    if (p + lanes <= p_end) {
      SILICA_UNROLL
      for (uint64_t i = 0; i < count; ++i) {
        x[i] = load(row[i] + p);
        __builtin_prefetch(row[i] + p + 64, 0, 3);
      }
    } else {
      float part[count][lanes] = {};
      for (uint64_t i = 0; i < count; ++i) copy_some(part[i], row[i] + p, p_end - p);
      SILICA_UNROLL
      for (uint64_t i = 0; i < count; ++i) x[i] = load(part[i]);
    }
    transpose(x);
    return least(lanes, p_end - p);
  }
};

// Writes whole vectors: what they spill into the next line of `to` comes before that line.
template <int width>
[[gnu::noinline]] void pack_transposed(const Operand& from, uint64_t row, uint64_t p, uint64_t depth,
                                       float* to) {
  for (uint64_t i = 0; i < width; i += lanes) {
    const Rows<least(lanes, width)> rows(from, least(row + i, from.rows - 1));
    for (uint64_t q = 0; q < depth; q += lanes) {
      Vector x[lanes];
      const uint64_t steps = rows.load_transposed(p + q, p + depth, x);
      SILICA_UNROLL
      for (uint64_t j = 0; j < lanes; ++j) {
        if (j < steps) store(to + (q + j) * width + i, x[j]);
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
