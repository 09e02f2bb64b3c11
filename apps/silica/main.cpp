// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <new>

#include "bench/work.h"
#include "commands.h"
#include "errors.h"
#include "silica/error.h"

namespace silica::app {
namespace {

constexpr int exit_failure = 1;
constexpr int exit_usage = 2;

using Command = std::function<int()>;

// CLI11 takes -1 for the largest number.
const CLI::Validator whole_number(
    [](std::string& text) {
      std::uint64_t value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      const bool good = error == std::errc() && end == text.data() + text.size();
      return good ? "" : fmt::format("'{}' is no whole number from 0 to 2^64 - 1", text);
    },
    "", "whole number");

void add_device(CLI::App& command, DeviceChoice& device) {
  command.add_option("--device", device.name, "The device, as `silica devices` lists it (default: the best)");
  command
      .add_option("--threads", device.threads,
                  "CPU threads (default: every core); the results do not depend on them")
      ->check(whole_number);
}

void add_train(CLI::App& app, TrainOptions& options, Command& chosen) {
  CLI::App& command = *app.add_subcommand("train", "Learn to spell from a list of words");
  const Settings defaults;
  const auto text = [](const char* what, const auto& value) {
    return fmt::format("{} (default: {})", what, value);
  };
  command.add_option("--data", options.data, text("Text file, one example per line", default_data));
  command.add_option("--out", options.out, text("Checkpoint to write", options.out));
  command.add_flag("--resume", options.resume, "Go on from the checkpoint in --out, to the same bits");
  command.add_option("--plot", options.plot, "Write the loss curve as an SVG file");
  command
      .add_option("--checkpoint-every", options.checkpoint_every,
                  text("Steps between checkpoints, 0 for one at the end only", options.checkpoint_every))
      ->check(whole_number);
  command.add_option("--steps", options.steps, text("Training steps", defaults.steps))->check(whole_number);
  command.add_option("--batch", options.batch, text("Characters to predict per step", defaults.batch))
      ->check(whole_number);
  command
      .add_option("--seed", options.seed, text("Decides weights, order and held-out lines", defaults.seed))
      ->check(whole_number);
  command.add_option("--width", options.width, text("Width of a character", defaults.model.width))
      ->check(whole_number);
  command.add_option("--hidden", options.hidden, text("Width inside a block", defaults.model.hidden))
      ->check(whole_number);
  command.add_option("--blocks", options.blocks, text("SwiGLU blocks", defaults.model.blocks))
      ->check(whole_number);
  command.add_option("--learning-rate", options.learning_rate,
                     text("Peak of AdamW's rate", defaults.learning_rate));
  command.add_option("--weight-decay", options.weight_decay,
                     text("AdamW's weight decay", defaults.weight_decay));
  command.add_flag("--no-progress", options.no_progress, "Show no progress");
  add_device(command, options.device);
  command.callback([&] { chosen = [&] { return train(options); }; });
}

void add_generate(CLI::App& app, GenerateOptions& options, Command& chosen) {
  CLI::App& command = *app.add_subcommand("generate", "Invent words that are not in the list");
  SamplingOptions& sampling = options.sampling;
  const auto text = [](const char* what, const auto& value) {
    return fmt::format("{} (default: {})", what, value);
  };
  command.add_option("--model", options.model, text("Checkpoint of `silica train`", options.model));
  command.add_option("--data", options.data,
                     "The list whose words are skipped (default: the one learned from)");
  command.add_option("-n,--count", options.count, text("How many words", options.count))->check(whole_number);
  command.add_option("--seed", sampling.seed, text("Decides the words", sampling.seed))->check(whole_number);
  command.add_option("--temperature", sampling.temperature,
                     text("Above 1 bolder, below 1 safer", sampling.temperature));
  command.add_option("--top-k", sampling.top_k, "Only the k likeliest characters, 0 for all (default: 0)")
      ->check(whole_number);
  command.add_option("--prompt", sampling.prompt, "How every word starts");
  add_device(command, options.device);
  command.callback([&] { chosen = [&] { return generate(options); }; });
}

void add_check(CLI::App& app, CheckOptions& options, Command& chosen) {
  CLI::App& command =
      *app.add_subcommand("check", "Check every op on every device: bits, accuracy, gradients");
  const auto several = CLI::MultiOptionPolicy::TakeAll;
  command.add_option("--op", options.ops, "Only this op; a pattern like 'silu*' will do; may be repeated")
      ->allow_extra_args(false)
      ->multi_option_policy(several);
  command
      .add_option("--device", options.devices, "Only this device, which must then be usable; may be repeated")
      ->allow_extra_args(false)
      ->multi_option_policy(several);
  command.add_flag("--exhaustive", options.exhaustive,
                   "Elementwise ops: all inputs there are (minutes to hours)");
  command.add_flag("--allow-inexact", options.allow_inexact,
                   "Do not fail a device that says it is not exact for its bits");
  command.add_flag("--json", options.json, "Print one JSON document instead of a table");
  command.callback([&] { chosen = [&] { return check(options); }; });
}

void add_bench(CLI::App& app, BenchOptions& options, Command& chosen) {
  CLI::App& command = *app.add_subcommand("bench", "Measure speed, beside this machine's limit and others");
  const auto list = CLI::MultiOptionPolicy::TakeAll;
  std::string names;
  for (const auto& [name, takes] : silica::bench::op_names()) names += name + ", ";
  command.add_option("op", options.ops,
                     names + "or first, the time to a first result; several are possible (default: a table)");
  command.add_option("--dtype", options.dtypes, "f32, f16, bf16 (default: f32)")
      ->delimiter(',')
      ->multi_option_policy(list);
  command.add_option("--size", options.sizes, "Elements of an elementwise op: 1000 or 2^20")
      ->delimiter(',')
      ->multi_option_policy(list);
  command
      .add_option("--shape", options.shapes,
                  "Extents: MxNxK of matmul, TOKENSxWIDTHxHIDDEN of ffn, ROWSxCOLS of the others")
      ->delimiter(',')
      ->multi_option_policy(list);
  command.add_flag("--transpose-a", options.transpose_a, "matmul: a is stored (K, M)");
  command.add_flag("--transpose-b", options.transpose_b, "matmul: b is stored (N, K)");
  command.add_flag("--in-out", options.in_out, "ffn: weights are stored (in, out), not (out, in)");
  command.add_flag("--fast", options.fast, "Permit inexact products on tensor cores (Math::fast)");
  command.add_flag(
      "--peers", options.peers,
      "Measure oneDNN, OpenBLAS, XNNPACK, PyTorch and Triton in turn with silica, where they are there");
  command
      .add_option("--repeats", options.repeats, "Measurements of each (default: 15, or fewer of long ones)")
      ->check(CLI::Range(0, 100000));
  command.add_option("--seconds", options.seconds, "About how long one measurement takes (default: 0.01)")
      ->check(CLI::Range(0.0, 3600.0));
  command.add_option("-o,--output", options.output, "md, csv or json (default: md)")
      ->check(CLI::IsMember({"md", "csv", "json"}));
  command.add_option("--plot", options.plot, "Write the shares of the limit as an SVG file");
  add_device(command, options.device);
  command.callback([&] { chosen = [&] { return bench(options); }; });
}

int parse_and_run(int argc, char** argv) {
  CLI::App app("silica: the mathematics of transformers, the same bits on every device", "silica");
  app.set_version_flag("--version", "silica " SILICA_VERSION);
  app.require_subcommand(0, 1);  // not 1, so that an unknown one is named
  app.option_defaults()->take_last();
  TrainOptions train_options;
  GenerateOptions generate_options;
  BenchOptions bench_options;
  for (int i = 0; i < argc; ++i) bench_options.command += (i > 0 ? " " : "") + std::string(argv[i]);
  CheckOptions check_options;
  Command chosen;
  add_train(app, train_options, chosen);
  add_generate(app, generate_options, chosen);
  add_check(app, check_options, chosen);
  add_bench(app, bench_options, chosen);
  app.add_subcommand("devices", "List the devices and what they can do")->callback([&] { chosen = devices; });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  if (!chosen) {
    fmt::print(
        stderr,
        "silica: a subcommand is required: train, generate, check, bench or devices (--help says more)\n");
    return exit_usage;
  }
  return chosen();
}

int report(const char* message, int status = exit_failure) {
  fmt::print(stderr, "silica: {}\n", message);
  return status;
}

int run(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // so that a write past a size limit fails with a message
  try {
    const int status = parse_and_run(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      return report("cannot write to standard output");
    return status;
  } catch (const UsageError& error) {
    return report(error.what(), exit_usage);
  } catch (const Error& error) {
    return report(error.what());
  } catch (const std::bad_alloc&) {
    return report("out of memory");
  } catch (const std::exception& error) {
    return report(error.what());
  }
}

}  // namespace
}  // namespace silica::app

int main(int argc, char** argv) { return silica::app::run(argc, argv); }
