// SPDX-License-Identifier: MIT
#include "block_emulation.h"

#include <ucontext.h>

#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "emulation.h"

namespace emulation::block {

namespace {

constexpr unsigned warp_size = 32;
constexpr std::size_t stack_bytes = 64 * 1024;
constexpr Address offset_mask = 0xffffff;
constexpr long box_cols = 64, line_bytes = box_cols * 2;

struct StoreGroup {
  int open = 0;  // copies that have yet to read
};

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  unsigned thread = 0;
  bool done = false;
  std::deque<std::pair<Multiply, unsigned>> products;  // with their groups
  unsigned groups = 0;                                 // of products, ended
  std::shared_ptr<StoreGroup> stores = std::make_shared<StoreGroup>();
  std::deque<std::shared_ptr<StoreGroup>> store_groups;
  Address to = 0;  // of store_matrices
};

struct Barrier {
  unsigned arrivals = 0, pending = 0, phase = 0;
  long bytes = 0;
};

struct Meeting {
  unsigned arrived = 0, generation = 0;
};

constexpr unsigned depth = 16, columns = 256;  // of a product of the tensor cores

struct Columns {
  float values[columns][depth];
};

struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<unsigned char> memory;
  std::map<Address, Barrier> barriers;
  std::map<unsigned, Meeting> meetings;
  std::array<Meeting, 32> warps;
  Meeting all;
  // Columns of B as a thread read them, by descriptor: for the next, if nothing was written since.
  std::map<std::uint64_t, Columns> columns_read;
  std::deque<std::function<void()>> copies;
  Fiber* current = nullptr;
  ucontext_t scheduler{};
  std::mt19937 random;
  unsigned threads = 0, block_count = 0, shared_bytes = 0;
  unsigned long progress = 0;
  unsigned loads = 0;  // of copies
  std::string failure;
  const std::function<void()>* kernel = nullptr;
};
Block block;

void yield() { swapcontext(&block.current->context, &block.scheduler); }

// No exception may leave a fiber: the scheduler throws.
void refuse(const char* what) {
  if (block.failure.empty()) {
    block.failure = std::string(what) + " (thread " + std::to_string(block.current->thread) + ")";
  }
  for (;;) yield();
}

void check_inside(Address at, unsigned bytes) {
  if ((at & offset_mask) + bytes > block.shared_bytes) refuse("an address beyond the launch's shared memory");
}

void meet_at(Meeting& meeting, unsigned threads) {
  const unsigned generation = meeting.generation;
  if (++meeting.arrived == threads) {
    meeting.arrived = 0;
    ++meeting.generation;
    ++block.progress;
    return;
  }
  while (meeting.generation == generation) yield();
}

// ---- barriers

Barrier& barrier_at(Address at) {
  Barrier& barrier = block.barriers[at & offset_mask];
  if (barrier.arrivals == 0) refuse("a barrier that was not set");
  return barrier;
}

void end_phase_if_complete(Barrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  barrier.phase ^= 1;
  barrier.pending = barrier.arrivals;
  ++block.progress;
}

// ---- what happens later

Address swizzled(Address at) { return at ^ ((at >> 7 & 7) << 4); }

std::uint16_t* element_of(Address at) {
  return reinterpret_cast<std::uint16_t*>(&block.memory[swizzled(at & offset_mask)]);
}

void load_now(Address to, const Matrix& from, Address barrier, long x, long y) {
  --block.loads;
  block.columns_read.clear();
  for (long r = 0; r < from.box_rows; ++r) {
    for (long c = 0; c < box_cols; ++c) {
      const bool inside = y + r < from.rows && x + c < from.cols;
      *element_of(to + static_cast<Address>(r * line_bytes + c * 2)) =
          inside ? from.data[(y + r) * from.cols + x + c] : std::uint16_t{0};
    }
  }
  Barrier& waits = block.barriers[barrier & offset_mask];
  waits.bytes -= from.box_rows * line_bytes;
  end_phase_if_complete(waits);
}

void store_now(const Matrix& to, Address from, long x, long y) {
  for (long r = 0; r < to.box_rows && y + r < to.rows; ++r) {
    for (long c = 0; c < box_cols && x + c < to.cols; ++c)
      to.data[(y + r) * to.cols + x + c] = *element_of(from + static_cast<Address>(r * line_bytes + c * 2));
  }
}

// Element (r, k) of rows of A or columns of B, as the hardware reads the descriptor's fields.
float element(std::uint64_t descriptor, bool along_rows, unsigned r, unsigned k,
              float (*widen)(std::uint16_t)) {
  const auto field = [&](unsigned shift) {
    return static_cast<Address>((descriptor >> shift & 0x3fff) << 4);
  };
  const Address start = field(0), next_64 = field(16), next_8 = field(32);
  if (descriptor >> 62 != 1) refuse("a descriptor without a swizzle of 128 bytes");
  const Address at = along_rows ? start + r / 64 * next_64 + k / 8 * next_8 + k % 8 * 128 + r % 64 * 2
                                : start + r / 8 * next_8 + r % 8 * 128 + k * 2;
  check_inside(at, sizeof(std::uint16_t));
  return widen(*element_of(at));
}

const Columns& columns_of(const Multiply& m) {
  const auto [found, is_new] = block.columns_read.try_emplace(m.b);
  for (unsigned column = 0; is_new && column < columns; ++column) {
    for (unsigned k = 0; k < depth; ++k)
      found->second.values[column][k] = element(m.b, m.n_major, column, k, m.widen);
  }
  return found->second;
}

// This thread's part: of rows r and r + 8 two of every 8 columns.
void multiply_now(const Multiply& m) {
  constexpr unsigned team = 128;
  const Columns& b = columns_of(m);
  const unsigned t = block.current->thread % team;
  const unsigned row = t / warp_size * 16 + t % warp_size / 4, column = t % 4 * 2;
  for (unsigned half = 0; half < 2; ++half) {
    float a[depth];
    for (unsigned k = 0; k < depth; ++k) a[k] = element(m.a, m.m_major, row + 8 * half, k, m.widen);
    for (unsigned j = 0; j < columns / 8; ++j) {
      for (unsigned e = 0; e < 2; ++e) {
        float sum = 0.0f;
        for (unsigned k = 0; k < depth; ++k) sum += a[k] * b.values[8 * j + column + e][k];
        float& to = m.sums[4 * j + 2 * half + e];
        to = m.adds ? to + sum : sum;
      }
    }
  }
}

void do_some_copies(bool all) {
  while (!block.copies.empty() && (all || block.random() % 3 == 0)) {
    const std::size_t i = block.random() % block.copies.size();
    const std::function<void()> copy = std::move(block.copies[i]);
    block.copies.erase(block.copies.begin() + static_cast<std::ptrdiff_t>(i));
    copy();
    ++block.progress;
  }
}

// ---- the run of a block

void enter() {
  (*block.kernel)();
  for (const auto& group : block.current->store_groups) {
    if (group->open > 0) refuse("a thread that ends while its stores read shared memory");
  }
  block.current->done = true;
  ++block.progress;
  yield();
}

void start() {
  block.memory.assign(block.shared_bytes, 0xff);  // NaN in every dtype
  block.barriers.clear();
  block.meetings.clear();
  block.warps = {};
  block.all = {};
  block.columns_read.clear();
  block.copies.clear();
  block.loads = 0;
  block.fibers.clear();
  for (unsigned i = 0; i < block.threads; ++i) {
    Fiber& fiber = *block.fibers.emplace_back(std::make_unique<Fiber>());
    fiber.thread = i;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
}

void run_block(unsigned number) {
  constexpr unsigned patience = 200;  // rounds without progress, and then with all copies done
  start();
  const std::size_t count = block.fibers.size();
  unsigned idle = 0;
  for (std::size_t left = count; left > 0;) {
    const unsigned long before = block.progress;
    const std::size_t from = block.random() % count, step = block.random() % 2 == 0 ? 1 : count - 1;
    left = 0;
    for (std::size_t j = 0; j < count; ++j) {
      Fiber& fiber = *block.fibers[(from + j * step) % count];
      if (fiber.done) continue;
      ++left;
      block.current = &fiber;
      threadIdx.x = fiber.thread;
      blockIdx.x = number;
      swapcontext(&block.scheduler, &fiber.context);
    }
    block.current = nullptr;
    if (!block.failure.empty()) throw std::runtime_error(block.failure);
    idle = block.progress == before ? idle + 1 : 0;
    do_some_copies(idle > patience);
    if (idle > 2 * patience) throw std::runtime_error("threads wait for what does not come");
  }
  if (block.loads > 0) throw std::runtime_error("a block ends while its shared memory is written");
  do_some_copies(true);
}

}  // namespace

void run(const Launch& launch, unsigned seed, const std::function<void()>& kernel) {
  block.random.seed(seed);
  block.failure.clear();
  block.threads = launch.threads;
  block.block_count = launch.blocks;
  block.shared_bytes = launch.shared_bytes;
  block.kernel = &kernel;
  for (unsigned number = 0; number < launch.blocks; ++number) run_block(number);
}

unsigned block_count() { return block.block_count; }
Address shared_start() { return blockIdx.x % 2 << 24 | 1024; }
void* shared(Address at) {
  block.columns_read.clear();  // as the caller may write
  check_inside(at, 16);
  return &block.memory[at & offset_mask];
}
void let_others_run() {
  while (block.random() % 8 == 0) yield();
}

void meet_all() { meet_at(block.all, block.threads); }
void meet_warp() { meet_at(block.warps[block.current->thread / warp_size], warp_size); }
void meet(unsigned id, unsigned threads) { meet_at(block.meetings[id], threads); }

void init(Address barrier, unsigned arrivals) {
  check_inside(barrier, sizeof(std::uint64_t));
  block.barriers[barrier & offset_mask] = {arrivals, arrivals, 0, 0};
}

void arrive(Address barrier) {
  Barrier& to = barrier_at(barrier);
  if (to.pending == 0) refuse("more arrivals than a barrier has");
  --to.pending;
  end_phase_if_complete(to);
}

void expect(Address barrier, unsigned bytes) {
  barrier_at(barrier).bytes += bytes;
  arrive(barrier);
}

void wait(Address barrier, unsigned parity) {
  while (barrier_at(barrier).phase == parity) yield();
}

void load(Address to, const Matrix& from, Address barrier, unsigned x, unsigned y) {
  if (to % 1024 != 0) refuse("a box that is not aligned");
  check_inside(to, static_cast<unsigned>(from.box_rows * line_bytes));
  ++block.loads;
  block.copies.emplace_back([=] { load_now(to, from, barrier, x, y); });
}

void store(const Matrix& to, Address from, unsigned x, unsigned y) {
  const std::shared_ptr<StoreGroup> group = block.current->stores;
  ++group->open;
  block.copies.emplace_back([=] {
    store_now(to, from, x, y);
    --group->open;
  });
}

void end_store_group() {
  block.current->store_groups.push_back(std::exchange(block.current->stores, std::make_shared<StoreGroup>()));
}

void wait_stores_read(unsigned but) {
  auto& groups = block.current->store_groups;
  for (;;) {
    while (!groups.empty() && groups.front()->open == 0) groups.pop_front();
    if (groups.size() <= but) return;
    yield();
  }
}

void multiply(const Multiply& product) {
  block.current->products.emplace_back(product, block.current->groups);
}
void end_multiply() { ++block.current->groups; }

void wait_multiply(unsigned but) {
  auto& products = block.current->products;
  while (!products.empty() && products.front().second + but < block.current->groups) {
    multiply_now(products.front().first);
    products.pop_front();
  }
  meet_warp();
}

void store_matrices(Address to, const std::uint32_t* words) {
  block.current->to = to;
  meet_warp();
  const unsigned lane = block.current->thread % warp_size;
  const std::size_t first = block.current->thread - lane;
  for (unsigned i = 0; i < 4; ++i) {
    const Address line = block.fibers[first + 8 * i + lane / 4]->to;
    std::memcpy(shared(line + lane % 4 * 4), &words[i], sizeof words[i]);
  }
  meet_warp();
}

}  // namespace emulation::block
