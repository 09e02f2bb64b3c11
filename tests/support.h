// SPDX-License-Identifier: MIT
// What the tests share: the devices under test, data, and comparisons.
//
//   SILICA_TEST_DEVICES=cpu,cuda:0   the devices to test; "cpu" if not set
//   SILICA_SKIP_DEVICES=cuda:0       of those, the ones that may be missing; any other missing device is a
//   failure
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data.h"
#include "oracle.h"
#include "silica/silica.h"

namespace silica::test {

using namespace check;
using check::same_bits;

// ---- devices

inline std::vector<std::string> listed(const char* variable, std::string_view otherwise) {
  const char* text = std::getenv(variable);
  std::string_view rest = text == nullptr || *text == '\0' ? otherwise : std::string_view(text);
  std::vector<std::string> names;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    if (comma > 0) names.emplace_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return names;
}

inline std::vector<std::string> device_names() { return listed("SILICA_TEST_DEVICES", "cpu"); }

// A test suite that runs on every device under test.
class DeviceTest : public ::testing::TestWithParam<std::string> {
 public:
  const Device& device() const { return *device_; }

 protected:
  void SetUp() override {
    try {
      device_ = Device::open(GetParam());
    } catch (const Error& error) {
      const auto optional = listed("SILICA_SKIP_DEVICES", "");
      if (std::ranges::find(optional, GetParam()) != optional.end()) GTEST_SKIP() << error.what();
      FAIL() << error.what();
    }
  }

 private:
  std::optional<Device> device_;
};

inline std::string name_of_device(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

// Instantiates a suite derived from DeviceTest.
#define SILICA_ON_EVERY_DEVICE(Suite)                                                           \
  INSTANTIATE_TEST_SUITE_P(Devices, Suite, ::testing::ValuesIn(::silica::test::device_names()), \
                           ::silica::test::name_of_device)

// The ways to open a device that must all give the same bits.
inline std::vector<DeviceOptions> configurations(const std::string& device) {
  if (!device.starts_with("cpu")) return {DeviceOptions{}};
  std::vector<DeviceOptions> all;
  for (const unsigned threads : {1u, 2u, 3u, 16u}) {
    for (const std::string_view isa : {"baseline", "avx2", "avx512"}) all.push_back({threads, isa});
  }
  return all;
}

inline std::string to_text(const DeviceOptions& options) {
  return std::to_string(options.threads) + " threads, " + std::string(options.max_isa);
}

// A view in the middle of a larger tensor, misaligned to any vector; what lies around it must stay as it was.
class Guarded {
 public:
  Guarded(const Device& device, DType dtype, const Shape& shape, std::size_t before = 3,
          std::size_t after = 67)
      : whole_(device, dtype, {before + shape.size() + after}), before_(before * size_of(dtype)) {
    std::vector<std::byte> canaries(whole_.bytes());
    for (std::size_t i = 0; i < canaries.size(); ++i) canaries[i] = canary(i);
    whole_.upload_bytes(canaries, dtype);
    tensor = whole_.rows(before, shape.size()).reshape(shape);
  }

  ::testing::AssertionResult intact() const {
    const std::vector<std::byte> bytes = bytes_of(whole_);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (i >= before_ && i < before_ + tensor.bytes()) continue;
      if (bytes[i] != canary(i)) {
        return ::testing::AssertionFailure()
               << "byte " << i << " of " << bytes.size() << ", outside the view [" << before_ << ", "
               << before_ + tensor.bytes() << "), was written";
      }
    }
    return ::testing::AssertionSuccess();
  }

  Tensor tensor;

 private:
  static std::byte canary(std::size_t i) { return static_cast<std::byte>(i * 37 % 251); }
  Tensor whole_;
  std::size_t before_;
};

// ---- running

template <class Encode> void run(const Device& device, Encode&& encode) {
  CommandEncoder encoder(device);
  encode(encoder);
  device.submit(encoder.finish()).wait();
}

// ---- comparisons

inline ::testing::AssertionResult same_bits(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size()) {
    return ::testing::AssertionFailure() << got.size() << " elements, expected " << want.size();
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (same_bits(got[i], want[i])) continue;
    return ::testing::AssertionFailure() << std::hexfloat << "element " << i << " of " << got.size() << " is "
                                         << got[i] << ", expected " << want[i];
  }
  return ::testing::AssertionSuccess();
}

inline ::testing::AssertionResult within_ulp(float got, long double want, double bound) {
  const double error = oracle::ulp_error(got, want);
  if (error <= bound) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << got << " is " << error << " ulp from " << want << ", at most " << bound;
}

// |got - want| <= bound * magnitude, where `magnitude` is that of the terms which were summed.
inline ::testing::AssertionResult near(double got, double want, double magnitude, double bound) {
  if (std::abs(got - want) <= bound * magnitude) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << got << " is " << std::abs(got - want) << " from " << want << ", at most " << bound * magnitude;
}

using Words = std::initializer_list<std::string_view>;

// Whether `call` throws silica::Error of that code with a message that has all the words.
template <class Call>::testing::AssertionResult throws(ErrorCode code, Words words, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (error.code() != code) {
      return ::testing::AssertionFailure() << "code " << to_string(error.code()) << ": " << message;
    }
    for (const std::string_view word : words) {
      if (message.find(word) != message.npos) continue;
      return ::testing::AssertionFailure() << "'" << word << "' is missing from: " << message;
    }
    return ::testing::AssertionSuccess();
  } catch (const std::exception& error) {
    return ::testing::AssertionFailure() << "no silica::Error: " << error.what();
  }
  return ::testing::AssertionFailure() << "nothing was thrown";
}

template <class Call>::testing::AssertionResult refuses(Words words, Call&& call) {
  return throws(ErrorCode::invalid_argument, words, call);
}

// The same for an op: the encoder must be left as it was.
template <class Call>
::testing::AssertionResult refuses_op(CommandEncoder& encoder, Words words, Call&& call) {
  const std::size_t before = encoder.commands();
  const ::testing::AssertionResult result = refuses(words, call);
  if (result && encoder.commands() != before) {
    return ::testing::AssertionFailure()
           << "the encoder has " << encoder.commands() << " commands, had " << before;
  }
  return result;
}

}  // namespace silica::test
