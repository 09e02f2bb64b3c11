// SPDX-License-Identifier: MIT
#include "emulated_runs.h"

#include <cstdint>
#include <limits>

#include "core/program.h"
#include "support.h"

namespace silica::test {

namespace {

const EmulatedKernels& emulated_kernels() {
  static const EmulatedKernels all = [] {
    EmulatedKernels kernels;
    add_emulated_map(kernels);
    add_emulated_row(kernels);
    add_emulated_matmul(kernels);
    add_emulated_transposed_matmul(kernels);
    add_emulated_few_rows(kernels);
    add_emulated_panels(kernels);
    add_emulated_tables(kernels);
    return kernels;
  }();
  return all;
}

struct alignas(16) Words16 {
  std::uint32_t word[4];
};

}  // namespace

void run_choice(const cuda::Choice& choice, const std::byte* arguments, Order order) {
  for (const cuda::Choice& first : choice.before) run_choice(first, arguments, order);
  const auto kernel = emulated_kernels().find(choice.defines + choice.function);
  ASSERT_NE(kernel, emulated_kernels().end()) << choice.defines << choice.function << " is not emulated";
  const void* block = choice.block.empty() ? arguments : choice.block.data();
  // What a launch asks for has no meaning before it, and what lies behind is not its own.
  const std::span<float> shared(dynamic_shared(), choice.shared_bytes / sizeof(float) + 64);
  std::fill(shared.begin(), shared.end(), std::numeric_limits<float>::quiet_NaN());
  emulation::run(choice.blocks, choice.threads, order, [&] { kernel->second(block); });
  for (const float behind : shared.last(64)) ASSERT_TRUE(std::isnan(behind)) << choice.function;
}

// Runs a list that was encoded for the CPU, whose addresses are the host's.
static void run_emulated(const CommandList& list, Order order, unsigned multiprocessors) {
  for (const Command& command : list.program()->commands) {
    const cuda::CatalogueRow* row = cuda::find_in_catalogue(command.kernel);
    ASSERT_NE(row, nullptr) << command.kernel << " is not in the catalogue";
    cuda::Request request{command.grid, command.arguments.data(), multiprocessors};
    std::vector<Words16> scratch(row->choose(*row, request).scratch / sizeof(Words16));
    request.scratch = reinterpret_cast<std::uint64_t>(scratch.data());
    run_choice(row->choose(*row, request), command.arguments.data(), order);
  }
}

std::vector<std::vector<float>> outputs(const Encode& encode,
                                        const std::function<void(const CommandList&)>& run_list) {
  const Device device = Device::open("cpu");
  CaseEncoder encoder(device);
  const Tensors tensors = encode(encoder);
  run_list(encoder.finish());
  std::vector<std::vector<float>> values;
  for (const Tensor& tensor : tensors) values.push_back(get(tensor));
  return values;
}

void expect_same(const std::string& what, const Encode& encode, unsigned multiprocessors,
                 std::span<const Order> in_orders) {
  const auto want =
      outputs(encode, [](const CommandList& list) { list.program()->device.submit(list).wait(); });
  for (const Order order : in_orders) {
    const auto got =
        outputs(encode, [&](const CommandList& list) { run_emulated(list, order, multiprocessors); });
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(same_bits(got[i], want[i]))
          << what << ", output " << i << ", order " << static_cast<int>(order);
    }
  }
}

Tensor shifted(CommandEncoder& e, std::uint64_t seed, DType dtype, const Shape& shape, std::size_t skip,
               float low, float high) {
  const Tensor whole = random_tensor(e, seed, {shape.size() + skip}, low, high, dtype);
  return whole.rows(skip, shape.size()).reshape(shape);
}

}  // namespace silica::test
