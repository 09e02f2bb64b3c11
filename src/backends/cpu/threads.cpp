// SPDX-License-Identifier: MIT
// The only file that sees oneTBB. ThreadSanitizer cannot see into the installed libtbb, so this file is built
// without it and tells it here what happens before what; everything that runs in the bodies is watched.
#include "backends/cpu/threads.h"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <stdexcept>

#include "core/format.h"

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

// oneTBB starts a thread when work first wants one, at times from a thread of its own, where a failure ends
// the process. So all that it may want are started here, by this thread: each is kept busy until the last has
// been started, or else it would be woken in place of the next. Throws what oneTBB throws.
void start_workers(unsigned count) {
  const auto all_started = std::make_shared<std::atomic<bool>>(false);
  std::deque<tbb::task_arena> arenas;  // of one worker each
  struct End {
    std::atomic<bool>& flag;
    ~End() {
      flag = true;
      flag.notify_all();
    }
  } const end{*all_started};
  for (unsigned i = 1; i < count; ++i) {
    arenas.emplace_back(1, 0).enqueue([all_started] { all_started->wait(false); });
  }
}

}  // namespace

struct Threads::Arena {
  explicit Arena(unsigned count) : arena(static_cast<int>(count)) {
    if (count == 1) return;
    // TBB keeps to the cores there are unless it is told of more.
    const auto cores = static_cast<unsigned>(tbb::info::default_concurrency());
    if (count > cores) {
      more = std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism, count);
    }
    try {
      start_workers(std::max(count, cores));
    } catch (const std::runtime_error& error) {
      fail(ErrorCode::out_of_memory, "cpu: ", count, " threads were asked for: ", error.what());
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
