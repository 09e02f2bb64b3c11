// SPDX-License-Identifier: MIT
#include <cstdint>

#include "support.h"

namespace silica::test {
namespace {

class Embedding : public DeviceTest {};

TEST_P(Embedding, RowsAreCopiedBitForBit) {
  Random random(1);
  for (const std::size_t n : {1u, 2u, 63u, 64u, 65u, 200u}) {
    for (const std::size_t cols : {1u, 3u, 16u, 65u}) {
      const std::size_t rows = random.between(1, 40);
      std::vector<float> table(rows * cols);
      for (float& value : table) value = random.any_float();
      const std::vector<std::uint32_t> ids = random.ids(n, rows);
      const Tensor t = make(device(), DType::f32, {rows, cols}, table);
      const Guarded y(device(), DType::f32, {n, cols});
      run(device(), [&](CommandEncoder& e) { embedding(e, t, Tensor(device(), {n}, ids), y.tensor); });
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(bytes_of(y.tensor.rows(i, 1)), bytes_of(t.rows(ids[i], 1))) << "payloads of NaN, too";
      }
      EXPECT_TRUE(y.intact());
    }
  }
}

TEST_P(Embedding, IdsOutOfRangeMakeTheirRowNanAndNothingElse) {
  const std::vector<float> table = Random(2).floats(5 * 7);
  const std::vector<std::uint32_t> ids = {4, 5, 0, 0xffffffffu, 0x80000000u, 1};
  const Guarded y(device(), DType::f32, {6, 7}), dtable(device(), DType::f32, {5, 7});
  const Tensor id(device(), {6}, ids);
  run(device(), [&](CommandEncoder& e) {
    embedding(e, make(device(), DType::f32, {5, 7}, table), id, y.tensor);
    embedding_backward(e, id, make(device(), DType::f32, {6, 7}, std::vector<float>(42, 1.0f)),
                       dtable.tensor);
  });
  const std::vector<float> got = get(y.tensor);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const std::uint32_t row = ids[i / 7];
    EXPECT_TRUE(same_bits(got[i], row < 5 ? table[row * 7 + i % 7] : quiet_nan)) << i;
  }
  const std::vector<float> d = get(dtable.tensor);
  const float want[] = {1.0f, 1.0f, 0.0f, 0.0f, 1.0f};
  for (std::size_t i = 0; i < d.size(); ++i)
    EXPECT_EQ(d[i], want[i / 7]) << "an id out of range adds nothing";
  EXPECT_TRUE(y.intact() && dtable.intact());
}

// dtable = onehot(ids)^T dy, the device's own matmul, bit for bit: whatever repeats, and over several blocks.
TEST_P(Embedding, BackwardIsAMatmulWithOnehotBitForBit) {
  Random random(3);
  for (int round = 0; round < 30; ++round) {
    const std::size_t n = random.between(1, 900), rows = random.between(1, 60), cols = random.between(1, 50);
    const std::size_t used = round % 3 == 0 ? 1 : rows;  // all the same id, or any
    const std::vector<std::uint32_t> ids = random.ids(n, used);
    std::vector<float> onehot(n * rows);
    for (std::size_t i = 0; i < n; ++i) onehot[i * rows + ids[i]] = 1.0f;
    const Tensor dy = make(device(), DType::f32, {n, cols}, random.floats(n * cols));
    const Tensor want(device(), DType::f32, {rows, cols});
    const Guarded dtable(device(), DType::f32, {rows, cols});
    run(device(), [&](CommandEncoder& e) {
      embedding_backward(e, Tensor(device(), {n}, ids), dy, dtable.tensor);
      matmul(e, make(device(), DType::f32, {n, rows}, onehot), dy, want, {.transpose_a = true});
    });
    ASSERT_TRUE(same_bits(get(dtable.tensor), get(want)))
        << n << " ids, " << rows << " rows, " << cols << " columns";
    EXPECT_TRUE(dtable.intact());
  }
}

TEST_P(Embedding, BackwardAgreesWithF64) {
  Random random(4);
  const std::size_t n = 3000, rows = 11, cols = 5;
  const std::vector<std::uint32_t> ids = random.ids(n, rows);
  const std::vector<float> dy = random.floats(n * cols);
  const Tensor dtable(device(), DType::f32, {rows, cols});
  run(device(), [&](CommandEncoder& e) {
    embedding_backward(e, Tensor(device(), {n}, ids), make(device(), DType::f32, {n, cols}, dy), dtable);
  });
  std::vector<double> want(rows * cols), magnitude(rows * cols);
  for (std::size_t i = 0; i < n * cols; ++i) {
    want[ids[i / cols] * cols + i % cols] += dy[i];
    magnitude[ids[i / cols] * cols + i % cols] += std::abs(dy[i]);
  }
  const std::vector<float> got = get(dtable);
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_TRUE(near(got[i], want[i], magnitude[i], 270 * 0x1p-24));
}

// Ids that collide in any small hash table.
TEST_P(Embedding, BackwardWithIdsFarApart) {
  const std::size_t rows = 1 << 18;
  std::vector<std::uint32_t> ids;
  for (std::uint32_t i = 0; i < 600; ++i) ids.push_back(i % 300 * 512 + i % 2);
  std::vector<float> dy(ids.size());
  for (std::size_t i = 0; i < dy.size(); ++i) dy[i] = static_cast<float>(i + 1);
  std::vector<float> want(rows);
  for (std::size_t i = 0; i < ids.size(); ++i) want[ids[i]] += dy[i];  // integers: exact in any order
  const Tensor dtable(device(), DType::f32, {rows, 1});
  run(device(), [&](CommandEncoder& e) {
    embedding_backward(e, Tensor(device(), {ids.size()}, ids),
                       make(device(), DType::f32, {ids.size(), 1}, dy), dtable);
  });
  EXPECT_TRUE(same_bits(get(dtable), want));
}

// Halves are gathered bit for bit, and scattered as the floats they stand for: f32 sums, rounded once.
TEST_P(Embedding, Halves) {
  Random random(5);
  for (const DType dtype : {DType::f16, DType::bf16}) {
    for (const std::size_t n : {1u, 65u, 700u}) {
      for (const std::size_t cols : {1u, 8u, 35u}) {
        constexpr std::size_t rows = 9;
        const Tensor ids(device(), {n}, random.ids(n, rows + 1));
        const std::vector<float> table = rounded(random.floats(rows * cols), dtype),
                                 dy = rounded(random.floats(n * cols), dtype);
        const Guarded y(device(), dtype, {n, cols}), dtable(device(), dtype, {rows, cols});
        const Tensor wide_y(device(), DType::f32, {n, cols}), wide_dtable(device(), DType::f32, {rows, cols});
        run(device(), [&](CommandEncoder& e) {
          embedding(e, make(device(), dtype, {rows, cols}, table), ids, y.tensor);
          embedding_backward(e, ids, make(device(), dtype, {n, cols}, dy), dtable.tensor);
          embedding(e, make(device(), DType::f32, {rows, cols}, table), ids, wide_y);
          embedding_backward(e, ids, make(device(), DType::f32, {n, cols}, dy), wide_dtable);
        });
        EXPECT_TRUE(same_bits(get(y.tensor), get(wide_y)));
        EXPECT_TRUE(same_bits(get(dtable.tensor), rounded(get(wide_dtable), dtype)));
        EXPECT_TRUE(y.intact() && dtable.intact());
      }
    }
  }
}

TEST_P(Embedding, HalvesKeepPayloads) {
  const std::vector<std::uint16_t> bits = {0x7e01, 0xfd55, 0x7c00, 0x8001, 0x7f81, 0xffff};
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const Tensor table(device(), dtype, {6, 1}), y(device(), dtype, {6, 1});
    table.upload_bytes(std::as_bytes(std::span(bits)), dtype);
    run(device(), [&](CommandEncoder& e) {
      embedding(e, table, Tensor(device(), {6}, std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5}), y);
    });
    EXPECT_EQ(bytes_of(y), bytes_of(table));
  }
}

TEST_P(Embedding, Refusals) {
  const auto t = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor(device(), dtype, shape); };
  const Tensor table = t({5, 4}), ids = t({3}, DType::u32), y = t({3, 4});
  CommandEncoder e(device());
  EXPECT_TRUE(
      refuses_op(e, {"embedding", "ids is i32", "u32"}, [&] { embedding(e, table, t({3}, DType::i32), y); }));
  EXPECT_TRUE(refuses_op(e, {"embedding", "y is f32", "table is f16"},
                         [&] { embedding(e, t({5, 4}, DType::f16), ids, y); }));
  EXPECT_TRUE(refuses_op(e, {"embedding", "table is u32", "f32, f16 or bf16"},
                         [&] { embedding(e, t({5, 4}, DType::u32), ids, y); }));
  EXPECT_TRUE(
      refuses_op(e, {"embedding", "y has 16", "3 rows of 4"}, [&] { embedding(e, table, ids, t({4, 4})); }));
  EXPECT_TRUE(refuses_op(e, {"embedding", "y has 13"}, [&] { embedding(e, table, ids, t({13})); }));
  EXPECT_TRUE(
      refuses_op(e, {"embedding", "ids is empty"}, [&] { embedding(e, table, t({0}, DType::u32), y); }));
  EXPECT_TRUE(
      refuses_op(e, {"embedding", "y", "table"}, [&] { embedding(e, table, ids, table.rows(1, 3)); }));
  EXPECT_TRUE(refuses_op(e, {"embedding_backward", "dy has 8", "3 rows of 4"},
                         [&] { embedding_backward(e, ids, t({2, 4}), table); }));
  EXPECT_TRUE(refuses_op(e, {"embedding_backward", "dtable is u8"},
                         [&] { embedding_backward(e, ids, y, t({5, 4}, DType::u8)); }));
}

SILICA_ON_EVERY_DEVICE(Embedding);

}  // namespace
}  // namespace silica::test
