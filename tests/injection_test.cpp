// SPDX-License-Identifier: MIT
// Every allocation that the library makes fails in turn, and every thread that is started: each time a typed
// error comes back, nothing is lost or changed, and the same call succeeds afterwards with the same bits.
// Leaks are AddressSanitizer's to find.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "core/disk_cache.h"
#include "inject.h"
#include "op_cases.h"
#include "support.h"

namespace silica::test {
inline void PrintTo(const OpCase& op, std::ostream* out) { *out << op.name; }

namespace {

// ---- every op

class InjectionOps : public ::testing::TestWithParam<OpCase> {};

TEST_P(InjectionOps, EveryAllocationFailsInTurn) {
  const OpCase& op = GetParam();
  const Device device = Device::open("cpu", {.threads = 2});
  const std::vector<std::vector<float>> want = run_case(device, op).outputs;
  const std::size_t before = device.memory().bytes;
  const std::size_t allocations = fail_each(Fault::allocation, [&] {
    CaseEncoder encoder = again([&] { return CaseEncoder(device); });
    const Tensors outputs = again([&] { return op.encode(encoder); });
    const CommandList list = again([&] { return encoder.finish(); });
    EXPECT_EQ(encoder.commands(), 0u);
    again([&] { device.submit(list).wait(); });
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const std::vector<float> got = again([&] { return get(outputs[i]); });
      EXPECT_TRUE(same_bits(got, want[i]));
    }
  });
  EXPECT_GT(allocations, 5u);
  EXPECT_EQ(device.memory().bytes, before);
}

INSTANTIATE_TEST_SUITE_P(Cpu, InjectionOps, ::testing::ValuesIn(op_cases()), [](const auto& tested) {
  std::string name = tested.param.name;
  std::ranges::replace(name, '.', '_');
  return name;
});

// ---- a training step

// Every call may be refused once for want of memory; the weights must not show it.
std::vector<float> train(const Device& device) {
  const Tensor w = again([&] { return make(device, DType::f32, {20, 30}, Random(1).floats(600)); }),
               norm = again([&] { return make(device, Random(2).floats(30)); }),
               x = again([&] { return make(device, DType::f32, {40, 30}, Random(3).floats(1200)); }),
               targets = again([&] { return Tensor(device, {40}, Random(4).ids(40, 20)); }),
               state = again([&] { return make(device, {0.01f, 1.0f, 1.0f}); }),
               m = again([&] { return Tensor(device, DType::f32, {20, 30}); }),
               v = again([&] { return Tensor(device, DType::f32, {20, 30}); });
  CommandEncoder encoder = again([&] { return CommandEncoder(device); });
  Tensor gradient;
  {
    const auto tape = again([&] { return std::make_unique<Tape>(encoder); });
    const Variable weight = again([&] { return tape->variable(w); });
    const Variable input = again([&] { return tape->constant(x); });
    const Variable scale_of = again([&] { return tape->variable(norm); });
    const Variable normed = again([&] { return rms_norm(input, scale_of); });
    const Variable h = again([&] { return matmul(normed, weight, {.transpose_b = true}); });
    const Variable gated = again([&] { return swiglu(h, h); });
    const Variable sum = again([&] { return add(gated, h); });
    const Variable loss = again([&] { return cross_entropy(sum, targets); });
    again([&] { tape->backward(loss); });
    gradient = again([&] { return tape->gradient(weight); });
  }
  const std::size_t commands = encoder.commands();
  again([&] { adamw_step(encoder, state); });
  again([&] { adamw(encoder, gradient, state, w, m, v); });
  EXPECT_EQ(encoder.commands(), commands + 2);
  const CommandList list = again([&] { return encoder.finish(); });
  for (int step = 0; step < 2; ++step) again([&] { device.submit(list).wait(); });
  return again([&] { return get(w); });
}

TEST(Injection, ATrainingStepLosesNothing) {
  const Device device = Device::open("cpu", {.threads = 2});
  const std::vector<float> want = train(device);
  const std::size_t before = device.memory().bytes;
  const std::size_t allocations =
      fail_each(Fault::allocation, [&] { EXPECT_TRUE(same_bits(train(device), want)); });
  EXPECT_GT(allocations, 150u);
  EXPECT_EQ(device.memory().bytes, before);
}

// ---- devices and kernels

TEST(Injection, DevicesAndKernels) {
  const OpCase& op = op_cases().front();
  const std::vector<std::vector<float>> want = run_case(Device::open("cpu"), op).outputs;
  const auto nothing = [](const void*, Groups) {};
  fail_each(Fault::allocation, [&] {
    const Device device = again([] { return Device::open("cpu", {.threads = 2}); });
    again([&] { device.kernels().add("user.nothing", {.cpu = {nothing, {1}}}); });
    again([&] { device.kernels().pipeline("user.nothing"); });
    again([&] { device.kernels().names(); });
    EXPECT_EQ(again([&] { return run_case(device, op).outputs; }), want);
  });
}

// What is stored is loaded whole or not at all, and a failure is no error.
TEST(Injection, TheDiskCacheKeepsAllOrNothing) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("silica-injection-" + std::to_string(getpid()));
  const DiskCache cache(folder);
  const DiskCache::Key key = sha256({});
  const std::vector<std::byte> content(5000, std::byte{7});
  for (const Fault fault : {Fault::allocation, Fault::file, Fault::disk_full}) {
    EXPECT_GE(fail_each(fault,
                        [&] {
                          std::filesystem::remove_all(folder);
                          cache.store(key, content);
                          if (const auto loaded = cache.load(key)) {
                            EXPECT_EQ(*loaded, content);
                          }
                          Injection::stop();
                          if (const auto loaded = cache.load(key)) {
                            EXPECT_EQ(*loaded, content);
                          }
                          std::filesystem::remove(cache.path(key));
                          EXPECT_TRUE(!std::filesystem::exists(folder) || std::filesystem::is_empty(folder));
                        }),
              1u);
  }
  std::filesystem::remove_all(folder);
}

// ---- threads

constexpr int no_more_threads = 3;

// In a process of its own, as oneTBB's threads are the process's: the n-th start fails.
TEST(Injection, DISABLED_OneThreadStartFails) {
  const OpCase& op = op_cases().front();
  const std::vector<std::vector<float>> want = run_case(Device::open("cpu", {.threads = 1}), op).outputs;
  {
    const Injection injection(Fault::thread, std::strtoul(std::getenv("SILICA_TEST_EVENT"), nullptr, 10));
    const Device device = again([] { return Device::open("cpu", {.threads = 8}); });
    EXPECT_EQ(again([&] { return run_case(device, op).outputs; }), want);
  }
  std::exit(HasFailure() ? 1 : Injection::happened() ? 0 : no_more_threads);
}

TEST(Injection, EveryThreadStartFailsInTurn) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  int n = 1;
  for (int status = 0; status == 0; ++n) {
    const std::string command = "SILICA_TEST_EVENT=" + std::to_string(n) + " '" + program +
                                "' --gtest_also_run_disabled_tests --gtest_brief=1"
                                " --gtest_filter=Injection.DISABLED_OneThreadStartFails";
    status = std::system(command.c_str());
    ASSERT_TRUE(WIFEXITED(status)) << "thread " << n;
    status = WEXITSTATUS(status);
    if (status != 0) {
      EXPECT_EQ(status, no_more_threads) << "thread " << n;
    }
  }
  EXPECT_GE(n, 8) << "seven threads beside the caller's";
}

// An error that is thrown for another reason keeps its kind, or gives way to bad_alloc.
TEST(Injection, RefusalsStayRefusals) {
  const Device device = Device::open("cpu");
  const Tensor x(device, DType::f32, {4}), y(device, DType::f32, {5});
  CommandEncoder encoder(device);
  fail_each(Fault::allocation, [&] {
    try {
      silu(encoder, x, y);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    } catch (const std::bad_alloc&) {
    }
    EXPECT_EQ(encoder.commands(), 0u);
  });
}

}  // namespace
}  // namespace silica::test
