// SPDX-License-Identifier: MIT
// Products on tensor cores, by NVIDIA's library cuBLASLt, which is opened at run time: for encoders that
// permit them (Math::fast).
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "backends/cuda/driver.h"
#include "kernels/matmul/matmul.h"
#include "silica/kernel.h"

namespace silica::cuda {

class Session;
struct CublasLt;

// Opened on first use: the library that SILICA_LIBCUBLASLT names, or else libcublasLt.so, as NVRTC is found.
const CublasLt& cublaslt();

std::string missing_cublaslt();  // why it cannot be used; empty if it can
int cublaslt_version();          // 12090 is that of CUDA 12.9

// One for each dtype, with the arguments of the matmul kernels.
struct FastKernel {
  std::string_view name;  // "matmul.matmul.bf16.fast"
  std::string_view dtype;
  std::size_t bytes;  // of an element
  int data_type, compute_type;
};
std::span<const FastKernel> fast_kernels();  // none without the library
const FastKernel* find_fast_kernel(std::string_view name);

using LtHandle = struct LtHandleTag*;
using LtOperation = struct LtOperationTag*;
using LtLayout = struct LtLayoutTag*;
using LtPreference = struct LtPreferenceTag*;

struct LtAlgorithm {  // cublasLtMatmulAlgo_t
  std::uint64_t data[8];
};

struct LtDestroy {
  void operator()(LtHandle handle) const;
  void operator()(LtOperation operation) const;
  void operator()(LtLayout layout) const;
  void operator()(LtPreference preference) const;
};
template <class Pointer> using Owned = std::unique_ptr<std::remove_pointer_t<Pointer>, LtDestroy>;

// Device memory for the length of a scope; address 0 where there is none.
class Scratch {
 public:
  Scratch(Session& session, std::size_t size);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  Address address = 0;
  std::size_t bytes = 0;

 private:
  Session& session_;
};

// What a session has open of the library. One workspace will do, as there is one stream.
struct FastSession {
  explicit FastSession(Session& session);  // errors: unsupported
  ~FastSession();

  struct Choice {
    LtAlgorithm algorithm;
    std::size_t workspace_bytes;
  };
  // Kernel, m, n, k, batch, transposes, alignments: equal ones run the same algorithm, in whatever list.
  using Key = std::tuple<const FastKernel*, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, bool,
                         bool, std::uint32_t, std::uint32_t, std::uint32_t>;

  Session& owner;
  Scratch workspace;
  Owned<LtHandle> handle;
  std::map<Key, Choice> choices;
};

// c = op(a) * op(b) on its operands, grid.z of them one after the other in memory. Made and launched within a
// Turn.
class Product {
 public:
  // Chooses the algorithm; the first time by measuring. Errors: unsupported.
  Product(Session& session, const FastKernel& kernel, const std::byte* arguments, const Grid& grid);
  // Errors: unsupported, out_of_memory, device_lost.
  void launch(Session& session, Stream stream) const;

 private:
  using Choice = FastSession::Choice;
  Owned<LtLayout> layout(std::uint64_t rows, std::uint64_t cols) const;
  std::vector<Choice> candidates(const FastSession& fast) const;
  Choice fastest(Session& session, const std::vector<Choice>& candidates) const;
  float measure(const FastSession& fast, const Choice& choice, Address output, Event begin, Event end) const;
  int run(const FastSession& fast, const Choice& choice, Address output, Stream stream) const;
  void check(int status, const char* what) const;

  const FastKernel& kernel_;
  const std::uint64_t batch_;
  kernels::MatmulArguments sizes_;
  Owned<LtOperation> operation_;
  Owned<LtLayout> a_, b_, c_;  // of silica's operands
  Choice choice_{};
};

}  // namespace silica::cuda
