// SPDX-License-Identifier: MIT
// The first submit of a list launches its kernels one by one. The second makes a graph of them, which it and
// all later ones launch: commands of a stage are parallel branches there. Where cuBLASLt runs a command, the
// graph is a recording of the launches, one after the other.
#include <cstdint>
#include <limits>

#include "backends/cuda/cuda.h"
#include "core/format.h"
#include "core/program.h"

namespace silica::cuda {

namespace {

struct Launch {
  Function function = nullptr;
  unsigned blocks = 0, threads = 0;
  const std::byte* arguments = nullptr;              // in the program
  std::shared_ptr<const Product> product = nullptr;  // instead of a kernel
};

Launch make_launch(Session& session, const Command& command) {
  const auto& pipeline = static_cast<const CudaPipeline&>(*command.pipeline);
  Launch launch;
  launch.arguments = command.arguments.data();
  if (pipeline.fast != nullptr) {
    const Turn turn(session);
    launch.product = std::make_shared<Product>(session, *pipeline.fast, launch.arguments, command.grid);
    return launch;
  }
  std::uint64_t blocks = command.groups;
  if (pipeline.row != nullptr) {
    const Choice choice =
        pipeline.row->choose(*pipeline.row, {command.grid, launch.arguments, session.multiprocessors});
    launch.function =
        session.kernel(command.kernel, text_of(command.kernel, choice), entry_of(command.kernel)).function;
    launch.threads = choice.threads;
    blocks = choice.blocks;
  } else {
    launch.function = pipeline.kernel->function;
    launch.threads = pipeline.threads;
  }
  constexpr std::uint64_t most = std::numeric_limits<std::int32_t>::max();
  if (blocks > most) {
    fail(ErrorCode::unsupported, command.kernel, ": the command has ", blocks, " groups, CUDA runs at most ",
         most);
  }
  launch.blocks = static_cast<unsigned>(blocks);
  return launch;
}

// A program as this session runs it. Everything but the launches is guarded by the session's order.
class Prepared {
 public:
  Prepared(std::shared_ptr<Session> session, const silica::Program& program) : session_(std::move(session)) {
    for (const Command& command : program.commands) {
      launches_.push_back(make_launch(*session_, command));
      has_products_ = has_products_ || launches_.back().product != nullptr;
    }
  }

  // A graph is not destroyed while it runs. Memory needs no such care: it is freed in the order of the
  // stream.
  ~Prepared() {
    if (exec_ == nullptr || session_->lost()) return;
    const Current current(*session_);
    driver().stream_wait(session_->stream);
    driver().graph_exec_destroy(exec_);
  }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  void run(const silica::Program& program) {
    const bool again = submitted_;
    submitted_ = true;
    if (again && exec_ == nullptr && launches_.size() > 1 && !without_graph_) make_graph(program);
    if (exec_ != nullptr) {
      session_->check(driver().graph_launch(exec_, session_->stream), "submit");
      return;
    }
    for (const Launch& launch : launches_) launch_one(launch, session_->stream);
  }

 private:
  void launch_one(const Launch& launch, Stream stream) {
    if (launch.product) return launch.product->launch(*session_, stream);
    void* parameters[] = {const_cast<std::byte*>(launch.arguments)};
    session_->check(driver().launch(launch.function, launch.blocks, 1, 1, launch.threads, 1, 1, 0, stream,
                                    parameters, nullptr),
                    "submit");
  }

  // Without a graph the list still runs, so only a lost device is an error here.
  void make_graph(const silica::Program& program) {
    Graph graph = nullptr;
    Result result = has_products_ ? capture(graph) : driver().graph_create(&graph, 0);
    if (result == success && !has_products_) result = add_stages(program, graph);
    if (result == success) result = driver().graph_instantiate(&exec_, graph, 0);
    if (result != success) exec_ = nullptr;
    if (graph != nullptr) driver().graph_destroy(graph);
    without_graph_ = result != success;
    if (result != success && result != error_out_of_memory && !is_capture_error(result))
      session_->check(result, "making a graph");
  }

  // On a stream of its own: others may free memory in the order of the session's meanwhile.
  Result capture(Graph& graph) {
    Stream stream = nullptr;
    Result result = driver().stream_create(&stream, stream_non_blocking);
    if (result != success) return result;
    result = driver().capture_begin(stream, capture_thread_local);
    if (result == success) {
      bool whole = true;
      try {
        for (const Launch& launch : launches_) launch_one(launch, stream);
      } catch (const Error&) {
        whole = false;
      }
      result = driver().capture_end(stream, &graph);
      if (result == success && !whole) result = error_capture_invalidated;
    }
    driver().stream_destroy(stream);
    return result;
  }

  Result add_stages(const silica::Program& program, Graph graph) {
    std::vector<GraphNode> before, nodes;
    std::size_t i = 0;
    for (const std::size_t end : program.stage_ends) {
      if (const Result result = join(graph, before, end - i); result != success) return result;
      nodes.clear();
      for (; i < end; ++i) {
        void* parameters[] = {const_cast<std::byte*>(launches_[i].arguments)};
        const KernelNode kernel{launches_[i].function,
                                {launches_[i].blocks, 1, 1},
                                {launches_[i].threads, 1, 1},
                                0,
                                parameters,
                                nullptr};
        GraphNode node = nullptr;
        const Result result = driver().graph_add_kernel(&node, graph, before.data(), before.size(), &kernel);
        if (result != success) return result;
        nodes.push_back(node);
      }
      before.swap(nodes);
    }
    return success;
  }

  // Between two wide stages an empty node saves edges.
  static Result join(Graph graph, std::vector<GraphNode>& before, std::size_t next) {
    constexpr std::size_t few_edges = 16;
    if (before.size() < 2 || before.size() * next <= few_edges) return success;
    GraphNode node = nullptr;
    const Result result = driver().graph_add_empty(&node, graph, before.data(), before.size());
    before = {node};
    return result;
  }

  std::shared_ptr<Session> session_;
  std::vector<Launch> launches_;
  bool has_products_ = false, submitted_ = false, without_graph_ = false;
  GraphExec exec_ = nullptr;
};

class Submitted : public Fence::State {
 public:
  explicit Submitted(std::shared_ptr<Session> session)
      : session_(std::move(session)), event_(session_->take_event()) {}
  ~Submitted() override { session_->give_event(event_); }
  Submitted(const Submitted&) = delete;
  Submitted& operator=(const Submitted&) = delete;

  void record() { session_->check(driver().event_record(event_, session_->stream), "submit"); }

  bool done() const override {
    if (session_->lost()) return true;
    const Current current(*session_);
    const Result result = driver().event_query(event_);
    if (result == error_not_ready) return false;
    if (result != success) session_->note_lost(result, "a submitted list");
    return true;
  }

  void wait() const override {
    session_->check_usable();
    const Current current(*session_);
    session_->check(driver().event_wait(event_), "a submitted list");
    session_->check_usable();
  }

 private:
  std::shared_ptr<Session> session_;
  Event event_;
};

}  // namespace

Fence submit(const std::shared_ptr<Session>& session, const silica::Program& program) {
  std::shared_ptr<void> prepared;
  {
    const std::lock_guard lock(session->order);
    prepared = program.prepared;
  }
  session->check_usable();
  // Compiling takes a while; others may use the device meanwhile.
  if (!prepared) prepared = std::make_shared<Prepared>(session, program);
  const Turn turn(*session);
  if (!program.prepared) program.prepared = prepared;
  auto submitted = std::make_shared<Submitted>(session);
  static_cast<Prepared*>(program.prepared.get())->run(program);
  submitted->record();
  return Fence(std::move(submitted));
}

}  // namespace silica::cuda
