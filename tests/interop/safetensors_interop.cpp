// SPDX-License-Identifier: MIT
// The tool's safetensors code for interop_test.py to talk to:
//   safetensors_interop write <file>   writes what `written` holds
//   safetensors_interop dump <file>    prints metadata and tensors as JSON, their bytes in hexadecimal
#include <cstdint>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "errors.h"
#include "file.h"
#include "safetensors.h"

namespace silica::app {
namespace {

template <class T> HostTensor tensor_of(const Shape& shape, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {dtype_of<T>, shape, {bytes.begin(), bytes.end()}};
}

template <class T> std::vector<T> rounded(std::initializer_list<float> values) {
  std::vector<T> all;
  for (const float value : values) all.push_back(T::from(value));
  return all;
}

// interop_test.py knows the same by its own words.
SafeTensors written() {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  SafeTensors content;
  content.metadata = {{"who", "silica"}, {"text", "a \"quote\", a \\ and\na line, \xe2\x82\xac"}};
  content.tensors["f32"] = tensor_of<float>({2, 3}, {0.1f, -2.5f, 1e-45f, -0.0f, infinity, 3e38f});
  content.tensors["f16"] = tensor_of<f16>({3}, rounded<f16>({0.1f, -6e-8f, 65504.0f}));
  content.tensors["bf16"] = tensor_of<bf16>({3, 1}, rounded<bf16>({0.1f, -1.0f, 3e38f}));
  content.tensors["i32"] = tensor_of<std::int32_t>({3}, {std::numeric_limits<std::int32_t>::min(), -1, 7});
  content.tensors["u32"] = tensor_of<std::uint32_t>({1, 2}, {0xffffffffu, 1u});
  content.tensors["u8"] = tensor_of<std::uint8_t>({3}, {0, 128, 255});
  content.tensors["none"] = tensor_of<float>({0, 3}, {});
  content.tensors["scalar"] = tensor_of<float>({}, {42.0f});
  content.tensors["a name, \xc3\xa9"] = tensor_of<float>({1}, {1.0f});
  return content;
}

void dump(const SafeTensors& content) {
  nlohmann::json tensors = nlohmann::json::object();
  for (const auto& [name, tensor] : content.tensors) {
    std::string hex;
    for (const std::byte byte : tensor.data) hex += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    tensors[name] = {{"dtype", to_string(tensor.dtype)},
                     {"shape", std::vector<std::size_t>(tensor.shape.begin(), tensor.shape.end())},
                     {"hex", hex}};
  }
  fmt::print("{}\n", nlohmann::json{{"metadata", content.metadata}, {"tensors", tensors}}.dump());
}

int run(const std::string& command, const std::string& file) {
  if (command == "write") {
    write_file_atomically(file, serialise_safetensors(written()));
  } else if (command == "dump") {
    dump(parse_safetensors(read_file(file, 1 << 30), file));
  } else {
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace silica::app

int main(int argc, char** argv) {
  try {
    return argc == 3 ? silica::app::run(argv[1], argv[2]) : 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "safetensors_interop: {}\n", error.what());
    return 1;
  }
}
