// SPDX-License-Identifier: MIT
#include <cstdint>

#include "ops/check.h"
#include "silica/ops.h"

namespace silica {

namespace {

struct EmbeddingParameters {
  std::uint64_t n, rows, cols;
};

// `rows` (n, cols) holds one row of `table` (rows, cols) for each id.
EmbeddingParameters check_all(const char* op, const Argument& table, const Argument& ids,
                              const Argument& rows) {
  check_dtype(op, table, DType::f32);
  check_dtype(op, ids, DType::u32);
  check_dtype(op, rows, DType::f32);
  const std::uint64_t n = ids.tensor.size(), cols = table.tensor.shape().cols();
  if (rows.tensor.size() / cols != n || rows.tensor.size() % cols != 0) {
    refuse(op, ": ", rows.name, " has ", rows.tensor.size(), " elements, expected ", n, " rows of ", cols);
  }
  return {n, table.tensor.shape().rows(), cols};
}

}  // namespace

void embedding(CommandEncoder& encoder, const Tensor& table, const Tensor& ids, const Tensor& y) {
  const EmbeddingParameters parameters = check_all("embedding", {"table", table}, {"ids", ids}, {"y", y});
  encoder.dispatch("embedding.embedding.f32", {read(table, "table"), read(ids, "ids"), write(y, "y")},
                   parameters, Grid{parameters.n});
}

void embedding_backward(CommandEncoder& encoder, const Tensor& ids, const Tensor& dy, const Tensor& dtable) {
  const EmbeddingParameters parameters =
      check_all("embedding_backward", {"dtable", dtable}, {"ids", ids}, {"dy", dy});
  encoder.dispatch("embedding.embedding_backward.f32",
                   {read(ids, "ids"), read(dy, "dy"), write(dtable, "dtable")}, parameters,
                   Grid{parameters.cols});
}

}  // namespace silica
