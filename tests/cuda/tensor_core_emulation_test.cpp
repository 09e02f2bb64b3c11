// SPDX-License-Identifier: MIT
// The tensor cores' kernels of feed_forward on the host: what the backend chooses for a command, by the text
// of kernels/tensor_core, in emulated blocks.
#include <cstdlib>
#include <cstring>
#include <deque>

#include "backends/cuda/driver.h"
#include "backends/cuda/tensor_core.h"
#include "block_emulation.h"
#include "emulated_tensor_core.h"
#include "kernels/matmul/matmul.h"
#include "support.h"
#include "swiglu_bounds.h"

namespace silica::test {

namespace {

// Before the first use of the library: its tensor maps are read by the emulation.
const bool ready = ::setenv("SILICA_LIBCUDA", SILICA_FAKE_DRIVER, 1) == 0;

constexpr DType dtypes[] = {DType::bf16, DType::f16};
constexpr unsigned two_clusters = 4;  // multiprocessors, with several tiles for each cluster

struct Sizes {
  std::size_t m, n, k;
};
// Three tiles for each cluster and one; whole and not; more stages than the ring has, and a last one of few
// k; columns whose sums run down k.
constexpr Sizes shapes[] = {{264, 520, 136}, {8, 8, 8}, {136, 264, 328}, {8, 2056, 72}};

const Device& cpu() {
  static const Device device = Device::open("cpu");
  return device;
}

Tensor random(std::uint64_t seed, DType dtype, const Shape& shape, float amplitude = 1.0f) {
  return make(cpu(), dtype, shape, rounded(Random(seed).floats(shape.size(), -amplitude, amplitude), dtype));
}

// Operands at multiples of 16 bytes, and something behind each that nobody may write.
class Command {
 public:
  Command(std::string kind, DType dtype, const Sizes& s, const MatmulOptions& options)
      : name_("feed_forward." + kind + "." + std::string(to_string(dtype)) + ".fast"),
        dtype_(dtype),
        sizes_{s.m, s.n, s.k, options.transpose_a, options.transpose_b} {}

  void read(const Tensor& tensor) { add(bytes_of(tensor)); }
  std::size_t write(const Shape& shape) {
    add(std::vector<std::byte>(shape.size() * 2, behind));
    shapes_.emplace(memory_.size() - 1, shape);
    return memory_.size() - 1;
  }

  void run(unsigned seed, unsigned multiprocessors = two_clusters) const {
    std::vector<std::byte> arguments;
    const auto append = [&](const auto& value) {
      const auto* first = reinterpret_cast<const std::byte*>(&value);
      arguments.insert(arguments.end(), first, first + sizeof value);
    };
    for (const auto& one : memory_) append(one.data());
    append(sizes_);
    const cuda::CatalogueRow* row = cuda::find_tensor_core_kernel(name_);
    ASSERT_NE(row, nullptr) << name_;
    cuda::Context context = nullptr;
    cuda::driver().context_push(context);
    const cuda::Choice choice =
        row->choose(*row, {{sizes_.n, sizes_.m, 1}, arguments.data(), multiprocessors});
    cuda::driver().context_pop(&context);
    const auto kernel = emulated_tensor_core().find(choice.function);
    ASSERT_NE(kernel, emulated_tensor_core().end()) << choice.function << " is not emulated";
    emulation::block::run({static_cast<unsigned>(choice.blocks), choice.threads, choice.shared_bytes}, seed,
                          [&] { kernel->second(choice.block.data()); });
    for (const auto& one : memory_) {
      for (std::size_t i = one.size() - guard; i < one.size(); ++i) ASSERT_EQ(one[i], behind) << "outside";
    }
  }

  Tensor result(std::size_t operand) const {
    const Tensor tensor(cpu(), dtype_, shapes_.at(operand));
    tensor.upload_bytes(std::span(memory_[operand]).first(tensor.bytes()), dtype_);
    return tensor;
  }

 private:
  static constexpr std::byte behind{0xa5};
  static constexpr std::size_t guard = 256;

  void add(std::vector<std::byte> bytes) {
    bytes.resize(bytes.size() + guard, behind);
    memory_.push_back(std::move(bytes));
  }

  std::string name_;
  DType dtype_;
  kernels::ProductSizes sizes_;
  std::deque<std::vector<std::byte>> memory_;
  std::map<std::size_t, Shape> shapes_;
};

// Of operands of swiglu, ordinary and not.
std::vector<float> amplitudes_of(DType dtype) {
  return dtype == DType::bf16 ? std::vector{2.0f, 60.0f} : std::vector{20.0f};
}

// How weights are stored: (out, in) and (in, out).
constexpr MatmulOptions layouts[] = {{.transpose_b = true}, {}};
// Of a second factor.
Shape stored(const MatmulOptions& o, const Sizes& s) {
  return o.transpose_b ? Shape{s.n, s.k} : Shape{s.k, s.n};
}

std::string text_of(DType dtype, const Sizes& s) {
  return std::string(to_string(dtype)) + " " + std::to_string(s.m) + " x " + std::to_string(s.n) + " x " +
         std::to_string(s.k);
}

// A sum of products in f64, and of the terms' magnitudes.
struct Sum {
  double value = 0.0, magnitude = 0.0;
};

struct Factors {
  Factors(const Tensor& a, const Tensor& b, const MatmulOptions& o, const Sizes& s)
      : x(get(a)), y(get(b)), options(o), sizes(s) {}

  void add_to(Sum& sum, std::size_t i, std::size_t j) const {
    for (std::size_t l = 0; l < sizes.k; ++l) {
      const double left = x[options.transpose_a ? l * sizes.m + i : i * sizes.k + l];
      const double term = left * double{y[options.transpose_b ? j * sizes.k + l : l * sizes.n + j]};
      sum.value += term;
      sum.magnitude += std::abs(term);
    }
  }

  std::vector<float> x, y;
  MatmulOptions options;
  Sizes sizes;
};

void expect_product(const std::string& what, const Tensor& got, const std::vector<Factors>& factors) {
  const std::vector<float> values = get(got);
  const Sizes& s = factors[0].sizes;
  const double unit = got.dtype() == DType::f16 ? 0x1p-11 : 0x1p-8;
  for (std::size_t i = 0; i < values.size(); ++i) {
    Sum want;
    for (const Factors& f : factors) f.add_to(want, i / s.n, i % s.n);
    const double sum = static_cast<double>(2 * s.k) * 0x1p-24 * want.magnitude;
    ASSERT_LE(std::abs(values[i] - want.value), sum + unit * (std::abs(want.value) + sum) + 0x1p-25)
        << what << ": element " << i << " is " << values[i] << ", expected " << want.value;
  }
}

TEST(TensorCoreEmulation, ProductsOfEveryLayout) {
  unsigned seed = 0;
  for (const DType dtype : dtypes) {
    for (const Sizes& s : shapes) {
      if (dtype == DType::f16 && s.m > 8) continue;  // differs in one instruction
      for (const MatmulOptions& o :
           {MatmulOptions{false, false}, {false, true}, {true, false}, {true, true}}) {
        const Tensor a = random(1, dtype, o.transpose_a ? Shape{s.k, s.m} : Shape{s.m, s.k}),
                     b = random(2, dtype, stored(o, s));
        Command command("product", dtype, s, o);
        command.read(a);
        command.read(b);
        const std::size_t c = command.write({s.m, s.n});
        command.run(++seed);
        expect_product(text_of(dtype, s), command.result(c), {{a, b, o, s}});
      }
    }
  }
}

// An element's bits are those of its row and column, whoever else is there.
TEST(TensorCoreEmulation, BitsDependOnNeitherOtherRowsNorMultiprocessors) {
  const Sizes all{264, 2056, 136}, some{8, 2056, 136};
  const Tensor a = random(1, DType::f16, {all.m, all.k}), b = random(2, DType::f16, {all.k, all.n});
  const auto product = [&](const Sizes& s, unsigned multiprocessors) {
    Command command("product", DType::f16, s, {});
    command.read(a.rows(0, s.m));
    command.read(b);
    const std::size_t c = command.write({s.m, s.n});
    command.run(7, multiprocessors);
    return get(command.result(c));
  };
  std::vector<float> want = product(all, two_clusters);
  EXPECT_TRUE(same_bits(product(all, 3 * two_clusters), want));
  want.resize(some.m * some.n);
  EXPECT_TRUE(same_bits(product(some, two_clusters), want));
}

TEST(TensorCoreEmulation, TheInputsGradientIsOfTwoProducts) {
  const DType dtype = DType::bf16;
  for (const Sizes& s : shapes) {
    for (const MatmulOptions& o : layouts) {
      const Tensor dgate = random(1, dtype, {s.m, s.k}), gate = random(2, dtype, stored(o, s)),
                   dup = random(3, dtype, {s.m, s.k}), up = random(4, dtype, stored(o, s));
      Command command("input_backward", dtype, s, o);
      for (const Tensor& tensor : {dgate, gate, dup, up}) command.read(tensor);
      const std::size_t dx = command.write({s.m, s.n});
      command.run(11);
      expect_product(text_of(dtype, s), command.result(dx), {{dgate, gate, o, s}, {dup, up, o, s}});
    }
  }
}

// swiglu of the products that are kept.
void expect_hidden(DType dtype, const Sizes& s, const MatmulOptions& o, float amplitude, unsigned seed) {
  const Tensor x = random(1, dtype, {s.m, s.k}, amplitude), gate = random(2, dtype, stored(o, s)),
               up = random(3, dtype, stored(o, s));
  Command kept("hidden_kept", dtype, s, o), alone("hidden", dtype, s, o);
  for (const Tensor& tensor : {x, gate, up}) kept.read(tensor), alone.read(tensor);
  const std::size_t hidden = kept.write({s.m, s.n}), g = kept.write({s.m, s.n}), u = kept.write({s.m, s.n});
  ASSERT_EQ(alone.write({s.m, s.n}), hidden);
  kept.run(seed);
  alone.run(seed + 1);
  const std::string what = text_of(dtype, s);
  expect_product(what + " gate", kept.result(g), {{x, gate, o, s}});
  expect_product(what + " up", kept.result(u), {{x, up, o, s}});
  expect_fast_silu(what, get(kept.result(hidden)), get(kept.result(g)), get(kept.result(u)), dtype);
  EXPECT_TRUE(same_bits(get(alone.result(hidden)), get(kept.result(hidden)))) << what;
}

void expect_hidden_backward(DType dtype, const Sizes& s, const MatmulOptions& o, float amplitude,
                            unsigned seed) {
  const Tensor dy = random(1, dtype, {s.m, s.k}), down = random(2, dtype, stored(o, s)),
               gate = random(3, dtype, {s.m, s.n}, amplitude), up = random(4, dtype, {s.m, s.n});
  Command product("product", dtype, s, o), both("hidden_backward", dtype, s, o);
  for (const Tensor& tensor : {dy, down}) product.read(tensor), both.read(tensor);
  for (const Tensor& tensor : {gate, up}) both.read(tensor);
  const std::size_t c = product.write({s.m, s.n}), dgate = both.write({s.m, s.n}),
                    dup = both.write({s.m, s.n});
  product.run(seed);
  both.run(seed + 1);
  const std::string what = text_of(dtype, s);
  const std::vector<float> g = get(gate), dy_hidden = get(product.result(c));
  expect_fast_silu(what + " dup", get(both.result(dup)), g, dy_hidden, dtype);
  expect_fast_silu_gradient(what + " dgate", get(both.result(dgate)), g, get(up), dy_hidden, dtype);
}

void for_each_network(unsigned seed,
                      void (*expect)(DType, const Sizes&, const MatmulOptions&, float, unsigned)) {
  for (const DType dtype : dtypes) {
    for (const Sizes& s : shapes) {
      for (const MatmulOptions& o : layouts) {
        for (const float amplitude : amplitudes_of(dtype)) expect(dtype, s, o, amplitude, seed += 2);
      }
    }
  }
}

TEST(TensorCoreEmulation, HiddenIsSwigluOfTheProducts) { for_each_network(20, expect_hidden); }

TEST(TensorCoreEmulation, HiddenBackwardIsSwigluBackwardOfTheProduct) {
  for_each_network(60, expect_hidden_backward);
}

// ---- swiglu and its gradients on their own

// Of every gate, alone and in pairs, with other operands that are ordinary or of any bits.
void expect_bounds(DType dtype, bool ordinary, unsigned per_gate) {
  const EmulatedSwiglu swiglu = emulated_swiglu(dtype == DType::bf16);
  Random random(ordinary ? 1 : 2);
  const auto half = [&]() -> unsigned {
    return ordinary ? swiglu.round(random.floats(1, -3.0f, 3.0f)[0])
                    : static_cast<unsigned>(random.below(65536));
  };
  const auto pair = [&] { return half() | half() << 16; };
  for (unsigned gate = 0; gate < 65536; ++gate) {
    for (unsigned i = 0; i < per_gate; ++i) {
      const unsigned gates = gate | (i % 2 == 0 ? gate : half()) << 16, ups = pair(), dys = pair();
      unsigned dgate = 0, dup = 0;
      const unsigned y = swiglu.value(gates, ups);
      swiglu.gradients(gates, ups, dys, dgate, dup);
      for (const unsigned shift : {0u, 16u}) {
        const auto of = [&](unsigned word) {
          return swiglu.widen(static_cast<unsigned short>(word >> shift));
        };
        const float g = of(gates), u = of(ups), d = of(dys);
        ASSERT_TRUE(is_fast_silu(of(y), g, u, dtype)) << g << " " << u << ": " << of(y);
        ASSERT_TRUE(is_fast_silu(of(dup), g, d, dtype)) << g << " " << d << ": " << of(dup);
        ASSERT_TRUE(is_fast_silu_gradient(of(dgate), g, u, d, dtype))
            << g << " " << u << " " << d << ": " << of(dgate);
      }
    }
  }
}

TEST(TensorCoreEmulation, SwigluIsWithinItsBounds) {
  for (const DType dtype : dtypes) {
    expect_bounds(dtype, false, 20);
    expect_bounds(dtype, true, 20);
  }
}

}  // namespace

}  // namespace silica::test
