// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace silica::bench {

// A program that is asked and answers in lines, over its standard input and output. It ends with this object.
class Child {
 public:
  // Errors: io if there is no such program.
  explicit Child(const std::vector<std::string>& command);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Errors: io if it ended, or does not answer within minutes.
  std::string ask(const std::string& line);

 private:
  void send(const std::string& text);

  pid_t process_ = -1;
  int socket_ = -1;
  std::string received_;
};

// A new folder that goes with this object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace silica::bench
