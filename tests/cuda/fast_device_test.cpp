// SPDX-License-Identifier: MIT
// Math::fast on a machine with an NVIDIA GPU and cuBLASLt: products within the bounds of docs/exactness.md,
// launched and replayed. Elsewhere skipped, unless SILICA_REQUIRE_CUDA is set. Prints how much of the bounds
// is used.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "cases.h"

namespace silica::test {

namespace {

constexpr DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr MatmulOptions all_options[] = {{false, false}, {false, true}, {true, false}, {true, true}};

class FastDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    const DeviceInfo info = list_devices()[0];
    const bool there = cuda_device() != nullptr && has_fast_kernels();
    if (there) return;
    const std::string why = "no CUDA device with cuBLASLt: " + info.description + " " + info.note;
    if (std::getenv("SILICA_REQUIRE_CUDA") != nullptr) FAIL() << why;
    GTEST_SKIP() << why;
  }
  static bool has_fast_kernels() {
    const CommandEncoder encoder(device(), {.math = Math::fast});
    return device().kernels().contains("matmul.matmul.bf16.fast");
  }
  static const Device& device() { return *cuda_device(); }
};

// ---- the bounds, as docs/exactness.md states them

struct Bound {
  double inputs;    // of a product, relative to it: rounding both factors
  double result;    // rounding the sum to the output
  double smallest;  // half the spacing of its subnormals
};
Bound bound_of(DType dtype) {
  if (dtype == DType::f32) return {0x1p-9, 0.0, 0.0};
  return dtype == DType::f16 ? Bound{0.0, 0x1p-11, 0x1p-25} : Bound{0.0, 0x1p-8, 0.0};
}
constexpr double of_a_term = 0x1p-22;  // of the sum of magnitudes, for each of the k terms

struct Matrix {
  std::size_t rows = 0, cols = 0;
  std::vector<float> values;

  Matrix transposed() const {
    Matrix t{cols, rows, std::vector<float>(values.size())};
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < cols; ++j) t.values[j * rows + i] = values[i * cols + j];
    }
    return t;
  }
};

// The product in f64, and the sums of the terms' magnitudes.
struct Want {
  std::vector<double> value, magnitude;
};
Want product(const Matrix& a, const Matrix& b) {
  Want want{std::vector<double>(a.rows * b.cols), std::vector<double>(a.rows * b.cols)};
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t l = 0; l < a.cols; ++l) {
      const double left = a.values[i * a.cols + l];
      for (std::size_t j = 0; j < b.cols; ++j) {
        const double term = left * double{b.values[l * b.cols + j]};
        want.value[i * b.cols + j] += term;
        want.magnitude[i * b.cols + j] += std::abs(term);
      }
    }
  }
  return want;
}

// What of the bound was used at most, by dtype.
struct Used {
  double share = 0.0;
  double sum = 0.0;  // error of the sum in units of k * 2^-24 * magnitude, where inputs are exact
  std::string where;
};

// The largest share; a failure names the first element beyond the bound.
void expect_within(const std::string& what, const std::vector<float>& got, const Want& want, DType dtype,
                   std::size_t k, Used& used) {
  const Bound bound = bound_of(dtype);
  std::size_t beyond = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double sum = (bound.inputs + (static_cast<double>(k) + 4) * of_a_term) * want.magnitude[i];
    const double rounding = bound.result * (std::abs(want.value[i]) + sum) + bound.smallest;
    const double error = std::abs(double{got[i]} - want.value[i]);
    if (!(error <= sum + rounding) && ++beyond == 1) {
      ADD_FAILURE() << what << ": element " << i << " of " << got.size() << " is " << got[i] << ", f64 says "
                    << want.value[i] << "; error " << error << " = " << error / want.magnitude[i]
                    << " of the magnitudes, allowed " << sum + rounding;
    }
    const double share = error / (sum + rounding);
    if (share > used.share) used.share = share, used.where = what;
    if (bound.inputs == 0.0) {
      const double of_sum = std::max(0.0, error - bound.result * std::abs(want.value[i]) - bound.smallest);
      used.sum = std::max(used.sum, of_sum / (static_cast<double>(k) * 0x1p-24 * want.magnitude[i]));
    }
  }
  if (beyond > 1)
    std::printf("  %zu of %zu elements are beyond the bound: %s\n", beyond, got.size(), what.c_str());
}

void print(DType dtype, const Used& used) {
  std::printf("%-4s at most %.3f of the bound, sums %.3f of k 2^-24: %s\n",
              std::string(to_string(dtype)).c_str(), used.share, used.sum, used.where.c_str());
  std::fflush(stdout);
}

std::string name_of(const char* op, DType dtype, std::size_t m, std::size_t n, std::size_t k,
                    const MatmulOptions& options) {
  return std::string(op) + " " + std::string(to_string(dtype)) + " (m, n, k) = (" + std::to_string(m) + ", " +
         std::to_string(n) + ", " + std::to_string(k) + ")" + (options.transpose_a ? " ta" : "") +
         (options.transpose_b ? " tb" : "");
}

// Runs it; an error is a failure that names the product.
template <class Encode>
bool submit(const Device& device, const std::string& what, int times, Encode&& encode) {
  try {
    CommandEncoder e(device, {.math = Math::fast});
    encode(e);
    const CommandList list = e.finish();
    for (int i = 0; i < times; ++i) device.submit(list).wait();
    return true;
  } catch (const Error& error) {
    ADD_FAILURE() << what << ": " << to_string(error.code()) << ": " << error.what();
    return false;
  }
}

struct Sizes {
  std::size_t m, n, k;
};
constexpr Sizes shapes[] = {{1, 1, 1},        {1, 7, 3},       {3, 5, 2},     {8, 8, 8},
                            {16, 16, 16},     {17, 33, 65},    {64, 64, 64},  {127, 129, 255},
                            {128, 256, 512},  {1, 1024, 1024}, {1000, 1, 77}, {255, 255, 1023},
                            {256, 256, 4096}, {31, 33, 20000}};

Matrix random_matrix(std::uint64_t seed, std::size_t rows, std::size_t cols, float low, DType dtype) {
  return {rows, cols, rounded(Random(seed).floats(rows * cols, low, 2.0f), dtype)};
}

Tensor upload(const Device& device, DType dtype, const Matrix& matrix, bool transpose) {
  const Matrix stored = transpose ? matrix.transposed() : matrix;
  return make(device, dtype, {stored.rows, stored.cols}, stored.values);
}

TEST_F(FastDevice, ProductsAreWithinTheBound) {
  std::printf("%s\n", list_devices()[0].description.c_str());
  for (const DType dtype : dtypes) {
    Used used;
    for (const auto& [m, n, k] : shapes) {
      for (const float low : {-2.0f, 0.5f}) {  // terms of one sign show a truncation
        const Matrix a = random_matrix(m + k, m, k, low, dtype), b = random_matrix(n * k, k, n, low, dtype);
        const Want want = product(a, b);
        for (const MatmulOptions& options : all_options) {
          const std::string what = name_of("matmul", dtype, m, n, k, options);
          const Tensor c(device(), dtype, {m, n});
          if (submit(device(), what, 1, [&](CommandEncoder& e) {
                matmul(e, upload(device(), dtype, a, options.transpose_a),
                       upload(device(), dtype, b, options.transpose_b), c, options);
                EXPECT_EQ(e.commands(), 1u) << "not the fast kernel";
              })) {
            expect_within(what, get(c), want, dtype, k, used);
          }
        }
      }
    }
    print(dtype, used);
  }
}

TEST_F(FastDevice, GradientsAreWithinTheBound) {
  for (const DType dtype : dtypes) {
    Used used;
    for (const auto& [m, n, k] : {Sizes{3, 5, 2}, Sizes{64, 96, 128}, Sizes{127, 65, 250}}) {
      const Matrix a = random_matrix(1, m, k, -2.0f, dtype), b = random_matrix(2, k, n, -2.0f, dtype),
                   dc = random_matrix(3, m, n, -2.0f, dtype);
      const Want want_a = product(dc, b.transposed()), want_b = product(a.transposed(), dc);
      for (const MatmulOptions& options : all_options) {
        const std::string what = name_of("matmul_backward", dtype, m, n, k, options);
        const Tensor left = upload(device(), dtype, a, options.transpose_a),
                     right = upload(device(), dtype, b, options.transpose_b),
                     seed = upload(device(), dtype, dc, false), da(device(), dtype, left.shape()),
                     db(device(), dtype, right.shape());
        if (!submit(device(), what, 1,
                    [&](CommandEncoder& e) { matmul_backward(e, left, right, seed, da, db, options); })) {
          continue;
        }
        Matrix got_a{left.shape().rows(), left.shape().cols(), get(da)},
            got_b{right.shape().rows(), right.shape().cols(), get(db)};
        if (options.transpose_a) got_a = got_a.transposed();
        if (options.transpose_b) got_b = got_b.transposed();
        expect_within(what + " da", got_a.values, want_a, dtype, n, used);
        expect_within(what + " db", got_b.values, want_b, dtype, m, used);
      }
    }
    print(dtype, used);
  }
}

// Views at every alignment, and nothing written around the output.
TEST_F(FastDevice, MisalignedOperands) {
  for (const DType dtype : dtypes) {
    Used used;
    for (const auto& [m, n, k] : {Sizes{64, 64, 64}, Sizes{33, 31, 47}}) {
      const Matrix a = random_matrix(4, m, k, -2.0f, dtype), b = random_matrix(5, k, n, -2.0f, dtype);
      const Want want = product(a, b);
      for (const std::size_t offset : {1u, 2u, 3u, 4u, 8u}) {
        const std::string what = name_of("matmul", dtype, m, n, k, {}) + " offset " + std::to_string(offset);
        const Guarded x(device(), dtype, {m, k}, offset), y(device(), dtype, {k, n}, offset + 1),
            c(device(), dtype, {m, n}, offset);
        set(x.tensor, a.values);
        set(y.tensor, b.values);
        if (!submit(device(), what, 1, [&](CommandEncoder& e) { matmul(e, x.tensor, y.tensor, c.tensor); }))
          continue;
        expect_within(what, get(c.tensor), want, dtype, k, used);
        EXPECT_TRUE(c.intact()) << what;
      }
    }
    print(dtype, used);
  }
}

// What the hardware does with the bits of a factor that TF32 has not: for the docs.
TEST_F(FastDevice, PrintsHowTf32Rounds) {
  constexpr std::size_t n = 64;
  const float almost = 1.0f + 0x1p-10f - 0x1p-23f;
  std::vector<float> identity(n * n);
  for (std::size_t i = 0; i < n; ++i) identity[i * n + i] = 1.0f;
  const Tensor a = make(device(), DType::f32, {n, n}, std::vector<float>(n * n, almost)),
               b = make(device(), DType::f32, {n, n}, identity), c(device(), DType::f32, {n, n});
  ASSERT_TRUE(submit(device(), "TF32", 1, [&](CommandEncoder& e) { matmul(e, a, b, c); }));
  const float got = get(c)[0];
  std::printf("1 + 2^-10 - 2^-23 becomes %a: %s\n", static_cast<double>(got),
              got == 1.0f              ? "truncated"
              : got == 1.0f + 0x1p-10f ? "rounded to nearest"
              : got == almost          ? "kept, no TF32"
                                       : "something else");
  EXPECT_LE(std::abs(got - almost), 0x1p-9f);
}

TEST_F(FastDevice, NanAndInfinityPass) {
  for (const DType dtype : dtypes) {
    constexpr std::size_t n = 32;
    std::vector<float> x(n * n, 1.0f), y(n * n, 1.0f);
    x[0] = quiet_nan;
    x[n] = infinity;
    const Tensor c(device(), dtype, {n, n});
    ASSERT_TRUE(submit(device(), "special values", 1, [&](CommandEncoder& e) {
      matmul(e, make(device(), dtype, {n, n}, x), make(device(), dtype, {n, n}, y), c);
    }));
    const std::vector<float> got = get(c);
    for (std::size_t j = 0; j < n; ++j) {
      EXPECT_TRUE(std::isnan(got[j])) << to_string(dtype) << " " << got[j];
      EXPECT_EQ(got[n + j], infinity) << to_string(dtype);
      EXPECT_EQ(got[2 * n + j], static_cast<float>(n)) << to_string(dtype);
    }
  }
}

// Products beside kernels that feed them and read them: launched, then replayed as a recording, the bits are
// those of one op a list.
TEST_F(FastDevice, MixedListsReplayTheSameBits) {
  for (const DType dtype : dtypes) {
    constexpr std::size_t m = 96, n = 160, k = 224;
    const Tensor x = upload(device(), dtype, random_matrix(6, m, k, -2.0f, dtype), false),
                 w = upload(device(), dtype, random_matrix(7, k, n, -2.0f, dtype), false),
                 v = upload(device(), dtype, random_matrix(8, n, k, -2.0f, dtype), false);
    const auto chain = [&](bool together, int times) {
      const Tensor h(device(), dtype, {m, n}), s(device(), dtype, {m, n}), y(device(), dtype, {m, k}),
          dw(device(), dtype, {k, n}), out(device(), dtype, {m, k});
      const auto each = [&](auto&& run) {
        run([&](CommandEncoder& e) { matmul(e, x, w, h); });
        run([&](CommandEncoder& e) { silu(e, h, s); });
        run([&](CommandEncoder& e) { matmul(e, s, v, y); });
        run([&](CommandEncoder& e) { matmul(e, x, s, dw, {.transpose_a = true}); });
        run([&](CommandEncoder& e) { mul(e, y, x, out); });
      };
      const std::string what = "a chain in " + std::string(to_string(dtype));
      if (together) {
        submit(device(), what, times, [&](CommandEncoder& e) { each([&](auto encode) { encode(e); }); });
      } else {
        each([&](auto encode) { submit(device(), what, 1, encode); });
      }
      return std::vector{get(h), get(s), get(y), get(dw), get(out)};
    };
    const auto apart = chain(false, 1);
    for (const int times : {1, 2, 5}) {
      const auto together = chain(true, times);
      for (std::size_t i = 0; i < apart.size(); ++i)
        EXPECT_TRUE(same_bits(together[i], apart[i]))
            << to_string(dtype) << " output " << i << ", submit " << times;
    }
  }
}

// The training step of device_test.cpp: its losses stay near those of the exact one.
TEST_F(FastDevice, TrainsLikeTheExactOne) {
  const auto losses = [](Math math) {
    CommandEncoder e(device(), {.math = math});
    const Tensor loss = encode_step(e)[0];
    const CommandList list = e.finish();
    std::vector<float> values;
    for (int i = 0; i < 20; ++i) {
      device().submit(list).wait();
      values.push_back(get(loss)[0]);
    }
    return values;
  };
  const std::vector<float> exact = losses(Math::exact), fast = losses(Math::fast);
  std::printf("loss after 1 and 20 steps: exact %.6f %.6f, fast %.6f %.6f\n", double{exact[0]},
              double{exact[19]}, double{fast[0]}, double{fast[19]});
  EXPECT_NEAR(fast[0], exact[0], 0.01 * exact[0]);
  EXPECT_NEAR(fast[19], exact[19], 0.05 * exact[19]);
}

// A list is recorded while other threads allocate, free and transfer.
TEST_F(FastDevice, RecordsWhileOthersUseTheDevice) {
  std::atomic<bool> stop = false;
  std::vector<std::thread> others;
  for (int t = 0; t < 3; ++t) {
    others.emplace_back([&stop, t] {
      while (!stop) {
        const Tensor tensor = make(device(), {1.0f, 2.0f, static_cast<float>(t)});
        EXPECT_EQ(get(tensor)[2], static_cast<float>(t));
      }
    });
  }
  constexpr std::size_t n = 128;
  const Matrix a = random_matrix(9, n, n, -2.0f, DType::bf16),
               b = random_matrix(10, n, n, -2.0f, DType::bf16);
  const Want want = product(a, b);
  Used used;
  for (int i = 0; i < 20; ++i) {
    const Tensor x = upload(device(), DType::bf16, a, false), y = upload(device(), DType::bf16, b, false),
                 z(device(), DType::bf16, {n, n}), c(device(), DType::bf16, {n, n});
    submit(device(), "recorded beside other threads", 3, [&](CommandEncoder& e) {
      copy(e, x, z);
      matmul(e, z, y, c);
    });
    expect_within("recorded beside other threads", get(c), want, DType::bf16, n, used);
  }
  stop = true;
  for (std::thread& thread : others) thread.join();
}

}  // namespace

}  // namespace silica::test
