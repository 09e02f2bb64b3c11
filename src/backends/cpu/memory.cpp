// SPDX-License-Identifier: MIT
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <limits>

#include "backends/cpu/cpu.h"
#include "core/format.h"

namespace silica::cpu {

namespace {

constexpr std::size_t alignment = 64;  // a cache line, and the widest vector

class HostMemory : public Memory {
 public:
  HostMemory(void* block, std::size_t size) : block_(block) {
    address = (reinterpret_cast<std::uintptr_t>(block) + alignment - 1) / alignment * alignment;
    bytes = size;
  }
  ~HostMemory() override { std::free(block_); }

 private:
  void* block_;
};

// Where the system has large pages for those who ask (Linux: 2 MiB). It may refuse.
void ask_for_large_pages([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr std::size_t large = std::size_t{2} << 20, small = 4096;
  if (bytes < 2 * large) return;
  const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(block) + small - 1) / small * small;
  static_cast<void>(madvise(reinterpret_cast<void*>(begin), bytes - small, MADV_HUGEPAGE));
#endif
}

std::size_t physical_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  if (pages <= 0 || page <= 0) return std::numeric_limits<std::size_t>::max() - alignment;
  return static_cast<std::size_t>(pages) * static_cast<std::size_t>(page);
}

}  // namespace

std::unique_ptr<Memory> allocate(std::size_t bytes) {
  // The kernel may grant more than the machine has and kill the process when it is touched.
  const std::size_t most = physical_bytes();
  // calloc takes large blocks from the system as zero pages, so nothing is written before it is used.
  void* block = bytes <= most ? std::calloc(1, bytes + alignment) : nullptr;
  if (block == nullptr) {
    fail(ErrorCode::out_of_memory, "cpu: ", bytes, " bytes were asked for, the machine has ", most,
         " in all");
  }
  ask_for_large_pages(block, bytes);
  try {
    return std::make_unique<HostMemory>(block, bytes);
  } catch (...) {
    std::free(block);
    throw;
  }
}

}  // namespace silica::cpu
