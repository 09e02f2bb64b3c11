// SPDX-License-Identifier: MIT
// Lists that were encoded for the CPU, run by the kernels of kernels/*/*.cu on the host: chosen by the CUDA
// backend's catalogue, with the threads of a block in several orders.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/catalogue.h"
#include "cases.h"
#include "emulated_kernels.h"

namespace silica::test {

using emulation::Order;

inline constexpr Order orders[] = {Order::forward, Order::backward, Order::shuffled};
// Multiprocessors, which some kernels are chosen by.
inline constexpr unsigned h100 = 132, none = 1, very_many = 1u << 30;

void run_choice(const cuda::Choice& choice, const std::byte* arguments, Order order);

using Encode = std::function<Tensors(CaseEncoder&)>;
std::vector<std::vector<float>> outputs(const Encode& encode,
                                        const std::function<void(const CommandList&)>& run_list);
// Encodes twice on the same data; runs one on the CPU and one emulated.
void expect_same(const std::string& what, const Encode& encode, unsigned multiprocessors = h100,
                 std::span<const Order> in_orders = orders);

// A view that starts `skip` elements into its storage.
Tensor shifted(CommandEncoder& e, std::uint64_t seed, DType dtype, const Shape& shape, std::size_t skip,
               float low, float high);

}  // namespace silica::test
