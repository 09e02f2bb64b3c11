// SPDX-License-Identifier: MIT
// The tool's data, baseline and training.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>

#include "checkpoint.h"
#include "dataset.h"
#include "errors.h"
#include "file.h"
#include "plot.h"
#include "progress.h"
#include "random.h"
#include "trainer.h"
#include "trigram.h"
#include "words.h"

namespace silica::app {
namespace {
namespace fs = std::filesystem;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

// Words with something to learn: syllables in two orders.
Lines some_lines() {
  Lines lines;
  for (const char* a : {"ba", "che", "di", "fo", "gu", "kra", "le", "mi"}) {
    for (const char* b : {"n", "rt", "st", "ll", "x"}) {
      for (const char* c : {"ing", "ed", "s", "ment", "\xc3\xa9"})
        lines.lines.push_back(std::string(a) + b + c);
    }
  }
  lines.sha256 = "of no file";
  return lines;
}

// ---- randomness

TEST(Permutation, IsABijection) {
  for (const std::uint64_t size : {1u, 2u, 3u, 4u, 5u, 17u, 63u, 64u, 65u, 1000u, 4097u}) {
    for (const std::uint64_t key : {0u, 1u, 12345u}) {
      const Permutation order(size, key);
      std::set<std::uint64_t> seen;
      for (std::uint64_t i = 0; i < size; ++i) seen.insert(order(i));
      EXPECT_EQ(seen.size(), size);
      EXPECT_EQ(*seen.rbegin(), size - 1);
    }
  }
}

TEST(Permutation, DependsOnTheKey) {
  const Permutation a(1000, 1), b(1000, 2);
  int same = 0, fixed = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    same += a(i) == b(i);
    fixed += a(i) == i;
  }
  EXPECT_LT(same, 20);
  EXPECT_LT(fixed, 20);
}

// ---- data

TEST(Dataset, SplitsATenthBySeed) {
  const Lines lines = some_lines();
  const Dataset one(lines, 1), again(lines, 1), two(lines, 2);
  EXPECT_EQ(one.train_lines, 180u);
  EXPECT_EQ(one.held_out_lines, 20u);
  const auto symbols = [](const Text& text) {
    return std::vector(text.symbols().begin(), text.symbols().end());
  };
  EXPECT_EQ(symbols(one.held_out), symbols(again.held_out));
  EXPECT_NE(symbols(one.held_out), symbols(two.held_out));
}

TEST(Dataset, ContextEndsAtTheStartOfTheLine) {
  const Vocabulary vocabulary(std::vector<std::string>{"ab", "c"});
  EXPECT_EQ(vocabulary.size(), 4u);
  Text text;
  text.append("ab", vocabulary);
  text.append("c", vocabulary);
  ASSERT_EQ(text.positions(), 5u);
  const std::uint32_t targets[] = {1, 2, 0, 3, 0};
  const std::vector<std::uint32_t> ends[] = {{0, 0, 0}, {0, 0, 1}, {0, 1, 2}, {0, 0, 0}, {0, 0, 3}};
  for (std::size_t position = 0; position < 5; ++position) {
    std::array<std::uint32_t, context_length> context;
    EXPECT_EQ(text.sample(position, context), targets[position]);
    EXPECT_EQ(std::vector(context.end() - 3, context.end()), ends[position]) << position;
    for (std::size_t i = 0; i + 3 < context_length; ++i) EXPECT_EQ(context[i], 0u);
  }
}

TEST(Dataset, LongLinesKeepTheNearestCharacters) {
  const std::string line(100'000, 'a');
  const Vocabulary vocabulary(std::vector<std::string>{line, "b"});
  Text text;
  text.append("b" + line, vocabulary);
  std::array<std::uint32_t, context_length> context;
  EXPECT_EQ(text.sample(context_length, context), 1u);
  EXPECT_EQ(context.front(), 2u);
  text.sample(50'000, context);
  EXPECT_EQ(context.front(), 1u);
}

class LinesTest : public ::testing::Test {
 protected:
  ~LinesTest() override { fs::remove(path_); }
  Lines lines_of(const std::string& content) {
    std::ofstream(path_, std::ios::binary) << content;
    return read_lines(path_);
  }
  fs::path path_ = fs::temp_directory_path() / fmt::format("silica-lines-{}", getpid());
};

TEST_F(LinesTest, AreDistinctAndNotEmpty) {
  EXPECT_EQ(lines_of("b\na\r\n\n\r\nb\n c").lines, (std::vector<std::string>{"b", "a", " c"}));
  EXPECT_EQ(lines_of("x").lines.size(), 1u);
  EXPECT_NE(lines_of("x").sha256, lines_of("x\n").sha256);
}

TEST_F(LinesTest, RefuseWhatIsNotText) {
  EXPECT_NE(message_of([&] { lines_of(""); }).find("is empty"), std::string::npos);
  EXPECT_NE(message_of([&] { lines_of("\n\r\n\n"); }).find("is empty"), std::string::npos);
  EXPECT_NE(message_of([&] { lines_of(std::string("ab\0c", 4)); }).find("zero byte at offset 2"),
            std::string::npos);
  EXPECT_NE(message_of([&] { Dataset(lines_of("one\none\n"), 1); }).find("one distinct line"),
            std::string::npos);
  EXPECT_EQ(Dataset(lines_of("one\ntwo\n"), 1).held_out_lines, 1u);
}

TEST(VocabularyTest, RefusesForeignBytes) {
  EXPECT_NE(message_of([] { Vocabulary("abc").symbol('d'); }).find("'d'"), std::string::npos);
  for (const char* bytes : {"", "ba", "aa", "a\nb", "\n"})
    EXPECT_THROW(Vocabulary{std::string(bytes)}, Error);
}

// ---- the baseline

TEST(TrigramTest, ProbabilitiesSumToOne) {
  const Dataset data(some_lines(), 1);
  const Trigram trigram(data.train, data.vocabulary.size());
  const std::size_t size = data.vocabulary.size();
  for (std::size_t a = 0; a < size; ++a) {
    for (std::size_t b = 0; b < size; ++b) {
      double sum = 0;
      for (std::size_t c = 0; c < size; ++c) {
        const double p = trigram.probability(static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b),
                                             static_cast<std::uint8_t>(c));
        EXPECT_GT(p, 0);
        sum += p;
      }
      EXPECT_NEAR(sum, 1, 1e-12);
    }
  }
}

TEST(TrigramTest, LearnsAndSurvivesLittle) {
  const Dataset data(some_lines(), 1);
  const Trigram trigram(data.train, data.vocabulary.size());
  EXPECT_LT(trigram.bits_per_symbol(data.held_out),
            0.5 * std::log2(static_cast<double>(data.vocabulary.size())));
  Text tiny;
  tiny.append("a", Vocabulary("a"));
  EXPECT_TRUE(std::isfinite(Trigram(tiny, 2).bits_per_symbol(tiny)));
}

// ---- progress and plot

TEST(ProgressTest, Formats) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(64.7), "1:05");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  const ProgressState state{
      .step = 50, .steps = 200, .loss = 2.5, .samples_per_second = 1234.4, .seconds_left = 61};
  EXPECT_EQ(format_progress_line(state), " 25%  step 50/200  2.500 bits/char  1234 samples/s  1:01 left");
  EXPECT_EQ(format_progress_line({.step = 0, .steps = 0}), "  0%  step 0/0  0.000 bits/char");
  const std::string coloured = format_progress_bar(state, 200, true);
  const std::string plain = format_progress_bar(state, 200, false);
  EXPECT_NE(coloured.find('\x1b'), std::string::npos);
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  EXPECT_EQ(format_progress_bar(state, 20, true).size(), 20u);
}

TEST(PlotTest, SurvivesAnything) {
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  for (const LossPlot& plot :
       {LossPlot{}, LossPlot{.title = "<&>", .steps = 1, .losses = {3}, .trigram = 3},
        LossPlot{
            .title = "t", .steps = 5, .losses = {nan, 1e30f, 2, 1}, .held_out = {{2, nan}}, .trigram = 2}}) {
    const std::string svg = loss_plot_svg(plot);
    EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
    EXPECT_EQ(svg.find("inf"), std::string::npos);
    EXPECT_EQ(svg.find("<&>"), std::string::npos);
  }
}

// ---- settings

TEST(SettingsTest, AbsurdValuesAreRefusedByName) {
  const auto refusal = [](auto change) {
    Settings settings{.model = {.vocabulary = 10}};
    change(settings);
    return message_of([&] { validate(settings); });
  };
  EXPECT_TRUE(refusal([](Settings& s) { s.batch = 0; }).starts_with("--batch: 0 "));
  EXPECT_TRUE(refusal([](Settings& s) { s.steps = ~std::uint64_t{0}; }).starts_with("--steps"));
  EXPECT_TRUE(refusal([](Settings& s) { s.model.blocks = 0; }).starts_with("--blocks"));
  EXPECT_TRUE(refusal([](Settings& s) { s.model.width = 1 << 30; }).starts_with("--width"));
  EXPECT_TRUE(
      refusal([](Settings& s) { s.learning_rate = std::nanf(""); }).starts_with("--learning-rate: nan"));
  EXPECT_TRUE(refusal([](Settings& s) { s.weight_decay = -1; }).starts_with("--weight-decay"));
  EXPECT_NE(refusal([](Settings& s) { s.model = {10, 4096, 1 << 20, 64}; }).find("GiB"), std::string::npos);
}

TEST(SettingsTest, LearningRateRisesAndFalls) {
  const Settings settings{.steps = 100, .learning_rate = 1.0f};
  EXPECT_EQ(learning_rate_at(settings, 0), 0.2f);
  EXPECT_EQ(learning_rate_at(settings, 4), 1.0f);
  EXPECT_EQ(learning_rate_at(settings, 5), 1.0f);
  for (std::uint64_t step = 6; step < 100; ++step) {
    EXPECT_LT(learning_rate_at(settings, step), learning_rate_at(settings, step - 1));
  }
  EXPECT_GT(learning_rate_at(settings, 99), 0.0f);
  EXPECT_GT(learning_rate_at({.steps = 1}, 0), 0.0f);
}

// ---- training

const Settings small{.model = {.width = 4, .hidden = 24, .blocks = 2}, .steps = 30, .batch = 33, .seed = 7};

Device cpu(unsigned threads) { return Device::open("cpu", {.threads = threads}); }

TEST(TrainingTest, ThreadsDoNotChangeTheBits) {
  const Dataset data(some_lines(), small.seed);
  std::string digest;
  for (const unsigned threads : {1u, 2u, 3u, 16u}) {
    Trainer trainer(cpu(threads), data, small);
    const std::string before = trainer.weights_sha256();
    while (!trainer.finished()) trainer.step();
    if (digest.empty()) digest = trainer.weights_sha256();
    EXPECT_EQ(trainer.weights_sha256(), digest) << threads << " threads";
    EXPECT_NE(digest, before);
  }
}

TEST(TrainingTest, LossFallsBelowTheTrigram) {
  const Dataset data(some_lines(), small.seed);
  Settings longer = small;
  longer.steps = 300;
  longer.learning_rate = 1e-2f;
  Trainer trainer(cpu(2), data, longer);
  while (!trainer.finished()) trainer.step();
  EXPECT_NEAR(trainer.losses().front(), std::log2(static_cast<double>(data.vocabulary.size())), 0.5);
  EXPECT_LT(trainer.losses().back(), 0.5f * trainer.losses().front());
  EXPECT_EQ(trainer.evaluations().size(), evaluations_at(longer, 300));
  EXPECT_LT(trainer.held_out_bits(),
            Trigram(data.train, data.vocabulary.size()).bits_per_symbol(data.held_out));
}

TEST(TrainingTest, SeedDecidesTheWeights) {
  const Dataset data(some_lines(), 1);
  Settings other = small;
  other.seed = 8;
  EXPECT_NE(Trainer(cpu(1), data, small).weights_sha256(), Trainer(cpu(1), data, other).weights_sha256());
}

class CheckpointTest : public ::testing::Test {
 protected:
  ~CheckpointTest() override { fs::remove(path_); }

  Trainer trained(std::uint64_t steps) {
    Trainer trainer(cpu(2), data_, small);
    while (trainer.steps_done() < steps) trainer.step();
    return trainer;
  }
  // Loads the file again after a change that keeps it a well-formed safetensors file.
  std::string refusal(const std::function<void(SafeTensors&)>& change) {
    save_checkpoint(trained(2).checkpoint("data"), path_);
    SafeTensors content = parse_safetensors(read_file(path_, 1 << 24), "f");
    change(content);
    write_file_atomically(path_, serialise_safetensors(content));
    return message_of([&] { load_checkpoint(path_); });
  }

  Dataset data_{some_lines(), small.seed};
  fs::path path_ = fs::temp_directory_path() / fmt::format("silica-checkpoint-{}", getpid());
};

TEST_F(CheckpointTest, ResumedRunHasTheSameBits) {
  const Trainer whole = trained(30);
  for (const std::uint64_t stop : {1u, 13u, 29u}) {
    save_checkpoint(trained(stop).checkpoint("data"), path_);
    Trainer resumed(cpu(3), data_, small);
    resumed.restore(load_checkpoint(path_));
    EXPECT_EQ(resumed.steps_done(), stop);
    while (!resumed.finished()) resumed.step();
    EXPECT_EQ(resumed.weights_sha256(), whole.weights_sha256());
    EXPECT_EQ(resumed.losses(), whole.losses());
    EXPECT_EQ(digest_of(resumed.checkpoint("data").tensors), digest_of(whole.checkpoint("data").tensors));
  }
}

TEST_F(CheckpointTest, OtherRunsAreRefused) {
  const Checkpoint checkpoint = trained(2).checkpoint("data");
  Settings other = small;
  other.seed = 8;
  EXPECT_NE(message_of([&] { Trainer(cpu(1), data_, other).restore(checkpoint); }).find("settings"),
            std::string::npos);
  Checkpoint foreign = checkpoint;
  foreign.data_sha256 = "else";
  EXPECT_NE(message_of([&] { Trainer(cpu(1), data_, small).restore(foreign); }).find("'else'"),
            std::string::npos);
}

TEST_F(CheckpointTest, HostileContentsAreRefused) {
  const auto metadata = [this](const char* key, const char* value) {
    return refusal([&](SafeTensors& content) { content.metadata[key] = value; });
  };
  EXPECT_NE(metadata("format", "other").find("format"), std::string::npos);
  EXPECT_NE(metadata("width", "-4").find("'-4'"), std::string::npos);
  EXPECT_NE(metadata("width", "99999999999999999999").find("expected a number"), std::string::npos);
  EXPECT_NE(metadata("width", "4x").find("expected a number"), std::string::npos);
  EXPECT_NE(metadata("width", "5").find("expected ("), std::string::npos);
  EXPECT_NE(metadata("blocks", "1000000000").find("out of range"), std::string::npos);
  EXPECT_NE(metadata("hidden", "0").find("out of range"), std::string::npos);
  EXPECT_NE(metadata("learning_rate", "nan").find("out of range"), std::string::npos);
  EXPECT_NE(metadata("step", "31").find("step 31 of 30"), std::string::npos);
  EXPECT_NE(metadata("step", "3").find("history."), std::string::npos);
  EXPECT_NE(metadata("vocabulary", "6").find("hexadecimal"), std::string::npos);
  EXPECT_NE(metadata("vocabulary", "6z").find("hexadecimal"), std::string::npos);
  EXPECT_NE(metadata("vocabulary", "6261").find("ascending"), std::string::npos);
  EXPECT_NE(refusal([](SafeTensors& c) { c.metadata.erase("seed"); }).find("lacks 'seed'"),
            std::string::npos);
  EXPECT_NE(refusal([](SafeTensors& c) { c.tensors.erase("norm"); }).find("lacks the tensor 'norm'"),
            std::string::npos);
  EXPECT_NE(refusal([](SafeTensors& c) { c.tensors["z"] = c.tensors["norm"]; }).find("unexpected"),
            std::string::npos);
  EXPECT_NE(refusal([](SafeTensors& c) { c.tensors["norm"].dtype = DType::i32; }).find("i32"),
            std::string::npos);
  EXPECT_NE(refusal([](SafeTensors& c) { c.tensors["norm"].data[0] ^= std::byte{1}; }).find("damaged"),
            std::string::npos);
}

// ---- words

TEST_F(CheckpointTest, WordsDependOnTheSeedOnly) {
  const auto words = [this](unsigned threads, const SamplingOptions& options) {
    Model model(cpu(threads), [&] {
      ModelShape shape = small.model;
      shape.vocabulary = data_.vocabulary.size();
      return shape;
    }());
    model.initialise(1);
    WordSampler sampler(model, data_.vocabulary, options);
    std::vector<std::string> result = sampler.next();
    for (const std::string& word : sampler.next()) result.push_back(word);
    return result;
  };
  const std::vector<std::string> one = words(1, {});
  EXPECT_EQ(one, words(3, {}));
  EXPECT_NE(one, words(1, {.seed = 2}));
  EXPECT_GT(std::set(one.begin(), one.end()).size(), 50u);
  for (const std::string& word : words(1, {.prompt = "che"})) EXPECT_TRUE(word.starts_with("che")) << word;
  const std::vector<std::string> greedy = words(1, {.top_k = 1});
  EXPECT_LE(std::set(greedy.begin(), greedy.end()).size(), 1u);
  EXPECT_NE(message_of([&] { words(1, {.prompt = "Q"}); }).find("'Q'"), std::string::npos);
}

TEST(WordsTest, Utf8) {
  for (const char* text : {"", "abc", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"})
    EXPECT_TRUE(is_utf8(text));
  for (const char* text : {"\xc3", "\xa9",
                           "caf\xc3"
                           "e",
                           "\xe2\x82", "\xff"})
    EXPECT_FALSE(is_utf8(text));
}

}  // namespace
}  // namespace silica::app
