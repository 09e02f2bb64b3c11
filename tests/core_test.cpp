// SPDX-License-Identifier: MIT
// Values and handles: dtypes, shapes, tensors, devices, errors.
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <set>

#include "support.h"

namespace silica::test {
namespace {

// ---- dtypes

constexpr DType all_dtypes[] = {DType::f32, DType::f16, DType::bf16, DType::i32, DType::u32, DType::u8};

TEST(DTypes, NamesGoBothWays) {
  std::set<std::string_view> names;
  for (const DType dtype : all_dtypes) {
    EXPECT_EQ(parse_dtype(to_string(dtype)), dtype);
    names.insert(to_string(dtype));
  }
  EXPECT_EQ(names.size(), std::size(all_dtypes));
  EXPECT_EQ(parse_dtype("f64"), std::nullopt);
  EXPECT_EQ(parse_dtype(""), std::nullopt);
}

TEST(DTypes, Sizes) {
  EXPECT_EQ(size_of(DType::f32), 4u);
  EXPECT_EQ(size_of(DType::f16), 2u);
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(size_of(DType::i32), 4u);
  EXPECT_EQ(size_of(DType::u32), 4u);
  EXPECT_EQ(size_of(DType::u8), 1u);
  EXPECT_TRUE(is_float(DType::bf16));
  EXPECT_FALSE(is_float(DType::u32));
}

// The value of a format with `exponent_bits` and `fraction_bits`, from the definition.
double value_of(unsigned bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double fraction = std::ldexp(static_cast<double>(bits & ((1u << fraction_bits) - 1)), -fraction_bits);
  const double sign = bits >> (exponent_bits + fraction_bits) ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return fraction != 0 ? NAN : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias);
  return sign * std::ldexp(1.0 + fraction, exponent - bias);
}

// The nearest value with that many fraction bits and that least exponent, ties to even, from the definition.
double round_to(double x, int fraction_bits, int least_exponent, double overflow) {
  if (x == 0 || std::isinf(x)) return x;
  const int exponent = std::max(std::ilogb(x), least_exponent);
  const double rounded =
      std::ldexp(std::nearbyint(std::ldexp(x, fraction_bits - exponent)), exponent - fraction_bits);
  return std::fabs(rounded) >= overflow ? std::copysign(HUGE_VAL, x) : rounded;
}

TEST(DTypes, EveryHalfWidensExactlyAndRoundsBack) {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const f16 half{static_cast<std::uint16_t>(bits)};
    const bf16 brain{static_cast<std::uint16_t>(bits)};
    const double h = value_of(bits, 5, 10), b = value_of(bits, 8, 7);
    ASSERT_TRUE(same_bits(half.to_float(), static_cast<float>(h))) << std::hex << bits;
    ASSERT_TRUE(same_bits(brain.to_float(), static_cast<float>(b))) << std::hex << bits;
    if (!std::isnan(h)) {
      ASSERT_EQ(f16::from(half.to_float()).bits, bits);
    }
    if (!std::isnan(b)) {
      ASSERT_EQ(bf16::from(brain.to_float()).bits, bits);
    }
    if (std::isnan(h)) {
      ASSERT_TRUE(std::isnan(f16::from(half.to_float()).to_float()));
    }
    if (std::isnan(b)) {
      ASSERT_TRUE(std::isnan(bf16::from(brain.to_float()).to_float()));
    }
  }
}

TEST(DTypes, FloatsRoundToNearestEven) {
  Random random(1);
  std::vector<float> values = special_floats();
  for (int i = 0; i < 200'000; ++i) values.push_back(random.any_float());
  for (int i = 0; i < 200'000; ++i) values.push_back(random.uniform(-0x1p-13f, 0x1p-13f));
  for (unsigned bits = 0; bits < 0x7c00; ++bits) {  // halfway between halves, and next to it
    const float low = f16{static_cast<std::uint16_t>(bits)}.to_float();
    const float high = bits == 0x7bff ? 65536.0f : f16{static_cast<std::uint16_t>(bits + 1)}.to_float();
    const float middle = (low + high) / 2;
    for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, infinity)}) {
      values.push_back(x);
      values.push_back(-x);
    }
  }
  for (const float x : values) {
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(f16::from(x).to_float()) && std::isnan(bf16::from(x).to_float()));
      continue;
    }
    const double h = round_to(x, 10, -14, 65536.0), b = round_to(x, 7, -126, 0x1p128);
    ASSERT_TRUE(same_bits(f16::from(x).to_float(), static_cast<float>(h))) << std::hexfloat << x;
    ASSERT_TRUE(same_bits(bf16::from(x).to_float(), static_cast<float>(b))) << std::hexfloat << x;
  }
}

// Halves are integers' work on the host: what the caller does with the rounding mode changes nothing.
TEST(DTypes, ConversionsDoNotDependOnTheRoundingMode) {
  std::vector<float> values = special_floats();
  Random random(2);
  for (int i = 0; i < 20'000; ++i) values.push_back(random.uniform(-0x1p-13f, 0x1p-13f));
  for (int i = 0; i < 20'000; ++i) values.push_back(random.any_float());
  const auto converted = [&] {
    std::vector<std::uint32_t> bits;
    for (const float x : values) {
      bits.push_back(f16::from(x).bits);
      bits.push_back(bf16::from(x).bits);
    }
    for (unsigned h = 0; h < 0x10000; ++h) {
      bits.push_back(std::bit_cast<std::uint32_t>(f16{static_cast<std::uint16_t>(h)}.to_float()));
    }
    return bits;
  };
  const std::vector<std::uint32_t> want = converted();
  const int before = std::fegetround();
  for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::fesetround(mode);
    const std::vector<std::uint32_t> got = converted();
    std::fesetround(before);
    EXPECT_EQ(got, want) << mode;
  }
}

// ---- shapes

TEST(Shapes, RowsAndColumns) {
  EXPECT_EQ(Shape().size(), 1u);
  EXPECT_EQ(Shape().rows(), 1u);
  EXPECT_EQ(Shape().cols(), 1u);
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.rank(), 3u);
  EXPECT_EQ(shape.size(), 30u);
  EXPECT_EQ(shape.rows(), 6u);
  EXPECT_EQ(shape.cols(), 5u);
  EXPECT_EQ(shape[1], 3u);
  EXPECT_EQ(to_string(shape), "(2, 3, 5)");
  EXPECT_EQ(Shape({7}).rows(), 1u);
  EXPECT_EQ(Shape({7}).cols(), 7u);
  EXPECT_EQ(Shape({4, 0, 4}).size(), 0u);
  EXPECT_EQ(shape, Shape({2, 3, 5}));
  EXPECT_NE(shape, Shape({6, 5}));
}

TEST(Shapes, RefusesTooManyDimensions) {
  EXPECT_EQ(Shape({1, 1, 1, 1, 1, 1}).rank(), Shape::max_rank);
  EXPECT_TRUE(refuses({"(1, 1, 1, 1, 1, 1, 1)", "7", "6"}, [] { Shape({1, 1, 1, 1, 1, 1, 1}); }));
}

TEST(Shapes, RefusesElementCountsThatOverflow) {
  const std::size_t big = std::size_t{1} << 32;
  EXPECT_TRUE(refuses({"(4294967296, 4294967296)", "63"}, [=] { Shape({big, big}); }));
  EXPECT_TRUE(refuses({"63"}, [=] { Shape({big, big / 2, 1}); }));  // 2^63
  EXPECT_TRUE(refuses({"63"}, [=] { Shape({std::size_t(-1)}); }));
  EXPECT_EQ(Shape({big, big / 4}).size(), big * (big / 4));
  EXPECT_EQ(Shape({big, 0, big}).size(), 0u);
}

// ---- errors

TEST(Errors, CodesHaveNames) {
  std::set<std::string_view> names;
  for (const ErrorCode code : {ErrorCode::invalid_argument, ErrorCode::unsupported, ErrorCode::out_of_memory,
                               ErrorCode::compile_failed, ErrorCode::device_lost, ErrorCode::io}) {
    names.insert(to_string(code));
    EXPECT_EQ(Error(code, "text").code(), code);
  }
  EXPECT_EQ(names.size(), 6u);
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_STREQ(Error(ErrorCode::io, "text").what(), "text");
}

// ---- devices

TEST(Devices, UnknownNamesAreRefusedWithTheKnownOnes) {
  for (const char* name :
       {"abacus", "cpu:1", "cpu:x", "cpu:", "cpu:-1", "cpu:99999999999999999999", "CPU", ":", ":0"}) {
    EXPECT_TRUE(refuses({"cpu"}, [&] { Device::open(name); })) << name;
  }
}

TEST(Devices, BestIsOneOfTheList) {
  const Device device = Device::open();
  bool found = false;
  for (const DeviceInfo& info : list_devices()) found = found || (info.name == device.name() && info.usable);
  EXPECT_TRUE(found);
  EXPECT_TRUE(device.exact());
  EXPECT_FALSE(device.info().description.empty());
}

TEST(Devices, OptionsThatMakeNoSenseAreRefused) {
  EXPECT_TRUE(refuses({"max_isa", "'mmx'", "avx2"}, [] { Device::open("cpu", {.max_isa = "mmx"}); }));
  EXPECT_TRUE(refuses({"1000000", "threads"}, [] { Device::open("cpu", {.threads = 1'000'000}); }));
}

class EnvironmentVariable {
 public:
  EnvironmentVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~EnvironmentVariable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  EnvironmentVariable(const EnvironmentVariable&) = delete;
  EnvironmentVariable& operator=(const EnvironmentVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(Devices, VariablesOfTheEnvironment) {
  {
    const EnvironmentVariable threads("SILICA_THREADS", "3"), isa("SILICA_MAX_ISA", "baseline");
    const std::string description = Device::open("cpu").info().description;
    EXPECT_NE(description.find("3 threads"), description.npos) << description;
    EXPECT_NE(description.find("baseline*"), description.npos) << description;
    const std::string own = Device::open("cpu", {.threads = 2}).info().description;
    EXPECT_NE(own.find("2 threads"), own.npos) << "an option goes before a variable: " << own;
  }
  for (const char* value : {"0", "-1", "two", "2x", "1025", "99999999999999999999"}) {
    const EnvironmentVariable threads("SILICA_THREADS", value);
    EXPECT_TRUE(refuses({"SILICA_THREADS", value}, [] { Device::open("cpu"); })) << value;
  }
  const EnvironmentVariable isa("SILICA_MAX_ISA", "sse9");
  EXPECT_TRUE(refuses({"SILICA_MAX_ISA", "sse9"}, [] { Device::open("cpu"); }));
}

// ---- tensors

class Tensors : public DeviceTest {};

TEST_P(Tensors, NewMemoryIsZero) {
  for (const DType dtype : all_dtypes) {
    const Tensor tensor(device(), dtype, {3, 5});
    EXPECT_EQ(tensor.bytes(), 15 * size_of(dtype));
    EXPECT_EQ(bytes_of(tensor), std::vector<std::byte>(tensor.bytes()));
  }
}

TEST_P(Tensors, UploadAndDownload) {
  const std::vector<std::int32_t> values = {1, -2, 3, -4, 5, -6};
  const Tensor tensor(device(), {2, 3}, values);
  EXPECT_EQ(tensor.dtype(), DType::i32);
  EXPECT_EQ(tensor.download<std::int32_t>(), values);
  EXPECT_TRUE(tensor.device() == device());
  const Tensor copy = tensor;
  copy.upload(std::vector<std::int32_t>(6, 7));
  EXPECT_EQ(tensor.download<std::int32_t>(), std::vector<std::int32_t>(6, 7)) << "copies share memory";
}

TEST_P(Tensors, TransfersAreChecked) {
  const Tensor tensor(device(), DType::f32, {4});
  EXPECT_TRUE(refuses({"upload", "3", "4"}, [&] { tensor.upload(std::vector<float>(3)); }));
  EXPECT_TRUE(refuses({"upload", "5", "4"}, [&] { tensor.upload(std::vector<float>(5)); }));
  EXPECT_TRUE(refuses({"upload", "u32", "f32"}, [&] { tensor.upload(std::vector<std::uint32_t>(4)); }));
  EXPECT_TRUE(refuses({"download", "f16", "f32"}, [&] { tensor.download<f16>(); }));
  std::vector<float> values(3);
  EXPECT_TRUE(refuses({"download", "3", "4"}, [&] { tensor.download(std::span<float>(values)); }));
  EXPECT_TRUE(refuses({"upload", "no tensor"}, [&] { Tensor().upload(values); }));
  EXPECT_TRUE(refuses({"2", "3"}, [&] { Tensor(device(), {2}, values); }));
}

TEST_P(Tensors, DefaultConstructedIsNoTensor) {
  const Tensor none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.size(), 0u);
  EXPECT_EQ(none.bytes(), 0u);
  EXPECT_TRUE(refuses({"device"}, [&] { none.device(); }));
  EXPECT_TRUE(refuses({"rows"}, [&] { none.rows(0, 0); }));
  EXPECT_TRUE(refuses({"reshape"}, [&] { none.reshape({}); }));
}

TEST_P(Tensors, ViewsAreChecked) {
  const Tensor tensor(device(), DType::f32, {4, 3});
  EXPECT_TRUE(refuses({"rows", "2", "3", "(4, 3)"}, [&] { tensor.rows(3, 2); }));
  EXPECT_TRUE(refuses({"rows"}, [&] { tensor.rows(5, 0); }));
  EXPECT_TRUE(refuses({"rows"}, [&] { tensor.rows(1, std::size_t(-1)); }));
  EXPECT_TRUE(refuses({"reshape", "(5, 2)", "10", "12"}, [&] { tensor.reshape({5, 2}); }));
  EXPECT_TRUE(refuses({"rows"}, [&] { Tensor(device(), DType::f32, {}).rows(0, 1); }));
  EXPECT_EQ(tensor.rows(4, 0).size(), 0u);
  EXPECT_EQ(tensor.rows(1, 2).shape(), Shape({2, 3}));
}

TEST_P(Tensors, EmptyTensorsExist) {
  const Tensor tensor(device(), DType::f32, {0, 3});
  EXPECT_TRUE(tensor);
  EXPECT_EQ(tensor.download<float>(), std::vector<float>());
  tensor.upload(std::vector<float>());
  EXPECT_EQ(tensor.rows(0, 0).bytes(), 0u);
}

TEST_P(Tensors, MemoryIsCounted) {
  const std::size_t before = device().memory().bytes;
  {
    const Tensor a(device(), DType::f32, {1000}), view = a.rows(10, 10), copy = a;
    EXPECT_EQ(device().memory().bytes, before + 4000);
  }
  EXPECT_EQ(device().memory().bytes, before);
  EXPECT_GE(device().memory().peak_bytes, before + 4000);
}

TEST_P(Tensors, KeepTheirDeviceAlive) {
  Tensor tensor;
  {
    const Device own = Device::open(GetParam());
    tensor = make(own, {1.0f, 2.0f});
  }
  EXPECT_EQ(get(tensor), std::vector<float>({1.0f, 2.0f}));
  EXPECT_EQ(tensor.device().name(), device().name());
}

SILICA_ON_EVERY_DEVICE(Tensors);

}  // namespace
}  // namespace silica::test
