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
  check_float(op, table);
  check_dtype(op, ids, DType::u32);
  check_same_dtype(op, rows, table);
  const std::uint64_t n = ids.tensor.size(), cols = table.tensor.shape().cols();
  if (rows.tensor.size() / cols != n || rows.tensor.size() % cols != 0) {
    refuse(op, ": ", rows.name, " has ", rows.tensor.size(), " elements, expected ", n, " rows of ", cols);
  }
  return {n, table.tensor.shape().rows(), cols};
}

}  // namespace

void embedding(CommandEncoder& encoder, const Tensor& table, const Tensor& ids, const Tensor& y) {
  const EmbeddingParameters parameters = check_all("embedding", {"table", table}, {"ids", ids}, {"y", y});
  encoder.dispatch(message("embedding.embedding.", to_string(table.dtype())),
                   {read(table, "table"), read(ids, "ids"), write(y, "y")}, parameters, Grid{parameters.n});
}

void embedding_backward(CommandEncoder& encoder, const Tensor& ids, const Tensor& dy, const Tensor& dtable) {
  const char* op = "embedding_backward";
  const EmbeddingParameters parameters = check_all(op, {"dtable", dtable}, {"ids", ids}, {"dy", dy});
  check_apart(op, {"dtable", dtable}, {"ids", ids});
  check_apart(op, {"dtable", dtable}, {"dy", dy});
  const bool halves = dtable.dtype() != DType::f32;
  CommandEncoder::Transaction transaction(encoder, op);
  const Tensor sums = halves ? encoder.temporary(DType::f32, dtable.shape()) : dtable;
  encoder.dispatch(message("embedding.embedding_backward.", to_string(dy.dtype())),
                   {read(ids, "ids"), read(dy, "dy"), write(sums, "dtable")}, parameters,
                   Grid{parameters.cols});
  if (halves) cast(encoder, sums, dtable);
  transaction.commit();
}

}  // namespace silica
