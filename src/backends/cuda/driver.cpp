// SPDX-License-Identifier: MIT
#include "backends/cuda/driver.h"

#include <dlfcn.h>

#include <cstdlib>

#include "core/format.h"

namespace silica::cuda {

namespace {

template <class Function> void find(void* library, const char* symbol, Function*& to, std::string& missing) {
  to = reinterpret_cast<Function*>(dlsym(library, symbol));
  if (to == nullptr && missing.empty()) {
    missing = message("the NVIDIA driver is too old: it has no ", symbol, "; install driver 470 or newer");
  }
}

// The library stays open: the driver's own threads may run its code until the process ends.
Driver load() {
  Driver d;
  const char* chosen = std::getenv("SILICA_LIBCUDA");
  const char* name = chosen != nullptr && *chosen != '\0' ? chosen : "libcuda.so.1";
  void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    d.missing =
        message("no NVIDIA driver (", name, " cannot be loaded); install the driver of the GPU's maker");
    return d;
  }
#define SILICA_FIND(member, symbol, ...) find(library, #symbol, d.member, d.missing);
  SILICA_DRIVER(SILICA_FIND)
#undef SILICA_FIND
  std::string ignored;
#define SILICA_FIND(member, symbol, ...) find(library, #symbol, d.member, ignored);
  SILICA_OPTIONAL_DRIVER(SILICA_FIND)
#undef SILICA_FIND
  if (!d.missing.empty()) return d;
  if (const Result error = d.init(0); error != success) {
    d.missing = message("the NVIDIA driver does not start: ", d.describe(error));
  } else {
    d.driver_version(&d.version);
  }
  return d;
}

}  // namespace

std::string Driver::describe(Result error) const {
  const char *name = nullptr, *text = nullptr;
  if (error_name(error, &name) != success || name == nullptr) return message("CUDA error ", error);
  if (error_string(error, &text) != success || text == nullptr) return name;
  return message(name, ": ", text);
}

const Driver& driver() {
  static const Driver loaded = load();
  return loaded;
}

}  // namespace silica::cuda
