// SPDX-License-Identifier: MIT
// Every op on rows, on random and adversarial shapes and values, in every dtype: within the bounds of
// docs/numerics.md of f64, and on every device the bits of the CPU.
#include <cstdint>
#include <utility>

#include "op_cases.h"
#include "row_oracle.h"
#include "support.h"

namespace silica::test {
namespace {

constexpr DType dtypes[] = {DType::f32, DType::f16, DType::bf16};

enum class Kind { ordinary, shifted, cancelling, mixed, equal, count };

// Values of one operand. A half holds no more than 65504, and squares are summed in f32.
std::vector<float> values(Random& random, Kind kind, std::size_t n, DType dtype) {
  const float reach = dtype == DType::f16 ? 3.0f : 15.0f;  // of the decimal exponents
  const float offset = random.uniform(-900.0f, 900.0f);
  std::vector<float> all;
  for (std::size_t i = 0; i < n; ++i) {
    const float value = random.uniform(-4.0f, 4.0f);
    switch (kind) {
      case Kind::shifted:  // a variance much smaller than the mean
        all.push_back(offset + value);
        break;
      case Kind::cancelling:  // large terms whose sum is small
        all.push_back(i % 2 == 1 ? value - all.back() : 2000.0f * value);
        break;
      case Kind::mixed:
        all.push_back(value * std::pow(10.0f, random.uniform(-reach, reach)));
        break;
      case Kind::equal:
        all.push_back(offset);
        break;
      default:
        all.push_back(value);
    }
  }
  return rounded(all, dtype);
}

struct Problem {
  std::size_t rows, cols;
  DType dtype;
  std::vector<std::vector<float>> in;  // of each operand, as in RowOp::in
};

Problem make_problem(Random& random, const RowOp& op, int number) {
  const DType dtype = dtypes[number % 3];
  const auto kind = static_cast<Kind>(number / 3 % static_cast<int>(Kind::count));
  const std::size_t most = number % 10 == 0 ? 800 : 40;
  Problem p{random.between(1, number % 50 == 0 ? 600 : 6), random.between(1, most), dtype, {}};
  if (p.rows > 6) p.cols = random.between(1, 40);
  for (const RowOp::Extent extent : op.in) {
    if (extent == RowOp::ids) {
      p.in.emplace_back();
      for (const std::uint32_t id : random.ids(p.rows, p.cols)) p.in.back().push_back(static_cast<float>(id));
    } else {
      p.in.push_back(values(random, extent == RowOp::matrix ? kind : Kind::ordinary,
                            shape_of(extent, p.rows, p.cols).size(), operand_dtype(extent, dtype)));
    }
  }
  // The probabilities, or their logarithms, that these take.
  for (float& y : p.in[0]) {
    if (op.name == "softmax_backward") y = rounded({std::abs(y) < 1.0f ? std::abs(y) : 1.0f}, dtype)[0];
    if (op.name == "log_softmax_backward") y = -std::abs(y);
  }
  return p;
}

std::vector<std::vector<float>> solve(const Device& device, const RowOp& op, const Problem& p) {
  Tensors in;
  std::vector<Guarded> out;
  Tensors results;
  for (std::size_t i = 0; i < op.in.size(); ++i) {
    const Shape shape = shape_of(op.in[i], p.rows, p.cols);
    if (op.in[i] == RowOp::ids) {
      in.emplace_back(device, shape, std::vector<std::uint32_t>(p.in[i].begin(), p.in[i].end()));
    } else {
      in.push_back(make(device, operand_dtype(op.in[i], p.dtype), shape, p.in[i]));
    }
  }
  for (const RowOp::Extent extent : op.out) {
    out.emplace_back(device, operand_dtype(extent, p.dtype), shape_of(extent, p.rows, p.cols));
    results.push_back(out.back().tensor);
  }
  run(device, [&](CommandEncoder& e) { op.encode(e, in, results); });
  std::vector<std::vector<float>> values;
  for (const Guarded& one : out) {
    EXPECT_TRUE(one.intact()) << op.name;
    values.push_back(get(one.tensor));
  }
  return values;
}

// What rounding to the output's dtype adds: half a unit in the last place, which does not shrink below the
// smallest normal number.
double storage_error(DType dtype, double value) {
  if (dtype == DType::f16) return std::max(std::abs(value) * 0x1p-11, 0x1p-25);
  if (dtype == DType::bf16) return std::max(std::abs(value) * 0x1p-8, 0x1p-134);
  return 0.0;
}

::testing::AssertionResult within(const std::vector<float>& got, const std::vector<oracle::Bounded>& want,
                                  DType dtype) {
  if (got.size() != want.size()) return ::testing::AssertionFailure() << got.size() << " elements";
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double most = dtype == DType::f16 ? 65504.0 : double{largest};
    if (std::abs(want[i].value) + want[i].bound > 0.99 * most) continue;  // overflows, or nearly
    const double bound =
        want[i].bound + storage_error(dtype, std::abs(want[i].value) + want[i].bound) + oracle::tiny;
    if (std::abs(double{got[i]} - want[i].value) <= bound) continue;
    return ::testing::AssertionFailure() << "element " << i << " is " << got[i] << ", exactly "
                                         << want[i].value << ", at most " << bound << " off";
  }
  return ::testing::AssertionSuccess();
}

// Other devices are held to the CPU's bits, and so solve fewer problems.
class Rows : public DeviceTest {
 protected:
  bool on_cpu() const { return GetParam().starts_with("cpu"); }
};

TEST_P(Rows, EveryOpHasAnOracle) {
  for (const RowOp& op : row_ops()) EXPECT_TRUE(oracle::row_ops().contains(op.name)) << op.name;
  EXPECT_EQ(row_ops().size(), oracle::row_ops().size());
}

// More than 10,000 problems on the CPU.
TEST_P(Rows, AreWithinTheirBoundsAndHaveTheBitsOfTheCpu) {
  const int problems = on_cpu() ? 600 : 15;
  const Device cpu = Device::open("cpu");
  int solved = 0;
  Random random(1);
  for (const RowOp& op : row_ops()) {
    for (int i = 0; i < problems; ++i, ++solved) {
      const Problem p = make_problem(random, op, i);
      const std::vector<std::vector<float>> got = solve(device(), op, p);
      oracle::RowProblem exact{p.rows, p.cols, {}};
      for (const auto& in : p.in) exact.in.emplace_back(in.begin(), in.end());
      const oracle::Results want = oracle::row_ops().at(op.name)(exact);
      const auto bits = on_cpu() ? got : solve(cpu, op, p);
      for (std::size_t k = 0; k < got.size(); ++k) {
        ASSERT_TRUE(within(got[k], want[k], operand_dtype(op.out[k], p.dtype)))
            << op.name << ", output " << k << ", problem " << i << ": " << p.rows << " x " << p.cols << " "
            << to_string(p.dtype);
        ASSERT_TRUE(same_bits(got[k], bits[k])) << op.name << ", output " << k << ", problem " << i;
      }
    }
  }
  EXPECT_GT(solved, on_cpu() ? 10'000 : 200);
}

TEST_P(Rows, HalvesAreTheF32ResultRoundedOnce) {
  Random random(2);
  for (const RowOp& op : row_ops()) {
    for (int i = 0; i < (on_cpu() ? 30 : 3); ++i) {
      Problem p = make_problem(random, op, i);
      const std::vector<std::vector<float>> got = solve(device(), op, p);
      const DType dtype = std::exchange(p.dtype, DType::f32);
      const std::vector<std::vector<float>> wide = solve(device(), op, p);
      for (std::size_t k = 0; k < got.size(); ++k) {
        EXPECT_TRUE(same_bits(got[k], rounded(wide[k], operand_dtype(op.out[k], dtype))))
            << op.name << ", output " << k << ", problem " << i;
      }
    }
  }
}

// A row with infinities or NaN in it has the CPU's bits too, and changes no other row.
TEST_P(Rows, SpecialValuesStayInTheirRow) {
  const Device cpu = Device::open("cpu");
  Random random(1);
  for (const RowOp& op : row_ops()) {
    for (int i = 0; i < (on_cpu() ? 24 : 3); ++i) {
      Problem p = make_problem(random, op, 15 * (i % 8 + 1) + i % 3);  // ordinary values
      const Problem clean = p;
      if (op.in[0] != RowOp::matrix) continue;
      const std::vector<float> special = special_floats();
      const std::size_t bad = random.below(p.rows);
      for (std::size_t k = 0; k < op.in.size(); ++k) {
        if (op.in[k] != RowOp::matrix) continue;
        for (std::size_t j = 0; j < 1 + p.cols / 3; ++j) {
          p.in[k][bad * p.cols + random.below(p.cols)] =
              rounded({special[random.below(special.size())]}, p.dtype)[0];
        }
      }
      const auto got = solve(device(), op, p), want = solve(device(), op, clean), bits = solve(cpu, op, p);
      for (std::size_t k = 0; k < got.size(); ++k) {
        EXPECT_TRUE(same_bits(got[k], bits[k])) << op.name << ", output " << k << ", problem " << i;
        if (op.out[k] != RowOp::matrix && op.out[k] != RowOp::column) continue;
        const std::size_t width = got[k].size() / p.rows;
        for (std::size_t at = 0; at < got[k].size(); ++at) {
          if (at / width == bad) continue;
          ASSERT_TRUE(same_bits(got[k][at], want[k][at]))
              << op.name << ", output " << k << ", element " << at;
        }
      }
    }
  }
}

SILICA_ON_EVERY_DEVICE(Rows);

}  // namespace
}  // namespace silica::test
