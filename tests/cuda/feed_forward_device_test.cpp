// SPDX-License-Identifier: MIT
// The kernels of feed_forward in Math::fast, on a machine with a GPU of sm_90. Elsewhere skipped, unless
// SILICA_REQUIRE_CUDA is set and the GPU is one.
#include <cstdint>
#include <cstdlib>
#include <functional>

#include "cases.h"
#include "kernels/matmul/matmul.h"
#include "swiglu_bounds.h"

namespace silica::test {

namespace {

constexpr DType dtypes[] = {DType::bf16, DType::f16};

std::string kernel_of(const char* name, DType dtype) {
  return "feed_forward." + std::string(name) + "." + std::string(to_string(dtype)) + ".fast";
}

class FeedForwardDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device() != nullptr && has_kernels()) return;
    const DeviceInfo info = list_devices()[0];
    const std::string why = "no CUDA device of sm_90: " + info.description + " " + info.note;
    if (std::getenv("SILICA_REQUIRE_CUDA") != nullptr && why.find("sm_90,") != why.npos) FAIL() << why;
    GTEST_SKIP() << why;
  }
  static bool has_kernels() {
    const CommandEncoder encoder(device(), {.math = Math::fast});
    return device().kernels().contains(kernel_of("product", DType::bf16));
  }
  static const Device& device() { return *cuda_device(); }

  static Tensor random(std::uint64_t seed, DType dtype, const Shape& shape, float amplitude = 1.0f) {
    return make(device(), dtype, shape,
                rounded(Random(seed).floats(shape.size(), -amplitude, amplitude), dtype));
  }
  // At a multiple of 16 bytes, as the kernels want it.
  static Guarded guarded(DType dtype, const Shape& shape) { return {device(), dtype, shape, 8, 72}; }

  template <class Encode> static void run_fast(Encode&& encode, int times = 1) {
    CommandEncoder e(device(), {.math = Math::fast});
    encode(e);
    const CommandList list = e.finish();
    for (int i = 0; i < times; ++i) device().submit(list).wait();
  }
  static void product(CommandEncoder& e, const Tensor& a, const Tensor& b, const Tensor& c,
                      const kernels::ProductSizes& sizes) {
    e.dispatch(kernel_of("product", c.dtype()), {read(a, "a"), read(b, "b"), write(c, "c")}, sizes,
               Grid{sizes.n, sizes.m});
  }
};

// The sum in the exact order, and of the terms' magnitudes, both in f32.
struct Want {
  std::vector<float> value, magnitude;
};
Want exact_product(const Device& device, const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  const std::size_t m = options.transpose_a ? a.shape().cols() : a.shape().rows();
  const std::size_t n = options.transpose_b ? b.shape().rows() : b.shape().cols();
  const Tensor value(device, DType::f32, {m, n}), magnitude(device, DType::f32, {m, n});
  const auto wide = [&](const Tensor& x, bool without_sign) {
    std::vector<float> values = get(x);
    for (float& v : values) v = without_sign ? std::abs(v) : v;
    return make(device, DType::f32, x.shape(), values);
  };
  run(device, [&](CommandEncoder& e) {
    matmul(e, wide(a, false), wide(b, false), value, options);
    matmul(e, wide(a, true), wide(b, true), magnitude, options);
  });
  return {get(value), get(magnitude)};
}

// Within the bound of docs/exactness.md, and what the exact order may be off.
void expect_within(const std::string& what, const Tensor& got, const Want& want, std::size_t k) {
  const double unit = got.dtype() == DType::f16 ? 0x1p-11 : 0x1p-8;
  const double of_magnitude = (static_cast<double>(k) + 4) * 0x1p-22 + 264 * 0x1p-24;
  const std::vector<float> values = get(got);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double sum = of_magnitude * want.magnitude[i], value = want.value[i];
    ASSERT_LE(std::abs(values[i] - value), sum + unit * (std::abs(value) + sum) + 0x1p-25)
        << what << ": element " << i << " is " << values[i] << ", in the exact order " << value;
  }
}

struct Sizes {
  std::size_t m, n, k;
};
std::string text_of(DType dtype, std::size_t m, std::size_t n, std::size_t k) {
  return std::string(to_string(dtype)) + " " + std::to_string(m) + " x " + std::to_string(n) + " x " +
         std::to_string(k);
}
constexpr Sizes shapes[] = {
    {8, 8, 8}, {264, 520, 136}, {1000, 2056, 776}, {136, 4104, 1032}, {2064, 776, 72}};

TEST_F(FeedForwardDevice, ProductsOfEveryLayoutAreWithinTheBound) {
  for (const DType dtype : dtypes) {
    for (const auto& [m, n, k] : shapes) {
      for (const auto& [ta, tb] : {MatmulOptions{false, false}, {false, true}, {true, false}, {true, true}}) {
        const std::string what = text_of(dtype, m, n, k) + (ta ? " ta" : "") + (tb ? " tb" : "");
        const Tensor a = random(1, dtype, ta ? Shape{k, m} : Shape{m, k}),
                     b = random(2, dtype, tb ? Shape{n, k} : Shape{k, n});
        const Guarded c = guarded(dtype, {m, n});
        run_fast([&](CommandEncoder& e) { product(e, a, b, c.tensor, {m, n, k, ta, tb}); });
        expect_within(what, c.tensor, exact_product(device(), a, b, {ta, tb}), k);
        EXPECT_TRUE(c.intact()) << what;
      }
    }
  }
}

// How weights are stored: (out, in) and (in, out).
constexpr MatmulOptions layouts[] = {{.transpose_b = true}, {}};
// Of a second factor.
Shape stored(const MatmulOptions& o, std::size_t n, std::size_t k) {
  return o.transpose_b ? Shape{n, k} : Shape{k, n};
}

void for_each_network(const std::function<void(DType, const Sizes&, const MatmulOptions&)>& expect) {
  for (const DType dtype : dtypes) {
    for (const Sizes& sizes : shapes) {
      for (const MatmulOptions& layout : layouts) expect(dtype, sizes, layout);
    }
  }
}

TEST_F(FeedForwardDevice, HiddenIsSwigluOfTheProducts) {
  for_each_network([](DType dtype, const Sizes& s, const MatmulOptions& layout) {
    const auto& [m, n, k] = s;
    const kernels::ProductSizes sizes{m, n, k, 0, layout.transpose_b};
    for (const float amplitude : {0.01f, 1.0f, 300.0f}) {
      const Tensor x = random(1, dtype, {m, k}, amplitude),
                   gate = random(2, dtype, stored(layout, n, k), amplitude),
                   up = random(3, dtype, stored(layout, n, k), amplitude), alone(device(), dtype, {m, n});
      const Guarded hidden = guarded(dtype, {m, n}), g = guarded(dtype, {m, n}), u = guarded(dtype, {m, n});
      run_fast([&](CommandEncoder& e) {
        e.dispatch(kernel_of("hidden", dtype),
                   {read(x, "x"), read(gate, "gate"), read(up, "up"), write(alone, "hidden")}, sizes,
                   Grid{n, m});
        e.dispatch(kernel_of("hidden_kept", dtype),
                   {read(x, "x"), read(gate, "gate"), read(up, "up"), write(hidden.tensor, "hidden"),
                    write(g.tensor, "kept.gate"), write(u.tensor, "kept.up")},
                   sizes, Grid{n, m});
      });
      const std::string what = text_of(dtype, m, n, k) + " of " + std::to_string(amplitude);
      if (dtype == DType::bf16 || amplitude < 300.0f) {  // f16 overflows
        expect_within(what + " gate", g.tensor, exact_product(device(), x, gate, layout), k);
        expect_within(what + " up", u.tensor, exact_product(device(), x, up, layout), k);
      }
      expect_fast_silu(what, get(hidden.tensor), get(g.tensor), get(u.tensor), dtype);
      EXPECT_TRUE(same_bits(get(alone), get(hidden.tensor))) << what;
      EXPECT_TRUE(hidden.intact() && g.intact() && u.intact()) << what;
    }
  });
}

TEST_F(FeedForwardDevice, HiddenBackwardIsSwigluBackwardOfTheProduct) {
  for_each_network([](DType dtype, const Sizes& s, const MatmulOptions& layout) {
    const auto& [m, n, k] = s;
    const kernels::ProductSizes sizes{m, n, k, 0, layout.transpose_b};
    for (const Data data : {Data::ordinary, Data::special}) {
      const auto values = [&](std::uint64_t number) {
        return make(device(), dtype, {s.m, s.n},
                    rounded(values_for(data, number, s.m * s.n, -4.0f, 4.0f), dtype));
      };
      const Tensor dy = random(1, dtype, {m, k}), down = random(2, dtype, stored(layout, n, k)),
                   gate = values(3), up = values(4), dhidden(device(), dtype, {m, n});
      const Guarded dgate = guarded(dtype, {m, n}), dup = guarded(dtype, {m, n});
      run_fast([&](CommandEncoder& e) {
        product(e, dy, down, dhidden, sizes);
        e.dispatch(kernel_of("hidden_backward", dtype),
                   {read(dy, "dy"), read(down, "down"), read(gate, "kept.gate"), read(up, "kept.up"),
                    write(dgate.tensor, "dgate"), write(dup.tensor, "dup")},
                   sizes, Grid{n, m});
      });
      const std::string what = text_of(dtype, m, n, k) + " " + std::string(to_string(data));
      const std::vector<float> g = get(gate), d = get(dhidden);
      expect_fast_silu(what + " dup", get(dup.tensor), g, d, dtype);
      expect_fast_silu_gradient(what + " dgate", get(dgate.tensor), g, get(up), d, dtype);
      EXPECT_TRUE(dgate.intact() && dup.intact()) << what;
    }
  });
}

TEST_F(FeedForwardDevice, InputBackwardSumsTwoProducts) {
  for_each_network([](DType dtype, const Sizes& s, const MatmulOptions& layout) {
    const auto& [m, n, k] = s;
    const Tensor dgate = random(1, dtype, {m, k}), gate = random(2, dtype, stored(layout, n, k)),
                 dup = random(3, dtype, {m, k}), up = random(4, dtype, stored(layout, n, k));
    const Guarded dx = guarded(dtype, {m, n});
    run_fast([&](CommandEncoder& e) {
      e.dispatch(kernel_of("input_backward", dtype),
                 {read(dgate, "dgate"), read(gate, "gate"), read(dup, "dup"), read(up, "up"),
                  write(dx.tensor, "dx")},
                 kernels::ProductSizes{s.m, s.n, s.k, 0, layout.transpose_b}, Grid{s.n, s.m});
    });
    Want want = exact_product(device(), dgate, gate, layout);
    const Want other = exact_product(device(), dup, up, layout);
    for (std::size_t i = 0; i < want.value.size(); ++i) {
      want.value[i] += other.value[i];
      want.magnitude[i] += other.magnitude[i];
    }
    expect_within(text_of(dtype, m, n, k), dx.tensor, want, 2 * k);
    EXPECT_TRUE(dx.intact());
  });
}

// ---- the op

constexpr std::size_t tokens = 1032, width = 4104, hidden = 1096;

struct Network {
  Tensor x, dy;
  FeedForwardWeights weights;
  bool in_out;
};

class FeedForwardOp : public FeedForwardDevice {
 protected:
  static Network network(DType dtype, bool in_out) {
    const auto weight = [&](std::uint64_t seed, std::size_t out, std::size_t in) {
      return random(seed, dtype, in_out ? Shape{in, out} : Shape{out, in},
                    1.5f / std::sqrt(static_cast<float>(in)));
    };
    return {random(1, dtype, {tokens, width}),
            random(5, dtype, {tokens, width}),
            {weight(2, hidden, width), weight(3, hidden, width), weight(4, width, hidden)},
            in_out};
  }
  static std::vector<std::vector<float>> gradients(const Network& n, Math math, int times,
                                                   std::size_t commands) {
    const DType dtype = n.x.dtype();
    const auto empty = [&](std::size_t rows, std::size_t cols) {
      return Tensor(device(), dtype, {rows, cols});
    };
    const FeedForwardKept kept{empty(tokens, hidden), empty(tokens, hidden), empty(tokens, hidden)};
    const auto& [gate, up, down] = n.weights;
    const FeedForwardWeights d{Tensor(device(), dtype, gate.shape()), Tensor(device(), dtype, up.shape()),
                               Tensor(device(), dtype, down.shape())};
    const Tensor y = empty(tokens, width), dx = empty(tokens, width);
    CommandEncoder e(device(), {.math = math});
    feed_forward(e, n.x, n.weights, y, kept, {n.in_out});
    feed_forward_backward(e, n.x, n.weights, kept, n.dy, dx, d, {n.in_out});
    if (math == Math::fast) {
      EXPECT_EQ(e.commands(), commands);
    }
    const CommandList list = e.finish();
    for (int i = 0; i < times; ++i) device().submit(list).wait();
    return {get(y), get(dx), get(d.gate), get(d.up), get(d.down)};
  }
};

// Seven kernels, launched or replayed; near the exact results.
TEST_F(FeedForwardOp, IsNearTheExactOne) {
  for (const auto& [dtype, in_out] :
       {std::pair{DType::bf16, false}, {DType::bf16, true}, {DType::f16, false}, {DType::f16, true}}) {
    const Network n = network(dtype, in_out);
    const auto want = gradients(n, Math::exact, 1, 0), got = gradients(n, Math::fast, 1, 7);
    const auto replayed = gradients(n, Math::fast, 4, 7);
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(same_bits(replayed[i], got[i])) << to_string(dtype) << " " << i;
      double difference = 0.0, size = 0.0;
      for (std::size_t j = 0; j < want[i].size(); ++j) {
        const double value = want[i][j], error = got[i][j] - value;
        difference += error * error;
        size += value * value;
      }
      EXPECT_LE(std::sqrt(difference / size), dtype == DType::bf16 ? 5e-3 : 7e-4) << to_string(dtype) << i;
    }
  }
}

// What the copy engine does not take goes to the other kernels.
TEST_F(FeedForwardOp, AnyPlaceAndSize) {
  const DType dtype = DType::bf16;
  const Network n = network(dtype, false);
  const Tensor y(device(), dtype, {tokens, width});
  const Guarded elsewhere(device(), dtype, {tokens, width}, 4, 64);
  run_fast([&](CommandEncoder& e) {
    feed_forward(e, n.x, n.weights, y);
    EXPECT_EQ(e.commands(), 2u);
    feed_forward(e, n.x, n.weights, elsewhere.tensor);
    EXPECT_GT(e.commands(), 4u);
  });
  EXPECT_TRUE(elsewhere.intact());
  const std::vector<float> got = get(elsewhere.tensor), want = get(y);
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 0.03) << i;
}

}  // namespace

}  // namespace silica::test
