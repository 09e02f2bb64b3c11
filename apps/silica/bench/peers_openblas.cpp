// SPDX-License-Identifier: MIT
// OpenBLAS: its sgemm as a kernel of a command list; what stands between the products is silica's.
#include <cblas.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <utility>

#include "bench/peers.h"

namespace silica::bench {
namespace {

struct GemmArguments {
  const float *a, *b;
  float* c;
  std::int32_t m, n, k, transpose_a, transpose_b, padding;
};

void run_gemm(const void* arguments, Groups) {
  const auto& g = *static_cast<const GemmArguments*>(arguments);
  const auto transpose = [](std::int32_t is) { return is ? CblasTrans : CblasNoTrans; };
  cblas_sgemm(CblasRowMajor, transpose(g.transpose_a), transpose(g.transpose_b), g.m, g.n, g.k, 1.0f, g.a,
              g.transpose_a ? g.m : g.k, g.b, g.transpose_b ? g.k : g.n, 0.0f, g.c, g.n);
}

void gemm(CommandEncoder& encoder, const Tensor& a, const Tensor& b, const Tensor& c,
          const MatmulOptions& options) {
  struct Parameters {
    std::int32_t m, n, k, transpose_a, transpose_b, padding;
  };
  const auto int_of = [](std::size_t extent) { return static_cast<std::int32_t>(extent); };
  const std::size_t k = options.transpose_a ? a.shape().rows() : a.shape().cols();
  const Parameters parameters{int_of(c.shape().rows()), int_of(c.shape().cols()), int_of(k),
                              options.transpose_a,      options.transpose_b,      0};
  encoder.dispatch("bench.sgemm", {read(a, "a"), read(b, "b"), write(c, "c")}, parameters, Grid{});
}

class OpenBlas : public Peer {
 public:
  explicit OpenBlas(const Device& device) : device_(device) {}

  std::string name() const override { return "OpenBLAS"; }
  std::string version() const override {  // the second word of the text
    std::string words, version;
    std::istringstream(openblas_get_config()) >> words >> version;
    return version + " for " + openblas_get_corename();
  }

  std::unique_ptr<Runner> take(const Work& work, const Operands& operands) override {
    Encode encode;
    const Feedforward network{gemm, [](auto& e, auto& gate, auto& up, auto& y) { swiglu(e, gate, up, y); },
                              swiglu_backward, work.in_out};
    const auto is_int = [](std::size_t extent) { return std::in_range<int>(extent); };
    if (work.dtype != DType::f32 || !std::ranges::all_of(work.extents, is_int)) return nullptr;
    if (work.op == "matmul") {
      encode = [options = work.options](auto& e, const Tensors& in, const Tensors& out) {
        gemm(e, in[0], in[1], out[0], options);
      };
    } else if (work.op == "ffn") {
      encode = [network](auto& e, const Tensors& in, const Tensors& out) { network.forward(e, in, out); };
    } else if (work.op == "ffn_train") {
      encode = [network](auto& e, auto& in, auto& out) { network.forward_backward(e, in, out); };
    } else {
      return nullptr;
    }
    return std::make_unique<ListRunner>(device_, encode, operands.in, make_outputs(device_, work));
  }

 private:
  Device device_;
};

}  // namespace

void add_openblas(Peers& peers, const Device& device, unsigned threads) {
  openblas_set_num_threads(static_cast<int>(threads));
  device.kernels().add("bench.sgemm", {.cpu = {run_gemm, {}}});
  peers.present.push_back(std::make_unique<OpenBlas>(device));
}

}  // namespace silica::bench
