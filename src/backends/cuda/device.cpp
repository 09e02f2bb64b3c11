// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>

#include "backends/cuda/cuda.h"
#include "backends/cuda/tensor_core.h"
#include "core/format.h"
#include "core/program.h"

namespace silica::cuda {

namespace {

int attribute(DeviceHandle device, DeviceAttribute which) {
  int value = 0;
  return driver().device_attribute(&value, which, device) == success ? value : 0;
}

int architecture_of(DeviceHandle device) {
  return attribute(device, attribute_major) * 10 + attribute(device, attribute_minor);
}

std::size_t memory_of(DeviceHandle device) {
  std::size_t bytes = 0;
  return driver().device_memory(&bytes, device) == success ? bytes : 0;
}

std::string without_devices() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return visible == nullptr
             ? "the NVIDIA driver sees no GPU"
             : message("the NVIDIA driver sees no GPU; CUDA_VISIBLE_DEVICES is '", visible, "'");
}

// Why the device cannot be used; empty if it can.
std::string obstacle(DeviceHandle device) {
  if (std::string missing = missing_nvrtc(); !missing.empty()) return missing;
  if (attribute(device, attribute_memory_pools) == 0) return "the driver has no memory pools on this device";
  try {
    target_for(architecture_of(device));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

DeviceInfo describe(unsigned ordinal) {
  const Driver& d = driver();
  DeviceInfo info{
      .name = message("cuda:", ordinal), .description = {}, .usable = false, .exact = false, .note = {}};
  DeviceHandle device = 0;
  if (const Result result = d.device_get(&device, static_cast<int>(ordinal)); result != success) {
    info.note = d.describe(result);
    return info;
  }
  char model[256] = "NVIDIA GPU";
  d.device_name(model, sizeof model, device);
  const int architecture = architecture_of(device);
  info.description = message(model, ", sm_", architecture, ", ", memory_of(device) >> 20, " MiB, driver ",
                             d.version / 1000, ".", d.version % 1000 / 10);
  info.note = obstacle(device);
  info.usable = info.exact = info.note.empty();
  if (info.usable)
    info.description += message(", NVRTC ", nvrtc_version() / 1000, ".", nvrtc_version() % 1000 / 10);
  return info;
}

int count_devices() {
  int count = 0;
  return driver().missing.empty() && driver().device_count(&count) == success ? count : 0;
}

class CudaBackend : public Backend {
 public:
  explicit CudaBackend(unsigned ordinal)
      : session_(std::make_shared<Session>(ordinal)), info_(describe(ordinal)) {
    info_.note = probe(session_);
    info_.exact = info_.note.empty();
  }

  const DeviceInfo& info() const override { return info_; }
  std::vector<std::pair<std::string, KernelSource>> kernels() const override { return library_kernels(); }
  std::vector<std::pair<std::string, KernelSource>> fast_kernels() const override {
    std::vector<std::pair<std::string, KernelSource>> kernels;
    for (const FastKernel& kernel : cuda::fast_kernels()) kernels.emplace_back(kernel.name, KernelSource{});
    for (const CatalogueRow& row : tensor_core_kernels(session_->architecture))
      kernels.emplace_back(row.name, KernelSource{});
    return kernels;
  }
  std::shared_ptr<const Pipeline> build(std::string_view name, const KernelSource& source) override {
    return cuda::build(*session_, name, source);
  }
  std::unique_ptr<Memory> allocate(std::size_t bytes) override { return cuda::allocate(session_, bytes); }
  void upload(Memory& to, std::size_t offset, std::span<const std::byte> from) override {
    cuda::upload(*session_, to.address + offset, from);
  }
  void download(const Memory& from, std::size_t offset, std::span<std::byte> to) override {
    cuda::download(*session_, from.address + offset, to);
  }
  Fence submit(std::shared_ptr<const silica::Program> program) override {
    return cuda::submit(session_, *program);
  }

 private:
  std::shared_ptr<Session> session_;
  DeviceInfo info_;
};

// Errors after which the device still works.
bool is_recoverable(Result result) {
  constexpr Result recoverable[] = {1, 2, 200, 209, 218, 222, 301, 304, 400, 500, 600, 701, 801};
  return std::ranges::find(recoverable, result) != std::end(recoverable) || is_capture_error(result);
}

// All that are open in this process: when a context is made anew, nothing of the old one may be touched any
// more.
struct OpenSessions {
  std::mutex mutex;
  std::set<Session*> all;
};
OpenSessions& open_sessions() {
  static OpenSessions* sessions = new OpenSessions;  // outlives every session, static ones too
  return *sessions;
}

}  // namespace

std::vector<DeviceInfo> list() {
  const int count = count_devices();
  if (count == 0) {
    const std::string note = driver().missing.empty() ? without_devices() : driver().missing;
    return {{.name = "cuda", .description = "NVIDIA GPU", .usable = false, .exact = false, .note = note}};
  }
  std::vector<DeviceInfo> devices;
  for (unsigned i = 0; i < static_cast<unsigned>(count); ++i) devices.push_back(describe(i));
  return devices;
}

std::string describe_fast() {
  if (const std::string missing = missing_cublaslt(); !missing.empty())
    return message("; matmul of Math::fast is exact: ", missing);
  return message(", cuBLASLt ", cublaslt_version() / 1000, ".", cublaslt_version() % 1000 / 10);
}

std::unique_ptr<Backend> open(std::optional<unsigned> number, const DeviceOptions&) {
  const unsigned ordinal = number.value_or(0);
  if (!driver().missing.empty()) fail(ErrorCode::unsupported, "cuda: ", driver().missing);
  const int count = count_devices();
  if (count == 0) fail(ErrorCode::unsupported, "cuda: ", without_devices());
  if (ordinal >= static_cast<unsigned>(count)) {
    refuse("device: 'cuda:", ordinal, "' does not exist, the NVIDIA driver sees ", count,
           count == 1 ? " GPU" : " GPUs");
  }
  return std::make_unique<CudaBackend>(ordinal);
}

// ---- the session

Session::Session(unsigned ordinal) : name(message("cuda:", ordinal)), cache_(DiskCache::standard()) {
  const Driver& d = driver();
  check(d.device_get(&device, static_cast<int>(ordinal)), "the device");
  if (const std::string note = obstacle(device); !note.empty())
    fail(ErrorCode::unsupported, name, ": ", note);
  architecture = architecture_of(device);
  multiprocessors = static_cast<unsigned>(std::max(1, attribute(device, attribute_multiprocessors)));
  total_bytes = memory_of(device);
  target_ = target_for(architecture);
  const std::lock_guard lock(open_sessions().mutex);
  try {
    open_context();
    open_sessions().all.insert(this);
  } catch (...) {
    close();
    throw;
  }
}

Session::~Session() {
  const std::lock_guard lock(open_sessions().mutex);
  open_sessions().all.erase(this);
  close();
}

// The primary context is shared with whatever else in the process uses the device. One that a fault has made
// unusable, under an earlier session, is made anew; that session stays lost.
void Session::open_context() {
  const Driver& d = driver();
  Result result = d.context_retain(&context_, device);
  const bool retained = result == success;
  if (retained) {
    const Current current(*this);
    result = current.result() == success ? d.stream_create(&stream, stream_non_blocking) : current.result();
  }
  if (result != success && !is_recoverable(result)) {
    for (Session* other : open_sessions().all) {
      if (other->device == device) other->note_lost(result, "another use of the device");
    }
    d.context_reset(device);  // its result is the fault that made it necessary
    if (retained) d.context_release(device);
    check(d.context_retain(&context_, device), "the context after a reset");
    const Current current(*this);
    check(current.result(), "the context after a reset");
    result = d.stream_create(&stream, stream_non_blocking);
  }
  check(result, "a stream");
  const Current current(*this);
  PoolProperties properties;
  properties.location_id = device;
  check(d.pool_create(&pool, &properties), "a memory pool");
  std::uint64_t keep_all = ~std::uint64_t{0};
  check(d.pool_set(pool, pool_release_threshold, &keep_all), "a memory pool");
}

void Session::close() noexcept {
  const Driver& d = driver();
  if (context_ == nullptr) return;
  if (!lost()) {
    const Current current(*this);
    if (stream != nullptr) d.stream_wait(stream);
    fast.reset();
    for (const auto& [text, kernel] : kernels_) d.module_unload(kernel.module);
    for (const Event event : events_) d.event_destroy(event);
    for (std::size_t slot = 0; slot < 2; ++slot) {
      if (staging.free[slot] != nullptr) d.event_destroy(staging.free[slot]);
      if (staging.buffer[slot] != nullptr) d.host_free(staging.buffer[slot]);
    }
    if (pool != nullptr) d.pool_destroy(pool);
    if (stream != nullptr) d.stream_destroy(stream);
  }
  fast.reset();  // touches nothing of a lost session
  d.context_release(device);
}

void Session::check(Result result, const char* what) {
  if (result == success) return;
  const std::string text = message(name, ": ", what, ": ", driver().describe(result));
  if (result == error_out_of_memory) throw Error(ErrorCode::out_of_memory, text);
  if (is_recoverable(result)) throw Error(ErrorCode::unsupported, text);
  note_lost(result, what);
  throw Error(ErrorCode::device_lost, text);
}

void Session::check_usable() const {
  if (!lost()) return;
  const std::lock_guard lock(state_);
  throw Error(ErrorCode::device_lost,
              message(name, ": the device failed earlier and must be opened again: ", reason_));
}

void Session::note_lost(Result result, const char* what) noexcept {
  try {
    const std::lock_guard lock(state_);
    if (reason_.empty()) reason_ = message(what, ": ", driver().describe(result));
  } catch (...) {  // no memory for the reason
  }
  lost_.store(true, std::memory_order_release);
}

Event Session::take_event() {
  {
    const std::lock_guard lock(state_);
    if (!events_.empty()) {
      const Event event = events_.back();
      events_.pop_back();
      return event;
    }
    if (events_.capacity() <= events_made_)
      events_.reserve(2 * events_made_ + 2);  // giving back needs no memory then
    ++events_made_;
  }
  Event event = nullptr;
  check(driver().event_create(&event, event_disable_timing), "an event");
  return event;
}

void Session::give_event(Event event) noexcept {
  const std::lock_guard lock(state_);
  events_.push_back(event);
}

}  // namespace silica::cuda
