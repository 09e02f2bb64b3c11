// SPDX-License-Identifier: MIT
#include "bench/bench.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "errors.h"
#include "file.h"

namespace silica::bench {
namespace {

using app::BenchOptions;
using app::fail;
using Clock = std::chrono::steady_clock;

const Clock::time_point program_start = Clock::now();

// ---- what was asked for

std::size_t parse_number(std::string_view text, std::string_view whole, const char* option) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail(ErrorCode::invalid_argument, "{}: {} is no number, 2^number or extents like 512x64", option,
         app::quote(whole));
  }
  return value;
}

// "1000", "2^20", "512x1536x576"
Extents parse_extents(const std::string& text, const char* option) {
  Extents extents;
  for (std::string_view rest = text;;) {
    const std::size_t cut = std::min(rest.find('x'), rest.size());
    const std::string_view part = rest.substr(0, cut);
    if (part.starts_with("2^")) {
      const std::size_t exponent = parse_number(part.substr(2), text, option);
      if (exponent > 62) fail(ErrorCode::invalid_argument, "{}: {} is too large", option, app::quote(text));
      extents.push_back(std::size_t{1} << exponent);
    } else {
      extents.push_back(parse_number(part, text, option));
    }
    if (cut == rest.size()) return extents;
    rest.remove_prefix(cut + 1);
  }
}

Choice parse(const BenchOptions& options) {
  Choice choice{.ops = options.ops,
                .math = options.fast ? Math::fast : Math::exact,
                .options = {options.transpose_a, options.transpose_b},
                .in_out = options.in_out};
  for (const std::string& name : options.dtypes) {
    const std::optional<DType> dtype = parse_dtype(name);
    if (!dtype || !is_float(*dtype)) {
      fail(ErrorCode::invalid_argument, "--dtype: {} is none of f32, f16, bf16", app::quote(name));
    }
    choice.dtypes.push_back(*dtype);
  }
  for (const std::string& text : options.sizes) choice.sizes.push_back(parse_extents(text, "--size"));
  for (const std::string& text : options.shapes) choice.shapes.push_back(parse_extents(text, "--shape"));
  return choice;
}

// What the CPU device uses, too.
unsigned count_threads(unsigned asked) {
  if (asked > 0) return asked;
  const char* text = std::getenv("SILICA_THREADS");
  if (text != nullptr && *text != '\0') return static_cast<unsigned>(std::strtoul(text, nullptr, 10));
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set)) : 1;
}

// ---- one row

std::unique_ptr<Runner> silicas_runner(const Device& device, const Work& work, const Operands& operands) {
  if (!work.list)
    return std::make_unique<ListRunner>(device, work.encode, operands.in, make_outputs(device, work),
                                        EncoderOptions{work.math});
  return std::make_unique<ListRunner>(
      device, [list = work.list(device)](unsigned) { return list; }, Tensors(), 1);
}

// The peers that do the work, and do it right.
struct Contest {
  std::vector<std::unique_ptr<Runner>> runners;  // of those without a refusal, in their order
  std::vector<PeerResult> results;
};

Contest gather(const Peers& peers, const Work& work, const Operands& operands, Runner& silicas) {
  Contest contest;
  if (peers.present.empty() || work.list) return contest;
  const std::vector<Sample> expected = silicas.results();
  for (const auto& peer : peers.present) {
    PeerResult result{.name = peer->name()};
    try {
      std::unique_ptr<Runner> runner = peer->take(work, operands);
      if (!runner) continue;
      result.difference = difference(expected, runner->results(), work.dtype);
      // TF32 has as many bits as f16.
      const bool tf32 = work.math == Math::fast && work.dtype == DType::f32;
      if (is_wrong(result.difference, tf32 ? DType::f16 : work.dtype)) {
        result.refusal = fmt::format("wrong by {:.0e}", result.difference.relative);
      } else {
        runner->prepare(1);  // what cannot be captured in a graph says so here
        contest.runners.push_back(std::move(runner));
      }
    } catch (const std::exception& error) {
      result.refusal = error.what();
    }
    contest.results.push_back(std::move(result));
  }
  return contest;
}

std::optional<Limit> limit_of(const Row& row, const Limits& limits, const std::vector<double>& rates) {
  if (!rates.empty()) return Limit{row.flops > 0 ? "fma" : "copy", std::ranges::max(rates)};
  if (row.flops == 0 && row.bytes > 0 && limits.copy_rate() > 0) return Limit{"copy", limits.copy_rate()};
  std::optional<Limit> fastest;
  for (const PeerResult& peer : row.peers) {
    if (row.flops == 0 || !peer.refusal.empty()) continue;
    if (!fastest || row.rate(peer.timing) > fastest->rate) fastest = {peer.name, row.rate(peer.timing)};
  }
  return fastest;
}

// ---- everything

std::string machine() {
  utsname name{};
  uname(&name);
  return fmt::format("{} {} {}", name.sysname, name.release, name.machine);
}

std::string now() {
  const std::time_t time = std::time(nullptr);
  char text[32] = {};
  std::tm parts{};
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&time, &parts));
  return text;
}

Report describe(const Device& device, const BenchOptions& options) {
  return {.version = SILICA_VERSION,
          .date = now(),
          .machine = machine(),
          .device = device.name(),
          .description = device.info().description,
          .command = options.command,
          .threads = count_threads(options.device.threads),
          .exact = device.exact()};
}

// How long a program waits for its first result: for drivers, the device, a kernel.
Report run_first(const BenchOptions& options) {
  if (options.ops.size() > 1 || !options.dtypes.empty() || !options.sizes.empty() ||
      !options.shapes.empty()) {
    fail(ErrorCode::invalid_argument,
         "bench: first is measured alone, and takes no --dtype, --size or --shape");
  }
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const Device device = open_device(options.device);
  const double opened = seconds_since(program_start);
  const Tensor x(device, DType::f32, {1000}), y(device, DType::f32, {1000});
  CommandEncoder encoder(device);
  silu(encoder, x, y);
  device.submit(encoder.finish()).wait();
  const double done = seconds_since(program_start);
  Report report = describe(device, options);
  const auto add = [&](const char* shape, double seconds) {
    report.rows.push_back(
        {.op = "first", .dtype = "f32", .shape = shape, .timing = {seconds, seconds, seconds, 1, 1}});
  };
  add("device", opened);
  add("result", done);
  return report;
}

void show_progress(std::size_t done, const std::vector<Work>& all) {
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r\x1b[K");
  if (done == all.size()) return;
  fmt::print(stderr, "{}/{} {} {}", done + 1, all.size(), all[done].op, shape_text(all[done]));
  std::fflush(stderr);
}

std::string text_of(const Report& report, const std::string& output) {
  return output == "json" ? to_json(report) : output == "csv" ? to_csv(report) : to_markdown(report);
}

// OpenMP and OpenBLAS read their environment when they are loaded, which is before main: so once more from
// the start.
void restart_for_peers(unsigned threads) {
  bool as_wanted = true;
  for (const auto& [name, value] : environment_of_peers(threads)) {
    const char* is = std::getenv(name.c_str());
    as_wanted = as_wanted && is != nullptr && is == value;
    setenv(name.c_str(), value.c_str(), 1);
  }
  if (as_wanted) return;
  std::string arguments = app::read_file("/proc/self/cmdline", 1 << 20);
  std::vector<char*> argv;
  for (std::size_t at = 0; at < arguments.size(); at += std::strlen(arguments.data() + at) + 1) {
    argv.push_back(arguments.data() + at);
  }
  argv.push_back(nullptr);
  execv("/proc/self/exe", argv.data());  // if it fails, the peers are slower than they need be
}

}  // namespace

Row measure(const Device& device, const Work& work, const Limits& limits, const Peers& peers,
            const Effort& effort) {
  const Operands operands = make_operands(device, work);
  const auto silicas = silicas_runner(device, work, operands);
  Contest contest = gather(peers, work, operands, *silicas);
  const std::vector<LimitCandidate> candidates = limits.beside(work);

  std::vector<Runner*> runners = {silicas.get()};
  for (const auto& runner : contest.runners) runners.push_back(runner.get());
  for (const LimitCandidate& candidate : candidates) runners.push_back(candidate.runner.get());
  const std::vector<Timing> timings = measure_in_turn(runners, effort);

  Row row{.op = work.op,
          .dtype = std::string(to_string(work.dtype)),
          .shape = shape_text(work),
          .elements = work.elements,
          .bytes = work.bytes,
          .flops = work.flops,
          .sums = work.sums,
          .timing = timings[0],
          .peers = std::move(contest.results)};
  auto timing = timings.begin() + 1;
  for (PeerResult& peer : row.peers) {
    if (peer.refusal.empty()) peer.timing = *timing++;
  }
  std::vector<double> rates;
  for (const LimitCandidate& candidate : candidates) rates.push_back(candidate.amount / (timing++)->median);
  row.limit = limit_of(row, limits, rates);
  return row;
}

Report run(const BenchOptions& options) {
  if (std::ranges::find(options.ops, "first") != options.ops.end()) return run_first(options);
  const Choice choice = parse(options);
  const Device device = open_device(options.device);
  const std::vector<Work> all = works(choice, device.info());
  Report report = describe(device, options);
  const Effort effort{options.seconds, options.repeats};
  const Peers peers = options.peers ? find_peers(device, report.threads) : Peers();
  for (const auto& peer : peers.present) report.peers.emplace_back(peer->name(), peer->version());
  report.missing = peers.missing;
  const Limits limits(device, report.threads, effort);
  for (std::size_t i = 0; i < all.size(); ++i) {
    show_progress(i, all);
    report.rows.push_back(measure(device, all[i], limits, peers, effort));
  }
  show_progress(all.size(), all);
  return report;
}

}  // namespace silica::bench

namespace silica::app {

int bench(const BenchOptions& options) {
  if (!options.plot.empty()) check_writable(options.plot);
  if (options.peers) silica::bench::restart_for_peers(silica::bench::count_threads(options.device.threads));
  const silica::bench::Report report = silica::bench::run(options);
  fmt::print("{}", silica::bench::text_of(report, options.output));
  if (!options.plot.empty()) write_file_atomically(options.plot, to_svg(report));
  return 0;
}

}  // namespace silica::app
