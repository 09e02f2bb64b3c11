// SPDX-License-Identifier: MIT
#include "inject.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <new>

namespace silica::test {

namespace {

std::atomic<bool> armed{false}, fired{false};
std::atomic<std::size_t> left{0};
Fault armed_fault{};

// Whether this event is the one.
bool strikes(Fault fault) {
  if (!armed.load(std::memory_order_acquire) || armed_fault != fault) return false;
  if (left.fetch_sub(1) != 1) return false;
  fired = true;
  return true;
}

// For every file operation.
bool file_fails() {
  if (strikes(Fault::crash)) ::_exit(Injection::crash_status);
  if (!strikes(Fault::file)) return false;
  errno = EIO;
  return true;
}

bool interrupted() {
  if (!strikes(Fault::interrupt)) return false;
  errno = EINTR;
  return true;
}

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  if (strikes(Fault::allocation)) return nullptr;
  if (bytes == 0) bytes = 1;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  if (void* block = allocate(bytes, alignment)) return block;
  throw std::bad_alloc();
}

}  // namespace

Injection::Injection(Fault fault, std::size_t n) {
  fired = false;
  left = n;
  armed_fault = fault;
  armed.store(true, std::memory_order_release);
}

Injection::~Injection() { stop(); }
void Injection::stop() { armed = false; }
bool Injection::happened() { return fired; }

}  // namespace silica::test

using silica::test::allocate;
using silica::test::allocate_or_throw;
using silica::test::Fault;

// ---- operator new, of everything in the process

constexpr std::size_t usual = alignof(std::max_align_t);
void* operator new(std::size_t n) { return allocate_or_throw(n, usual); }
void* operator new[](std::size_t n) { return allocate_or_throw(n, usual); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return allocate(n, usual); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return allocate(n, usual); }
void* operator new(std::size_t n, std::align_val_t a) {
  return allocate_or_throw(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a) {
  return allocate_or_throw(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

extern "C" {

// ---- pthread_create, of everything in the process

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*),
                   void* argument) noexcept {
  if (silica::test::strikes(Fault::thread)) return EAGAIN;
  using Function = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_create"));
  return real(thread, attributes, function, argument);
}

// ---- by the linker's --wrap

void* __real_calloc(std::size_t count, std::size_t bytes);
void* __wrap_calloc(std::size_t count, std::size_t bytes) {
  return silica::test::strikes(Fault::allocation) ? nullptr : __real_calloc(count, bytes);
}

int __real_open(const char* path, int flags, ...);
int __wrap_open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list rest;
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
  }
  return silica::test::file_fails() ? -1 : __real_open(path, flags, mode);
}

ssize_t __real_read(int file, void* bytes, std::size_t count);
ssize_t __wrap_read(int file, void* bytes, std::size_t count) {
  return silica::test::file_fails() || silica::test::interrupted() ? -1 : __real_read(file, bytes, count);
}

ssize_t __real_write(int file, const void* bytes, std::size_t count);
ssize_t __wrap_write(int file, const void* bytes, std::size_t count) {
  if (silica::test::file_fails() || silica::test::interrupted()) return -1;
  static bool full = false;  // the write after one that was cut short
  if (full) {
    full = false;
    errno = ENOSPC;
    return -1;
  }
  full = silica::test::strikes(Fault::disk_full);
  return __real_write(file, bytes, full ? 1 : count);
}

int __real_close(int file);
int __wrap_close(int file) {  // as Linux does it: closed in any case
  const bool fails = silica::test::file_fails();
  const int result = __real_close(file);
  if (fails) errno = EIO;
  return fails ? -1 : result;
}

#define WRAP_FILE_OPERATION(name, parameters, arguments) \
  int __real_##name parameters;                          \
  int __wrap_##name parameters { return silica::test::file_fails() ? -1 : __real_##name arguments; }
WRAP_FILE_OPERATION(fsync, (int file), (file))
WRAP_FILE_OPERATION(fstat, (int file, struct stat* status), (file, status))
WRAP_FILE_OPERATION(rename, (const char* from, const char* to), (from, to))
WRAP_FILE_OPERATION(unlink, (const char* path), (path))
}
