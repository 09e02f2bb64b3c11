// SPDX-License-Identifier: MIT
#include "file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "errors.h"

namespace silica::app {
namespace fs = std::filesystem;
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int operator*() const { return fd_; }
  bool close() {  // some file systems report a failed write only here
    const int fd = fd_;
    fd_ = -1;
    return ::close(fd) == 0;
  }

 private:
  int fd_;
};

// A new file beside `target`, gone again unless it took the target's name.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& target) : target_(target), file_(create()) {}
  ~TemporaryFile() {
    if (!renamed_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void write(std::string_view content) {
    while (!content.empty()) {
      const ssize_t written = ::write(*file_, content.data(), content.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) refuse("cannot write", errno);
      content.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  void rename() {
    if (::fsync(*file_) != 0) refuse("cannot write", errno);
    if (!file_.close()) refuse("cannot write", errno);
    if (::rename(path_.c_str(), target_.c_str()) != 0) refuse("cannot replace the file", errno);
    renamed_ = true;
    const Descriptor directory(::open(directory_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Some file systems cannot sync a directory; the rename itself has succeeded.
    if (*directory >= 0 && ::fsync(*directory) != 0 && errno == EIO) refuse("cannot sync the directory", EIO);
  }

 private:
  static fs::path directory_of(const fs::path& path) {
    return path.has_parent_path() ? path.parent_path() : fs::path(".");
  }

  int create() {
    for (int attempt = 0; attempt < 100; ++attempt) {
      path_ = target_;
      path_ += fmt::format(".{}-{}.tmp", ::getpid(), attempt);
      const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd >= 0) return fd;
      if (errno != EEXIST) break;
    }
    refuse("cannot create a file in its directory", errno);
  }

  [[noreturn]] void refuse(std::string_view what, int error) const {
    fail(ErrorCode::io, "{}: {}: {}", target_.string(), what, reason(error));
  }

  fs::path target_;
  fs::path path_;
  Descriptor file_;
  bool renamed_ = false;
};

// Follows links, and refuses what a rename would damage (a device) or cannot replace (a directory).
fs::path writable_target(const fs::path& path) {
  if (path.empty()) fail(ErrorCode::invalid_argument, "the name of the output file is empty");
  fs::path target = path;
  std::error_code error;
  if (fs::is_symlink(path, error)) {
    target = fs::weakly_canonical(path, error);
    if (error) fail(ErrorCode::io, "{}: {}", path.string(), error.message());
  }
  const fs::file_status status = fs::status(target, error);
  if (fs::is_directory(status)) fail(ErrorCode::io, "{}: is a directory, expected a file", path.string());
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    fail(ErrorCode::io, "{}: is a device or a pipe, expected a regular file", path.string());
  }
  return target;
}

}  // namespace

std::string read_file(const fs::path& path, std::uint64_t limit) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (*file < 0) fail(ErrorCode::io, "{}: cannot open: {}", path.string(), reason(errno));
  struct stat status{};
  if (::fstat(*file, &status) != 0) fail(ErrorCode::io, "{}: cannot read: {}", path.string(), reason(errno));
  if (S_ISDIR(status.st_mode)) fail(ErrorCode::io, "{}: is a directory, expected a file", path.string());
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
    fail(ErrorCode::io, "{}: is a device, expected a file", path.string());
  }

  std::string content;
  std::string block(std::size_t{1} << 20, '\0');
  for (;;) {
    const ssize_t got = ::read(*file, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(ErrorCode::io, "{}: cannot read: {}", path.string(), reason(errno));
    if (got == 0) return content;
    content.append(block, 0, static_cast<std::size_t>(got));
    if (content.size() > limit) {
      fail(ErrorCode::io, "{}: is larger than {} MiB, the most that is read", path.string(), limit >> 20);
    }
  }
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  TemporaryFile file(writable_target(path));
  file.write(content);
  file.rename();
}

void check_writable(const fs::path& path) { const TemporaryFile probe(writable_target(path)); }

}  // namespace silica::app
