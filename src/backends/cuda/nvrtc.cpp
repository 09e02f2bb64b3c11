// SPDX-License-Identifier: MIT
#include "backends/cuda/nvrtc.h"

#include <dlfcn.h>

#include <algorithm>

#include "backends/cuda/catalogue.h"
#include "backends/cuda/library.h"
#include "core/format.h"

namespace silica::cuda {

using Program = struct ProgramTag*;
using Status = int;

#define SILICA_NVRTC(ENTRY)                                                                      \
  ENTRY(get_version, nvrtcVersion, int*, int*)                                                   \
  ENTRY(architecture_count, nvrtcGetNumSupportedArchs, int*)                                     \
  ENTRY(architectures, nvrtcGetSupportedArchs, int*)                                             \
  ENTRY(create, nvrtcCreateProgram, Program*, const char*, const char*, int, const char* const*, \
        const char* const*)                                                                      \
  ENTRY(destroy, nvrtcDestroyProgram, Program*)                                                  \
  ENTRY(compile, nvrtcCompileProgram, Program, int, const char* const*)                          \
  ENTRY(log_size, nvrtcGetProgramLogSize, Program, std::size_t*)                                 \
  ENTRY(log, nvrtcGetProgramLog, Program, char*)                                                 \
  ENTRY(cubin_size, nvrtcGetCUBINSize, Program, std::size_t*)                                    \
  ENTRY(cubin, nvrtcGetCUBIN, Program, char*)                                                    \
  ENTRY(ptx_size, nvrtcGetPTXSize, Program, std::size_t*)                                        \
  ENTRY(ptx, nvrtcGetPTX, Program, char*)

struct Nvrtc {
#define SILICA_MEMBER(name, symbol, ...) Status (*name)(__VA_ARGS__) = nullptr;
  SILICA_NVRTC(SILICA_MEMBER)
#undef SILICA_MEMBER
  std::string missing;
  int version = 0;
  std::vector<int> known;  // architectures, ascending
};

namespace {

template <class Function> void find(void* library, const char* symbol, Function*& to, std::string& missing) {
  to = reinterpret_cast<Function*>(dlsym(library, symbol));
  if (to == nullptr && missing.empty()) {
    missing = message("the CUDA compiler is too old: libnvrtc has no ", symbol,
                      "; install that of CUDA 11.4 or newer");
  }
}

Nvrtc load() {
  Nvrtc n;
  void* library = open_library("SILICA_LIBNVRTC", "libnvrtc.so", {"13", "12", "11.2"});
  if (library == nullptr) {
    n.missing = message("no CUDA compiler (", not_found("SILICA_LIBNVRTC", "libnvrtc.so"),
                        "); install NVRTC, as by `apt install libnvrtc12` or the CUDA toolkit");
    return n;
  }
#define SILICA_FIND(member, symbol, ...) find(library, #symbol, n.member, n.missing);
  SILICA_NVRTC(SILICA_FIND)
#undef SILICA_FIND
  if (!n.missing.empty()) return n;
  int major = 0, minor = 0, count = 0;
  if (n.get_version(&major, &minor) != 0 || n.architecture_count(&count) != 0 || count <= 0) {
    n.missing = "the CUDA compiler does not answer (nvrtcVersion fails)";
    return n;
  }
  n.version = major * 1000 + minor * 10;
  n.known.resize(static_cast<std::size_t>(count));
  n.architectures(n.known.data());
  std::ranges::sort(n.known);
  return n;
}

// A program, destroyed at the end of the scope.
class Compilation {
 public:
  Compilation(const std::string& name, const std::string& text) {
    std::vector<const char*> names, texts;
    for (const EmbeddedFile& file : embedded_files()) {
      names.push_back(file.name);
      texts.push_back(file.text);
    }
    check(nvrtc().create(&program_, text.c_str(), name.c_str(), static_cast<int>(names.size()), texts.data(),
                         names.data()),
          name);
  }
  ~Compilation() { nvrtc().destroy(&program_); }
  Compilation(const Compilation&) = delete;
  Compilation& operator=(const Compilation&) = delete;

  bool compile(const std::vector<std::string>& options) {
    std::vector<const char*> all;
    for (const std::string& option : options) all.push_back(option.c_str());
    return nvrtc().compile(program_, static_cast<int>(all.size()), all.data()) == 0;
  }

  std::string log() {
    std::size_t size = 0;
    if (nvrtc().log_size(program_, &size) != 0 || size == 0) return "the compiler gives no reason";
    std::string text(size, '\0');
    nvrtc().log(program_, text.data());
    text.resize(size - 1);  // ends in a zero
    return text;
  }

  std::vector<std::byte> result(bool binary, const std::string& name) {
    std::size_t size = 0;
    check(binary ? nvrtc().cubin_size(program_, &size) : nvrtc().ptx_size(program_, &size), name);
    std::vector<std::byte> bytes(size);
    char* to = reinterpret_cast<char*>(bytes.data());
    check(binary ? nvrtc().cubin(program_, to) : nvrtc().ptx(program_, to), name);
    return bytes;
  }

 private:
  static void check(Status status, const std::string& name) {
    if (status != 0) fail(ErrorCode::compile_failed, name, ": the CUDA compiler fails with status ", status);
  }
  Program program_ = nullptr;
};

}  // namespace

const Nvrtc& nvrtc() {
  static const Nvrtc loaded = load();
  return loaded;
}

std::string missing_nvrtc() { return nvrtc().missing; }
int nvrtc_version() { return nvrtc().version; }

Target target_for(int architecture) {
  const std::vector<int>& known = nvrtc().known;
  const auto above = std::ranges::upper_bound(known, architecture);
  if (above == known.begin()) {
    fail(ErrorCode::unsupported, "cuda: the compiler of CUDA ", nvrtc().version / 1000, ".",
         nvrtc().version % 1000 / 10, " no longer knows sm_", architecture, "; install an older NVRTC");
  }
  const int nearest = *(above - 1);
  return {nearest, nearest == architecture};
}

std::vector<std::string> compile_options(const Target& target) {
  return {message("--gpu-architecture=", target.binary ? "sm_" : "compute_", target.architecture,
                  target.specific ? "a" : ""),
          "--std=c++17",
          "--fmad=false",
          "--ftz=false",
          "--prec-div=true",
          "--prec-sqrt=true",
          "-default-device"};
}

std::vector<std::byte> compile(std::string_view name, const std::string& text, const Target& target) {
  const std::string file = std::string(name);
  Compilation compilation(file, text);
  if (!compilation.compile(compile_options(target))) {
    fail(ErrorCode::compile_failed, name, ": the CUDA compiler says\n", compilation.log());
  }
  return compilation.result(target.binary, file);
}

}  // namespace silica::cuda
