// SPDX-License-Identifier: MIT
// The CUDA driver, opened at run time. The declarations follow cuda.h of CUDA 11.4 and later; the names are
// those of the library, with the versions that cuda.h hides behind macros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace silica::cuda {

using Result = int;
using DeviceHandle = int;
using Address = unsigned long long;
using Context = struct ContextTag*;
using Module = struct ModuleTag*;
using Function = struct FunctionTag*;
using Stream = struct StreamTag*;
using Event = struct EventTag*;
using Pool = struct PoolTag*;
using Graph = struct GraphTag*;
using GraphNode = struct GraphNodeTag*;
using GraphExec = struct GraphExecTag*;

inline constexpr Result success = 0, error_invalid_value = 1, error_out_of_memory = 2, error_not_ready = 600;

enum DeviceAttribute : int {
  attribute_multiprocessors = 16,
  attribute_major = 75,
  attribute_minor = 76,
  attribute_memory_pools = 115,
};

inline constexpr unsigned stream_non_blocking = 1, event_disable_timing = 2;
inline constexpr int capture_thread_local = 1;
inline constexpr Result error_capture_invalidated = 901;
// What could not be captured into a graph; the device is none the worse.
inline bool is_capture_error(Result result) { return result >= 900 && result <= 908; }
inline constexpr int pool_release_threshold = 4, function_dynamic_shared_bytes = 8;

struct PoolProperties {     // CUmemPoolProps
  int allocation_type = 1;  // pinned
  int handle_types = 0;
  int location_type = 1;  // a device
  int location_id = 0;
  void* security_attributes = nullptr;
  std::size_t max_bytes = 0;
  unsigned short usage = 0;
  unsigned char reserved[54] = {};
};
static_assert(sizeof(PoolProperties) == 88);

struct KernelNode {  // CUDA_KERNEL_NODE_PARAMS_v1
  Function function;
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
  void** parameters;
  void** extra;
};
static_assert(sizeof(KernelNode) == 56);

struct Edge {  // CUgraphEdgeData
  unsigned char from_port = 0, to_port = 0, type = 0;
  unsigned char reserved[5] = {};
};
// The later kernel may start before the earlier one has ended, and waits for it itself.
inline constexpr Edge early_start{1, 0, 1};

// CUtensorMap: a matrix in global memory and how its boxes lie in shared memory.
struct alignas(64) TensorMap {
  std::uint64_t words[16];
};

// Every entry point: its name in Driver, its symbol, its arguments.
#define SILICA_DRIVER(ENTRY)                                                                          \
  ENTRY(init, cuInit, unsigned)                                                                       \
  ENTRY(driver_version, cuDriverGetVersion, int*)                                                     \
  ENTRY(error_name, cuGetErrorName, Result, const char**)                                             \
  ENTRY(error_string, cuGetErrorString, Result, const char**)                                         \
  ENTRY(device_count, cuDeviceGetCount, int*)                                                         \
  ENTRY(device_get, cuDeviceGet, DeviceHandle*, int)                                                  \
  ENTRY(device_name, cuDeviceGetName, char*, int, DeviceHandle)                                       \
  ENTRY(device_attribute, cuDeviceGetAttribute, int*, int, DeviceHandle)                              \
  ENTRY(device_memory, cuDeviceTotalMem_v2, std::size_t*, DeviceHandle)                               \
  ENTRY(context_retain, cuDevicePrimaryCtxRetain, Context*, DeviceHandle)                             \
  ENTRY(context_release, cuDevicePrimaryCtxRelease_v2, DeviceHandle)                                  \
  ENTRY(context_reset, cuDevicePrimaryCtxReset_v2, DeviceHandle)                                      \
  ENTRY(context_push, cuCtxPushCurrent_v2, Context)                                                   \
  ENTRY(context_pop, cuCtxPopCurrent_v2, Context*)                                                    \
  ENTRY(stream_create, cuStreamCreate, Stream*, unsigned)                                             \
  ENTRY(stream_destroy, cuStreamDestroy_v2, Stream)                                                   \
  ENTRY(stream_wait, cuStreamSynchronize, Stream)                                                     \
  ENTRY(event_create, cuEventCreate, Event*, unsigned)                                                \
  ENTRY(event_destroy, cuEventDestroy_v2, Event)                                                      \
  ENTRY(event_record, cuEventRecord, Event, Stream)                                                   \
  ENTRY(event_query, cuEventQuery, Event)                                                             \
  ENTRY(event_wait, cuEventSynchronize, Event)                                                        \
  ENTRY(module_load, cuModuleLoadData, Module*, const void*)                                          \
  ENTRY(module_unload, cuModuleUnload, Module)                                                        \
  ENTRY(module_function, cuModuleGetFunction, Function*, Module, const char*)                         \
  ENTRY(function_set, cuFuncSetAttribute, Function, int, int)                                         \
  ENTRY(launch, cuLaunchKernel, Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
        unsigned, Stream, void**, void**)                                                             \
  ENTRY(memory_info, cuMemGetInfo_v2, std::size_t*, std::size_t*)                                     \
  ENTRY(pool_create, cuMemPoolCreate, Pool*, const PoolProperties*)                                   \
  ENTRY(pool_destroy, cuMemPoolDestroy, Pool)                                                         \
  ENTRY(pool_set, cuMemPoolSetAttribute, Pool, int, void*)                                            \
  ENTRY(pool_trim, cuMemPoolTrimTo, Pool, std::size_t)                                                \
  ENTRY(pool_allocate, cuMemAllocFromPoolAsync, Address*, std::size_t, Pool, Stream)                  \
  ENTRY(pool_free, cuMemFreeAsync, Address, Stream)                                                   \
  ENTRY(host_allocate, cuMemHostAlloc, void**, std::size_t, unsigned)                                 \
  ENTRY(host_free, cuMemFreeHost, void*)                                                              \
  ENTRY(fill_bytes, cuMemsetD8Async, Address, unsigned char, std::size_t, Stream)                     \
  ENTRY(copy_to_device, cuMemcpyHtoDAsync_v2, Address, const void*, std::size_t, Stream)              \
  ENTRY(copy_to_host, cuMemcpyDtoHAsync_v2, void*, Address, std::size_t, Stream)                      \
  ENTRY(graph_create, cuGraphCreate, Graph*, unsigned)                                                \
  ENTRY(graph_destroy, cuGraphDestroy, Graph)                                                         \
  ENTRY(graph_add_kernel, cuGraphAddKernelNode, GraphNode*, Graph, const GraphNode*, std::size_t,     \
        const KernelNode*)                                                                            \
  ENTRY(graph_add_empty, cuGraphAddEmptyNode, GraphNode*, Graph, const GraphNode*, std::size_t)       \
  ENTRY(graph_instantiate, cuGraphInstantiateWithFlags, GraphExec*, Graph, unsigned long long)        \
  ENTRY(graph_launch, cuGraphLaunch, GraphExec, Stream)                                               \
  ENTRY(graph_exec_destroy, cuGraphExecDestroy, GraphExec)                                            \
  ENTRY(capture_begin, cuStreamBeginCapture_v2, Stream, int)                                          \
  ENTRY(capture_end, cuStreamEndCapture, Stream, Graph*)                                              \
  ENTRY(event_elapsed, cuEventElapsedTime, float*, Event, Event)

// Those that a driver may lack; null then.
#define SILICA_OPTIONAL_DRIVER(ENTRY)                                                                       \
  ENTRY(graph_add_edges, cuGraphAddDependencies_v2, Graph, const GraphNode*, const GraphNode*, const Edge*, \
        std::size_t)                                                                                        \
  ENTRY(tensor_map, cuTensorMapEncodeTiled, TensorMap*, int, std::uint32_t, void*, const std::uint64_t*,    \
        const std::uint64_t*, const std::uint32_t*, const std::uint32_t*, int, int, int, int)

struct Driver {
#define SILICA_MEMBER(name, symbol, ...) Result (*name)(__VA_ARGS__) = nullptr;
  SILICA_DRIVER(SILICA_MEMBER)
  SILICA_OPTIONAL_DRIVER(SILICA_MEMBER)
#undef SILICA_MEMBER

  int version = 0;      // 13000 is CUDA 13.0
  std::string missing;  // why the driver cannot be used; empty if it can

  std::string describe(Result error) const;  // "CUDA_ERROR_OUT_OF_MEMORY: out of memory"
};

// Opened on first use: libcuda.so.1, or the library that SILICA_LIBCUDA names.
const Driver& driver();

}  // namespace silica::cuda
