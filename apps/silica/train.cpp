// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>

#include "commands.h"
#include "errors.h"
#include "file.h"
#include "plot.h"
#include "progress.h"
#include "trainer.h"
#include "trigram.h"

namespace silica::app {
namespace fs = std::filesystem;
namespace {

constexpr int exit_interrupted = 130;

volatile std::sig_atomic_t stop_requested = 0;

// The first signal asks for a clean stop, a second one ends the process as usual.
void stop_on_signals() {
  struct sigaction action{};
  action.sa_handler = [](int) { stop_requested = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

// Without --resume, only a finished run's checkpoint is replaced.
void check_may_replace(const std::string& out) {
  std::error_code error;
  if (!fs::is_regular_file(out, error)) return;
  std::uint64_t done = 0, steps = 0;
  try {
    const Checkpoint old = load_checkpoint(out);
    done = old.step;
    steps = old.settings.steps;
  } catch (const Error& reason) {
    fail(ErrorCode::io, "--out {}: exists and is not replaced, as it is no checkpoint of silica ({})", out,
         reason.what());
  }
  if (done < steps) {
    fail(ErrorCode::io,
         "--out {}: holds a run that stopped at step {} of {}: add --resume to go on, or remove it", out,
         done, steps);
  }
}

template <class T> void choose(const char* option, const std::optional<T>& given, bool resumed, T& setting) {
  if (!given) return;
  if (resumed && *given != setting) {
    fail(ErrorCode::invalid_argument, "--resume: {} is {}, the checkpoint was made with {}", option, *given,
         setting);
  }
  setting = *given;
}

Settings settings_of(const TrainOptions& options, const std::optional<Checkpoint>& previous) {
  const bool resumed = previous.has_value();
  Settings settings = resumed ? previous->settings : Settings{};
  choose("--steps", options.steps, resumed, settings.steps);
  choose("--batch", options.batch, resumed, settings.batch);
  choose("--seed", options.seed, resumed, settings.seed);
  choose("--width", options.width, resumed, settings.model.width);
  choose("--hidden", options.hidden, resumed, settings.model.hidden);
  choose("--blocks", options.blocks, resumed, settings.model.blocks);
  choose("--learning-rate", options.learning_rate, resumed, settings.learning_rate);
  choose("--weight-decay", options.weight_decay, resumed, settings.weight_decay);
  validate(settings);
  return settings;
}

Dataset read_dataset(const std::string& path, const Settings& settings,
                     const std::optional<Checkpoint>& previous) {
  const Lines lines = read_lines(path);
  if (previous && lines.sha256 != previous->data_sha256) {
    fail(ErrorCode::invalid_argument, "--resume: {} has the SHA-256 {}, the checkpoint learned from {}", path,
         lines.sha256, quote(previous->data_sha256));
  }
  try {
    return Dataset(lines, settings.seed);
  } catch (const Error& error) {
    fail(error.code(), "{}: {}", path, error.what());
  }
}

struct Run {
  const TrainOptions& options;
  std::string data_path;
  const Dataset& dataset;
  Trainer& trainer;
  double trigram;
};

void print_header(const Run& run, const Device& device) {
  const Settings& settings = run.trainer.settings();
  const ModelShape& model = settings.model;
  fmt::print("data      {}: {} lines to learn from, {} held out\n", run.data_path, run.dataset.train_lines,
             run.dataset.held_out_lines);
  fmt::print("model     {} weights: {} characters x {}, {} SwiGLU blocks of {}, {} symbols\n",
             run.trainer.weight_count(), context_length, model.width, model.blocks, model.hidden,
             model.vocabulary);
  fmt::print("run       {} steps of {} samples, seed {}, on {} ({})\n", settings.steps, settings.batch,
             settings.seed, device.name(), device.info().description);
  if (run.trainer.steps_done() > 0) fmt::print("resumed   after step {}\n", run.trainer.steps_done());
  std::fflush(stdout);
}

// `final_loss` is over all of the held-out text, and takes the place of the nearest evaluations of a part.
void write_plot(const Run& run, std::optional<double> final_loss) {
  if (run.options.plot.empty()) return;
  const Settings& settings = run.trainer.settings();
  LossPlot plot{.title = fmt::format("silica learns to spell: {} thousand weights, {} lines",
                                     (run.trainer.weight_count() + 500) / 1000, run.dataset.train_lines),
                .steps = static_cast<double>(settings.steps),
                .losses = run.trainer.losses(),
                .held_out = {},
                .trigram = run.trigram};
  const std::vector<float>& held_out = run.trainer.evaluations();
  for (std::uint64_t step = 1; step <= run.trainer.steps_done(); ++step) {
    const std::uint64_t count = evaluations_at(settings, step);
    if (count > plot.held_out.size() && count <= held_out.size()) {
      plot.held_out.emplace_back(static_cast<double>(step), static_cast<double>(held_out[count - 1]));
    }
  }
  if (final_loss) {
    std::erase_if(plot.held_out, [&](const auto& point) { return point.first > 0.97 * plot.steps; });
    plot.held_out.emplace_back(plot.steps, *final_loss);
  }
  write_file_atomically(run.options.plot, loss_plot_svg(plot));
}

void save(const Run& run) { save_checkpoint(run.trainer.checkpoint(run.data_path), run.options.out); }

// A checkpoint on the way is worth a warning, not the run.
void try_save(const Run& run, Progress& progress) {
  try {
    save(run);
  } catch (const Error& error) {
    progress.pause();
    fmt::print(stderr, "silica: warning: no checkpoint after step {}: {}\n", run.trainer.steps_done(),
               error.what());
  }
}

void run_steps(const Run& run) {
  Trainer& trainer = run.trainer;
  const std::uint64_t steps = trainer.settings().steps;
  const std::uint64_t every = run.options.checkpoint_every;
  Progress progress(!run.options.no_progress, trainer.steps_done(), steps, trainer.settings().batch);
  while (!trainer.finished()) {
    const float loss = trainer.step();
    const std::uint64_t done = trainer.steps_done();
    progress.update(done, static_cast<double>(loss));
    if (stop_requested != 0) return;  // after a step, so that there is something to save
    if (every > 0 && done % every == 0 && done < steps) try_save(run, progress);
  }
}

int report_stop(const Run& run) {
  fmt::print("stopped   after step {} of {}, checkpoint in {}\n", run.trainer.steps_done(),
             run.trainer.settings().steps, run.options.out);
  fmt::print("          silica train --resume --out {}   goes on with the same bits\n", run.options.out);
  return exit_interrupted;
}

int run_and_report(const Run& run) {
  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t first = run.trainer.steps_done();
  run_steps(run);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (run.trainer.steps_done() > first) save(run);
  if (!run.trainer.finished()) {
    write_plot(run, std::nullopt);
    return report_stop(run);
  }
  const double held_out = run.trainer.held_out_bits();
  write_plot(run, held_out);
  fmt::print("trained   {} steps in {:.1f} s\n", run.trainer.steps_done() - first, seconds);
  fmt::print("held-out  {:.4f} bits per character; trigram baseline {:.4f} ({:+.1f} %)\n", held_out,
             run.trigram, 100 * (held_out / run.trigram - 1));
  fmt::print("weights   sha256 {}\n", run.trainer.weights_sha256());
  fmt::print("saved     {}\n", run.options.out);
  if (!run.options.plot.empty()) fmt::print("plot      {}\n", run.options.plot);
  return 0;
}

}  // namespace

int train(const TrainOptions& options) {
  std::optional<Checkpoint> previous;
  if (options.resume) {
    previous = load_checkpoint(options.out);
  } else {
    check_may_replace(options.out);
  }
  const Settings settings = settings_of(options, previous);
  check_writable(options.out);
  if (!options.plot.empty()) check_writable(options.plot);

  const std::string given = options.data.value_or(previous ? previous->data : default_data);
  const std::string path = fs::absolute(given).lexically_normal().string();
  const Dataset dataset = read_dataset(path, settings, previous);
  const Device device = open_device(options.device);
  Trainer trainer(device, dataset, settings);
  if (previous) trainer.restore(*std::exchange(previous, std::nullopt));

  const Trigram trigram(dataset.train, dataset.vocabulary.size());
  const Run run{options, path, dataset, trainer, trigram.bits_per_symbol(dataset.held_out)};
  stop_on_signals();
  print_header(run, device);
  return run_and_report(run);
}

}  // namespace silica::app
