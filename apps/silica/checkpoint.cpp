// SPDX-License-Identifier: MIT
#include "checkpoint.h"

#include <charconv>
#include <cstdint>

#include "dataset.h"
#include "errors.h"
#include "file.h"
#include "model.h"

namespace silica::app {
namespace {

constexpr std::uint64_t largest_file = std::uint64_t{1} << 34;
constexpr const char* format_name = "silica speller 1";

using Metadata = std::map<std::string, std::string>;

std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return hex;
}

class MetadataReader {
 public:
  MetadataReader(const Metadata& metadata, std::string file) : metadata_(metadata), file_(std::move(file)) {}

  const std::string& text(const std::string& key) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) fail(ErrorCode::io, "{}: the metadata lacks {}", file_, quote(key));
    return found->second;
  }

  template <class T> T number(const std::string& key) const {
    const std::string& value = text(key);
    T number{};
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) {
      fail(ErrorCode::io, "{}: the metadata has {} for {}, expected a number", file_, quote(value),
           quote(key));
    }
    return number;
  }

  std::string bytes(const std::string& key) const {
    const std::string& hex = text(key);
    std::string result;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      unsigned byte = 0;
      const char* end = hex.data() + std::min(hex.size(), i + 2);
      if (std::from_chars(hex.data() + i, end, byte, 16).ptr != end || end != hex.data() + i + 2) {
        fail(ErrorCode::io, "{}: the metadata has {} for {}, expected pairs of hexadecimal digits", file_,
             quote(hex), quote(key));
      }
      result += static_cast<char>(byte);
    }
    return result;
  }

 private:
  const Metadata& metadata_;
  std::string file_;
};

// Settings that the options could not have given are refused with the same checks.
void read_settings(const MetadataReader& reader, Checkpoint& checkpoint) {
  Settings& settings = checkpoint.settings;
  checkpoint.vocabulary = Vocabulary(reader.bytes("vocabulary")).bytes();
  settings.model = {.vocabulary = checkpoint.vocabulary.size() + 1,
                    .width = reader.number<std::size_t>("width"),
                    .hidden = reader.number<std::size_t>("hidden"),
                    .blocks = reader.number<std::size_t>("blocks")};
  settings.steps = reader.number<std::uint64_t>("steps");
  settings.batch = reader.number<std::uint64_t>("batch");
  settings.seed = reader.number<std::uint64_t>("seed");
  settings.learning_rate = reader.number<float>("learning_rate");
  settings.weight_decay = reader.number<float>("weight_decay");
  validate(settings);
  checkpoint.step = reader.number<std::uint64_t>("step");
  if (checkpoint.step < 1 || checkpoint.step > settings.steps) {
    fail(ErrorCode::invalid_argument, "step {} of {}", checkpoint.step, settings.steps);
  }
}

std::map<std::string, Shape> expected_tensors(const Checkpoint& checkpoint) {
  std::map<std::string, Shape> expected;
  for (const auto& [name, shape] : weight_shapes(checkpoint.settings.model)) {
    for (const std::string& tensor : {name, first_moment(name), second_moment(name)})
      expected[tensor] = shape;
  }
  expected["adam.state"] = Shape{3};
  expected["history.loss"] = Shape{checkpoint.step};
  expected["history.held_out"] = Shape{evaluations_at(checkpoint.settings, checkpoint.step)};
  return expected;
}

void check_tensors(const Checkpoint& checkpoint, const std::string& file) {
  const std::map<std::string, Shape> expected = expected_tensors(checkpoint);
  for (const auto& [name, shape] : expected) {
    const auto found = checkpoint.tensors.find(name);
    if (found == checkpoint.tensors.end()) fail(ErrorCode::io, "{}: lacks the tensor '{}'", file, name);
    const HostTensor& tensor = found->second;
    if (tensor.dtype != DType::f32 || tensor.shape != shape) {
      fail(ErrorCode::io, "{}: tensor '{}' is {} of {}, expected {} of f32", file, name,
           to_string(tensor.shape), to_string(tensor.dtype), to_string(shape));
    }
  }
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (!expected.contains(name)) fail(ErrorCode::io, "{}: has an unexpected tensor {}", file, quote(name));
  }
}

}  // namespace

std::string first_moment(const std::string& weight) { return "adam.m." + weight; }
std::string second_moment(const std::string& weight) { return "adam.v." + weight; }

std::uint64_t evaluations_at(const Settings& settings, std::uint64_t step) {
  return step / std::max<std::uint64_t>(1, settings.steps / 16);
}

void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& path) {
  const Settings& settings = checkpoint.settings;
  SafeTensors content;
  content.metadata = {{"format", format_name},
                      {"vocabulary", to_hex(checkpoint.vocabulary)},
                      {"width", fmt::to_string(settings.model.width)},
                      {"hidden", fmt::to_string(settings.model.hidden)},
                      {"blocks", fmt::to_string(settings.model.blocks)},
                      {"steps", fmt::to_string(settings.steps)},
                      {"batch", fmt::to_string(settings.batch)},
                      {"seed", fmt::to_string(settings.seed)},
                      {"learning_rate", fmt::to_string(settings.learning_rate)},
                      {"weight_decay", fmt::to_string(settings.weight_decay)},
                      {"step", fmt::to_string(checkpoint.step)},
                      {"data", checkpoint.data},
                      {"data_sha256", checkpoint.data_sha256},
                      {"tensors_sha256", digest_of(checkpoint.tensors)}};
  content.tensors = checkpoint.tensors;
  write_file_atomically(path, serialise_safetensors(content));
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  const std::string file = path.string();
  SafeTensors content = parse_safetensors(read_file(path, largest_file), file);
  const MetadataReader reader(content.metadata, file);
  if (const std::string& format = reader.text("format"); format != format_name) {
    fail(ErrorCode::io, "{}: has the format {}, expected '{}'", file, quote(format), format_name);
  }
  Checkpoint checkpoint;
  try {
    read_settings(reader, checkpoint);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    fail(ErrorCode::io, "{}: the metadata makes no sense: {}", file, error.what());
  }
  checkpoint.data = reader.text("data");
  checkpoint.data_sha256 = reader.text("data_sha256");
  checkpoint.tensors = std::move(content.tensors);
  check_tensors(checkpoint, file);
  if (reader.text("tensors_sha256") != digest_of(checkpoint.tensors)) {
    fail(ErrorCode::io, "{}: is damaged: the tensors do not have the SHA-256 that the metadata tells", file);
  }
  return checkpoint;
}

}  // namespace silica::app
