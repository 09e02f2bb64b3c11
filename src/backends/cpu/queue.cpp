// SPDX-License-Identifier: MIT
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <exception>
#include <mutex>
#include <span>
#include <vector>

#include "backends/cpu/cpu.h"
#include "core/program.h"

namespace silica::cpu {

namespace {

// Round to nearest, subnormals kept, traps off while kernels run; the caller's settings come back after.
class FloatEnvironment {
 public:
  FloatEnvironment() {
    std::fegetenv(&callers_);
    std::fesetenv(FE_DFL_ENV);  // on x86 and ARM this clears FTZ and DAZ too
  }
  ~FloatEnvironment() { std::fesetenv(&callers_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  std::fenv_t callers_;
};

// The first exception of any thread. What comes after it is skipped, so every thread still meets every barrier.
class Failure {
 public:
  template <class Work>
  void guard(Work&& work) noexcept {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      work();
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      failed_.store(true, std::memory_order_relaxed);
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::exception_ptr error_;
};

void execute(const Command& command, Groups groups) {
  if (groups.begin == groups.end) return;
  static_cast<const CpuPipeline&>(*command.pipeline).function(command.arguments.data(), groups);
}

struct Stage {
  std::span<const Command> commands;
  bool parallel;  // has more than one group to share out
};

std::vector<Stage> stages_of(const Program& program, unsigned threads) {
  std::vector<Stage> stages;
  std::size_t begin = 0;
  for (const std::size_t end : program.stage_ends) {
    const std::span commands = std::span(program.commands).subspan(begin, end - begin);
    std::uint64_t groups = 0;
    for (const Command& command : commands) groups += command.groups;
    stages.push_back({commands, threads > 1 && groups > 1});
    begin = end;
  }
  return stages;
}

// Each thread takes a contiguous run of every command's groups. Short commands begin at different threads, so
// that several of them are shared out too.
void execute_share(const Stage& stage, unsigned thread, unsigned threads) {
  for (std::size_t i = 0; i < stage.commands.size(); ++i) {
    const Command& command = stage.commands[i];
    const std::uint64_t t = (thread + i) % threads;
    const auto cut = [&](std::uint64_t part) {
      return command.groups / threads * part + command.groups % threads * part / threads;
    };
    execute(command, {cut(t), cut(t + 1)});
  }
}

void run_alone(const Stage& stage) {
  for (const Command& command : stage.commands) execute(command, {0, command.groups});
}

void run_team(const std::vector<Stage>& stages, unsigned threads, Failure& failure) {
#pragma omp parallel num_threads(static_cast<int>(threads))
  {
    const FloatEnvironment environment;
    const auto thread = static_cast<unsigned>(omp_get_thread_num());
    const auto team = static_cast<unsigned>(omp_get_num_threads());
    bool others_behind = false;  // thread 0 ran stages alone since the last barrier
    for (const Stage& stage : stages) {
      if (!stage.parallel) {
        if (thread == 0) failure.guard([&] { run_alone(stage); });
        others_behind = true;
        continue;
      }
      if (others_behind) {
#pragma omp barrier
      }
      others_behind = false;
      failure.guard([&] { execute_share(stage, thread, team); });
#pragma omp barrier
    }
  }
}

}  // namespace

void run(const Program& program, unsigned threads) {
  const std::vector<Stage> stages = stages_of(program, threads);
  Failure failure;
  if (std::ranges::any_of(stages, &Stage::parallel)) {
    run_team(stages, threads, failure);
  } else {
    const FloatEnvironment environment;
    for (const Stage& stage : stages) failure.guard([&] { run_alone(stage); });
  }
  failure.rethrow();
}

}  // namespace silica::cpu
