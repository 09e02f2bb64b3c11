// SPDX-License-Identifier: MIT
// The tool's files: safetensors, atomic replacement, digests.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "digest.h"
#include "errors.h"
#include "file.h"
#include "safetensors_cases.h"

namespace silica::app {
namespace {
namespace fs = std::filesystem;

// A folder of its own for each test.
class FilesTest : public ::testing::Test {
 protected:
  FilesTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() /
              fmt::format("silica-{}-{}-{}", test->test_suite_name(), test->name(), getpid());
    fs::create_directories(folder_);
  }
  ~FilesTest() override { fs::remove_all(folder_); }

  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

std::string message_of(const std::function<void()>& action, ErrorCode code = ErrorCode::io) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

// ---- safetensors

TEST(SafeTensors, RoundTrip) {
  const SafeTensors content = varied_content();
  const std::string file = serialise_safetensors(content);
  EXPECT_EQ(file, serialise_safetensors(content));
  EXPECT_EQ(static_cast<unsigned char>(file[0]) % 8, 0) << "the header is padded";
  const SafeTensors parsed = parse_safetensors(file, "f");
  EXPECT_EQ(parsed.metadata, content.metadata);
  EXPECT_EQ(parsed.tensors, content.tensors);
  EXPECT_EQ(digest_of(parsed.tensors), digest_of(content.tensors));
}

TEST(SafeTensors, EveryTruncationIsRefused) {
  SafeTensors content;
  content.tensors["w"] = HostTensor::from(std::vector<float>{1, 2, 3});
  const std::string file = serialise_safetensors(content);
  for (std::size_t size = 0; size < file.size(); ++size) {
    EXPECT_THROW(parse_safetensors(file.substr(0, size), "f"), Error) << size;
  }
}

TEST(SafeTensors, DigestSeesNamesShapesAndBytes) {
  const HostTensor tensor = HostTensor::from(std::vector<float>{1, 2, 3, 4});
  HostTensor reshaped = tensor;
  reshaped.shape = Shape{2, 2};
  HostTensor changed = tensor;
  changed.data[5] ^= std::byte{1};
  const std::string digest = digest_of({{"w", tensor}});
  EXPECT_NE(digest, digest_of({{"v", tensor}}));
  EXPECT_NE(digest, digest_of({{"w", reshaped}}));
  EXPECT_NE(digest, digest_of({{"w", changed}}));
}

class HostileHeader : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostileHeader, IsRefusedWithAMessage) {
  const Hostile& hostile = GetParam();
  const std::string message =
      message_of([&] { parse_safetensors(file_of(hostile.header, hostile.data), "some.file"); });
  EXPECT_TRUE(message.starts_with("some.file: ")) << message;
  EXPECT_NE(message.find(hostile.message), std::string::npos) << message;
  EXPECT_LT(message.size(), 400u);
}

INSTANTIATE_TEST_SUITE_P(SafeTensors, HostileHeader, ::testing::ValuesIn(hostile_headers),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

// What the format allows, in ways in which serialise_safetensors does not write it.
TEST(SafeTensors, WhatTheFormatAllowsIsAccepted) {
  EXPECT_TRUE(parse_safetensors(file_of("{}"), "f").tensors.empty());
  EXPECT_TRUE(parse_safetensors(file_of("{ \t\r\n}    "), "f").tensors.empty());
  EXPECT_TRUE(parse_safetensors(file_of(R"({"__metadata__":{}})"), "f").metadata.empty());
  // Fields and tensors in any order, white space, escapes, tensors without elements between others.
  const SafeTensors parsed =
      parse_safetensors(file_of(R"({"z" : {"shape": [2], "data_offsets": [0, 2], "dtype": "U8"},
                  "\u0061": {"data_offsets": [2, 4], "dtype": "F16", "shape": []},
                  "none": {"dtype": "F32", "shape": [0, 9223372036854775808, 2], "data_offsets": [2, 2]},
                  "last": {"dtype": "I32", "shape": [3, 0], "data_offsets": [4, 4]},
                  "__metadata__": {"k": "\u00e9"}})",
                                "xyzw"),
                        "f");
  EXPECT_EQ(parsed.metadata, (std::map<std::string, std::string>{{"k", "\xc3\xa9"}}));
  ASSERT_EQ(parsed.tensors.size(), 4u);
  EXPECT_EQ(parsed.tensors.at("z"), (HostTensor{DType::u8, Shape{2}, {std::byte{'x'}, std::byte{'y'}}}));
  EXPECT_EQ(parsed.tensors.at("a"), (HostTensor{DType::f16, Shape{}, {std::byte{'z'}, std::byte{'w'}}}));
  EXPECT_EQ(parsed.tensors.at("none").shape, (Shape{0, std::size_t{1} << 63, 2}));
  EXPECT_EQ(parsed.tensors.at("last"), (HostTensor{DType::i32, Shape{3, 0}, {}}));
}

TEST(SafeTensors, HeaderLengthIsCheckedBeforeUse) {
  for (const std::uint64_t length : {std::uint64_t{3}, std::uint64_t{100'000'001}, ~std::uint64_t{0}}) {
    std::string file;
    for (int i = 0; i < 8; ++i) file += static_cast<char>(length >> (8 * i));
    EXPECT_NE(message_of([&] { parse_safetensors(file + "{}", "f"); }).find("cut short"), std::string::npos);
  }
}

TEST(SafeTensors, MessagesCarryNoControlBytes) {
  const std::string message = message_of([] { parse_safetensors(file_of("{\"\\u001b[2J\":1}"), "f"); });
  EXPECT_EQ(message.find('\x1b'), std::string::npos) << message;
}

// ---- atomic replacement

TEST_F(FilesTest, WriteReplacesTheWholeFile) {
  const fs::path file = folder_ / "f";
  write_file_atomically(file, "a longer text");
  write_file_atomically(file, "short");
  EXPECT_EQ(read_file(file, 100), "short");
  check_writable(file);
  EXPECT_EQ(read_file(file, 100), "short");
  EXPECT_EQ(files(), 1u);
}

TEST_F(FilesTest, FailedWriteKeepsTheOldFile) {
  const fs::path file = folder_ / "f";
  write_file_atomically(file, "old");
  // A limit on file sizes stands in for a full disk.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{4096, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::string message = message_of([&] { write_file_atomically(file, std::string(100'000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("cannot write"), std::string::npos) << message;
  EXPECT_EQ(read_file(file, 100), "old");
  EXPECT_EQ(files(), 1u) << "the temporary file is gone";
}

TEST_F(FilesTest, WriteFollowsALink) {
  write_file_atomically(folder_ / "target", "old");
  fs::create_symlink("target", folder_ / "link");
  write_file_atomically(folder_ / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(read_file(folder_ / "target", 100), "new");
}

TEST_F(FilesTest, WhatCannotBeWrittenIsRefused) {
  for (const auto& write :
       {std::function<void(const fs::path&)>([](auto& f) { write_file_atomically(f, "x"); }),
        std::function<void(const fs::path&)>([](auto& f) { check_writable(f); })}) {
    EXPECT_NE(message_of([&] { write("/dev/full"); }).find("a device"), std::string::npos);
    EXPECT_NE(message_of([&] { write(folder_); }).find("is a directory"), std::string::npos);
    EXPECT_NE(message_of([&] { write(folder_ / "none" / "f"); }).find("No such file"), std::string::npos);
    EXPECT_NE(message_of([&] { write(""); }, ErrorCode::invalid_argument).find("empty"), std::string::npos);
  }
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(FilesTest, WhatCannotBeReadIsRefused) {
  write_file_atomically(folder_ / "f", "12345");
  EXPECT_EQ(read_file(folder_ / "f", 5), "12345");
  EXPECT_NE(message_of([&] { read_file(folder_ / "f", 4); }).find("larger"), std::string::npos);
  EXPECT_NE(message_of([&] { read_file(folder_ / "none", 4); }).find("No such file"), std::string::npos);
  EXPECT_NE(message_of([&] { read_file(folder_, 4); }).find("directory"), std::string::npos);
  EXPECT_NE(message_of([&] { read_file("/dev/zero", 4); }).find("device"), std::string::npos);
}

TEST(Sha256, KnownAnswer) {  // FIPS 180-2, appendix B.1
  Sha256 sha256;
  sha256.update("a");
  sha256.update("bc");
  EXPECT_EQ(sha256.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace silica::app
