// SPDX-License-Identifier: MIT
// Many threads at once, for ThreadSanitizer above all: opening devices, encoding, submitting, registering
// kernels. SILICA_TEST_SECONDS sets how long each test runs (default 0.3), SILICA_SOAK_SECONDS how long the
// soak does (default 1; docs/robustness.md has a minute of it).
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iostream>
#include <mutex>
#include <thread>

#include "support.h"

namespace silica::test {
namespace {

class Threads : public DeviceTest {
 protected:
  static double seconds(const char* variable, double otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtod(text, nullptr);
  }

  // Calls body(thread, round) in a loop on each of `count` threads until time is over.
  static void hammer(int count, const std::function<void(int, int)>& body,
                     double duration = seconds("SILICA_TEST_SECONDS", 0.3)) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(duration);
    std::atomic<int> waiting{count};
    std::vector<std::jthread> threads;
    for (int t = 0; t < count; ++t) {
      threads.emplace_back([&, t] {
        for (--waiting; waiting > 0;) std::this_thread::yield();  // begin together
        for (int round = 0; round == 0 || std::chrono::steady_clock::now() < end; ++round) body(t, round);
      });
    }
  }
};

// A small training step on data of its own.
std::vector<float> step(const Device& device, std::uint64_t seed) {
  Random random(seed);
  const Tensor w = make(device, DType::f32, {20, 30}, random.floats(600)),
               x = make(device, DType::f32, {40, 30}, random.floats(1200)),
               targets(device, {40}, random.ids(40, 20));
  CommandEncoder encoder(device);
  Tape tape(encoder);
  const Variable weight = tape.variable(w);
  const Variable h = matmul(tape.constant(x), weight, {.transpose_b = true});
  tape.backward(cross_entropy(swiglu(h, h), targets));
  const CommandList list = encoder.finish();
  device.submit(list);
  device.submit(list).wait();
  return get(tape.gradient(weight));
}

TEST_P(Threads, EncodeAndSubmitOnOneDevice) {
  std::vector<std::vector<float>> want;
  for (std::uint64_t seed = 0; seed < 12; ++seed) want.push_back(step(device(), seed));
  hammer(12, [&](int t, int) {
    const auto seed = static_cast<std::uint64_t>(t);
    EXPECT_TRUE(same_bits(step(device(), seed), want[static_cast<std::size_t>(t)]));
  });
}

TEST_P(Threads, OpenDevicesAtOnce) {
  const std::vector<float> want = step(device(), 1);
  hammer(8, [&](int t, int) {
    const Device own = Device::open(GetParam(), {.threads = static_cast<unsigned>(t % 3 + 1)});
    EXPECT_TRUE(same_bits(step(own, 1), want));
    EXPECT_FALSE(list_devices().empty());
  });
}

TEST_P(Threads, SubmitOneListFromAll) {
  const Tensor count(device(), DType::f32, {5000}), one = make(device(), std::vector<float>(5000, 1.0f));
  CommandEncoder encoder(device());
  add(encoder, count, one, count);
  const CommandList list = encoder.finish();
  std::atomic<int> submits{0};
  hammer(12, [&](int, int round) {
    if (round >= 200) return std::this_thread::yield();
    const Fence fence = device().submit(list);
    ++submits;
    if (round % 2 == 0) fence.wait();
  });
  EXPECT_EQ(get(count), std::vector<float>(5000, static_cast<float>(submits))) << "submits follow each other";
}

TEST_P(Threads, RegisterAndUseKernels) {
  const auto nothing = [](const void*, Groups) {};
  hammer(12, [&](int t, int round) {
    const std::string name = "user." + std::to_string(t) + "_" + std::to_string(round);
    device().kernels().add(name, {.cpu = {nothing, {1}}});
    EXPECT_TRUE(device().kernels().contains(name));
    const Tensor x(device(), DType::f32, {4});
    CommandEncoder encoder(device());
    silu(encoder, x, x);
    if (device().name() == "cpu") encoder.dispatch(name, {read_write(x, "x")}, 0, Grid{1});
    device().submit(encoder.finish()).wait();
    if (round % 16 == 0) {
      EXPECT_FALSE(device().kernels().names().empty());
    }
  });
}

TEST_P(Threads, AllocateAndCountMemory) {
  const std::size_t before = device().memory().bytes;
  hammer(12, [&](int t, int round) {
    const Tensor x(device(), DType::f32, {static_cast<std::size_t>(100 * t + round % 7 + 1)});
    x.upload(std::vector<float>(x.size(), 1.0f));
    EXPECT_GE(device().memory().peak_bytes, before + x.bytes());
  });
  EXPECT_EQ(device().memory().bytes, before);
}

// A tensor's last handle may die on any thread, after its device's.
TEST_P(Threads, HandlesDieAnywhere) {
  hammer(8, [&](int, int) {
    auto device = std::make_unique<Device>(Device::open(GetParam(), {.threads = 2}));
    Tensor x = make(*device, std::vector<float>(64, 1.0f));
    CommandEncoder encoder(*device);
    silu(encoder, x, x);
    const CommandList list = encoder.finish();
    std::jthread other([list, x, d = *device] { d.submit(list).wait(); });
    device.reset();
    x = Tensor();
  });
}

// All at once: now and then one thread opens a device that all go over to, so that all want the same kernels
// of a registry that has built none.
TEST_P(Threads, SoakOfSixteen) {
  constexpr std::uint64_t seeds = 4;
  std::vector<std::vector<float>> want;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) want.push_back(step(device(), seed));
  const auto add_one = [](const void* arguments, Groups) {
    std::uint64_t address = 0;
    std::memcpy(&address, arguments, sizeof address);
    *reinterpret_cast<float*>(address) += 1;
  };
  const auto open = [&](unsigned threads) {
    const Device opened = Device::open(GetParam(), {.threads = threads});
    opened.kernels().add("user.add_one", {.cpu = {add_one, {1}}});
    return opened;
  };
  std::mutex mutex;
  Device shared = open(4);
  std::atomic<std::uint64_t> rounds{0}, opened{1};
  const double duration = seconds("SILICA_SOAK_SECONDS", 1);
  hammer(
      16,
      [&](int t, int round) {
        if ((round + t) % 16 == 0) {
          const Device next = open(static_cast<unsigned>(round % 3 + 1));
          ++opened;
          std::lock_guard lock(mutex);
          shared = next;
        }
        const Device current = [&] {
          std::lock_guard lock(mutex);
          return shared;
        }();
        const auto seed = static_cast<std::uint64_t>(t + round) % seeds;
        EXPECT_TRUE(same_bits(step(current, seed), want[seed]));
        ++rounds;
        if (current.name() != "cpu") return;
        const Tensor x(current, DType::f32, {1});
        CommandEncoder encoder(current);
        for (int i = 0; i < 3; ++i) encoder.dispatch("user.add_one", {read_write(x, "x")}, 0, Grid{1});
        current.submit(encoder.finish()).wait();
        EXPECT_EQ(get(x), std::vector<float>{3});
      },
      duration);
  std::cout << "[ soak     ] " << duration << " s, 16 threads: " << rounds << " steps on " << opened
            << " devices\n";
}

SILICA_ON_EVERY_DEVICE(Threads);

}  // namespace
}  // namespace silica::test
