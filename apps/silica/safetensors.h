// SPDX-License-Identifier: MIT
// The safetensors file format: 8 bytes of header length, little-endian; a JSON object of that length naming
// each tensor's dtype, shape and bytes; the bytes of all tensors, without holes.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "silica/dtype.h"
#include "silica/shape.h"

namespace silica::app {

struct HostTensor {
  DType dtype = DType::f32;
  Shape shape;
  std::vector<std::byte> data;

  static HostTensor from(std::span<const float> values);
  std::vector<float> floats() const;  // of an f32 tensor
  bool operator==(const HostTensor&) const = default;
};

struct SafeTensors {
  std::map<std::string, std::string> metadata;
  std::map<std::string, HostTensor> tensors;
};

// `file` is named in messages. Errors: io for every way in which the content is not such a file.
SafeTensors parse_safetensors(std::string_view content, const std::string& file);

// Equal contents give equal bytes: tensors lie in the order of their names.
std::string serialise_safetensors(const SafeTensors& content);

// SHA-256 over the names, dtypes, shapes and bytes, in the order of the names.
std::string digest_of(const std::map<std::string, HostTensor>& tensors);

}  // namespace silica::app
