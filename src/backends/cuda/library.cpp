// SPDX-License-Identifier: MIT
#include "backends/cuda/library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <vector>

#include "backends/cuda/driver.h"
#include "core/format.h"

namespace silica::cuda {

namespace {

// Empty if it is not set.
std::string variable_of(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void* open_file(const std::string& path) { return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); }

}  // namespace

void* open_library(const char* variable, std::string_view file,
                   std::initializer_list<std::string_view> versions) {
  if (const std::string chosen = variable_of(variable); !chosen.empty()) return open_file(chosen);
  // One of the driver's own version first: an older driver may not load what a newer library made.
  std::vector<std::string> names;
  if (driver().missing.empty()) names.push_back(message(file, ".", driver().version / 1000));
  for (const std::string_view version : versions) names.push_back(message(file, ".", version));
  names.emplace_back(file);
  std::vector<std::string> folders = {""};
  for (const char* home : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const std::string path = variable_of(home); !path.empty()) {
      folders.push_back(path + "/lib64/");
      folders.push_back(path + "/lib/");
    }
  }
  folders.emplace_back("/usr/local/cuda/lib64/");
  for (const std::string& folder : folders) {
    for (const std::string& name : names) {
      if (void* library = open_file(folder + name)) return library;
    }
  }
  return nullptr;
}

std::string not_found(const char* variable, std::string_view file) {
  if (const std::string chosen = variable_of(variable); !chosen.empty()) {
    return message(variable, " is '", chosen, "', which cannot be loaded");
  }
  return message(file, " is neither on the loader's path nor in CUDA_HOME or /usr/local/cuda");
}

}  // namespace silica::cuda
