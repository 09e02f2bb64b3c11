// SPDX-License-Identifier: MIT
// safetensors_seeds <folder>: writes the fuzzer's first inputs, what the tests know of good and bad files.
#include <filesystem>
#include <fstream>

#include "safetensors_cases.h"

int main(int argc, char** argv) {
  using namespace silica::app;
  if (argc != 2) return 2;
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& name, const std::string& content) {
    constexpr std::size_t most = 4096;  // the fuzzer's -max_len
    if (content.size() <= most) std::ofstream(folder / name, std::ios::binary) << content;
  };
  write("varied", serialise_safetensors(varied_content()));
  write("empty", serialise_safetensors({}));
  for (const Hostile& hostile : hostile_headers) write(hostile.name, file_of(hostile.header, hostile.data));
}
