// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstdint>

#include "backends/vulkan/context.h"
#include "core/format.h"
#include "core/program.h"

namespace silica::vulkan {

namespace {

constexpr std::uint64_t width = 65535;  // the most groups that every device takes in one direction

constexpr VkPipelineStageFlags work_stages =
    VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
constexpr VkAccessFlags work_writes = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
constexpr VkAccessFlags work_reads = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT;

// Whatever was recorded or submitted before is done, and visible, before what follows.
void barrier(const Context& context, VkCommandBuffer commands, VkPipelineStageFlags to,
             VkAccessFlags access) {
  VkMemoryBarrier memory{};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = work_writes;
  memory.dstAccessMask = access;
  context.vk.CmdPipelineBarrier(commands, work_stages, to, 0, 1, &memory, 0, nullptr, 0, nullptr);
}

class Submitted : public Fence::State {
 public:
  Submitted(const Queue& queue, std::uint64_t number, std::shared_ptr<const Program> program)
      : queue_(queue), number_(number), program_(std::move(program)) {}
  bool done() const override { return queue_.done(number_); }
  void wait() const override { queue_.wait(number_); }

 private:
  const Queue& queue_;
  const std::uint64_t number_;
  const std::shared_ptr<const Program> program_;  // keeps the device, and so the queue
};

}  // namespace

// A program's prepared form. Its end waits for the last submit, so that nothing a command uses goes before.
class CommandBuffer {
 public:
  CommandBuffer(Queue& queue, VkCommandBuffer recorded) : handle(recorded), queue_(queue) {}
  ~CommandBuffer() {
    try {
      queue_.wait(last);
    } catch (...) {
      // A lost device runs nothing more.
    }
    std::lock_guard lock(queue_.mutex_);
    queue_.context_.vk.FreeCommandBuffers(queue_.context_.device, queue_.pool_, 1, &handle);
  }
  CommandBuffer(const CommandBuffer&) = delete;
  CommandBuffer& operator=(const CommandBuffer&) = delete;

  const VkCommandBuffer handle;
  std::uint64_t last = 0;

 private:
  Queue& queue_;
};

void record_dispatch(const Context& context, VkCommandBuffer commands, const VulkanPipeline& pipeline,
                     std::span<const std::byte> arguments, std::uint64_t groups) {
  if (groups / (width * width) >= width) {
    fail(ErrorCode::unsupported, context.name(), ": ", groups, " groups are more than a dispatch takes");
  }
  context.vk.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.handle);
  context.vk.CmdPushConstants(commands, pipeline.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                              static_cast<std::uint32_t>(arguments.size()), arguments.data());
  // A group's number is x + 65535 (y + 65535 z): whole planes, then whole lines, then the rest of a line.
  const auto planes = static_cast<std::uint32_t>(groups / (width * width));
  const auto lines = static_cast<std::uint32_t>(groups / width % width);
  const auto rest = static_cast<std::uint32_t>(groups % width);
  const auto full = static_cast<std::uint32_t>(width);
  if (planes > 0) context.vk.CmdDispatchBase(commands, 0, 0, 0, full, full, planes);
  if (lines > 0) context.vk.CmdDispatchBase(commands, 0, 0, planes, full, lines, 1);
  if (rest > 0) context.vk.CmdDispatchBase(commands, 0, lines, planes, rest, 1, 1);
}

Queue::Queue(const Context& context) : context_(context) {
  const DeviceFunctions& vk = context.vk;
  vk.GetDeviceQueue(context.device, context.physical.queue_family, 0, &queue_);
  VkCommandPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.queueFamilyIndex = context.physical.queue_family;
  context.check(vk.CreateCommandPool(context.device, &pool, nullptr, &pool_), "vkCreateCommandPool");
  VkSemaphoreTypeCreateInfo type{};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo semaphore{};
  semaphore.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  semaphore.pNext = &type;
  context.check(vk.CreateSemaphore(context.device, &semaphore, nullptr, &finished_), "vkCreateSemaphore");
}

Queue::~Queue() {
  context_.vk.DeviceWaitIdle(context_.device);
  context_.vk.DestroyCommandPool(context_.device, pool_, nullptr);
  context_.vk.DestroySemaphore(context_.device, finished_, nullptr);
}

VkCommandBuffer Queue::begin(VkCommandBufferUsageFlags usage) {
  VkCommandBufferAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  allocate.commandPool = pool_;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  VkCommandBuffer commands = VK_NULL_HANDLE;
  context_.check(context_.vk.AllocateCommandBuffers(context_.device, &allocate, &commands),
                 "vkAllocateCommandBuffers");
  VkCommandBufferBeginInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  info.flags = usage;
  context_.check(context_.vk.BeginCommandBuffer(commands, &info), "vkBeginCommandBuffer");
  barrier(context_, commands, work_stages, work_reads | work_writes);
  return commands;
}

void Queue::end(VkCommandBuffer commands) {
  barrier(context_, commands, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
  context_.check(context_.vk.EndCommandBuffer(commands), "vkEndCommandBuffer");
}

std::uint64_t Queue::enqueue(VkCommandBuffer commands) {
  const std::uint64_t number = submitted_.load() + 1;
  VkTimelineSemaphoreSubmitInfo timeline{};
  timeline.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
  timeline.signalSemaphoreValueCount = 1;
  timeline.pSignalSemaphoreValues = &number;
  VkSubmitInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  info.pNext = &timeline;
  info.commandBufferCount = 1;
  info.pCommandBuffers = &commands;
  info.signalSemaphoreCount = 1;
  info.pSignalSemaphores = &finished_;
  context_.check(context_.vk.QueueSubmit(queue_, 1, &info, VK_NULL_HANDLE), "vkQueueSubmit");
  submitted_.store(number);
  return number;
}

void Queue::release_finished() {
  std::erase_if(own_, [this](const auto& entry) {
    if (!done(entry.first)) return false;
    context_.vk.FreeCommandBuffers(context_.device, pool_, 1, &entry.second);
    return true;
  });
}

std::uint64_t Queue::run(const Record& record) {
  context_.check_not_lost();
  std::lock_guard lock(mutex_);
  release_finished();
  own_.reserve(own_.size() + 1);
  const VkCommandBuffer commands = begin(VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT);
  record(commands);
  end(commands);
  const std::uint64_t number = enqueue(commands);
  own_.emplace_back(number, commands);
  return number;
}

Fence Queue::submit(std::shared_ptr<const Program> program) {
  context_.check_not_lost();
  std::lock_guard lock(mutex_);
  release_finished();
  if (!program->prepared) {
    const VkCommandBuffer commands = begin(VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT);
    std::size_t stage = 0;
    for (std::size_t i = 0; i < program->commands.size(); ++i) {
      if (i == program->stage_ends[stage]) {
        barrier(context_, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
        ++stage;
      }
      const Command& command = program->commands[i];
      record_dispatch(context_, commands, static_cast<const VulkanPipeline&>(*command.pipeline),
                      command.arguments, command.groups);
    }
    end(commands);
    program->prepared = std::make_shared<CommandBuffer>(*this, commands);
  }
  // Before the work: a submit that throws has done nothing.
  auto submitted = std::make_shared<Submitted>(*this, submitted_.load() + 1, program);
  auto& prepared = *static_cast<CommandBuffer*>(program->prepared.get());
  prepared.last = enqueue(prepared.handle);
  return Fence(std::move(submitted));
}

bool Queue::done(std::uint64_t number) const {
  context_.check_not_lost();
  std::uint64_t finished = 0;
  context_.check(context_.vk.GetSemaphoreCounterValue(context_.device, finished_, &finished),
                 "vkGetSemaphoreCounterValue");
  return finished >= number;
}

void Queue::wait(std::uint64_t number) const {
  context_.check_not_lost();
  VkSemaphoreWaitInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.semaphoreCount = 1;
  info.pSemaphores = &finished_;
  info.pValues = &number;
  context_.check(context_.vk.WaitSemaphores(context_.device, &info, UINT64_MAX), "vkWaitSemaphores");
}

}  // namespace silica::vulkan
