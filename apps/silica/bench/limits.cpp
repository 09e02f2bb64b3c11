// SPDX-License-Identifier: MIT
#include "bench/limits.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "errors.h"

namespace silica::bench {
namespace {

// ---- a copy that passes by the caches

struct CopyArguments {
  const std::byte* from;
  std::byte* to;
  std::uint64_t bytes;
};
constexpr std::uint32_t copy_tile = 4096;  // bytes

void stream_copy(const void* arguments, Groups groups) {
  const auto& a = *static_cast<const CopyArguments*>(arguments);
  const std::uint64_t begin = groups.begin * copy_tile, end = std::min(groups.end * copy_tile, a.bytes);
#if defined(__x86_64__)
  std::uint64_t i = begin;
  for (; i + 64 <= end; i += 64) {
    const auto* from = reinterpret_cast<const __m128i*>(a.from + i);
    auto* to = reinterpret_cast<__m128i*>(a.to + i);
    const __m128i x = from[0], y = from[1], z = from[2], w = from[3];
    _mm_stream_si128(to, x);
    _mm_stream_si128(to + 1, y);
    _mm_stream_si128(to + 2, z);
    _mm_stream_si128(to + 3, w);
  }
  std::memcpy(a.to + i, a.from + i, end - i);
  _mm_sfence();
#else
  std::memcpy(a.to + begin, a.from + begin, end - begin);
#endif
}

// ---- fused multiply-adds: as many chains as cover their latency and fit the registers

constexpr unsigned fma_rounds = 4096;

struct FmaArguments {
  const float* factors;  // 2
  float* sums;           // one of each group
};

struct FmaKernel {
  CpuFunction function;
  double flops;  // of a group
};

#if defined(__x86_64__)

// Written out, so that every chain is a register at any level of optimisation.
#define SILICA_12(DO, i) \
  DO(i)                  \
  DO(i + 1)              \
  DO(i + 2) DO(i + 3) DO(i + 4) DO(i + 5) DO(i + 6) DO(i + 7) DO(i + 8) DO(i + 9) DO(i + 10) DO(i + 11)

__attribute__((target("avx512f"))) void fma_avx512(const void* arguments, Groups groups) {
  const auto& a = *static_cast<const FmaArguments*>(arguments);
  const __m512 x = _mm512_set1_ps(a.factors[0]), y = _mm512_set1_ps(a.factors[1]);
  for (std::uint64_t group = groups.begin; group < groups.end; ++group) {
    __m512 sums[24];
#define SILICA_START(i) sums[i] = y;
#define SILICA_FMA(i) sums[i] = _mm512_fmadd_ps(sums[i], x, y);
#define SILICA_ADD(i) total = _mm512_add_ps(total, sums[i]);
    SILICA_12(SILICA_START, 0)
    SILICA_12(SILICA_START, 12)
    for (unsigned round = 0; round < fma_rounds;
         ++round){SILICA_12(SILICA_FMA, 0) SILICA_12(SILICA_FMA, 12)} __m512 total = y;
    SILICA_12(SILICA_ADD, 0)
    SILICA_12(SILICA_ADD, 12)
#undef SILICA_FMA
#undef SILICA_ADD
    a.sums[group] = _mm512_cvtss_f32(total);
  }
}

__attribute__((target("avx2,fma"))) void fma_avx2(const void* arguments, Groups groups) {
  const auto& a = *static_cast<const FmaArguments*>(arguments);
  const __m256 x = _mm256_set1_ps(a.factors[0]), y = _mm256_set1_ps(a.factors[1]);
  for (std::uint64_t group = groups.begin; group < groups.end; ++group) {
    __m256 sums[12];
#define SILICA_FMA(i) sums[i] = _mm256_fmadd_ps(sums[i], x, y);
#define SILICA_ADD(i) total = _mm256_add_ps(total, sums[i]);
    SILICA_12(SILICA_START, 0)
    for (unsigned round = 0; round < fma_rounds; ++round) {
      SILICA_12(SILICA_FMA, 0)
    }
    __m256 total = y;
    SILICA_12(SILICA_ADD, 0)
#undef SILICA_START
#undef SILICA_FMA
#undef SILICA_ADD
    a.sums[group] = _mm256_cvtss_f32(total);
  }
}
#undef SILICA_12

#endif

// A multiplication and an addition each, where there is nothing better.
void multiply_add(const void* arguments, Groups groups) {
  constexpr int chains = 32;
  const auto& a = *static_cast<const FmaArguments*>(arguments);
  const float x = a.factors[0], y = a.factors[1];
  for (std::uint64_t group = groups.begin; group < groups.end; ++group) {
    float sums[chains];
    for (float& sum : sums) sum = y;
    for (unsigned round = 0; round < fma_rounds; ++round) {
      for (float& sum : sums) sum = sum * x + y;
    }
    a.sums[group] = 0;
    for (const float sum : sums) a.sums[group] += sum;
  }
}

FmaKernel fma_kernel() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {fma_avx512, 2.0 * 24 * 16 * fma_rounds};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {fma_avx2, 2.0 * 12 * 8 * fma_rounds};
  }
#endif
  return {multiply_add, 2.0 * 32 * fma_rounds};
}

// ----

Tensor one_byte_each(const Device& device, std::size_t bytes) { return {device, DType::u8, {bytes}}; }

// Ones, so that the memory is there.
Tensor written(const Device& device, std::size_t bytes) {
  const std::vector<std::uint8_t> block(std::min<std::size_t>(bytes, 1 << 20), 1);
  Tensor tensor = one_byte_each(device, bytes);
  for (std::size_t first = 0; first < bytes; first += block.size()) {
    const std::size_t count = std::min(block.size(), bytes - first);
    tensor.rows(first, count).upload(std::span(block).first(count));
  }
  return tensor;
}

double gpu_copy_rate(const Device& device, const Effort& effort) {
  for (std::size_t bytes = std::size_t{device.info().software ? 1u << 24 : 1u << 30}; bytes > 1; bytes /= 2) {
    try {
      const Tensor from = written(device, bytes), to = one_byte_each(device, bytes);
      ListRunner runner(device,
                        [](auto& e, const Tensors& in, const Tensors& out) { copy(e, in[0], out[0]); },
                        {from}, {to});
      Runner* const runners[] = {&runner};
      return 2.0 * static_cast<double>(bytes) / measure_in_turn(runners, effort)[0].median;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::out_of_memory) throw;
    }
  }
  return 0;
}

}  // namespace

Limits::Limits(const Device& device, unsigned threads, const Effort& effort)
    : device_(device), threads_(threads) {
  if (!device.name().starts_with("cpu")) {
    copy_rate_ = gpu_copy_rate(device, effort);
    return;
  }
  device.kernels().add("bench.stream_copy", {.cpu = {stream_copy, {copy_tile}}});
  device.kernels().add("bench.fma", {.cpu = {fma_kernel().function, {}}});
}

std::vector<LimitCandidate> Limits::beside(const Work& work) const {
  std::vector<LimitCandidate> candidates;
  if (!device_.name().starts_with("cpu")) return candidates;
  const auto add = [&](double amount, const Encode& encode, const Tensors& in, const Tensors& out) {
    candidates.push_back({std::make_unique<ListRunner>(device_, encode, in, out), amount});
  };
  if (work.flops > 0) {
    const Tensor factors(device_, {2}, std::vector{0.999f, 0.001f});
    const std::size_t groups = 8 * threads_;
    add(static_cast<double>(groups) * fma_kernel().flops,
        [groups](auto& e, const Tensors& in, const Tensors& out) {
          e.dispatch("bench.fma", {read(in[0], "factors"), write(out[0], "sums")}, std::uint64_t{0},
                     Grid{groups});
        },
        {factors}, {Tensor(device_, DType::f32, {groups})});
  } else if (work.bytes > 0) {
    const auto bytes = static_cast<std::size_t>(work.bytes / 2);
    const Tensors in = {written(device_, bytes)}, out = {one_byte_each(device_, bytes)};
    add(work.bytes, [](auto& e, const Tensors& i, const Tensors& o) { copy(e, i[0], o[0]); }, in, out);
    add(
        work.bytes,
        [bytes](auto& e, const Tensors& i, const Tensors& o) {
          e.dispatch("bench.stream_copy", {read(i[0], "from"), write(o[0], "to")}, std::uint64_t{bytes},
                     Grid{bytes});
        },
        in, out);
  }
  return candidates;
}

}  // namespace silica::bench
