// SPDX-License-Identifier: MIT
#include "core/disk_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace silica {

namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(hex(sha256(bytes(""))), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(sha256(bytes("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(sha256(bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  Sha256 hash;
  const std::string thousand(1000, 'a');
  for (int i = 0; i < 1000; ++i) hash.add(thousand);
  EXPECT_EQ(hex(hash.finish()), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

class Cache : public ::testing::Test {
 protected:
  Cache() { std::filesystem::remove_all(directory_); }
  ~Cache() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  const std::filesystem::path directory_ = std::filesystem::temp_directory_path() /
                                           ("silica-cache-test-" + std::to_string(::getpid())) / "deep" /
                                           "er";
  const DiskCache cache_{directory_};
  const DiskCache::Key key_ = sha256(bytes("a kernel"));
};

std::vector<std::byte> content(std::size_t size, unsigned seed = 1) {
  std::vector<std::byte> all(size);
  for (std::byte& byte : all) byte = static_cast<std::byte>((seed = seed * 1103515245 + 12345) >> 16);
  return all;
}

TEST_F(Cache, KeepsContent) {
  EXPECT_FALSE(cache_.load(key_));
  for (const std::size_t size : {0u, 1u, 1000u, 1u << 20}) {
    cache_.store(key_, content(size));
    ASSERT_TRUE(cache_.load(key_));
    EXPECT_EQ(*cache_.load(key_), content(size));
  }
  EXPECT_FALSE(cache_.load(sha256(bytes("another kernel"))));
}

TEST_F(Cache, TrustsNoAlteredFile) {
  const std::vector<std::byte> stored = content(300);
  cache_.store(key_, stored);
  std::ifstream in(cache_.path(key_), std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  const auto write = [&](const std::string& text) {
    std::ofstream(cache_.path(key_), std::ios::binary | std::ios::trunc).write(text.data(), std::ssize(text));
  };
  for (std::size_t i = 0; i < whole.size(); ++i) {  // every byte: magic, key, length, checksum, content
    std::string altered = whole;
    altered[i] = static_cast<char>(altered[i] ^ (1 << i % 8));
    write(altered);
    EXPECT_FALSE(cache_.load(key_)) << "byte " << i;
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write(whole.substr(0, size));
    EXPECT_FALSE(cache_.load(key_)) << size << " bytes";
  }
  write(whole + '\0');
  EXPECT_FALSE(cache_.load(key_));
  write(whole);
  EXPECT_EQ(cache_.load(key_), stored);
}

TEST_F(Cache, TrustsNoFileOfAnotherKey) {
  cache_.store(key_, content(10));
  const DiskCache::Key other = sha256(bytes("another kernel"));
  std::filesystem::copy_file(cache_.path(key_), cache_.path(other));
  EXPECT_FALSE(cache_.load(other));
}

TEST_F(Cache, WithoutADirectoryNothingIsKept) {
  for (const char* place : {"", "/proc/silica", "/dev/null/silica"}) {
    const DiskCache cache{std::filesystem::path(place)};
    cache.store(key_, content(10));
    EXPECT_FALSE(cache.load(key_)) << place;
  }
}

TEST_F(Cache, IsWhereTheEnvironmentSays) {
  ::setenv("HOME", "/h", 1);
  ::setenv("XDG_CACHE_HOME", "/x", 1);
  ::setenv("SILICA_CACHE_DIR", "/s", 1);
  EXPECT_EQ(DiskCache::standard().path(key_).parent_path(), "/s");
  ::unsetenv("SILICA_CACHE_DIR");
  EXPECT_EQ(DiskCache::standard().path(key_).parent_path(), "/x/silica");
  ::unsetenv("XDG_CACHE_HOME");
  EXPECT_EQ(DiskCache::standard().path(key_).parent_path(), "/h/.cache/silica");
}

// Processes that store and load the same keys see whole files only.
TEST_F(Cache, IsSafeForProcesses) {
  constexpr int processes = 6, keys = 4, rounds = 60;
  const auto key_of = [](int k) { return sha256(bytes(std::to_string(k))); };
  const auto content_of = [](int k) {
    return content(20000 + 1000 * static_cast<std::size_t>(k), static_cast<unsigned>(k));
  };
  const auto work = [&](int process) {
    for (int i = 0; i < rounds; ++i) {
      const int k = (process + i) % keys;
      const auto found = cache_.load(key_of(k));
      if (found && *found != content_of(k)) return 1;
      cache_.store(key_of(k), content_of(k));
      if (cache_.load(key_of(k)) != content_of(k)) return 2;
    }
    return 0;
  };
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(work(p));
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  for (const auto& file : std::filesystem::directory_iterator(directory_)) {
    EXPECT_EQ(file.path().extension(), ".kernel") << "a temporary file is left";
  }
}

}  // namespace

}  // namespace silica
