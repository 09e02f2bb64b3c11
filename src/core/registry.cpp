// SPDX-License-Identifier: MIT
#include <map>
#include <mutex>
#include <shared_mutex>

#include "core/backend.h"
#include "core/format.h"
#include "silica/kernel.h"

namespace silica {

namespace {

// Building locks the entry, not the registry: a slow compile holds up only those who want the same kernel.
struct Entry {
  explicit Entry(KernelSource from) : source(std::move(from)) {}
  const KernelSource source;
  std::mutex building;
  std::shared_ptr<const Pipeline> pipeline;
};

}  // namespace

struct KernelRegistry::Impl {
  Backend& backend;
  mutable std::shared_mutex mutex;
  std::map<std::string, std::shared_ptr<Entry>, std::less<>> entries;
};

KernelRegistry::KernelRegistry(Backend& backend) : impl_(new Impl{backend, {}, {}}) {
  for (auto& [name, source] : backend.kernels()) add(std::move(name), std::move(source));
}

KernelRegistry::~KernelRegistry() = default;

void KernelRegistry::add(std::string name, KernelSource source) {
  if (name.empty()) refuse("kernel registry: a kernel needs a name");
  std::unique_lock lock(impl_->mutex);
  if (impl_->entries.contains(name)) refuse("kernel registry: there is already a kernel called '", name, "'");
  impl_->entries.emplace(std::move(name), std::make_shared<Entry>(std::move(source)));
}

bool KernelRegistry::contains(std::string_view name) const {
  std::shared_lock lock(impl_->mutex);
  return impl_->entries.contains(name);
}

std::vector<std::string> KernelRegistry::names() const {
  std::shared_lock lock(impl_->mutex);
  std::vector<std::string> names;
  for (const auto& [name, entry] : impl_->entries) names.push_back(name);
  return names;
}

std::shared_ptr<const Pipeline> KernelRegistry::pipeline(std::string_view name) {
  std::shared_ptr<Entry> entry;
  {
    std::shared_lock lock(impl_->mutex);
    const auto found = impl_->entries.find(name);
    if (found == impl_->entries.end()) refuse("kernel registry: there is no kernel called '", name, "'");
    entry = found->second;
  }
  std::lock_guard lock(entry->building);
  if (!entry->pipeline) entry->pipeline = impl_->backend.build(name, entry->source);
  return entry->pipeline;
}

}  // namespace silica
