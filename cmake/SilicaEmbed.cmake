# SPDX-License-Identifier: MIT
# Writes a C++ source with the CUDA device text, each file under the name it is included by.
#   cmake -DROOT=... -DOUTPUT=... -DFILES="kernels/a.h;kernels/b.cu" -P SilicaEmbed.cmake
set(text "// Written by cmake/SilicaEmbed.cmake.\n#include \"backends/cuda/catalogue.h\"\n\nnamespace silica::cuda {\n\n")
string(APPEND text "std::span<const EmbeddedFile> embedded_files() {\n  static constexpr EmbeddedFile files[] = {\n")
foreach(file IN LISTS FILES)
  file(READ ${ROOT}/${file} content)
  string(APPEND text "{\"${file}\", R\"silica_text(${content})silica_text\"},\n")
endforeach()
string(APPEND text "  };\n  return files;\n}\n\n}  // namespace silica::cuda\n")
file(WRITE ${OUTPUT} "${text}")
