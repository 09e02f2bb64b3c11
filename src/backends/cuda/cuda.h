// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cuda/catalogue.h"
#include "backends/cuda/cublaslt.h"
#include "backends/cuda/driver.h"
#include "backends/cuda/nvrtc.h"
#include "core/backend.h"
#include "core/disk_cache.h"

namespace silica::cuda {

std::vector<DeviceInfo> list();
std::string describe_fast();
std::unique_ptr<Backend> open(std::optional<unsigned> number, const DeviceOptions& options);

// A compiled kernel, loaded into the context. It stays loaded as long as the session.
struct LoadedKernel {
  Module module = nullptr;
  Function function = nullptr;
  unsigned shared_bytes = 0;  // that its launches may ask for
};

// Two pieces of page-locked memory that transfers go through in turn.
struct Staging {
  static constexpr std::size_t chunk = std::size_t{4} << 20;
  std::array<void*, 2> buffer{};
  std::array<Event, 2> free{};  // recorded after the last copy out of or into it
  bool ready = false;
};

// What is open on a device: context, stream, memory pool, loaded kernels. Memory, fences and the backend hold
// it, and it closes with the last of them. All work goes to one stream, in the order of the calls.
class Session {
 public:
  explicit Session(unsigned ordinal);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::string name;  // "cuda:0"
  DeviceHandle device = 0;
  int architecture = 0;
  unsigned multiprocessors = 0;
  std::size_t total_bytes = 0;
  Stream stream = nullptr;
  Pool pool = nullptr;
  Staging staging;                    // guarded by `order`
  std::mutex order;                   // one submit, transfer or allocation at a time
  std::unique_ptr<FastSession> fast;  // from the first product on; guarded by `order`

  // Throws unless `result` is success. An error that the device does not recover from makes this and every
  // later call device_lost.
  void check(Result result, const char* what);
  void check_usable() const;
  bool lost() const noexcept { return lost_.load(std::memory_order_acquire); }
  void note_lost(Result result, const char* what) noexcept;

  Event take_event();
  void give_event(Event event) noexcept;

  // For launches with up to `shared_bytes` of dynamic shared memory. `specific`: see Target.
  const LoadedKernel& kernel(std::string_view name, const std::string& text, const std::string& entry,
                             unsigned shared_bytes = 0, bool specific = false);

 private:
  friend class Current;
  void open_context();
  void close() noexcept;
  std::vector<std::byte> image(std::string_view name, const std::string& text, const Target& target);
  LoadedKernel& load(std::string_view name, const std::string& text, const std::string& entry, bool specific);

  Context context_ = nullptr;
  std::atomic<bool> lost_{false};
  mutable std::mutex state_;  // guards what follows
  std::string reason_;
  std::vector<Event> events_;  // free ones
  std::size_t events_made_ = 0;
  std::mutex loading_;
  std::map<std::string, LoadedKernel> kernels_;  // by text
  Target target_;
  DiskCache cache_;
};

// Makes the session's context the calling thread's until the end of the scope.
class Current {
 public:
  explicit Current(Session& session) : result_(driver().context_push(session.context_)) {}
  ~Current() {
    Context popped = nullptr;
    if (result_ == success) driver().context_pop(&popped);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
  Result result() const { return result_; }

 private:
  const Result result_;
};

// A call on the session: its turn, its context, and no error so far.
class Turn {
 public:
  explicit Turn(Session& session) : lock_(session.order), current_(session) {
    session.check_usable();
    session.check(current_.result(), "the context");
  }

 private:
  std::lock_guard<std::mutex> lock_;
  Current current_;
};

// A kernel of the catalogue is built when a command's sizes are known; a user's at once; a fast one is
// cuBLASLt's.
class CudaPipeline : public Pipeline {
 public:
  CudaPipeline(const CatalogueRow& of) : Pipeline(Tile{}), row(&of) {}
  CudaPipeline(Tile covers, const LoadedKernel& loaded, unsigned threads_of_block)
      : Pipeline(covers), kernel(&loaded), threads(threads_of_block) {}
  CudaPipeline(const FastKernel& of) : Pipeline(Tile{}), fast(&of) {}
  const CatalogueRow* const row = nullptr;
  const LoadedKernel* const kernel = nullptr;
  const unsigned threads = 0;
  const FastKernel* const fast = nullptr;
};

std::vector<std::pair<std::string, KernelSource>> library_kernels();
std::shared_ptr<const Pipeline> build(Session& session, std::string_view name, const KernelSource& source);

std::unique_ptr<Memory> allocate(const std::shared_ptr<Session>& session, std::size_t bytes);
void upload(Session& session, Address to, std::span<const std::byte> from);
void download(Session& session, Address from, std::span<std::byte> to);

Fence submit(const std::shared_ptr<Session>& session, const silica::Program& program);

// What of the primitives the device gets wrong; empty if it keeps the contract.
std::string probe(const std::shared_ptr<Session>& session);

}  // namespace silica::cuda
