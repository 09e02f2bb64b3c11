// SPDX-License-Identifier: MIT
// The only file that sees oneTBB. ThreadSanitizer cannot see into the installed libtbb, so this file is built
// without it and tells it here what happens before what; everything that runs in the bodies is watched.
#include "backends/cpu/threads.h"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#if defined(SILICA_TSAN)
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#else
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
#endif

namespace silica::cpu {

namespace {

// On the way out, whether by return or by exception.
struct Release {
  void* address;
  ~Release() { __tsan_release(address); }
};
struct Acquire {
  void* address;
  ~Acquire() { __tsan_acquire(address); }
};

}  // namespace

struct Threads::Arena {
  explicit Arena(unsigned count) : arena(static_cast<int>(count)) {
    // TBB keeps to the cores there are unless it is told of more.
    if (count > static_cast<unsigned>(tbb::info::default_concurrency())) {
      more = std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism, count);
    }
  }
  std::unique_ptr<tbb::global_control> more;
  tbb::task_arena arena;
};

Threads::Threads(unsigned count) : count_(count), arena_(std::make_unique<Arena>(count)) {}
Threads::~Threads() = default;

void Threads::enter(const std::function<void()>& work) { arena_->arena.execute(work); }

void Threads::share(const std::function<void(unsigned)>& body) {
  char begin = 0, end = 0;
  __tsan_release(&begin);
  const Acquire all_done{&end};
  // A context of its own: what the caller's context cancels is no business of ours.
  tbb::task_group_context context(tbb::task_group_context::isolated);
  tbb::parallel_for(
      0u, count_, 1u,
      [&](unsigned i) {
        __tsan_acquire(&begin);
        const Release done{&end};
        body(i);
      },
      tbb::static_partitioner(), context);
}

}  // namespace silica::cpu
