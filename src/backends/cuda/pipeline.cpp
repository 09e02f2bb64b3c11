// SPDX-License-Identifier: MIT
#include "backends/cuda/cuda.h"
#include "backends/cuda/tensor_core.h"
#include "core/format.h"

namespace silica::cuda {

namespace {

constexpr unsigned most_threads = 1024;  // of a block, on every device

// Everything that the compiled code depends on.
DiskCache::Key cache_key(const std::string& text, const Target& target) {
  Sha256 hash;
  const auto add = [&hash](std::string_view part) {
    hash.add(message(part.size(), ":"));
    hash.add(part);
  };
  add(message("nvrtc ", nvrtc_version()));
  for (const std::string& option : compile_options(target)) add(option);
  for (const EmbeddedFile& file : embedded_files()) {
    add(file.name);
    add(file.text);
  }
  add(text);
  return hash.finish();
}

KernelSource source_of(const CatalogueRow& row) {
  alignas(8) constexpr std::array<std::byte, max_argument_bytes> no_arguments{};
  const Choice choice = row.choose(row, {Grid{}, no_arguments.data(), 1});
  KernelSource source;
  source.cuda = {text_of(row.name, choice), entry_of(row.name), Tile{}, choice.threads};
  return source;
}

}  // namespace

std::vector<std::pair<std::string, KernelSource>> library_kernels() {
  std::vector<std::pair<std::string, KernelSource>> kernels;
  for (const CatalogueRow& row : catalogue()) kernels.emplace_back(row.name, source_of(row));
  return kernels;
}

std::shared_ptr<const Pipeline> build(Session& session, std::string_view name, const KernelSource& source) {
  session.check_usable();
  if (const CatalogueRow* row = find_in_catalogue(name)) return std::make_shared<CudaPipeline>(*row);
  if (const CatalogueRow* row = find_tensor_core_kernel(name)) return std::make_shared<CudaPipeline>(*row);
  if (const FastKernel* fast = find_fast_kernel(name)) return std::make_shared<CudaPipeline>(*fast);
  const CudaSource& cuda = source.cuda;
  if (cuda.text.empty()) fail(ErrorCode::unsupported, name, ": the kernel has no source for CUDA");
  if (cuda.entry.empty()) refuse(name, ": the CUDA source names no entry");
  if (cuda.threads == 0 || cuda.threads > most_threads) {
    refuse(name, ": a block of ", cuda.threads, " threads is not possible, expected 1 to ", most_threads);
  }
  return std::make_shared<CudaPipeline>(cuda.tile, session.kernel(name, cuda.text, cuda.entry), cuda.threads);
}

std::vector<std::byte> Session::image(std::string_view kernel_name, const std::string& text,
                                      const Target& target) {
  const DiskCache::Key key = cache_key(text, target);
  if (auto cached = cache_.load(key)) return std::move(*cached);
  std::vector<std::byte> compiled = compile(kernel_name, text, target);
  cache_.store(key, compiled);
  return compiled;
}

LoadedKernel& Session::load(std::string_view kernel_name, const std::string& text, const std::string& entry,
                            bool specific) {
  const std::string key = message(entry, "\n", text);
  if (const auto found = kernels_.find(key); found != kernels_.end()) return found->second;
  Target target = target_;
  target.specific = specific;
  const std::vector<std::byte> binary = image(kernel_name, text, target);
  const Current current(*this);
  check(current.result(), "the context");
  LoadedKernel loaded;
  check(driver().module_load(&loaded.module, binary.data()), "loading a kernel");
  if (const Result result = driver().module_function(&loaded.function, loaded.module, entry.c_str());
      result != success) {
    driver().module_unload(loaded.module);
    fail(ErrorCode::compile_failed, kernel_name,
         ": the CUDA source has no extern \"C\" __global__ function '", entry, "' (",
         driver().describe(result), ")");
  }
  return kernels_.emplace(key, loaded).first->second;
}

const LoadedKernel& Session::kernel(std::string_view kernel_name, const std::string& text,
                                    const std::string& entry, unsigned shared_bytes, bool specific) {
  const std::lock_guard loading(loading_);
  LoadedKernel& loaded = load(kernel_name, text, entry, specific);
  if (shared_bytes > loaded.shared_bytes) {  // never less than an earlier list of commands needs
    const Current current(*this);
    check(
        driver().function_set(loaded.function, function_dynamic_shared_bytes, static_cast<int>(shared_bytes)),
        "shared memory");
    loaded.shared_bytes = shared_bytes;
  }
  return loaded;
}

}  // namespace silica::cuda
