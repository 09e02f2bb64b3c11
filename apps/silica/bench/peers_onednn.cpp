// SPDX-License-Identifier: MIT
// oneDNN 2: its primitives as kernels of a command list.
#include <dnnl.hpp>

#include <array>
#include <cstdint>
#include <optional>

#include "bench/peers.h"
#include "errors.h"

namespace silica::bench {
namespace {

using app::fail;

using Dims = dnnl::memory::dims;
using Memory = dnnl::memory::desc;

struct Primitive {
  dnnl::primitive primitive;
  std::vector<int> arguments;  // in the order of the command's operands
  std::unordered_map<int, dnnl::memory> memories;
};

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

// Kernels get the operands' addresses, then the primitive's.
template <std::size_t operands> void execute(const void* arguments, Groups) {
  struct Arguments {
    std::array<void*, operands> addresses;
    Primitive* primitive;
  };
  const auto& [addresses, p] = *static_cast<const Arguments*>(arguments);
  static dnnl::stream stream(engine());
  for (std::size_t i = 0; i < operands; ++i) {
    p->memories.at(p->arguments[i]).set_data_handle(addresses[i]);
  }
  p->primitive.execute(stream, p->memories);
  stream.wait();
}

dnnl::memory::data_type type_of(DType dtype) {
  if (dtype == DType::f16) return dnnl::memory::data_type::f16;
  if (dtype == DType::bf16) return dnnl::memory::data_type::bf16;
  return dnnl::memory::data_type::f32;
}

Memory flat(const Tensor& tensor) {
  return Memory({static_cast<dnnl_dim_t>(tensor.size())}, type_of(tensor.dtype()),
                dnnl::memory::format_tag::a);
}

// A matrix, or the transpose of what is stored.
Memory matrix(const Tensor& stored, bool transpose) {
  const auto rows = static_cast<dnnl_dim_t>(stored.shape().rows());
  const auto cols = static_cast<dnnl_dim_t>(stored.shape().cols());
  return transpose ? Memory({cols, rows}, type_of(stored.dtype()), Dims{1, cols})
                   : Memory({rows, cols}, type_of(stored.dtype()), Dims{cols, 1});
}

// Makes primitives and keeps them for the lists that run them.
class Primitives {
 public:
  void silu(CommandEncoder& e, const Tensor& x, const Tensor& y) {
    const auto made = forward_silu(x);
    add(e, dnnl::eltwise_forward(made), {{DNNL_ARG_SRC, flat(x)}, {DNNL_ARG_DST, flat(y)}}, {x}, y);
  }

  void silu_backward(CommandEncoder& e, const Tensor& x, const Tensor& dy, const Tensor& dx) {
    const dnnl::eltwise_backward::desc described(dnnl::algorithm::eltwise_swish, flat(dy), flat(x), 1.0f);
    const dnnl::eltwise_backward::primitive_desc made(described, engine(), forward_silu(x));
    add(e, dnnl::eltwise_backward(made),
        {{DNNL_ARG_SRC, flat(x)}, {DNNL_ARG_DIFF_DST, flat(dy)}, {DNNL_ARG_DIFF_SRC, flat(dx)}}, {x, dy}, dx);
  }

  void mul(CommandEncoder& e, const Tensor& a, const Tensor& b, const Tensor& c) {
    const dnnl::binary::desc described(dnnl::algorithm::binary_mul, flat(a), flat(b), flat(c));
    add(e, dnnl::binary(dnnl::binary::primitive_desc(described, engine())),
        {{DNNL_ARG_SRC_0, flat(a)}, {DNNL_ARG_SRC_1, flat(b)}, {DNNL_ARG_DST, flat(c)}}, {a, b}, c);
  }

  void matmul(CommandEncoder& e, const Tensor& a, const Tensor& b, const Tensor& c,
              const MatmulOptions& options) {
    const Memory left = matrix(a, options.transpose_a), right = matrix(b, options.transpose_b),
                 result = matrix(c, false);
    const dnnl::matmul::primitive_desc made(dnnl::matmul::desc(left, right, result), engine());
    add(e, dnnl::matmul(made), {{DNNL_ARG_SRC, left}, {DNNL_ARG_WEIGHTS, right}, {DNNL_ARG_DST, result}},
        {a, b}, c);
  }

  // In steps: 2.6.3 reports success for an eltwise with a binary post-op, and writes nothing.
  void swiglu(CommandEncoder& e, const Tensor& gate, const Tensor& up, const Tensor& y) {
    const Tensor activated = e.temporary(gate.dtype(), gate.shape());
    silu(e, gate, activated);
    mul(e, activated, up, y);
  }

  void swiglu_backward(CommandEncoder& e, const Tensor& gate, const Tensor& up, const Tensor& dy,
                       const Tensor& dgate, const Tensor& dup) {
    const auto temporary = [&] { return e.temporary(gate.dtype(), gate.shape()); };
    const Tensor activated = temporary(), dactivated = temporary();
    mul(e, dy, up, dactivated);
    silu_backward(e, gate, dactivated, dgate);
    silu(e, gate, activated);
    mul(e, dy, activated, dup);
  }

 private:
  dnnl::eltwise_forward::primitive_desc forward_silu(const Tensor& x) const {
    const dnnl::eltwise_forward::desc described(dnnl::prop_kind::forward_training,
                                                dnnl::algorithm::eltwise_swish, flat(x), 1.0f);
    return {described, engine()};
  }

  // `memories` are the inputs', then the output's.
  void add(CommandEncoder& e, const dnnl::primitive& primitive,
           const std::vector<std::pair<int, Memory>>& memories, const std::vector<Tensor>& in,
           const Tensor& out) {
    kept_.push_back(std::make_unique<Primitive>(Primitive{primitive, {}, {}}));
    for (const auto& [argument, memory] : memories) {
      kept_.back()->arguments.push_back(argument);
      kept_.back()->memories.emplace(argument, dnnl::memory(memory, engine(), nullptr));
    }
    std::vector<Operand> operands;
    for (const Tensor& tensor : in) operands.push_back(read(tensor, "input"));
    operands.push_back(write(out, "output"));
    Primitive* const address = kept_.back().get();
    e.dispatch_bytes(operands.size() == 2 ? "bench.onednn2" : "bench.onednn3", operands,
                     std::as_bytes(std::span(&address, 1)), Grid{});
  }

  std::vector<std::unique_ptr<Primitive>> kept_;
};

std::optional<Encode> encode_of(const Work& work, const std::shared_ptr<Primitives>& p) {
  const Feedforward network{
      [p](auto& e, auto& a, auto& b, auto& c, auto& options) { p->matmul(e, a, b, c, options); },
      [p](auto& e, auto& gate, auto& up, auto& y) { p->swiglu(e, gate, up, y); },
      [p](auto& e, auto& gate, auto& up, auto& dy, auto& dgate, auto& dup) {
        p->swiglu_backward(e, gate, up, dy, dgate, dup);
      },
      work.in_out};
  if (work.op == "silu") return [p](auto& e, auto& in, auto& out) { p->silu(e, in[0], out[0]); };
  if (work.op == "silu_backward") {
    return [p](auto& e, auto& in, auto& out) { p->silu_backward(e, in[0], in[1], out[0]); };
  }
  if (work.op == "matmul") {
    return [p, options = work.options](auto& e, auto& in, auto& out) {
      p->matmul(e, in[0], in[1], out[0], options);
    };
  }
  if (work.op == "ffn") return [network](auto& e, auto& in, auto& out) { network.forward(e, in, out); };
  if (work.op == "ffn_train") {
    return [network](auto& e, auto& in, auto& out) { network.forward_backward(e, in, out); };
  }
  return std::nullopt;
}

class OneDnn : public Peer {
 public:
  explicit OneDnn(const Device& device) : device_(device) {}

  std::string name() const override { return "oneDNN"; }
  std::string version() const override {
    const dnnl_version_t* version = dnnl_version();
    return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
           std::to_string(version->patch);
  }

  std::unique_ptr<Runner> take(const Work& work, const Operands& operands) override {
    const auto primitives = std::make_shared<Primitives>();
    const std::optional<Encode> encode = encode_of(work, primitives);
    if (!encode) return nullptr;
    const Tensors outputs = make_outputs(device_, work);
    try {
      CommandEncoder trial(device_);
      (*encode)(trial, operands.in, outputs);
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
      fail(ErrorCode::unsupported, "it has none for {}", to_string(work.dtype));
    }
    return std::make_unique<ListRunner>(device_, *encode, operands.in, outputs);
  }

 private:
  Device device_;
};

}  // namespace

void add_onednn(Peers& peers, const Device& device) {
  device.kernels().add("bench.onednn2", {.cpu = {execute<2>, {}}});
  device.kernels().add("bench.onednn3", {.cpu = {execute<3>, {}}});
  peers.present.push_back(std::make_unique<OneDnn>(device));
}

}  // namespace silica::bench
