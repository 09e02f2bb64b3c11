// SPDX-License-Identifier: MIT
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <thread>

#include "support.h"

namespace silica::test {
namespace {

class Registry : public DeviceTest {};

void nothing(const void*, Groups) {}

constexpr std::uint32_t tile = 16;

void add_one(const void* arguments, Groups groups) {
  struct Arguments {
    const float* x;
    float* y;
    std::uint64_t n;
  };
  const Arguments& a = *static_cast<const Arguments*>(arguments);
  for (std::uint64_t i = groups.begin * tile; i < groups.end * tile && i < a.n; ++i) a.y[i] = a.x[i] + 1.0f;
}

void encode(CommandEncoder& e, std::string_view kernel, const Tensor& x, const Tensor& y) {
  e.dispatch(kernel, {read(x, "x"), in_place(y, "y")}, std::uint64_t{x.size()}, Grid{x.size()});
}

TEST_P(Registry, NamesAreSortedAndHaveTheLibrarysAndTheUsers) {
  KernelRegistry& registry = device().kernels();
  const std::vector<std::string> before = registry.names();
  EXPECT_TRUE(std::ranges::is_sorted(before));
  for (const char* name :
       {"map.silu.f16", "map.swiglu_backward.bf16", "matmul.matmul.f32", "row.rms_norm.f32"}) {
    EXPECT_TRUE(registry.contains(name)) << name;
  }
  EXPECT_FALSE(registry.contains("user.nothing"));
  registry.add("user.nothing", {.cpu = {nothing, {}}});
  EXPECT_TRUE(registry.contains("user.nothing"));
  EXPECT_EQ(registry.names().size(), before.size() + 1);
}

TEST_P(Registry, RefusesTakenAndEmptyNames) {
  KernelRegistry& registry = device().kernels();
  EXPECT_TRUE(refuses({"'map.silu.f32'"}, [&] { registry.add("map.silu.f32", {.cpu = {nothing, {}}}); }));
  EXPECT_TRUE(refuses({"name"}, [&] { registry.add("", {.cpu = {nothing, {}}}); }));
  registry.add("twice", {.cpu = {nothing, {}}});
  EXPECT_TRUE(refuses({"'twice'"}, [&] { registry.add("twice", {.cpu = {nothing, {}}}); }));
}

TEST_P(Registry, RefusesUnknownKernels) {
  CommandEncoder encoder(device());
  const Tensor x(device(), DType::f32, {4});
  EXPECT_TRUE(refuses_op(encoder, {"'no.such.kernel'"}, [&] { encode(encoder, "no.such.kernel", x, x); }));
  EXPECT_TRUE(refuses({"'nor.this'"}, [&] { device().kernels().pipeline("nor.this"); }));
}

TEST_P(Registry, PipelinesAreBuiltOnce) {
  KernelRegistry& registry = device().kernels();
  EXPECT_EQ(registry.pipeline("map.silu.f32"), registry.pipeline("map.silu.f32"));
  EXPECT_NE(registry.pipeline("map.silu.f32"), registry.pipeline("map.silu.f16"));
}

TEST_P(Registry, DevicesHaveTheirOwn) {
  const Device other = Device::open(GetParam());
  device().kernels().add("mine", {.cpu = {nothing, {}}});
  EXPECT_FALSE(other.kernels().contains("mine"));
}

TEST_P(Registry, KernelsOfTheUserMixWithTheOps) {
  if (device().name() != "cpu") GTEST_SKIP() << "the kernel has a CPU source only";
  device().kernels().add("user.add_one.f32", {.cpu = {add_one, {tile}}});
  const std::vector<float> values = Random(1).floats(1003);
  const Tensor x = make(device(), values), y(device(), DType::f32, {values.size()}),
               want(device(), DType::f32, {1003});
  run(device(), [&](CommandEncoder& e) {
    encode(e, "user.add_one.f32", x, y);
    silu(e, y, y);
    encode(e, "user.add_one.f32", y, y);
  });
  std::vector<float> plus_one = values;
  for (float& value : plus_one) value += 1.0f;
  run(device(), [&](CommandEncoder& e) { silu(e, make(device(), plus_one), want); });
  std::vector<float> expected = get(want);
  for (float& value : expected) value += 1.0f;
  EXPECT_TRUE(same_bits(get(y), expected));
}

TEST_P(Registry, KernelsWithAnEmptyTileOrGridAreRefused) {
  if (device().name() != "cpu") GTEST_SKIP() << "the kernel has a CPU source only";
  device().kernels().add("user.flat.f32", {.cpu = {nothing, {1, 0, 1}}});
  device().kernels().add("user.fine.f32", {.cpu = {nothing, {1, 1, 1}}});
  CommandEncoder encoder(device());
  const Tensor x(device(), DType::f32, {4});
  const auto dispatch = [&](std::string_view name, Grid grid) {
    encoder.dispatch(name, {read_write(x, "x")}, std::uint64_t{4}, grid);
  };
  EXPECT_TRUE(refuses_op(encoder, {"flat", "tile", "1 x 0 x 1"}, [&] { dispatch("user.flat.f32", {4}); }));
  EXPECT_TRUE(refuses_op(encoder, {"fine", "grid", "4 x 0 x 1"}, [&] { dispatch("user.fine.f32", {4, 0}); }));
  const std::uint64_t big = std::uint64_t{1} << 40;
  EXPECT_TRUE(refuses_op(encoder, {"fine", "grid"}, [&] { dispatch("user.fine.f32", {big, big, big}); }));
}

TEST_P(Registry, GridsHaveThreeDirections) {
  if (device().name() != "cpu") GTEST_SKIP() << "the kernel has a CPU source only";
  struct Arguments {
    std::uint32_t* count;
  };
  const auto mark = [](const void* arguments, Groups groups) {
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    for (std::uint64_t g = groups.begin; g < groups.end; ++g) ++a.count[g];
  };
  device().kernels().add("user.mark", {.cpu = {mark, {4, 2, 3}}});
  constexpr std::size_t groups = 3 * 3 * 2;  // of 9 x 6 x 4 elements
  const Tensor count(device(), DType::u32, {groups + 1});
  run(device(), [&](CommandEncoder& e) {
    e.dispatch("user.mark", {read_write(count, "count")}, std::uint32_t{0}, Grid{9, 6, 4});
  });
  std::vector<std::uint32_t> want(groups, 1);
  want.push_back(0);
  EXPECT_EQ(count.download<std::uint32_t>(), want);
}

// Every thread adds kernels of its own, one that all want, and uses what the others added.
TEST_P(Registry, IsSharedByThreads) {
  if (device().name() != "cpu") GTEST_SKIP() << "the kernel of this test is the CPU's";
  constexpr int threads = 8, rounds = 40;
  KernelRegistry& registry = device().kernels();
  const std::size_t before = registry.names().size();
  std::atomic<int> added{0};
  {
    std::vector<std::jthread> pool;
    for (int t = 0; t < threads; ++t) {
      pool.emplace_back([&, t] {
        for (int i = 0; i < rounds; ++i) {
          registry.add("own." + std::to_string(t) + "." + std::to_string(i), {.cpu = {add_one, {tile}}});
          try {
            registry.add("shared." + std::to_string(i), {.cpu = {add_one, {tile}}});
            ++added;
          } catch (const Error&) {
          }
          EXPECT_TRUE(registry.contains("shared." + std::to_string(i)));
          registry.pipeline("shared." + std::to_string(i / 2));
          registry.pipeline("map.silu.f32");
          EXPECT_GE(registry.names().size(), before);
        }
      });
    }
  }
  EXPECT_EQ(added, rounds);
  EXPECT_EQ(registry.names().size(), before + (threads + 1) * rounds);
}

SILICA_ON_EVERY_DEVICE(Registry);

}  // namespace
}  // namespace silica::test
