// SPDX-License-Identifier: MIT
// Faults on purpose, in the test program only: the n-th allocation, file operation or thread start from now
// on fails. inject.cpp replaces operator new and pthread_create, and the linker's --wrap leads the library's
// and the tool's calls of calloc and of the file operations there. What libstdc++ does with files and oneTBB
// with malloc is out of reach.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <new>

#include "silica/error.h"

namespace silica::test {

enum class Fault {
  allocation,  // std::bad_alloc, or null from calloc
  file,        // EIO
  disk_full,   // of writes: one byte is written, then ENOSPC
  interrupt,   // of reads and writes: EINTR, once
  crash,       // of file operations: the process ends there
  thread,      // EAGAIN
};

// One at a time.
class Injection {
 public:
  Injection(Fault fault, std::size_t n);  // n from 1
  ~Injection();
  Injection(const Injection&) = delete;
  Injection& operator=(const Injection&) = delete;

  static void stop();      // before its end: what follows does not fail
  static bool happened();  // since the last one began
  static constexpr int crash_status = 77;
};

// Calls `run` with the first, then the second, ... event failing, until it has no more. Returns how many it
// had.
template <class Run> std::size_t fail_each(Fault fault, Run&& run) {
  for (std::size_t n = 1;; ++n) {
    SCOPED_TRACE("event " + std::to_string(n));
    {
      const Injection injection(fault, n);
      run();
    }
    if (!Injection::happened()) return n - 1;
    if (::testing::Test::HasFailure()) return n;
  }
}

// A call that fails for want of memory throws what error.h says, has changed nothing, and may be made again.
template <class Call> auto again(Call&& call) {
  try {
    return call();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), "out_of_memory") << error.what();
  } catch (const std::bad_alloc&) {
  }
  EXPECT_TRUE(Injection::happened());
  return call();
}

}  // namespace silica::test
