// SPDX-License-Identifier: MIT
// Data for tensors: the same numbers on every machine, what goes to a device and comes back as floats, and
// what counts as the same bits.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "silica/silica.h"

namespace silica::check {

inline constexpr float infinity = std::numeric_limits<float>::infinity();
inline constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float smallest_subnormal = std::numeric_limits<float>::denorm_min();
inline constexpr float smallest_normal = std::numeric_limits<float>::min();
inline constexpr float largest = std::numeric_limits<float>::max();

// ---- data

// The same numbers on every machine: splitmix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(bits() % n); }
  std::size_t between(std::size_t low, std::size_t high) { return low + below(high - low + 1); }
  float uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24f;
  }
  float any_float() { return std::bit_cast<float>(static_cast<std::uint32_t>(bits())); }

  std::vector<float> floats(std::size_t n, float low = -2.0f, float high = 2.0f) {
    std::vector<float> values(n);
    for (float& value : values) value = uniform(low, high);
    return values;
  }
  std::vector<std::uint32_t> ids(std::size_t n, std::size_t below_this) {
    std::vector<std::uint32_t> values(n);
    for (std::uint32_t& value : values) value = static_cast<std::uint32_t>(below(below_this));
    return values;
  }

 private:
  std::uint64_t state_;
};

// Values at which kernels tend to go wrong.
inline std::vector<float> special_floats() {
  std::vector<float> values = {0.0f,        smallest_subnormal,
                               1e-40f,      smallest_normal,
                               1e-20f,      0x1p-24f,
                               0.5f,        1.0f,
                               1.27846456f, 2.0f,
                               3.5f,        20.0f,
                               87.5f,       88.8f,
                               91.8f,       103.5f,
                               130.0f,      65504.0f,
                               1e20f,       largest,
                               infinity,    quiet_nan};
  for (std::size_t i = values.size(); i-- > 0;) values.push_back(-values[i]);
  return values;
}

inline std::vector<float> rounded(std::vector<float> values, DType dtype) {
  for (float& value : values) {
    if (dtype == DType::f16) value = f16::from(value).to_float();
    if (dtype == DType::bf16) value = bf16::from(value).to_float();
  }
  return values;
}

// ---- tensors

inline std::vector<std::byte> bytes_of(const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes());
  tensor.download_bytes(bytes, tensor.dtype());
  return bytes;
}

// Rounds the values to a floating-point tensor's dtype.
inline void set(const Tensor& tensor, const std::vector<float>& values) {
  const auto convert = [&]<class T>(T) {
    std::vector<T> elements;
    for (const float value : values) elements.push_back(T::from(value));
    tensor.upload(elements);
  };
  switch (tensor.dtype()) {
    case DType::f32:
      return tensor.upload(values);
    case DType::f16:
      return convert(f16());
    case DType::bf16:
      return convert(bf16());
    default:
      throw Error(ErrorCode::invalid_argument, "not a floating-point tensor");
  }
}

inline std::vector<float> get(const Tensor& tensor) {
  std::vector<float> values;
  const auto convert = [&]<class T>(T) {
    for (const T element : tensor.download<T>()) values.push_back(element.to_float());
  };
  switch (tensor.dtype()) {
    case DType::f32:
      return tensor.download<float>();
    case DType::f16:
      convert(f16());
      break;
    case DType::bf16:
      convert(bf16());
      break;
    case DType::u8:
      for (const std::uint8_t element : tensor.download<std::uint8_t>()) values.push_back(element);
      break;
    default:
      throw Error(ErrorCode::invalid_argument, "not a floating-point tensor");
  }
  return values;
}

inline Tensor make(const Device& device, DType dtype, const Shape& shape, const std::vector<float>& values) {
  Tensor tensor(device, dtype, shape);
  set(tensor, values);
  return tensor;
}

inline Tensor make(const Device& device, const std::vector<float>& values) {
  return make(device, DType::f32, {values.size()}, values);
}

// ---- comparisons

inline bool same_bits(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

}  // namespace silica::check
