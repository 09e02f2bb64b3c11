// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstdint>
#include <span>

#if defined(__SSE2__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

#include "backends/cpu/cpu.h"
#include "core/program.h"

namespace silica::cpu {

namespace {

// Round to nearest, subnormals kept, traps off while kernels run; the caller's settings come back after.
class FloatEnvironment {
 public:
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;
#if defined(__SSE2__)
  FloatEnvironment() : callers_(_mm_getcsr()) { _mm_setcsr(0x1f80); }  // the register at reset
  ~FloatEnvironment() { _mm_setcsr(callers_); }

 private:
  const unsigned callers_;
#else
  FloatEnvironment() {
    std::fegetenv(&callers_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~FloatEnvironment() { std::fesetenv(&callers_); }

 private:
  std::fenv_t callers_;
#endif
};

void execute(const Command& command, Groups groups) {
  if (groups.begin == groups.end) return;
  static_cast<const CpuPipeline&>(*command.pipeline).function(command.arguments.data(), groups);
}

// Each thread takes a contiguous run of every command's groups. Short commands begin at different threads, so
// that several of them are shared out too.
void execute_share(std::span<const Command> stage, unsigned thread, unsigned threads) {
  const FloatEnvironment environment;
  for (std::size_t i = 0; i < stage.size(); ++i) {
    const std::uint64_t groups = stage[i].groups, part = (thread + i) % threads;
    const auto cut = [=](std::uint64_t p) { return groups / threads * p + groups % threads * p / threads; };
    execute(stage[i], {cut(part), cut(part + 1)});
  }
}

void execute_alone(std::span<const Command> stage) {
  const FloatEnvironment environment;
  for (const Command& command : stage) execute(command, {0, command.groups});
}

template <class Visit> void for_each_stage(const Program& program, Visit visit) {
  std::size_t begin = 0;
  for (const std::size_t end : program.stage_ends) {
    visit(std::span(program.commands).subspan(begin, end - begin));
    begin = end;
  }
}

// There is something to share out.
bool is_parallel(std::span<const Command> stage) {
  return std::ranges::any_of(stage, [](const Command& command) { return command.groups > 1; });
}

}  // namespace

void run(const Program& program, Threads& threads) {
  bool parallel = false;
  for_each_stage(program, [&](auto stage) { parallel = parallel || is_parallel(stage); });
  if (!parallel || threads.count() == 1) return for_each_stage(program, execute_alone);
  threads.enter([&] {
    for_each_stage(program, [&](auto stage) {
      if (!is_parallel(stage)) return execute_alone(stage);
      threads.share([&](unsigned thread) { execute_share(stage, thread, threads.count()); });
    });
  });
}

}  // namespace silica::cpu
