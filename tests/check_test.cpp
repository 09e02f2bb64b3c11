// SPDX-License-Identifier: MIT
// `silica check` finds what is broken: bits, accuracy, gradients; and its table misses no op.
#include "check.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "errors.h"
#include "exhaustive.h"
#include "op_cases.h"
#include "support.h"

namespace silica::test {
namespace {

using app::CheckOptions;
using app::CheckReport;
using check::Checker;

const OpCase& row(const std::string& name) {
  const auto found = std::ranges::find(op_cases(), name, &OpCase::name);
  if (found == op_cases().end()) throw std::runtime_error("no row " + name);
  return *found;
}

Outcome outcome_of(const OpCase& op) {
  return Checker(op, forward_of(op, op_cases())).run(Device::open("cpu"));
}

// A row of the table whose op does something else to its outputs.
OpCase with_outputs(OpCase op, std::function<void(std::vector<float>&)> change) {
  op.encode = [encode = op.encode, change](CaseEncoder& e) {
    Tensors outputs = encode(e);
    const Device device = e.device();
    device.submit(e.finish()).wait();
    for (const Tensor& output : outputs) {
      std::vector<float> values = get(output);
      change(values);
      set(output, values);
    }
    return outputs;
  };
  return op;
}

TEST(Check, EveryOpHasAnOracle) {
  for (const OpCase& op : op_cases())
    EXPECT_TRUE(op.exact) << op.name << ": see CONTRIBUTING.md, Adding an op";
}

TEST(Check, EveryBackwardOpHasItsGradientChecked) {
  for (const OpCase& op : op_cases()) {
    if (!op.backward() || op.takes_results) continue;
    EXPECT_NE(forward_of(op, op_cases()), nullptr) << op.name;
  }
  EXPECT_TRUE(outcome_of(row("rms_norm_backward.f32")).gradient);
  EXPECT_FALSE(outcome_of(row("rms_norm.f32")).gradient);
}

TEST(Check, OneBitInOneElementIsFound) {
  for (const char* name : {"silu.f32", "silu.f16", "matmul.ta", "cross_entropy_backward.f32", "embedding"}) {
    const Outcome good = outcome_of(row(name));
    EXPECT_TRUE(good.same_bits() && good.accurate()) << name;
    const Outcome bad = outcome_of(with_outputs(row(name), [](std::vector<float>& values) {
      values[7] = std::nextafter(values[7] * 1.01f, infinity);
    }));
    EXPECT_FALSE(bad.same_bits()) << name;
    ASSERT_TRUE(bad.first) << name;
    EXPECT_EQ(bad.first->element, 7u) << name;
  }
}

// Bits that are the reference's own are not good enough: the oracle must agree, and the differences.
TEST(Check, AWrongReferenceIsFoundByTheOracle) {
  const auto a_bit_more = [](std::vector<float>& values) {
    for (float& value : values) value *= 1.00001f;
  };
  OpCase op = with_outputs(row("silu_backward.f32"), a_bit_more);
  op.reference = nullptr;  // as broken as the CPU
  const Outcome outcome = outcome_of(op);
  EXPECT_TRUE(outcome.same_bits());
  EXPECT_FALSE(outcome.accurate());
  EXPECT_GT(*outcome.ulp, 50.0);
}

TEST(Check, AWrongGradientIsFoundThoughItsOracleIsWrongToo) {
  for (const char* name : {"swiglu_backward.f32", "mul_backward.bf16", "matmul_backward",
                           "rms_norm_backward.f32", "cross_entropy_backward.f32", "embedding_backward"}) {
    OpCase op = with_outputs(row(name), [](std::vector<float>& values) {
      for (float& value : values) value *= 2.0f;
    });
    op.reference = nullptr;
    op.exact = [exact = op.exact](const Inputs& in) {
      auto outputs = exact(in);
      for (auto& output : outputs) {
        for (double& value : output.values) value *= 2.0;
        for (double& magnitude : output.magnitudes) magnitude *= 2.0;
      }
      return outputs;
    };
    const Outcome outcome = outcome_of(op);
    EXPECT_TRUE(outcome.same_bits()) << name;
    EXPECT_LE(*outcome.ulp, outcome.ulp_bound + 1e-6) << name;
    EXPECT_FALSE(outcome.accurate()) << name;
    EXPECT_GT(*outcome.gradient, 0.1) << name;
  }
}

TEST(Check, AnOpThatThrowsIsAFailureOfItsOwn) {
  OpCase op = row("silu.f32");
  op.encode = [encode = op.encode, calls = std::make_shared<int>(0)](CaseEncoder& e) {
    if (++*calls > 3) throw Error(ErrorCode::unsupported, "no such kernel");  // the checker's own are 3
    return encode(e);
  };
  EXPECT_EQ(outcome_of(op).error, "no such kernel");
}

TEST(Check, UlpOfEveryDtype) {
  EXPECT_EQ(check::ulp_error(1.0f, 1.0 + 0x1p-23, 1.0, DType::f32), 1.0);
  EXPECT_EQ(check::ulp_error(1.0f, 1.0 + 0x1p-10, 1.0, DType::f16), 1.0);
  EXPECT_EQ(check::ulp_error(1.0f, 1.0 + 0x1p-7, 1.0, DType::bf16), 1.0);
  EXPECT_EQ(check::ulp_error(0.0f, 0x1p-24, 0x1p-24, DType::f16), 1.0);
  EXPECT_EQ(check::ulp_error(0.0f, 0x1p-149, 0x1p-149, DType::f32), 1.0);
  EXPECT_EQ(check::ulp_error(infinity, 65520.0, 65520.0, DType::f16), 0.0);
  EXPECT_EQ(check::ulp_error(65504.0f, 1e9, 1e9, DType::f16), 1.0);
  EXPECT_EQ(check::ulp_error(infinity, -1e9, 1e9, DType::f16), std::numeric_limits<double>::infinity());
  EXPECT_EQ(check::ulp_error(quiet_nan, std::nan(""), 0.0, DType::f32), 0.0);
  EXPECT_EQ(check::ulp_error(quiet_nan, 1.0, 1.0, DType::f32), std::numeric_limits<double>::infinity());
  EXPECT_EQ(check::ulp_error(1.0f, 1.0 + 0x1p-23, 8.0, DType::f32), 0.125);  // of what cancelled
}

TEST(Check, EveryInputOfAHalf) {
  const std::vector<Device> devices = {Device::open("cpu", {.threads = 1, .max_isa = "baseline"}),
                                       Device::open("cpu")};
  const auto outcomes = [&](const OpCase& op) {
    return check::check_every_input(devices, op, [](double) {});
  };
  for (const char* name : {"silu.f16", "sigmoid_backward.bf16", "scale_backward.f16", "cast.f16.bf16"}) {
    for (const Outcome& outcome : outcomes(row(name))) {
      EXPECT_EQ(outcome.elements, 65536u) << name;
      EXPECT_TRUE(outcome.same_bits() && outcome.accurate()) << name << " " << *outcome.ulp;
      EXPECT_GT(*outcome.ulp, 0.4) << name;
    }
  }
  OpCase broken = row("silu.bf16");
  broken.elementwise->encode = [](CommandEncoder& e, const Tensors& in, const Tensors& out) {
    sigmoid(e, in[0], out[0]);
  };
  const Outcome outcome = outcomes(broken).front();
  EXPECT_GT(outcome.differing, 30000u);
  EXPECT_GT(*outcome.ulp, 1e3);
}

// ---- the subcommand

TEST(CheckReport, TheTableAndTheJsonSayWhatFailed) {
  const std::vector<OpCase> ops = {
      row("mul.f32"),
      with_outputs(row("add.f16"), [](std::vector<float>& values) { values[3] = quiet_nan; })};
  CheckOptions options;
  options.devices = {"cpu"};
  const CheckReport report = app::run_checks(options, ops);
  EXPECT_FALSE(report.passed());
  const std::string table = app::check_table(report);
  for (const char* word : {"mul ", "add ", "FAILED", "passed", "element 3", "0x7e00", "failed\n"}) {
    EXPECT_NE(table.find(word), table.npos) << word << " is missing from\n" << table;
  }
  const auto json = nlohmann::json::parse(app::check_json(report));
  EXPECT_EQ(json["passed"], false);
  EXPECT_GE(json["checks"].size(), 4u);
  bool found = false;
  for (const auto& one : json["checks"]) {
    EXPECT_EQ(one["device"], "cpu");
    EXPECT_EQ(one["passed"], one["op"] == "mul");
    if (one["op"] != "add") continue;
    found = true;
    EXPECT_EQ(one["first_difference"]["element"], 3);
    EXPECT_EQ(one["dtype"], "f16");
    EXPECT_TRUE(one["worst_ulp"].is_number());
    EXPECT_TRUE(one["gradient_error"].is_null());
  }
  EXPECT_TRUE(found);
}

TEST(CheckReport, OpsAndDevicesAreChosenByNameAndPattern) {
  const auto names = [](std::vector<std::string> patterns) {
    std::set<std::string> found;
    CheckOptions options;
    options.ops = std::move(patterns);
    options.devices = {"cpu"};
    for (const auto& result : app::run_checks(options, op_cases()).results)
      found.insert(result.op + "." + result.dtype);
    return found;
  };
  EXPECT_EQ(names({"copy"}), (std::set<std::string>{"copy.bf16", "copy.f16", "copy.f32"}));
  EXPECT_EQ(names({"add*.f16"}), (std::set<std::string>{"add.f16", "add_backward.f16"}));
  EXPECT_EQ(names({"adamw_step", "fill.bf16"}), (std::set<std::string>{"adamw_step.f32", "fill.bf16"}));
  const auto refused = [](const CheckOptions& options) -> std::string {
    try {
      app::run_checks(options, op_cases());
    } catch (const app::UsageError& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  CheckOptions options;
  options.ops = {"silo"};
  EXPECT_EQ(refused(options), "--op: there is no op 'silo'; did you mean fill, silu?");
  options.ops = {};
  options.devices = {"cpus"};
  EXPECT_EQ(refused(options), "--device: there is no device 'cpus'; did you mean cpu?");
}

}  // namespace
}  // namespace silica::test
