// SPDX-License-Identifier: MIT
// Products of up to 4 rows with a transposed b, whose time is that of reading b. Every lane of a warp has a
// chain of its own, a column of c and a block of k: a warp 8 columns and 4 blocks, a block of warps the 8
// columns whole. Lines of 128 bytes of each are copied while the ones before are multiplied. Of two factors,
// the weights of a gate and of what it gates, half of the columns are one's, and c = swiglu of both products.

constexpr u32 few_columns = 8;  // of a block, of all factors

template <class T, u32 factors> struct FewRowsArguments {
  const typename T::Element* a;           // (m, k)
  const typename T::Element* b[factors];  // (n, k)
  typename T::Element* c;                 // (m, n)
  u64 m, n, k;
  u32 transpose_a, transpose_b;

  // Of the few_columns columns. (An index that is not a constant would copy the arguments to memory.)
  __device__ __forceinline__ const typename T::Element* factor(u32 of_column) const {
    return of_column < few_columns / factors ? b[0] : b[factors - 1];
  }
};

template <class T, u32 factors, u32 rows, u32 warps> struct FewRows {
  static constexpr u32 columns = few_columns, width = columns / factors, blocks = warp_size / columns;
  // So that two blocks fit a multiprocessor, and one begins while the other ends.
  static constexpr u32 stages = warps == 8 ? 2 : 4;
  static constexpr u32 run = 4 * T::per_word;           // elements of 16 bytes
  static constexpr u32 runs = 8, line = runs * run;     // of a line, which divides k_block
  static constexpr u32 steps = k_block / line;          // lines of a block of k
  static constexpr u32 line_step = 4 * runs + padding;  // in shared memory, in words
  static constexpr u32 b_lines = warp_size, lines = b_lines + blocks * rows;
  using Element = typename T::Element;
  using Arguments = FewRowsArguments<T, factors>;

  // What a warp copies next: it takes every warps-th group of `blocks` blocks of k.
  struct Source {
    const Arguments& args;
    u64 column;  // the first
    bool wide;   // runs are aligned, and lie inside or outside as a whole

    __device__ __forceinline__ void copy_run(float* to, const Element* line_begin, bool inside, u64 p) const {
      if (wide) {
        const bool copies = inside && p < args.k;
        copy_async(to, reinterpret_cast<const float*>(line_begin + (copies ? p : 0)), copies);
        return;
      }
      Element* element = reinterpret_cast<Element*>(to);
#pragma unroll 1
      for (u32 e = 0; e < run; ++e) element[e] = inside && p + e < args.k ? line_begin[p + e] : Element(0);
    }

    // Of the `step`-th lines of the group that begins with block `first`.
    __device__ __forceinline__ void copy(float* stage, u64 first, u32 step) const {
      const u32 lane = threadIdx.x % warp_size, r = lane % runs;
#pragma unroll
      for (u32 l = lane / runs; l < lines; l += warp_size / runs) {
        const bool of_b = l < b_lines;
        const u32 block = of_b ? l / columns : (l - b_lines) % blocks;
        const u64 index = of_b ? column + l % width : (l - b_lines) / blocks;
        const u64 p = (first + block) * k_block + step * line + r * run;
        const bool inside = of_b ? index < args.n : true;
        const Element* from = of_b ? args.factor(l % columns) : args.a;
        copy_run(stage + l * line_step + r * 4, from + (inside ? index * args.k : 0), inside, p);
      }
    }
  };

  // The lane's chains over `count` elements of its line.
  template <bool whole> DEVICE void multiply(const float* stage, u64 count, float* sum) {
    const u32 lane = threadIdx.x % warp_size;
    const float* y = stage + lane * line_step;
    const float* x = stage + (b_lines + lane / columns) * line_step;
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

  DEVICE void unpack_run(const float* from, float* x) {
    const Words4 words = *reinterpret_cast<const Words4*>(from);
#pragma unroll
    for (u32 w = 0; w < 4; ++w) T::unpack(words.word[w], x + w * T::per_word);
  }

  // totals: (block of k, row, column)
  DEVICE void sum_blocks(const Arguments& args, u64 column, float* stages_of_warp, float* totals) {
    const u32 warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
    const u64 all = ceil_div(args.k, k_block), groups = ceil_div(all, blocks);
    const bool wide =
        args.k % run == 0 && is_aligned(args.a) && is_aligned(args.b[0]) && is_aligned(args.b[factors - 1]);
    const Source source{args, column, wide};
    const u64 count = groups > warp ? ceil_div(groups - warp, warps) * steps : 0;
    const auto fetch = [&](u64 s) {
      if (s < count) {
        const u64 first = (warp + s / steps * warps) * blocks;
        source.copy(stages_of_warp + s % stages * (lines * line_step), first, s % steps);
      }
      end_async_group();
    };
    float sum[rows] = {};
#pragma unroll 1
    for (u64 fetched = 0; fetched < count + stages - 1; ++fetched) {
      wait_async_groups<stages - 2>();
      __syncwarp();
      fetch(fetched);
      if (fetched < stages - 1) continue;
      const u64 s = fetched - (stages - 1);
      const u64 block = (warp + s / steps * warps) * blocks + lane / columns;
      const u64 begin = block * k_block + s % steps * line;
      const float* stage = stages_of_warp + s % stages * (lines * line_step);
      const u64 left = args.k - least(begin, args.k);
      if (left >= line) multiply<true>(stage, line, sum);
      if (left < line) multiply<false>(stage, left, sum);
      if (s % steps != steps - 1) continue;
#pragma unroll
      for (u32 i = 0; i < rows; ++i) {
        if (block < all) totals[(block * rows + i) * columns + lane % columns] = sum[i];
        sum[i] = 0.0f;
      }
    }
  }

  // Of all blocks of k, ascending; `t` counts the columns of the rows.
  DEVICE float total(const float* totals, u32 t, u64 all) {
    float sum = totals[t];
    for (u64 block = 1; block < all; ++block) sum = sum + totals[block * rows * columns + t];
    return sum;
  }

  DEVICE void run_group(const Arguments& args) {
    const u64 column = group() * width;
    float* const stages_of_warp = dynamic_shared() + threadIdx.x / warp_size * (stages * lines * line_step);
    float* const totals = dynamic_shared() + warps * (stages * lines * line_step);
    sum_blocks(args, column, stages_of_warp, totals);
    __syncthreads();
    const u64 all = ceil_div(args.k, k_block);
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
