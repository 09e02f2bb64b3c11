// SPDX-License-Identifier: MIT
// Products of up to 4 rows with b as it is, whose time is that of reading b. A lane has the columns of 16
// bytes and a block of k at a time. Eight lanes beside each other read lines of 128 bytes; the others of a
// block of threads have other blocks of k, or of two factors, the weights of a gate and of what it gates, the
// other one; then c = swiglu of both products.

// wide, wide_a: runs of 16 bytes of b's lines, and of a's, are aligned and lie inside or outside as a whole.
template <class T, u32 factors, u32 rows, u32 warps, bool wide, bool wide_a> struct FewRowsLines {
  static constexpr u32 run = 4 * T::per_word;  // columns of a lane
  static constexpr u32 across = 8;             // lanes beside each other
  static constexpr u32 width = across * run;   // columns of a block, of each factor
  static constexpr u32 threads = warps * warp_size, slots = threads / across;
  // Lines that are under way together.
  static constexpr u32 depth = !wide ? 8 : rows <= 2 ? 32 / rows : 8 * T::per_word;
  using Element = typename T::Element;
  using Arguments = FewRowsArguments<T, factors>;

  // What lies outside is never stored.
  DEVICE Words4 load_line(const Element* line, u64 column, u64 n) {
    if constexpr (wide) {
      return *reinterpret_cast<const Words4*>(line + (column < n ? column : 0));
    } else {
      Words4 words;
      Element* const element = reinterpret_cast<Element*>(&words);
#pragma unroll
      for (u32 j = 0; j < run; ++j) element[j] = line[column + j < n ? column + j : n - 1];
      return words;
    }
  }

  // a[i][p], ... of each row.
  template <u32 count> DEVICE void load_a(const Arguments& args, u64 p, float (*a)[count]) {
#pragma unroll
    for (u32 i = 0; i < rows; ++i) {
      const Element* const from = args.a + i * args.k + p;
      if constexpr (wide_a && count % run == 0) {
#pragma unroll
        for (u32 d = 0; d < count; d += run) {
          const Words4 words = *reinterpret_cast<const Words4*>(from + d);
#pragma unroll
          for (u32 w = 0; w < 4; ++w) T::unpack(words.word[w], a[i] + d + w * T::per_word);
        }
      } else {
#pragma unroll
        for (u32 d = 0; d < count; ++d) a[i][d] = T::load(from[d]);
      }
    }
  }

  // Lines [p, p + count) of b.
  template <u32 count>
  DEVICE void add_lines(const Arguments& args, const Element* b, u64 column, u64 p, float (*sum)[run]) {
    Words4 lines[count];
#pragma unroll
    for (u32 d = 0; d < count; ++d) lines[d] = load_line(b + (p + d) * args.n, column, args.n);
    float a[rows][count];
    load_a<count>(args, p, a);
#pragma unroll
    for (u32 d = 0; d < count; ++d) {
      float y[run];
#pragma unroll
      for (u32 w = 0; w < 4; ++w) T::unpack(lines[d].word[w], y + w * T::per_word);
#pragma unroll
      for (u32 i = 0; i < rows; ++i) {
#pragma unroll
        for (u32 j = 0; j < run; ++j) sum[i][j] = fma_(a[i][d], y[j], sum[i][j]);
      }
    }
  }

  DEVICE void sum_block(const Arguments& args, const Element* b, u64 column, u64 begin, float (*to)[width]) {
    float sum[rows][run] = {};
    const u64 end = least(begin + k_block, args.k);
    u64 p = begin;
#pragma unroll 1
    for (; p + depth <= end; p += depth) add_lines<depth>(args, b, column, p, sum);
#pragma unroll 1
    for (; p + run <= end; p += run) add_lines<run>(args, b, column, p, sum);
#pragma unroll 1
    for (; p < end; ++p) add_lines<1>(args, b, column, p, sum);
#pragma unroll
    for (u32 i = 0; i < rows; ++i) {
#pragma unroll
      for (u32 j = 0; j < run; ++j) to[i][threadIdx.x % across * run + j] = sum[i][j];
    }
  }

  DEVICE void run_group(const Arguments& args) {
    __shared__ float sums[slots][rows][width], totals[factors][rows][width];
    const u64 first = group() * width, column = first + threadIdx.x % across * run;
    const u32 slot = threadIdx.x / across, tasks = u32(ceil_div(args.k, k_block)) * factors;
    for (u32 begin = 0; begin < tasks; begin += slots) {
      const u32 task = begin + slot;
      if (task < tasks)
        sum_block(args, task % factors == 0 ? args.b[0] : args.b[factors - 1], column,
                  u64(task / factors) * k_block, sums[slot]);
      __syncthreads();
      // Blocks of k, ascending.
      for (u32 t = threadIdx.x; t < factors * rows * width; t += threads) {
        const u32 factor = t / (rows * width), row = t / width % rows, j = t % width;
        float total = begin == 0 ? sums[factor][row][j] : totals[factor][row][j] + sums[factor][row][j];
        for (u32 s = factor + factors; s < slots && begin + s < tasks; s += factors)
          total = total + sums[s][row][j];
        totals[factor][row][j] = total;
      }
      __syncthreads();
    }
    for (u32 t = threadIdx.x; t < rows * width; t += threads) {
      const u32 row = t / width, j = t % width;
      float c = totals[0][row][j];
      if constexpr (factors == 2) {  // each product rounded, as if it were a tensor
        const float up = T::load(T::store(totals[1][row][j]));
        c = silu(T::load(T::store(c))) * up;
      }
      if (first + j < args.n) args.c[row * args.n + first + j] = T::store(c);
    }
  }
};
