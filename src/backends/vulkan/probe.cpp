// SPDX-License-Identifier: MIT
// What a device makes of the primitives, on inputs that find what devices do otherwise: rounding, fused or
// not, subnormals, infinities.
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <sstream>
#include <string_view>

#include "backends/vulkan/context.h"
#include "core/format.h"

namespace silica::vulkan {

namespace {

constexpr std::size_t count = 8192;

struct Inputs {
  std::vector<float> a, b, c;
};

constexpr std::array<std::uint32_t, 20> special_bits = {
    0x00000000, 0x00000001, 0x00000002, 0x007fffff, 0x00800000, 0x00800001, 0x00ffffff,
    0x0c800000, 0x33800000, 0x34000000, 0x3f000000, 0x3f7fffff, 0x3f800000, 0x3f800001,
    0x3fffffff, 0x40400000, 0x4b7fffff, 0x7e800000, 0x7f7fffff, 0x7f800000};

// Every pair of special values with both signs; random bits; values of like size; sums of a product that
// cancel.
Inputs make_inputs() {
  Inputs in;
  std::mt19937 random(20240229);
  const auto any = [&] { return std::bit_cast<float>(static_cast<std::uint32_t>(random())); };
  const auto near_one = [&] {
    return std::bit_cast<float>((static_cast<std::uint32_t>(random()) & 0x81ffffff) | 0x3e000000);
  };
  const auto push = [&](float a, float b, float c) {
    in.a.push_back(a), in.b.push_back(b), in.c.push_back(c);
  };
  for (const std::uint32_t a : special_bits) {
    for (const std::uint32_t b : special_bits) {
      const std::uint32_t signs = static_cast<std::uint32_t>(random());
      push(std::bit_cast<float>(a | (signs << 31)), std::bit_cast<float>(b | (signs >> 1 << 31)), any());
    }
  }
  while (in.a.size() < count) {
    const float a = near_one(), b = near_one();
    switch (in.a.size() % 4) {
      case 0:
        push(any(), any(), any());
        break;
      case 1:
        push(a, b, near_one());
        break;
      case 2:
        push(a, b, -(a * b));
        break;
      // Results around the smallest normal number, where subnormals begin.
      default:
        push(std::ldexp(a, -100), std::ldexp(b, random() % 2 == 0 ? 26 : -26), std::ldexp(near_one(), -126));
    }
  }
  return in;
}

// A number of [1, 4) from the bits of another, as the shader makes it.
float one_to_four(float a) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(a) & 0x00ffffff) | 0x3f800000);
}

// Neither an operand of this fma is subnormal nor the result, before it is rounded.
bool is_normal_fma(float a, float b, float c) {
  const auto is_subnormal = [](double x) { return x != 0.0 && std::fabs(x) <= 0x1p-126; };
  return !is_subnormal(a) && !is_subnormal(b) && !is_subnormal(c) &&
         !is_subnormal(double{a} * double{b} + double{c});
}

struct Primitive {
  const char* name;
  float (*expected)(float a, float b, float c);
  bool (*counts)(float a, float b, float c) = [](float, float, float) { return true; };
};

// In the order of kernels/probe/probe.comp. This file is compiled without contraction, so each operation here
// rounds.
enum Index {
  add,
  sub,
  mul,
  mul_add,
  fused,
  div,
  root,
  emulated_div,
  emulated_root,
  emulated_inverse,
  negation,
  less,
  fused_normal,
  primitive_count
};
constexpr std::array<Primitive, primitive_count> primitives = {{
    {"a + b", [](float a, float b, float) { return a + b; }},
    {"a - b", [](float a, float b, float) { return a - b; }},
    {"a * b", [](float a, float b, float) { return a * b; }},
    {"a * b + c, rounded twice", [](float a, float b, float c) { return a * b + c; }},
    {"fma(a, b, c)", [](float a, float b, float c) { return std::fma(a, b, c); }},
    {"a / b", [](float a, float b, float) { return a / b; }},
    {"sqrt(a)", [](float a, float, float) { return std::sqrt(a); }},
    {"the emulated a / b", [](float a, float b, float) { return a / b; }},
    {"the emulated sqrt(a)", [](float a, float, float) { return std::sqrt(a); }},
    {"the emulated 1 / x, x in [1, 4)", [](float a, float, float) { return 1.0f / one_to_four(a); }},
    {"-a", [](float a, float, float) { return -a; }},
    {"a < b", [](float a, float b, float) { return a < b    ? 2.0f
                                                   : a <= b ? 1.0f
                                                            : 0.0f; }},
    {"fma(a, b, c) of normal numbers", [](float a, float b, float c) { return std::fma(a, b, c); },
     is_normal_fma},
}};

// For each primitive the first difference from the host, or nothing.
using Faults = std::array<std::string, primitive_count>;

std::string hex(float value) {
  std::ostringstream out;
  out << "0x" << std::hex << std::bit_cast<std::uint32_t>(value);
  return out.str();
}

std::string find_fault(const Primitive& primitive, const Inputs& in, std::span<const float> results) {
  for (std::size_t i = 0; i < count; ++i) {
    const float expected = primitive.expected(in.a[i], in.b[i], in.c[i]);
    const bool same = std::bit_cast<std::uint32_t>(expected) == std::bit_cast<std::uint32_t>(results[i]);
    if (same || (std::isnan(expected) && std::isnan(results[i]))) continue;
    if (!primitive.counts(in.a[i], in.b[i], in.c[i])) continue;
    return message(primitive.name, " is wrong: a = ", hex(in.a[i]), ", b = ", hex(in.b[i]),
                   ", c = ", hex(in.c[i]), " gave ", hex(results[i]), ", expected ", hex(expected));
  }
  return {};
}

Faults run_probe(const Context& context, Queue& queue, Heap& heap, PipelineBuilder& builder,
                 const Primitives& emulated) {
  static const Inputs in = make_inputs();
  const auto pipeline = builder.build("probe", probe_source(emulated));
  std::array<std::unique_ptr<Memory>, 3> operands;
  std::array<std::uint64_t, 16> arguments{};
  const std::vector<float>* const values[] = {&in.a, &in.b, &in.c};
  for (std::size_t i = 0; i < operands.size(); ++i) {
    operands[i] = heap.allocate(count * sizeof(float));
    heap.upload(*operands[i], 0, std::as_bytes(std::span(*values[i])));
    arguments[i] = operands[i]->address;
  }
  const auto output = heap.allocate(primitive_count * count * sizeof(float));
  arguments[3] = output->address;
  arguments[4] = count;
  queue.wait(queue.run([&](VkCommandBuffer commands) {
    record_dispatch(context, commands, *pipeline, std::as_bytes(std::span(arguments)),
                    count / pipeline->tile.x);
  }));
  std::vector<float> results(primitive_count * count);
  heap.download(*output, 0, std::as_writable_bytes(std::span(results)));
  Faults faults;
  for (std::size_t p = 0; p < primitive_count; ++p) {
    faults[p] = find_fault(primitives[p], in, std::span(results).subspan(p * count, count));
  }
  return faults;
}

// Tests: as if the device got all of these wrong.
bool emulation_is_forced() {
  const char* text = std::getenv("SILICA_VULKAN_EMULATE");
  return text != nullptr && std::string_view(text) == "1";
}

}  // namespace

Primitives probe(const Context& context, Queue& queue, Heap& heap, PipelineBuilder& builder) {
  Primitives found;
  const auto run = [&] { return run_probe(context, queue, heap, builder, found); };
  Faults faults = run();
  const bool forced = emulation_is_forced();
  const auto wrong = [&](Index primitive) { return forced || !faults[primitive].empty(); };
  const std::string native_fma = faults[fused];
  found.emulate_div = wrong(div);
  found.emulate_sqrt = wrong(root);
  found.emulate_less = wrong(less);
  if (wrong(fused) && context.physical.has_f64) {
    found.emulate_fma = true;
    found.emulate_conversions = forced;
    found.fma_only_flushes = !wrong(fused_normal);
  }
  if (found.emulate_fma || found.emulate_less) faults = run();
  if (found.emulate_fma && !found.emulate_conversions && !faults[fused].empty()) {
    found.emulate_conversions = true;
    faults = run();
  }
  if (!faults[fused].empty()) {
    faults[fused] =
        message(faults[fused], found.emulate_fma ? "; without emulation " + native_fma
                                                 : " (and without shaderFloat64 it is not emulated)");
  }
  if (!found.emulate_div) faults[emulated_div] = faults[emulated_inverse] = {};
  if (!found.emulate_sqrt) faults[emulated_root].clear();
  for (const Index mended : {div, root, fused_normal}) faults[mended].clear();
  for (const std::string& fault : faults) {
    if (found.note.empty()) found.note = fault;
  }
  found.exact = found.note.empty();
  return found;
}

}  // namespace silica::vulkan
