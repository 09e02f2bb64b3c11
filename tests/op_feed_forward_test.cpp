// SPDX-License-Identifier: MIT
// feed_forward: the bits of the ops that it is made of, whatever is kept or wanted. (Its accuracy is judged
// with that of the other ops, by check/feed_forward.cpp.)
#include "support.h"

namespace silica::test {
namespace {

constexpr DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr std::size_t tokens = 13, width = 20, hidden = 27;

std::vector<std::pair<DType, std::size_t>> every_dtype_and_some_tokens() {
  std::vector<std::pair<DType, std::size_t>> all;
  for (const DType dtype : dtypes) {
    for (const std::size_t count : {1u, 3u, 4u, 13u})
      all.emplace_back(dtype, count);  // few have other kernels
  }
  return all;
}

class FeedForward : public DeviceTest {
 protected:
  Tensor random(std::uint64_t seed, DType dtype, const Shape& shape) {
    return make(device(), dtype, shape, Random(seed).floats(shape.size()));
  }
  Tensor empty(DType dtype, const Shape& shape) { return Tensor(device(), dtype, shape); }
  FeedForwardWeights weights(DType dtype) {
    return {random(2, dtype, {hidden, width}), random(3, dtype, {hidden, width}),
            random(4, dtype, {width, hidden})};
  }
  FeedForwardWeights weight_gradients(DType dtype) {
    return {empty(dtype, {hidden, width}), empty(dtype, {hidden, width}), empty(dtype, {width, hidden})};
  }
  FeedForwardKept kept(DType dtype, std::size_t rows = tokens) {
    return {empty(dtype, {rows, hidden}), empty(dtype, {rows, hidden}), empty(dtype, {rows, hidden})};
  }
};

TEST_P(FeedForward, IsItsParts) {
  for (const auto& [dtype, rows] : every_dtype_and_some_tokens()) {
    const Tensor x = random(1, dtype, {rows, width});
    const FeedForwardWeights w = weights(dtype);
    const FeedForwardKept want = kept(dtype, rows), got = kept(dtype, rows);
    const Tensor want_y = empty(dtype, {rows, width}), bare_y = empty(dtype, {rows, width});
    const Guarded y(device(), dtype, {rows, width});
    run(device(), [&](CommandEncoder& e) {
      feed_forward(e, x, w, y.tensor, got);
      feed_forward(e, x, w, bare_y);
      matmul(e, x, w.gate, want.gate, {.transpose_b = true});
      matmul(e, x, w.up, want.up, {.transpose_b = true});
      swiglu(e, want.gate, want.up, want.hidden);
      matmul(e, want.hidden, w.down, want_y, {.transpose_b = true});
    });
    EXPECT_TRUE(same_bits(get(y.tensor), get(want_y))) << to_string(dtype) << " " << rows;
    EXPECT_TRUE(same_bits(get(bare_y), get(want_y))) << to_string(dtype) << " " << rows;
    EXPECT_TRUE(same_bits(get(got.gate), get(want.gate))) << to_string(dtype) << " " << rows;
    EXPECT_TRUE(same_bits(get(got.up), get(want.up))) << to_string(dtype) << " " << rows;
    EXPECT_TRUE(same_bits(get(got.hidden), get(want.hidden))) << to_string(dtype) << " " << rows;
    EXPECT_TRUE(y.intact());
  }
}

// Where kernels for few rows move 16 bytes at a time, too.
TEST_P(FeedForward, InOutOfATokenIsTheTranspose) {
  constexpr std::size_t wide = 520, inner = 1104;
  for (const DType dtype : dtypes) {
    const Tensor x = random(1, dtype, {1, wide}), want = empty(dtype, {1, wide}),
                 got = empty(dtype, {1, wide});
    const FeedForwardWeights w{random(2, dtype, {inner, wide}), random(3, dtype, {inner, wide}),
                               random(4, dtype, {wide, inner})};
    const FeedForwardWeights v{empty(dtype, {wide, inner}), empty(dtype, {wide, inner}),
                               empty(dtype, {inner, wide})};
    run(device(), [&](CommandEncoder& e) {
      transpose(e, w.gate, v.gate);
      transpose(e, w.up, v.up);
      transpose(e, w.down, v.down);
      feed_forward(e, x, w, want);
      feed_forward(e, x, v, got, {}, {.in_out = true});
    });
    EXPECT_TRUE(same_bits(get(got), get(want))) << to_string(dtype);
  }
}

// Weights stored the other way: the same bits, and the transposes of the gradients.
TEST_P(FeedForward, InOutIsTheTranspose) {
  for (const auto& [dtype, rows] : every_dtype_and_some_tokens()) {
    const Tensor x = random(1, dtype, {rows, width}), dy = random(5, dtype, {rows, width});
    const auto turned = [this, dtype = dtype](const Tensor& w) {
      const Tensor y = empty(dtype, {w.shape().cols(), w.shape().rows()});
      run(device(), [&](CommandEncoder& e) { transpose(e, w, y); });
      return y;
    };
    const FeedForwardWeights w = weights(dtype), v{turned(w.gate), turned(w.up), turned(w.down)};
    const FeedForwardWeights want = weight_gradients(dtype);
    const FeedForwardKept want_kept = kept(dtype, rows), got_kept = kept(dtype, rows);
    const auto like_x = [&] { return empty(dtype, x.shape()); };
    const Tensor want_y = like_x(), got_y = like_x(), bare_y = like_x(), want_x = like_x(), got_x = like_x();
    const Guarded gate(device(), dtype, v.gate.shape()), up(device(), dtype, v.up.shape()),
        down(device(), dtype, v.down.shape());
    const FeedForwardWeights got{gate.tensor, up.tensor, down.tensor};
    run(device(), [&](CommandEncoder& e) {
      feed_forward(e, x, w, want_y, want_kept);
      feed_forward(e, x, v, got_y, got_kept, {.in_out = true});
      feed_forward(e, x, v, bare_y, {}, {.in_out = true});
      feed_forward_backward(e, x, w, want_kept, dy, want_x, want);
      feed_forward_backward(e, x, v, got_kept, dy, got_x, got, {.in_out = true});
    });
    const auto expect = [&, dtype = dtype, rows = rows](const Tensor& a, const Tensor& b, const char* what) {
      EXPECT_TRUE(same_bits(get(a), get(b))) << to_string(dtype) << " " << rows << " " << what;
    };
    expect(got_y, want_y, "y");
    expect(bare_y, want_y, "y alone");
    expect(got_kept.gate, want_kept.gate, "kept.gate");
    expect(got_kept.up, want_kept.up, "kept.up");
    expect(got_kept.hidden, want_kept.hidden, "kept.hidden");
    expect(got_x, want_x, "dx");
    expect(turned(got.gate), want.gate, "dgate");
    expect(turned(got.up), want.up, "dup");
    expect(turned(got.down), want.down, "ddown");
    EXPECT_TRUE(gate.intact() && up.intact() && down.intact());
  }
}

// By the tape, of the ops that it is made of.
TEST_P(FeedForward, GradientsAreThoseOfItsParts) {
  for (const DType dtype : dtypes) {
    const Tensor x = random(1, dtype, {tokens, width}), seed = random(5, dtype, {tokens, width});
    const FeedForwardWeights w = weights(dtype);
    const auto gradients = [&](bool whole) {
      CommandEncoder encoder(device());
      Tape tape(encoder);
      const std::vector<Variable> v = {tape.variable(x), tape.variable(w.gate), tape.variable(w.up),
                                       tape.variable(w.down)};
      const auto through = [](const Variable& a, const Variable& b) {
        return matmul(a, b, {.transpose_b = true});
      };
      const Variable y = whole ? feed_forward(v[0], v[1], v[2], v[3])
                               : through(swiglu(through(v[0], v[1]), through(v[0], v[2])), v[3]);
      tape.backward(y, seed);
      std::vector<Tensor> all;
      for (const Variable& variable : v) all.push_back(tape.gradient(variable));
      device().submit(encoder.finish()).wait();
      return all;
    };
    const std::vector<Tensor> got = gradients(true), want = gradients(false);
    for (std::size_t i = 0; i < 4; ++i)
      EXPECT_TRUE(same_bits(get(got[i]), get(want[i]))) << to_string(dtype) << " " << i;
  }
}

// Every subset of the gradients: none changes another, and none is computed that nobody wants.
TEST_P(FeedForward, EachGradientAlone) {
  const DType dtype = DType::f32;
  const Tensor x = random(1, dtype, {tokens, width}), dy = random(5, dtype, {tokens, width});
  const FeedForwardWeights w = weights(dtype);
  const FeedForwardKept k = kept(dtype);
  const Tensor y = empty(dtype, {tokens, width}), want_x = empty(dtype, {tokens, width});
  const FeedForwardWeights want = weight_gradients(dtype);
  run(device(), [&](CommandEncoder& e) {
    feed_forward(e, x, w, y, k);
    feed_forward_backward(e, x, w, k, dy, want_x, want);
  });
  for (unsigned set = 0; set < 16; ++set) {
    const FeedForwardWeights all = weight_gradients(dtype);
    const Tensor dx = (set & 1) != 0 ? empty(dtype, {tokens, width}) : Tensor();
    const FeedForwardWeights d{(set & 2) != 0 ? all.gate : Tensor(), (set & 4) != 0 ? all.up : Tensor(),
                               (set & 8) != 0 ? all.down : Tensor()};
    CommandEncoder encoder(device());
    feed_forward_backward(encoder, x, w, k, dy, dx, d);
    if (set == 0 || set == 8) {
      EXPECT_EQ(encoder.commands(), set / 8);  // nothing, and one product
      if (set == 0) continue;
    }
    device().submit(encoder.finish()).wait();
    const auto expect = [&](const Tensor& got, const Tensor& gradient) {
      if (!got) return;
      EXPECT_TRUE(same_bits(get(got), get(gradient))) << set;
    };
    expect(dx, want_x);
    expect(d.gate, want.gate);
    expect(d.up, want.up);
    expect(d.down, want.down);
  }
}

TEST_P(FeedForward, RefusesWhatDoesNotFit) {
  const DType dtype = DType::f32;
  const Tensor x = random(1, dtype, {tokens, width}), y = empty(dtype, {tokens, width});
  const FeedForwardWeights w = weights(dtype), d = weight_gradients(dtype);
  const FeedForwardKept k = kept(dtype);
  CommandEncoder e(device());
  const auto forward = [&](const Tensor& in, const FeedForwardWeights& weights, const Tensor& out,
                           const FeedForwardKept& keep = {}) {
    return [&, in, weights, out, keep] { feed_forward(e, in, weights, out, keep); };
  };
  const Tensor half = empty(DType::f16, {tokens, width}), turned = empty(dtype, {width, tokens});
  EXPECT_TRUE(refuses_op(e, {"feed_forward", "gate", "no tensor"}, forward(x, {{}, w.up, w.down}, y)));
  EXPECT_TRUE(
      refuses_op(e, {"feed_forward", "up", "(20, 27)", "(27, 20)"}, forward(x, {w.gate, w.down, w.down}, y)));
  EXPECT_TRUE(
      refuses_op(e, {"feed_forward", "down", "(27, 20)", "(20, 27)"}, forward(x, {w.gate, w.up, w.up}, y)));
  EXPECT_TRUE(refuses_op(e, {"feed_forward", "y", "f16", "f32"}, forward(x, w, half)));
  EXPECT_TRUE(refuses_op(e, {"feed_forward", "y", "(20, 13)", "(13, 20)"}, forward(x, w, turned)));
  EXPECT_TRUE(refuses_op(e, {"feed_forward", "y", "x"}, forward(x, w, x)));
  EXPECT_TRUE(
      refuses_op(e, {"feed_forward", "kept.up", "no tensor"}, forward(x, w, y, {k.gate, {}, k.hidden})));
  EXPECT_TRUE(
      refuses_op(e, {"feed_forward", "kept.hidden", "kept.up"}, forward(x, w, y, {k.gate, k.up, k.up})));
  EXPECT_TRUE(refuses_op(e, {"feed_forward", "gate is (27, 20)", "x has 20 columns", "(in, out)"},
                         [&] { feed_forward(e, x, w, y, {}, {.in_out = true}); }));
  EXPECT_TRUE(refuses_op(e, {"feed_forward", "down", "(20, 27)", "(27, 20)"},
                         [&] { feed_forward(e, x, {w.down, w.down, w.down}, y, {}, {.in_out = true}); }));
  EXPECT_TRUE(refuses_op(e, {"feed_forward_backward", "dup", "(27, 20)", "(20, 27)"}, [&] {
    feed_forward_backward(e, x, {w.down, w.down, w.gate}, k, y, {}, {{}, d.up, {}}, {.in_out = true});
  }));
  EXPECT_TRUE(refuses_op(e, {"feed_forward_backward", "kept.gate", "no tensor"},
                         [&] { feed_forward_backward(e, x, w, {}, y, {}, d); }));
  EXPECT_TRUE(refuses_op(e, {"feed_forward_backward", "dup", "(20, 27)", "(27, 20)"},
                         [&] { feed_forward_backward(e, x, w, k, y, {}, {{}, d.down, {}}); }));
  EXPECT_TRUE(refuses_op(e, {"feed_forward_backward", "dx", "dy"},
                         [&] { feed_forward_backward(e, x, w, k, y, y, {}); }));
}

SILICA_ON_EVERY_DEVICE(FeedForward);

}  // namespace
}  // namespace silica::test
