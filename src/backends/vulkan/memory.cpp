// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "backends/vulkan/context.h"
#include "core/format.h"

namespace silica::vulkan {

namespace {

constexpr std::size_t block_bytes = std::size_t{64} << 20;
constexpr std::size_t staging_bytes = std::size_t{8} << 20;

constexpr VkMemoryPropertyFlags device_memory = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
constexpr VkMemoryPropertyFlags host_memory =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
// Cached is what tells memory shared with the host from a window over a bus, through which reads crawl.
constexpr VkMemoryPropertyFlags shared_memory =
    device_memory | host_memory | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

constexpr VkBufferUsageFlags transfer_usage =
    VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;

std::optional<std::uint32_t> find_type(const VkPhysicalDeviceMemoryProperties& memory,
                                       VkMemoryPropertyFlags wanted) {
  for (std::uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    if ((memory.memoryTypes[i].propertyFlags & wanted) == wanted) return i;
  }
  return std::nullopt;
}

// Tests and comparisons: as if the device's memory were out of the host's sight.
bool staging_is_forced() {
  const char* text = std::getenv("SILICA_VULKAN_STAGING");
  return text != nullptr && std::string_view(text) == "1";
}

}  // namespace

// One VkDeviceMemory and the buffer over all of it.
struct Heap::Block {
  Block(const Context& owner, std::size_t size) : context(owner), bytes(size), places(size) {}
  ~Block() {
    context.vk.DestroyBuffer(context.device, buffer, nullptr);
    context.vk.FreeMemory(context.device, memory, nullptr);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  const Context& context;
  const std::size_t bytes;
  FreeList places;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  VkBuffer buffer = VK_NULL_HANDLE;
  std::uint64_t address = 0;
  std::byte* host = nullptr;
};

namespace {

class VulkanMemory : public Memory {
 public:
  VulkanMemory(Heap& owner, Heap::Block& in, std::size_t at, std::size_t size)
      : heap(owner), block(in), offset(at) {
    address = in.address + at;
    bytes = size;
  }
  ~VulkanMemory() override { heap.free(block, offset, bytes); }

  Heap& heap;
  Heap::Block& block;
  const std::size_t offset;
};

const VulkanMemory& in_block(const Memory& memory) { return static_cast<const VulkanMemory&>(memory); }

}  // namespace

Heap::Heap(const Context& context, Queue& queue) : context_(context), queue_(queue) {
  const VkPhysicalDeviceMemoryProperties& memory = context.physical.memory;
  const auto shared = find_type(memory, shared_memory);
  mapped_ = shared.has_value() && !staging_is_forced();
  type_ = mapped_ ? *shared : find_type(memory, device_memory).value_or(0);
  const auto cached = find_type(memory, host_memory | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
  staging_type_ = cached ? *cached : find_type(memory, host_memory).value_or(0);
}

Heap::~Heap() = default;

std::size_t Heap::block_count() const {
  std::lock_guard lock(mutex_);
  return blocks_.size();
}

// What the driver says that this process may still take, or else what the heap has beside our own.
std::size_t Heap::free_bytes() const {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{};
  budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
  VkPhysicalDeviceMemoryProperties2 memory{};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  if (context_.physical.has_memory_budget) memory.pNext = &budget;
  context_.instance->vk.GetPhysicalDeviceMemoryProperties2(context_.physical.handle, &memory);
  const std::uint32_t heap = memory.memoryProperties.memoryTypes[type_].heapIndex;
  const std::size_t total = memory.memoryProperties.memoryHeaps[heap].size;
  const std::size_t own = total - std::min<std::size_t>(total, allocated_);
  if (!context_.physical.has_memory_budget) return own;
  const std::size_t usage = std::min(budget.heapUsage[heap], budget.heapBudget[heap]);
  return std::min<std::size_t>(own, budget.heapBudget[heap] - usage);
}

std::unique_ptr<Heap::Block> Heap::make_block(std::size_t bytes, std::uint32_t type,
                                              VkBufferUsageFlags usage) {
  auto block = std::make_unique<Block>(context_, bytes);
  const DeviceFunctions& vk = context_.vk;
  VkBufferCreateInfo buffer{};
  buffer.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  buffer.size = bytes;
  buffer.usage = usage | transfer_usage;
  context_.check(vk.CreateBuffer(context_.device, &buffer, nullptr, &block->buffer), "vkCreateBuffer");
  VkMemoryRequirements needs{};
  vk.GetBufferMemoryRequirements(context_.device, block->buffer, &needs);

  VkMemoryAllocateFlagsInfo flags{};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.allocationSize = needs.size;
  allocate.memoryTypeIndex = type;
  const bool addressed = (usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT) != 0;
  if (addressed) allocate.pNext = &flags;
  context_.check(vk.AllocateMemory(context_.device, &allocate, nullptr, &block->memory), "vkAllocateMemory");
  context_.check(vk.BindBufferMemory(context_.device, block->buffer, block->memory, 0), "vkBindBufferMemory");
  if (addressed) {
    VkBufferDeviceAddressInfo info{};
    info.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
    info.buffer = block->buffer;
    block->address = vk.GetBufferDeviceAddress(context_.device, &info);
  }
  if (!addressed || mapped_) {
    void* host = nullptr;
    context_.check(vk.MapMemory(context_.device, block->memory, 0, VK_WHOLE_SIZE, 0, &host), "vkMapMemory");
    block->host = static_cast<std::byte*>(host);
  }
  return block;
}

Heap::Block& Heap::block_with(std::size_t bytes, std::size_t& offset) {
  for (const auto& block : blocks_) {
    const auto place = block->places.allocate(bytes);
    if (!place) continue;
    offset = *place;
    return *block;
  }
  // A large tensor has a block to itself. Near the end of the memory a small one has too.
  const std::size_t available = free_bytes();
  const std::size_t least = FreeList::round_up(bytes);
  const std::size_t size = least > block_bytes / 2 || available < block_bytes ? least : block_bytes;
  try {
    if (size > available || size > context_.physical.max_buffer_bytes) {
      context_.check(VK_ERROR_OUT_OF_DEVICE_MEMORY, "the size");
    }
    blocks_.push_back(make_block(
        size, type_, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::out_of_memory) throw;
    fail(ErrorCode::out_of_memory, context_.name(), ": ", bytes, " bytes were asked for, ", available, " of ",
         context_.physical.memory_bytes(), " are free");
  }
  allocated_ += size;
  offset = *blocks_.back()->places.allocate(bytes);
  return *blocks_.back();
}

std::unique_ptr<Memory> Heap::allocate(std::size_t bytes) {
  context_.check_not_lost();
  const std::size_t size = std::max<std::size_t>(bytes, 1);
  if (size > SIZE_MAX - FreeList::granule)
    fail(ErrorCode::out_of_memory, context_.name(), ": ", bytes, " bytes");
  std::unique_ptr<VulkanMemory> memory;
  {
    std::lock_guard lock(mutex_);
    std::size_t offset = 0;
    Block& block = block_with(size, offset);
    memory = std::make_unique<VulkanMemory>(*this, block, offset, size);
  }
  // No command can still use this place: whoever submitted one holds the tensor until it has finished.
  Block& block = memory->block;
  const std::size_t clear = FreeList::round_up(size);
  if (mapped_) {
    std::memset(block.host + memory->offset, 0, clear);
  } else {
    queue_.run([&](VkCommandBuffer commands) {
      context_.vk.CmdFillBuffer(commands, block.buffer, memory->offset, clear, 0);
    });
  }
  memory->bytes = bytes;
  return memory;
}

void Heap::free(Block& block, std::size_t offset, std::size_t bytes) noexcept {
  std::lock_guard lock(mutex_);
  block.places.free(offset, std::max<std::size_t>(bytes, 1));
  if (!block.places.empty()) return;
  const auto others = std::ranges::count_if(
      blocks_, [&](const auto& other) { return other->places.empty() && other->bytes == block_bytes; });
  if (block.bytes == block_bytes && others <= 1) return;  // one is kept for the next tensor
  try {
    queue_.wait_all();  // it may be being cleared
  } catch (const Error&) {
    // A lost device uses it no more.
  }
  allocated_ -= block.bytes;
  std::erase_if(blocks_, [&](const auto& other) { return other.get() == &block; });
}

Heap::Block& Heap::staging() {
  if (!staging_) staging_ = make_block(staging_bytes, staging_type_, 0);
  return *staging_;
}

void Heap::upload(Memory& to, std::size_t offset, std::span<const std::byte> from) {
  context_.check_not_lost();
  const VulkanMemory& memory = in_block(to);
  std::lock_guard lock(staging_mutex_);
  if (mapped_) {
    queue_.wait_all();
    std::memcpy(memory.block.host + memory.offset + offset, from.data(), from.size());
    return;
  }
  Block& stage = staging();
  for (std::size_t begin = 0; begin < from.size(); begin += staging_bytes) {
    const std::size_t count = std::min(staging_bytes, from.size() - begin);
    std::memcpy(stage.host, from.data() + begin, count);
    const VkBufferCopy region{0, memory.offset + offset + begin, count};
    queue_.wait(queue_.run([&](VkCommandBuffer commands) {
      context_.vk.CmdCopyBuffer(commands, stage.buffer, memory.block.buffer, 1, &region);
    }));
  }
}

void Heap::download(const Memory& from, std::size_t offset, std::span<std::byte> to) {
  context_.check_not_lost();
  const VulkanMemory& memory = in_block(from);
  std::lock_guard lock(staging_mutex_);
  if (mapped_) {
    queue_.wait_all();
    std::memcpy(to.data(), memory.block.host + memory.offset + offset, to.size());
    return;
  }
  Block& stage = staging();
  for (std::size_t begin = 0; begin < to.size(); begin += staging_bytes) {
    const std::size_t count = std::min(staging_bytes, to.size() - begin);
    const VkBufferCopy region{memory.offset + offset + begin, 0, count};
    queue_.wait(queue_.run([&](VkCommandBuffer commands) {
      context_.vk.CmdCopyBuffer(commands, memory.block.buffer, stage.buffer, 1, &region);
    }));
    std::memcpy(to.data() + begin, stage.host, count);
  }
}

}  // namespace silica::vulkan
