// SPDX-License-Identifier: MIT
#include <cstdint>

#include "safetensors_header.h"

#include <nlohmann/json.hpp>

#include "errors.h"

namespace silica::app {
namespace {

using Json = nlohmann::json;

// Builds the header from the parser's events, so that nothing is stored before it was looked at. The level is
// that of the innermost open object or list: 1 the header, 2 an entry or the metadata, 3 a shape or offsets.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderReader(std::string file) : file_(std::move(file)) {}
  SafeTensorsHeader take() { return std::move(header_); }

  bool start_object(std::size_t) override {
    if (level_ > 1) refuse_value("an object");
    ++level_;
    return true;
  }

  bool end_object() override {
    if (level_ == 2 && !in_metadata_) check_complete();
    --level_;
    return true;
  }

  bool start_array(std::size_t) override {
    if (level_ != 2 || in_metadata_ || field_ == "dtype") refuse_value("a list");
    (field_ == "shape" ? entry_->shape : entry_->data_offsets).emplace();
    level_ = 3;
    return true;
  }

  bool end_array() override {
    level_ = 2;
    return true;
  }

  bool key(std::string& name) override {
    if (level_ == 1) {
      open_entry(name);
    } else {
      open_field(name);
    }
    return true;
  }

  bool string(std::string& value) override {
    if (level_ != 2 || (!in_metadata_ && field_ != "dtype")) refuse_value("text");
    if (in_metadata_) {
      header_.metadata[field_] = std::move(value);
    } else {
      entry_->dtype = std::move(value);
    }
    return true;
  }

  bool number_unsigned(std::uint64_t value) override {
    if (level_ != 3) refuse_value("a number");
    auto& list = *(field_ == "shape" ? entry_->shape : entry_->data_offsets);
    if (list.size() == longest_list) refuse_value("a longer list");
    list.push_back(value);
    return true;
  }

  bool number_integer(std::int64_t value) override { refuse_value(fmt::format("the number {}", value)); }
  bool number_float(double, const std::string& text) override { refuse_value("the number " + quote(text)); }
  bool null() override { refuse_value("null"); }
  bool boolean(bool) override { refuse_value("true or false"); }
  bool binary(Json::binary_t&) override { refuse_value("binary data"); }

  bool parse_error(std::size_t position, const std::string& token, const Json::exception&) override {
    refuse(fmt::format("is not valid JSON at byte {}, near {}", position, quote(token)));
  }

 private:
  static constexpr std::size_t longest_list = 32;

  void open_entry(const std::string& name) {
    in_metadata_ = name == "__metadata__";
    field_.clear();
    const bool is_new = in_metadata_ ? !std::exchange(has_metadata_, true) : !header_.entries.contains(name);
    if (!is_new) refuse("names " + quote(name) + " twice");
    name_ = name;
    if (!in_metadata_) entry_ = &header_.entries[name];
  }

  void open_field(const std::string& name) {
    if (in_metadata_) {
      if (!header_.metadata.emplace(name, "").second) refuse("names the metadata " + quote(name) + " twice");
    } else {
      const bool known = name == "dtype" || name == "shape" || name == "data_offsets";
      if (!known) refuse("tensor " + quote(name_) + " has an unknown field " + quote(name));
      const bool seen = name == "dtype"   ? entry_->dtype.has_value()
                        : name == "shape" ? entry_->shape.has_value()
                                          : entry_->data_offsets.has_value();
      if (seen) refuse("tensor " + quote(name_) + " has the field " + quote(name) + " twice");
    }
    field_ = name;
  }

  void check_complete() const {
    if (!entry_->dtype || !entry_->shape || !entry_->data_offsets) {
      refuse("tensor " + quote(name_) + " lacks dtype, shape or data_offsets");
    }
    if (entry_->data_offsets->size() != 2) {
      refuse(fmt::format("tensor {} has {} data_offsets, expected 2", quote(name_),
                         entry_->data_offsets->size()));
    }
  }

  [[noreturn]] void refuse_value(const std::string& what) const {
    const char* expected = level_ == 0         ? "an object"
                           : level_ == 1       ? "an object for each tensor"
                           : in_metadata_      ? "text"
                           : field_ == "dtype" ? "text"
                                               : "a list of up to 32 whole numbers from 0 up";
    const std::string where =
        name_.empty() ? "" : " at " + quote(field_.empty() ? name_ : name_ + "." + field_);
    refuse(fmt::format("has {}{}, expected {}", what, where, expected));
  }

  [[noreturn]] void refuse(const std::string& problem) const {
    fail(ErrorCode::io, "{}: the header {}", file_, problem);
  }

  std::string file_;
  SafeTensorsHeader header_;
  int level_ = 0;
  bool has_metadata_ = false;
  bool in_metadata_ = false;
  std::string name_;
  std::string field_;
  SafeTensorsHeader::Entry* entry_ = nullptr;
};

}  // namespace

SafeTensorsHeader parse_safetensors_header(std::string_view json, const std::string& file) {
  // The JSON library takes a zero byte for the end of the text.
  if (const std::size_t zero = json.find('\0'); zero != json.npos) {
    fail(ErrorCode::io, "{}: the header is not valid JSON: it has a zero byte at {}", file, zero);
  }
  HeaderReader reader(file);
  Json::sax_parse(json, &reader);
  return reader.take();
}

}  // namespace silica::app
