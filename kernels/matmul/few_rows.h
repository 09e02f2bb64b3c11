// SPDX-License-Identifier: MIT
// Products of up to 4 rows with a transposed b, whose time is that of reading b. Every lane of a warp has a
// chain of its own, a column of c and a block of k: a warp 8 columns and 4 blocks, a block of warps the 8
// columns whole. Lines of 128 bytes of each are copied while the ones before are multiplied. Of two factors,
// the weights of a gate and of what it gates, half of the columns are one's, and c = swiglu of both products.

template <class T, u32 factors> struct FewRowsArguments {
  const typename T::Element* a;           // (m, k)
  const typename T::Element* b[factors];  // (n, k), or (k, n) for few_rows_lines.h
  typename T::Element* c;                 // (m, n)
  u64 m, n, k;
  u32 transpose_a, transpose_b;
};

// wide: runs of 16 bytes are aligned, and lie inside or outside of k as a whole.
template <class T, u32 factors, u32 rows, u32 warps, bool wide> struct FewRows {
  static constexpr u32 columns = 8;  // of a block, of all factors
  static constexpr u32 width = columns / factors, blocks = warp_size / columns;
  // So that two blocks fit a multiprocessor, and one begins while the other ends.
  static constexpr u32 stages = warps == 8 ? 2 : 4;
  static constexpr u32 run = 4 * T::per_word;           // elements of 16 bytes
  static constexpr u32 runs = 8, line = runs * run;     // of a line, which divides k_block
  static constexpr u32 line_step = 4 * runs + padding;  // in shared memory, in words
  static constexpr u32 b_lines = warp_size, lines = b_lines + blocks * rows, stage_size = lines * line_step;
  using Element = typename T::Element;
  using Arguments = FewRowsArguments<T, factors>;

  DEVICE u32 lane() { return threadIdx.x % warp_size; }
  DEVICE u32 warp() { return threadIdx.x / warp_size; }

  // Where the lines begin that a warp takes next, in the first of the blocks that it multiplies side by side.
  // Places along k have 32 bits: is_few_rows() (matmul.h) lets none be longer.
  DEVICE u32 next(u32 p) {
    p += line;
    return p % k_block == 0 ? p + (warps * blocks - 1) * k_block : p;
  }

  // What a thread copies: a run of every fourth line. Where there is no such column or run, it is another
  // one, whose products nobody adds.
  struct Source {
    static constexpr u32 per_thread = lines * runs / warp_size;
    const Element* row[per_thread];
    u32 k;

    __device__ __forceinline__ Source(const Arguments& args, u64 column) : k(u32(args.k)) {
#pragma unroll
      for (u32 i = 0; i < per_thread; ++i) {
        const u32 l = line_of(i);
        const bool of_b = l < b_lines;
        const Element* factor = l % columns < width ? args.b[0] : args.b[factors - 1];
        const u64 index = of_b ? least(column + l % width, args.n - 1) : (l - b_lines) / blocks;
        row[i] = (of_b ? factor : args.a) + index * args.k;
      }
    }

    __device__ __forceinline__ static u32 line_of(u32 i) { return lane() / runs + i * (warp_size / runs); }

    __device__ __forceinline__ void copy(float* stage, u32 begin) const {
      const u32 r = lane() % runs;
#pragma unroll
      for (u32 i = 0; i < per_thread; ++i) {
        const u32 l = line_of(i), block = l < b_lines ? l / columns : (l - b_lines) % blocks;
        const u32 p = begin + block * k_block + r * run;
        float* const to = stage + l * line_step + r * 4;
        if constexpr (wide) {
          copy_async(to, reinterpret_cast<const float*>(row[i] + (p < k ? p : 0)), true);
        } else {
          Element* element = reinterpret_cast<Element*>(to);
#pragma unroll 1
          for (u32 e = 0; e < run; ++e) element[e] = row[i][p + e < k ? p + e : 0];
        }
      }
    }
  };

  DEVICE void unpack_run(const float* from, float* x) {
    const Words4 words = *reinterpret_cast<const Words4*>(from);
#pragma unroll
    for (u32 w = 0; w < 4; ++w) T::unpack(words.word[w], x + w * T::per_word);
  }

  // The lane's chains over `count` elements of its line.
  template <bool whole> DEVICE void multiply(const float* stage, u32 count, float* sum) {
    const float* y = stage + lane() * line_step;
    const float* x = stage + (b_lines + lane() / columns) * line_step;
#pragma unroll
    for (u32 r = 0; r < runs; ++r) {
      float b[run], a[run];
      unpack_run(y + r * 4, b);
#pragma unroll
      for (u32 i = 0; i < rows; ++i) {
        unpack_run(x + i * blocks * line_step + r * 4, a);
#pragma unroll
        for (u32 e = 0; e < run; ++e) {
          if (whole || r * run + e < count) sum[i] = fma_(a[e], b[e], sum[i]);
        }
      }
    }
  }

  // totals: (block of k, row, column)
  DEVICE void sum_blocks(const Source& source, float* stages_of_warp, float* totals) {
    const auto fetch = [&](u32 stage, u32 begin) {
      if (begin < source.k) source.copy(stages_of_warp + stage % stages * stage_size, begin);
      end_async_group();
    };
    const u32 first = warp() * blocks * k_block;
    u32 ahead = first, stage = 0;
    for (; stage < stages - 1; ++stage, ahead = next(ahead)) fetch(stage, ahead);
    float sum[rows] = {};
#pragma unroll 1
    for (u32 begin = first; begin < source.k; ++stage, begin = next(begin), ahead = next(ahead)) {
      wait_async_groups<stages - 2>();
      __syncwarp();
      fetch(stage, ahead);
      const float* const now = stages_of_warp + (stage + 1) % stages * stage_size;
      const u32 of_lane = begin + lane() / columns * k_block,
                left = of_lane < source.k ? source.k - of_lane : 0;
      if (left >= line) multiply<true>(now, line, sum);
      if (left < line) multiply<false>(now, left, sum);
      if ((begin + line) % k_block != 0 && begin + line < source.k) continue;
      const u32 block = begin / k_block + lane() / columns;
#pragma unroll
      for (u32 i = 0; i < rows; ++i) {
        if (block * k_block < source.k) totals[(block * rows + i) * columns + lane() % columns] = sum[i];
        sum[i] = 0.0f;
      }
    }
  }

  // Of all blocks of k, ascending; `t` counts the columns of the rows.
  DEVICE float total(const float* totals, u32 t, u32 all) {
    float sum = totals[t];
    for (u32 block = 1; block < all; ++block) sum = sum + totals[block * rows * columns + t];
    return sum;
  }

  DEVICE void run_group(const Arguments& args) {
    const u64 column = group() * width;
    float* const totals = dynamic_shared() + warps * (stages * stage_size);
    sum_blocks(Source(args, column), dynamic_shared() + warp() * (stages * stage_size), totals);
    __syncthreads();
    const u32 all = u32(ceil_div(args.k, k_block));
    for (u32 t = threadIdx.x; t < rows * width; t += warps * warp_size) {
      const u32 row = t / width, first = row * columns + t % width;
      float c = total(totals, first, all);
      if constexpr (factors == 2) {  // each product rounded, as if it were a tensor
        const float up = T::load(T::store(total(totals, first + width, all)));
        c = silu(T::load(T::store(c))) * up;
      }
      const u64 at = column + t % width;
      if (at < args.n) args.c[row * args.n + at] = T::store(c);
    }
  }
};
