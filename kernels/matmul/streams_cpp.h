// SPDX-License-Identifier: MIT
// A product of so few rows that B is read once, in the order of memory, in C++. No include guard: it comes
// after packing_cpp.h in the namespace of an instruction set.

constexpr int stream_rows = 8;        // of C: up to here vectors run along B's lines
constexpr uint64_t long_line = 4096;  // of B: parts of such lines are far apart, so the next are prefetched

// Adds columns of A times lines of B, [p, p + lines) of k, to sums (rows, step).
template <int rows, int lines>
void add_lines(const Problem& problem, uint64_t p, uint64_t col, uint64_t cols, float* sums, uint64_t step) {
  float a[rows][lines];
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t l = 0; l < lines; ++l) a[i][l] = *problem.a.at(i, p + l);
  }
  const bool is_long = problem.n >= long_line;
  for (uint64_t j = 0; j < cols; j += lanes) {
    Vector x[lines];
    SILICA_UNROLL
    for (uint64_t l = 0; l < lines; ++l) {
      x[l] = load_some(problem.b.at(col + j, p + l), cols - j);
      if (is_long) __builtin_prefetch(problem.b.at(col + j, p + l + lines), 0, 2);
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
    const Rows<lanes> b(problem.b, begin);
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
