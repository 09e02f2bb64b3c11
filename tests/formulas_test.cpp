// SPDX-License-Identifier: MIT
// kernels/formulas.h on the CPU against the oracle, and its text through the compilers of the other devices.
// All 2^32 inputs: exhaustive.cpp.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <limits>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "formula_table.h"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
float from_bits(std::uint32_t u) { return std::bit_cast<float>(u); }

// ---- accuracy ----

// Where a formula changes its branch-free mind, or a value its kind: each with its neighbours, of either
// sign.
std::vector<float> special_values() {
  std::vector<float> centres = {0.0f,
                                FLT_TRUE_MIN,
                                FLT_MIN,
                                FLT_MAX,
                                kInfinity,
                                1.0f,
                                90.0f,
                                105.0f,
                                130.0f,
                                88.7228394f,
                                87.3365479f,
                                103.972076f,
                                108.5f,
                                104.0f,
                                91.8f,
                                1.27846456f,
                                1.27846456f - 0.03125f,
                                1.27846456f + 0.03125f,
                                0.751791537f,
                                0.751791537f - 0.125f,
                                0.751791537f + 0.125f,
                                0.752461433f,
                                0.752461433f - 0.03125f,
                                0.752461433f + 0.03125f,
                                0.7f,
                                11.5f,
                                14.75f,
                                0.707106769f,
                                1.41421354f,
                                65504.0f,
                                65520.0f};
  for (int e = -149; e <= 127; ++e) {
    centres.push_back(std::ldexp(1.0f, e));
    centres.push_back(std::ldexp(1.41421354f, e));  // log_ changes its exponent
  }
  for (int n = 0; n <= 380; ++n)
    centres.push_back(static_cast<float>(n * 0.34657359027997264));  // exp_ its n
  std::vector<float> values = {from_bits(0x7fc00000u), from_bits(0xffc00000u), from_bits(0x7f800001u),
                               from_bits(0xff800001u), from_bits(0x7fffffffu), from_bits(0xffffffffu)};
  for (float centre : centres) {
    for (int step = -64; step <= 64; ++step) {
      const std::int64_t u = std::int64_t{bits(centre)} + step;
      if (u < 0 || u > 0x7f800000) continue;
      const float value = from_bits(static_cast<std::uint32_t>(u));
      values.push_back(value);
      values.push_back(-value);
    }
  }
  return values;
}

using formulas::Figures;
using formulas::Subject;

#ifdef __SANITIZE_ADDRESS__
constexpr std::uint64_t one_in = 4096;  // the same formulas run without sanitizers too, ten times as fast
#else
constexpr std::uint64_t one_in = 256;
#endif

Figures special_and_sampled(const Subject& subject) {
  std::vector<float> special = special_values();
  Figures worst;
  for (std::size_t first = 0; first < special.size(); first += formulas::kBlock) {
    formulas::Block x{};
    const std::size_t count = std::min(formulas::kBlock, special.size() - first);
    std::copy_n(special.begin() + static_cast<std::ptrdiff_t>(first), count, x.begin());
    worst.add(measure(subject, x, count));
  }
  for (std::uint64_t first = 0; first < (std::uint64_t{1} << 32) / one_in; first += formulas::kBlock) {
    worst.add(measure(subject, first, one_in));
  }
  return worst;
}

Figures all_halves(const Subject& subject) {
  Figures all;
  for (std::uint64_t first = 0; first < 1u << 16; first += formulas::kBlock)
    all.add(measure(subject, first, 1));
  return all;
}

// The committed figures are bounds of what is found here; for 16 bits they are found again.
TEST(Formulas, AccuracyIsWhatTheDocumentSays) {
  const std::string path = SILICA_SOURCE_DIR "/docs/numerics.md";
  std::map<std::string, std::string> rows = formulas::read_table(path);
  std::vector<std::future<Figures>> results;
  for (const Subject& subject : formulas::subjects()) {
    const bool halves = subject.from != &formulas::kDTypes[0];
    results.push_back(std::async(std::launch::async, halves ? all_halves : special_and_sampled, subject));
  }
  std::size_t next = 0;
  for (const Subject& subject : formulas::subjects()) {
    const Figures found = results[next++].get();
    EXPECT_LE(found.max_ulp, subject.goal()) << subject.key() << " at " << found.at;
    const auto row = rows.extract(subject.key());
    if (row.empty()) {
      ADD_FAILURE() << path << " has no row for " << subject.key();
      continue;
    }
    if (subject.from != &formulas::kDTypes[0]) {
      EXPECT_EQ(row.mapped(), table_row(subject, found)) << path;
      continue;
    }
    const formulas::Claim claim = formulas::claim_of(row.mapped());
    EXPECT_LE(found.max_ulp, claim.max_ulp) << path << ": " << subject.key() << " at " << found.at;
    EXPECT_LE(claim.max_ulp, subject.goal()) << path << ": " << subject.key();
    EXPECT_TRUE(found.misrounded == 0 || claim.misrounded > 0) << path << ": " << subject.key();
  }
  for (const auto& [key, row] : rows)
    ADD_FAILURE() << path << " has a row for " << key << ", which is no formula";
}

// The bits, as ulp_error is blind to the sign of zero.
TEST(Formulas, Limits) {
  const auto expect_bits = [](const char* what, float got, float want) {
    EXPECT_EQ(bits(got), bits(want)) << what << ": " << got << ", wanted " << want;
  };
  expect_bits("exp_(-inf)", formulas::exp_(-kInfinity), 0.0f);
  expect_bits("exp_(inf)", formulas::exp_(kInfinity), kInfinity);
  expect_bits("exp_(0)", formulas::exp_(0.0f), 1.0f);
  expect_bits("exp_(-0)", formulas::exp_(-0.0f), 1.0f);
  expect_bits("log_(0)", formulas::log_(0.0f), -kInfinity);
  expect_bits("log_(-0)", formulas::log_(-0.0f), -kInfinity);
  expect_bits("log_(1)", formulas::log_(1.0f), 0.0f);
  expect_bits("log_(inf)", formulas::log_(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(formulas::log_(-1.0f)));
  EXPECT_TRUE(std::isnan(formulas::log_(-FLT_TRUE_MIN)));
  EXPECT_TRUE(std::isnan(formulas::log_(-kInfinity)));
  expect_bits("tanh_(-inf)", formulas::tanh_(-kInfinity), -1.0f);
  expect_bits("tanh_(-0)", formulas::tanh_(-0.0f), -0.0f);
  expect_bits("tanh_derivative(inf)", formulas::tanh_derivative(kInfinity), 0.0f);
  expect_bits("gelu(-inf)", formulas::gelu(-kInfinity), -0.0f);
  expect_bits("gelu(-FLT_MAX)", formulas::gelu(-FLT_MAX), -0.0f);
  expect_bits("gelu(FLT_MAX)", formulas::gelu(FLT_MAX), FLT_MAX);
  expect_bits("gelu(-0)", formulas::gelu(-0.0f), -0.0f);
  expect_bits("gelu_derivative(-inf)", formulas::gelu_derivative(-kInfinity), -0.0f);
  expect_bits("gelu_derivative(inf)", formulas::gelu_derivative(kInfinity), 1.0f);
  expect_bits("gelu_tanh(-inf)", formulas::gelu_tanh(-kInfinity), -0.0f);
  expect_bits("gelu_tanh(FLT_MAX)", formulas::gelu_tanh(FLT_MAX), FLT_MAX);
  expect_bits("gelu_tanh_derivative(-inf)", formulas::gelu_tanh_derivative(-kInfinity), -0.0f);
  expect_bits("gelu_tanh_derivative(inf)", formulas::gelu_tanh_derivative(kInfinity), 1.0f);
  expect_bits("softplus(-inf)", formulas::softplus(-kInfinity), 0.0f);
  expect_bits("softplus(inf)", formulas::softplus(kInfinity), kInfinity);
  expect_bits("relu(-0)", formulas::relu(-0.0f), 0.0f);
  expect_bits("relu_derivative(0)", formulas::relu_derivative(0.0f), 0.0f);
  expect_bits("rsqrt_(0)", formulas::rsqrt_(0.0f), kInfinity);
  expect_bits("rsqrt_(-0)", formulas::rsqrt_(-0.0f), -kInfinity);
  expect_bits("rsqrt_(inf)", formulas::rsqrt_(kInfinity), 0.0f);
  EXPECT_TRUE(std::isnan(formulas::rsqrt_(-FLT_TRUE_MIN)));
  expect_bits("sigmoid(-inf)", formulas::sigmoid(-kInfinity), 0.0f);
  expect_bits("sigmoid(inf)", formulas::sigmoid(kInfinity), 1.0f);
  expect_bits("sigmoid(-0)", formulas::sigmoid(-0.0f), 0.5f);
  expect_bits("sigmoid_derivative(-inf)", formulas::sigmoid_derivative(-kInfinity), 0.0f);
  expect_bits("sigmoid_derivative(inf)", formulas::sigmoid_derivative(kInfinity), 0.0f);
  expect_bits("sigmoid_derivative(0)", formulas::sigmoid_derivative(0.0f), 0.25f);
  expect_bits("silu(-inf)", formulas::silu(-kInfinity), -0.0f);
  expect_bits("silu(-FLT_MAX)", formulas::silu(-FLT_MAX), -0.0f);
  expect_bits("silu(inf)", formulas::silu(kInfinity), kInfinity);
  expect_bits("silu(FLT_MAX)", formulas::silu(FLT_MAX), FLT_MAX);
  expect_bits("silu(0)", formulas::silu(0.0f), 0.0f);
  expect_bits("silu(-0)", formulas::silu(-0.0f), -0.0f);
  expect_bits("silu_derivative(-inf)", formulas::silu_derivative(-kInfinity), -0.0f);
  expect_bits("silu_derivative(inf)", formulas::silu_derivative(kInfinity), 1.0f);
  expect_bits("silu_derivative(0)", formulas::silu_derivative(0.0f), 0.5f);
  expect_bits("silu_derivative(-0)", formulas::silu_derivative(-0.0f), 0.5f);
}

// Each 97th x <= 0; all of them once, by hand.
TEST(Formulas, ExpOfWhatIsNotPositiveHasTheSameBits) {
  for (std::uint64_t bits = 0x80000000u; bits <= 0xff800000u; bits += 97) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    ASSERT_EQ(std::bit_cast<std::uint32_t>(formulas::exp_falling(x)),
              std::bit_cast<std::uint32_t>(formulas::exp_(x)))
        << x;
  }
  EXPECT_EQ(formulas::exp_falling(0.0f), 1.0f);
  EXPECT_EQ(formulas::exp_falling(-kInfinity), 0.0f);
  EXPECT_TRUE(std::isnan(formulas::exp_falling(std::numeric_limits<float>::quiet_NaN())));
}

// (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24, or 0 where the product rounds by itself. This catches a missing
// -ffp-contract=off.
TEST(Formulas, CompilerDoesNotContract) {
  volatile float a = 1.000244140625f;
  volatile float c = -1.00048828125f;
  const float x = a;
  const float z = c;
  EXPECT_EQ(x * x + z, 0.0f);
  EXPECT_EQ(fma_(x, x, z), 5.9604644775390625e-8f);
}

// ---- f16 and bf16 ----

double value_of(const oracle::Format& format, std::uint32_t h) {
  const std::uint32_t mantissa = h & ((1u << format.mantissa_bits) - 1);
  const int field = static_cast<int>((h & 0x7fffu) >> format.mantissa_bits);
  const double sign = (h & 0x8000u) != 0 ? -1.0 : 1.0;
  if (field == format.max_exponent - format.min_exponent + 2) return mantissa != 0 ? NAN : sign * HUGE_VAL;
  const double fraction = std::ldexp(mantissa, -format.mantissa_bits);
  return sign * (field == 0 ? std::ldexp(fraction, format.min_exponent)
                            : std::ldexp(1 + fraction, field - 1 + format.min_exponent));
}

bool same(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b && std::signbit(a) == std::signbit(b);
}

void check_narrow(const oracle::Format& format, float (*widen)(std::uint32_t),
                  std::uint32_t (*narrow)(float)) {
  const std::uint32_t quiet = 1u << (format.mantissa_bits - 1);
  for (std::uint32_t h = 0; h < 65536; ++h) {
    const float wide = widen(h);
    ASSERT_TRUE(same(double{wide}, value_of(format, h))) << h;
    const std::uint32_t back = narrow(wide);
    if (std::isnan(wide)) {
      ASSERT_TRUE(std::isnan(value_of(format, back)) && (back & quiet) != 0) << h;
    } else {
      ASSERT_EQ(back, h);
    }
  }
  const auto check = [&](float x) {
    const std::uint32_t h = narrow(x);
    ASSERT_TRUE(h <= 0xffffu && same(value_of(format, h), oracle::rounded(double{x}, format)))
        << x << " became " << h;
  };
  for (float x : special_values()) check(x);
  // Every midpoint of two neighbours, and the floats beside it.
  for (std::uint32_t h = 0; h < 0x7fffu; ++h) {
    const double middle = (value_of(format, h) + value_of(format, h + 1)) / 2;
    if (!std::isfinite(middle)) continue;
    const float x = static_cast<float>(middle);
    for (float y : {x, std::nextafter(x, -kInfinity), std::nextafter(x, kInfinity)}) {
      check(y);
      check(-y);
    }
  }
  for (std::uint64_t u = 0; u < (std::uint64_t{1} << 32); u += 1009)
    check(from_bits(static_cast<std::uint32_t>(u)));
}

TEST(Formulas, F16) {
  check_narrow(
      oracle::kF16, [](std::uint32_t h) { return formulas::f16_to_f32_(h); },
      [](float x) { return std::uint32_t{formulas::f32_to_f16_(x)}; });
}

TEST(Formulas, Bf16) {
  check_narrow(
      oracle::kBf16, [](std::uint32_t h) { return formulas::bf16_to_f32_(h); },
      [](float x) { return std::uint32_t{formulas::f32_to_bf16_(x)}; });
}

#ifdef __FLT16_MANT_DIG__
TEST(Formulas, F16AgreesWithTheCompiler) {
  __extension__ typedef _Float16 Half;
  for (std::uint64_t u = 0; u < (std::uint64_t{1} << 32); u += 997) {
    const float x = from_bits(static_cast<std::uint32_t>(u));
    if (std::isnan(x)) continue;
    ASSERT_EQ(formulas::f32_to_f16_(x), std::bit_cast<std::uint16_t>(static_cast<Half>(x))) << x;
  }
  for (std::uint32_t h = 0; h < 65536; ++h) {
    const float x = static_cast<float>(std::bit_cast<Half>(static_cast<std::uint16_t>(h)));
    ASSERT_TRUE(same(double{formulas::f16_to_f32_(h)}, double{x})) << h;
  }
}
#endif

// ---- fma without the instruction ----

void check_fma(float a, float b, float c) {
  const float want = std::fma(a, b, c);
  const float got = fma_emulated_(a, b, c);
  ASSERT_TRUE(same(double{got}, double{want}))
      << a << " * " << b << " + " << c << " = " << want << ", got " << got;
}

TEST(Formulas, EmulatedFma) {
  std::mt19937_64 random(20240501);
  const auto any = [&] { return from_bits(static_cast<std::uint32_t>(random())); };
  const auto with_exponent = [&](int low, int high) {
    const int exponent = low + static_cast<int>(random() % static_cast<std::uint64_t>(high - low + 1));
    const float mantissa = from_bits(0x3f800000u | static_cast<std::uint32_t>(random() & 0x807fffffu));
    return std::ldexp(mantissa, exponent);
  };
  const float special[] = {
      0.0f,    -0.0f,    1.0f,      -1.0f,      FLT_TRUE_MIN, -FLT_TRUE_MIN,          FLT_MIN,
      FLT_MAX, -FLT_MAX, kInfinity, -kInfinity, NAN,          from_bits(0x3f800001u), from_bits(0x3f7fffffu)};
  for (float a : special) {
    for (float b : special) {
      for (float c : special) check_fma(a, b, c);
    }
  }
  for (int i = 0; i < 4'000'000; ++i) {
    check_fma(any(), any(), any());
    const float a = with_exponent(-40, 40);
    const float b = with_exponent(-40, 40);
    const double product = double{a} * double{b};
    // Cancellation: c is the rounded product, a few steps off.
    float c = static_cast<float>(-product);
    for (std::uint64_t step = random() % 4; step > 0; --step) c = std::nextafter(c, kInfinity);
    check_fma(a, b, c);
    // A product far below c, on either side of it, or just reaching the half step.
    check_fma(a, b, std::ldexp(with_exponent(0, 0), std::ilogb(product) + static_cast<int>(random() % 60)));
    // Halves: a product of a power of two and c, whose sum lies at or beside a midpoint.
    const float power = std::ldexp(1.0f, std::ilogb(a));
    const float odd = from_bits(bits(b) | 1u);
    check_fma(
        power, odd,
        std::ldexp(with_exponent(0, 0), std::ilogb(double{power} * odd) + static_cast<int>(random() % 3)));
    check_fma(from_bits(bits(a) & 0xfffff000u), from_bits(bits(b) & 0xfffff000u),
              std::ldexp(1.0f, std::ilogb(product) + 24 + static_cast<int>(random() % 3)));
    // Subnormal and overflowing results.
    check_fma(with_exponent(-80, -60), with_exponent(-80, -60), with_exponent(-149, -126));
    check_fma(with_exponent(-75, -70), with_exponent(-75, -70), 0.0f);
    check_fma(with_exponent(60, 64), with_exponent(60, 64), with_exponent(120, 127));
  }
}

// ---- the other compilers ----

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(file.good() || file.eof()) << "cannot read " << path;
  return text.str();
}

std::string kernel_text(const char* name) {
  return read(std::filesystem::path(SILICA_SOURCE_DIR) / "kernels" / name);
}

// One store per formula of x, into float or uint memory.
struct Store {
  const char* type;
  std::string call;
};

std::vector<Store> stores() {
  return {
#define SILICA_UNARY(op, y, derivative) {"float", #y}, {"float", #derivative},
#define SILICA_UNARY_LINEAR(op, y) {"float", #y},
#define SILICA_UNARY_SCALAR(op, ...)
#define SILICA_BINARY(op, ...)
#define SILICA_BINARY_LINEAR(op, ...)
#define SILICA_BINARY_SCALAR(op, ...)
#include "../kernels/ops.inc"
#undef SILICA_UNARY
#undef SILICA_UNARY_LINEAR
#undef SILICA_UNARY_SCALAR
#undef SILICA_BINARY
#undef SILICA_BINARY_LINEAR
#undef SILICA_BINARY_SCALAR
      {"float", "div_(x, x)"},
      {"float", "sqrt_(x)"},
      {"float", "reciprocal_(x)"},
      {"float", "fma_(x, x, x)"},
      {"float", "f16_to_f32_(bits_(x))"},
      {"float", "bf16_to_f32_(bits_(x))"},
      {"float", "exp_falling(x)"},
      {"UINT", "f32_to_f16_(x)"},
      {"UINT", "f32_to_bf16_(x)"},
      {"UINT", "is_moderate(x) ? 1u : 0u"},
  };
}

std::string store_statements() {
  std::string text;
  int index = 0;
  for (const Store& store : stores()) {
    const std::string type = store.type;
    text += "  { precise " + type + " r = " + store.call + "; " + (type == "float" ? "y" : "u") +
            "[i * 64 + " + std::to_string(index++) + "] = r; }\n";
  }
  return text;
}

struct Nvrtc {
  using Program = struct Opaque*;
  int (*create)(Program*, const char*, const char*, int, const char* const*, const char* const*);
  int (*compile)(Program, int, const char* const*);
  int (*log_size)(Program, std::size_t*);
  int (*log)(Program, char*);
  int (*ptx_size)(Program, std::size_t*);
  int (*ptx)(Program, char*);
  int (*destroy)(Program*);
};

bool load(Nvrtc& nvrtc) {
  void* library = nullptr;
  for (const char* name : {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2",
                           "/usr/local/cuda/lib64/libnvrtc.so"}) {
    library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
  }
  if (library == nullptr) return false;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    return function != nullptr;
  };
  return find(nvrtc.create, "nvrtcCreateProgram") && find(nvrtc.compile, "nvrtcCompileProgram") &&
         find(nvrtc.log_size, "nvrtcGetProgramLogSize") && find(nvrtc.log, "nvrtcGetProgramLog") &&
         find(nvrtc.ptx_size, "nvrtcGetPTXSize") && find(nvrtc.ptx, "nvrtcGetPTX") &&
         find(nvrtc.destroy, "nvrtcDestroyProgram");
}

TEST(Formulas, CompilesAsCuda) {
  Nvrtc nvrtc{};
  if (!load(nvrtc)) GTEST_SKIP() << "libnvrtc was not found on the loader path or in /usr/local/cuda/lib64";
  const std::string source =
      kernel_text("prelude_cuda.h") + kernel_text("formulas.h") +
      "#define precise\nextern \"C\" __global__ void all(const float* v, float* y, unsigned int* u) {\n"
      "  unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;\n  float x = v[i];\n" +
      store_statements() + "}\n";
  for (const char* architecture : {"--gpu-architecture=sm_80", "--gpu-architecture=sm_90"}) {
    Nvrtc::Program program = nullptr;
    ASSERT_EQ(nvrtc.create(&program, source.c_str(), "formulas.cu", 0, nullptr, nullptr), 0);
    const std::array<const char*, 5> options = {architecture, "--fmad=false", "--ftz=false",
                                                "--prec-div=true", "--prec-sqrt=true"};
    const int result = nvrtc.compile(program, static_cast<int>(options.size()), options.data());
    std::size_t size = 0;
    nvrtc.log_size(program, &size);
    std::string log(size, '\0');
    nvrtc.log(program, log.data());
    EXPECT_EQ(result, 0) << architecture << "\n" << log;
    EXPECT_LE(size, 1u) << "warnings:\n" << log;
    if (result == 0) {
      nvrtc.ptx_size(program, &size);
      std::string ptx(size, '\0');
      nvrtc.ptx(program, ptx.data());
      // The seed of reciprocal_, which corrects it; proved on all inputs it can get.
      const std::string_view seed = "rcp.approx.ftz.f32";
      for (auto at = ptx.find(seed); at != std::string::npos; at = ptx.find(seed)) ptx.erase(at, seed.size());
      EXPECT_EQ(ptx.find("ftz"), std::string::npos);
      EXPECT_EQ(ptx.find("approx"), std::string::npos);
    }
    nvrtc.destroy(&program);
  }
}

// The SPIR-V of the text, disassembled; empty when there is no disassembler.
void check_spirv(const std::string& defines) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("silica-formulas-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::filesystem::path shader = folder / "formulas.comp";
  const std::string module = (folder / "formulas.spv").string();
  const std::string listing = (folder / "formulas.txt").string();
  std::ofstream(shader) << "#version 460\n#extension GL_GOOGLE_include_directive : require\n"
                        << kernel_text("prelude_glsl.h") << kernel_text("formulas.h")
                        << "layout(local_size_x = 64) in;\n"
                           "layout(std430, binding = 0) buffer V { float v[]; };\n"
                           "layout(std430, binding = 1) buffer Y { float y[]; };\n"
                           "layout(std430, binding = 2) buffer U { uint u[]; };\n"
                           "void main() {\n  uint i = gl_GlobalInvocationID.x;\n  float x = v[i];\n"
                        << store_statements() << "}\n";
  const auto run = [&](const std::string& command) {
    return std::system((command + " > " + listing).c_str());
  };
  const int result = run("glslangValidator -I" SILICA_SOURCE_DIR " " + defines + " --target-env vulkan1.2 " +
                         shader.string() + " -o " + module);
  EXPECT_EQ(result, 0) << defines << "\n" << read(listing);
  if (result == 0 && std::system("command -v spirv-dis > /dev/null") == 0) {
    ASSERT_EQ(run("spirv-dis --raw-id " + module), 0);
    std::istringstream lines(read(listing));
    std::set<std::string> decorated;
    const std::regex decoration(R"(OpDecorate (%\S+) NoContraction)");
    const std::regex arithmetic(R"((%\S+) = OpF(Mul|Add|Sub|Div) .*)");
    int operations = 0;
    std::smatch match;
    for (std::string line; std::getline(lines, line);) {
      if (std::regex_search(line, match, decoration)) decorated.insert(match[1]);
      if (!std::regex_search(line, match, arithmetic)) continue;
      ++operations;
      EXPECT_TRUE(decorated.contains(match[1])) << defines << " may contract:" << line;
    }
    EXPECT_GT(operations, 50);
  }
  std::filesystem::remove_all(folder);
}

TEST(Formulas, CompilesAsGlslAndForbidsContraction) {
  if (std::system("command -v glslangValidator > /dev/null") != 0) {
    if (std::getenv("SILICA_SKIP_GLSLANG") != nullptr) GTEST_SKIP() << "SILICA_SKIP_GLSLANG is set";
    FAIL() << "glslangValidator is not on the PATH; set SILICA_SKIP_GLSLANG to go without it";
  }
  check_spirv("");
  check_spirv("-DSILICA_EMULATE_FMA");
}

}  // namespace
