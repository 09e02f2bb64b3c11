// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <memory>

namespace silica::cpu {

// A number of threads that share out work: the calling thread and oneTBB's workers.
class Threads {
 public:
  explicit Threads(unsigned count);  // errors: out_of_memory, if the system starts too few
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  unsigned count() const { return count_; }
  // Runs `work` on the calling thread with the workers at hand, so that many `share`s inside it cost little.
  void enter(const std::function<void()>& work);
  // body(0) ... body(count() - 1), each once, at the same time if cores are free; returns when all are done.
  // The first exception of a body is thrown on.
  void share(const std::function<void(unsigned)>& body);

 private:
  struct Arena;
  const unsigned count_;
  std::unique_ptr<Arena> arena_;
};

}  // namespace silica::cpu
