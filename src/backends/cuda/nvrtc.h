// SPDX-License-Identifier: MIT
// NVIDIA's run-time compiler, opened at run time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace silica::cuda {

struct Nvrtc;

// Opened on first use: the library that SILICA_LIBNVRTC names, or else libnvrtc.so of the driver's version or
// another, on the loader's path, in CUDA_HOME, CUDA_PATH or /usr/local/cuda.
const Nvrtc& nvrtc();

std::string missing_nvrtc();  // why it cannot be used; empty if it can
int nvrtc_version();          // 13000 is CUDA 13.0

// What a text is compiled to.
struct Target {
  int architecture = 0;   // 90 is sm_90
  bool binary = true;     // for that architecture; otherwise PTX, which the driver compiles
  bool specific = false;  // with the instructions that no later architecture has: sm_90a
};

// For a device of this architecture: PTX for the nearest one below, if the compiler does not know it.
Target target_for(int architecture);

std::vector<std::string> compile_options(const Target& target);

// A cubin, or PTX ending in a zero. Errors: compile_failed, with the compiler's log.
std::vector<std::byte> compile(std::string_view name, const std::string& text, const Target& target);

}  // namespace silica::cuda
