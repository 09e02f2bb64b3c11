// SPDX-License-Identifier: MIT
// PyTorch and Triton: peers.py in a process of its own, asked in lines of JSON. Data travels in files.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/child.h"
#include "bench/peers.h"
#include "errors.h"
#include "file.h"

namespace silica::bench {

extern const char* const peers_py;  // the files of these names, written by CMake
extern const char* const peers_triton_py;

namespace {

using app::fail;
using nlohmann::json;

std::string python() {
  const char* named = std::getenv("SILICA_PYTHON");
  return named != nullptr && *named != '\0' ? named : "python3";
}

// The process, which holds the data of one work at a time.
class Session {
 public:
  Session() {
    const std::string script = folder_.path() / "peers.py";
    std::ofstream(script) << peers_py;
    std::ofstream(folder_.path() / "peers_triton.py") << peers_triton_py;
    child_ = std::make_unique<Child>(std::vector<std::string>{python(), script});
  }

  // Errors: unsupported, with the reason that the script gives.
  json ask(const json& question) {
    const json answer = json::parse(child_->ask(question.dump()));
    if (answer.contains("error")) {
      fail(ErrorCode::unsupported, "{}", app::printable(answer["error"].get<std::string>()));
    }
    return answer;
  }

  void hold(const Work& work, const Operands& operands) {
    if (held_ == operands.id) return;
    held_ = 0;
    json inputs = json::array(), outputs = json::array();
    for (std::size_t i = 0; i < operands.host.size(); ++i) {
      const HostInput& host = operands.host[i];
      const std::filesystem::path file = folder_.path() / fmt::format("in{}", i);
      std::ofstream(file, std::ios::binary)
          .write(reinterpret_cast<const char*>(host.block.data()),
                 static_cast<std::streamsize>(host.block.size()));
      inputs.push_back({{"file", file.string()},
                        {"dtype", to_string(host.dtype)},
                        {"shape", std::vector(host.shape.begin(), host.shape.end())}});
    }
    for (const Shape& shape : work.outputs) outputs.push_back(std::vector(shape.begin(), shape.end()));
    ask({{"do", "hold"},
         {"op", work.op},
         {"dtype", to_string(work.dtype)},
         {"fast", work.math == Math::fast},
         {"transpose", {work.options.transpose_a, work.options.transpose_b}},
         {"in_out", work.in_out},
         {"inputs", inputs},
         {"outputs", outputs}});
    held_ = operands.id;
  }

  // The sampled elements of an output.
  Sample fetch(const std::string& peer, std::size_t output, std::size_t elements, DType dtype) {
    const std::filesystem::path file = folder_.path() / "out";
    ask({{"do", "fetch"},
         {"peer", peer},
         {"output", output},
         {"ranges", sampled(elements)},
         {"file", file.string()}});
    const std::string content = app::read_file(file, std::uint64_t{1} << 32);
    const auto bytes = std::as_bytes(std::span(content));
    return widen({bytes.begin(), bytes.end()}, dtype);
  }

 private:
  TemporaryFolder folder_;
  std::unique_ptr<Child> child_;
  std::uint64_t held_ = 0;
};

class PythonRunner : public Runner {
 public:
  PythonRunner(std::shared_ptr<Session> session, std::string peer, const Work& work)
      : session_(std::move(session)), peer_(std::move(peer)), outputs_(work.outputs), dtype_(work.dtype) {}

  unsigned prepare(unsigned calls) override {
    return session_->ask({{"do", "prepare"}, {"peer", peer_}, {"calls", calls}})["calls"];
  }
  double measure() override { return session_->ask({{"do", "measure"}, {"peer", peer_}})["seconds"]; }

  std::vector<Sample> results() override {
    session_->ask({{"do", "run"}, {"peer", peer_}});
    std::vector<Sample> samples;
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      samples.push_back(session_->fetch(peer_, i, outputs_[i].size(), dtype_));
    }
    return samples;
  }

 private:
  std::shared_ptr<Session> session_;
  std::string peer_;
  std::vector<Shape> outputs_;
  DType dtype_;
};

class PythonPeer : public Peer {
 public:
  PythonPeer(std::shared_ptr<Session> session, const json& description)
      : session_(std::move(session)),
        name_(description["name"]),
        version_(description["version"]),
        ops_(description["ops"]) {}

  std::string name() const override { return name_; }
  std::string version() const override { return version_; }

  std::unique_ptr<Runner> take(const Work& work, const Operands& operands) override {
    if (std::ranges::find(ops_, work.op) == ops_.end()) return nullptr;
    session_->hold(work, operands);
    session_->ask({{"do", "take"}, {"peer", name_}});
    return std::make_unique<PythonRunner>(session_, name_, work);
  }

 private:
  std::shared_ptr<Session> session_;
  std::string name_, version_;
  std::vector<std::string> ops_;
};

}  // namespace

void add_python(Peers& peers, const Device& device, unsigned threads) {
  try {
    const auto session = std::make_shared<Session>();
    const json answer = session->ask({{"do", "open"}, {"device", device.name()}, {"threads", threads}});
    for (const json& peer : answer["present"]) {
      peers.present.push_back(std::make_unique<PythonPeer>(session, peer));
    }
    for (const json& text : answer["missing"]) {
      peers.missing.push_back(app::printable(text.get<std::string>()));
    }
  } catch (const Error& error) {
    peers.missing.push_back(fmt::format("PyTorch: {} (SILICA_PYTHON names another python3)", error.what()));
  }
}

}  // namespace silica::bench
