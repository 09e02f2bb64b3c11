// SPDX-License-Identifier: MIT
#include "bench/operands.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "errors.h"
#include "random.h"

namespace silica::bench {
namespace {

constexpr std::size_t largest_block = std::size_t{1} << 20;  // elements

template <class T> void append(std::vector<std::byte>& bytes, T value) {
  const auto raw = std::as_bytes(std::span(&value, 1));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

// About normal: the mean of three uniform numbers, whose deviation is a third of their largest.
float about_normal(std::uint64_t seed, std::uint64_t index, float amplitude) {
  float sum = 0;
  for (std::uint64_t i = 0; i < 3; ++i) sum += app::unit_float(app::mix(app::mix(seed) ^ (3 * index + i)));
  return amplitude * (2.0f / 3.0f * sum - 1.0f);
}

HostInput random_input(const Input& input, DType dtype, std::uint64_t seed) {
  HostInput host{input.below ? DType::u32 : dtype, input.shape, {}};
  const std::size_t count = std::min(input.shape.size(), largest_block);
  host.block.reserve(count * size_of(host.dtype));
  for (std::size_t i = 0; i < count; ++i) {
    const float value = about_normal(seed, i, input.amplitude);
    switch (host.dtype) {
      case DType::f16:
        append(host.block, f16::from(value));
        break;
      case DType::bf16:
        append(host.block, bf16::from(value));
        break;
      case DType::u32:
        append(host.block, static_cast<std::uint32_t>(app::mix(app::mix(seed) ^ i) % input.below));
        break;
      default:
        append(host.block, value);
    }
  }
  return host;
}

Tensor upload(const Device& device, const HostInput& host) {
  const Tensor tensor(device, host.dtype, host.shape), flat = tensor.reshape({tensor.size()});
  const std::size_t block = host.block.size() / size_of(host.dtype);
  for (std::size_t first = 0; first < flat.size(); first += block) {
    const std::size_t count = std::min(block, flat.size() - first);
    const std::span bytes = std::span(host.block).first(count * size_of(host.dtype));
    flat.rows(first, count).upload_bytes(bytes, host.dtype);
  }
  return tensor;
}

struct Format {
  int precision, smallest_exponent;
  double epsilon() const { return std::ldexp(1.0, 1 - precision); }
  double ulp(double value) const {
    const int exponent = value == 0 ? smallest_exponent : std::max(std::ilogb(value), smallest_exponent);
    return std::ldexp(1.0, exponent + 1 - precision);
  }
};

Format format_of(DType dtype) {
  if (dtype == DType::f16) return {11, -14};
  if (dtype == DType::bf16) return {8, -126};
  return {24, -126};
}

}  // namespace

Operands make_operands(const Device& device, const Work& work) {
  static std::uint64_t made = 0;
  Operands operands{.id = ++made};
  for (std::size_t i = 0; i < work.inputs.size(); ++i) {
    operands.host.push_back(random_input(work.inputs[i], work.dtype, i + 1));
    operands.in.push_back(upload(device, operands.host.back()));
  }
  return operands;
}

Tensors make_outputs(const Device& device, const Work& work) {
  Tensors outputs;
  for (const Shape& shape : work.outputs) outputs.emplace_back(device, work.dtype, shape);
  return outputs;
}

std::vector<std::pair<std::size_t, std::size_t>> sampled(std::size_t elements) {
  constexpr std::size_t parts = 64, length = largest_block / parts;
  if (elements <= largest_block) return {{0, elements}};
  std::vector<std::pair<std::size_t, std::size_t>> ranges;
  for (std::size_t i = 0; i < parts; ++i) {
    ranges.emplace_back((elements - length) / (parts - 1) * i, length);
  }
  ranges.back().first = elements - length;
  return ranges;
}

Sample widen(const std::vector<std::byte>& bytes, DType dtype) {
  Sample values(bytes.size() / size_of(dtype));
  const auto at = [&]<class T>(T element, std::size_t i) {
    std::memcpy(&element, bytes.data() + i * sizeof element, sizeof element);
    return element;
  };
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = dtype == DType::f16    ? at(f16(), i).to_float()
                : dtype == DType::bf16 ? at(bf16(), i).to_float()
                                       : at(0.0f, i);
  }
  return values;
}

std::vector<Sample> sample(const Tensors& outputs) {
  std::vector<Sample> samples;
  for (const Tensor& output : outputs) {
    const Tensor flat = output.reshape({output.size()});
    std::vector<std::byte> bytes;
    for (const auto& [first, count] : sampled(flat.size())) {
      const Tensor part = flat.rows(first, count);
      bytes.resize(bytes.size() + part.bytes());
      part.download_bytes(std::span(bytes).last(part.bytes()), part.dtype());
    }
    samples.push_back(widen(bytes, output.dtype()));
  }
  return samples;
}

Difference difference(const std::vector<Sample>& silicas, const std::vector<Sample>& peers, DType dtype) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (silicas.size() != peers.size()) return {infinity, infinity};
  const Format format = format_of(dtype);
  Difference worst;
  for (std::size_t output = 0; output < silicas.size(); ++output) {
    const Sample &ours = silicas[output], &theirs = peers[output];
    if (ours.size() != theirs.size()) return {infinity, infinity};
    double largest = 0, furthest = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
      const double want = ours[i], distance = std::abs(double{theirs[i]} - want);
      if (std::isnan(want) && std::isnan(theirs[i])) continue;
      if (!std::isfinite(distance)) return {infinity, infinity};
      largest = std::max(largest, std::abs(want));
      furthest = std::max(furthest, distance);
      worst.ulp = std::max(worst.ulp, distance / format.ulp(want));
    }
    if (furthest > 0) worst.relative = std::max(worst.relative, furthest / largest);
  }
  return worst;
}

bool is_wrong(const Difference& difference, DType dtype) {
  return !(difference.relative < 64 * format_of(dtype).epsilon());
}

}  // namespace silica::bench
