// SPDX-License-Identifier: MIT
// A libcuda.so.1 for tests: host memory, streams that are done at once, and kernels that do nothing but be
// counted (the probe's is computed). It fails where it is told to, and knows what is still allocated.
#include "fake_driver.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <vector>

namespace {

using Handle = void*;
using Address = unsigned long long;

constexpr int out_of_memory = 2, not_found = 500;
constexpr std::size_t total_bytes = std::size_t{1} << 30;

struct State {
  std::recursive_mutex mutex;
  std::map<std::string, int> failures;  // by entry point: the error of the next call, or of all (sticky)
  int sticky = 0;
  std::vector<std::string> calls;
  std::map<Address, std::size_t> memory;
  std::map<std::string, long> alive;  // objects by kind
  std::size_t used = 0;
  long launches = 0, graph_launches = 0, edges = 0, nodes = 0, depth_of_context = 0;
  std::set<Handle> probes;
  std::map<Handle, int> shared_bytes;  // that a function may ask for
  Handle capturing = nullptr;          // a stream
  float elapsed = 1.0f;
};
State& state() {
  static State* all = new State;  // lives longer than anything that may still call
  return *all;
}

// What every entry point does first: it is noted, and may fail.
int enter(const char* name) {
  State& s = state();
  s.calls.emplace_back(name);
  if (s.sticky != 0) return s.sticky;
  const auto found = s.failures.find(name);
  if (found == s.failures.end()) return 0;
  const int error = found->second;
  s.failures.erase(found);
  if (error >= 700 && error < 900 && error != 701) s.sticky = error;
  return error;
}

#define ENTER(name)                                                \
  const std::lock_guard<std::recursive_mutex> lock(state().mutex); \
  if (const int error = enter(name); error != 0) return error;

template <class T> int make(const char* kind, T* to) {
  ++state().alive[kind];
  *to = reinterpret_cast<T>(new char);
  return 0;
}
int unmake(const char* kind, Handle handle) {
  --state().alive[kind];
  delete static_cast<char*>(handle);
  return 0;
}

constexpr std::align_val_t pool_alignment{256};
void give_back(Address address) { ::operator delete(reinterpret_cast<void*>(address), pool_alignment); }

void run_probe(void* argument_block) {
  struct Arguments {
    const float* x;
    float* y;
    unsigned long long n;
  } a;
  std::memcpy(&a, argument_block, sizeof a);
  for (unsigned long long i = 0; i < a.n; ++i) {
    const float x = a.x[i], y = a.x[a.n + i], z = a.x[2 * a.n + i];
    const float values[] = {x + y, x * y, x * y + z, std::fma(x, y, z), x / y, std::sqrt(std::fabs(x))};
    for (unsigned long long p = 0; p < 6; ++p) a.y[p * a.n + i] = values[p];
  }
}

}  // namespace

extern "C" {

// ---- for the tests

void fake_reset() {
  State& s = state();
  const std::lock_guard<std::recursive_mutex> lock(s.mutex);
  s.failures.clear();
  s.calls.clear();
  s.sticky = 0;
  s.launches = s.graph_launches = s.edges = s.nodes = 0;
}
void fake_fail_next(const char* entry, int error) {
  const std::lock_guard<std::recursive_mutex> lock(state().mutex);
  state().failures[entry] = error;
}
FakeCounts fake_counts() {
  State& s = state();
  const std::lock_guard<std::recursive_mutex> lock(s.mutex);
  FakeCounts counts{};
  counts.launches = s.launches;
  counts.graph_launches = s.graph_launches;
  counts.edges = s.edges;
  counts.nodes = s.nodes;
  counts.allocations = static_cast<long>(s.memory.size());
  for (const auto& [kind, count] : s.alive) counts.objects += count;
  counts.contexts_pushed = s.depth_of_context;
  return counts;
}
bool fake_capturing(const void* stream) {
  const std::lock_guard<std::recursive_mutex> lock(state().mutex);
  return state().capturing == stream;
}
void fake_set_elapsed(float milliseconds) {
  const std::lock_guard<std::recursive_mutex> lock(state().mutex);
  state().elapsed = milliseconds;
}
long fake_calls(const char* entry) {
  const std::lock_guard<std::recursive_mutex> lock(state().mutex);
  return std::count(state().calls.begin(), state().calls.end(), std::string(entry));
}

// ---- the driver

int cuInit(unsigned) { ENTER("cuInit") return 0; }
int cuDriverGetVersion(int* v) {
  *v = 13000;
  return 0;
}
int cuGetErrorName(int error, const char** name) {
  *name = error == 2     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                         : "CUDA_ERROR_FAKE";
  return 0;
}
int cuGetErrorString(int, const char** text) {
  *text = "as the test asked for";
  return 0;
}
int cuDeviceGetCount(int* n) {
  *n = 2;
  return 0;
}
int cuDeviceGet(int* d, int i) {
  *d = i;
  return 0;
}
int cuDeviceGetName(char* name, int size, int) {
  std::strncpy(name, "Fake GPU", static_cast<std::size_t>(size));
  return 0;
}
int cuDeviceGetAttribute(int* value, int which, int) {
  *value = which == 75 ? 9 : which == 16 ? 132 : which == 115 ? 1 : 0;
  return 0;
}
int cuDeviceTotalMem_v2(std::size_t* bytes, int) {
  *bytes = total_bytes;
  return 0;
}
int cuDevicePrimaryCtxRetain(Handle* c, int) {
  const int sticky = state().sticky;  // a context in use is handed out, whatever its state
  state().sticky = 0;
  const int error = enter("cuDevicePrimaryCtxRetain");
  state().sticky = sticky;
  if (error != 0) return error;
  ++state().alive["context"];
  *c = &state();
  return 0;
}
int cuDevicePrimaryCtxRelease_v2(int) {
  state().calls.emplace_back("cuDevicePrimaryCtxRelease");
  --state().alive["context"];
  return 0;
}
int cuDevicePrimaryCtxReset_v2(int) {
  const std::lock_guard<std::recursive_mutex> lock(state().mutex);
  State& s = state();
  s.calls.emplace_back("cuDevicePrimaryCtxReset");
  s.sticky = 0;
  for (const auto& [address, bytes] : s.memory) give_back(address);
  s.memory.clear();
  s.used = 0;
  for (auto& [kind, count] : s.alive) {
    if (kind != "context") count = 0;  // all of them went with it
  }
  return 0;
}
int cuCtxPushCurrent_v2(Handle) {
  const std::lock_guard<std::recursive_mutex> lock(state().mutex);
  ++state().depth_of_context;
  return 0;
}
int cuCtxPopCurrent_v2(Handle*) {
  const std::lock_guard<std::recursive_mutex> lock(state().mutex);
  --state().depth_of_context;
  return 0;
}
int cuStreamCreate(Handle* s, unsigned) { ENTER("cuStreamCreate") return make("stream", s); }
int cuStreamDestroy_v2(Handle s) { ENTER("cuStreamDestroy") return unmake("stream", s); }
int cuStreamSynchronize(Handle) { ENTER("cuStreamSynchronize") return 0; }
int cuEventCreate(Handle* e, unsigned) { ENTER("cuEventCreate") return make("event", e); }
int cuEventDestroy_v2(Handle e) { ENTER("cuEventDestroy") return unmake("event", e); }
int cuEventRecord(Handle, Handle) { ENTER("cuEventRecord") return 0; }
int cuEventQuery(Handle) { ENTER("cuEventQuery") return 0; }
int cuEventSynchronize(Handle) { ENTER("cuEventSynchronize") return 0; }
int cuModuleLoadData(Handle* m, const void*) { ENTER("cuModuleLoadData") return make("module", m); }
int cuModuleUnload(Handle m) {
  ENTER("cuModuleUnload")
  state().shared_bytes.erase(m);
  return unmake("module", m);
}
int cuModuleGetFunction(Handle* f, Handle m, const char* name) {
  ENTER("cuModuleGetFunction")
  if (std::string(name) == "not_there") return not_found;
  *f = m;
  if (std::string(name) == "probe_") state().probes.insert(m);
  return 0;
}
int cuFuncSetAttribute(Handle f, int, int value) {
  ENTER("cuFuncSetAttribute")
  state().shared_bytes[f] = value;
  return 0;
}
int cuLaunchKernel(Handle f, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared,
                   Handle stream, void** p, void**) {
  ENTER("cuLaunchKernel")
  if (shared > 0 && static_cast<int>(shared) > state().shared_bytes[f]) return 1;  // invalid value
  if (stream == state().capturing) {
    ++state().nodes;
    return 0;
  }
  ++state().launches;
  if (state().probes.contains(f)) run_probe(p[0]);
  return 0;
}
int cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  *free = total_bytes - state().used;
  *total = total_bytes;
  return 0;
}
int cuMemPoolCreate(Handle* p, const void*) { ENTER("cuMemPoolCreate") return make("pool", p); }
int cuMemPoolDestroy(Handle p) { ENTER("cuMemPoolDestroy") return unmake("pool", p); }
int cuMemPoolSetAttribute(Handle, int, void*) { ENTER("cuMemPoolSetAttribute") return 0; }
int cuMemPoolTrimTo(Handle, std::size_t) { ENTER("cuMemPoolTrimTo") return 0; }
int cuMemAllocFromPoolAsync(Address* a, std::size_t bytes, Handle, Handle) {
  ENTER("cuMemAllocFromPoolAsync")
  State& s = state();
  if (s.used + bytes > total_bytes) return out_of_memory;
  *a = reinterpret_cast<Address>(::operator new(bytes, pool_alignment));
  s.memory[*a] = bytes;
  s.used += bytes;
  return 0;
}
int cuMemFreeAsync(Address a, Handle) {
  ENTER("cuMemFreeAsync")
  State& s = state();
  const auto found = s.memory.find(a);
  if (found == s.memory.end()) return 1;
  s.used -= found->second;
  s.memory.erase(found);
  give_back(a);
  return 0;
}
int cuMemHostAlloc(Handle* p, std::size_t bytes, unsigned) {
  ENTER("cuMemHostAlloc")
  ++state().alive["host"];
  *p = new char[bytes];
  return 0;
}
int cuMemFreeHost(Handle p) {
  ENTER("cuMemFreeHost")-- state().alive["host"];
  delete[] static_cast<char*>(p);
  return 0;
}
int cuMemsetD8Async(Address a, unsigned char value, std::size_t n, Handle) {
  ENTER("cuMemsetD8Async")
  std::memset(reinterpret_cast<void*>(a), value, n);
  return 0;
}
int cuMemcpyHtoDAsync_v2(Address to, const void* from, std::size_t n, Handle) {
  ENTER("cuMemcpyHtoDAsync")
  std::memcpy(reinterpret_cast<void*>(to), from, n);
  return 0;
}
int cuMemcpyDtoHAsync_v2(void* to, Address from, std::size_t n, Handle) {
  ENTER("cuMemcpyDtoHAsync")
  std::memcpy(to, reinterpret_cast<const void*>(from), n);
  return 0;
}
int cuGraphCreate(Handle* g, unsigned) { ENTER("cuGraphCreate") return make("graph", g); }
int cuGraphDestroy(Handle g) { ENTER("cuGraphDestroy") return unmake("graph", g); }
static int add_node(Handle* node, std::size_t dependencies) {
  state().edges += static_cast<long>(dependencies);
  *node = reinterpret_cast<Handle>(++state().nodes);
  return 0;
}
int cuGraphAddKernelNode(Handle* n, Handle, const Handle*, std::size_t count, const void*) {
  ENTER("cuGraphAddKernelNode") return add_node(n, count);
}
int cuGraphAddEmptyNode(Handle* n, Handle, const Handle*, std::size_t count) {
  ENTER("cuGraphAddEmptyNode") return add_node(n, count);
}
int cuGraphAddDependencies_v2(Handle, const Handle*, const Handle*, const void*, std::size_t count) {
  ENTER("cuGraphAddDependencies_v2") state().edges += static_cast<long>(count);
  return 0;
}
int cuGraphInstantiateWithFlags(Handle* e, Handle, unsigned long long) {
  ENTER("cuGraphInstantiate") return make("exec", e);
}
int cuGraphLaunch(Handle, Handle) {
  ENTER("cuGraphLaunch")++ state().graph_launches;
  return 0;
}
int cuGraphExecDestroy(Handle e) { ENTER("cuGraphExecDestroy") return unmake("exec", e); }
int cuStreamBeginCapture_v2(Handle stream, int) {
  ENTER("cuStreamBeginCapture")
  state().capturing = stream;
  return 0;
}
int cuStreamEndCapture(Handle, Handle* g) {
  state().capturing = nullptr;
  ENTER("cuStreamEndCapture") return make("graph", g);
}
// Refuses what the real one refuses of a matrix of 16-bit elements. The map says what it was asked for.
int cuTensorMapEncodeTiled(void* map, int, unsigned rank, void* address, const unsigned long long* extents,
                           const unsigned long long* steps, const unsigned* box, const unsigned*, int, int,
                           int, int) {
  ENTER("cuTensorMapEncodeTiled")
  if (state().depth_of_context == 0) return 201;  // invalid context
  const auto is_multiple = [](auto x, unsigned of) { return reinterpret_cast<std::uintptr_t>(x) % of == 0; };
  const bool fits = rank == 2 && is_multiple(map, 64) && is_multiple(address, 16) && steps[0] % 16 == 0 &&
                    steps[0] >= 2 * extents[0] && extents[0] > 0 && extents[1] > 0 && box[0] == 64 &&
                    box[1] > 0 && box[1] <= 256;
  if (!fits) return 1;
  const unsigned long long words[] = {reinterpret_cast<std::uintptr_t>(address), extents[0], extents[1],
                                      box[1]};
  std::memcpy(map, words, sizeof words);
  return 0;
}
int cuEventElapsedTime(float* milliseconds, Handle, Handle) {
  ENTER("cuEventElapsedTime")
  *milliseconds = state().elapsed;
  return 0;
}
}
