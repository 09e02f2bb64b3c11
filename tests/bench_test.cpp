// SPDX-License-Identifier: MIT
// `silica bench` on sizes too small to time: what it measures, what it lets count as a result, what it
// writes.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/bench.h"
#include "bench/child.h"
#include "support.h"

namespace silica::bench {
namespace {

using nlohmann::json;

constexpr float infinity = std::numeric_limits<float>::infinity();

app::BenchOptions tiny(std::vector<std::string> ops) {
  app::BenchOptions options;
  options.ops = std::move(ops);
  options.repeats = 2;
  options.seconds = 1e-6;
  options.device = {"cpu", 2};
  options.command = "silica bench";
  return options;
}

Report run_tiny(const OpName& op) {
  app::BenchOptions options = tiny({op.name});
  if (op.takes == "N") options.sizes = {"1000"};
  if (op.takes == "ROWSxCOLS") options.shapes = {"5x70"};
  if (op.takes.ends_with("K") || op.takes.ends_with("HIDDEN")) options.shapes = {"7x12x9"};
  return run(options);
}

// The report of a little of everything, with whatever peers there are.
const Report& full_report() {
  static const Report report = [] {
    app::BenchOptions options = tiny({"silu", "swiglu_backward", "matmul", "ffn", "dispatch"});
    options.sizes = {"1000", "2^11"};
    options.shapes = {"7x12x9"};
    options.peers = true;
    return run(options);
  }();
  return report;
}

// ---- what is measured

TEST(BenchWork, EveryOpRuns) {
  for (const OpName& op : op_names()) {
    const Report report = run_tiny(op);
    ASSERT_FALSE(report.rows.empty()) << op.name;
    EXPECT_EQ(report.rows[0].op, op.name);
    for (const Row& row : report.rows) {
      EXPECT_GT(row.timing.median, 0) << op.name;
      EXPECT_EQ(row.timing.repeats, 2u);
      EXPECT_EQ(row.limit.has_value(), op.name != "dispatch") << op.name;
    }
  }
}

TEST(BenchWork, TablesFitTheirDevices) {
  const auto largest = [](const DeviceInfo& device) {
    double bytes = 0;
    for (const Work& work : works({}, device)) bytes = std::max(bytes, work.bytes);
    return bytes;
  };
  DeviceInfo device;
  device.name = "cuda:0";
  EXPECT_EQ(largest(device), 5.0 * 4 * (1 << 28));
  device.name = "cpu";
  EXPECT_LT(largest(device), 1e9);
  device.name = "vulkan:0";
  device.software = true;
  EXPECT_LT(largest(device), 1e9);
}

TEST(BenchWork, CountsBytesAndOperations) {
  const auto one = [](Choice choice) { return works(choice, {}).back(); };
  EXPECT_EQ(one({.ops = {"swiglu_backward"}, .dtypes = {DType::bf16}, .sizes = {{10}}}).bytes, 100);
  const Work matmul = one({.ops = {"matmul"}, .shapes = {{2, 3, 5}}});
  EXPECT_EQ(matmul.flops, 60);
  EXPECT_EQ(matmul.bytes, 0);
  const Work vector = one({.ops = {"matmul"}, .shapes = {{1, 3, 5}}});
  EXPECT_EQ(vector.flops, 0);
  EXPECT_EQ(vector.bytes, 4 * (5 + 15 + 3));
  EXPECT_EQ(one({.ops = {"ffn"}, .shapes = {{2, 3, 5}}}).flops, 18 * 2 * 3 * 5);
}

// The network that is measured is the one that the tape differentiates.
TEST(BenchWork, FeedforwardIsTheTapes) {
  const Device device = Device::open("cpu");
  const Work work = works({.ops = {"ffn"}, .shapes = {{7, 12, 9}}}, device.info()).back();
  ASSERT_EQ(work.op, "ffn_train");
  const Operands operands = make_operands(device, work);
  const Tensors out = make_outputs(device, work);
  CommandEncoder encoder(device);
  work.encode(encoder, operands.in, out);
  Tape tape(encoder);
  std::vector<Variable> v;
  for (std::size_t i = 0; i < 4; ++i) v.push_back(tape.variable(operands.in[i]));
  const auto through = [](const Variable& a, const Variable& b) {
    return matmul(a, b, {.transpose_b = true});
  };
  const Variable y = through(swiglu(through(v[0], v[1]), through(v[0], v[2])), v[3]);
  const Tensor value(device, DType::f32, {7, 12});
  copy(encoder, y.value(), value);
  tape.backward(y, operands.in[4]);
  device.submit(encoder.finish()).wait();
  EXPECT_TRUE(test::same_bits(test::get(out[0]), test::get(value)));
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(test::same_bits(test::get(out[i + 1]), test::get(tape.gradient(v[i])))) << i;
  }
}

TEST(BenchWork, DataIsSpreadAndFresh) {
  const Device device = Device::open("cpu");
  const std::size_t n = (std::size_t{1} << 20) + 77;  // more than the block that repeats
  const Operands operands = make_operands(device, works({.ops = {"mul"}, .sizes = {{n}}}, {}).front());
  const std::vector<float> a = test::get(operands.in[0]), b = test::get(operands.in[1]);
  EXPECT_NE(a, b);
  EXPECT_EQ(a[0], a[std::size_t{1} << 20]);
  double sum = 0, squares = 0;
  for (const float value : a) {
    ASSERT_LE(std::abs(value), 8.0f);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / static_cast<double>(n), 0, 0.02);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(n)), 8.0 / 3, 0.02);
}

// ---- time

TEST(BenchTime, MedianAndQuartiles) {
  const Timing timing = summarise({4, 1, 3, 2});
  EXPECT_EQ(timing.median, 2.5);
  EXPECT_EQ(timing.lower, 1.75);
  EXPECT_EQ(timing.upper, 3.25);
  EXPECT_EQ(summarise({7}).median, 7);
}

class Recorder : public Runner {
 public:
  Recorder(std::string& log, char name, double seconds) : log_(log), name_(name), seconds_(seconds) {}
  unsigned prepare(unsigned calls) override { return calls_ = calls; }
  double measure() override {
    log_ += name_;
    return seconds_ * calls_;
  }
  std::vector<Sample> results() override { return {}; }

 private:
  std::string& log_;
  char name_;
  double seconds_;
  unsigned calls_ = 0;
};

TEST(BenchTime, InTurnAndLongEnough) {
  std::string log;
  Recorder a(log, 'a', 1e-6), b(log, 'b', 1e-3);
  Runner* const both[] = {&a, &b};
  const std::vector<Timing> timings = measure_in_turn(both, {.seconds = 0.01, .repeats = 3});
  EXPECT_TRUE(log.ends_with("abbaab")) << log;
  EXPECT_GE(timings[0].calls, 5000u);
  EXPECT_GE(timings[1].calls, 5u);
  EXPECT_LE(timings[1].calls, 20u);
  EXPECT_DOUBLE_EQ(timings[0].median, 1e-6);
  EXPECT_DOUBLE_EQ(timings[1].median, 1e-3);
}

// ---- whose result counts

TEST(BenchDifference, InUlpAndRelative) {
  const float next = std::nextafter(1.0f, 2.0f);
  const Difference one = difference({{1.0f, 4.0f}}, {{next, 4.0f}}, DType::f32);
  EXPECT_EQ(one.ulp, 1);
  EXPECT_DOUBLE_EQ(one.relative, 0x1p-23 / 4);
  EXPECT_EQ(difference({{1.0f}}, {{1.0f + 0x1p-7f}}, DType::bf16).ulp, 1);
  EXPECT_EQ(difference({{1.0f}}, {{1.0f + 0x1p-10f}}, DType::f16).ulp, 1);
  EXPECT_EQ(difference({{NAN, 1}}, {{NAN, 1}}, DType::f32).ulp, 0);
  EXPECT_EQ(difference({{NAN}}, {{1}}, DType::f32).ulp, infinity);
  EXPECT_EQ(difference({{1}}, {{infinity}}, DType::f32).ulp, infinity);
  EXPECT_EQ(difference({{1, 2}}, {{1}}, DType::f32).ulp, infinity);
  EXPECT_EQ(difference({{1}, {2}}, {{1}}, DType::f32).ulp, infinity);
}

TEST(BenchDifference, NothingWrittenIsWrong) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    EXPECT_TRUE(is_wrong(difference({{1, -3}}, {{0, 0}}, dtype), dtype));
    EXPECT_TRUE(is_wrong(difference({{1, -3}}, {{1, NAN}}, dtype), dtype));
    EXPECT_TRUE(is_wrong(difference({{0, 0}}, {{0, 1}}, dtype), dtype));
    EXPECT_FALSE(is_wrong(difference({{1, -3}}, {{1, -3}}, dtype), dtype));
  }
}

TEST(BenchDifference, SamplesReachBothEnds) {
  for (const std::size_t n :
       {std::size_t{1}, std::size_t{1} << 20, (std::size_t{1} << 20) + 1, std::size_t{1} << 28}) {
    const auto ranges = sampled(n);
    EXPECT_EQ(ranges.front().first, 0u);
    EXPECT_EQ(ranges.back().first + ranges.back().second, n);
    std::size_t count = 0;
    for (const auto& [first, length] : ranges) {
      EXPECT_LE(first + length, n);
      count += length;
    }
    EXPECT_LE(count, std::size_t{1} << 20);
  }
}

// Fills its output with a number instead of doing the work.
class Impostor : public Peer {
 public:
  Impostor(const Device& device, float value) : device_(device), value_(value) {}
  std::string name() const override { return "impostor"; }
  std::string version() const override { return "1"; }
  std::unique_ptr<Runner> take(const Work& work, const Operands& operands) override {
    if (std::isnan(value_)) throw Error(ErrorCode::unsupported, "not today");
    return std::make_unique<ListRunner>(
        device_, [this](auto& e, auto&, auto& out) { fill(e, value_, out[0]); }, operands.in,
        make_outputs(device_, work));
  }

 private:
  Device device_;
  float value_;
};

TEST(BenchPeers, WhoIsWrongIsNotMeasured) {
  const Device device = Device::open("cpu");
  const Effort effort{1e-6, 2};
  const Limits limits(device, 1, effort);
  const Work work = works({.ops = {"silu"}, .sizes = {{100}}}, device.info()).front();
  Peers peers;
  peers.present.push_back(std::make_unique<Impostor>(device, 0.0f));
  peers.present.push_back(std::make_unique<Impostor>(device, test::quiet_nan));
  const Row row = measure(device, work, limits, peers, effort);
  ASSERT_EQ(row.peers.size(), 2u);
  EXPECT_NE(row.peers[0].refusal.find("wrong by 1e+00"), std::string::npos) << row.peers[0].refusal;
  EXPECT_EQ(row.peers[1].refusal, "not today");
  EXPECT_EQ(row.peers[0].timing.repeats, 0u);
  EXPECT_GT(row.timing.median, 0);
}

// Those that are installed: oneDNN 2.6.3 has ways to report success and write nothing.
TEST(BenchPeers, AgreeWithSilica) {
  app::BenchOptions options = tiny({"silu", "silu_backward", "swiglu", "swiglu_backward", "matmul", "ffn"});
  options.peers = true;
  options.sizes = {"999"};
  options.shapes = {"7x12x9"};
  for (const auto& [ta, tb] : {std::pair{false, false}, {false, true}, {true, false}, {true, true}}) {
    options.transpose_a = ta;
    options.transpose_b = tb;
    const Report report = run(options);
    for (const Row& row : report.rows) {
      for (const PeerResult& peer : row.peers) {
        EXPECT_EQ(peer.refusal, "") << peer.name << " " << row.op << " " << row.shape;
        EXPECT_LT(peer.difference.relative, 1e-5) << peer.name << " " << row.op;
      }
    }
    options.ops = {"matmul"};
    options.sizes = {};
  }
  options = tiny({"ffn"});
  options.peers = options.in_out = true;
  options.shapes = {"7x12x9"};
  for (const Row& row : run(options).rows) {
    EXPECT_EQ(row.shape, "7x12x9 in-out");
    for (const PeerResult& peer : row.peers) {
      EXPECT_EQ(peer.refusal, "") << peer.name << " " << row.op;
      EXPECT_LT(peer.difference.relative, 1e-5) << peer.name << " " << row.op;
    }
  }
}

TEST(BenchWork, LayoutsThatNoOpTakesAreRefused) {
  const auto refused = [](const Choice& choice, const char* option, const char* op) {
    return test::throws(ErrorCode::invalid_argument, {option, op}, [&] { works(choice, {}); });
  };
  EXPECT_TRUE(refused({.ops = {"ffn"}, .options = {.transpose_a = true}}, "--transpose-a", "matmul"));
  EXPECT_TRUE(refused({.ops = {"ffn"}, .options = {.transpose_b = true}}, "--transpose-b", "matmul"));
  EXPECT_TRUE(refused({.ops = {"matmul"}, .in_out = true}, "--in-out", "ffn"));
  EXPECT_EQ(works({.ops = {"silu", "ffn"}, .in_out = true}, {}).back().inputs[1].shape, (Shape{576, 1536}));
}

TEST(BenchPeers, EachIsThereOrSaidToBeMissing) {
  std::string all;
  for (const auto& [name, version] : full_report().peers) all += name + " " + version + "\n";
  for (const std::string& text : full_report().missing) all += text + "\n";
  for (const char* name : {"oneDNN", "OpenBLAS", "XNNPACK", "PyTorch"})
    EXPECT_NE(all.find(name), std::string::npos) << all;
}

TEST(BenchPeers, ProgramsThatAnswerOrDoNot) {
  Child echo({"cat"});
  EXPECT_EQ(echo.ask("one"), "one");
  EXPECT_EQ(echo.ask(std::string(100'000, 'x')).size(), 100'000u);
  EXPECT_TRUE(test::throws(ErrorCode::io, {"no-such-program"}, [] { Child({"./no-such-program"}); }));
  EXPECT_TRUE(test::throws(ErrorCode::io, {"ended"}, [] { Child({"true"}).ask("one"); }));
}

// ---- what is written

// A number that is not finite is written as null.
void expect_no_null(const json& value, const std::string& where) {
  EXPECT_FALSE(value.is_null()) << where;
  if (!value.is_structured()) return;
  for (const auto& [key, inner] : value.items()) expect_no_null(inner, where + "." + key);
}

TEST(BenchReport, Json) {
  const json report = json::parse(to_json(full_report()));
  expect_no_null(report, "report");
  EXPECT_EQ(report["command"], "silica bench");
  EXPECT_EQ(report["threads"], 2);
  EXPECT_EQ(report["exact"], true);
  for (const char* field : {"silica", "date", "machine", "device", "description", "missing", "peers"}) {
    EXPECT_TRUE(report.contains(field)) << field;
  }
  ASSERT_EQ(report["rows"].size(), 8u);
  for (const json& row : report["rows"]) {
    const json& seconds = row["seconds"];
    EXPECT_LE(seconds["lower_quartile"], seconds["median"]);
    EXPECT_LE(seconds["median"], seconds["upper_quartile"]);
    EXPECT_GT(seconds["calls"], 0);
    if (row["op"] == "dispatch") continue;
    const bool computes = row.contains("flops");
    const double amount = row[computes ? "flops" : "bytes"];
    const double rate = row[computes ? "flops_per_second" : "bytes_per_second"];
    EXPECT_NEAR(rate * seconds["median"].get<double>(), amount, 1e-6 * amount);
    EXPECT_NEAR(row["share_of_limit"].get<double>() * row["limit"]["rate"].get<double>(), rate, 1e-6 * rate);
    EXPECT_EQ(row["limit"]["what"], computes ? "fma" : "copy");
  }
}

TEST(BenchReport, CsvHasAFieldForEachName) {
  Report report = full_report();
  report.rows[0].peers.push_back({.name = "a \"name\", quoted", .refusal = "none"});
  std::istringstream lines(to_csv(report));
  std::string head, line;
  std::getline(lines, head);
  std::size_t count = 0;
  while (std::getline(lines, line)) {
    std::size_t commas = 0;
    bool inside = false;
    for (const char c : line) {
      inside = inside != (c == '"');
      commas += c == ',' && !inside;
    }
    EXPECT_EQ(commas, std::ranges::count(head, ',')) << line;
    ++count;
  }
  std::size_t expected = 0;
  for (const Row& row : report.rows) expected += 1 + row.peers.size();
  EXPECT_EQ(count, expected);
}

TEST(BenchReport, MarkdownIsAligned) {
  Report report = full_report();
  report.peers.emplace_back("impostor", "1");
  report.rows[0].peers.push_back({.name = "impostor", .refusal = "wrong by 1e+00"});
  const std::string text = to_markdown(report);
  EXPECT_NE(text.find("impostor, silu f32 1000: wrong by 1e+00"), std::string::npos) << text;
  std::istringstream lines(text);
  std::string line;
  std::size_t width = 0, count = 0;
  while (std::getline(lines, line)) {
    if (!line.starts_with("|")) continue;
    if (width == 0) width = line.size();
    EXPECT_EQ(line.size(), width) << line;
    ++count;
  }
  EXPECT_EQ(count, report.rows.size() + 2);
}

TEST(BenchReport, PlotSurvivesAnything) {
  for (Report report : {Report{}, full_report()}) {
    report.description = "<&>";
    const std::string svg = to_svg(report);
    EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf"), std::string::npos);
    EXPECT_EQ(svg.find("<&>"), std::string::npos);
  }
}

}  // namespace
}  // namespace silica::bench
