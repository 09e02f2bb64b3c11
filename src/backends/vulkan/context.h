// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "backends/vulkan/allocator.h"
#include "backends/vulkan/loader.h"
#include "core/backend.h"
#include "core/disk_cache.h"

namespace silica::vulkan {

// What is asked of a physical device before it is opened.
struct PhysicalDevice {
  PhysicalDevice(const Instance& instance, unsigned ordinal);

  VkPhysicalDevice handle;
  std::string name;  // "vulkan:0"
  VkPhysicalDeviceProperties properties{};
  VkPhysicalDeviceVulkan11Properties properties11{};
  VkPhysicalDeviceVulkan12Properties properties12{};
  VkPhysicalDeviceMemoryProperties memory{};
  std::size_t max_buffer_bytes = SIZE_MAX;
  std::uint32_t queue_family = 0;
  bool has_f64 = false;
  bool has_portability_subset = false, has_memory_budget = false;
  std::string missing;  // what the backend needs and the device lacks; empty if it can be opened

  bool software() const { return properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU; }
  std::size_t memory_bytes() const;  // of the largest device-local heap
  std::string description() const;

 private:
  void find_missing(const Instance& instance);
};

// An opened VkDevice.
class Context {
 public:
  Context(std::shared_ptr<const Instance> instance, PhysicalDevice physical);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Throws if `result` is an error: device_lost, from then on for every call; out_of_memory; unsupported.
  void check(VkResult result, const char* what) const;
  void check_not_lost() const;

  const std::shared_ptr<const Instance> instance;
  const PhysicalDevice physical;
  VkDevice device = VK_NULL_HANDLE;
  DeviceFunctions vk;
  const std::string& name() const { return physical.name; }

 private:
  mutable std::atomic<bool> lost_{false};
};

// The device's compute queue: command buffers run in the order of the calls, each behind a barrier, and
// finish in it.
class Queue {
 public:
  explicit Queue(const Context& context);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  Fence submit(std::shared_ptr<const Program> program);

  using Record = std::function<void(VkCommandBuffer)>;
  // Runs commands of the backend's own; they have the number that is returned.
  std::uint64_t run(const Record& record);

  bool done(std::uint64_t number) const;
  void wait(std::uint64_t number) const;
  void wait_all() const { wait(submitted_.load()); }

 private:
  friend class CommandBuffer;
  VkCommandBuffer begin(VkCommandBufferUsageFlags usage);  // a new one, which begins with a barrier
  void end(VkCommandBuffer commands);
  std::uint64_t enqueue(VkCommandBuffer commands);
  void release_finished();

  const Context& context_;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkSemaphore finished_ = VK_NULL_HANDLE;  // counts the command buffers that have finished
  std::mutex mutex_;
  std::atomic<std::uint64_t> submitted_{0};
  std::vector<std::pair<std::uint64_t, VkCommandBuffer>> own_;  // of run(), until they have finished
};

// The memory of a device: blocks, and tensors inside them.
class Heap {
 public:
  Heap(const Context& context, Queue& queue);
  ~Heap();
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  std::unique_ptr<Memory> allocate(std::size_t bytes);
  void upload(Memory& to, std::size_t offset, std::span<const std::byte> from);
  void download(const Memory& from, std::size_t offset, std::span<std::byte> to);
  bool mapped() const { return mapped_; }
  std::size_t block_count() const;

  struct Block;
  void free(Block& block, std::size_t offset, std::size_t bytes) noexcept;

 private:
  std::unique_ptr<Block> make_block(std::size_t bytes, std::uint32_t type, VkBufferUsageFlags usage);
  Block& block_with(std::size_t bytes, std::size_t& offset);
  std::size_t free_bytes() const;
  Block& staging();

  const Context& context_;
  Queue& queue_;
  bool mapped_ = false;     // the host sees the memory that kernels use, and no copies are made
  std::uint32_t type_ = 0;  // of memory, for tensors
  std::uint32_t staging_type_ = 0;
  mutable std::mutex mutex_;
  std::mutex staging_mutex_;
  std::size_t allocated_ = 0;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::unique_ptr<Block> staging_;
};

class VulkanPipeline : public Pipeline {
 public:
  VulkanPipeline(const Context& context, VkPipeline made, VkPipelineLayout with, Tile covers)
      : Pipeline(covers), handle(made), layout(with), context_(context) {}
  ~VulkanPipeline() override { context_.vk.DestroyPipeline(context_.device, handle, nullptr); }
  const VkPipeline handle;
  const VkPipelineLayout layout;

 private:
  const Context& context_;
};

// Where what a device's driver compiled is kept on disk: by the device and the driver.
DiskCache::Key cache_key(const PhysicalDevice& physical);

// Builds pipelines, and keeps what the driver compiled on disk.
class PipelineBuilder {
 public:
  explicit PipelineBuilder(const Context& context);
  ~PipelineBuilder();
  PipelineBuilder(const PipelineBuilder&) = delete;
  PipelineBuilder& operator=(const PipelineBuilder&) = delete;

  std::shared_ptr<const VulkanPipeline> build(std::string_view name, const SpirvSource& source);

 private:
  const Context& context_;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  const DiskCache disk_ = DiskCache::standard();
  std::size_t loaded_bytes_ = 0;
};

// What a device needs to keep the exactness contract, found by running the primitives.
struct Primitives {
  bool exact = false;
  bool emulate_fma = false, emulate_div = false, emulate_sqrt = false, emulate_less = false;
  bool emulate_conversions = false;  // between float and double, which fma is emulated with
  bool fma_only_flushes = false;     // is right where neither an operand nor the result is subnormal
  std::string note;                  // the first primitive that is wrong and cannot be mended
};
Primitives probe(const Context& context, Queue& queue, Heap& heap, PipelineBuilder& builder);

// Records one command.
void record_dispatch(const Context& context, VkCommandBuffer commands, const VulkanPipeline& pipeline,
                     std::span<const std::byte> arguments, std::uint64_t groups);

// The library's own kernels, for a device with these primitives.
std::vector<std::pair<std::string, KernelSource>> kernels_for(const Primitives& primitives);
SpirvSource probe_source(const Primitives& primitives);

class VulkanBackend : public Backend {
 public:
  VulkanBackend(std::shared_ptr<const Instance> instance, PhysicalDevice physical);

  const DeviceInfo& info() const override { return info_; }
  std::vector<std::pair<std::string, KernelSource>> kernels() const override {
    return kernels_for(primitives_);
  }
  std::shared_ptr<const Pipeline> build(std::string_view name, const KernelSource& source) override;
  std::unique_ptr<Memory> allocate(std::size_t bytes) override { return heap.allocate(bytes); }
  void upload(Memory& to, std::size_t offset, std::span<const std::byte> from) override {
    heap.upload(to, offset, from);
  }
  void download(const Memory& from, std::size_t offset, std::span<std::byte> to) override {
    heap.download(from, offset, to);
  }
  Fence submit(std::shared_ptr<const Program> program) override { return queue.submit(std::move(program)); }

  Context context;
  Queue queue;
  Heap heap;
  PipelineBuilder builder;

 private:
  Primitives primitives_;
  DeviceInfo info_;
};

}  // namespace silica::vulkan
