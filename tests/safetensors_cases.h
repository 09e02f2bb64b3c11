// SPDX-License-Identifier: MIT
// Files that a safetensors reader must refuse, and one that it must accept: for the tests and the fuzzer's
// first inputs.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "safetensors.h"

namespace silica::app {

inline std::string file_of(const std::string& header, const std::string& data = "") {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(std::uint64_t{header.size()} >> (8 * i));
  return file + header + data;
}

// Every dtype, no elements, no dimensions, names and metadata that must be escaped.
inline SafeTensors varied_content() {
  SafeTensors content;
  content.metadata = {{"format", "test"}, {"quote", "\" \\ \n \xc3\xa9"}};
  content.tensors["b"] = HostTensor::from(std::vector<float>{1, -2, 3.5f});
  content.tensors["a"] = {DType::u8, Shape{2, 1}, {std::byte{7}, std::byte{255}}};
  content.tensors["scalar"] = {DType::bf16, Shape{}, {std::byte{1}, std::byte{2}}};
  content.tensors["empty"] = {DType::f16, Shape{0, 4}, {}};
  content.tensors["\x1b\xe2\x82\xac"] = {DType::i32, Shape{1, 1, 1, 1, 1, 1}, std::vector(4, std::byte{9})};
  content.tensors["u"] = {DType::u32, Shape{2}, std::vector(8, std::byte{128})};
  return content;
}

struct Hostile {
  const char* name;
  std::string header;
  const char* message;
  std::string data = std::string(8, 'x');
};
inline void PrintTo(const Hostile& hostile, std::ostream* out) { *out << hostile.name; }

inline std::string nested(int depth) {
  return R"({"w":{"dtype":"F32","shape":)" + std::string(static_cast<std::size_t>(depth), '[');
}

inline const Hostile hostile_headers[] = {
    {"not_json", "{nonsense", "not valid JSON"},
    {"empty_header", "", "does not start"},
    {"a_list", "[]", "does not start"},
    {"leading_space", " {}", "does not start"},
    {"trailing_text", R"({}{})", "not valid JSON"},
    {"trailing_zero", std::string("{}\0", 3), "zero byte"},
    {"zero_and_text", std::string("{}\0{", 4), "zero byte"},
    {"zero_in_a_name", std::string("{\"\0\":1}", 7), "zero byte"},
    {"trailing_comma", R"({"__metadata__":{},})", "not valid JSON"},
    {"comment", "{/**/}", "not valid JSON"},
    {"line_break_in_a_name", "{\"\n\":1}", "not valid JSON"},
    {"invalid_utf8", "{\"\xff\":1}", "not valid JSON"},
    {"overlong_utf8", "{\"\xc0\xaf\":1}", "not valid JSON"},
    {"surrogate_utf8", "{\"\xed\xa0\x80\":1}", "not valid JSON"},
    {"lone_surrogate", R"({"\ud800":1})", "not valid JSON"},
    {"entry_is_a_number", R"({"w":1})", "expected an object for each tensor"},
    {"entry_is_a_list", R"({"w":[]})", "expected an object for each tensor"},
    {"entry_is_null", R"({"w":null})", "has null"},
    {"metadata_is_text", R"({"__metadata__":"x"})", "expected an object"},
    {"metadata_number", R"({"__metadata__":{"a":1}})", "expected text"},
    {"metadata_object", R"({"__metadata__":{"a":{}}})", "expected text"},
    {"metadata_list", R"({"__metadata__":{"a":[]}})", "expected text"},
    {"metadata_twice", R"({"__metadata__":{},"__metadata__":{}})", "twice"},
    {"metadata_key_twice", R"({"__metadata__":{"a":"1","a":"2"}})", "twice"},
    {"tensor_twice",
     R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
     "twice"},
    {"field_twice", R"({"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "twice"},
    {"unknown_field", R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"z":1}})", "unknown field 'z'"},
    {"no_shape", R"({"w":{"dtype":"F32","data_offsets":[0,8]}})", "lacks"},
    {"shape_is_an_object", R"({"w":{"dtype":"F32","shape":{},"data_offsets":[0,8]}})", "has an object"},
    {"dtype_is_a_list", R"({"w":{"dtype":[],"shape":[2],"data_offsets":[0,8]}})", "expected text"},
    {"dtype_unknown", R"({"w":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}})", "dtype 'F99'"},
    {"one_offset", R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "1 data_offsets"},
    {"three_offsets", R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", "3 data_offsets"},
    {"negative_shape", R"({"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "the number -2"},
    {"negative_offset", R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", "the number -8"},
    {"fraction", R"({"w":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", "the number '2.5'"},
    {"beyond_64_bits", R"({"w":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})",
     "the number"},
    {"deep_list", nested(2) + "1]]}}", "has a list"},
    {"very_deep_list", nested(2'000'000), "has a list"},
    {"long_list",
     R"({"w":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}})",
     "a longer list"},
    {"seven_dimensions", R"({"w":{"dtype":"F32","shape":[1,1,1,1,1,1,2],"data_offsets":[0,8]}})",
     "tensor 'w'"},
    {"overflow", R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})",
     "tensor 'w'"},
    {"overflow_to_zero", R"({"w":{"dtype":"F32","shape":[9223372036854775808,2],"data_offsets":[0,0]}})",
     "tensor 'w'"},
    {"overflow_before_zero",
     R"({"w":{"dtype":"F32","shape":[9223372036854775808,2,0],"data_offsets":[0,0]}})", "tensor 'w'", ""},
    {"bytes_overflow", R"({"w":{"dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8]}})",
     "do not hold"},
    {"empty_with_bytes", R"({"w":{"dtype":"F32","shape":[2,0],"data_offsets":[0,8]}})", "do not hold"},
    {"scalar_of_two", R"({"w":{"dtype":"F32","shape":[],"data_offsets":[0,8]}})", "do not hold"},
    {"too_few_bytes", R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "do not hold"},
    {"half_an_element", R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,7]}})", "do not hold"},
    {"backwards", R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "do not hold"},
    {"past_the_end", R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", "holds 8 bytes of data"},
    {"bytes_left", R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "holds 8 bytes of data"},
    {"hole",
     R"({"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"w":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}})",
     "expected 2"},
    {"overlap",
     R"({"v":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},"w":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
     "expected 6"},
    {"same_bytes",
     R"({"v":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
     "expected 8"},
    {"empty_past_the_end",
     R"({"v":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"w":{"dtype":"U8","shape":[0],"data_offsets":[9,9]}})",
     "expected 8"},
    {"empty_inside_another",
     R"({"v":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"w":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
     "expected 8"},
    {"data_without_tensors", R"({})", "holds 8 bytes of data"},
};

}  // namespace silica::app
