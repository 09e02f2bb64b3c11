// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace silica::app {

// The whole file. Errors: io (missing, unreadable, a directory, more than `limit` bytes).
std::string read_file(const std::filesystem::path& path, std::uint64_t limit);

// Replaces `path` by `content`, or throws io and leaves what was there: the bytes go to a temporary file
// beside it, are synced, and take its name in one step. A link is followed, so that the file it names is
// replaced.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

// Throws what write_file_atomically would throw now: for before the work whose result is to be written.
void check_writable(const std::filesystem::path& path);

}  // namespace silica::app
