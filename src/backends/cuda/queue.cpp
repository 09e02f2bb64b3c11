// SPDX-License-Identifier: MIT
// The first submit of a list launches its kernels one by one. The second makes a graph of them, which it and
// all later ones launch: commands of a stage are parallel branches there. Where cuBLASLt runs a command, the
// graph is a recording of the launches, one after the other.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "backends/cuda/cuda.h"
#include "core/format.h"
#include "core/program.h"

namespace silica::cuda {

namespace {

struct Launch {
  Function function = nullptr;
  unsigned blocks = 0, threads = 0, shared_bytes = 0;
  std::vector<std::byte> arguments;
  std::shared_ptr<const Product> product = nullptr;  // instead of a kernel
  bool waits = false;          // itself for the kernel before, so that it may start early
  std::vector<Launch> before;  // what runs first, the one beside the other
};

Launch make_launch(const Command& command, const LoadedKernel& kernel, std::uint64_t blocks, unsigned threads,
                   std::span<const std::byte> arguments) {
  constexpr std::uint64_t most = std::numeric_limits<std::int32_t>::max();
  if (blocks > most) {
    fail(ErrorCode::unsupported, command.kernel, ": the command has ", blocks, " groups, CUDA runs at most ",
         most);
  }
  Launch launch;
  launch.function = kernel.function;
  launch.blocks = static_cast<unsigned>(blocks);
  launch.threads = threads;
  launch.arguments.assign(arguments.begin(), arguments.end());
  return launch;
}

Launch make_launch(Session& session, const Command& command, const Choice& choice) {
  const std::string& name = command.kernel;
  const LoadedKernel& kernel =
      session.kernel(name, text_of(name, choice), entry_of(name), choice.shared_bytes, choice.is_specific);
  const std::span<const std::byte> own = choice.block;
  Launch launch = make_launch(command, kernel, choice.blocks, choice.threads,
                              own.empty() ? std::span<const std::byte>(command.arguments) : own);
  launch.waits = session.architecture >= 90;
  launch.shared_bytes = choice.shared_bytes;
  for (const Choice& first : choice.before) launch.before.push_back(make_launch(session, command, first));
  return launch;
}

// A program as this session runs it. Everything but the launches is guarded by the session's order.
class Prepared {
 public:
  Prepared(std::shared_ptr<Session> session, const silica::Program& program) : session_(std::move(session)) {
    const Current current(*session_);  // tensor maps are made in it
    session_->check(current.result(), "the context");
    std::vector<Choice> choices = choose(program);
    make_scratch(program, choices);
    std::size_t i = 0;
    for (const std::size_t end : program.stage_ends) {
      std::uint64_t scratch = scratch_ ? scratch_->address : 0;
      for (; i < end; ++i) launches_.push_back(prepare(program.commands[i], choices[i], scratch));
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
  // The nodes that the next stage comes after.
  struct Frontier {
    std::vector<GraphNode> nodes;
    bool joined = false;  // into an empty node
    bool is_a_kernel() const { return nodes.size() == 1 && !joined; }
  };

  static const CatalogueRow* row_of(const Command& command) {
    return static_cast<const CudaPipeline&>(*command.pipeline).row;
  }

  Request request_of(const Command& command, std::uint64_t scratch) const {
    return {command.grid,           command.arguments.data(), session_->multiprocessors,
            session_->architecture, may_use_scratch_,         scratch};
  }

  // As if there were scratch memory; empty for a kernel that is not of the catalogue.
  std::vector<Choice> choose(const silica::Program& program) const {
    std::vector<Choice> choices;
    for (const Command& command : program.commands) {
      const CatalogueRow* row = row_of(command);
      choices.push_back(row == nullptr ? Choice{} : row->choose(*row, request_of(command, 0)));
    }
    return choices;
  }

  // Commands of one stage run at the same time, so each has its own part of the scratch memory.
  void make_scratch(const silica::Program& program, const std::vector<Choice>& choices) {
    std::size_t bytes = 0, i = 0;
    for (const std::size_t end : program.stage_ends) {
      std::size_t of_stage = 0;
      for (; i < end; ++i) of_stage += choices[i].scratch;
      bytes = std::max(bytes, of_stage);
    }
    if (bytes == 0) return;
    try {
      scratch_ = allocate(session_, bytes);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::out_of_memory) throw;
      may_use_scratch_ = false;  // slower, but it runs
    }
  }

  Launch prepare(const Command& command, Choice& choice, std::uint64_t& scratch) {
    const auto& pipeline = static_cast<const CudaPipeline&>(*command.pipeline);
    if (pipeline.fast != nullptr) {
      const Turn turn(*session_);
      has_products_ = true;
      Launch launch;
      launch.product =
          std::make_shared<Product>(*session_, *pipeline.fast, command.arguments.data(), command.grid);
      return launch;
    }
    if (pipeline.row == nullptr) {
      return make_launch(command, *pipeline.kernel, command.groups, pipeline.threads, command.arguments);
    }
    if (choice.scratch != 0) choice = pipeline.row->choose(*pipeline.row, request_of(command, scratch));
    scratch += choice.scratch;
    return make_launch(*session_, command, choice);
  }

  void launch_one(const Launch& launch, Stream stream) {
    if (launch.product) return launch.product->launch(*session_, stream);
    for (const Launch& first : launch.before) launch_one(first, stream);
    void* parameters[] = {const_cast<std::byte*>(launch.arguments.data())};
    session_->check(driver().launch(launch.function, launch.blocks, 1, 1, launch.threads, 1, 1,
                                    launch.shared_bytes, stream, parameters, nullptr),
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
    Frontier before;
    std::size_t i = 0;
    for (const std::size_t end : program.stage_ends) {
      if (const Result result = join(graph, before, end - i); result != success) return result;
      Frontier next;
      for (; i < end; ++i) {
        if (const Result result = add_launch(graph, launches_[i], before, next); result != success)
          return result;
      }
      before = std::move(next);
    }
    return success;
  }

  static Result add_launch(Graph graph, const Launch& launch, const Frontier& before, Frontier& next) {
    Frontier own;
    for (const Launch& first : launch.before) {
      if (const Result result = add_launch(graph, first, before, own); result != success) return result;
    }
    const Frontier& after = own.nodes.empty() ? before : own;
    const bool early = launch.waits && after.is_a_kernel() && driver().graph_add_edges != nullptr;
    void* parameters[] = {const_cast<std::byte*>(launch.arguments.data())};
    const KernelNode kernel{
        launch.function, {launch.blocks, 1, 1}, {launch.threads, 1, 1}, launch.shared_bytes, parameters,
        nullptr};
    GraphNode node = nullptr;
    Result result =
        driver().graph_add_kernel(&node, graph, after.nodes.data(), early ? 0 : after.nodes.size(), &kernel);
    if (result == success && early) {
      result = driver().graph_add_edges(graph, after.nodes.data(), &node, &early_start, 1);
    }
    next.nodes.push_back(node);
    return result;
  }

  // Between two wide stages an empty node saves edges.
  static Result join(Graph graph, Frontier& before, std::size_t next) {
    constexpr std::size_t few_edges = 16;
    if (before.nodes.size() < 2 || before.nodes.size() * next <= few_edges) return success;
    GraphNode node = nullptr;
    const Result result = driver().graph_add_empty(&node, graph, before.nodes.data(), before.nodes.size());
    before = {{node}, true};
    return result;
  }

  std::shared_ptr<Session> session_;
  std::unique_ptr<Memory> scratch_;
  bool may_use_scratch_ = true;
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
