// SPDX-License-Identifier: MIT
// Kernels that move blocks of matrices, or sum their columns, on the CPU. What moves is seen as words of an
// element's size, whatever the dtype.
#include <cstdint>
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/prelude_cpp.h"

namespace silica::kernels::SILICA_ISA {

namespace {

#include "kernels/dtypes.h"

constexpr std::uint32_t block_tile = 16384;  // elements a group of copy_block moves
constexpr std::uint32_t side = 32;           // of a tile of a transpose
constexpr std::uint32_t column_tile = 64;    // columns a group of a sum over rows covers
constexpr std::uint64_t row_block = 256;     // rows of a partial sum

std::uint64_t least(std::uint64_t a, std::uint64_t b) { return a < b ? a : b; }
std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); }

// y[row * y_step + col] = x[row * x_step + col]
template <class Word> void copy_block(const void* arguments, Groups groups) {
  struct Arguments {
    const Word* x;
    Word* y;
    std::uint64_t rows, cols, x_step, y_step;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  const std::uint64_t end = least(groups.end * block_tile, a.rows * a.cols);
  std::uint64_t i = groups.begin * block_tile, row = i / a.cols, col = i % a.cols;
  while (i < end) {
    const std::uint64_t count = least(a.cols - col, end - i);
    std::memcpy(a.y + row * a.y_step + col, a.x + row * a.x_step + col, count * sizeof(Word));
    i += count;
    ++row;
    col = 0;
  }
}

template <class Word> struct TransposeArguments {
  const Word* x;  // (batch, rows, cols)
  Word* y;        // (batch, cols, rows)
  std::uint64_t rows, cols;
};

// Through a buffer, so that lines are read and written whole.
template <class Word>
void transpose_tile(const TransposeArguments<Word>& a, std::uint64_t row, std::uint64_t col) {
  const std::uint64_t height = least(side, a.rows - row), width = least(side, a.cols - col);
  Word tile[side][side];
  for (std::uint64_t i = 0; i < height; ++i) {
    std::memcpy(tile[i], a.x + (row + i) * a.cols + col, width * sizeof(Word));
  }
  for (std::uint64_t j = 0; j < width; ++j) {
    Word* y = a.y + (col + j) * a.rows + row;
    for (std::uint64_t i = 0; i < height; ++i) y[i] = tile[i][j];
  }
}

template <class Word> void transpose(const void* arguments, Groups groups) {
  const auto& batch = *static_cast<const TransposeArguments<Word>*>(arguments);
  const std::uint64_t width = ceil_div(batch.cols, side), height = ceil_div(batch.rows, side);
  for (std::uint64_t group = groups.begin; group < groups.end; ++group) {
    TransposeArguments<Word> one = batch;
    const std::uint64_t first = group / (width * height) * batch.rows * batch.cols;
    one.x += first;
    one.y += first;
    transpose_tile(one, group / width % height * side, group % width * side);
  }
}

// y[j] = the sum of column j, in the order of a matmul's k.
template <class T> void sum_rows(const void* arguments, Groups groups) {
  struct Arguments {
    const typename T::Element* x;  // (rows, cols)
    typename T::Element* y;        // (cols)
    std::uint64_t rows, cols;
  };
  const Arguments a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t group = groups.begin; group < groups.end; ++group) {
    const std::uint64_t first = group * column_tile, count = least(column_tile, a.cols - first);
    float total[column_tile] = {};
    for (std::uint64_t begin = 0; begin < a.rows; begin += row_block) {
      const std::uint64_t end = least(begin + row_block, a.rows);
      float sum[column_tile] = {};
      for (std::uint64_t row = begin; row < end; ++row) {
        const typename T::Element* x = a.x + row * a.cols + first;
        SILICA_INDEPENDENT
        for (std::uint64_t j = 0; j < count; ++j) sum[j] += T::load(x[j]);
      }
      for (std::uint64_t j = 0; j < count; ++j) total[j] += sum[j];
    }
    for (std::uint64_t j = 0; j < count; ++j) a.y[first + j] = T::store(total[j]);
  }
}

}  // namespace

void layout_kernels(Sink& sink) {
  constexpr Tile block{block_tile}, square{side, side}, columns{column_tile};
  sink.add("layout.copy_block.1", copy_block<std::uint8_t>, block);
  sink.add("layout.copy_block.2", copy_block<std::uint16_t>, block);
  sink.add("layout.copy_block.4", copy_block<std::uint32_t>, block);
  sink.add("layout.transpose.1", transpose<std::uint8_t>, square);
  sink.add("layout.transpose.2", transpose<std::uint16_t>, square);
  sink.add("layout.transpose.4", transpose<std::uint32_t>, square);
  sink.add("layout.sum_rows.f32", sum_rows<F32>, columns);
  sink.add("layout.sum_rows.f16", sum_rows<F16>, columns);
  sink.add("layout.sum_rows.bf16", sum_rows<BF16>, columns);
}

}  // namespace silica::kernels::SILICA_ISA
