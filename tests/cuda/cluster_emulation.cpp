// SPDX-License-Identifier: MIT
#include "cluster_emulation.h"

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

namespace emulation::cluster {

namespace {

constexpr unsigned ranks = 2, warp_size = 32;
constexpr std::size_t stack_bytes = 64 * 1024;
constexpr Address offset_mask = 0xffffff;
constexpr long box_cols = 64, line_bytes = box_cols * 2;

struct StoreGroup {
  int open = 0;  // copies that have yet to read
};

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  unsigned thread = 0, rank = 0;
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

struct Block {
  std::vector<unsigned char> memory;
  std::map<Address, Barrier> barriers;
  std::map<unsigned, Meeting> meetings;
  std::array<Meeting, 32> warps;
};

constexpr unsigned depth = 16, columns = 256;  // of a product of the tensor cores

struct Columns {
  float values[columns][depth];
};

struct Cluster {
  std::vector<std::unique_ptr<Fiber>> fibers;
  Block blocks[ranks];
  // Columns of B as a thread read them, by block and descriptor: for the next, if nothing was written since.
  std::map<std::pair<unsigned, std::uint64_t>, Columns> columns_read;
  Meeting all;
  std::deque<std::function<void()>> copies;
  Fiber* current = nullptr;
  ucontext_t scheduler{};
  std::mt19937 random;
  unsigned threads = 0, block_count = 0, shared_bytes = 0;
  unsigned long progress = 0;
  std::string failure;
  const std::function<void()>* kernel = nullptr;
};
Cluster cluster;

void yield() { swapcontext(&cluster.current->context, &cluster.scheduler); }

// No exception may leave a fiber: the scheduler throws.
void refuse(const char* what) {
  if (cluster.failure.empty()) {
    cluster.failure = std::string(what) + " (block " + std::to_string(cluster.current->rank) + ", thread " +
                      std::to_string(cluster.current->thread) + ")";
  }
  for (;;) yield();
}

void check_inside(Address at, unsigned bytes) {
  if ((at & offset_mask) + bytes > cluster.shared_bytes)
    refuse("an address beyond the launch's shared memory");
}

Block& own_block() { return cluster.blocks[cluster.current->rank]; }

void meet_at(Meeting& meeting, unsigned threads) {
  const unsigned generation = meeting.generation;
  if (++meeting.arrived == threads) {
    meeting.arrived = 0;
    ++meeting.generation;
    ++cluster.progress;
    return;
  }
  while (meeting.generation == generation) yield();
}

// ---- barriers

Barrier& barrier_at(unsigned of_rank, Address at) {
  Barrier& barrier = cluster.blocks[of_rank].barriers[at & offset_mask];
  if (barrier.arrivals == 0) refuse("a barrier that was not set");
  return barrier;
}

void end_phase_if_complete(Barrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  barrier.phase ^= 1;
  barrier.pending = barrier.arrivals;
  ++cluster.progress;
}

// ---- what happens later

Address swizzled(Address at) { return at ^ ((at >> 7 & 7) << 4); }

std::uint16_t* element_of(unsigned of_rank, Address at) {
  return reinterpret_cast<std::uint16_t*>(&cluster.blocks[of_rank].memory[swizzled(at & offset_mask)]);
}

void load_now(unsigned to_rank, Address to, const Matrix& from, Address barrier, long x, long y) {
  cluster.columns_read.clear();
  for (long r = 0; r < from.box_rows; ++r) {
    for (long c = 0; c < box_cols; ++c) {
      const bool inside = y + r < from.rows && x + c < from.cols;
      *element_of(to_rank, to + static_cast<Address>(r * line_bytes + c * 2)) =
          inside ? from.data[(y + r) * from.cols + x + c] : std::uint16_t{0};
    }
  }
  Barrier& waits = cluster.blocks[to_rank].barriers[barrier & offset_mask];
  waits.bytes -= from.box_rows * line_bytes;
  end_phase_if_complete(waits);
}

void store_now(const Matrix& to, unsigned from_rank, Address from, long x, long y) {
  for (long r = 0; r < to.box_rows && y + r < to.rows; ++r) {
    for (long c = 0; c < box_cols && x + c < to.cols; ++c)
      to.data[(y + r) * to.cols + x + c] =
          *element_of(from_rank, from + static_cast<Address>(r * line_bytes + c * 2));
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
  return widen(*element_of(cluster.current->rank, at));
}

const Columns& columns_of(const Multiply& m) {
  const auto [found, is_new] = cluster.columns_read.try_emplace({cluster.current->rank, m.b});
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
  const unsigned t = cluster.current->thread % team;
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
  while (!cluster.copies.empty() && (all || cluster.random() % 3 == 0)) {
    const std::size_t i = cluster.random() % cluster.copies.size();
    const std::function<void()> copy = std::move(cluster.copies[i]);
    cluster.copies.erase(cluster.copies.begin() + static_cast<std::ptrdiff_t>(i));
    copy();
    ++cluster.progress;
  }
}

// ---- the run of a cluster

void enter() {
  (*cluster.kernel)();
  for (const auto& group : cluster.current->store_groups) {
    if (group->open > 0) refuse("a thread that ends while its stores read shared memory");
  }
  cluster.current->done = true;
  ++cluster.progress;
  yield();
}

void start() {
  for (Block& block : cluster.blocks) {
    block = Block{};
    block.memory.assign(cluster.shared_bytes, 0xff);  // NaN in every dtype
  }
  cluster.all = {};
  cluster.columns_read.clear();
  cluster.copies.clear();
  cluster.fibers.clear();
  for (unsigned i = 0; i < ranks * cluster.threads; ++i) {
    Fiber& fiber = *cluster.fibers.emplace_back(std::make_unique<Fiber>());
    fiber.thread = i % cluster.threads;
    fiber.rank = i / cluster.threads;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
}

void run_cluster(unsigned first_block) {
  constexpr unsigned patience = 200;  // rounds without progress, and then with all copies done
  start();
  const std::size_t count = cluster.fibers.size();
  unsigned idle = 0;
  for (std::size_t left = count; left > 0;) {
    const unsigned long before = cluster.progress;
    const std::size_t from = cluster.random() % count, step = cluster.random() % 2 == 0 ? 1 : count - 1;
    left = 0;
    for (std::size_t j = 0; j < count; ++j) {
      Fiber& fiber = *cluster.fibers[(from + j * step) % count];
      if (fiber.done) continue;
      ++left;
      cluster.current = &fiber;
      threadIdx.x = fiber.thread;
      blockIdx.x = first_block + fiber.rank;
      swapcontext(&cluster.scheduler, &fiber.context);
    }
    cluster.current = nullptr;
    if (!cluster.failure.empty()) throw std::runtime_error(cluster.failure);
    idle = cluster.progress == before ? idle + 1 : 0;
    do_some_copies(idle > patience);
    if (idle > 2 * patience) throw std::runtime_error("threads wait for what does not come");
  }
  do_some_copies(true);
}

}  // namespace

void run(const Launch& launch, unsigned seed, const std::function<void()>& kernel) {
  cluster.random.seed(seed);
  cluster.failure.clear();
  cluster.threads = launch.threads;
  cluster.block_count = launch.blocks;
  cluster.shared_bytes = launch.shared_bytes;
  cluster.kernel = &kernel;
  for (unsigned first = 0; first < launch.blocks; first += ranks) run_cluster(first);
}

unsigned rank() { return cluster.current->rank; }
unsigned block_count() { return cluster.block_count; }
Address shared_start() { return rank() << 24 | 1024; }
void* shared(Address at) {
  cluster.columns_read.clear();  // as the caller may write
  check_inside(at, 16);
  return &own_block().memory[at & offset_mask];
}
void let_others_run() {
  while (cluster.random() % 8 == 0) yield();
}

void meet_all() { meet_at(cluster.all, ranks * cluster.threads); }
void meet_warp() { meet_at(own_block().warps[cluster.current->thread / warp_size], warp_size); }
void meet(unsigned id, unsigned threads) { meet_at(own_block().meetings[id], threads); }

void init(Address barrier, unsigned arrivals) {
  check_inside(barrier, sizeof(std::uint64_t));
  own_block().barriers[barrier & offset_mask] = {arrivals, arrivals, 0, 0};
}

void arrive(Address barrier, unsigned at_rank) {
  Barrier& to = barrier_at(at_rank, barrier);
  if (to.pending == 0) refuse("more arrivals than a barrier has");
  --to.pending;
  end_phase_if_complete(to);
}

void expect(Address barrier, unsigned bytes) {
  barrier_at(rank(), barrier).bytes += bytes;
  arrive(barrier, rank());
}

void wait(Address barrier, unsigned parity) {
  while (barrier_at(rank(), barrier).phase == parity) yield();
}

void load(bool to_both, Address to, const Matrix& from, Address barrier, unsigned x, unsigned y) {
  if (to % 1024 != 0) refuse("a box that is not aligned");
  check_inside(to, static_cast<unsigned>(from.box_rows * line_bytes));
  for (unsigned r = 0; r < ranks; ++r) {
    if (!to_both && r != rank()) continue;
    cluster.copies.emplace_back([=] { load_now(r, to, from, barrier, x, y); });
  }
}

void store(const Matrix& to, Address from, unsigned x, unsigned y) {
  const std::shared_ptr<StoreGroup> group = cluster.current->stores;
  ++group->open;
  cluster.copies.emplace_back([=, of = rank()] {
    store_now(to, of, from, x, y);
    --group->open;
  });
}

void end_store_group() {
  cluster.current->store_groups.push_back(
      std::exchange(cluster.current->stores, std::make_shared<StoreGroup>()));
}

void wait_stores_read(unsigned but) {
  auto& groups = cluster.current->store_groups;
  for (;;) {
    while (!groups.empty() && groups.front()->open == 0) groups.pop_front();
    if (groups.size() <= but) return;
    yield();
  }
}

void multiply(const Multiply& product) {
  cluster.current->products.emplace_back(product, cluster.current->groups);
}
void end_multiply() { ++cluster.current->groups; }

void wait_multiply(unsigned but) {
  auto& products = cluster.current->products;
  while (!products.empty() && products.front().second + but < cluster.current->groups) {
    multiply_now(products.front().first);
    products.pop_front();
  }
  meet_warp();
}

void store_matrices(Address to, const std::uint32_t* words) {
  cluster.current->to = to;
  meet_warp();
  const unsigned lane = cluster.current->thread % warp_size;
  const std::size_t first = cluster.current->rank * cluster.threads + cluster.current->thread - lane;
  for (unsigned i = 0; i < 4; ++i) {
    const Address line = cluster.fibers[first + 8 * i + lane / 4]->to;
    std::memcpy(shared(line + lane % 4 * 4), &words[i], sizeof words[i]);
  }
  meet_warp();
}

}  // namespace emulation::cluster
