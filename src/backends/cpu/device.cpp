// SPDX-License-Identifier: MIT
#include <sched.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>

#include "backends/cpu/cpu.h"
#include "core/format.h"
#include "core/program.h"

namespace silica::cpu {

namespace {

constexpr unsigned most_threads = 1024;

unsigned available_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
}

unsigned choose_threads(unsigned asked) {
  const char* text = std::getenv("SILICA_THREADS");
  if (asked == 0 && text != nullptr && *text != '\0') {
    const char* end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, asked);
    if (error != std::errc() || stop != end || asked == 0 || asked > most_threads) {
      refuse("SILICA_THREADS is '", text, "', expected a whole number from 1 to ", most_threads);
    }
  }
  if (asked > most_threads)
    refuse("cpu: ", asked, " threads were asked for, at most ", most_threads, " are possible");
  return asked == 0 ? available_threads() : asked;
}

Isa choose_isa(std::string_view limit) {
  const char* text = std::getenv("SILICA_MAX_ISA");
  const char* source = "max_isa";
  if (limit.empty() && text != nullptr) limit = text, source = "SILICA_MAX_ISA";
  const std::vector<Isa> isas = supported_isas();
  if (limit.empty()) return isas.back();
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (to_string(isa) == limit) return std::min(isa, isas.back());
  }
  refuse(source, " is '", limit, "', expected baseline, avx2 or avx512");
}

std::string model_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.find(": ") + 2, line.size()));
  }
  return "CPU";
}

DeviceInfo describe(unsigned threads, Isa used) {
  std::string sets;
  for (const Isa isa : supported_isas()) {
    sets = message(sets, sets.empty() ? "" : " ", to_string(isa), isa == used ? "*" : "");
  }
  return {.name = "cpu",
          .description = message(model_name(), ", ", threads, threads == 1 ? " thread" : " threads",
                                 ", kernels for ", sets, " (* in use)"),
          .usable = true,
          .exact = true,
          .note = {}};
}

struct Done : Fence::State {
  bool done() const override { return true; }
  void wait() const override {
    if (error) std::rethrow_exception(error);
  }
  std::exception_ptr error;
};

// Work runs in submit itself, on the calling thread and its team, so a fence is done when it is returned.
class CpuBackend : public Backend {
 public:
  CpuBackend(unsigned threads, Isa isa) : threads_(threads), isa_(isa), info_(describe(threads, isa)) {}

  const DeviceInfo& info() const override { return info_; }
  std::vector<std::pair<std::string, KernelSource>> kernels() const override { return kernels_for(isa_); }

  std::shared_ptr<const Pipeline> build(std::string_view name, const KernelSource& source) override {
    if (source.cpu.function == nullptr) {
      fail(ErrorCode::unsupported, name, ": the kernel has no source for the CPU");
    }
    return std::make_shared<CpuPipeline>(source.cpu.function, source.cpu.tile);
  }

  std::unique_ptr<Memory> allocate(std::size_t bytes) override { return cpu::allocate(bytes); }

  void upload(Memory& to, std::size_t offset, std::span<const std::byte> from) override {
    std::lock_guard lock(order_);
    std::memcpy(reinterpret_cast<std::byte*>(to.address) + offset, from.data(), from.size());
  }

  void download(const Memory& from, std::size_t offset, std::span<std::byte> to) override {
    std::lock_guard lock(order_);
    std::memcpy(to.data(), reinterpret_cast<const std::byte*>(from.address) + offset, to.size());
  }

  Fence submit(std::shared_ptr<const Program> program) override {
    auto done = std::make_shared<Done>();  // before the work: a submit that throws has done nothing
    std::lock_guard lock(order_);
    try {
      run(*program, threads_);
    } catch (...) {
      done->error = std::current_exception();
    }
    return Fence(std::move(done));
  }

 private:
  Threads threads_;
  const Isa isa_;
  const DeviceInfo info_;
  std::mutex order_;  // one submit or transfer at a time
};

}  // namespace

std::vector<DeviceInfo> list() { return {describe(choose_threads(0), choose_isa({}))}; }

std::unique_ptr<Backend> open(std::optional<unsigned> ordinal, const DeviceOptions& options) {
  if (ordinal.value_or(0) != 0)
    refuse("device: there is one CPU device, 'cpu'; 'cpu:", *ordinal, "' does not exist");
  return std::make_unique<CpuBackend>(choose_threads(options.threads), choose_isa(options.max_isa));
}

}  // namespace silica::cpu
