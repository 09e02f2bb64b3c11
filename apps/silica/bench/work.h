// SPDX-License-Identifier: MIT
// What can be measured: an op on operands of some shape, with what one call of it moves or computes.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "silica/silica.h"

namespace silica::bench {

using Tensors = std::vector<Tensor>;
using Extents = std::vector<std::size_t>;
using Encode = std::function<void(CommandEncoder&, const Tensors& in, const Tensors& out)>;

struct Input {
  Shape shape;
  float amplitude = 8;    // of its values, which are about normal with a third of it as deviation
  std::size_t below = 0;  // if not 0: u32 ids below this number
};

struct Work {
  std::string op;
  DType dtype = DType::f32;
  Math math = Math::exact;
  Extents extents = {};
  MatmulOptions options = {};
  bool in_out = false;  // of ffn: FeedForwardOptions
  std::vector<Input> inputs = {};
  std::vector<Shape> outputs = {};
  Encode encode = {};
  double elements = 0;  // results, for the time of one
  // What the limit is a limit of. Each input read once, each output written once; or the floating-point
  // operations; none for work that neither bounds.
  double bytes = 0, flops = 0;
  bool sums = false;  // results are long sums, whose small values are as inexact as their large ones
  // In the place of encode: a list that comes whole.
  std::function<CommandList(const Device&)> list = {};
};

std::string to_string(const Extents& extents);  // "512x1536x576", "2^20"
std::string shape_text(const Work& work);       // with what is stored otherwise: "512x1536x576 tb fast"

// What `silica bench` was asked for; what is not given is the op's usual.
struct Choice {
  std::vector<std::string> ops = {};
  std::vector<DType> dtypes = {};
  Math math = Math::exact;
  std::vector<Extents> sizes = {};   // of elementwise ops
  std::vector<Extents> shapes = {};  // of the others
  MatmulOptions options = {};
  bool in_out = false;
};

struct OpName {
  std::string name;
  std::string takes;  // "MxNxK"; empty: it has one size
};
std::vector<OpName> op_names();

// Everything chosen, or a table that fits the device if no op is. Errors: invalid_argument (an op that does
// not exist, a shape that is not the op's).
std::vector<Work> works(const Choice& choice, const DeviceInfo& device);

// feed_forward in the hands of a peer that has the parts of it.
struct Feedforward {
  std::function<void(CommandEncoder&, const Tensor& a, const Tensor& b, const Tensor& c,
                     const MatmulOptions& options)>
      matmul;
  std::function<void(CommandEncoder&, const Tensor& gate, const Tensor& up, const Tensor& y)> swiglu;
  std::function<void(CommandEncoder&, const Tensor& gate, const Tensor& up, const Tensor& dy,
                     const Tensor& dgate, const Tensor& dup)>
      swiglu_backward;
  bool in_out = false;  // how matrices are stored: FeedForwardOptions

  // in: x (tokens, width), gate, up, down; out: y (tokens, width).
  void forward(CommandEncoder& encoder, const Tensors& in, const Tensors& out) const;
  // in: and dy (tokens, width); out: and the gradients of x, gate, up and down.
  void forward_backward(CommandEncoder& encoder, const Tensors& in, const Tensors& out) const;

 private:
  struct Hidden {
    Tensor gate, up, product;
  };
  Hidden encode_forward(CommandEncoder& encoder, const Tensors& in, const Tensor& y) const;
};

}  // namespace silica::bench
