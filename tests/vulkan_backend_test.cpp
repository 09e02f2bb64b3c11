// SPDX-License-Identifier: MIT
// What is the Vulkan backend's own: barriers, grids, memory, devices, the cache on disk.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "backends/vulkan/spirv.h"
#include "vulkan_support.h"

namespace silica::test {
namespace {

// ---- barriers

// Commands of one stage may run in any order: so does this program, whose stages run backwards.
std::shared_ptr<Program> backwards(const Program& program) {
  auto copy = std::make_shared<Program>(program);
  copy->prepared = nullptr;
  std::size_t begin = 0;
  for (const std::size_t end : copy->stage_ends) {
    std::reverse(copy->commands.begin() + static_cast<std::ptrdiff_t>(begin),
                 copy->commands.begin() + static_cast<std::ptrdiff_t>(end));
    begin = end;
  }
  return copy;
}

struct Chain {
  Tensor x, y, z;
  CommandList list;
};

Chain make_chain(const Device& device) {
  std::mt19937 random(9);
  const Tensor x(device, {5000}, ordinary(5000, random)), y(device, DType::f32, {5000}),
      z(device, DType::f32, {5000});
  CommandEncoder encoder(device);
  silu(encoder, x, y);
  sigmoid(encoder, x, z);
  mul(encoder, y, z, y);
  add(encoder, x, y, z);
  return {x, y, z, encoder.finish()};
}

TEST(VulkanBarriers, StagesMayRunInAnyOrderButNotBeMerged) {
  const Chain chain = make_chain(gpu());
  gpu().submit(chain.list).wait();
  const auto expected = bytes_of(chain.z);
  gpu().submit(CommandList(backwards(*chain.list.program()))).wait();
  EXPECT_EQ(bytes_of(chain.z), expected);
  auto merged = std::make_shared<Program>(*chain.list.program());
  merged->stage_ends = {merged->commands.size()};
  gpu().submit(CommandList(backwards(*merged))).wait();
  EXPECT_NE(bytes_of(chain.z), expected);
}

int barriers_recorded = 0;
PFN_vkCmdPipelineBarrier real_barrier = nullptr;
VKAPI_ATTR void VKAPI_CALL count_barrier(VkCommandBuffer commands, VkPipelineStageFlags from,
                                         VkPipelineStageFlags to, VkDependencyFlags flags, std::uint32_t n,
                                         const VkMemoryBarrier* memory, std::uint32_t buffers,
                                         const VkBufferMemoryBarrier* buffer, std::uint32_t images,
                                         const VkImageMemoryBarrier* image) {
  ++barriers_recorded;
  real_barrier(commands, from, to, flags, n, memory, buffers, buffer, images, image);
}

TEST(VulkanBarriers, OneBetweenStagesAndOneAtEachEnd) {
  const Device device = Device::open("vulkan");
  auto& entry = backend_of(device).context.vk.CmdPipelineBarrier;
  real_barrier = entry;
  entry = count_barrier;
  const Chain chain = make_chain(device);
  barriers_recorded = 0;
  device.submit(chain.list).wait();
  EXPECT_EQ(chain.list.stages(), 3u);
  EXPECT_EQ(barriers_recorded, 2 + 2);
  device.submit(chain.list).wait();
  EXPECT_EQ(barriers_recorded, 2 + 2) << "the second submit recorded again";
}

// Two fills of one buffer without a barrier: run by vulkan_validation_test.sh to see that the layer would
// speak.
TEST(VulkanBarriers, DISABLED_HazardForTheValidationLayer) {
  VulkanBackend& backend = backend_of(gpu());
  const vulkan::Context& context = backend.context;
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = 4096;
  info.usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  VkBuffer buffer = VK_NULL_HANDLE;
  context.check(context.vk.CreateBuffer(context.device, &info, nullptr, &buffer), "vkCreateBuffer");
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.allocationSize = std::size_t{1} << 16;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  context.check(context.vk.AllocateMemory(context.device, &allocate, nullptr, &memory), "vkAllocateMemory");
  context.check(context.vk.BindBufferMemory(context.device, buffer, memory, 0), "vkBindBufferMemory");
  backend.queue.wait(backend.queue.run([&](VkCommandBuffer commands) {
    context.vk.CmdFillBuffer(commands, buffer, 0, 4096, 1);
    context.vk.CmdFillBuffer(commands, buffer, 0, 4096, 2);
  }));
  context.vk.DestroyBuffer(context.device, buffer, nullptr);
  context.vk.FreeMemory(context.device, memory, nullptr);
}

// ---- grids

TEST(VulkanQueue, LargeGridsAreFolded) {
  // One element a group would be 65535 wide at most; this has a whole line of groups and a rest.
  const std::size_t rows = 65535 + 1234;
  std::mt19937 random(10);
  Twins twins;
  std::vector<std::uint32_t> ids(rows);
  for (auto& id : ids) id = static_cast<std::uint32_t>(random() % 11);
  twins.add({10, 3}, ordinary(30, random));
  twins.add({rows}, ids);
  twins.add(DType::f32, {rows, 3});
  twins.run("fold", [](CommandEncoder& e, const std::vector<Tensor>& t) { embedding(e, t[0], t[1], t[2]); });
}

TEST(VulkanQueue, DroppingAListAndItsTensorsWaits) {
  std::mt19937 random(11);
  const Tensor out(gpu(), DType::f32, {100000});
  for (int i = 0; i < 20; ++i) {
    const Tensor x(gpu(), {100000}, std::vector<float>(100000, static_cast<float>(i)));
    CommandEncoder encoder(gpu());
    const Tensor y = encoder.temporary(DType::f32, {100000});
    scale(encoder, x, 2.0f, y);
    add(encoder, x, y, out);
    gpu().submit(encoder.finish());
  }
  EXPECT_EQ(out.download<float>()[99999], 57.0f);
}

TEST(VulkanQueue, FencesOutliveTheDevice) {
  const auto submit = [] {
    const Device device = Device::open("vulkan");
    const Chain chain = make_chain(device);
    return device.submit(chain.list);
  };
  const Fence fence = submit();
  fence.wait();
  EXPECT_TRUE(fence.done());
}

// ---- memory

TEST(VulkanMemory, FreeListPlacesMergesAndNeverOverlaps) {
  constexpr std::size_t size = 64 * vulkan::FreeList::granule;
  vulkan::FreeList list(size);
  std::mt19937 random(12);
  std::map<std::size_t, std::size_t> live;
  for (int step = 0; step < 20000; ++step) {
    if (random() % 2 == 0 || live.empty()) {
      const std::size_t bytes = 1 + random() % (6 * vulkan::FreeList::granule);
      const auto offset = list.allocate(bytes);
      if (!offset) {
        EXPECT_LT(list.largest_free(), bytes);
        continue;
      }
      EXPECT_EQ(*offset % vulkan::FreeList::granule, 0u);
      EXPECT_LE(*offset + bytes, size);
      const auto next = live.lower_bound(*offset);
      if (next != live.end()) {
        EXPECT_LE(*offset + bytes, next->first);
      }
      if (next != live.begin()) {
        EXPECT_LE(std::prev(next)->first + std::prev(next)->second, *offset);
      }
      live.emplace(*offset, bytes);
    } else {
      const auto victim = std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
      list.free(victim->first, victim->second);
      live.erase(victim);
    }
  }
  for (const auto& [offset, bytes] : live) list.free(offset, bytes);
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.allocate(size), std::size_t{0});
}

TEST(VulkanMemory, IsZeroedAlsoWhenUsedAgain) {
  for (const std::size_t n : {5u, 1000u, 20u << 20}) {
    for (int i = 0; i < 2; ++i) {
      const Tensor tensor(gpu(), DType::u8, {n});
      const auto bytes = bytes_of(tensor);
      ASSERT_EQ(std::ranges::count(bytes, std::byte{0}), static_cast<std::ptrdiff_t>(n));
      tensor.upload(std::vector<std::uint8_t>(n, 0xff));
    }
  }
}

TEST(VulkanMemory, BlocksAreGivenBack) {
  vulkan::Heap& heap = backend_of(gpu()).heap;
  const std::size_t before = heap.block_count();
  {
    const Tensor large(gpu(), DType::u8, {std::size_t{100} << 20});
  }
  EXPECT_LE(heap.block_count(), std::max<std::size_t>(before, 1));
}

TEST(VulkanMemory, RunningOutIsAnError) {
  const std::size_t everything = backend_of(gpu()).context.physical.memory_bytes();
  try {
    const Tensor tensor(gpu(), DType::u8, {everything + 1});
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    EXPECT_NE(std::string(error.what()).find(std::to_string(everything + 1)), std::string::npos)
        << error.what();
  }
}

class Setting {
 public:
  Setting(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
  ~Setting() { unsetenv(name_); }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
};

TEST(VulkanMemory, StagingGivesTheSame) {
  const Setting staging("SILICA_VULKAN_STAGING", "1");
  const Device device = Device::open("vulkan");
  ASSERT_FALSE(backend_of(device).heap.mapped());
  std::mt19937 random(13);
  const std::size_t n = (std::size_t{5} << 20) + 3;  // more than a staging buffer
  const auto bytes = any_bytes(n * 4, random);
  Twins twins(device);
  twins.add(DType::f32, {n}, bytes);
  twins.add(DType::f32, {n});
  twins.run("staging", [](CommandEncoder& e, const std::vector<Tensor>& t) { copy(e, t[0], t[1]); });
  for (int i = 0; i < 3; ++i) {
    const Tensor tensor(device, DType::u8, {1000});
    EXPECT_EQ(bytes_of(tensor), std::vector<std::byte>(1000));
    tensor.upload(std::vector<std::uint8_t>(1000, 0xff));
  }
  EXPECT_EQ(train(device, 3).weights, train(cpu(), 3).weights);
}

// ---- devices

TEST(VulkanDevice, IsListedAndExact) {
  bool found = false;
  for (const DeviceInfo& info : list_devices()) {
    if (!info.name.starts_with("vulkan")) continue;
    found = true;
    EXPECT_TRUE(info.usable) << info.note;
    EXPECT_TRUE(info.exact) << info.note;
    EXPECT_NE(info.description.find("subgroups of"), std::string::npos);
  }
  EXPECT_TRUE(found);
}

TEST(VulkanDevice, EmulationsGiveTheSame) {
  const Setting emulate("SILICA_VULKAN_EMULATE", "1");
  const Device device = Device::open("vulkan");
  EXPECT_TRUE(device.exact()) << device.info().note;
  EXPECT_NE(device.info().description.find("emulates fma division sqrt comparisons subnormals"),
            std::string::npos)
      << device.info().description;
  EXPECT_EQ(train(device, 20).weights, train(cpu(), 20).weights);
  std::mt19937 random(15);
  for (const std::size_t cols : std::vector<std::size_t>{3, 257, 1000}) {
    Twins twins(device);
    twins.add(DType::f32, {20, cols}, any_bytes(20 * cols * 4, random));
    twins.add(DType::f32, {cols}, any_bytes(cols * 4, random));
    twins.add({1}, std::vector{1e-38f});
    twins.add({20}, std::vector<std::uint32_t>(20, 1));
    for (int i = 0; i < 6; ++i) twins.add(DType::f32, {20, cols});
    twins.add(DType::f32, {cols});
    twins.run("emulated", [](CommandEncoder& e, const std::vector<Tensor>& t) {
      rms_norm(e, t[0], t[1], t[4]);
      rms_norm_backward(e, t[0], t[1], t[4], t[5], t[10]);
      silu(e, t[0], t[6]);
      silu_backward(e, t[0], t[4], t[7]);
      sigmoid(e, t[0], t[8]);
      cross_entropy_backward(e, t[0], t[3], t[2], t[9]);
    });
  }
}

TEST(VulkanDevice, IsChosenByNumberOrName) {
  const std::string name = backend_of(gpu()).context.physical.properties.deviceName;
  {
    const Setting by("SILICA_VULKAN_DEVICE", "0");
    EXPECT_EQ(Device::open("vulkan").name(), "vulkan:0");
  }
  {
    const Setting by("SILICA_VULKAN_DEVICE", name.substr(0, 4));
    Device::open("vulkan");
  }
  const Setting by("SILICA_VULKAN_DEVICE", "no such GPU");
  EXPECT_THROW(Device::open("vulkan"), Error);
  EXPECT_THROW(Device::open("vulkan:77"), Error);
}

TEST(VulkanDevice, LossIsAnErrorThatStays) {
  const Device device = Device::open("vulkan");
  const Chain chain = make_chain(device);
  EXPECT_THROW(backend_of(device).context.check(VK_ERROR_DEVICE_LOST, "a test"), Error);
  for (int i = 0; i < 2; ++i) {
    try {
      device.submit(chain.list);
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::device_lost);
    }
  }
  EXPECT_THROW(chain.x.download<float>(), Error);
}

TEST(VulkanKernel, WithoutSpirvIsRefused) {
  const Device device = Device::open("vulkan");
  const std::uint32_t nonsense[] = {1, 2, 3};
  device.kernels().add("cpu_only", {.cpu = {[](const void*, Groups) {}, {1}}});
  device.kernels().add("nonsense", {.vulkan = {nonsense, {1}}});
  const Tensor x(device, DType::f32, {1});
  CommandEncoder encoder(device);
  const auto code = [&](const char* kernel) {
    try {
      encoder.dispatch(kernel, {read_write(x, "x")}, 0, Grid{1});
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::io;
  };
  EXPECT_EQ(code("cpu_only"), ErrorCode::unsupported);
  EXPECT_EQ(code("nonsense"), ErrorCode::compile_failed);
}

// How often these words follow each other.
std::ptrdiff_t occurrences(const std::vector<std::uint32_t>& words, std::vector<std::uint32_t> pattern) {
  std::ptrdiff_t n = 0;
  for (auto at = words.begin();
       (at = std::search(at, words.end(), pattern.begin(), pattern.end())) != words.end(); ++at) {
    ++n;
  }
  return n;
}

TEST(VulkanKernel, AModuleAsksForWhatTheDeviceOffersAndKeepsFmaWhole) {
  const auto words = vulkan::probe_source({}).words;
  const std::vector<std::uint32_t> original(words.begin(), words.end());
  const std::vector<std::uint32_t> preserve = {4459, 32}, to_even = {4462, 32};
  VkPhysicalDeviceVulkan12Properties properties{};
  const auto without = vulkan::exact_module(words, properties);
  EXPECT_EQ(occurrences(without, preserve) + occurrences(without, to_even), 0);
  properties.shaderDenormPreserveFloat32 = properties.shaderRoundingModeRTEFloat32 = VK_TRUE;
  properties.denormBehaviorIndependence = properties.roundingModeIndependence =
      VK_SHADER_FLOAT_CONTROLS_INDEPENDENCE_32_BIT_ONLY;
  const auto with = vulkan::exact_module(words, properties);
  EXPECT_EQ(occurrences(with, preserve), 1);
  EXPECT_EQ(occurrences(with, to_even), 1);
  EXPECT_EQ(with.size(), without.size() + 2 * (2 + 4));
  EXPECT_EQ(vulkan::exact_module(with, properties), with) << "it says already what is asked for";

  // glslang decorates + - * / but not fma().
  const std::vector<std::uint32_t> fma = {12u | 8u << 16}, decoration = {71u | 3u << 16};
  EXPECT_EQ(without.size(), original.size() + 3 * static_cast<std::size_t>(occurrences(original, fma)));
  EXPECT_GT(occurrences(original, fma), 0);
  EXPECT_EQ(occurrences(without, decoration), occurrences(original, decoration) + occurrences(original, fma));
  std::vector<std::uint32_t> broken = original;
  broken[5] = 0;  // an instruction of no words
  EXPECT_EQ(vulkan::exact_module(broken, properties), broken);
}

// ---- the cache on disk

// The file itself, damage above all, is disk_cache_test's.
TEST(VulkanCache, IsKeptByDeviceAndDriver) {
  namespace fs = std::filesystem;
  const fs::path folder =
      fs::temp_directory_path() / ("silica_cache_" + std::to_string(std::random_device{}()));
  const Setting place("SILICA_CACHE_DIR", folder.string());
  const vulkan::PhysicalDevice physical = backend_of(gpu()).context.physical;
  const DiskCache cache = DiskCache::standard();
  train(Device::open("vulkan"), 1);
  EXPECT_TRUE(cache.load(vulkan::cache_key(physical)));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1) << "a temporary file was left";
  std::set<DiskCache::Key> keys = {vulkan::cache_key(physical)};
  vulkan::PhysicalDevice other = physical;
  for (std::uint8_t* id :
       {other.properties11.deviceUUID, other.properties11.driverUUID, other.properties.pipelineCacheUUID}) {
    ++id[3];
    EXPECT_TRUE(keys.insert(vulkan::cache_key(other)).second);
  }
  fs::remove_all(folder);
}

TEST(VulkanCache, ADeviceOpensWithADamagedOne) {
  namespace fs = std::filesystem;
  const fs::path folder =
      fs::temp_directory_path() / ("silica_cache_" + std::to_string(std::random_device{}()));
  const Setting place("SILICA_CACHE_DIR", folder.string());
  const DiskCache::Key key = vulkan::cache_key(backend_of(gpu()).context.physical);
  const std::vector<std::byte> alien(500, std::byte{0x5a});  // whole, but no cache of the driver's
  DiskCache::standard().store(key, alien);
  EXPECT_EQ(train(Device::open("vulkan"), 2).weights, train(cpu(), 2).weights);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace silica::test
