// SPDX-License-Identifier: MIT
// rms_norm against the order that is part of the API, bit for bit, and against f64.
#include "support.h"

namespace silica::test {
namespace {

class RmsNorm : public DeviceTest {};

// Element i into lane i mod 256, ascending; lanes folded in halves.
float sum_of_squares(const float* x, std::size_t n) {
  float lanes[256] = {};
  for (std::size_t i = 0; i < n; ++i) lanes[i % 256] = std::fma(x[i], x[i], lanes[i % 256]);
  for (std::size_t half = 128; half > 0; half /= 2) {
    for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

float naive_scale(const float* x, std::size_t cols, float epsilon) {
  return 1.0f / std::sqrt(sum_of_squares(x, cols) / static_cast<float>(cols) + epsilon);
}

struct Problem {
  std::size_t rows, cols;
  float epsilon = 1e-5f;
  std::vector<float> x, weight, dy;

  Problem(Random& random, std::size_t r, std::size_t c)
      : rows(r), cols(c), x(random.floats(r * c)), weight(random.floats(c)), dy(random.floats(r * c)) {}
};

TEST_P(RmsNorm, ForwardIsTheWrittenOrderBitForBit) {
  Random random(1);
  for (const std::size_t cols : {1u, 2u, 3u, 17u, 127u, 255u, 256u, 257u, 511u, 600u, 1024u, 4099u}) {
    Problem p(random, random.between(1, 9), cols);
    p.epsilon = cols % 2 == 0 ? 1e-5f : 1e-6f;
    const Guarded y(device(), DType::f32, {p.rows, cols});
    run(device(), [&](CommandEncoder& e) {
      rms_norm(e, make(device(), DType::f32, {p.rows, cols}, p.x), make(device(), p.weight), y.tensor,
               {.epsilon = p.epsilon});
    });
    std::vector<float> want(p.x.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      const float scale = naive_scale(&p.x[i / cols * cols], cols, p.epsilon);
      want[i] = p.x[i] * scale * p.weight[i % cols];
    }
    EXPECT_TRUE(same_bits(get(y.tensor), want)) << cols;
    EXPECT_TRUE(y.intact());
  }
}

// Of f64, with the magnitudes of the terms that were added.
struct Gradients {
  std::vector<double> dx, dx_magnitude, dweight, dweight_magnitude;
};

Gradients exact_gradients(const Problem& p) {
  Gradients g{std::vector<double>(p.x.size()), std::vector<double>(p.x.size()), std::vector<double>(p.cols),
              std::vector<double>(p.cols)};
  for (std::size_t r = 0; r < p.rows; ++r) {
    const float* x = &p.x[r * p.cols];
    const float* dy = &p.dy[r * p.cols];
    double squares = 0.0, dot = 0.0, dot_magnitude = 0.0;
    const double n = static_cast<double>(p.cols);
    for (std::size_t j = 0; j < p.cols; ++j) {
      squares += double{x[j]} * double{x[j]};
      dot += double{dy[j]} * double{p.weight[j]} * double{x[j]};
      dot_magnitude += std::abs(double{dy[j]} * double{p.weight[j]} * double{x[j]});
    }
    const double scale = 1.0 / std::sqrt(squares / n + double{p.epsilon});
    for (std::size_t j = 0; j < p.cols; ++j) {
      const double direct = double{dy[j]} * double{p.weight[j]} * scale;
      const double cube = scale * scale * scale / n * double{x[j]};
      g.dx[r * p.cols + j] = direct - cube * dot;
      g.dx_magnitude[r * p.cols + j] = std::abs(direct) + std::abs(cube) * dot_magnitude;
      g.dweight[j] += double{dy[j]} * double{x[j]} * scale;
      g.dweight_magnitude[j] += std::abs(double{dy[j]} * double{x[j]} * scale);
    }
  }
  return g;
}

TEST_P(RmsNorm, BackwardAgreesWithF64) {
  Random random(2);
  for (int round = 0; round < 12; ++round) {
    const Problem p(random, random.between(1, 700), random.between(1, 150));
    const Guarded dx(device(), DType::f32, {p.rows, p.cols}), dweight(device(), DType::f32, {p.cols});
    run(device(), [&](CommandEncoder& e) {
      rms_norm_backward(e, make(device(), DType::f32, {p.rows, p.cols}, p.x), make(device(), p.weight),
                        make(device(), DType::f32, {p.rows, p.cols}, p.dy), dx.tensor, dweight.tensor);
    });
    const Gradients want = exact_gradients(p);
    const std::vector<float> got_dx = get(dx.tensor), got_dweight = get(dweight.tensor);
    for (std::size_t i = 0; i < got_dx.size(); ++i) {
      ASSERT_TRUE(near(got_dx[i], want.dx[i], want.dx_magnitude[i], 20 * 0x1p-24)) << i;
    }
    for (std::size_t j = 0; j < p.cols; ++j) {
      ASSERT_TRUE(near(got_dweight[j], want.dweight[j], want.dweight_magnitude[j], 270 * 0x1p-24)) << j;
    }
    EXPECT_TRUE(dx.intact() && dweight.intact());
  }
}

// dweight is a sum over rows, which has a matmul's order: blocks of 256 rows, in each a chain of fma.
TEST_P(RmsNorm, BackwardOfTheWeightIsTheWrittenOrderBitForBit) {
  Random random(3);
  for (const std::size_t rows : {1u, 2u, 255u, 256u, 257u, 700u}) {
    const Problem p(random, rows, 77);
    const Tensor dweight(device(), DType::f32, {p.cols});
    run(device(), [&](CommandEncoder& e) {
      rms_norm_backward(e, make(device(), DType::f32, {rows, p.cols}, p.x), make(device(), p.weight),
                        make(device(), DType::f32, {rows, p.cols}, p.dy), Tensor(), dweight);
    });
    std::vector<float> want(p.cols);
    for (std::size_t j = 0; j < p.cols; ++j) {
      for (std::size_t block = 0; block < rows; block += 256) {
        float sum = 0.0f;
        for (std::size_t r = block; r < std::min<std::size_t>(rows, block + 256); ++r) {
          const float scale = naive_scale(&p.x[r * p.cols], p.cols, p.epsilon);
          sum = std::fma(p.dy[r * p.cols + j], p.x[r * p.cols + j] * scale, sum);
        }
        want[j] += sum;
      }
    }
    EXPECT_TRUE(same_bits(get(dweight), want)) << rows;
  }
}

TEST_P(RmsNorm, InPlaceGivesTheSameBits) {
  Random random(4);
  const Problem p(random, 40, 333);
  const auto tensor = [&](const std::vector<float>& values) {
    return make(device(), DType::f32, {p.rows, p.cols}, values);
  };
  const Tensor weight = make(device(), p.weight), y = tensor(p.x), in_place = tensor(p.x);
  run(device(), [&](CommandEncoder& e) {
    rms_norm(e, tensor(p.x), weight, y);
    rms_norm(e, in_place, weight, in_place);
  });
  EXPECT_TRUE(same_bits(get(in_place), get(y)));

  const Tensor dx = tensor(p.x), dweight(device(), DType::f32, {p.cols}), x2 = tensor(p.x),
               dy2 = tensor(p.dy), dweight2(device(), DType::f32, {p.cols}), x3 = tensor(p.x),
               dweight3(device(), DType::f32, {p.cols});
  run(device(), [&](CommandEncoder& e) {
    rms_norm_backward(e, tensor(p.x), weight, tensor(p.dy), dx, dweight);
    rms_norm_backward(e, x2, weight, dy2, dy2, dweight2);          // dx is dy
    rms_norm_backward(e, x3, weight, tensor(p.dy), x3, dweight3);  // dx is x
  });
  EXPECT_TRUE(same_bits(get(dy2), get(dx)));
  EXPECT_TRUE(same_bits(get(x3), get(dx)));
  EXPECT_TRUE(same_bits(get(dweight2), get(dweight)));
  EXPECT_TRUE(same_bits(get(dweight3), get(dweight)));
}

TEST_P(RmsNorm, ARowOfZerosGivesZeros) {
  const Tensor x(device(), DType::f32, {2, 5}), weight = make(device(), std::vector<float>(5, 1.0f));
  const Tensor y(device(), DType::f32, {2, 5}), dx(device(), DType::f32, {2, 5});
  run(device(), [&](CommandEncoder& e) {
    rms_norm(e, x, weight, y);
    rms_norm_backward(e, x, weight, x, dx, Tensor());
  });
  EXPECT_EQ(get(y), std::vector<float>(10));
  EXPECT_EQ(get(dx), std::vector<float>(10));
}

TEST_P(RmsNorm, RowsDoNotDependOnTheBatch) {
  Random random(5);
  const Problem p(random, 33, 500);
  const Tensor x = make(device(), DType::f32, {p.rows, p.cols}, p.x), weight = make(device(), p.weight);
  const Tensor y(device(), DType::f32, {p.rows, p.cols}), one(device(), DType::f32, {1, p.cols});
  run(device(), [&](CommandEncoder& e) {
    rms_norm(e, x, weight, y);
    rms_norm(e, x.rows(17, 1), weight, one);
  });
  EXPECT_TRUE(same_bits(get(y.rows(17, 1)), get(one)));
}

TEST_P(RmsNorm, Refusals) {
  const auto t = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor(device(), dtype, shape); };
  const Tensor x = t({3, 4}), weight = t({4}), y = t({3, 4});
  CommandEncoder e(device());
  EXPECT_TRUE(refuses_op(e, {"rms_norm", "weight has 3", "expected 4", "column"},
                         [&] { rms_norm(e, x, t({3}), y); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm", "y has 8", "x has 12"}, [&] { rms_norm(e, x, weight, t({2, 4})); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm", "x is f16", "weight is f32"},
                         [&] { rms_norm(e, t({3, 4}, DType::f16), weight, y); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm", "weight is no tensor"}, [&] { rms_norm(e, x, Tensor(), y); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm", "empty"}, [&] { rms_norm(e, t({0, 4}), weight, y); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm_backward", "dweight has 5", "4"},
                         [&] { rms_norm_backward(e, x, weight, t({3, 4}), t({3, 4}), t({5})); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm_backward", "dx has 4", "12"},
                         [&] { rms_norm_backward(e, x, weight, t({3, 4}), t({4}), t({4})); }));
  EXPECT_TRUE(refuses_op(e, {"rms_norm_backward", "overlaps"}, [&] {
    rms_norm_backward(e, x.rows(0, 2), weight, t({2, 4}), x.rows(1, 2), t({4}));
  }));
}

SILICA_ON_EVERY_DEVICE(RmsNorm);

// Within their bounds of f64: op_rows_test.cpp.
class Norms : public DeviceTest {
 protected:
  Tensor matrix(const Problem& p, const std::vector<float>& values) {
    return make(device(), DType::f32, {p.rows, p.cols}, values);
  }
  Tensor empty(const Problem& p) { return Tensor(device(), DType::f32, {p.rows, p.cols}); }
};

TEST_P(Norms, LayerNormIsTheWrittenOrderBitForBit) {
  Random random(6);
  for (const std::size_t cols : {1u, 3u, 255u, 257u, 600u, 1025u}) {
    const Problem p(random, 3, cols);
    const std::vector<float> bias = random.floats(cols);
    const Guarded y(device(), DType::f32, {p.rows, cols});
    run(device(), [&](CommandEncoder& e) {
      layer_norm(e, matrix(p, p.x), make(device(), p.weight), make(device(), bias), y.tensor);
    });
    std::vector<float> want;
    for (std::size_t r = 0; r < p.rows; ++r) {
      std::vector<float> row(&p.x[r * cols], &p.x[r * cols] + cols);
      float lanes[256] = {};
      for (std::size_t i = 0; i < cols; ++i) lanes[i % 256] += row[i];
      for (std::size_t half = 128; half > 0; half /= 2) {
        for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
      }
      for (float& value : row) value -= lanes[0] / static_cast<float>(cols);
      const float scale = naive_scale(row.data(), cols, p.epsilon);
      for (std::size_t i = 0; i < cols; ++i) want.push_back(std::fma(row[i] * scale, p.weight[i], bias[i]));
    }
    EXPECT_TRUE(same_bits(get(y.tensor), want)) << cols;
    EXPECT_TRUE(y.intact());
  }
}

// A sum over rows, which has a matmul's order.
TEST_P(Norms, BackwardOfTheBiasIsTheWrittenOrderBitForBit) {
  Random random(10);
  for (const std::size_t rows : {1u, 255u, 256u, 257u, 700u}) {
    const Problem p(random, rows, 77);
    const Guarded dbias(device(), DType::f32, {p.cols});
    run(device(), [&](CommandEncoder& e) {
      layer_norm_backward(e, matrix(p, p.x), Tensor(), matrix(p, p.dy), Tensor(), Tensor(), dbias.tensor);
    });
    std::vector<float> want(p.cols);
    for (std::size_t j = 0; j < p.cols; ++j) {
      for (std::size_t block = 0; block < rows; block += 256) {
        float sum = 0.0f;
        for (std::size_t r = block; r < std::min<std::size_t>(rows, block + 256); ++r)
          sum += p.dy[r * p.cols + j];
        want[j] += sum;
      }
    }
    EXPECT_TRUE(same_bits(get(dbias.tensor), want)) << rows;
    EXPECT_TRUE(dbias.intact());
  }
}

TEST_P(Norms, L2NormIsTheWrittenOrderBitForBit) {
  Random random(7);
  for (const std::size_t cols : {1u, 3u, 255u, 257u, 600u, 1025u}) {
    const Problem p(random, 3, cols);
    const Guarded y(device(), DType::f32, {p.rows, cols});
    run(device(), [&](CommandEncoder& e) { l2_norm(e, matrix(p, p.x), y.tensor, {.epsilon = 0.0f}); });
    std::vector<float> want = p.x;
    for (std::size_t i = 0; i < want.size(); ++i) {
      want[i] *= 1.0f / std::sqrt(sum_of_squares(&p.x[i / cols * cols], cols));
    }
    EXPECT_TRUE(same_bits(get(y.tensor), want)) << cols;
    EXPECT_TRUE(y.intact());
  }
}

TEST_P(Norms, AnAbsentWeightIsOneAndAnAbsentBiasZero) {
  Random random(8);
  const Problem p(random, 5, 300);
  const Tensor one = make(device(), std::vector<float>(300, 1.0f)), zero(device(), DType::f32, {300});
  const Tensor x = matrix(p, p.x), dy = matrix(p, p.dy), y = empty(p), y2 = empty(p), dx = empty(p),
               dx2 = empty(p);
  run(device(), [&](CommandEncoder& e) {
    layer_norm(e, x, one, zero, y);
    layer_norm(e, x, Tensor(), Tensor(), y2);
    layer_norm_backward(e, x, one, dy, dx, Tensor(), Tensor());
    layer_norm_backward(e, x, Tensor(), dy, dx2, Tensor(), Tensor());
  });
  EXPECT_TRUE(same_bits(get(y2), get(y)));
  EXPECT_TRUE(same_bits(get(dx2), get(dx)));
}

// x and dy are read once for dx, and once more for the sums over rows; in place once more before.
TEST_P(Norms, GradientsTakeFewCommands) {
  Random random(11);
  const Problem p(random, 4, 9);
  const auto line = [&] { return Tensor(device(), DType::f32, {p.cols}); };
  const Tensor x = matrix(p, p.x), dy = matrix(p, p.dy), weight = make(device(), p.weight), dx = empty(p);
  const auto commands = [&](const auto& encode) {
    CommandEncoder e(device());
    encode(e);
    return e.commands();
  };
  EXPECT_EQ(commands([&](CommandEncoder& e) { rms_norm_backward(e, x, weight, dy, dx, Tensor()); }), 1u);
  EXPECT_EQ(commands([&](CommandEncoder& e) { rms_norm_backward(e, x, weight, dy, dx, line()); }), 2u);
  EXPECT_EQ(commands([&](CommandEncoder& e) { rms_norm_backward(e, x, weight, dy, dy, line()); }), 3u);
  EXPECT_EQ(commands([&](CommandEncoder& e) { rms_norm_backward(e, x, weight, dy, Tensor(), line()); }), 2u);
  EXPECT_EQ(commands([&](CommandEncoder& e) { layer_norm_backward(e, x, weight, dy, dx, line(), line()); }),
            3u);
  // And one that fills an absent weight.
  EXPECT_EQ(commands([&](CommandEncoder& e) { l2_norm_backward(e, x, dy, dx); }), 2u);
}

TEST_P(Norms, InPlaceAndOneByOneGiveTheSameBits) {
  Random random(9);
  const Problem p(random, 40, 333);
  const auto line = [&] { return Tensor(device(), DType::f32, {p.cols}); };
  const Tensor x = matrix(p, p.x), dy = matrix(p, p.dy), weight = make(device(), p.weight), bias = line();
  const Tensor y = empty(p), y2 = matrix(p, p.x), l = empty(p), l2 = matrix(p, p.x);
  const Tensor dx = empty(p), dx2 = matrix(p, p.x), dx3 = matrix(p, p.dy), dl = empty(p),
               dl2 = matrix(p, p.dy), dw = line(), db = line(), dw2 = line(), db2 = line();
  run(device(), [&](CommandEncoder& e) {
    layer_norm(e, x, weight, bias, y);
    layer_norm(e, y2, weight, bias, y2);
    l2_norm(e, x, l);
    l2_norm(e, l2, l2);
    layer_norm_backward(e, x, weight, dy, dx, dw, db);
    layer_norm_backward(e, dx2, weight, dy, dx2, dw2, Tensor());
    layer_norm_backward(e, x, weight, dx3, dx3, Tensor(), db2);
    layer_norm_backward(e, x, weight, dy, Tensor(), Tensor(), Tensor());
    l2_norm_backward(e, x, dy, dl);
    l2_norm_backward(e, x, dl2, dl2);
  });
  EXPECT_TRUE(same_bits(get(y2), get(y)) && same_bits(get(l2), get(l)));
  EXPECT_TRUE(same_bits(get(dx2), get(dx)) && same_bits(get(dx3), get(dx)) && same_bits(get(dl2), get(dl)));
  EXPECT_TRUE(same_bits(get(dw2), get(dw)) && same_bits(get(db2), get(db)));
}

TEST_P(Norms, Refusals) {
  const auto t = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor(device(), dtype, shape); };
  const Tensor x = t({3, 4}), line = t({4}), y = t({3, 4}), none;
  CommandEncoder e(device());
  EXPECT_TRUE(refuses_op(e, {"layer_norm", "bias has 3", "expected 4", "column"},
                         [&] { layer_norm(e, x, line, t({3}), y); }));
  EXPECT_TRUE(refuses_op(e, {"layer_norm", "weight is f16", "x is f32"},
                         [&] { layer_norm(e, x, t({4}, DType::f16), none, y); }));
  EXPECT_TRUE(refuses_op(e, {"layer_norm", "y overlaps x"}, [&] {
    const Tensor both = t({4, 4});
    layer_norm(e, both.rows(0, 3), none, none, both.rows(1, 3));
  }));
  EXPECT_TRUE(refuses_op(e, {"layer_norm_backward", "dbias overlaps dweight"},
                         [&] { layer_norm_backward(e, x, none, y, none, line, line); }));
  EXPECT_TRUE(refuses_op(e, {"layer_norm_backward", "dweight overlaps dy"},
                         [&] { layer_norm_backward(e, x, none, y, none, y.rows(1, 1), none); }));
  EXPECT_TRUE(refuses_op(e, {"layer_norm_backward", "dbias has 3", "4"},
                         [&] { layer_norm_backward(e, x, none, y, none, none, t({3})); }));
  EXPECT_TRUE(refuses_op(e, {"l2_norm", "y has 4", "x has 12"}, [&] { l2_norm(e, x, line); }));
  EXPECT_TRUE(refuses_op(e, {"l2_norm", "x is u32"}, [&] { l2_norm(e, t({4}, DType::u32), line); }));
  EXPECT_TRUE(refuses_op(e, {"l2_norm", "y overlaps x"}, [&] {
    const Tensor both = t({4, 4});
    l2_norm(e, both.rows(0, 3), both.rows(1, 3));
  }));
  EXPECT_TRUE(
      refuses_op(e, {"l2_norm_backward", "dx is no tensor"}, [&] { l2_norm_backward(e, x, y, none); }));
}

SILICA_ON_EVERY_DEVICE(Norms);

}  // namespace
}  // namespace silica::test
