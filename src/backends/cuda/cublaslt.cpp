// SPDX-License-Identifier: MIT
// The library's matrices are column-major; a row-major one is there its own transpose. So it is asked for
// c^T = op(b)^T op(a)^T: its first factor is our b, its second our a, and no matrix is moved.
#include "backends/cuda/cublaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "backends/cuda/cuda.h"
#include "backends/cuda/library.h"
#include "core/format.h"

namespace silica::cuda {

namespace {

// Of cublasLt.h, cublas_api.h and library_types.h; the same in CUDA 12 and 13.
constexpr int status_success = 0, status_alloc_failed = 3;
constexpr int property_major = 0, property_minor = 1;
constexpr int data_f32 = 0, data_f16 = 2, data_bf16 = 14;
constexpr int compute_f32 = 68, compute_tf32 = 77;
constexpr int operation_transpose_a = 3, operation_transpose_b = 4;
constexpr int layout_batch_count = 5, layout_batch_stride = 6;
constexpr int preference_workspace_bytes = 1, preference_reductions = 3, preference_alignment_a = 5,
              preference_alignment_b = 6, preference_alignment_c = 7, preference_alignment_d = 8;
// Partial sums are kept in f32: the others would round them to the output, and in any order.
constexpr std::uint32_t reductions_in_compute_type = 2;

struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  LtAlgorithm algorithm;
  std::size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Heuristic) == 96);

}  // namespace

// Every entry point: what it returns, its name in CublasLt, its symbol, its arguments.
#define SILICA_CUBLASLT(ENTRY)                                                                               \
  ENTRY(int, get_property, cublasLtGetProperty, int, int*)                                                   \
  ENTRY(const char*, status_name, cublasLtGetStatusName, int)                                                \
  ENTRY(int, create, cublasLtCreate, LtHandle*)                                                              \
  ENTRY(int, destroy, cublasLtDestroy, LtHandle)                                                             \
  ENTRY(int, operation_create, cublasLtMatmulDescCreate, LtOperation*, int, int)                             \
  ENTRY(int, operation_set, cublasLtMatmulDescSetAttribute, LtOperation, int, const void*, std::size_t)      \
  ENTRY(int, operation_destroy, cublasLtMatmulDescDestroy, LtOperation)                                      \
  ENTRY(int, layout_create, cublasLtMatrixLayoutCreate, LtLayout*, int, std::uint64_t, std::uint64_t,        \
        std::int64_t)                                                                                        \
  ENTRY(int, layout_set, cublasLtMatrixLayoutSetAttribute, LtLayout, int, const void*, std::size_t)          \
  ENTRY(int, layout_destroy, cublasLtMatrixLayoutDestroy, LtLayout)                                          \
  ENTRY(int, preference_create, cublasLtMatmulPreferenceCreate, LtPreference*)                               \
  ENTRY(int, preference_set, cublasLtMatmulPreferenceSetAttribute, LtPreference, int, const void*,           \
        std::size_t)                                                                                         \
  ENTRY(int, preference_destroy, cublasLtMatmulPreferenceDestroy, LtPreference)                              \
  ENTRY(int, heuristic, cublasLtMatmulAlgoGetHeuristic, LtHandle, LtOperation, LtLayout, LtLayout, LtLayout, \
        LtLayout, LtPreference, int, Heuristic*, int*)                                                       \
  ENTRY(int, matmul, cublasLtMatmul, LtHandle, LtOperation, const void*, const void*, LtLayout, const void*, \
        LtLayout, const void*, const void*, LtLayout, void*, LtLayout, const LtAlgorithm*, void*,            \
        std::size_t, Stream)

struct CublasLt {
#define SILICA_MEMBER(returned, name, symbol, ...) returned (*name)(__VA_ARGS__) = nullptr;
  SILICA_CUBLASLT(SILICA_MEMBER)
#undef SILICA_MEMBER
  std::string missing;
  int version = 0;

  std::string describe(int status) const { return message(status_name(status), " (", status, ")"); }
};

namespace {

template <class Function> void find(void* library, const char* symbol, Function*& to, std::string& missing) {
  to = reinterpret_cast<Function*>(dlsym(library, symbol));
  if (to == nullptr && missing.empty())
    missing = message("cuBLASLt has no ", symbol, "; install that of CUDA 12");
}

CublasLt load() {
  CublasLt lt;
  void* library = open_library("SILICA_LIBCUBLASLT", "libcublasLt.so", {"13", "12"});
  if (library == nullptr) {
    lt.missing = message("no cuBLASLt (", not_found("SILICA_LIBCUBLASLT", "libcublasLt.so"),
                         "); install it, as by `pip install nvidia-cublas` or the CUDA toolkit");
    return lt;
  }
#define SILICA_FIND(returned, member, symbol, ...) find(library, #symbol, lt.member, lt.missing);
  SILICA_CUBLASLT(SILICA_FIND)
#undef SILICA_FIND
  if (!lt.missing.empty()) return lt;
  int major = 0, minor = 0;
  lt.get_property(property_major, &major);
  lt.get_property(property_minor, &minor);
  lt.version = major * 1000 + minor * 10;
  if (major > driver().version / 1000) {
    lt.missing = message("cuBLASLt is of CUDA ", major, ", the driver of CUDA ", driver().version / 1000,
                         "; SILICA_LIBCUBLASLT can name another");
  }
  return lt;
}

constexpr FastKernel kernels_of_library[] = {
    {"matmul.matmul.f32.fast", "f32", 4, data_f32, compute_tf32},
    {"matmul.matmul.f16.fast", "f16", 2, data_f16, compute_f32},
    {"matmul.matmul.bf16.fast", "bf16", 2, data_bf16, compute_f32},
};

// The largest power of two that an address is a multiple of, as far as it matters.
std::uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address);
  return std::uint32_t{1} << std::min(std::countr_zero(bits), 8);
}

// An event with a time.
struct TimedEvent {
  TimedEvent() { driver().event_create(&event, 0); }
  ~TimedEvent() {
    if (event != nullptr) driver().event_destroy(event);
  }
  TimedEvent(const TimedEvent&) = delete;
  TimedEvent& operator=(const TimedEvent&) = delete;
  Event event = nullptr;
};

}  // namespace

const CublasLt& cublaslt() {
  static const CublasLt loaded = load();
  return loaded;
}

std::string missing_cublaslt() { return cublaslt().missing; }
int cublaslt_version() { return cublaslt().version; }

std::span<const FastKernel> fast_kernels() {
  if (!missing_cublaslt().empty()) return {};
  return kernels_of_library;
}

const FastKernel* find_fast_kernel(std::string_view name) {
  const auto found = std::ranges::find(kernels_of_library, name, &FastKernel::name);
  return found != std::end(kernels_of_library) ? found : nullptr;
}

void LtDestroy::operator()(LtHandle handle) const { cublaslt().destroy(handle); }
void LtDestroy::operator()(LtOperation operation) const { cublaslt().operation_destroy(operation); }
void LtDestroy::operator()(LtLayout layout) const { cublaslt().layout_destroy(layout); }
void LtDestroy::operator()(LtPreference preference) const { cublaslt().preference_destroy(preference); }

Scratch::Scratch(Session& session, std::size_t size) : session_(session) {
  if (driver().pool_allocate(&address, size, session.pool, session.stream) == success) bytes = size;
}

Scratch::~Scratch() {
  if (bytes > 0 && !session_.lost()) driver().pool_free(address, session_.stream);
}

FastSession::FastSession(Session& session) : owner(session), workspace(session, std::size_t{32} << 20) {
  LtHandle made = nullptr;
  if (const int status = cublaslt().create(&made); status != status_success) {
    fail(ErrorCode::unsupported, session.name, ": cuBLASLt does not start: ", cublaslt().describe(status));
  }
  handle.reset(made);
}

FastSession::~FastSession() {
  if (owner.lost()) static_cast<void>(handle.release());  // its context cannot be used any more
}

// ---- a product

Product::Product(Session& session, const FastKernel& kernel, const std::byte* arguments, const Grid& grid)
    : kernel_(kernel), batch_(grid.z) {
  std::memcpy(&sizes_, arguments, sizeof sizes_);
  const auto& [a, b, c, m, n, k, ta, tb] = sizes_;
  const CublasLt& lt = cublaslt();
  LtOperation operation = nullptr;
  check(lt.operation_create(&operation, kernel.compute_type, data_f32), "cublasLtMatmulDescCreate");
  operation_.reset(operation);
  const std::int32_t first = tb != 0, second = ta != 0;
  check(lt.operation_set(operation, operation_transpose_a, &first, sizeof first), "transposing b");
  check(lt.operation_set(operation, operation_transpose_b, &second, sizeof second), "transposing a");
  a_ = ta != 0 ? layout(k, m) : layout(m, k);
  b_ = tb != 0 ? layout(n, k) : layout(k, n);
  c_ = layout(m, n);

  if (!session.fast) session.fast = std::make_unique<FastSession>(session);
  const FastSession::Key key{
      &kernel, m, n, k, batch_, ta != 0, tb != 0, alignment_of(a), alignment_of(b), alignment_of(c)};
  auto found = session.fast->choices.find(key);
  if (found == session.fast->choices.end())
    found = session.fast->choices.emplace(key, fastest(session, candidates(*session.fast))).first;
  choice_ = found->second;
}

// Of matrices as they are stored, row-major.
Owned<LtLayout> Product::layout(std::uint64_t rows, std::uint64_t cols) const {
  const CublasLt& lt = cublaslt();
  LtLayout made = nullptr;
  check(lt.layout_create(&made, kernel_.data_type, cols, rows, static_cast<std::int64_t>(cols)),
        "cublasLtMatrixLayoutCreate");
  Owned<LtLayout> owned(made);
  if (batch_ > 1) {
    const auto count = static_cast<std::int32_t>(batch_);
    const auto stride = static_cast<std::int64_t>(rows * cols);
    check(lt.layout_set(made, layout_batch_count, &count, sizeof count), "a batch");
    check(lt.layout_set(made, layout_batch_stride, &stride, sizeof stride), "a batch");
  }
  return owned;
}

// What the library expects to be fast, best first.
std::vector<FastSession::Choice> Product::candidates(const FastSession& fast) const {
  const CublasLt& lt = cublaslt();
  LtPreference made = nullptr;
  check(lt.preference_create(&made), "cublasLtMatmulPreferenceCreate");
  const Owned<LtPreference> preference(made);
  const auto set = [&](int which, const auto& value) {
    check(lt.preference_set(made, which, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
  };
  set(preference_workspace_bytes, std::uint64_t{fast.workspace.bytes});
  set(preference_reductions, reductions_in_compute_type);
  set(preference_alignment_a, alignment_of(sizes_.b));
  set(preference_alignment_b, alignment_of(sizes_.a));
  set(preference_alignment_c, alignment_of(sizes_.c));
  set(preference_alignment_d, alignment_of(sizes_.c));
  std::array<Heuristic, 8> found{};
  int count = 0;
  check(lt.heuristic(fast.handle.get(), operation_.get(), b_.get(), a_.get(), c_.get(), c_.get(), made,
                     static_cast<int>(found.size()), found.data(), &count),
        "cublasLtMatmulAlgoGetHeuristic");
  std::vector<Choice> usable;
  for (int i = 0; i < count; ++i) {
    const Heuristic& one = found[static_cast<std::size_t>(i)];
    if (one.status == status_success) usable.push_back({one.algorithm, one.workspace_bytes});
  }
  if (usable.empty()) check(found[0].status, "cublasLtMatmulAlgoGetHeuristic");
  return usable;
}

// Measured on an output of its own, as c may hold what is still wanted. Without memory for one it is the
// first.
FastSession::Choice Product::fastest(Session& session, const std::vector<Choice>& candidates) const {
  if (candidates.size() == 1) return candidates[0];
  const Scratch output(session, batch_ * sizes_.m * sizes_.n * kernel_.bytes);
  if (output.bytes == 0) return candidates[0];
  const TimedEvent begin, end;
  constexpr float worth_it = 0.97f;  // less is noise, and the library's order stands
  const Choice* best = &candidates[0];
  float shortest = std::numeric_limits<float>::infinity();
  for (const Choice& candidate : candidates) {
    const float time = measure(*session.fast, candidate, output.address, begin.event, end.event);
    if (time >= shortest * worth_it) continue;
    shortest = time;
    best = &candidate;
  }
  return *best;
}

// Milliseconds of five runs, after two; infinite if it does not run.
float Product::measure(const FastSession& fast, const Choice& choice, Address output, Event begin,
                       Event end) const {
  constexpr int warm = 2, timed = 5;
  constexpr float never = std::numeric_limits<float>::infinity();
  const Driver& d = driver();
  const Stream stream = fast.owner.stream;
  for (int i = 0; i < warm + timed; ++i) {
    if (i == warm && d.event_record(begin, stream) != success) return never;
    if (run(fast, choice, output, stream) != status_success) return never;
  }
  float milliseconds = never;
  if (d.event_record(end, stream) != success || d.event_wait(end) != success ||
      d.event_elapsed(&milliseconds, begin, end) != success) {
    return never;
  }
  return milliseconds;
}

int Product::run(const FastSession& fast, const Choice& choice, Address output, Stream stream) const {
  constexpr float one = 1.0f, zero = 0.0f;
  void* c = reinterpret_cast<void*>(output);
  return cublaslt().matmul(fast.handle.get(), operation_.get(), &one, sizes_.b, b_.get(), sizes_.a, a_.get(),
                           &zero, c, c_.get(), c, c_.get(), &choice.algorithm,
                           reinterpret_cast<void*>(fast.workspace.address), choice.workspace_bytes, stream);
}

void Product::launch(Session& session, Stream stream) const {
  const int status = run(*session.fast, choice_, reinterpret_cast<Address>(sizes_.c), stream);
  if (status == status_success) return;
  session.check(driver().stream_wait(stream), "matmul");  // where the device has failed, that is the reason
  check(status, "cublasLtMatmul");
}

void Product::check(int status, const char* what) const {
  if (status == status_success) return;
  fail(status == status_alloc_failed ? ErrorCode::out_of_memory : ErrorCode::unsupported, "matmul: ", what,
       " fails for (m, n, k) = (", sizes_.m, ", ", sizes_.n, ", ", sizes_.k, ") in ", kernel_.dtype,
       sizes_.transpose_a != 0 ? ", a transposed" : "", sizes_.transpose_b != 0 ? ", b transposed" : "",
       batch_ > 1 ? message(", a batch of ", batch_) : "", ": ", cublaslt().describe(status));
}

}  // namespace silica::cuda
