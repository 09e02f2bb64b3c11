// SPDX-License-Identifier: MIT
#include "bench/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "errors.h"

extern char** environ;

namespace silica::bench {

using app::fail;

namespace {

constexpr int patience_ms = 300'000;  // a compiler may run in it

pid_t spawn(const std::vector<std::string>& command, int socket) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, socket, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, socket, STDOUT_FILENO);
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t process = -1;
  const int error = posix_spawnp(&process, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) fail(ErrorCode::io, "{}: {}", command[0], std::strerror(error));
  return process;
}

}  // namespace

Child::Child(const std::vector<std::string>& command) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    fail(ErrorCode::io, "socketpair: {}", std::strerror(errno));
  }
  try {
    process_ = spawn(command, ends[1]);
  } catch (...) {
    close(ends[0]);
    close(ends[1]);
    throw;
  }
  close(ends[1]);
  socket_ = ends[0];
}

Child::~Child() {
  close(socket_);
  kill(process_, SIGTERM);
  waitpid(process_, nullptr, 0);
}

void Child::send(const std::string& text) {
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t count = ::send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(ErrorCode::io, "the peers' program ended");
    sent += static_cast<std::size_t>(count);
  }
}

std::string Child::ask(const std::string& line) {
  send(line + "\n");
  std::size_t end = received_.find('\n');
  while (end == std::string::npos) {
    pollfd waiting{socket_, POLLIN, 0};
    const int ready = poll(&waiting, 1, patience_ms);
    if (ready == 0) fail(ErrorCode::io, "the peers' program does not answer");
    char buffer[4096];
    const ssize_t count = ready < 0 ? -1 : recv(socket_, buffer, sizeof buffer, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(ErrorCode::io, "the peers' program ended");
    received_.append(buffer, static_cast<std::size_t>(count));
    end = received_.find('\n');
  }
  std::string answer = received_.substr(0, end);
  received_.erase(0, end + 1);
  return answer;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = std::filesystem::temp_directory_path() / "silica-bench-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) fail(ErrorCode::io, "{}: {}", name, std::strerror(errno));
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace silica::bench
