// SPDX-License-Identifier: MIT
// A product of so few rows that B is read once, in the order of memory, in C++. No include guard: it comes
// after packing_cpp.h in the namespace of an instruction set.

constexpr int stream_rows = 8;        // of C: up to here vectors run along B's lines
constexpr uint64_t long_line = 4096;  // of B: parts of such lines are far apart, so the next are prefetched
constexpr int cache_line = 16;        // floats

// Adds columns of A times lines of B, [p, p + lines) of k, to sums (rows, step).
template <int rows, int lines, bool is_long>
void add_lines(const Problem& problem, uint64_t p, uint64_t col, uint64_t cols, float* sums, uint64_t step) {
  float a[rows][lines];
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t l = 0; l < lines; ++l) a[i][l] = *problem.a.at(i, p + l);
  }
  for (uint64_t j = 0; j < cols; j += lanes) {
    Vector x[lines];
    SILICA_UNROLL
    for (uint64_t l = 0; l < lines; ++l) {
      x[l] = load_some(problem.b.at(col + j, p + l), cols - j);
      if constexpr (is_long) __builtin_prefetch(problem.b.at(col + j, p + l + lines), 0, 2);
    }
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
template <int rows, bool is_long> void stream_lines(const Problem& problem, uint64_t begin, uint64_t end) {
  constexpr uint64_t step = 4096 / rows / lanes * lanes;
  constexpr uint64_t lines = rows == 1 ? 8 : 4;
  for (; begin < end; begin += step) {
    const uint64_t cols = least(step, end - begin);
    for (uint64_t p = 0; p < problem.k;) {
      alignas(64) float sums[rows * step] = {};
      const bool first = p == 0;
      const uint64_t p_end = least(p + block, problem.k);
      for (; p + lines <= p_end; p += lines)
        add_lines<rows, lines, is_long>(problem, p, begin, cols, sums, step);
      for (; p < p_end; ++p) add_lines<rows, 1, is_long>(problem, p, begin, cols, sums, step);
      for (uint64_t i = 0; i < rows; ++i) {
        float* const c = problem.c + i * problem.n + begin;
        for (uint64_t j = 0; j < cols; j += lanes)
          add_block(c + j, load(sums + i * step + j), cols - j, first);
      }
    }
  }
}

// Vectors of columns in progress, as one chain of fma would wait for itself. The lines of more would be too
// many for the ways of a cache's set.
template <int rows> constexpr int chains = lanes < 16 && rows <= 2 ? 2 : 1;

// Whether hardware fetches ahead of many lines that are read side by side.
bool follows_many_lines() {
#if defined(__x86_64__)
  static const bool is_amd = __builtin_cpu_is("amd");
  return is_amd;
#else
  return false;
#endif
}

// Adds columns of B along k, which are transposed in registers, a line of cache each at a time; [p, p_end)
// is whole lines, and A's rows run along k too.
template <int rows>
SILICA_INLINE void add_whole(const Problem& problem, uint64_t col, uint64_t p, uint64_t p_end,
                             Vector (&sums)[chains<rows>][rows]) {
  const bool prefetch = !follows_many_lines();
  const uint64_t step = problem.b.row_step, step3 = 3 * step;
  const float* a[rows];
  for (uint64_t i = 0; i < rows; ++i) a[i] = problem.a.at(i, p);
  const float* b[chains<rows>];
  for (uint64_t g = 0; g < chains<rows>; ++g) b[g] = problem.b.at(col + g * lanes, p);
  for (const float* const end = a[0] + (p_end - p); a[0] < end;) {
    SILICA_UNROLL
    for (int g = 0; g < chains<rows>; ++g) {
      SILICA_UNROLL
      for (int part = 0; part < cache_line; part += lanes) {
        Vector x[lanes];
        SILICA_UNROLL
        for (uint64_t i = 0; i < lanes; i += 4) {
          const float* const from = b[g] + i * step + part;
          x[i] = load(from);
          x[i + 1] = load(from + step);
          x[i + 2] = load(from + 2 * step);
          x[i + 3] = load(from + step3);
          if (prefetch && part == 0) {
            __builtin_prefetch(from + 4 * cache_line, 0, 3);
            __builtin_prefetch(from + step + 4 * cache_line, 0, 3);
            __builtin_prefetch(from + 2 * step + 4 * cache_line, 0, 3);
            __builtin_prefetch(from + step3 + 4 * cache_line, 0, 3);
          }
        }
        transpose(x);
        SILICA_UNROLL
        for (int l = 0; l < lanes; ++l) {
          SILICA_UNROLL
          for (int i = 0; i < rows; ++i) sums[g][i] = fma_vector(broadcast(a[i][part + l]), x[l], sums[g][i]);
        }
      }
      b[g] += cache_line;
    }
    for (int i = 0; i < rows; ++i) a[i] += cache_line;
  }
}

// The same for any columns and any part of k.
template <int rows>
void add_rest(const Problem& problem, uint64_t col, uint64_t p, uint64_t p_end, Vector (&sums)[rows]) {
  const Rows<lanes> b(problem.b, col);
  while (p < p_end) {
    Vector x[lanes];
    const uint64_t depth = b.load_transposed(p, p_end, x);
    for (uint64_t l = 0; l < depth; ++l) {
      for (uint64_t i = 0; i < rows; ++i)
        sums[i] = fma_vector(broadcast(*problem.a.at(i, p + l)), x[l], sums[i]);
    }
    p += depth;
  }
}

// Columns [begin, end) of C where B's lines run along k.
template <int rows> void stream_transposed(const Problem& problem, uint64_t begin, uint64_t end) {
  constexpr uint64_t cols = chains<rows> * lanes;
  for (; begin < end; begin += cols) {
    const bool whole = begin + cols <= problem.n && problem.a.k_step == 1;
    for (uint64_t p = 0; p < problem.k; p += block) {
      const uint64_t p_end = least(p + block, problem.k), rest = whole ? p_end - (p_end - p) % cache_line : p;
      Vector sums[chains<rows>][rows] = {};
      if (p < rest) add_whole<rows>(problem, begin, p, rest, sums);
      SILICA_UNROLL
      for (uint64_t g = 0; g < chains<rows>; ++g) {
        const uint64_t col = begin + g * lanes;
        if (col >= end) break;
        if (rest < p_end) add_rest<rows>(problem, col, rest, p_end, sums[g]);
        SILICA_UNROLL
        for (uint64_t i = 0; i < rows; ++i)
          add_block(problem.c + i * problem.n + col, sums[g][i], end - col, p == 0);
      }
    }
  }
}

template <int rows = stream_rows> void stream_rows_of(const Problem& problem, uint64_t begin, uint64_t end) {
  if (problem.m == rows) {
    if (problem.b.k_step == 1)
      stream_transposed<rows>(problem, begin, end);
    else if (problem.n >= long_line)
      stream_lines<rows, true>(problem, begin, end);
    else
      stream_lines<rows, false>(problem, begin, end);
  } else if constexpr (rows > 1) {
    stream_rows_of<rows - 1>(problem, begin, end);
  }
}
