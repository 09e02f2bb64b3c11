// SPDX-License-Identifier: MIT
// How the libraries of the CUDA toolkit are found.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace silica::cuda {

// Opens the library that the environment variable names, or else `file` with the number of the driver's
// version or one of `versions`, on the loader's path, in CUDA_HOME, CUDA_PATH or /usr/local/cuda. It stays
// open: its own threads may run its code until the process ends. Null if there is none.
void* open_library(const char* variable, std::string_view file,
                   std::initializer_list<std::string_view> versions);

// Why that gave nothing.
std::string not_found(const char* variable, std::string_view file);

}  // namespace silica::cuda
