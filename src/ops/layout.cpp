// SPDX-License-Identifier: MIT
#include <cstdint>
#include <string>
#include <vector>

#include "ops/check.h"
#include "ops/matrices.h"
#include "silica/ops.h"

namespace silica {

namespace {

// ---- blocks of a matrix: rows that start `step` elements apart

struct Block {
  const Tensor& matrix;
  std::size_t begin, step;

  // The elements from the first to the last, so that the encoder knows what is touched.
  Tensor span(std::size_t rows, std::size_t cols) const {
    return matrix.reshape({matrix.size()}).rows(begin, (rows - 1) * step + cols);
  }
};

Block all_of(const Tensor& matrix) { return {matrix, 0, matrix.shape().cols()}; }

void copy_block(CommandEncoder& encoder, const Block& x, const Block& y, std::size_t rows, std::size_t cols) {
  const Tensor from = x.span(rows, cols), to = y.span(rows, cols);
  if (rows == 1 || (x.step == cols && y.step == cols)) return copy(encoder, from, to);
  struct Parameters {
    std::uint64_t rows, cols, x_step, y_step;
  };
  encoder.dispatch(message("layout.copy_block.", size_of(from.dtype())), {read(from, "x"), write(to, "y")},
                   Parameters{rows, cols, x.step, y.step}, Grid{rows * cols});
}

// An input and an output, in either order.
void check_pair(const char* op, const Argument& a, const Argument& b) {
  check_given(op, a);
  check_same_dtype(op, b, a);
  check_apart(op, b, a);
}

// ---- transpose

void exchange(CommandEncoder& encoder, const char* op, const Argument& x, const Argument& y) {
  check_pair(op, x, y);
  const Matrices from = as_batch(x.tensor.shape()), to = as_batch(y.tensor.shape());
  if (to != transposed(from)) {
    refuse(op, ": ", y.name, " is (", to.batch, ", ", to.rows, ", ", to.cols, "), expected (", from.batch,
           ", ", from.cols, ", ", from.rows, ")");
  }
  if (from.rows == 1 || from.cols == 1) return copy(encoder, x.tensor, y.tensor);
  struct Parameters {
    std::uint64_t rows, cols;
  };
  encoder.dispatch(message("layout.transpose.", size_of(x.tensor.dtype())),
                   {read(x.tensor, x.name), write(y.tensor, y.name)}, Parameters{from.rows, from.cols},
                   Grid{from.cols, from.rows, from.batch});
}

// ---- slice

struct Range {
  std::size_t begin, end;
  std::size_t size() const { return end - begin; }
};

Range check_range(const char* op, const char* what, Range range, std::size_t count) {
  if (range.end == to_end) range.end = count;
  if (range.begin < range.end && range.end <= count) return range;
  refuse(op, ": ", what, " are [", range.begin, ", ", range.end, "), expected some of [0, ", count, ")");
}

// A slice of `whole`; `part` has its size.
struct Slice {
  Block block;
  std::size_t rows, cols;
};

Slice check_slice(const char* op, const Argument& of, const Argument& part, const SliceOptions& options) {
  check_given(op, of);
  const Tensor& whole = of.tensor;
  const std::size_t step = whole.shape().cols();
  const Range rows = check_range(op, "rows", {options.row_begin, options.row_end}, whole.shape().rows()),
              cols = check_range(op, "columns", {options.col_begin, options.col_end}, step);
  check_pair(op, of, part);
  const Matrices got = as_matrix(part.tensor.shape());
  if (got.rows != rows.size() || got.cols != cols.size()) {
    refuse(op, ": ", part.name, " is (", got.rows, ", ", got.cols, "), expected (", rows.size(), ", ",
           cols.size(), ")");
  }
  return {{whole, rows.begin * step + cols.begin, step}, rows.size(), cols.size()};
}

// ---- concat

struct Extents {
  std::size_t along, across;  // the axis
};

Extents extents(const Tensor& tensor, Axis axis) {
  const Matrices m = as_matrix(tensor.shape());
  return axis == Axis::rows ? Extents{m.rows, m.cols} : Extents{m.cols, m.rows};
}

// The block of `whole` for each of `parts`.
std::vector<Block> check_parts(const char* op, const Argument& whole, const char* name,
                               const std::vector<Tensor>& parts, Axis axis) {
  check_given(op, whole);
  const char *along = "rows", *across = "columns";
  if (axis == Axis::cols) std::swap(along, across);
  const Extents all = extents(whole.tensor, axis);
  const std::size_t step = whole.tensor.shape().cols();
  std::vector<Block> blocks;
  std::size_t at = 0;
  for (const Tensor& part : parts) {
    const std::string one = message(name, "[", blocks.size(), "]");
    check_pair(op, whole, {one.c_str(), part});
    const Extents of = extents(part, axis);
    if (of.across != all.across) {
      refuse(op, ": ", one, " has ", of.across, " ", across, ", ", whole.name, " has ", all.across);
    }
    blocks.push_back({whole.tensor, axis == Axis::rows ? at * step : at, step});
    at += of.along;
  }
  if (at == all.along) return blocks;
  refuse(op, ": ", name, " have ", at, " ", along, ", ", whole.name, " has ", all.along);
}

}  // namespace

void transpose(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {
  exchange(encoder, "transpose", {"x", x}, {"y", y});
}

void transpose_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) {
  exchange(encoder, "transpose_backward", {"dy", dy}, {"dx", dx});
}

void slice(CommandEncoder& encoder, const Tensor& x, const Tensor& y, const SliceOptions& options) {
  const Slice part = check_slice("slice", {"x", x}, {"y", y}, options);
  copy_block(encoder, part.block, all_of(y), part.rows, part.cols);
}

void slice_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx,
                    const SliceOptions& options) {
  const Slice part = check_slice("slice_backward", {"dx", dx}, {"dy", dy}, options);
  CommandEncoder::Transaction transaction(encoder, "slice_backward");
  if (dy.size() < dx.size()) {
    encoder.dispatch("map.zero", {write(dx, "dx")}, std::uint64_t{dx.bytes()}, Grid{dx.bytes()});
  }
  copy_block(encoder, all_of(dy), part.block, part.rows, part.cols);
  transaction.commit();
}

void concat(CommandEncoder& encoder, const std::vector<Tensor>& inputs, const Tensor& y, Axis axis) {
  const std::vector<Block> blocks = check_parts("concat", {"y", y}, "inputs", inputs, axis);
  CommandEncoder::Transaction transaction(encoder, "concat");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Matrices part = as_matrix(inputs[i].shape());
    copy_block(encoder, all_of(inputs[i]), blocks[i], part.rows, part.cols);
  }
  transaction.commit();
}

void concat_backward(CommandEncoder& encoder, const Tensor& dy, const std::vector<Tensor>& gradients,
                     Axis axis) {
  const char* op = "concat_backward";
  const std::vector<Block> blocks = check_parts(op, {"dy", dy}, "gradients", gradients, axis);
  CommandEncoder::Transaction transaction(encoder, op);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      check_apart(op, {message("gradients[", i, "]").c_str(), gradients[i]},
                  {message("gradients[", j, "]").c_str(), gradients[j]});
    }
    const Matrices part = as_matrix(gradients[i].shape());
    copy_block(encoder, blocks[i], all_of(gradients[i]), part.rows, part.cols);
  }
  transaction.commit();
}

void broadcast_row(CommandEncoder& encoder, const Tensor& x, const Tensor& y) {
  const char* op = "broadcast_row";
  check_pair(op, {"x", x}, {"y", y});
  const std::size_t rows = y.shape().rows(), cols = y.shape().cols();
  check_size(op, {"x", x}, cols, "one for each column of y");
  copy_block(encoder, {x, 0, 0}, all_of(y), rows, cols);
}

void broadcast_row_backward(CommandEncoder& encoder, const Tensor& dy, const Tensor& dx) {
  const char* op = "broadcast_row_backward";
  check_pair(op, {"dy", dy}, {"dx", dx});
  check_float(op, {"dy", dy});
  const std::size_t rows = dy.shape().rows(), cols = dy.shape().cols();
  check_size(op, {"dx", dx}, cols, "one for each column of dy");
  struct Parameters {
    std::uint64_t rows, cols;
  };
  encoder.dispatch(message("layout.sum_rows.", to_string(dy.dtype())), {read(dy, "dy"), write(dx, "dx")},
                   Parameters{rows, cols}, Grid{cols});
}

}  // namespace silica
