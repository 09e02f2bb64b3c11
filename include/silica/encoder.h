// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>

#include "silica/device.h"
#include "silica/kernel.h"
#include "silica/tensor.h"

namespace silica {

struct Program;

// What a kernel does with an operand. `write` promises nothing about what was there and must not overlap any
// other operand. `in_place` is a `write` that may also be exactly one of the inputs: the kernel writes
// element i only after its last read of element i. No other overlap with a written operand is accepted.
enum class Access { read, write, in_place, read_write };

struct Operand {
  Tensor tensor;
  Access access;
  const char* name;  // for messages: `silu: y overlaps x in part`
};

inline Operand read(const Tensor& tensor, const char* name) { return {tensor, Access::read, name}; }
inline Operand write(const Tensor& tensor, const char* name) { return {tensor, Access::write, name}; }
inline Operand in_place(const Tensor& tensor, const char* name) { return {tensor, Access::in_place, name}; }
inline Operand read_write(const Tensor& tensor, const char* name) {
  return {tensor, Access::read_write, name};
}

// What an encoder produces: immutable, submitted any number of times. Keeps every tensor it touches alive.
// One that was moved from or made of nullptr refuses all but its destruction and being assigned to. Threads:
// safe to submit and ask from several at once.
class CommandList {
 public:
  explicit CommandList(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

  std::size_t commands() const;
  std::size_t stages() const;  // runs of commands that need no barrier between them
  // Memory of the encoder's temporaries, packed by lifetime; and what they would take unpacked.
  std::size_t temporary_bytes() const;
  std::size_t temporary_bytes_unpacked() const;

  // Errors: invalid_argument if there is none.
  const std::shared_ptr<const Program>& program() const;

 private:
  std::shared_ptr<const Program> program_;
};

// What matmul and feed_forward and their gradients may use. `exact`: the contract of docs/exactness.md.
// `fast` permits what is faster and inexact, where the device has it (CUDA: tensor cores, through cuBLASLt
// and kernels of the library's own for sm_90), within the error bounds stated there; where it has nothing of
// the kind, and for every other op, results are exact.
enum class Math { exact, fast };

struct EncoderOptions {
  Math math = Math::exact;
};

// Records commands. Hazards between them are found from the declared accesses, always; nothing runs before
// submit. One that was moved from refuses all but its destruction and being assigned to. Threads: one at a
// time; different encoders may record on different threads, for one device too.
class CommandEncoder {
 public:
  explicit CommandEncoder(const Device& device, const EncoderOptions& options = {});
  ~CommandEncoder();
  CommandEncoder(CommandEncoder&&) noexcept;
  CommandEncoder& operator=(CommandEncoder&&) noexcept;

  Device device() const;
  Math math() const;
  std::size_t commands() const;  // recorded so far

  // Scratch that lives from its first to its last use in this list. Reads as zero where nothing wrote it.
  Tensor temporary(DType dtype, const Shape& shape);

  // Records one kernel. `parameters` is a trivially copyable struct, copied now; it follows the operands'
  // addresses in the kernel's arguments (kernel.h). Errors: invalid_argument (no tensor, empty, another
  // device's or another encoder's, overlap, too many arguments), and those of KernelRegistry::pipeline.
  // A refused dispatch changes nothing.
  template <class Parameters>
    requires std::is_trivially_copyable_v<Parameters>
  void dispatch(std::string_view kernel, std::initializer_list<Operand> operands,
                const Parameters& parameters, const Grid& grid) {
    dispatch_bytes(kernel, std::span(operands.begin(), operands.size()),
                   std::as_bytes(std::span(&parameters, 1)), grid);
  }
  void dispatch_bytes(std::string_view kernel, std::span<const Operand> operands,
                      std::span<const std::byte> parameters, const Grid& grid);

  // Refuses the operands that a dispatch of this op would refuse: for an op of several dispatches.
  void check(std::string_view op, std::span<const Operand> operands) const;

  // Ends the recording and empties the encoder, which may then record another list. Temporaries of the ended
  // list can no longer be used. Errors: out_of_memory, with the encoder unchanged.
  CommandList finish();

  // Undoes every dispatch since it was made, unless committed: ops of several dispatches are all or nothing.
  // While it lives, refusals name the outermost one's `op`, if given, rather than the kernel. `op` must
  // outlive it.
  class Transaction {
   public:
    explicit Transaction(CommandEncoder& encoder, std::string_view op = {});
    ~Transaction();
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    void commit() { committed_ = true; }

   private:
    CommandEncoder& encoder_;
    std::uint64_t recording_;
    std::size_t commands_;
    bool names_op_;
    bool committed_ = false;
  };

 private:
  struct Recording;
  Recording& recording() const;

  std::unique_ptr<Recording> recording_;
};

}  // namespace silica
