// SPDX-License-Identifier: MIT
// Memory comes from a pool of the session's own and goes back in the order of the stream, so freeing never
// waits for work that still uses it.
#include <algorithm>
#include <cstring>

#include "backends/cuda/cuda.h"
#include "core/format.h"

namespace silica::cuda {

namespace {

class CudaMemory : public Memory {
 public:
  CudaMemory(std::shared_ptr<Session> session, std::size_t size) : session_(std::move(session)) {
    bytes = size;
  }
  ~CudaMemory() override {
    if (address == 0 || session_->lost()) return;
    const Current current(*session_);
    driver().pool_free(address, session_->stream);
  }

 private:
  std::shared_ptr<Session> session_;
};

[[noreturn]] void fail_out_of_memory(const Session& session, std::size_t bytes) {
  std::size_t free = 0, total = session.total_bytes;
  driver().memory_info(&free, &total);
  fail(ErrorCode::out_of_memory, session.name, ": ", bytes, " bytes were asked for, ", free, " of ", total,
       " are free");
}

Address take(Session& session, std::size_t bytes) {
  const Driver& d = driver();
  if (bytes > session.total_bytes) fail_out_of_memory(session, bytes);
  Address address = 0;
  Result result = d.pool_allocate(&address, bytes, session.pool, session.stream);
  if (result == error_out_of_memory) {
    // What was freed but not yet given back may do.
    session.check(d.stream_wait(session.stream), "waiting for memory");
    d.pool_trim(session.pool, 0);
    result = d.pool_allocate(&address, bytes, session.pool, session.stream);
  }
  if (result == error_out_of_memory) fail_out_of_memory(session, bytes);
  session.check(result, "allocating memory");
  return address;
}

// On first use.
Staging& staging_of(Session& session) {
  Staging& staging = session.staging;
  for (std::size_t slot = 0; slot < 2 && !staging.ready; ++slot) {
    if (staging.buffer[slot] == nullptr) {
      const Result result = driver().host_allocate(&staging.buffer[slot], Staging::chunk, 0);
      if (result == error_out_of_memory) {
        fail(ErrorCode::out_of_memory, session.name, ": ", Staging::chunk,
             " bytes of page-locked host memory were ", "asked for, which the system does not give");
      }
      session.check(result, "page-locked memory");
    }
    if (staging.free[slot] == nullptr) staging.free[slot] = session.take_event();
  }
  staging.ready = true;
  return staging;
}

}  // namespace

std::unique_ptr<Memory> allocate(const std::shared_ptr<Session>& session, std::size_t bytes) {
  auto memory = std::make_unique<CudaMemory>(session, bytes);
  if (bytes == 0) return memory;
  const Turn turn(*session);
  memory->address = take(*session, bytes);
  session->check(driver().fill_bytes(memory->address, 0, bytes, session->stream), "clearing memory");
  return memory;
}

// Returns when `from` has been read, not when the device has it: whatever follows on the stream comes after.
void upload(Session& session, Address to, std::span<const std::byte> from) {
  const Driver& d = driver();
  const Turn turn(session);
  Staging& staging = staging_of(session);
  for (std::size_t slot = 0; !from.empty(); slot ^= 1) {
    const std::size_t count = std::min(from.size(), Staging::chunk);
    session.check(d.event_wait(staging.free[slot]), "upload");
    std::memcpy(staging.buffer[slot], from.data(), count);
    session.check(d.copy_to_device(to, staging.buffer[slot], count, session.stream), "upload");
    session.check(d.event_record(staging.free[slot], session.stream), "upload");
    to += count;
    from = from.subspan(count);
  }
}

// While one piece is on its way, the one before is copied out.
void download(Session& session, Address from, std::span<std::byte> to) {
  const Driver& d = driver();
  const Turn turn(session);
  Staging& staging = staging_of(session);
  const std::size_t pieces = (to.size() + Staging::chunk - 1) / Staging::chunk;
  const auto piece = [to](std::size_t i) {
    return to.subspan(i * Staging::chunk, std::min(Staging::chunk, to.size() - i * Staging::chunk));
  };
  for (std::size_t i = 0; i <= pieces; ++i) {
    if (i < pieces) {
      const std::size_t slot = i % 2;
      session.check(
          d.copy_to_host(staging.buffer[slot], from + i * Staging::chunk, piece(i).size(), session.stream),
          "download");
      session.check(d.event_record(staging.free[slot], session.stream), "download");
    }
    if (i > 0) {
      const std::size_t slot = (i - 1) % 2;
      session.check(d.event_wait(staging.free[slot]), "download");
      std::memcpy(piece(i - 1).data(), staging.buffer[slot], piece(i - 1).size());
    }
  }
}

}  // namespace silica::cuda
