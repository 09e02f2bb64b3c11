// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <ranges>
#include <span>
#include <type_traits>
#include <vector>

#include "silica/device.h"
#include "silica/dtype.h"
#include "silica/shape.h"

namespace silica {

class Storage;

template <class R>
concept ElementRange = std::ranges::contiguous_range<R> && std::ranges::sized_range<R> &&
                       requires { DTypeOf<std::ranges::range_value_t<R>>::value; };

// A handle to typed, shaped, contiguous memory on a device: storage + offset + shape + dtype. Copies and
// views share the storage. A tensor may be empty (an extent of 0); ops refuse such operands with a message.
// Threads: a handle is a value like any other; copies of it may be used on several threads at once.
class Tensor {
 public:
  Tensor() = default;  // no tensor; only good for being assigned to, or for "not wanted"

  // New memory, all zero. Errors: invalid_argument (bytes overflow), out_of_memory.
  Tensor(const Device& device, DType dtype, const Shape& shape);

  // New memory holding `values`. Errors: as above; invalid_argument if the counts differ.
  template <ElementRange R>
  Tensor(const Device& device, const Shape& shape, const R& values)
      : Tensor(device, dtype_of<std::ranges::range_value_t<R>>, shape) {
    upload(values);
  }

  explicit operator bool() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::size_t size() const { return storage_ ? shape_.size() : 0; }  // elements
  std::size_t bytes() const { return size() * size_of(dtype_); }
  Device device() const;

  // Views. `rows` takes `count` of the outermost extent from `first` on; offsets of views of views add up.
  // Errors: invalid_argument (out of range, another element count, or no tensor).
  Tensor rows(std::size_t first, std::size_t count) const;
  Tensor reshape(const Shape& shape) const;

  // Copy all elements from or to host memory, after whatever was submitted before; they return when done.
  // Errors: invalid_argument (dtype or count differ; an encoder's temporary, which has memory only while its
  // list runs), device_lost.
  template <ElementRange R> void upload(const R& values) const {
    using T = std::ranges::range_value_t<R>;
    upload_bytes(std::as_bytes(std::span<const T>(std::ranges::data(values), std::ranges::size(values))),
                 dtype_of<T>);
  }
  template <class T>
    requires(!std::is_const_v<T>)
  void download(std::span<T> values) const {
    download_bytes(std::as_writable_bytes(values), dtype_of<T>);
  }
  template <class T> std::vector<T> download() const {
    std::vector<T> values(size());
    download(std::span<T>(values));
    return values;
  }

  // The same for bytes that hold elements of `dtype`.
  void upload_bytes(std::span<const std::byte> bytes, DType dtype) const;
  void download_bytes(std::span<std::byte> bytes, DType dtype) const;

  const std::shared_ptr<Storage>& storage() const { return storage_; }
  std::size_t offset() const { return offset_; }  // bytes into the storage

 private:
  friend class CommandEncoder;
  Tensor(std::shared_ptr<Storage> storage, DType dtype, const Shape& shape);

  std::shared_ptr<Storage> storage_;
  std::size_t offset_ = 0;
  Shape shape_;
  DType dtype_ = DType::f32;
};

}  // namespace silica
