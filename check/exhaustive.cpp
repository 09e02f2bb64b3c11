// SPDX-License-Identifier: MIT
#include "exhaustive.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <optional>
#include <thread>

#include "oracle.h"

namespace silica::check {

namespace {

constexpr std::size_t most_in_a_chunk = std::size_t{1} << 22;
constexpr std::uint64_t tuples = std::uint64_t{1} << 26, most_by_formula = tuples;

float widen(DType dtype, std::uint32_t bits) {
  const auto half = static_cast<std::uint16_t>(bits);
  if (dtype == DType::f16) return f16{half}.to_float();
  if (dtype == DType::bf16) return bf16{half}.to_float();
  return std::bit_cast<float>(bits);
}

// In [2^-20, 64), with the same mantissa.
float moderate(float x) {
  if (!std::isnormal(x)) return x == 0.0f ? x : std::copysign(1.0f, x);
  int exponent = 0;
  const float mantissa = std::frexp(x, &exponent);
  return std::ldexp(mantissa, (exponent % 26 + 26) % 26 - 19);
}

// Runs `work(begin, end)` on slices of [0, n), one for each core.
template <class Work> void in_parallel(std::size_t n, const Work& work) {
  const std::size_t count = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::jthread> team;
  for (std::size_t t = 0; t < count; ++t) {
    team.emplace_back([&work, n, t, count] { work(n * t / count, n * (t + 1) / count); });
  }
}

std::vector<std::vector<float>> run_on(const Device& device, const Elementwise& op,
                                       const std::vector<std::vector<float>>& inputs) {
  Tensors in, out;
  const Shape shape{inputs[0].size()};
  for (const auto& values : inputs) in.push_back(make(device, op.from, shape, values));
  for (std::size_t k = 0; k < op.outputs; ++k) out.push_back(Tensor(device, op.to, shape));
  CommandEncoder encoder(device);
  op.encode(encoder, in, out);
  device.submit(encoder.finish()).wait();
  std::vector<std::vector<float>> values;
  for (const Tensor& output : out) values.push_back(get(output));
  return values;
}

// The inputs of an op in chunks, what the reference makes of them, and how accurate that is.
class Walk {
 public:
  explicit Walk(const OpCase& op) : op_(*op.elementwise), name_(op.name.substr(0, op.name.find('.'))) {
    const bool unary = op_.inputs == 1 || (op_.inputs == 2 && op.backward());
    total_ = unary ? std::uint64_t{1} << (8 * size_of(op_.from)) : tuples;
    if (unary && op_.outputs == 1) definition_ = op_.definition;
    unary_ = unary;
  }

  std::uint64_t total() const { return total_; }

  void fill(std::uint64_t first) {
    first_ = first;
    const std::size_t n = std::min<std::uint64_t>(most_in_a_chunk, total_ - first);
    in.assign(op_.inputs, std::vector<float>(n, 1.0f));
    in_parallel(n, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) fill_inputs(i);
    });
    want.assign(op_.outputs, std::vector<float>(n));
    if (total_ > most_by_formula) want = run_on(cpu_, op_, in);
    std::mutex mutex;
    in_parallel(n, [&](std::size_t begin, std::size_t end) {
      double worst = 0.0;
      for (std::size_t i = begin; i < end; ++i) {
        if (is_by_formula(first_ + i)) worst = std::max(worst, apply_formula(i));
      }
      const std::scoped_lock lock(mutex);
      worst_ = std::max(worst_, worst);
    });
  }

  double bound() const { return definition_ == nullptr ? 0.0 : ulp_bound(definition_->bound, op_.to); }

  void compare(const std::vector<std::vector<float>>& got, Outcome& outcome) const {
    std::mutex mutex;
    for (std::size_t k = 0; k < got.size(); ++k) {
      in_parallel(got[k].size(), [&](std::size_t begin, std::size_t end) {
        std::uint64_t differing = 0;
        std::optional<Difference> first;
        double worst = worst_;
        for (std::size_t i = begin; i < end; ++i) {
          if (same_bits(got[k][i], want[k][i])) continue;
          if (differing++ == 0) first = {Data::every, k, first_ + i, got[k][i], want[k][i]};
          if (definition_ != nullptr) worst = std::max(worst, error_at(i, got[k][i]));
        }
        const std::scoped_lock lock(mutex);
        if (definition_ != nullptr) outcome.ulp = std::max(outcome.ulp.value_or(0.0), worst);
        outcome.elements += end - begin;
        outcome.differing += differing;
        if (first && (!outcome.first || first->element < outcome.first->element)) outcome.first = first;
      });
    }
  }

  std::vector<std::vector<float>> in, want;  // of the chunk

 private:
  void fill_inputs(std::size_t i) {
    if (unary_) in[0][i] = widen(op_.from, static_cast<std::uint32_t>(first_ + i));
    Random random(first_ + i);
    for (std::size_t k = 0; !unary_ && k < op_.inputs; ++k) {
      in[k][i] = widen(op_.from, static_cast<std::uint32_t>(random.bits() >> 13));
    }
    // Kernels have ways of their own where all of a thread's first operands are neither tiny nor huge.
    const bool is_moderate = !unary_ && op_.from != DType::f16 && (first_ + i) / 4096 % 2 == 1;
    if (is_moderate) in[0][i] = moderate(in[0][i]);
  }

  // What is wanted of element i; returns how far that is from exact.
  double apply_formula(std::size_t i) {
    float x[3] = {}, y[2] = {};
    for (std::size_t k = 0; k < op_.inputs; ++k) x[k] = in[k][i];
    op_.formula(x, y);
    for (std::size_t k = 0; k < op_.outputs; ++k) want[k][i] = rounded(y[k]);
    return definition_ == nullptr ? 0.0 : error_at(i, want[0][i]);
  }

  // Of many inputs one in 64, spread evenly, takes the reference's formula, which is slow, and measures its
  // accuracy; the others take what the CPU gives. tests/exhaustive.cpp has no such shortcut.
  bool is_by_formula(std::uint64_t input) const {
    return total_ <= most_by_formula || input * 0x9e3779b97f4a7c15u >> 58 == 0;
  }

  float rounded(float value) const {
    if (op_.to == DType::f16) return f16::from(value).to_float();
    return op_.to == DType::bf16 ? bf16::from(value).to_float() : value;
  }

  // Of an op of one operand; the second is dy = 1, if there is one.
  double error_at(std::size_t i, float got) const {
    double exact[2] = {};
    if (oracle::needs_long_double(in[0][i])) {
      const long double x[2] = {in[0][i], 1.0L};
      long double y[2] = {};
      definition_->exact(x, y);
      exact[0] = static_cast<double>(y[0]);
    } else {
      const double x[2] = {double{in[0][i]}, 1.0};
      definition_->fast(x, exact);
    }
    if (op_.to == DType::f32) {
      return oracle::in_least_ulp(oracle::ulp_error(got, exact[0]), exact[0], oracle::kF32,
                                  oracle::least_ulp(name_, in[0][i]));
    }
    return ulp_error(got, exact[0], std::abs(exact[0]), op_.to);
  }

  const Elementwise& op_;
  const std::string name_;
  const Device cpu_ = Device::open("cpu");
  const Definition* definition_ = nullptr;
  bool unary_ = false;
  std::uint64_t total_ = 0, first_ = 0;
  double worst_ = 0.0;
};

}  // namespace

std::vector<Outcome> check_every_input(const std::vector<Device>& devices, const OpCase& op,
                                       const Report& report) {
  Walk walk(op);
  std::vector<Outcome> outcomes(devices.size());
  for (std::uint64_t first = 0; first < walk.total(); first += most_in_a_chunk) {
    report(static_cast<double>(first) / static_cast<double>(walk.total()));
    walk.fill(first);
    for (std::size_t d = 0; d < devices.size(); ++d) {
      if (!outcomes[d].error.empty()) continue;
      try {
        walk.compare(run_on(devices[d], *op.elementwise, walk.in), outcomes[d]);
      } catch (const Error& error) {
        outcomes[d].error = error.what();
      }
    }
  }
  for (Outcome& outcome : outcomes) outcome.ulp_bound = walk.bound();
  return outcomes;
}

}  // namespace silica::check
