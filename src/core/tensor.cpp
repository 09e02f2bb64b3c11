// SPDX-License-Identifier: MIT
#include "silica/tensor.h"

#include <cstdint>
#include <limits>

#include "core/device_state.h"
#include "core/format.h"

namespace silica {

namespace {

// What a transfer needs to be true of the tensor and the host memory.
void check_transfer(const Tensor& tensor, const char* what, std::size_t bytes, DType dtype) {
  if (!tensor) refuse(what, ": there is no tensor (it was default-constructed)");
  if (tensor.storage()->temporary()) {
    refuse(what,
           ": the tensor is an encoder's temporary and has memory only while its list runs; copy it to ",
           "a tensor of your own in the list");
  }
  if (dtype != tensor.dtype()) {
    refuse(what, ": host memory is ", to_string(dtype), ", the tensor is ", to_string(tensor.dtype()));
  }
  if (bytes != tensor.bytes()) {
    refuse(what, ": host memory has ", bytes / size_of(dtype), " elements, the tensor has ", tensor.size());
  }
}

}  // namespace

std::size_t byte_count(DType dtype, const Shape& shape) {
  if (shape.size() > std::numeric_limits<std::size_t>::max() / 2 / size_of(dtype)) {
    refuse("tensor: the bytes of ", to_string(shape), " ", to_string(dtype), " do not fit 63 bits");
  }
  return shape.size() * size_of(dtype);
}

Storage::Storage(Device device, std::size_t bytes)
    : device_(std::move(device)), bytes_(bytes), memory_(device_.state().backend->allocate(bytes)) {
  device_.state().memory.add(bytes_);
}

Storage::Storage(Device device, std::size_t bytes, std::uint64_t owner)
    : device_(std::move(device)), bytes_(bytes), owner_(owner) {}

Storage::~Storage() {
  if (memory_) device_.state().memory.remove(bytes_);
}

Tensor::Tensor(const Device& device, DType dtype, const Shape& shape)
    : Tensor(std::make_shared<Storage>(device, byte_count(dtype, shape)), dtype, shape) {}

Tensor::Tensor(std::shared_ptr<Storage> storage, DType dtype, const Shape& shape)
    : storage_(std::move(storage)), shape_(shape), dtype_(dtype) {}

Device Tensor::device() const {
  if (!storage_) refuse("tensor: a default-constructed tensor has no device");
  return storage_->device();
}

Tensor Tensor::rows(std::size_t first, std::size_t count) const {
  if (!storage_ || shape_.rank() == 0) refuse("rows: the tensor has no rows (it is a scalar or no tensor)");
  const std::size_t rows = shape_[0];
  if (first > rows || count > rows - first) {
    refuse("rows: ", count, " rows from ", first, " on do not lie in ", to_string(shape_));
  }
  std::vector<std::size_t> extents(shape_.begin(), shape_.end());
  extents[0] = count;
  Tensor view = *this;
  view.shape_ = Shape(extents);
  if (rows > 0) view.offset_ += first * (bytes() / rows);
  return view;
}

Tensor Tensor::reshape(const Shape& shape) const {
  if (!storage_) refuse("reshape: there is no tensor (it was default-constructed)");
  if (shape.size() != shape_.size()) {
    refuse("reshape: ", to_string(shape), " has ", shape.size(), " elements, the tensor has ", shape_.size());
  }
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

void Tensor::upload_bytes(std::span<const std::byte> from, DType dtype) const {
  check_transfer(*this, "upload", from.size(), dtype);
  if (!from.empty()) storage_->device().state().backend->upload(storage_->memory(), offset_, from);
}

void Tensor::download_bytes(std::span<std::byte> to, DType dtype) const {
  check_transfer(*this, "download", to.size(), dtype);
  if (!to.empty()) storage_->device().state().backend->download(storage_->memory(), offset_, to);
}

}  // namespace silica
