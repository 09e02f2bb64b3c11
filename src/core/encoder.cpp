// SPDX-License-Identifier: MIT
#include "silica/encoder.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>

#include "core/format.h"
#include "core/program.h"

namespace silica {

namespace {

std::uint64_t next_recording() {
  static std::atomic<std::uint64_t> count{0};
  return ++count;
}

// `map.silu.f32` -> `silu`: messages name the op. A user's kernel without dots is named whole.
std::string_view op_of(std::string_view kernel) {
  const std::size_t first = kernel.find('.');
  if (first == std::string_view::npos) return kernel;
  const std::string_view rest = kernel.substr(first + 1);
  return rest.substr(0, rest.find('.'));
}

bool is_write(Access access) { return access != Access::read; }

std::size_t begin_of(const Operand& operand) { return operand.tensor.offset(); }
std::size_t end_of(const Operand& operand) { return operand.tensor.offset() + operand.tensor.bytes(); }

void check_operand(std::string_view op, const Operand& operand, const Device& device,
                   std::uint64_t recording) {
  const Tensor& tensor = operand.tensor;
  if (!tensor) refuse(op, ": ", operand.name, " is no tensor (it was default-constructed)");
  if (tensor.size() == 0)
    refuse(op, ": ", operand.name, " is empty, its shape is ", to_string(tensor.shape()));
  if (!(tensor.device() == device)) {
    refuse(op, ": ", operand.name, " is on another device ('", tensor.device().name(),
           "') than the encoder ('", device.name(), "')");
  }
  if (tensor.storage()->temporary() && tensor.storage()->owner() != recording) {
    refuse(op, ": ", operand.name, " is a temporary of another encoder or of a list that was finished");
  }
}

void check_overlap(std::string_view op, const Operand& a, const Operand& b) {
  if (!is_write(a.access) && !is_write(b.access)) return;
  if (a.tensor.storage() != b.tensor.storage() || begin_of(a) >= end_of(b) || begin_of(b) >= end_of(a))
    return;
  const Operand& output = is_write(b.access) ? b : a;
  const Operand& other = is_write(b.access) ? a : b;
  const bool same = begin_of(a) == begin_of(b) && end_of(a) == end_of(b) &&
                    size_of(a.tensor.dtype()) == size_of(b.tensor.dtype());
  if (!same) refuse(op, ": ", output.name, " overlaps ", other.name, " in part");
  if (output.access == Access::in_place && other.access == Access::read) return;
  refuse(op, ": ", output.name, " is the same memory as ", other.name, ", which this op does not accept");
}

// Whether a command leaves nothing of a storage unwritten and reads nothing of what was there.
bool writes_all_first(std::span<const Operand> operands, const Storage& storage) {
  bool writes_all = false;
  for (const Operand& operand : operands) {
    if (operand.tensor.storage().get() != &storage) continue;
    if (operand.access == Access::read || operand.access == Access::read_write) return false;
    writes_all = writes_all || operand.tensor.bytes() == storage.bytes();
  }
  return writes_all;
}

std::uint64_t count_groups(std::string_view op, const Grid& grid, const Tile& tile) {
  if (tile.x == 0 || tile.y == 0 || tile.z == 0) {
    refuse(op, ": the kernel's tile ", tile.x, " x ", tile.y, " x ", tile.z, " is empty");
  }
  const auto tiles = [](std::uint64_t n, std::uint64_t t) { return n / t + (n % t != 0); };
  const std::uint64_t x = tiles(grid.x, tile.x), y = tiles(grid.y, tile.y), z = tiles(grid.z, tile.z);
  std::uint64_t groups = 0;
  if (__builtin_mul_overflow(x, y, &groups) || __builtin_mul_overflow(groups, z, &groups) || groups == 0) {
    refuse(op, ": the grid ", grid.x, " x ", grid.y, " x ", grid.z, " has no or too many groups");
  }
  return groups;
}

}  // namespace

struct CommandEncoder::Recording {
  Recording(const Device& target, Math permitted) : device(target), math(permitted) {}

  Device device;
  Math math;
  std::uint64_t id = next_recording();
  std::string_view op;  // that of the outermost transaction
  std::vector<Command> commands;
  // Temporaries in use, with the number of the command that first touched them.
  std::map<const Storage*, std::size_t> first_use;

  void undo(std::size_t count) {
    commands.resize(count);
    std::erase_if(first_use, [count](const auto& entry) { return entry.second >= count; });
  }
};

CommandEncoder::CommandEncoder(const Device& device, const EncoderOptions& options)
    : recording_(std::make_unique<Recording>(device, options.math)) {
  device.state();  // refuses a device that was moved from
  if (options.math == Math::fast) device.state().permit_fast();
}
CommandEncoder::~CommandEncoder() = default;
CommandEncoder::CommandEncoder(CommandEncoder&&) noexcept = default;
CommandEncoder& CommandEncoder::operator=(CommandEncoder&&) noexcept = default;

CommandEncoder::Recording& CommandEncoder::recording() const {
  if (!recording_) refuse("encoder: it was moved from");
  return *recording_;
}

Device CommandEncoder::device() const { return recording().device; }
Math CommandEncoder::math() const { return recording().math; }
std::size_t CommandEncoder::commands() const { return recording().commands.size(); }

Tensor CommandEncoder::temporary(DType dtype, const Shape& shape) {
  return Tensor(std::make_shared<Storage>(device(), byte_count(dtype, shape), recording().id), dtype, shape);
}

void CommandEncoder::check(std::string_view op, std::span<const Operand> operands) const {
  const Recording& current = recording();
  for (std::size_t i = 0; i < operands.size(); ++i) {
    check_operand(op, operands[i], current.device, current.id);
    for (std::size_t j = 0; j < i; ++j) check_overlap(op, operands[j], operands[i]);
  }
}

void CommandEncoder::dispatch_bytes(std::string_view kernel, std::span<const Operand> operands,
                                    std::span<const std::byte> parameters, const Grid& grid) {
  Recording& current = recording();
  const std::string_view op = current.op.empty() ? op_of(kernel) : current.op;
  check(op, operands);
  const std::size_t address_bytes = operands.size() * sizeof(std::uint64_t);
  if (address_bytes + parameters.size() > max_argument_bytes) {
    refuse(op, ": ", operands.size(), " operands and ", parameters.size(), " bytes of parameters make ",
           address_bytes + parameters.size(), " bytes of arguments, at most ", max_argument_bytes,
           " are possible");
  }
  Command command;
  command.kernel = kernel;
  command.pipeline = current.device.kernels().pipeline(kernel);
  command.grid = grid;
  command.groups = count_groups(op, grid, command.pipeline->tile);
  command.argument_bytes = address_bytes + parameters.size();
  std::memcpy(command.arguments.data() + address_bytes, parameters.data(), parameters.size());

  Transaction transaction(*this);
  for (const Operand& operand : operands) {
    const auto& storage = operand.tensor.storage();
    command.operands.push_back({storage, begin_of(operand), end_of(operand), is_write(operand.access)});
    if (!storage->temporary() || current.first_use.contains(storage.get())) continue;
    current.first_use.emplace(storage.get(), current.commands.size());
    if (writes_all_first(operands, *storage)) continue;
    // Memory is shared between temporaries, so one that is not written first is cleared to read as zero.
    const Tensor all(storage, DType::u8, {storage->bytes()});
    dispatch("map.zero", {write(all, "temporary")}, std::uint64_t{all.size()}, Grid{all.size()});
  }
  current.commands.push_back(std::move(command));
  transaction.commit();
}

CommandList CommandEncoder::finish() {
  auto next = std::make_unique<Recording>(device(), math());
  std::vector<Command>& commands = recording().commands;
  auto program = std::make_shared<Program>(Program{device(), {}, find_stages(commands), nullptr, 0});
  const Packing packing = pack_temporaries(commands, program->stage_ends);
  program->temporary_bytes_unpacked = packing.bytes_unpacked;
  if (packing.bytes > 0) program->arena = std::make_shared<Storage>(device(), packing.bytes);

  std::map<const Storage*, std::uint64_t> places;
  for (const auto& [storage, offset] : packing.offsets) {
    places.emplace(storage.get(), program->arena->memory().address + offset);
  }
  for (Command& command : commands) {
    for (std::size_t i = 0; i < command.operands.size(); ++i) {
      const MemoryRange& range = command.operands[i];
      const std::uint64_t base =
          range.storage->temporary() ? places.at(range.storage.get()) : range.storage->memory().address;
      const std::uint64_t address = base + range.begin;
      std::memcpy(command.arguments.data() + i * sizeof address, &address, sizeof address);
    }
  }
  program->commands = std::move(commands);
  recording_ = std::move(next);
  return CommandList(std::move(program));
}

CommandEncoder::Transaction::Transaction(CommandEncoder& encoder, std::string_view op)
    : encoder_(encoder),
      recording_(encoder.recording().id),
      commands_(encoder.commands()),
      names_op_(encoder.recording().op.empty()) {
  if (names_op_) encoder.recording().op = op;
}

CommandEncoder::Transaction::~Transaction() {
  Recording* const current = encoder_.recording_.get();
  if (current == nullptr || current->id != recording_) return;  // moved from, or finished
  if (names_op_) current->op = {};
  if (!committed_) current->undo(commands_);
}

const std::shared_ptr<const Program>& CommandList::program() const {
  if (!program_) refuse("command list: there is none (it was moved from, or made of nullptr)");
  return program_;
}

std::size_t CommandList::commands() const { return program()->commands.size(); }
std::size_t CommandList::stages() const { return program()->stage_ends.size(); }
std::size_t CommandList::temporary_bytes() const { return program()->arena ? program()->arena->bytes() : 0; }
std::size_t CommandList::temporary_bytes_unpacked() const { return program()->temporary_bytes_unpacked; }

}  // namespace silica
