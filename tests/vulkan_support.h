// SPDX-License-Identifier: MIT
// What the tests of the Vulkan backend share: the same commands on it and on the CPU, compared to the bit.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "backends/vulkan/context.h"
#include "core/program.h"
#include "silica/silica.h"
#include "support.h"

namespace silica::test {

using vulkan::VulkanBackend;

inline const Device& cpu() {
  static const Device device = Device::open("cpu");
  return device;
}
inline const Device& gpu() {
  static const Device device = Device::open("vulkan");
  return device;
}

inline VulkanBackend& backend_of(const Device& device) {
  return static_cast<VulkanBackend&>(*device.state().backend);
}

// Equal to the bit, but for the payload of a NaN, which is above `infinity` without its sign.
template <class Word>
::testing::AssertionResult same_words(std::span<const std::byte> a, std::span<const std::byte> b,
                                      Word infinity) {
  constexpr Word magnitude = static_cast<Word>(-1) >> 1;
  const auto at = [](std::span<const std::byte> bytes, std::size_t i) {
    Word word;
    std::memcpy(&word, bytes.data() + i * sizeof word, sizeof word);
    return word;
  };
  for (std::size_t i = 0; i < a.size() / sizeof(Word); ++i) {
    const Word p = at(a, i), q = at(b, i);
    if (p == q || ((p & magnitude) > infinity && (q & magnitude) > infinity)) continue;
    return ::testing::AssertionFailure() << "element " << i << " of " << a.size() / sizeof(Word) << " is 0x"
                                         << std::hex << q << " on Vulkan, 0x" << p << " on the CPU";
  }
  return ::testing::AssertionSuccess();
}

inline ::testing::AssertionResult same(const Tensor& a, const Tensor& b) {
  const std::vector<std::byte> x = bytes_of(a), y = bytes_of(b);
  if (x == y) return ::testing::AssertionSuccess();
  switch (a.dtype()) {
    case DType::f32:
      return same_words<std::uint32_t>(x, y, 0x7f800000);
    case DType::f16:
      return same_words<std::uint16_t>(x, y, 0x7c00);
    case DType::bf16:
      return same_words<std::uint16_t>(x, y, 0x7f80);
    default:
      return ::testing::AssertionFailure() << "integers differ";
  }
}

// Any bits: subnormals, infinities and NaN among them; every eighth value is of ordinary size.
inline std::vector<std::byte> any_bytes(std::size_t bytes, std::mt19937& random) {
  std::vector<std::byte> values(bytes);
  for (std::byte& value : values) value = static_cast<std::byte>(random());
  return values;
}

// In a dtype of two bytes or four.
inline std::vector<std::byte> rounded(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes;
  const auto put = [&bytes](const auto& value) {
    const auto of_value = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), of_value.begin(), of_value.end());
  };
  for (const float value : values) {
    if (dtype == DType::f16) put(f16::from(value));
    if (dtype == DType::bf16) put(bf16::from(value));
    if (dtype == DType::f32) put(value);
  }
  return bytes;
}

inline std::vector<float> ordinary(std::size_t n, std::mt19937& random, float scale = 2.0f) {
  std::vector<float> values(n);
  for (float& value : values) value = (static_cast<float>(random()) * 0x1p-32f - 0.5f) * 2.0f * scale;
  return values;
}

// The same tensors on both devices, the same commands, then every tensor compared.
class Twins {
 public:
  explicit Twins(const Device& second = gpu()) : devices_{cpu(), second} {}

  std::size_t add(DType dtype, const Shape& shape, const std::vector<std::byte>& bytes) {
    for (std::size_t d = 0; d < 2; ++d) {
      tensors_[d].push_back(Tensor(devices_[d], dtype, shape));
      tensors_[d].back().upload_bytes(bytes, dtype);
    }
    return tensors_[0].size() - 1;
  }
  template <class T> std::size_t add(const Shape& shape, const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return add(dtype_of<T>, shape, {bytes.begin(), bytes.end()});
  }
  std::size_t add(DType dtype, const Shape& shape) {
    return add(dtype, shape, std::vector<std::byte>(shape.size() * size_of(dtype)));
  }

  using Encode = std::function<void(CommandEncoder&, const std::vector<Tensor>&)>;
  void run(const std::string& what, const Encode& encode) {
    for (std::size_t d = 0; d < 2; ++d) {
      CommandEncoder encoder(devices_[d]);
      encode(encoder, tensors_[d]);
      devices_[d].submit(encoder.finish()).wait();
    }
    for (std::size_t i = 0; i < tensors_[0].size(); ++i) {
      EXPECT_TRUE(same(tensors_[0][i], tensors_[1][i])) << what << ", tensor " << i;
    }
  }

 private:
  Device devices_[2];
  std::vector<Tensor> tensors_[2];
};

struct Training {
  std::vector<std::byte> weights;
  float first_loss = 0, last_loss = 0;
};

// down(swiglu(gate(x), up(x))) on rms_norm of an embedding, with AdamW; one list, submitted `steps` times.
inline Training train(const Device& device, int steps) {
  constexpr std::size_t vocabulary = 50, width = 24, hidden = 40, tokens = 70;
  std::mt19937 random(8);
  const auto tensor = [&](const Shape& shape) {
    return Tensor(device, shape, ordinary(shape.size(), random, 0.3f));
  };
  const std::vector<Tensor> weights = {tensor({vocabulary, width}), tensor({width}), tensor({hidden, width}),
                                       tensor({hidden, width}), tensor({vocabulary, hidden})};
  std::vector<std::uint32_t> words(tokens + 1);
  for (auto& word : words) word = static_cast<std::uint32_t>(random() % vocabulary);
  const Tensor ids(device, {tokens}, std::vector(words.begin(), words.end() - 1));
  const Tensor targets(device, {tokens}, std::vector(words.begin() + 1, words.end()));
  const Tensor state(device, {3}, std::vector{0.01f, 1.0f, 1.0f}), loss(device, DType::f32, {1});

  CommandEncoder encoder(device);
  Tape tape(encoder);
  std::vector<Variable> v;
  for (const Tensor& weight : weights) v.push_back(tape.variable(weight));
  const Variable x = rms_norm(embedding(v[0], ids), v[1]);
  const Variable h = swiglu(matmul(x, v[2], {.transpose_b = true}), matmul(x, v[3], {.transpose_b = true}));
  const Variable mean = cross_entropy(matmul(h, v[4], {.transpose_b = true}), targets);
  tape.backward(mean);
  copy(encoder, mean.value(), loss);
  adamw_step(encoder, state);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Tensor m(device, DType::f32, weights[i].shape()), second(device, DType::f32, weights[i].shape());
    adamw(encoder, tape.gradient(v[i]), state, weights[i], m, second);
  }
  const CommandList step = encoder.finish();
  Training result;
  device.submit(step).wait();
  result.first_loss = loss.download<float>()[0];
  for (int i = 1; i < steps; ++i) device.submit(step);  // several in flight
  result.last_loss = loss.download<float>()[0];
  for (const Tensor& weight : weights) {
    const auto bytes = bytes_of(weight);
    result.weights.insert(result.weights.end(), bytes.begin(), bytes.end());
  }
  return result;
}

}  // namespace silica::test
