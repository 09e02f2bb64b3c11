// SPDX-License-Identifier: MIT
// A libFuzzer target for the reader of safetensors files. Any bytes are read or refused with an Error; what
// was read keeps the format's promises, and reads the same once it is written.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "safetensors.h"
#include "silica/error.h"

using namespace silica::app;

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace {

constexpr std::size_t length_bytes = 8;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "safetensors_fuzz: %s\n", what);
  std::abort();
}

void check_promises(const SafeTensors& content, std::size_t file_bytes) {
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : content.tensors) {
    require(tensor.data.size() == tensor.shape.size() * size_of(tensor.dtype), "shape and bytes differ");
    bytes += tensor.data.size();
  }
  require(bytes <= file_bytes - length_bytes, "more data than the file has");
}

void check_rewritten(const SafeTensors& content) {
  const std::string file = serialise_safetensors(content);
  const SafeTensors again = parse_safetensors(file, "again");
  require(again.metadata == content.metadata, "the metadata changed");
  require(again.tensors == content.tensors, "the tensors changed");
  require(serialise_safetensors(again) == file, "the file changed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  SafeTensors content;
  try {
    content = parse_safetensors({reinterpret_cast<const char*>(data), size}, "input");
  } catch (const silica::Error& error) {
    const std::string_view message = error.what();
    require(error.code() == silica::ErrorCode::io && message.starts_with("input: "),
            "an error of another kind");
    require(message.size() < 1000 && std::ranges::none_of(message, [](unsigned char c) { return c < 0x20; }),
            "a message that must not be printed");
    return 0;
  }
  check_promises(content, size);
  check_rewritten(content);
  return 0;
}

// Most changes of a header change its length, and a reader that refuses at the length learns nothing of the
// rest. So three times of four the length is made to end the header at the last brace.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most,
                                               unsigned seed) {
  const std::size_t mutated = LLVMFuzzerMutate(data, size, most);
  const std::string_view text(reinterpret_cast<const char*>(data), mutated);
  const std::size_t brace = text.rfind('}');
  if (seed % 4 == 0 || mutated < length_bytes || brace == text.npos || brace < length_bytes) return mutated;
  const std::uint64_t length = brace + 1 - length_bytes;
  for (std::size_t i = 0; i < length_bytes; ++i) data[i] = static_cast<std::uint8_t>(length >> (8 * i));
  return mutated;
}
