// SPDX-License-Identifier: MIT
#include "safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

#include "digest.h"
#include "errors.h"
#include "safetensors_header.h"

namespace silica::app {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");
constexpr std::size_t length_bytes = 8;
constexpr std::uint64_t largest_header = 100'000'000;

constexpr std::array<std::pair<const char*, DType>, 6> dtype_names{{{"F32", DType::f32},
                                                                    {"F16", DType::f16},
                                                                    {"BF16", DType::bf16},
                                                                    {"I32", DType::i32},
                                                                    {"U32", DType::u32},
                                                                    {"U8", DType::u8}}};

std::string name_of(DType dtype) {
  return std::find_if(dtype_names.begin(), dtype_names.end(), [&](auto& row) { return row.second == dtype; })
      ->first;
}

std::optional<DType> dtype_named(const std::string& name) {
  for (const auto& [text, dtype] : dtype_names) {
    if (text == name) return dtype;
  }
  return std::nullopt;
}

std::string_view header_of(std::string_view content, const std::string& file) {
  if (content.size() < length_bytes) {
    fail(ErrorCode::io, "{}: has {} bytes, expected a safetensors file", file, content.size());
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) {
    length |= std::uint64_t{static_cast<unsigned char>(content[i])} << (8 * i);
  }
  if (length > largest_header || length > content.size() - length_bytes) {
    fail(ErrorCode::io, "{}: is cut short or not a safetensors file: a header of {} bytes in a file of {}",
         file, length, content.size());
  }
  const std::string_view header = content.substr(length_bytes, length);
  if (!header.starts_with('{')) fail(ErrorCode::io, "{}: the header does not start with '{{'", file);
  return header;
}

// Escaped and in quotes. Text alone is given to the JSON library: its destructor of an object allocates
// memory, and ends the process if there is none.
std::string json_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

struct Placed {
  std::string name;
  HostTensor tensor;
  std::uint64_t begin, end;
};

Placed check_entry(const std::string& name, const SafeTensorsHeader::Entry& entry, const std::string& file) {
  const std::uint64_t begin = (*entry.data_offsets)[0];
  const std::uint64_t end = (*entry.data_offsets)[1];
  const std::optional<DType> dtype = dtype_named(*entry.dtype);
  if (!dtype) {
    fail(ErrorCode::io, "{}: tensor {} has the dtype {}, expected F32, F16, BF16, I32, U32 or U8", file,
         quote(name), quote(*entry.dtype));
  }
  Shape shape;
  try {
    shape = Shape(std::vector<std::size_t>(entry.shape->begin(), entry.shape->end()));
  } catch (const Error& error) {
    fail(ErrorCode::io, "{}: tensor {}: {}", file, quote(name), error.what());
  }
  // As the reference reader does it: from the left, so that a zero does not hide what overflowed before it.
  std::uint64_t count = 1;
  for (const std::uint64_t extent : *entry.shape) {
    if (__builtin_mul_overflow(count, extent, &count)) {
      fail(ErrorCode::io, "{}: tensor {}: the elements of {} do not fit 64 bits", file, quote(name),
           to_string(shape));
    }
  }
  // Division, as the product may overflow.
  const std::uint64_t element = size_of(*dtype);
  if (end < begin || (end - begin) % element != 0 || (end - begin) / element != count) {
    fail(ErrorCode::io, "{}: tensor {} is {} of {}, its data_offsets {} to {} do not hold that", file,
         quote(name), to_string(shape), *entry.dtype, begin, end);
  }
  return {name, {*dtype, shape, {}}, begin, end};
}

void check_contiguous(std::span<const Placed> placed, std::uint64_t bytes, const std::string& file) {
  std::uint64_t at = 0;
  for (const Placed& tensor : placed) {
    if (tensor.begin != at) {
      fail(ErrorCode::io,
           "{}: tensor {} starts at byte {} of the data, expected {}: tensors must neither overlap "
           "nor leave holes",
           file, quote(tensor.name), tensor.begin, at);
    }
    at = tensor.end;
  }
  if (at != bytes) {
    fail(ErrorCode::io, "{}: holds {} bytes of data, its header describes {}", file, bytes, at);
  }
}

}  // namespace

HostTensor HostTensor::from(std::span<const float> values) {
  const std::span<const std::byte> bytes = std::as_bytes(values);
  return {DType::f32, Shape{values.size()}, {bytes.begin(), bytes.end()}};
}

std::vector<float> HostTensor::floats() const {
  std::vector<float> values(data.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), data.data(), values.size() * sizeof(float));
  return values;
}

SafeTensors parse_safetensors(std::string_view content, const std::string& file) {
  const std::string_view json = header_of(content, file);
  const std::string_view data = content.substr(length_bytes + json.size());
  SafeTensorsHeader header = parse_safetensors_header(json, file);

  std::vector<Placed> placed;
  for (const auto& [name, entry] : header.entries) placed.push_back(check_entry(name, entry, file));
  std::ranges::sort(placed, {},
                    [](const Placed& entry) { return std::tie(entry.begin, entry.end, entry.name); });
  check_contiguous(placed, data.size(), file);

  SafeTensors result{std::move(header.metadata), {}};
  for (Placed& entry : placed) {
    const auto bytes = std::as_bytes(std::span(data.substr(entry.begin, entry.end - entry.begin)));
    entry.tensor.data.assign(bytes.begin(), bytes.end());
    result.tensors.emplace(std::move(entry.name), std::move(entry.tensor));
  }
  return result;
}

std::string serialise_safetensors(const SafeTensors& content) {
  std::string json = "{";
  const auto add = [&json](const std::string& name, const std::string& value) {
    json += fmt::format("{}{}:{}", json.size() > 1 ? "," : "", json_text(name), value);
  };
  if (!content.metadata.empty()) {
    std::string pairs;
    for (const auto& [key, value] : content.metadata) {
      pairs += fmt::format("{}{}:{}", pairs.empty() ? "" : ",", json_text(key), json_text(value));
    }
    add("__metadata__", "{" + pairs + "}");
  }
  std::size_t at = 0;
  for (const auto& [name, tensor] : content.tensors) {
    const std::size_t end = at + tensor.data.size();
    add(name, fmt::format(R"({{"data_offsets":[{},{}],"dtype":"{}","shape":[{}]}})", at, end,
                          name_of(tensor.dtype), fmt::join(tensor.shape, ",")));
    at = end;
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');

  std::string file;
  file.reserve(length_bytes + json.size() + at);
  for (std::size_t i = 0; i < length_bytes; ++i) {
    file += static_cast<char>(static_cast<std::uint64_t>(json.size()) >> (8 * i));
  }
  file += json;
  for (const auto& [name, tensor] : content.tensors) {
    file.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  return file;
}

std::string digest_of(const std::map<std::string, HostTensor>& tensors) {
  Sha256 sha256;
  for (const auto& [name, tensor] : tensors) {
    sha256.update(std::uint64_t{name.size()});
    sha256.update(name);
    sha256.update(std::string_view(name_of(tensor.dtype)));
    sha256.update(std::uint64_t{tensor.shape.rank()});
    for (const std::size_t extent : tensor.shape) sha256.update(std::uint64_t{extent});
    sha256.update(tensor.data);
  }
  return sha256.hex();
}

}  // namespace silica::app
