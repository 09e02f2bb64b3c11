// SPDX-License-Identifier: MIT
#include "emulation.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

namespace emulation {

namespace {

constexpr std::size_t stack_bytes = 256 * 1024;
constexpr unsigned warp_size = 32;

struct Barrier {
  unsigned members = 0, arrived = 0;
  std::uint64_t passed = 0;
};

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  bool done = false;
  const Barrier* waits_for = nullptr;
  std::uint64_t until = 0;

  bool runnable() const { return !done && (waits_for == nullptr || waits_for->passed >= until); }
};

struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  Barrier all;
  std::vector<Barrier> warps;
  std::vector<unsigned> given;  // by each thread to an exchange
  bool any = false;
  ucontext_t scheduler{};
  const std::function<void()>* kernel = nullptr;
};

Block block;

Fiber& current() { return *block.fibers[threadIdx.x]; }

void wait(Barrier& barrier) {
  if (++barrier.arrived == barrier.members) {
    barrier.arrived = 0;
    ++barrier.passed;
    return;
  }
  Fiber& fiber = current();
  fiber.waits_for = &barrier;
  fiber.until = barrier.passed + 1;
  swapcontext(&fiber.context, &block.scheduler);
  fiber.waits_for = nullptr;
}

void enter() {
  (*block.kernel)();
  current().done = true;
  swapcontext(&current().context, &block.scheduler);
}

void start_block(unsigned threads) {
  while (block.fibers.size() < threads) block.fibers.push_back(std::make_unique<Fiber>());
  block.all = {threads, 0, 0};
  block.given.assign(threads, 0);
  block.warps.clear();
  for (unsigned first = 0; first < threads; first += warp_size) {
    block.warps.push_back({std::min(warp_size, threads - first), 0, 0});
  }
  for (unsigned t = 0; t < threads; ++t) {
    Fiber& fiber = *block.fibers[t];
    fiber.done = false;
    fiber.waits_for = nullptr;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
}

void run_block(unsigned threads, Order order, std::mt19937& random) {
  std::vector<unsigned> turns(threads);
  std::iota(turns.begin(), turns.end(), 0u);
  if (order == Order::backward) std::ranges::reverse(turns);
  for (bool moved = true; moved;) {
    moved = false;
    if (order == Order::shuffled) std::ranges::shuffle(turns, random);
    for (const unsigned t : turns) {
      if (!block.fibers[t]->runnable()) continue;
      moved = true;
      threadIdx.x = t;
      swapcontext(&block.scheduler, &block.fibers[t]->context);
    }
  }
  for (unsigned t = 0; t < threads; ++t) {
    if (!block.fibers[t]->done)
      throw std::runtime_error("a thread waits at a barrier that others do not reach");
  }
}

}  // namespace

void run(std::uint64_t blocks, unsigned threads, Order order, const std::function<void()>& kernel) {
  std::mt19937 random(1);
  block.kernel = &kernel;
  for (std::uint64_t b = 0; b < blocks; ++b) {
    blockIdx.x = static_cast<unsigned>(order == Order::backward ? blocks - 1 - b : b);
    start_block(threads);
    run_block(threads, order, random);
  }
}

void block_barrier() { wait(block.all); }
void warp_barrier() { wait(block.warps[threadIdx.x / warp_size]); }

unsigned exchange(unsigned value, unsigned lane) {
  block.given[threadIdx.x] = value;
  warp_barrier();
  const unsigned result = block.given[threadIdx.x / warp_size * warp_size + lane];
  warp_barrier();
  return result;
}

unsigned ballot(bool predicate) {
  block.given[threadIdx.x] = predicate;
  warp_barrier();
  unsigned mask = 0;
  const unsigned first = threadIdx.x / warp_size * warp_size;
  for (unsigned lane = 0; lane < warp_size; ++lane) mask |= block.given[first + lane] << lane;
  warp_barrier();
  return mask;
}

bool any_of_block(bool predicate) {
  block_barrier();
  block.any = false;
  block_barrier();
  block.any = block.any || predicate;
  block_barrier();
  return block.any;
}

}  // namespace emulation
