// SPDX-License-Identifier: MIT
// A libcublasLt.so for tests: multiplies column-major matrices on the host as the descriptors say, and
// refuses descriptors that do not fit together.
#include "fake_cublaslt.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "fake_driver.h"
#include "silica/dtype.h"

namespace {

constexpr int not_initialized = 1, invalid_value = 7, not_supported = 15;
constexpr int f32 = 0, f16 = 2, bf16 = 14;

struct Operation {
  int compute, scale;
  std::int32_t transposes[2] = {0, 0};
};
struct Layout {
  int type;
  std::uint64_t rows, cols;
  std::int64_t ld;
  std::int32_t batch = 1;
  std::int64_t stride = 0;
};
using Preference = std::map<int, std::uint64_t>;
struct Algorithm {
  std::uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  std::size_t workspace;
  int status;
  float waves;
  int reserved[4];
};

struct State {
  std::mutex mutex;
  std::vector<float> times = {1.0f};
  std::map<std::string, int> failures;
  FakeLtCounts counts{};
};
State& state() {
  static State* all = new State;
  return *all;
}

int enter(const char* name) {
  const auto found = state().failures.find(name);
  if (found == state().failures.end()) return 0;
  const int status = found->second;
  state().failures.erase(found);
  return status;
}
#define ENTER(name)                                      \
  const std::lock_guard<std::mutex> lock(state().mutex); \
  if (const int status = enter(name); status != 0) return status;

template <class T> int make(T** to, T value) {
  ++state().counts.objects;
  *to = new T(value);
  return 0;
}
template <class T> int unmake(T* object) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  --state().counts.objects;
  delete object;
  return 0;
}

// How many rows and columns the factor has after its transpose.
std::pair<std::uint64_t, std::uint64_t> extents(const Layout& x, std::int32_t transpose) {
  return transpose != 0 ? std::pair{x.cols, x.rows} : std::pair{x.rows, x.cols};
}

bool fits(const Operation& o, const Layout& a, const Layout& b, const Layout& d) {
  const auto [m, k] = extents(a, o.transposes[0]);
  const auto [k_of_b, n] = extents(b, o.transposes[1]);
  const auto dense = [](const Layout& x) { return x.ld >= static_cast<std::int64_t>(x.rows); };
  const bool types =
      a.type == b.type && b.type == d.type && o.scale == f32 && o.compute == (a.type == f32 ? 77 : 68);
  return types && k == k_of_b && d.rows == m && d.cols == n && dense(a) && dense(b) && dense(d) &&
         a.batch == b.batch && b.batch == d.batch;
}

float load(const void* base, int type, std::size_t i) {
  if (type == f32) return static_cast<const float*>(base)[i];
  if (type == f16) return static_cast<const silica::f16*>(base)[i].to_float();
  return static_cast<const silica::bf16*>(base)[i].to_float();
}

void store(void* base, int type, std::size_t i, float value) {
  if (type == f32) static_cast<float*>(base)[i] = value;
  if (type == f16) static_cast<silica::f16*>(base)[i] = silica::f16::from(value);
  if (type == bf16) static_cast<silica::bf16*>(base)[i] = silica::bf16::from(value);
}

void multiply(const Operation& o, const void* a, const Layout& la, const void* b, const Layout& lb, void* d,
              const Layout& ld) {
  const auto at = [](const void* base, const Layout& x, std::int32_t transpose, std::uint64_t row,
                     std::uint64_t col, std::int32_t one) {
    if (transpose != 0) std::swap(row, col);
    return load(base, x.type,
                static_cast<std::size_t>(one * x.stride) + col * static_cast<std::size_t>(x.ld) + row);
  };
  const std::uint64_t depth = extents(la, o.transposes[0]).second;
  for (std::int32_t one = 0; one < ld.batch; ++one) {
    for (std::uint64_t col = 0; col < ld.cols; ++col) {
      for (std::uint64_t row = 0; row < ld.rows; ++row) {
        double sum = 0.0;
        for (std::uint64_t k = 0; k < depth; ++k)
          sum += double{at(a, la, o.transposes[0], row, k, one)} * at(b, lb, o.transposes[1], k, col, one);
        store(d, ld.type,
              static_cast<std::size_t>(one * ld.stride) + col * static_cast<std::size_t>(ld.ld) + row,
              static_cast<float>(sum));
      }
    }
  }
}

}  // namespace

extern "C" {

// ---- for the tests

void fake_lt_offer(const float* milliseconds, int count) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().times.assign(milliseconds, milliseconds + count);
}
void fake_lt_fail_next(const char* entry, int status) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().failures[entry] = status;
}
FakeLtCounts fake_lt_counts() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return state().counts;
}
void fake_lt_reset() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  const long objects = state().counts.objects;
  state().counts = {};
  state().counts.objects = objects;
  state().failures.clear();
  state().times = {1.0f};
}

// ---- the library

int cublasLtGetProperty(int which, int* value) {
  *value = which == 0 ? 12 : 9;
  return 0;
}
const char* cublasLtGetStatusName(int status) {
  return status == not_supported ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_FAKE";
}
int cublasLtCreate(int** handle) { ENTER("cublasLtCreate") return make(handle, 1); }
int cublasLtDestroy(int* handle) { return unmake(handle); }
int cublasLtMatmulDescCreate(Operation** o, int compute, int scale) {
  ENTER("cublasLtMatmulDescCreate") return make(o, Operation{compute, scale});
}
int cublasLtMatmulDescSetAttribute(Operation* o, int which, const void* value, std::size_t bytes) {
  ENTER("cublasLtMatmulDescSetAttribute")
  if ((which != 3 && which != 4) || bytes != 4) return invalid_value;
  std::memcpy(&o->transposes[which - 3], value, bytes);
  return 0;
}
int cublasLtMatmulDescDestroy(Operation* o) { return unmake(o); }
int cublasLtMatrixLayoutCreate(Layout** l, int type, std::uint64_t rows, std::uint64_t cols,
                               std::int64_t ld) {
  ENTER("cublasLtMatrixLayoutCreate") return make(l, Layout{type, rows, cols, ld});
}
int cublasLtMatrixLayoutSetAttribute(Layout* l, int which, const void* value, std::size_t bytes) {
  ENTER("cublasLtMatrixLayoutSetAttribute")
  if (which == 5 && bytes == 4)
    std::memcpy(&l->batch, value, bytes);
  else if (which == 6 && bytes == 8)
    std::memcpy(&l->stride, value, bytes);
  else
    return invalid_value;
  return 0;
}
int cublasLtMatrixLayoutDestroy(Layout* l) { return unmake(l); }
int cublasLtMatmulPreferenceCreate(Preference** p) {
  ENTER("cublasLtMatmulPreferenceCreate") return make(p, Preference{});
}
int cublasLtMatmulPreferenceSetAttribute(Preference* p, int which, const void* value, std::size_t bytes) {
  ENTER("cublasLtMatmulPreferenceSetAttribute")
  if (bytes != (which == 1 ? 8u : 4u)) return invalid_value;
  std::memcpy(&(*p)[which], value, bytes);
  return 0;
}
int cublasLtMatmulPreferenceDestroy(Preference* p) { return unmake(p); }

int cublasLtMatmulAlgoGetHeuristic(int*, Operation* o, Layout* a, Layout* b, Layout* c, Layout* d,
                                   Preference* p, int most, Heuristic* results, int* count) {
  ENTER("cublasLtMatmulAlgoGetHeuristic")
  ++state().counts.heuristics;
  *count = 0;
  if (!fits(*o, *a, *b, *d) || c->ld != d->ld) return invalid_value;
  if (p->at(3) != 2) return not_supported;  // only sums kept in f32
  for (int i = 0; i < 4; ++i) state().counts.align[i] = static_cast<unsigned>(p->at(5 + i));
  for (; *count < most && *count < static_cast<int>(state().times.size()); ++*count) {
    results[*count] = {};
    results[*count].algorithm.data[0] = static_cast<std::uint64_t>(*count);
    results[*count].workspace = p->at(1);
  }
  return 0;
}

int cublasLtMatmul(int* handle, Operation* o, const float* alpha, const void* a, Layout* la, const void* b,
                   Layout* lb, const float* beta, const void* c, Layout* lc, void* d, Layout* ld,
                   const Algorithm* algorithm, void* workspace, std::size_t bytes, void* stream) {
  ENTER("cublasLtMatmul")
  if (handle == nullptr) return not_initialized;
  if (!fits(*o, *la, *lb, *ld) || lc->ld != ld->ld || c != d || *alpha != 1.0f || *beta != 0.0f ||
      (bytes > 0 && workspace == nullptr) || algorithm->data[0] >= state().times.size()) {
    return invalid_value;
  }
  if (fake_capturing(stream)) {
    ++state().counts.captured;
    return 0;
  }
  ++state().counts.runs[algorithm->data[0]];
  fake_set_elapsed(state().times[algorithm->data[0]]);
  multiply(*o, a, *la, b, *lb, d, *ld);
  return 0;
}
}
