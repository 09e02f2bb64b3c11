// SPDX-License-Identifier: MIT
// Table look-up and its scatter-add backward, on the CPU.
#include <cstdint>
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

namespace silica::kernels::SILICA_ISA {

namespace {

#include "kernels/dtypes.h"

constexpr std::uint32_t id_tile = 64;      // ids a group of the forward covers
constexpr std::uint32_t column_tile = 16;  // columns a group of the backward covers
constexpr std::uint32_t block = 256;       // ids of a partial sum

template <class T> void embedding(const void* arguments, Groups groups) {
  using Element = typename T::Element;
  struct Arguments {
    const Element* table;      // (rows, cols)
    const std::uint32_t* ids;  // (n)
    Element* y;                // (n, cols)
    std::uint64_t n, rows, cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const std::uint64_t end = groups.end * id_tile < a.n ? groups.end * id_tile : a.n;
  for (std::uint64_t i = groups.begin * id_tile; i < end; ++i) {
    Element* y = a.y + i * a.cols;
    if (a.ids[i] < a.rows) {
      std::memcpy(y, a.table + a.ids[i] * a.cols, a.cols * sizeof(Element));
    } else {
      for (std::uint64_t j = 0; j < a.cols; ++j) y[j] = T::store(from_bits_(0x7fc00000u));
    }
  }
}

// The partial sums of one block, one slot for each id that occurs in it, found by open addressing.
class BlockSums {
 public:
  float* of(std::uint32_t id) {
    std::uint32_t place = id * 2654435769u >> 23;  // Knuth's multiplicative hash, to 9 bits
    while (slot_[place] != 0 && ids_[slot_[place] - 1] != id) place = (place + 1) % places;
    if (slot_[place] == 0) {
      std::memset(sums_[used_], 0, sizeof sums_[used_]);
      ids_[used_] = id;
      slot_[place] = ++used_;
    }
    return sums_[slot_[place] - 1];
  }

  void add_to(float* table, std::uint64_t cols, std::uint64_t count) const {
    for (std::uint32_t s = 0; s < used_; ++s) {
      float* row = table + ids_[s] * cols;
      for (std::uint64_t j = 0; j < count; ++j) row[j] += sums_[s][j];
    }
  }

 private:
  static constexpr std::uint32_t places = 2 * block;
  std::uint32_t used_ = 0;
  std::uint32_t ids_[block];
  std::uint32_t slot_[places] = {};  // 1 + the slot; 0 is free
  float sums_[block][column_tile];
};

// dtable = onehot(ids)^T dy, in the order of a matmul's k, without the products by zero.
template <class T> void embedding_backward(const void* arguments, Groups groups) {
  struct Arguments {
    const std::uint32_t* ids;       // (n)
    const typename T::Element* dy;  // (n, cols)
    float* dtable;                  // (rows, cols)
    std::uint64_t n, rows, cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t group = groups.begin; group < groups.end; ++group) {
    const std::uint64_t first = group * column_tile;
    const std::uint64_t count = a.cols - first < column_tile ? a.cols - first : column_tile;
    for (std::uint64_t row = 0; row < a.rows; ++row) {
      std::memset(a.dtable + row * a.cols + first, 0, count * sizeof(float));
    }
    for (std::uint64_t begin = 0; begin < a.n; begin += block) {
      const std::uint64_t end = a.n - begin < block ? a.n : begin + block;
      BlockSums sums;
      for (std::uint64_t i = begin; i < end; ++i) {
        if (a.ids[i] >= a.rows) continue;
        float* sum = sums.of(a.ids[i]);
        for (std::uint64_t j = 0; j < count; ++j) sum[j] += T::load(a.dy[i * a.cols + first + j]);
      }
      sums.add_to(a.dtable + first, a.cols, count);
    }
  }
}

}  // namespace

void embedding_kernels(Sink& sink) {
  constexpr Tile ids{id_tile}, columns{column_tile};
  sink.add("embedding.embedding.f32", embedding<F32>, ids);
  sink.add("embedding.embedding.f16", embedding<F16>, ids);
  sink.add("embedding.embedding.bf16", embedding<BF16>, ids);
  sink.add("embedding.embedding_backward.f32", embedding_backward<F32>, columns);
  sink.add("embedding.embedding_backward.f16", embedding_backward<F16>, columns);
  sink.add("embedding.embedding_backward.bf16", embedding_backward<BF16>, columns);
}

}  // namespace silica::kernels::SILICA_ISA
