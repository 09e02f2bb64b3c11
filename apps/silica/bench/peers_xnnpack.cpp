// SPDX-License-Identifier: MIT
// XNNPACK: its fully connected operator as a kernel of a command list. It packs the weights once, when it
// first sees them, as inference engines have it do.
#include <xnnpack.h>

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "bench/peers.h"

namespace silica::bench {
namespace {

using Pool = std::unique_ptr<pthreadpool, decltype(&pthreadpool_destroy)>;
using Operator = std::unique_ptr<xnn_operator, decltype(&xnn_delete_operator)>;

// By the weights that are packed in them.
struct Operators {
  std::shared_ptr<Pool> pool;
  std::map<const float*, Operator> by_weights = {};
};

struct Parameters {
  Operators* operators;
  std::uint64_t m, n, k, transpose_b;
};

struct Arguments {
  const float *a, *b;
  float* c;
  Parameters with;
};

// A product that fails writes nothing, which the comparison of results finds.
void run_fully_connected(const void* arguments, Groups) {
  const auto& [a, b, c, with] = *static_cast<const Arguments*>(arguments);
  auto found = with.operators->by_weights.find(b);
  if (found == with.operators->by_weights.end()) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    xnn_operator_t made = nullptr;
    const std::uint32_t flags = with.transpose_b != 0 ? 0 : XNN_FLAG_TRANSPOSE_WEIGHTS;
    if (xnn_create_fully_connected_nc_f32(with.k, with.n, with.k, with.n, b, nullptr, -infinity, infinity,
                                          flags, &made) != xnn_status_success) {
      return;
    }
    found = with.operators->by_weights.emplace(b, Operator(made, &xnn_delete_operator)).first;
  }
  pthreadpool_t pool = with.operators->pool->get();
  if (xnn_setup_fully_connected_nc_f32(found->second.get(), with.m, a, c, pool) == xnn_status_success) {
    xnn_run_operator(found->second.get(), pool);
  }
}

class XnnRunner : public ListRunner {
 public:
  XnnRunner(const Device& device, const Encode& encode, const Tensors& in, const Tensors& out,
            std::shared_ptr<Operators> operators)
      : ListRunner(device, encode, in, out), operators_(std::move(operators)) {}

  double measure() override {
    const double seconds = ListRunner::measure();
    // Workers spin for a while after their work, unless the last of it says that they shall not.
    pthreadpool_parallelize_1d(
        operators_->pool->get(), [](void*, std::size_t) {}, nullptr, 64, PTHREADPOOL_FLAG_YIELD_WORKERS);
    return seconds;
  }

 private:
  std::shared_ptr<Operators> operators_;
};

class Xnnpack : public Peer {
 public:
  Xnnpack(const Device& device, unsigned threads)
      : device_(device),
        pool_(std::make_shared<Pool>(threads > 1 ? pthreadpool_create(threads) : nullptr,
                                     &pthreadpool_destroy)) {}

  std::string name() const override { return "XNNPACK"; }
  std::string version() const override { return "installed"; }  // it does not say which

  std::unique_ptr<Runner> take(const Work& work, const Operands& operands) override {
    if (work.dtype != DType::f32) return nullptr;
    const auto operators = std::make_shared<Operators>(Operators{pool_});
    const auto multiply = [operators](CommandEncoder& e, const Tensor& a, const Tensor& b, const Tensor& c,
                                      const MatmulOptions& options) {
      const Parameters with{operators.get(), a.shape().rows(), c.shape().cols(), a.shape().cols(),
                            options.transpose_b};
      e.dispatch("bench.xnnpack", {read(a, "a"), read(b, "b"), write(c, "c")}, with, Grid{});
    };
    Encode encode;
    if (work.op == "matmul" && !work.options.transpose_a) {
      encode = [multiply, options = work.options](auto& e, const Tensors& in, const Tensors& out) {
        multiply(e, in[0], in[1], out[0], options);
      };
    } else if (work.op == "ffn") {
      const Feedforward network{multiply,
                                [](auto& e, auto& gate, auto& up, auto& y) { swiglu(e, gate, up, y); },
                                swiglu_backward, work.in_out};
      encode = [network](auto& e, const Tensors& in, const Tensors& out) { network.forward(e, in, out); };
    } else {
      return nullptr;
    }
    return std::make_unique<XnnRunner>(device_, encode, operands.in, make_outputs(device_, work), operators);
  }

 private:
  Device device_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace

void add_xnnpack(Peers& peers, const Device& device, unsigned threads) {
  if (xnn_initialize(nullptr) != xnn_status_success) {
    peers.missing.emplace_back("XNNPACK: it does not know this processor");
    return;
  }
  device.kernels().add("bench.xnnpack", {.cpu = {run_fully_connected, {}}});
  peers.present.push_back(std::make_unique<Xnnpack>(device, threads));
}

}  // namespace silica::bench
